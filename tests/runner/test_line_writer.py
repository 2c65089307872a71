"""Lines that follow each other quickly are written together, and say what they said at once."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from drivetrain.runner import LogProcessor
from drivetrain.runner.hooks import Hook, _line_writer

EACH = {"logger": {"type": "LoggerHook", "interval": 1}}


class AtOnce(LogProcessor):
    """Somebody's own: its lines do not wait."""


class Do(Hook):
    """Do something after an iteration of the first epoch, before or after its line is made."""

    def __init__(self, iteration: int, what: Any, priority: str = "LOWEST") -> None:
        self.iteration = iteration
        self.what = what
        self.priority = priority

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.iteration:
            self.what(runner)


@pytest.fixture(autouse=True)
def _all_lines_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_line_writer, "TOGETHER_S", 1000.0)  # this machine may be slow


def messages(runner) -> list[str]:
    """The log file, without times and paces."""
    lines = Path(runner.logger.log_file).read_text().split("\n")
    texts = [line.split(" - INFO - ")[1] for line in lines if " - INFO - " in line]
    return [re.sub(r"eta: .* data_time: [\d.]+", "", text) for text in texts]


def train_lines(runner) -> list[str]:
    return [text for text in messages(runner) if text.startswith("Epoch(train)")]


def records(runner) -> list[dict[str, Any]]:
    (file,) = Path(runner.log_dir).rglob("scalars.json")
    found = [json.loads(line) for line in file.read_text().splitlines()]
    return [{k: v for k, v in one.items() if "time" not in k} for one in found]


def test_lines_and_records_are_those_of_a_run_that_writes_each_at_once(
    make_runner, tmp_path
) -> None:
    waiting = make_runner(default_hooks=EACH)
    waiting.train()
    at_once = make_runner(
        default_hooks=EACH, log_processor=AtOnce(), work_dir=str(tmp_path / "at_once")
    )
    at_once.train()
    assert len(train_lines(waiting)) == 10
    assert train_lines(waiting) == train_lines(at_once)
    assert records(waiting) == records(at_once)


def test_lines_wait_until_the_epoch_ends(make_runner) -> None:
    seen = []
    count = Do(4, lambda runner: seen.append(len(train_lines(runner))))
    runner = make_runner(default_hooks=EACH, custom_hooks=[count])
    runner.train()
    assert seen == [1]  # the first one of a run is written at once
    assert len(train_lines(runner)) == 10


def test_lines_do_not_wait_longer_than_a_moment(make_runner, monkeypatch) -> None:
    monkeypatch.setattr(_line_writer, "TOGETHER_S", 0.05)
    seen = []
    hooks = [
        Do(2, lambda runner: time.sleep(0.06), "LOWEST"),
        Do(3, lambda runner: seen.append(len(train_lines(runner))), "LOWEST"),
    ]
    every_second = {"logger": {"type": "LoggerHook", "interval": 2}}
    make_runner(default_hooks=every_second, custom_hooks=hooks).train()
    assert seen == [1]  # the third iteration has no line, and finds that of the second late


def test_what_waits_is_written_before_anything_else_is_logged(make_runner) -> None:
    speak = Do(3, lambda runner: runner.logger.info("own message"))
    runner = make_runner(default_hooks=EACH, custom_hooks=[speak])
    runner.train()
    kinds = ["own" if text == "own message" else text[:12] for text in messages(runner)]
    at = kinds.index("own")
    assert kinds[at - 3 : at + 3] == ["Epoch(train)"] * 3 + ["own"] + ["Epoch(train)"] * 2


def test_what_waits_is_recorded_before_anything_else_is(make_runner) -> None:
    record = Do(3, lambda runner: runner.visualizer.add_scalar("mine", 1.0, step=3))
    runner = make_runner(default_hooks=EACH, custom_hooks=[record])
    runner.train()
    assert [one["step"] for one in records(runner)][:5] == [1, 2, 3, 3, 4]
    assert "mine" in records(runner)[3]


def test_what_waits_is_written_before_an_error_ends_the_run(make_runner) -> None:
    def fail(runner) -> None:
        raise RuntimeError("on purpose")

    runner = make_runner(default_hooks=EACH, custom_hooks=[Do(4, fail)])
    with pytest.raises(RuntimeError, match="on purpose"):
        runner.train()
    assert len(train_lines(runner)) == 4
    assert [one["step"] for one in records(runner)] == [1, 2, 3, 4]


def test_a_reader_of_the_newest_record_gets_the_newest(make_runner) -> None:
    seen = []
    look = Do(4, lambda runner: seen.append(runner.log_processor.latest["iter"]))
    make_runner(default_hooks=EACH, custom_hooks=[look]).train()
    assert seen == [4]


def test_a_thread_that_logs_leaves_what_waits_to_the_one_that_trains(make_runner) -> None:
    def speak(runner) -> None:
        thread = threading.Thread(target=runner.logger.info, args=("from beside",))
        thread.start()
        thread.join()

    runner = make_runner(default_hooks=EACH, custom_hooks=[Do(3, speak)])
    runner.train()
    assert "from beside" in messages(runner)
    assert len(train_lines(runner)) == 10


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_that_logs_does_not_write_it_a_second_time(make_runner) -> None:
    def speak(runner) -> None:
        child = os.fork()
        if child == 0:
            runner.logger.info("from a child")
            os._exit(0)
        os.waitpid(child, 0)

    runner = make_runner(default_hooks=EACH, custom_hooks=[Do(3, speak)])
    runner.train()
    assert "from a child" in messages(runner)
    assert len(train_lines(runner)) == 10


def test_a_message_that_somebody_elses_handler_sees_does_not_wait(make_runner) -> None:

    class Listener(logging.Handler):
        def __init__(self) -> None:
            super().__init__()
            self.seen: list[str] = []

        def emit(self, record: logging.LogRecord) -> None:
            self.seen.append(record.getMessage())

    listener, seen = Listener(), []
    count = Do(4, lambda runner: seen.append(sum("(train)" in text for text in listener.seen)))
    runner = make_runner(default_hooks=EACH, custom_hooks=[count])
    runner.logger.addHandler(listener)
    runner.train()
    assert seen == [4]


def test_two_hooks_that_log_keep_the_order_of_their_lines_and_lose_none(
    make_runner, tmp_path
) -> None:
    found = []
    for name, processor in (("waiting", None), ("at_once", AtOnce())):
        second = {"type": "LoggerHook", "interval": 2}
        runner = make_runner(
            default_hooks=EACH,
            custom_hooks=[second],
            log_processor=processor,
            work_dir=str(tmp_path / name),
        )
        runner.train()
        found.append(train_lines(runner))
    assert found[0] == found[1]
    assert len(found[0]) == 14


def test_what_waits_stands_before_what_another_run_of_the_process_says(
    make_runner, tmp_path, capsys
) -> None:
    def run_another(runner) -> None:
        make_runner(default_hooks=EACH, work_dir=str(tmp_path / "another")).train()

    make_runner(default_hooks=EACH, custom_hooks=[Do(3, run_another)]).train()
    lines = [
        line.split(" - ")[3] for line in capsys.readouterr().out.splitlines() if "(train)" in line
    ]
    places = [re.search(r"\[(\d)\]\[(\d)/", line).groups() for line in lines]
    assert places[:4] == [("1", "1"), ("1", "2"), ("1", "3"), ("1", "1")]


@pytest.mark.parametrize(
    "change",
    [
        lambda logger: logger.setLevel("WARNING"),
        lambda logger: logger.addFilter(lambda record: False),
        lambda logger: logger.close(),
    ],
    ids=["level", "filter", "closed"],
)
def test_a_logger_that_becomes_silent_has_written_what_waited(make_runner, change) -> None:
    runner = make_runner(
        default_hooks=EACH, custom_hooks=[Do(3, lambda runner: change(runner.logger))]
    )
    file = runner.logger.log_file
    runner.train()
    assert Path(file).read_text().count("Epoch(train)") == 3


def test_a_new_handler_hears_nothing_of_what_was_logged_before(make_runner) -> None:
    stream = io.StringIO()
    add = Do(3, lambda runner: runner.logger.addHandler(logging.StreamHandler(stream)))
    make_runner(default_hooks=EACH, custom_hooks=[add]).train()
    assert stream.getvalue().startswith("Epoch(train) [1][4/")


def test_a_loss_that_comes_later_is_in_no_line_before(make_runner) -> None:
    def add(runner) -> None:
        runner.message_hub.update_scalar("train/late", 1.0)

    runner = make_runner(default_hooks=EACH, custom_hooks=[Do(3, add)])
    runner.train()
    assert ["late" in line for line in train_lines(runner)] == [False] * 3 + [True] * 7

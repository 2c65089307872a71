"""The mean time of a function or a block."""

from __future__ import annotations

import re

import pytest

from drivetrain.logging import TimeCounter, TimerError


@pytest.fixture(autouse=True)
def fresh():
    """Counters are known by their tags."""
    yield
    TimeCounter.instance_dict.clear()


def lines(capsys) -> list[str]:
    out = capsys.readouterr().out
    return re.findall(r"\[(\w+)\]-time per run averaged in the past (\d+) runs", out)


def test_a_function_is_measured_under_its_name(capsys) -> None:
    @TimeCounter()
    def work(x: int) -> int:
        return x + 1

    assert work(1) == 2
    assert lines(capsys) == [("work", "1")]


def test_lines_come_at_the_interval(capsys) -> None:
    @TimeCounter(log_interval=2, tag="fun")
    def work() -> None: ...

    for _ in range(5):
        work()
    assert lines(capsys) == [("fun", "2"), ("fun", "4")]


def test_blocks_of_one_tag_add_up(capsys) -> None:
    for _ in range(2):
        with TimeCounter(tag="block", with_sync=False):
            pass
    assert lines(capsys) == [("block", "1"), ("block", "2")]


def test_runs_before_the_warm_up_do_not_count(capsys) -> None:
    counter = TimeCounter(warmup_interval=3, tag="warm")
    for elapsed_s in (100.0, 100.0, 1.0, 3.0):
        counter.print_time(elapsed_s)
    assert re.findall(r"past (\d) runs: ([\d.]+) ms", capsys.readouterr().out) == [
        ("3", "1000.0"),
        ("4", "2000.0"),
    ]


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(TimerError, match="log_interval is at least 1"):
        TimeCounter(log_interval=0)
    with pytest.raises(TimerError, match="needs a tag"), TimeCounter():
        pass

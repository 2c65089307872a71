"""Lines: their form, where they go, and from which process."""

from __future__ import annotations

import copy
import logging
import pickle
import re
import subprocess
import sys

import pytest

from drivetrain.logging import (
    LogFileError,
    LoggerTypeError,
    MMLogger,
    UnknownLoggerError,
    print_log,
)

STAMP = r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d"


@pytest.fixture(autouse=True)
def _one_process(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def as_rank(monkeypatch):
    def become(rank, world_size=4):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", str(world_size))
        monkeypatch.setenv("LOCAL_RANK", str(rank % 2))

    return become


class Terminal:
    """A stream that says it is a terminal."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text

    def flush(self):
        pass

    def isatty(self):
        return True


def test_a_line_has_time_name_level_and_message(capsys):
    MMLogger.get_instance("a").info("this is %s", "a test")
    assert re.fullmatch(rf"{STAMP} - drivetrain - INFO - this is a test\n", capsys.readouterr().out)


def test_an_error_says_where_it_was_logged(capsys):
    MMLogger.get_instance("a").error("division by zero")
    expected = rf"{STAMP} - drivetrain - ERROR - {re.escape(__file__)} - {_here()} - \d+ - division"
    assert re.match(expected, capsys.readouterr().out)


def _here():
    return sys._getframe(1).f_code.co_name


def test_an_exception_brings_its_traceback(capsys):
    try:
        1 / 0
    except ZeroDivisionError:
        MMLogger.get_instance("a").exception("no")
    assert "ZeroDivisionError: division by zero" in capsys.readouterr().out


def test_lines_are_coloured_on_a_terminal_only(monkeypatch):
    logger = MMLogger.get_instance("a")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    logger.warning("careful")
    assert "\x1b[33mWARNING\x1b[0m - careful" in terminal.text

    terminal.text = ""
    monkeypatch.setenv("NO_COLOR", "1")
    logger.warning("careful")
    assert "\x1b" not in terminal.text


def test_the_console_is_what_stdout_is_now(capsys, monkeypatch):
    logger = MMLogger.get_instance("a")
    later = Terminal()
    monkeypatch.setattr(sys, "stdout", later)
    logger.info("here")
    assert "here" in later.text


def test_the_log_file_gets_the_same_line_without_colour(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdout", Terminal())
    logger = MMLogger.get_instance("a", log_file=tmp_path / "run.log")
    logger.info("to the file: µ")
    logger.close()
    written = (tmp_path / "run.log").read_text(encoding="utf-8")
    assert re.fullmatch(rf"{STAMP} - drivetrain - INFO - to the file: µ\n", written)


@pytest.mark.parametrize(("mode", "kept"), [("w", False), ("a", True)])
def test_the_file_mode_decides_about_what_was_there(tmp_path, mode, kept):
    path = tmp_path / "run.log"
    path.write_text("before\n")
    MMLogger.get_instance("a", log_file=str(path), file_mode=mode).close()
    assert ("before" in path.read_text()) is kept


def test_a_log_file_in_a_missing_folder_is_refused_with_its_path(tmp_path):
    with pytest.raises(LogFileError, match=r"cannot open the log file .*missing/run.log"):
        MMLogger.get_instance("a", log_file=tmp_path / "missing" / "run.log")


def test_levels_filter_and_can_change(capsys):
    logger = MMLogger.get_instance("a", log_level="warning")
    logger.info("hidden")
    logger.setLevel(logging.ERROR)
    logger.warning("hidden, too")
    logger.setLevel("WARNING")
    logger.warning("shown")
    out = capsys.readouterr().out
    assert "hidden" not in out
    assert "shown" in out


def test_a_lowered_level_reaches_the_file_and_the_console(tmp_path, capsys):
    logger = MMLogger.get_instance("a", log_file=tmp_path / "run.log")
    logger.setLevel("DEBUG")
    logger.debug("in detail")
    logger.close()
    assert "in detail" in capsys.readouterr().out
    assert "in detail" in (tmp_path / "run.log").read_text()


def test_the_other_loggers_of_the_process_do_not_matter(capsys):
    logger = MMLogger.get_instance("a", logger_name="Logger")
    assert logger.name == "Logger"
    assert logger.instance_name == "a"
    assert logger is not logging.getLogger("Logger")
    logger.handlers.clear()
    logger.error("nobody listens")
    captured = capsys.readouterr()
    assert captured.out + captured.err == ""


def test_the_current_logger_is_the_one_made_last_and_there_always_is_one():
    assert MMLogger.get_current_instance().instance_name == "drivetrain"
    newer = MMLogger.get_instance("newer")
    assert MMLogger.get_current_instance() is newer


def test_other_ranks_print_errors_only_and_write_no_file(as_rank, tmp_path, capsys):
    as_rank(1)
    logger = MMLogger.get_instance("a", log_file=tmp_path / "run.log")
    logger.info("not here")
    logger.error("but this")
    out = capsys.readouterr().out
    assert "not here" not in out
    assert "but this" in out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("settings", [{"distributed": True}, {"log_level": "DEBUG"}], ids=repr)
def test_each_rank_has_its_file_when_asked_for(as_rank, tmp_path, settings):
    as_rank(3)
    logger = MMLogger.get_instance("a", log_file=tmp_path / "run.log", **settings)
    logger.info("from rank 3")
    logger.close()
    (path,) = tmp_path.iterdir()
    assert str(path) == logger.log_file or logger.log_file is None
    assert re.fullmatch(r"run_.+_device1_rank3\.log", path.name)
    assert "from rank 3" in path.read_text()


def test_a_copy_of_a_logger_is_the_logger():
    logger = MMLogger.get_instance("a")
    assert copy.deepcopy({"logger": logger})["logger"] is logger
    assert pickle.loads(pickle.dumps(logger)) is logger


def test_a_worker_process_gets_a_logger_of_that_name_and_level():
    logger = MMLogger.get_instance("a", log_level="ERROR")
    program = (
        "import pickle, sys; logger = pickle.loads(sys.stdin.buffer.read());"
        "print(logger.instance_name, logger.name, logger.level)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], input=pickle.dumps(logger), capture_output=True, check=True
    )
    assert result.stdout.decode().split() == ["a", "drivetrain", "40"]


def test_print_log_prints_where_there_is_no_logger(capsys):
    print_log("hello")
    print_log({"a": 1})
    assert capsys.readouterr().out == "hello\n{'a': 1}\n"


def test_print_log_reaches_loggers_in_all_its_ways(capsys):
    named = MMLogger.get_instance("named", logger_name="Named")
    print_log("nothing", "silent")
    print_log("by name", "named")
    print_log("current one", "current", logging.WARNING)
    print_log("itself", named)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" - ")[1:] for line in lines] == [
        ["Named", "INFO", "by name"],
        ["Named", "WARNING", "current one"],
        ["Named", "INFO", "itself"],
    ]


def test_print_log_of_an_error_points_to_its_caller(capsys):
    print_log("bad", MMLogger.get_instance("a"), logging.ERROR)
    assert __file__ in capsys.readouterr().out


def test_print_log_refuses_what_is_no_logger():
    MMLogger.get_instance("a")
    with pytest.raises(
        UnknownLoggerError, match=r"no MMLogger named 'b' was made\.\n  Made so far: 'a'"
    ):
        print_log("hello", "b")
    with pytest.raises(LoggerTypeError, match="got int"):
        print_log("hello", 3)


def test_importing_the_package_loads_neither_torch_nor_numpy_nor_rich():
    program = (
        "import sys, drivetrain.logging;"
        "print([m for m in ('torch', 'numpy', 'rich') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr


def test_a_file_that_somebody_closed_goes_on(tmp_path) -> None:
    logger = MMLogger("closed", log_file=tmp_path / "run.log")
    for text in ("before", "after"):
        logger.info(text)
        for handler in logger.handlers:
            handler.close()  # as logging.shutdown() does at exit
    assert [line.split(" - ")[-1] for line in (tmp_path / "run.log").read_text().splitlines()] == [
        "before",
        "after",
    ]


def test_what_is_held_back_is_written_at_exit() -> None:
    program = "from drivetrain.logging import hold_back; hold_back(lambda: print('written'))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "written\n"

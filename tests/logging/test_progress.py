"""Bars, tracked tasks and timers."""

from __future__ import annotations

import io
import os

import pytest

from drivetrain.logging import (
    ProgressBar,
    ProgressError,
    Timer,
    TimerError,
    check_time,
    track_iter_progress,
    track_parallel_progress,
    track_progress,
    track_progress_rich,
)


def double(x):
    return 2 * x


def add(x, y):
    return x + y


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only when told to."""
    now = [100.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    return now


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


def test_a_bar_shows_share_speed_and_time_left(clock):
    file = io.StringIO()
    bar = ProgressBar(4, bar_width=8, file=file)
    assert file.getvalue() == "[        ] 0/4, elapsed: 0s, ETA:"
    clock[0] += 2
    bar.update()
    assert file.getvalue().endswith("\r[>>      ] 1/4, 0.5 task/s, elapsed: 2s, ETA:     6s")
    bar.update(3)
    assert file.getvalue().endswith("\r[>>>>>>>>] 4/4, 2.0 task/s, elapsed: 2s, ETA:     0s")


def test_a_bar_without_a_total_counts(clock):
    file = io.StringIO()
    bar = ProgressBar(file=file)
    clock[0] += 2
    bar.update(5)
    assert file.getvalue() == "completed: 0, elapsed: 0scompleted: 5, elapsed: 2s, 2.5 tasks/s"


def test_a_bar_shrinks_to_the_terminal_but_not_below_ten(monkeypatch, clock):
    monkeypatch.setenv("COLUMNS", "40")
    file = io.StringIO()
    bar = ProgressBar(1, bar_width=50, file=file)
    bar.update()
    assert "[>>>>>>>>>>] 1/1" in file.getvalue()


def test_a_bar_that_was_not_started_or_goes_back_complains():
    bar = ProgressBar(3, start=False, file=io.StringIO())
    with pytest.raises(TimerError, match="Call start"):
        bar.update()
    with pytest.raises(ValueError, match="at least 1, got 0"):
        bar.update(0)


def test_a_bar_goes_to_the_standard_output_of_the_moment(capsys):
    ProgressBar(2)
    assert "0/2" in capsys.readouterr().out


@pytest.mark.parametrize("tasks", [[1, 2, 3], ((i for i in (1, 2, 3)), 3), range(1, 4)], ids=str)
def test_tracked_tasks_give_their_results_in_order(tasks):
    file = io.StringIO()
    assert track_progress(double, tasks, file=file) == [2, 4, 6]
    assert " 3/3, " in file.getvalue()
    assert file.getvalue().endswith("\n")


def test_tracking_passes_arguments_on():
    assert track_progress(add, [1, 2], file=io.StringIO(), y=10) == [11, 12]


def test_tasks_can_be_tracked_while_iterating():
    file = io.StringIO()
    assert list(track_iter_progress([1, 2], file=file)) == [1, 2]
    assert " 2/2, " in file.getvalue()


@pytest.mark.parametrize("tasks", [5, (i for i in range(3)), None], ids=str)
def test_tasks_without_a_number_are_refused(tasks):
    with pytest.raises(ProgressError, match="must have a length, or be a tuple"):
        track_progress(double, tasks, file=io.StringIO())


@pytest.mark.parametrize(
    "options",
    [{}, {"chunksize": 2}, {"skip_first": True}, {"initializer": os.getpid}],
    ids=str,
)
def test_tasks_run_in_worker_processes(options):
    file = io.StringIO()
    results = track_parallel_progress(abs, [-1, -2, -3, -4], 2, file=file, **options)
    assert results == [1, 2, 3, 4]


def test_unordered_results_are_all_there():
    results = track_parallel_progress(abs, range(4), 2, keep_order=False, file=io.StringIO())
    assert sorted(results) == [0, 1, 2, 3]


@pytest.mark.parametrize("nproc", [1, 2])
def test_rich_tracking_gives_results_in_order(nproc, capsys):
    assert track_progress_rich(divmod, [(7, 2), (9, 4)], nproc=nproc) == [(3, 1), (2, 1)]
    assert track_progress_rich(abs, iter([-1, -2]), task_num=2, nproc=nproc) == [1, 2]
    assert "2/2" in capsys.readouterr().out


def test_rich_tracking_can_call_without_tasks():
    assert track_progress_rich(dict, task_num=3) == [{}, {}, {}]


def test_rich_tracking_refuses_what_it_cannot_count():
    with pytest.raises(ProgressError, match="must be iterable, got int"):
        track_progress_rich(abs, 5)
    with pytest.raises(ProgressError, match="task_num must be given"):
        track_progress_rich(abs)
    with pytest.raises(ValueError, match="task_num is 3, but there are 2 tasks"):
        track_progress_rich(abs, [1, 2], task_num=3)
    with pytest.raises(ValueError, match="nproc must be at least 1"):
        track_progress_rich(abs, [1], nproc=0)


def test_a_timer_measures_from_its_start_and_from_the_last_look(clock):
    timer = Timer()
    clock[0] += 1
    assert timer.since_start() == 1
    clock[0] += 2
    assert timer.since_last_check() == 2
    assert timer.since_start() == 3


def test_a_block_prints_its_seconds(clock, capsys):
    with Timer():
        clock[0] += 1.5
    with Timer(print_tmpl="it takes {:.1f} seconds"):
        clock[0] += 2
    assert capsys.readouterr().out == "1.500\nit takes 2.0 seconds\n"


def test_a_timer_that_does_not_run_complains():
    timer = Timer(start=False)
    assert not timer.is_running
    with pytest.raises(TimerError, match="since_start: the timer is not running"):
        timer.since_start()
    with pytest.raises(TimerError, match="Call start"):
        timer.since_last_check()


def test_check_time_measures_between_calls(clock, monkeypatch):
    monkeypatch.setattr("drivetrain.logging._timer._timers", {})
    assert check_time("task") == 0
    clock[0] += 2
    assert check_time("task") == 2
    assert check_time("other") == 0

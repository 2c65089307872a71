"""Histories: what windows cover, what is bounded, what a state brings back."""

from __future__ import annotations

import copy
import io
import math
import pickle
import sys
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivetrain.logging import (
    HistoryBuffer,
    MessageHub,
    MMLogger,
    ScalarError,
    ScalarTypeError,
    ScalarValueError,
    StateError,
    UnknownStatisticError,
)


@pytest.fixture
def ramp():
    return HistoryBuffer([1, 2, 3], [1, 1, 1])


def test_a_new_history_is_empty_and_says_so_when_asked_for_statistics():
    values, counts = HistoryBuffer().data
    assert len(values) == len(counts) == 0
    for statistic in ("mean", "max", "min", "current"):
        with pytest.raises(ScalarValueError, match="nothing was logged yet"):
            HistoryBuffer().statistics(statistic)


@pytest.mark.parametrize(
    ("statistic", "window", "expected"),
    [
        ("mean", None, 2),
        ("mean", 2, 2.5),
        ("mean", 100, 2),
        ("max", None, 3),
        ("max", 1, 3),
        ("min", None, 1),
        ("min", 2, 2),
    ],
)
def test_a_window_covers_the_newest_values(ramp, statistic, window, expected):
    result = ramp.statistics(statistic, window)
    assert result == expected
    assert isinstance(result, np.float64)


def test_a_mean_divides_by_the_counts():
    assert HistoryBuffer([1, 2, 3], [2, 2, 2]).mean() == 1  # 6 / 6, by hand
    assert HistoryBuffer([8, 2], [4, 1]).mean() == 2  # 10 / 5


def test_update_appends_with_count_one_unless_told_otherwise(ramp):
    ramp.update(4)
    ramp.update(5, 2)
    values, counts = ramp.data
    assert values.tolist() == [1, 2, 3, 4, 5]
    assert counts.tolist() == [1, 1, 1, 1, 2]
    assert ramp.current() == 5


def test_only_max_length_entries_are_shown():
    history = HistoryBuffer([1, 2, 3], [1, 2, 3], max_length=2)
    values, counts = history.data
    assert values.tolist() == [2, 3]
    assert counts.tolist() == [2, 3]
    assert len(history) == 2


def test_statistics_over_everything_count_what_was_dropped():
    history = HistoryBuffer(max_length=2)
    for value in range(30_000):
        history.update(value)
    assert history.mean() == 14_999.5
    assert history.min() == 0
    assert history.max(30_000) == 29_999
    assert history.min(2) == 29_998
    assert history.min(29_999) == 29_998  # no entry of that window but the last two is kept


def test_memory_stays_bounded():
    history = HistoryBuffer(max_length=10)
    for value in range(100_000):
        history.update(value)
    assert len(history._values) < 12_000


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60),
    st.integers(1, 70),
    st.integers(1, 70),
)
def test_windows_agree_with_numpy(values, window, max_length):
    history = HistoryBuffer(values, [1] * len(values), max_length=max_length)
    seen = values if window >= len(values) else values[-min(window, max_length) :]
    assert history.mean(window) == pytest.approx(np.mean(seen), abs=1e-6)
    assert history.max(window) == max(seen)
    assert history.min(window) == min(seen)


def test_a_mean_is_the_same_bit_by_bit_however_often_one_reads():
    rng = np.random.default_rng(0)
    read_often, read_once = HistoryBuffer(), HistoryBuffer()
    for i, value in enumerate(rng.normal(size=20_000).tolist()):
        read_often.update(value)
        read_once.update(value)
        if i % 97 == 0:
            read_often.mean()
    assert read_often.mean() == read_once.mean()


def test_a_nan_stays_visible():
    history = HistoryBuffer([1.0, float("nan")], [1, 1])
    assert all(math.isnan(history.statistics(name)) for name in ("mean", "max", "min"))


@pytest.mark.parametrize(
    "value", [True, np.float32(1), np.array(1.0), np.array([[1.0]]), np.int64(1)], ids=repr
)
def test_numpy_scalars_and_arrays_of_one_element_are_numbers(value):
    history = HistoryBuffer()
    history.update(value, count=np.array(2))
    assert history.current() == 1
    assert history.mean() == 0.5


def test_an_array_of_several_numbers_is_refused_with_its_shape():
    with pytest.raises(ScalarValueError, match=r"exactly one number, got shape \(2,\)"):
        HistoryBuffer().update(np.zeros(2))


@pytest.mark.parametrize("value", ["0.5", None, [1.0], {}], ids=repr)
def test_what_is_no_number_is_refused_and_nothing_is_kept(value):
    history = HistoryBuffer()
    with pytest.raises(ScalarTypeError, match=f"got {type(value).__name__}"):
        history.update(value)
    with pytest.raises(ScalarTypeError, match=f"got {type(value).__name__}"):
        history.update(1.0, value)
    assert len(history) == len(history._counts) == 0


def test_wrong_arguments_are_refused():
    with pytest.raises(ScalarValueError, match="2 values and 1 counts"):
        HistoryBuffer([1, 2], [1])
    with pytest.raises(ScalarValueError, match="max_length must be at least 1, got 0"):
        HistoryBuffer(max_length=0)
    with pytest.raises(ScalarValueError, match="window_size must be at least 1, got 0"):
        HistoryBuffer([1], [1]).mean(0)


def test_an_unknown_statistic_offers_the_nearest(ramp):
    with pytest.raises(UnknownStatisticError, match="Did you mean:  'mean'"):
        ramp.statistics("maen")
    with pytest.raises(KeyError, match="no statistic 'data'"):
        ramp.statistics("data")
    with pytest.raises(TypeError):
        ramp.statistics("mean", 2, 3)


def test_a_registered_statistic_is_found_and_reads_the_history(monkeypatch):
    monkeypatch.setattr(HistoryBuffer, "_statistics_methods", {**HistoryBuffer._statistics_methods})

    @HistoryBuffer.register_statistics
    def weighted_mean(self, window_size, weight):
        return (self._log_history[-window_size:] * np.array(weight)).sum() / (
            self._count_history[-window_size:]
        ).sum()

    assert HistoryBuffer([1, 2], [1, 1]).statistics("weighted_mean", 2, [2, 1]) == 2


def test_a_statistic_cannot_take_the_name_of_another(monkeypatch):
    monkeypatch.setattr(HistoryBuffer, "_statistics_methods", {**HistoryBuffer._statistics_methods})

    def mean(self):
        return 0

    with pytest.raises(ScalarError, match="'mean' is registered already"):
        HistoryBuffer.register_statistics(mean)


@pytest.mark.parametrize("logged", [5, 9_000, 25_000])
def test_a_state_continues_the_statistics_exactly(logged):
    rng = np.random.default_rng(1)
    numbers = rng.normal(size=logged + 500).tolist()
    straight, before = HistoryBuffer(), HistoryBuffer()
    for number in numbers[:logged]:
        straight.update(number)
        before.update(number)
    before.mean(8_000)  # what is read of it, a state holds
    resumed = HistoryBuffer()
    resumed.load_state_dict(before.state_dict())
    for number in numbers[logged:]:
        straight.update(number)
        resumed.update(number)
    for name in ("mean", "max", "min"):
        for window in (None, 10, 8_000, logged + 500):
            assert resumed.statistics(name, window) == straight.statistics(name, window)
    assert resumed.current() == straight.current()


def test_a_state_is_bounded_plain_data():
    history = HistoryBuffer()
    for value in range(60_000):
        history.update(value)
    state = history.state_dict()
    assert len(state["values"]) == 1_024  # nobody reads them
    assert state["counts"] is None  # all of them are 1
    assert state["before"]["length"] + len(state["values"]) == 60_000


def test_counts_other_than_one_survive_in_a_state():
    resumed = HistoryBuffer()
    resumed.load_state_dict(HistoryBuffer([4, 4], [1, 3]).state_dict())
    assert resumed.mean() == 2


def test_a_long_history_comes_whole_from_arrays():
    history = HistoryBuffer(np.arange(30_000), np.ones(30_000), max_length=100)
    assert history.mean() == 14_999.5
    assert history.min(100) == 29_900
    assert len(history._values) < 12_000


def test_a_state_without_what_came_before_is_a_history_from_the_start():
    history = HistoryBuffer()
    history.load_state_dict(
        {"values": [1.0, 3.0], "counts": [1.0, 1.0], "before": {}, "max_length": 10}
    )
    assert history.mean() == 2


def test_a_state_of_something_else_is_refused():
    with pytest.raises(
        StateError, match="no state of a HistoryBuffer: dict with \\['param_groups'"
    ):
        HistoryBuffer().load_state_dict({"param_groups": []})


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda h: pickle.loads(pickle.dumps(h))])
def test_a_copy_grows_on_its_own(ramp, duplicate):
    twin = duplicate(ramp)
    twin.update(10)
    assert twin.mean() == 4
    assert ramp.mean() == 2


def test_appending_costs_the_same_when_a_million_entries_are_there():
    def seconds_per_update(history):
        best = math.inf
        for _ in range(20):
            began = time.perf_counter()
            for _ in range(500):
                history.update(1.0)
            best = min(best, time.perf_counter() - began)
        return best / 500

    full = HistoryBuffer()
    full._values.frombytes(bytes(8 * 1_000_000))
    full._counts.frombytes(bytes(8 * 1_000_000))
    assert seconds_per_update(full) < 3 * seconds_per_update(HistoryBuffer()) + 1e-7


def elsewhere(value, dtype=None):
    """A tensor that waits as one on an accelerator does, whose numbers are not here yet.

    Only plain CPU tensors are read at once; a parameter is a tensor of another type.
    """
    import torch

    return torch.nn.Parameter(torch.tensor(value, dtype=dtype), requires_grad=False)


class TestTensors:
    """Tensors are kept, and read together."""

    @pytest.fixture
    def torch(self):
        return pytest.importorskip("torch")

    def test_a_tensor_is_not_read_before_somebody_asks(self, torch, monkeypatch):
        monkeypatch.setattr(torch.Tensor, "item", _refuse)
        monkeypatch.setattr(torch.Tensor, "__float__", _refuse)
        history = HistoryBuffer()
        for value in (1.0, 2.0, 6.0):
            history.update(elsewhere(value))
        assert len(history._waiting.singles) == 3
        assert history.mean() == 3
        assert history.current() == 6

    def test_a_number_in_the_memory_of_this_process_is_read_at_once(self, torch):
        history = HistoryBuffer()
        loss = (torch.ones(3, requires_grad=True) * 2).sum()
        history.update(loss)
        loss.detach().add_(1)
        assert history.data[0].tolist() == [6]

    def test_reading_a_number_of_this_process_is_no_operation_of_torch(self, torch):
        from torch.utils._python_dispatch import TorchDispatchMode

        class Seen(TorchDispatchMode):
            def __torch_dispatch__(self, function, types, args=(), kwargs=None):
                raise AssertionError(f"{function} ran")

        history, loss = HistoryBuffer(), torch.tensor(0.5, requires_grad=True)
        with Seen():
            history.update(loss)
            assert history.mean() == 0.5

    def test_a_tensor_is_kept_without_its_graph(self, torch):
        history = HistoryBuffer()
        history.update(torch.nn.Parameter(torch.tensor(6.0)))
        assert not history._waiting.singles[0][0].requires_grad
        assert history.current() == 6

    def test_a_tensor_of_one_element_is_a_number_and_of_two_is_not(self, torch):
        history = HistoryBuffer()
        history.update(torch.ones(1, 1), count=torch.tensor(4))
        assert history.mean() == 0.25
        with pytest.raises(ScalarValueError, match=r"exactly one number, got shape \(2,\)"):
            history.update(torch.ones(2))

    def test_numbers_and_tensors_of_many_kinds_keep_their_order(self, torch):
        history = HistoryBuffer()
        kinds = [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.bool]
        for i, dtype in enumerate(kinds):
            history.update(elsewhere(1, dtype))
            history.update(i + 2)
        assert history.data[0].tolist() == [1, 2, 1, 3, 1, 4, 1, 5, 1, 6]

    def test_a_large_integer_keeps_its_digits_beside_floats(self, torch):
        history = HistoryBuffer([elsewhere(2**40 + 1), elsewhere(0.5)], [1, 1])
        assert history.max() == 2**40 + 1

    def test_many_unread_tensors_are_packed_and_still_come_in_order(self, torch):
        history = HistoryBuffer()
        for i in range(3000):
            history.update(elsewhere(float(i)), count=elsewhere(2.0))
        assert len(history._waiting.singles) < 1024
        assert history.data[0].tolist() == list(range(3000))
        assert history.mean() == pytest.approx(2999 / 4)

    @pytest.mark.slow
    def test_tensors_that_nobody_ever_reads_do_not_pile_up(self, torch):
        history = HistoryBuffer(max_length=10)
        loss = elsewhere(1.0)
        for _ in range(150_000):
            history.update(loss)
        held = sum(len(vector) for vector, _ in history._waiting.packed)
        assert held <= 65_536
        assert history.mean() == 1

    def test_a_tensor_that_changed_before_it_was_read_is_warned_about_once(self, torch, capsys):
        MMLogger.get_instance("log")
        hub = MessageHub.get_instance("hub")
        total = elsewhere(0.0)
        for _ in range(3):
            hub.update_scalar("train/total", total)
            total += 1
            hub.get_scalar("train/total").current()
        out = capsys.readouterr().out
        assert out.count("train/total: a logged tensor was changed in place") == 1

    def test_tensors_made_in_inference_mode_can_be_logged(self, torch, capsys):
        history = HistoryBuffer()
        with torch.inference_mode():
            history.update(elsewhere(2.0))
        assert history.current() == 2
        assert capsys.readouterr().out == ""

    @pytest.mark.cuda
    def test_logging_cuda_tensors_waits_once_a_line(self, torch):
        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")
        hub = MessageHub.get_instance("hub")
        losses = [torch.full((), float(i), device="cuda") for i in range(10)]
        torch.cuda.set_sync_debug_mode("error")
        try:
            for loss in losses:
                hub.update_scalars({"train/loss": loss, "train/loss_cls": loss * 2})
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert hub.get_scalar("train/loss").mean(10) == 4.5
        assert not hub.get_scalar("train/loss_cls")._waiting

    def test_a_state_loads_with_weights_only(self, torch):
        file = io.BytesIO()
        torch.save(HistoryBuffer([1, 2], [1, 2]).state_dict(), file)
        file.seek(0)
        resumed = HistoryBuffer()
        resumed.load_state_dict(torch.load(file, weights_only=True))
        assert resumed.data[0].tolist() == [1, 2]


def _refuse(*_):
    raise AssertionError("a tensor was read on its own")


def _log_and_read(history: HistoryBuffer, start: int, stop: int) -> list[float]:
    """Log as a run does that reads four windows every ten steps."""
    lines = []
    for step in range(start, stop):
        history.update(0.1 * ((step * 7919) % 101), 1)
        if step % 10 == 9:
            for window in (25, step % 200 + 1, step + 1, None):
                lines.append(float(history.mean(window)))
    return lines


@pytest.mark.parametrize("cut", [3, 37, 150, 1024, 2345])
def test_windows_of_a_run_go_on_bit_for_bit_wherever_it_was_cut(cut: int) -> None:
    whole, first, resumed = HistoryBuffer(), HistoryBuffer(), HistoryBuffer()
    expected = _log_and_read(whole, 0, 2600)

    lines = _log_and_read(first, 0, cut)
    resumed.load_state_dict(first.state_dict())

    assert lines + _log_and_read(resumed, cut, 2600) == expected


def test_a_state_is_no_larger_after_many_steps_than_after_few() -> None:
    history = HistoryBuffer()
    _log_and_read(history, 0, 400)
    early = len(history.state_dict()["values"])

    _log_and_read(history, 400, 12_000)

    assert len(history.state_dict()["values"]) == early <= 200


def test_a_registered_statistic_finds_after_a_resume_what_it_reads(monkeypatch) -> None:
    monkeypatch.setattr(
        HistoryBuffer, "_statistics_methods", dict(HistoryBuffer._statistics_methods)
    )

    @HistoryBuffer.register_statistics
    def oldest(buffer: HistoryBuffer, window_size: int) -> float:
        return float(buffer._log_history[-window_size:][0])

    history, resumed = HistoryBuffer(), HistoryBuffer()
    for number in range(3000):
        history.update(number)
        if number % 100 == 99:
            history.statistics("oldest", window_size=500)

    state = history.state_dict()
    resumed.load_state_dict(state)

    assert resumed.statistics("oldest", window_size=500) == 2500
    assert len(state["values"]) == 500


def test_a_copy_answers_everything_that_the_original_does() -> None:
    buffer = HistoryBuffer([1.0, 2.0], [1, 1])
    for other in (copy.deepcopy(buffer), pickle.loads(pickle.dumps(buffer))):
        assert other.data[0].tolist() == [1.0, 2.0]
        assert other.statistics("mean", 1) == 2.0


def test_a_thread_that_reads_does_not_keep_another_one_from_appending() -> None:
    buffer, is_over = HistoryBuffer(), threading.Event()

    def read() -> None:
        while not is_over.is_set():
            buffer.state_dict()

    reader = threading.Thread(target=read)
    before_s, _ = sys.getswitchinterval(), sys.setswitchinterval(1e-6)
    reader.start()
    try:
        for number in range(20_000):
            buffer.update(float(number))
    finally:
        is_over.set()
        reader.join()
        sys.setswitchinterval(before_s)
    assert len(buffer) == 20_000

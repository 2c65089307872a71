"""The hub: what it keeps, what it hands out, what it saves."""

from __future__ import annotations

import io
from collections import OrderedDict
from types import SimpleNamespace

import numpy as np
import pytest

from drivetrain.logging import (
    FULL,
    HistoryBuffer,
    MessageHub,
    MMLogger,
    ResumeFlagError,
    ScalarTypeError,
    StateError,
    UnknownScalarError,
)


@pytest.fixture
def hub():
    return MessageHub.get_instance("test")


def test_a_scalar_gets_its_history_at_the_first_update(hub):
    hub.update_scalar("train/loss", 1, 1)
    hub.update_scalar("train/loss", 3, 1)
    assert hub.get_scalar("train/loss").mean() == 2
    assert list(hub.log_scalars) == ["train/loss"]


def test_scalars_come_as_values_or_with_a_count(hub):
    hub.update_scalars({"a": 1, "b": {"value": 6, "count": 3}, "c": {"value": 5}})
    assert hub.get_scalar("a").current() == 1
    assert hub.get_scalar("b").mean() == 2
    assert hub.get_scalar("c").mean() == 5


@pytest.mark.parametrize("wrong", [{"count": 1}, {"value": 1, "cuont": 2}, {}], ids=repr)
def test_a_dict_that_is_no_value_with_a_count_is_refused(hub, wrong):
    with pytest.raises(ScalarTypeError, match="'loss' must be a number or"):
        hub.update_scalars({"loss": wrong})


def test_an_unknown_scalar_offers_the_nearest(hub):
    hub.update_scalar("train/loss", 1)
    with pytest.raises(UnknownScalarError, match="Did you mean:  'train/loss'"):
        hub.get_scalar("train/lose")
    with pytest.raises(KeyError, match="Logged so far: train/loss"):
        hub.get_scalar("x")


def test_the_resumed_flag_of_a_key_cannot_change(hub):
    hub.update_scalar("loss", 1)
    hub.update_info("epoch", 1, resumed=False)
    with pytest.raises(ResumeFlagError, match="'loss' was recorded with resumed=True"):
        hub.update_scalar("loss", 3, resumed=False)
    with pytest.raises(AssertionError, match="'epoch' was recorded with resumed=False"):
        hub.update_info("epoch", 2)


def test_an_info_is_overwritten(hub):
    hub.update_info("iter", 1)
    hub.update_info_dict({"iter": 2, "epoch": 1})
    assert hub.get_info("iter") == 2
    assert hub.runtime_info == OrderedDict(iter=2, epoch=1)
    assert hub.get_info("missing") is None
    assert hub.get_info("missing", 7) == 7
    assert hub.pop_info("epoch") == 1
    assert hub.pop_info("epoch", 0) == 0


def test_an_info_is_handed_out_as_a_copy(hub):
    hub.update_info("meta", {"names": ["a"], "array": np.zeros(2)})
    hub.get_info("meta")["names"].append("b")
    hub.runtime_info["meta"]["array"] += 1
    assert hub.get_info("meta")["names"] == ["a"]
    assert hub.get_info("meta")["array"].tolist() == [0, 0]


def test_an_object_among_the_infos_is_handed_out_as_it_is(hub):
    thing = SimpleNamespace(x=1)
    hub.update_info("thing", thing)
    assert hub.get_info("thing") is thing


def test_the_current_hub_is_the_one_made_last_and_there_always_is_one():
    assert MessageHub.get_current_instance().instance_name == "drivetrain"
    newer = MessageHub.get_instance("newer")
    assert MessageHub.get_current_instance() is newer


def test_a_hub_begins_with_what_it_is_given():
    loss = HistoryBuffer([1], [1])
    hub = MessageHub("x", OrderedDict(loss=loss), OrderedDict(task="t"), {"loss": True})
    assert hub.get_scalar("loss") is loss
    assert hub.get_info("task") == "t"
    hub.update_scalar("loss", 3)
    assert loss.mean() == 2
    with pytest.raises(ScalarTypeError, match="must be a HistoryBuffer, got list"):
        MessageHub("y", {"loss": [1]})


def test_a_state_brings_back_what_is_to_be_resumed(hub):
    hub.update_scalar("train/loss", 0.5)
    hub.update_scalar("train/time", 0.1, resumed=False)
    hub.update_info("iter", 10)
    hub.update_info("best", {"score": np.float64(0.9), "path": "a.pth"})
    hub.update_info("max_iters", 20, resumed=False)

    resumed = MessageHub.get_instance("resumed")
    resumed.load_state_dict(hub.state_dict())

    assert list(resumed.log_scalars) == ["train/loss"]
    assert resumed.get_scalar("train/loss").current() == 0.5
    assert resumed.runtime_info == {"iter": 10, "best": {"score": 0.9, "path": "a.pth"}}
    assert type(hub.state_dict()["runtime_info"]["best"]["score"]) is float
    with pytest.raises(ResumeFlagError):
        resumed.update_info("iter", 11, resumed=False)


def test_a_state_leaves_out_what_only_pickle_could_save_and_says_so_once(hub, capsys):
    MMLogger.get_instance("log")
    hub.update_info("model", SimpleNamespace())
    assert hub.state_dict()["runtime_info"] == hub.state_dict()["runtime_info"] == {}
    out = capsys.readouterr().out
    assert out.count("runtime_info['model'] is not saved: types.SimpleNamespace") == 1


def test_another_hub_can_be_loaded_and_stays_apart(hub):
    hub.update_scalar("loss", 1)
    hub.update_info("names", ["a"])
    twin = MessageHub.get_instance("twin")
    twin.load_state_dict(hub)
    twin.update_scalar("loss", 3)
    assert hub.get_scalar("loss").mean() == 1
    assert twin.get_scalar("loss").mean() == 2
    assert twin.get_info("names") == ["a"]


def test_histories_that_the_reference_engine_saved_are_understood(hub):
    saved = SimpleNamespace(
        _log_history=np.array([1.0, 3.0]), _count_history=np.array([1, 1]), _max_length=100
    )
    hub.load_state_dict(
        {
            "log_scalars": {"loss": saved},
            "runtime_info": {"iter": 2},
            "resumed_keys": {"loss": True},
        }
    )
    assert hub.get_scalar("loss").mean() == 2


def test_a_state_of_something_else_is_refused(hub):
    with pytest.raises(StateError, match="missing: log_scalars, resumed_keys, runtime_info"):
        hub.load_state_dict({"model": 1})
    with pytest.raises(StateError, match=r"log_scalars\['loss'\] must be the state of a history"):
        hub.load_state_dict({"log_scalars": {"loss": 3}, "runtime_info": {}, "resumed_keys": {}})


def elsewhere(torch, value):
    """A tensor that waits as one on an accelerator does: it is no plain CPU tensor."""
    return torch.nn.Parameter(torch.tensor(value), requires_grad=False)


class TestTensors:
    """One wait for a log line."""

    @pytest.fixture
    def torch(self):
        return pytest.importorskip("torch")

    def test_reading_one_scalar_settles_all_in_one_transfer(self, torch, hub, monkeypatch):
        transfers = []
        to_list = torch.Tensor.tolist
        monkeypatch.setattr(torch.Tensor, "tolist", lambda t: transfers.append(t) or to_list(t))
        for step in range(10):
            for key in ("loss", "loss_cls", "grad_norm"):
                hub.update_scalar(f"train/{key}", elsewhere(torch, float(step)))
        means = [
            hub.get_scalar(f"train/{key}").mean(10) for key in ("loss", "loss_cls", "grad_norm")
        ]
        assert means == [4.5, 4.5, 4.5]
        assert len(transfers) == 1

    def test_reading_numbers_waits_for_no_tensor(self, torch, hub):
        hub.update_scalar("train/loss", elsewhere(torch, 1.0))
        hub.update_scalar("train/lr", 0.1)
        assert hub.get_scalar("train/lr").current() == 0.1
        assert hub.get_scalar("train/loss")._waiting

    def test_a_whole_state_loads_with_weights_only(self, torch, hub):
        hub.update_scalar("train/loss", torch.tensor(1.0))
        hub.update_info("mask", torch.ones(2, requires_grad=True))
        hub.update_info("array", np.arange(3))
        file = io.BytesIO()
        torch.save(hub.state_dict(), file)
        file.seek(0)
        resumed = MessageHub.get_instance("resumed")
        resumed.load_state_dict(torch.load(file, weights_only=True))
        assert resumed.get_scalar("train/loss").current() == 1
        assert resumed.get_info("array").tolist() == [0, 1, 2]

    def test_a_saved_tensor_is_copied_when_loaded(self, torch, hub):
        mask = torch.zeros(2)
        hub.load_state_dict({"log_scalars": {}, "runtime_info": {"m": mask}, "resumed_keys": {}})
        mask += 1
        assert hub.get_info("m").tolist() == [0, 0]


def test_a_history_in_somebodys_hand_shows_what_the_hub_was_told_since(hub):
    hub.update_scalar("train/loss", 1.0)
    history = hub.get_scalar("train/loss")
    hub.update_scalar("train/loss", 2.0)
    assert history.current() == 2
    hub.update_scalar("train/loss", 3)
    assert len(history) == 3


def test_numbers_keep_their_order_whichever_way_they_come(hub):
    hub.update_scalar("train/loss", 1.0)
    history = hub.get_scalar("train/loss")
    hub.update_scalar("train/loss", 2.0)
    history.update(3.0)
    hub.update_scalar("train/loss", np.float32(4))
    hub.update_scalar("train/loss", 5.0, count=np.int64(2))
    hub.update_scalar("train/loss", 6.0)
    assert history.data[0].tolist() == [1, 2, 3, 4, 5, 6]
    assert history.data[1].tolist() == [1, 1, 1, 1, 2, 1]


def test_a_scalar_that_was_removed_begins_anew(hub):
    hub.update_scalar("train/loss", 1.0)
    del hub.log_scalars["train/loss"]
    hub.update_scalar("train/loss", 2.0)
    assert hub.get_scalar("train/loss").data[0].tolist() == [2]


def test_numbers_that_nobody_reads_reach_their_histories_in_time(hub):
    for step in range(10_000):
        hub.update_scalar("train/loss", float(step))
    assert len(hub.column_for("train/loss")) < FULL
    assert hub.get_scalar("train/loss").data[0].tolist() == list(range(10_000))


def test_a_history_that_drops_its_oldest_entries_loses_none_of_the_newest(hub):
    hub.log_scalars["train/loss"] = HistoryBuffer(max_length=10)
    for step in range(50_000):
        hub.update_scalar("train/loss", float(step))
        hub.update_scalar("train/lr", 0.1)
    loss = hub.get_scalar("train/loss")
    assert loss.data[0].tolist() == list(range(49_990, 50_000))
    assert loss.mean() == 49_999 / 2


def test_a_state_that_is_loaded_comes_after_what_was_told_before(hub):
    hub.update_scalar("train/loss", 1.0)
    state = hub.state_dict()
    hub.update_scalar("train/loss", 2.0)
    hub.load_state_dict(state)
    assert hub.get_scalar("train/loss").data[0].tolist() == [1]


def test_a_scalar_that_comes_later_is_unknown_to_what_was_to_be_called_before() -> None:
    hub = MessageHub("late")
    seen: list[list[str]] = []
    hub.update_scalar("train/loss", 1.0)
    hub.call_in_order(lambda: seen.append(list(hub.log_scalars)))
    hub.update_scalar("train/loss_aux", 2.0)
    hub.column_for("train/nothing_yet")
    assert list(hub.log_scalars) == ["train/loss", "train/loss_aux"]
    assert seen == [["train/loss"]]


def test_a_value_that_is_refused_leaves_no_empty_history() -> None:
    hub = MessageHub("refuses")
    with pytest.raises(ScalarTypeError):
        hub.update_scalar("train/text", "no number")
    assert not hub.log_scalars


def test_flags_of_a_loaded_state_hold_for_scalars_that_were_logged_before() -> None:
    other = MessageHub("other")
    other.update_scalar("train/loss", 1.0)
    hub = MessageHub("mine")
    hub.update_scalar("train/loss", 1.0, resumed=False)
    hub.load_state_dict(other.state_dict())
    with pytest.raises(ResumeFlagError):
        hub.update_scalar("train/loss", 1.0, resumed=False)

from __future__ import annotations

import copy
import io
from contextlib import contextmanager

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from drivetrain.optim import AccumulationPlan, AmpOptimWrapper, OptimWrapper


def loss_of(model: nn.Module, batch: torch.Tensor) -> torch.Tensor:
    return model(batch).pow(2).mean()


@pytest.mark.parametrize("make", [OptimWrapper, AmpOptimWrapper], ids=lambda cls: cls.__name__)
@pytest.mark.parametrize(("passes", "counts"), [(6, 3), (7, 3), (8, 3), (2, 5), (5, 1)])
def test_updates_equal_those_of_the_joined_batches(model, make, passes, counts) -> None:
    """Also in the last group, which is shorter where the length is no multiple of the counts."""
    twin = copy.deepcopy(model)
    batches = torch.randn(passes, 4, 3)
    extra = {"dtype": "float32"} if make is AmpOptimWrapper else {}
    wrapper = make(
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1), accumulative_counts=counts, **extra
    )
    wrapper.initialize_count_status(model, 0, passes)
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1)

    for batch in batches:
        with wrapper.optim_context(model):
            loss = loss_of(model, batch)
        wrapper.update_params(loss)
    for group in batches.split(counts):
        optimizer.zero_grad()
        loss_of(twin, group.flatten(0, 1)).backward()
        optimizer.step()

    for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


@given(
    counts=st.integers(1, 7),
    start=st.integers(0, 30),
    length=st.integers(1, 30),
)
def test_the_passes_of_each_group_weigh_one_together(counts, start, length) -> None:
    plan = AccumulationPlan(counts, start=start, max_counts=start + length)
    weight = 0.0
    for done in range(start, start + length):
        weight += 1 / plan.group_length(done)
        if plan.ends_group(done + 1):
            assert weight == pytest.approx(1.0)
            weight = 0.0
    assert weight == 0.0  # the run ends with an update


def test_without_a_known_end_groups_go_on_after_it() -> None:
    plan = AccumulationPlan(3, max_counts=4)
    assert [plan.group_length(done) for done in range(8)] == [3, 3, 3, 1, 2, 2, 3, 3]


class Communicating(nn.Linear):
    """Counts the passes in which it may not communicate."""

    def __init__(self) -> None:
        super().__init__(3, 1)
        self.silent: list[int] = []
        self.passes = 0

    @contextmanager
    def no_sync(self):
        self.silent.append(self.passes)
        yield


def test_ranks_communicate_only_in_the_pass_that_updates() -> None:
    model = Communicating()
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1), accumulative_counts=3)
    wrapper.initialize_count_status(model, 0, 8)
    for _ in range(8):
        with wrapper.optim_context(model):
            loss = loss_of(model, torch.ones(2, 3))
        wrapper.update_params(loss)
        model.passes += 1
    assert model.silent == [0, 1, 3, 4, 6]


def test_batchnorm_and_accumulation_together_are_warned_about(caplog_of) -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1), accumulative_counts=2)
    lines = caplog_of(lambda: wrapper.initialize_count_status(model, 3, 8))
    assert any("inside a group of 2 accumulated passes" in line for line in lines)
    assert any("BatchNorm" in line for line in lines)


def test_passes_of_unequal_sizes_weigh_by_their_samples_where_the_model_reports_them(model) -> None:
    twin = copy.deepcopy(model)
    batches = [torch.randn(size, 3) for size in (5, 1, 2)]
    wrapper = OptimWrapper(
        torch.optim.SGD(model.parameters(), lr=0.1),
        accumulative_counts=2,
        clip_grad={"max_norm": 100.0},
    )
    wrapper.initialize_count_status(model, 0, 3)
    for batch in batches:
        loss = loss_of(model, batch)
        loss.num_samples = len(batch)
        wrapper.update_params(loss)
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1)
    for group in (torch.cat(batches[:2]), batches[2]):
        optimizer.zero_grad()
        loss_of(twin, group).backward()
        optimizer.step()
    for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_fully_sharded_model_is_told_when_to_communicate() -> None:
    class Sharded(nn.Linear):
        def set_requires_gradient_sync(self, sync: bool) -> None:
            told.append(sync)

    told: list[bool] = []
    model = Sharded(3, 1)
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1), accumulative_counts=2)
    for _ in range(4):
        with wrapper.optim_context(model):
            loss = loss_of(model, torch.ones(1, 3))
        wrapper.update_params(loss)
    assert told == [False, True, False, True]


@pytest.mark.parametrize("stop", range(1, 8))
@pytest.mark.parametrize("weighted", [False, True])
def test_a_run_that_stops_inside_a_group_goes_on_bit_for_bit(model, stop, weighted) -> None:
    batches = [torch.randn(2 + index % 3, 3) for index in range(8)]

    def train(network: nn.Module, begin: int, end: int, state: dict | None = None) -> dict:
        wrapper = OptimWrapper(
            torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9), accumulative_counts=3
        )
        if state is not None:
            file = io.BytesIO()
            torch.save(state, file)
            file.seek(0)
            wrapper.load_state_dict(torch.load(file, weights_only=True))
        wrapper.initialize_count_status(network, begin, len(batches))
        for batch in batches[begin:end]:
            loss = loss_of(network, batch)
            if weighted:
                loss.num_samples = len(batch)
            wrapper.update_params(loss)
        return copy.deepcopy(wrapper.state_dict())

    whole, first = copy.deepcopy(model), copy.deepcopy(model)
    train(whole, 0, 8)
    state = train(first, 0, stop)
    assert ("accumulated" in state) == (stop not in (3, 6))
    second = copy.deepcopy(first)
    train(second, stop, 8, state)
    for ours, theirs in zip(second.parameters(), whole.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_gradients_of_another_place_in_the_run_are_dropped(model) -> None:
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1), accumulative_counts=3)
    wrapper.update_params(loss_of(model, torch.ones(1, 3)))
    state = wrapper.state_dict()
    wrapper.load_state_dict(state)
    wrapper.initialize_count_status(model, 0, 9)
    assert all(param.grad is None for param in model.parameters())

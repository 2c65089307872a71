"""Seeds and random states."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from drivetrain import dist
from drivetrain.dist._randomness import derived_random_state


@pytest.fixture(autouse=True)
def _keep_random_state() -> Iterator[None]:
    state = dist.random_state_dict()
    yield
    dist.load_random_state_dict(state)


def _draw() -> tuple[float, float, float, float]:
    return random.random(), random.gauss(0, 1), float(np.random.randn()), torch.rand(1).item()


def test_one_seed_governs_python_numpy_and_torch() -> None:
    dist.set_random_seed(3)
    first = _draw()
    dist.set_random_seed(3)
    assert _draw() == first
    dist.set_random_seed(4)
    assert all(a != b for a, b in zip(_draw(), first, strict=True))


def test_without_a_seed_a_fresh_one_is_drawn_and_returned() -> None:
    torch.manual_seed(0)
    first, second = dist.set_random_seed(), dist.set_random_seed()
    assert first != second
    assert 0 <= first < 2**31


def test_asking_for_a_seed_moves_no_generator() -> None:
    state = dist.random_state_dict()
    expected = _draw()
    dist.load_random_state_dict(state)
    dist.sync_random_seed()
    assert _draw() == expected


def test_random_state_goes_through_a_safe_file_and_back() -> None:
    _draw()  # leaves a cached second number of the pair in both Gaussian generators
    file = io.BytesIO()
    torch.save(dist.random_state_dict(), file)
    expected = [_draw() for _ in range(3)]
    file.seek(0)
    dist.load_random_state_dict(torch.load(file, weights_only=True))
    assert [_draw() for _ in range(3)] == expected


def test_a_state_of_an_absent_accelerator_is_left_out() -> None:
    state = dist.random_state_dict() | {"npu": [torch.zeros(16, dtype=torch.uint8)]}
    expected = _draw()
    dist.load_random_state_dict(state)
    assert _draw() == expected


def test_a_derived_state_depends_on_state_and_rank_only() -> None:
    dist.set_random_seed(1)
    state = dist.random_state_dict()
    derived_random_state(state, 2)
    second = _draw()
    derived_random_state(state, 3)
    assert _draw() != second
    derived_random_state(state, 2)
    assert _draw() == second


def test_deterministic_mode_is_switched_on() -> None:
    before = torch.are_deterministic_algorithms_enabled()
    try:
        dist.set_random_seed(0, deterministic=True)
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.backends.cudnn.deterministic
        assert not torch.backends.cudnn.benchmark
    finally:
        torch.use_deterministic_algorithms(before)
        torch.backends.cudnn.deterministic = False

"""Devices, memory peaks and mixed precision, on a machine with or without an accelerator."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from drivetrain import dist


def test_get_device_names_a_device_that_computes() -> None:
    device = dist.get_device()
    assert (torch.ones(2, device=device) * 2).sum().item() == 4


def test_each_kind_of_device_can_be_asked_for_without_it() -> None:
    answers = {
        "cuda": dist.is_cuda_available(),
        "mps": dist.is_mps_available(),
        "npu": dist.is_npu_available(),
        "mlu": dist.is_mlu_available(),
        "musa": dist.is_musa_available(),
        "xpu": dist.is_xpu_available(),
    }
    assert all(isinstance(answer, bool) for answer in answers.values())
    assert dist.get_device() == "cpu" or answers[dist.get_device()]


def test_memory_peaks_of_the_cpu_are_zero_and_not_an_error() -> None:
    dist.reset_peak_memory("cpu")
    assert dist.get_max_memory("cpu") == 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
def test_memory_peak_of_an_absent_device_is_zero() -> None:
    assert dist.get_max_cuda_memory() == 0
    assert dist.get_max_musa_memory() == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_computes_in_low_precision(dtype: torch.dtype) -> None:
    layer = nn.Linear(3, 3)
    with dist.autocast("cpu", dtype=dtype):
        assert layer(torch.ones(1, 3)).dtype is dtype
    assert layer(torch.ones(1, 3)).dtype is torch.float32


def test_autocast_takes_the_device_at_hand_and_can_be_off_inside_another() -> None:
    device = dist.get_device()
    layer = nn.Linear(3, 3).to(device)
    x = torch.ones(1, 3, device=device)
    with dist.autocast():
        assert layer(x).dtype is torch.get_autocast_dtype(device)
        with dist.autocast(enabled=False):
            assert layer(x).dtype is torch.float32


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
def test_autocast_for_an_absent_device_is_an_error_and_not_full_precision() -> None:
    with pytest.raises(dist.BackendError, match="no CUDA device"), dist.autocast("cuda"):
        pass


def test_autocast_refuses_a_dtype_that_is_not_low_precision() -> None:
    with (
        pytest.raises(dist.BackendError, match=r"got torch\.float64"),
        dist.autocast("cpu", dtype=torch.float64),
    ):
        pass


def test_autocast_without_support_is_an_error_only_when_enabled() -> None:
    with dist.autocast("meta", enabled=False):
        pass
    with pytest.raises(dist.BackendError, match="'meta' has no mixed"), dist.autocast("meta"):
        pass


@pytest.mark.parametrize(
    ("dtype", "device_type", "expected"),
    [
        (torch.float16, "cpu", True),
        (torch.bfloat16, "cpu", False),
        (None, "cpu", False),
        (None, "cuda", True),
        (torch.float32, "cuda", False),
    ],
)
def test_only_float16_needs_a_scaler(
    dtype: torch.dtype | None, device_type: str, expected: bool
) -> None:
    assert dist.needs_grad_scaler(dtype, device_type) is expected


def test_collect_env_describes_the_machine() -> None:
    env = dist.collect_env()
    assert env["PyTorch"] == torch.__version__
    assert env["CUDA available"] == str(torch.cuda.is_available())
    assert {"sys.platform", "Python", "GCC", "drivetrain", "PyTorch compiling details"} <= set(env)

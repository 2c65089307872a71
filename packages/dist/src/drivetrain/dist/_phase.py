"""What a thread is busy with, read from its stack: costs the training nothing."""

from __future__ import annotations

import sys
import threading
import traceback
from dataclasses import dataclass
from types import FrameType

# Phase by module (as a prefix) and function (as a prefix; "" for any), looked for from the
# innermost frame outwards: the first frame that fits says what the thread does.
_RULES = (
    ("torch.distributed.fsdp", "", "collective"),
    ("torch.distributed.tensor", "", "collective"),
    ("torch.distributed.checkpoint", "", "save or load"),
    ("torch.distributed", "", "collective"),
    ("torch.nn.parallel.distributed", "_sync", "collective"),
    ("torch.autograd", "", "backward"),
    ("torch._tensor", "backward", "backward"),
    ("torch.optim.lr_scheduler", "", "schedule"),
    ("torch.optim", "", "optimizer step"),
    ("torch.utils.data", "", "data"),
    ("drivetrain.dataset", "", "data"),
    ("drivetrain.dist._collect", "", "collective"),
    ("drivetrain.evaluator", "", "evaluation"),
    ("drivetrain.visualization", "", "visualization"),
    ("", "save_checkpoint", "save"),
    ("", "load_checkpoint", "load"),
    ("", "resume", "load"),
    ("drivetrain.checkpoint", "", "save or load"),
    ("drivetrain.runner.hooks", "", "hook"),
    ("", "train_step", "forward"),
    ("", "val_step", "forward"),
    ("", "test_step", "forward"),
)
# Calls in which a rank does nothing but wait for others. The backward pass is one when its
# innermost frame is torch's own: gradients are averaged in there, out of Python's sight.
_WAITING = ("torch.distributed", "torch.nn.parallel", "torch.autograd", "torch._tensor")

# Wraps every collective, under names that say nothing.
_TORCH_LOGGING = "torch.distributed.c10d_logger"


@dataclass(frozen=True)
class Activity:
    """What a thread does at one moment.

    Attributes:
        phase: ``'data'``, ``'forward'``, ``'backward'``, ``'collective'``, ``'save'``, ...
        is_waiting: Whether it is inside a call that waits for other ranks.
        stack: Its Python stack, as a traceback shows it.
    """

    phase: str
    is_waiting: bool
    stack: str


def main_thread_activity() -> Activity:
    """What the main thread does now; asked by another thread."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    if frame is None:
        return Activity("end", False, "")
    return Activity(
        phase=phase_of(frame),
        is_waiting=_module(frame).startswith(_WAITING),
        stack="".join(traceback.format_stack(frame)),
    )


def phase_of(frame: FrameType) -> str:
    """The phase of the thread whose innermost frame is ``frame``."""
    inner: FrameType | None = frame
    while inner is not None:
        module, function = _module(inner), inner.f_code.co_name
        for prefix, name, phase in _RULES:
            if module.startswith(prefix) and function.startswith(name):
                return _named(phase, inner)
        inner = inner.f_back
    return f"{_module(frame)}.{frame.f_code.co_name}"


def _named(phase: str, frame: FrameType) -> str:
    """Hooks and collectives are told apart by name."""
    if phase == "hook":
        owner = frame.f_locals.get("self")
        return f"hook {type(owner).__name__}.{frame.f_code.co_name}" if owner else phase
    if phase == "collective":
        name = _outermost_in_torch(frame).f_code.co_name
        return f"collective ({name})"
    return phase


def _outermost_in_torch(frame: FrameType) -> FrameType:
    """The call by which the program went into ``torch.distributed``."""
    outermost = frame
    inner: FrameType | None = frame
    while inner is not None and _module(inner).startswith("torch.distributed"):
        if not _module(inner).startswith(_TORCH_LOGGING):
            outermost = inner
        inner = inner.f_back
    return outermost


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))

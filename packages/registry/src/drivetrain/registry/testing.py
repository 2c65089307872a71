"""What tests of components need: a clean slate."""

from __future__ import annotations

from drivetrain.registry._manager import reset_instances

__all__ = ["reset_global_state"]


def reset_global_state() -> None:
    """Forget all named instances (loggers, hubs, visualizers) and the default scope."""
    reset_instances()

"""What tests of components need: a clean slate, and proof that they keep the contract."""

from __future__ import annotations

from drivetrain.registry._conformance import Finding, assert_conformance, conformance_findings
from drivetrain.registry._discovery import forget_providers
from drivetrain.registry._manager import reset_instances

__all__ = [
    "Finding",
    "assert_conformance",
    "conformance_findings",
    "reset_discovery",
    "reset_global_state",
]


def reset_global_state() -> None:
    """Forget all named instances (loggers, hubs, visualizers) and the default scope."""
    reset_instances()


def reset_discovery() -> None:
    """Read entry points again at the next missing name, and try failed imports again.

    For tests that install or remove distributions while they run; what was registered stays.
    """
    forget_providers()

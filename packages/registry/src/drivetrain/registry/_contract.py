"""The version of the contract between packages (CONTRACT.md), and who keeps it."""

from __future__ import annotations

from drivetrain.registry._errors import ContractError

TYPE_CHECKING = False  # as checkers know it; importing `typing` would take longer than all the rest
if TYPE_CHECKING:
    from typing import Any

CONTRACT_VERSION = 1

# A provider module may say for which versions it was written, as (oldest, newest).
DECLARATION = "DRIVETRAIN_CONTRACT"


def require_contract(module: Any) -> None:
    """Check that an imported provider supports the contract that is in force here.

    Args:
        module: The module that an entry point announced. One that declares nothing is taken
            to support every version.

    Raises:
        ContractError: If its declared range does not hold ``CONTRACT_VERSION``, or is no range.
    """
    declared = getattr(module, DECLARATION, None)
    if declared is None:
        return
    name = module.__name__
    try:
        oldest, newest = (int(version) for version in declared)
    except (TypeError, ValueError):
        raise ContractError(
            f"{name}.{DECLARATION} must be two whole numbers, (oldest, newest), got {declared!r}."
        ) from None
    if not oldest <= CONTRACT_VERSION <= newest:
        remedy = (
            "the package of that module" if newest < CONTRACT_VERSION else "drivetrain-registry"
        )
        raise ContractError(
            f"{name} supports contract {oldest} to {newest}; installed is {CONTRACT_VERSION}.",
            (("To do:", f"upgrade {remedy}"),),
        )

"""Turn what users log into one number, or into one tensor that will become a number later."""

from __future__ import annotations

import math
import numbers
import sys
from typing import TYPE_CHECKING, Any, TypeAlias

from drivetrain.logging._errors import ScalarTypeError, ScalarValueError

if TYPE_CHECKING:
    from torch import Tensor

    Scalar: TypeAlias = float | Tensor


def is_tensor(value: object) -> bool:
    """Say whether ``value`` is a torch tensor, without importing torch: no torch, no tensor."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def number_here(value: Any) -> float | None:
    """Return the number that ``value`` is, if it is plain or in the memory of this process.

    Each loss of each step comes by here; what returns None is for ``as_scalar``.
    """
    kind = type(value)
    if kind is float or kind is int:
        return float(value)
    torch = sys.modules.get("torch")
    if torch is not None and kind is torch.Tensor and value.is_cpu:
        number = value.tolist()  # a list unless it is 0-d
        if type(number) is float:
            return number
    return None


def as_scalar(value: Any) -> Scalar:
    """Return a number, or a detached 0-d tensor that nobody has waited for.

    Raises:
        ScalarTypeError: If no number can be made of ``value``.
        ScalarValueError: If ``value`` holds none, or several.
    """
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        if value.requires_grad:  # keeping the graph would keep every activation of the step
            value = value.detach()
        return value if not value.ndim else only_element(value)
    if isinstance(value, numbers.Real):  # bool, Fraction, numpy scalars
        return float(value)
    if hasattr(value, "item") and hasattr(value, "size"):  # numpy arrays
        if value.size != 1:
            raise ScalarValueError(_one_number_text(tuple(value.shape)))
        return float(value.item())
    raise ScalarTypeError(
        f"a logged value must be a number, a numpy scalar or a tensor of one element, "
        f"got {type(value).__name__}.\n"
        "  To keep other data, use MessageHub.update_info."
    )


def only_element(tensor: Tensor) -> Tensor:
    """Return the one element of a tensor, as a 0-d tensor.

    Raises:
        ScalarValueError: If it has none, or several.
    """
    if math.prod(tensor.shape) != 1:
        raise ScalarValueError(_one_number_text(tuple(tensor.shape)))
    return tensor.reshape(())


def _one_number_text(shape: tuple[int, ...]) -> str:
    return (
        f"a logged value must hold exactly one number, got shape {shape}.\n"
        "  Reduce it first, for example with .mean()."
    )

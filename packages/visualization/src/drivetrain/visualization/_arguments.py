"""Bring the arguments of drawing methods to one form, and say clearly when that cannot be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from drivetrain.visualization._errors import DrawingError, DrawingTypeError

if TYPE_CHECKING:
    import numpy as np

    Color: TypeAlias = str | tuple[float, ...] | list[Any]
    Types: TypeAlias = type | tuple[type, ...]


def check_type(name: str, value: Any, valid_type: Types) -> None:
    """Check the type of an argument.

    Raises:
        DrawingTypeError: If ``value`` is no instance of ``valid_type``.
    """
    if not isinstance(value, valid_type):
        types = valid_type if isinstance(valid_type, tuple) else (valid_type,)
        wanted = " or ".join(t.__name__ for t in types)
        raise DrawingTypeError(f"{name} must be {wanted}, got {type(value).__name__}: {value!r}")


def check_length(name: str, value: Any, valid_length: int) -> None:
    """Check that a list has an entry for each thing to draw; what is no list is for all of them.

    Raises:
        DrawingError: If the list is shorter than ``valid_length``.
    """
    if isinstance(value, list) and len(value) < valid_length:
        raise DrawingError(
            f"{name} has {len(value)} entries, but there are {valid_length} things to draw.\n"
            "  Give one for each, or a single value for all."
        )


def check_type_and_length(name: str, value: Any, valid_type: Types, valid_length: int) -> None:
    """Check the type of an argument and, if it is a list, its length.

    Raises:
        DrawingTypeError: If ``value`` is no instance of ``valid_type``.
        DrawingError: If the list is shorter than ``valid_length``.
    """
    check_type(name, value, valid_type)
    check_length(name, value, valid_length)


def value2list(value: Any, valid_type: Types, expand_dim: int) -> list[Any]:
    """Return ``expand_dim`` times the same value if it is one; a list as it is.

    Example:
        >>> value2list("g", str, 3)
        ['g', 'g', 'g']
        >>> value2list(["g", "r"], str, 2)
        ['g', 'r']
    """
    return [value] * expand_dim if isinstance(value, valid_type) else value


def tensor2ndarray(value: Any) -> Any:
    """Return a tensor as a numpy array on the CPU; anything else as it is."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        # numpy has no bfloat16
        value = value.float().numpy() if str(value.dtype) == "torch.bfloat16" else value.numpy()
    return value


def color_val_matplotlib(colors: Color) -> Any:
    """Bring colours from 0 to 255 to what matplotlib takes, 0 to 1.

    Args:
        colors: A name, a tuple of RGB or RGBA (alpha from 0 to 255, too), or a list of these.

    Raises:
        DrawingTypeError: If it is none of these.
        DrawingError: If a tuple has not 3 or 4 numbers from 0 to 255.

    Example:
        >>> color_val_matplotlib([(255, 0, 51), "b"])
        [(1.0, 0.0, 0.2), 'b']
    """
    if isinstance(colors, str):
        return colors
    if isinstance(colors, tuple):
        if len(colors) not in (3, 4) or not all(0 <= channel <= 255 for channel in colors):
            raise DrawingError(
                f"a color of numbers is (red, green, blue), each from 0 to 255, got {colors}"
            )
        return tuple(channel / 255 for channel in colors)
    if isinstance(colors, list):
        return [color_val_matplotlib(color) for color in colors]
    raise DrawingTypeError(
        f"a color must be a name, a tuple or a list of these, got {type(colors).__name__}"
    )


def color_str2rgb(color: str) -> tuple[int, int, int]:
    """Return the RGB values, 0 to 255, of a colour that matplotlib has a name for.

    Example:
        >>> color_str2rgb("r"), color_str2rgb("#00ff80")
        ((255, 0, 0), (0, 255, 128))
    """
    from matplotlib.colors import to_rgb  # heavy: only who draws pays

    red, green, blue = (round(channel * 255) for channel in to_rgb(color))
    return red, green, blue


def coordinates(name: str, value: Any, size: int) -> np.ndarray:
    """Return points, boxes or ends of lines as ``(N, size)``; one of them may come alone.

    Raises:
        DrawingTypeError: If ``value`` is neither an array nor a tensor.
        DrawingError: If its shape is another.
    """
    import numpy as np

    array = tensor2ndarray(value)
    check_type(name, array, np.ndarray)
    if array.ndim == 1:
        array = array[None]
    if array.ndim != 2 or array.shape[-1] != size:
        raise DrawingError(f"{name} must have shape ({size},) or (N, {size}), got {array.shape}")
    return array

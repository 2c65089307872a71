"""A pipeline: transforms, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from drivetrain.dataset._errors import DatasetArgumentError, transform_error
from drivetrain.registry import TRANSFORMS, building

Transform = Callable[[Any], Any]


class Compose:
    """Apply transforms one after the other.

    Args:
        transforms: Callables, or nodes to build them from. ``None`` is no transform.

    Raises:
        DatasetArgumentError: If one of them is neither a node nor callable.

    Example:
        >>> Compose([str.strip, str.upper])(" cat ")
        'CAT'
    """

    def __init__(self, transforms: Sequence[Mapping[str, Any] | Transform] | None) -> None:
        if transforms is not None and (
            isinstance(transforms, Mapping | str) or not isinstance(transforms, Iterable)
        ):
            raise DatasetArgumentError(
                f"a pipeline is a list of transforms or their nodes, got {transforms!r}"
            )
        self.transforms: list[Transform] = []
        for position, transform in enumerate(transforms or ()):
            with building(f"pipeline[{position}]"):
                self.transforms.append(_built(transform))

    def __call__(self, data: Any) -> Any:
        """Pass ``data`` through all transforms.

        Returns:
            What the last one returned, or ``None`` as soon as one of them returned ``None``.

        Raises:
            TransformError: If a transform raised; also an instance of that error's type.
        """
        position = 0
        try:
            for position, transform in enumerate(self.transforms):  # noqa: B007  # for the error
                data = transform(data)
                if data is None:
                    return None
        except Exception as err:
            name = _name_of(self.transforms[position])
            raise transform_error(
                f"transform {position} ({name}) raised {type(err).__name__}: {err}", err
            ) from err
        return data

    def __repr__(self) -> str:
        inner = "".join(f"\n    {transform!r}" for transform in self.transforms)
        return f"{type(self).__name__}({inner}\n)"


def _built(transform: Any) -> Transform:
    node = transform
    if isinstance(transform, Mapping):
        transform = TRANSFORMS.build(transform)
    if not callable(transform):
        raise DatasetArgumentError(
            f"a transform must be callable or a node, got {type(transform).__name__}: {node!r}"
        )
    return transform


def _name_of(transform: Any) -> str:
    return getattr(transform, "__qualname__", None) or type(transform).__name__

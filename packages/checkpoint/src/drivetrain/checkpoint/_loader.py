"""Load checkpoints from wherever a name points to."""

from __future__ import annotations

import inspect
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Protocol, TypeVar

from torch import nn

from drivetrain.checkpoint._errors import (
    CheckpointContentError,
    SchemeRegistrationError,
    UnknownSchemeError,
)
from drivetrain.checkpoint._revise import STRIP_WRAPPER, KeyRevisions, revised_keys
from drivetrain.checkpoint._schemes import (
    load_from_fsspec,
    load_from_http,
    load_from_local,
    load_from_mmcls,
    load_from_open_mmlab,
    load_from_torchvision,
)
from drivetrain.checkpoint._state_dict import load_state_dict
from drivetrain.logging import print_log

Logger = logging.Logger | str | None


class SchemeLoader(Protocol):
    """What a scheme registers: a function of these two arguments."""

    def __call__(self, filename: str, map_location: Any = None) -> Any:
        """Return what the file holds."""


LoaderType = TypeVar("LoaderType", bound=Callable[..., Any])


class CheckpointLoader:
    """Finds the loader for a name by its prefix; the longest prefix wins.

    Known prefixes: none (a local file), ``http://``, ``https://``, ``torchvision://``,
    ``modelzoo://``, ``open-mmlab://``, ``openmmlab://``, ``mmcls://``, and every other URL that
    fsspec knows.
    """

    _schemes: ClassVar[dict[str, Callable[..., Any]]] = {
        "": load_from_local,
        "http://": load_from_http,
        "https://": load_from_http,
        "torchvision://": load_from_torchvision,
        "modelzoo://": load_from_torchvision,
        "open-mmlab://": load_from_open_mmlab,
        "openmmlab://": load_from_open_mmlab,
        "mmcls://": load_from_mmcls,
    }

    @classmethod
    def register_scheme(
        cls,
        prefixes: str | Sequence[str],
        loader: LoaderType | None = None,
        force: bool = False,
    ) -> Any:
        """Use a loader for names that start with one of these prefixes. Also a decorator.

        Args:
            prefixes: For instance ``"hub://"``.
            loader: A function of ``filename`` and ``map_location`` that returns the checkpoint.
                It may take ``weights_only``; otherwise it is not called for unsafe loading.
            force: Replace the loader of a prefix that has one.

        Raises:
            SchemeRegistrationError: If a prefix has a loader and ``force`` is False.

        Example:
            >>> @CheckpointLoader.register_scheme("memory-only://")
            ... def load_from_dict(filename, map_location=None):
            ...     return {"state_dict": {}}
        """

        def register(candidate: LoaderType) -> LoaderType:
            wanted = [prefixes] if isinstance(prefixes, str) else list(prefixes)
            taken = [prefix for prefix in wanted if prefix in cls._schemes]
            if taken and not force:
                raise SchemeRegistrationError(
                    f"the prefix {taken[0]!r} has a loader, "
                    f"{cls._schemes[taken[0]].__name__}; force=True replaces it"
                )
            cls._schemes.update(dict.fromkeys(wanted, candidate))
            return candidate

        return register if loader is None else register(loader)

    @classmethod
    def load_checkpoint(
        cls,
        filename: str,
        map_location: Any = None,
        logger: Logger = None,
        *,
        weights_only: bool = True,
    ) -> Any:
        """Load what a name points to.

        Args:
            filename: A path or URL.
            map_location: As for ``torch.load``.
            logger: Where to say what is loaded: a logger, ``"current"``, or None to print it.
            weights_only: False lets the file run code. Only for files that you trust.

        Raises:
            CheckpointError: One of its kinds, see the package's errors.
        """
        loader = cls._loader_for(str(filename))
        print_log(f"Load checkpoint from {filename}", logger=logger)
        if weights_only:
            return loader(str(filename), map_location)
        if "weights_only" not in inspect.signature(loader).parameters:
            raise UnknownSchemeError(
                f"{filename}: its loader {loader.__name__} takes no weights_only, "
                "so it cannot be told to load unsafely"
            )
        return loader(str(filename), map_location, weights_only=False)

    @classmethod
    def _loader_for(cls, filename: str) -> Callable[..., Any]:
        prefixes = [p for p in cls._schemes if filename.startswith(p)]
        best = max(prefixes, key=len)
        return load_from_fsspec if best == "" and "://" in filename else cls._schemes[best]


def _load_checkpoint(
    filename: str, map_location: Any = None, logger: Logger = None, *, weights_only: bool = True
) -> Any:
    """Load what a name points to; see `CheckpointLoader.load_checkpoint`."""
    return CheckpointLoader.load_checkpoint(
        filename, map_location, logger, weights_only=weights_only
    )


def _load_checkpoint_with_prefix(
    prefix: str,
    filename: str,
    map_location: Any = None,
    logger: Logger = "current",
    *,
    weights_only: bool = True,
) -> OrderedDict[str, Any]:
    """Load the weights of one part of a model.

    Args:
        prefix: Name of the part, for instance ``"backbone"``; it is cut from the names.
        filename: See `CheckpointLoader.load_checkpoint`, as the other arguments.
        map_location: As for ``torch.load``.
        logger: Where to say what is loaded.
        weights_only: False lets the file run code.

    Raises:
        CheckpointContentError: If no weight starts with the prefix.
    """
    checkpoint = _load_checkpoint(filename, map_location, logger, weights_only=weights_only)
    weights = _weights_of(checkpoint)
    start = prefix if prefix.endswith(".") else f"{prefix}."
    part = OrderedDict((n[len(start) :], v) for n, v in weights.items() if n.startswith(start))
    if not part:
        heads = sorted({name.split(".")[0] for name in weights})
        raise CheckpointContentError(
            f"{filename}: no weight starts with {start!r}.\n"
            f"  They start with: {', '.join(heads[:10])}"
        )
    return part


def _load_checkpoint_to_model(
    model: nn.Module,
    checkpoint: Mapping[str, Any],
    strict: bool = False,
    logger: Logger = None,
    revise_keys: KeyRevisions = STRIP_WRAPPER,
) -> Mapping[str, Any]:
    """Put the weights of a loaded checkpoint into a model; see `load_checkpoint`."""
    weights = _weights_of(checkpoint)
    load_state_dict(model, revised_keys(weights, revise_keys), strict, logger)
    return checkpoint


def load_checkpoint(
    model: nn.Module,
    filename: str,
    map_location: Any = None,
    strict: bool = False,
    logger: Logger = None,
    revise_keys: KeyRevisions = STRIP_WRAPPER,
    *,
    weights_only: bool = True,
) -> Any:
    """Load a checkpoint, and put its weights into a model.

    Args:
        model: The model, wrapped or not.
        filename: A path or URL, see `CheckpointLoader`. The weights are under ``state_dict``, or
            the file holds nothing else.
        map_location: As for ``torch.load``; ``"cpu"`` is a good choice.
        strict: Raise if anything is missing, unexpected or of another shape.
        logger: Where the report goes: a logger, ``"current"``, or None to print it.
        revise_keys: Pairs of a regular expression and its replacement, applied to each name in
            turn. The default cuts the ``module.`` of a wrapped model.
        weights_only: False lets the file run code. Only for files that you trust.

    Returns:
        The whole checkpoint.

    Raises:
        CheckpointError: One of its kinds, see the package's errors.
    """
    checkpoint = _load_checkpoint(filename, map_location, logger, weights_only=weights_only)
    if not isinstance(checkpoint, Mapping):
        raise CheckpointContentError(
            f"{filename}: holds a {type(checkpoint).__name__}, not a dict with weights"
        )
    _load_checkpoint_to_model(model, checkpoint, strict, logger, revise_keys)
    return checkpoint


def _weights_of(checkpoint: Mapping[str, Any]) -> Mapping[str, Any]:
    return checkpoint.get("state_dict", checkpoint)

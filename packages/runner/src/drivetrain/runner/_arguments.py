"""What the arguments of a runner mean, before anything is built from them."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from drivetrain.config import Config
from drivetrain.registry import ComponentArgumentError
from drivetrain.runner._errors import RunnerConfigError

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


def taking_arguments_of(source: Callable[..., Any]) -> Callable[[FunctionT], FunctionT]:
    """Show the arguments of ``source`` as those of a function that hands its ``**others`` on to it.

    They are written once, there; ``inspect``, ``help`` and the check of a config see all of them.

    Args:
        source: The function that gets them; by name, whatever it would take otherwise.
    """

    def decorate(function: FunctionT) -> FunctionT:
        own = inspect.signature(function).parameters.values()
        merged = {each.name: each for each in own if each.kind is not each.VAR_KEYWORD}
        for name, each in inspect.signature(source).parameters.items():
            merged.setdefault(name, each.replace(kind=each.KEYWORD_ONLY))
        function.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # inspect reads it
            list(merged.values())
        )
        return function

    return decorate


def checked_compile(value: Any) -> bool | dict[str, Any]:
    """``compile``, if it is a bool or a dict of options.

    Raises:
        ComponentArgumentError: If it is something else; also a TypeError.
    """
    if not isinstance(value, (bool, dict)):
        raise ComponentArgumentError(f"compile is a bool or a dict of options, got {value!r}")
    return value


def checked_level(value: int | str) -> int | str:
    """``log_level``, if the standard library knows it.

    Raises:
        RunnerConfigError: If not.
    """
    # Of an unknown name it makes a text.
    if isinstance(value, str) and not isinstance(logging.getLevelName(value.upper()), int):
        raise RunnerConfigError(
            f"log_level: no level {value!r}; there are DEBUG, INFO, WARNING, ERROR and CRITICAL"
        )
    return value


def arguments_in(cfg: Config, names: Iterable[str]) -> dict[str, Any]:
    """The arguments that ``cfg`` gives; None is left to the default, except for the scope."""
    return {
        name: cfg[name]
        for name in names
        if name in cfg and (cfg[name] is not None or name == "default_scope")
    }


def resume_source(load_from: str | None, resume: bool | str) -> tuple[str | None, bool]:
    """``load_from``, and whether to resume; ``resume`` may be the path of a checkpoint.

    Raises:
        RunnerConfigError: If ``resume`` is something else, or both name a checkpoint.
    """
    if isinstance(resume, (bool, type(None))):
        return None if load_from is None else str(load_from), bool(resume)
    if not isinstance(resume, (str, Path)):
        raise RunnerConfigError(
            f"resume is True, False or the path of a checkpoint, got {resume!r}"
        )
    if load_from is not None:
        raise RunnerConfigError(
            f"resume={str(resume)!r} and load_from={load_from!r} name two checkpoints; give one"
        )
    return str(resume), True


def as_config(cfg: Config | Mapping[str, Any] | None) -> Config:
    """``cfg`` as a ``Config`` of its own."""
    if isinstance(cfg, Config):
        return cfg
    return Config(dict(cfg or {}))


def config_stem(cfg: Config) -> str | None:
    """Name of the config's file without its ending, or None."""
    return Path(cfg.filename).stem if cfg.filename else None

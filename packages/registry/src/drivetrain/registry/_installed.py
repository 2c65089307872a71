"""What is installed in this environment: packages, their modules, versions and programs."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from drivetrain.registry._errors import MissingPrerequisiteError

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])

_VERSION = re.compile(
    r"v?(?:\d+!)?(?P<release>\d+(?:\.\d+)*)"
    r"(?:[-_.]?(?P<pre>alpha|a|beta|b|preview|pre|c|rc)[-_.]?(?P<pre_number>\d*))?"
    r"(?P<post>-(?P<post_implicit>\d+)|[-_.]?(?:post|rev|r)[-_.]?(?P<post_number>\d*))?"
    r"(?P<dev>[-_.]?dev[-_.]?\d*)?"
    r"(?:\+[a-z0-9]+(?:[-_.][a-z0-9]+)*)?",
    re.IGNORECASE,
)
_PRE_RANK = {
    "a": -3, "alpha": -3, "b": -2, "beta": -2, "rc": -1, "c": -1, "pre": -1, "preview": -1,
}  # fmt: skip


def digit_version(version_str: str, length: int = 4) -> tuple[int, ...]:
    """A version as a tuple of integers, to be compared with others.

    Args:
        version_str: A version in Python's form (PEP 440); a local part (``+cu121``) does not count.
        length: Number of places of the release that count; missing ones are 0.

    Returns:
        The release, and two numbers: development < alpha < beta < candidate < release < post.

    Raises:
        ValueError: If it is no version.

    Example:
        >>> digit_version("2.13.0+cpu")
        (2, 13, 0, 0, 0, 0)
        >>> digit_version("1.0rc2") < digit_version("1.0")
        True
    """
    match = _VERSION.fullmatch(str(version_str).strip())
    if match is None:
        raise ValueError(f"digit_version: {version_str!r} is no version")
    release = [int(number) for number in match["release"].split(".")][:length]
    release += [0] * (length - len(release))
    if match["pre"]:
        ending = [_PRE_RANK[match["pre"].lower()], int(match["pre_number"] or 0)]
    elif match["post"]:
        ending = [1, int(match["post_implicit"] or match["post_number"] or 0)]
    elif match["dev"]:
        ending = [-4, 0]
    else:
        ending = [0, 0]
    return (*release, *ending)


def is_installed(package: str) -> bool:
    """Whether a package is installed: as a distribution, or as a module of that name."""
    try:
        importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        return _spec(package) is not None
    return True


def get_installed_path(package: str) -> str:
    """Folder of a package, by the name of its distribution or its module.

    Args:
        package: E.g. ``"mmdet"``; also where the two names differ (``"mmcv-full"``).

    Raises:
        MissingPrerequisiteError: If it is not installed, or is no package with a folder.
    """
    try:
        module = package2module(package)
    except MissingPrerequisiteError:
        module = package
    spec = _spec(module)
    locations: list[str] = [] if spec is None else list(spec.submodule_search_locations or ())
    if not locations and spec is not None and spec.origin and os.path.exists(spec.origin):
        locations = [os.path.dirname(spec.origin)]
    if not locations:
        raise MissingPrerequisiteError(f"package {package!r} is not installed")
    return locations[0]


def package2module(package: str) -> str:
    """Name of the module that a distribution brings.

    Raises:
        MissingPrerequisiteError: If there is no such distribution.
    """
    try:
        found = importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError as err:
        raise MissingPrerequisiteError(f"package {package!r} is not installed") from err
    listed = (found.read_text("top_level.txt") or "").split()
    if not listed:
        files = found.files or ()
        listed = [file.parts[0] for file in files if len(file.parts) == 2 and file.suffix == ".py"]
    own = package.replace("-", "_").lower()
    named = [name for name in listed if name.lower() == own]
    public = [name for name in listed if not name.startswith("_")]
    return (named or public or [own])[0]


def _spec(module: str) -> Any:
    try:
        return importlib.util.find_spec(module)
    except (ImportError, ValueError):  # a parent that is missing; a module without a spec
        return None


def mmcv_full_available() -> bool:
    """Whether mmcv is installed with its compiled operations."""
    return _spec("mmcv") is not None and _spec("mmcv._ext") is not None


def call_command(cmd: list[str]) -> None:
    """Run a command; its output goes where ours goes.

    Raises:
        subprocess.CalledProcessError: If it fails.
    """
    subprocess.check_call(cmd)


def install_package(package: str) -> None:
    """Install a package with pip into this environment, unless it is installed."""
    if not is_installed(package):
        call_command([sys.executable, "-m", "pip", "install", package])


def check_prerequisites(
    prerequisites: str | Sequence[str],
    checker: Callable[[str], bool],
    msg_tmpl: str = "{0} is needed by {1}() and was not found; install it first.",
) -> Callable[[FunctionT], FunctionT]:
    """Make a decorator that looks for prerequisites when the function is called.

    Args:
        prerequisites: One or several names.
        checker: Tells whether one of them is there.
        msg_tmpl: Text of the error, with a place for what is missing and one for the function.

    Returns:
        The decorator. The function then raises :class:`MissingPrerequisiteError` if any is missing.
    """
    names = [prerequisites] if isinstance(prerequisites, str) else list(prerequisites)

    def decorate(function: FunctionT) -> FunctionT:
        @functools.wraps(function)
        def checked(*args: Any, **kwargs: Any) -> Any:
            missing = [name for name in names if not checker(name)]
            if missing:
                text = msg_tmpl.format(", ".join(missing), function.__name__)
                raise MissingPrerequisiteError(text)
            return function(*args, **kwargs)

        return checked  # type: ignore[return-value]  # same signature

    return decorate


def requires_package(prerequisites: str | Sequence[str]) -> Callable[[FunctionT], FunctionT]:
    """Make a decorator that looks for Python packages when the function is called."""
    return check_prerequisites(prerequisites, is_installed)


def requires_executable(prerequisites: str | Sequence[str]) -> Callable[[FunctionT], FunctionT]:
    """Make a decorator that looks for programs on the path when the function is called."""
    return check_prerequisites(prerequisites, lambda name: shutil.which(name) is not None)


def deprecated_api_warning(
    name_dict: dict[str, str], cls_name: str | None = None
) -> Callable[[FunctionT], FunctionT]:
    """Make a decorator for a function whose arguments have new names; the old ones still work.

    Args:
        name_dict: New names by their old ones.
        cls_name: Class of a method, for the warning.

    Returns:
        The decorator. A call with an old name warns (``DeprecationWarning``); with both, it raises
        ``TypeError``.
    """

    def decorate(function: FunctionT) -> FunctionT:
        shown = function.__name__ if cls_name is None else f"{cls_name}.{function.__name__}"

        @functools.wraps(function)
        def renamed(*args: Any, **kwargs: Any) -> Any:
            for old, new in name_dict.items():
                if old not in kwargs:
                    continue
                if new in kwargs:
                    raise TypeError(f"{shown}: {old!r} is the old name of {new!r}; give only one")
                warnings.warn(
                    f"{shown}: {old!r} is now called {new!r}", DeprecationWarning, stacklevel=2
                )
                kwargs[new] = kwargs.pop(old)
            return function(*args, **kwargs)

        return renamed  # type: ignore[return-value]  # same signature

    return decorate


def deprecated_function(
    since: str, removed_in: str, instructions: str
) -> Callable[[FunctionT], FunctionT]:
    """Make a decorator for a function that will go away.

    Args:
        since: Version from which on it warns.
        removed_in: Version in which it is gone.
        instructions: What to do instead.
    """

    def decorate(function: FunctionT) -> FunctionT:
        notice = (
            f"{function.__module__}.{function.__qualname__} is deprecated since version {since} "
            f"and will be removed in version {removed_in}. {instructions}"
        )

        @functools.wraps(function)
        def warned(*args: Any, **kwargs: Any) -> Any:
            warnings.warn(notice, DeprecationWarning, stacklevel=2)
            return function(*args, **kwargs)

        head, _, rest = (function.__doc__ or "").partition("\n\n")
        warned.__doc__ = f"{head}\n\n.. deprecated:: {since}\n    {notice}\n\n{rest}".strip()
        return warned  # type: ignore[return-value]  # same signature

    return decorate

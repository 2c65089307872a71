"""What a person asks of a config, as data and as text: show, explain, diff, check."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from drivetrain.config._compare import Difference, differences
from drivetrain.config._config import Config
from drivetrain.config._configdict import plain
from drivetrain.config._dump import to_text
from drivetrain.config._errors import ConfigError
from drivetrain.config._lazy import LazyObject
from drivetrain.config._merge import DELETE_KEY
from drivetrain.config._origin import Origin
from drivetrain.config._overrides import leaf_paths


class Problem(NamedTuple):
    """Something wrong with a config.

    Attributes:
        message: What it is.
        path: Dotted path in the config, if it is about one value.
        filename: The file, if it is known.
        lineno: The line in it, if it is known.
    """

    message: str
    path: str | None = None
    filename: str | None = None
    lineno: int | None = None

    def __str__(self) -> str:
        place = "" if self.filename is None else self.filename
        place += "" if self.lineno is None else f":{self.lineno}"
        subject = "" if self.path is None else f"{self.path}: "
        return (f"{place}: " if place else "") + subject + self.message


def show(cfg: Config, *, origins: bool = False) -> str:
    """The whole config: as Python source, or one leaf a line with the place that it comes from.

    Args:
        cfg: The config.
        origins: Whether to show the places.
    """
    if not origins:
        return cfg.pretty_text
    lines = [
        (f"{path} = {_short(value)}", str(cfg.origin(path)[0]))
        for path, value in leaf_paths(cfg._cfg_dict)
    ]
    width = min(max((len(text) for text, _ in lines), default=0), 60)
    return "".join(f"{text:<{width}}  # {place}\n" for text, place in lines)


def explain(cfg: Config, path: str) -> str:
    """The chain of places that gave a value to a dotted path, what holds now first.

    Raises:
        UnknownKeyError: If there is no such path.
    """
    current, *replaced = cfg.origin(path)
    lines = [f"{path} = {_short(current.value)}", f"  set by    {current}"]
    lines += [f"  replaced  {_short(each.value)}  from {each}" for each in replaced]
    return "\n".join(lines) + "\n"


def diff(old: Config, new: Config) -> list[Difference]:
    """Each path at which two configs differ."""
    return list(differences(old._cfg_dict, new._cfg_dict))


def diff_text(old: Config, new: Config) -> str:
    """The same for a reader: one line a path."""
    lines = []
    for each in diff(old, new):
        if each.kind == "added":
            lines.append(f"+ {each.path} = {_short(each.new)}")
        elif each.kind == "removed":
            lines.append(f"- {each.path} = {_short(each.old)}")
        else:
            lines.append(f"~ {each.path} = {_short(each.old)} -> {_short(each.new)}")
    return "".join(f"{line}\n" for line in lines)


def check(filename: str, *, safe: bool = False) -> list[Problem]:
    """What is wrong with a config file; nothing that it names is imported.

    Args:
        filename: The file.
        safe: Whether to read it as data only.
    """
    try:
        cfg = Config.fromfile(filename, import_custom_modules=False, safe=safe)
    except ConfigError as err:
        return [Problem(err.message or str(err), None, err.filename, err.lineno)]
    problems = list(_value_problems(cfg))
    try:
        text = to_text(cfg._cfg_dict, "py")
        if not problems and Config.fromstring(text, "py", import_custom_modules=False) != cfg:
            problems.append(Problem("printing and reading it again gives another config"))
    except ConfigError as err:
        if getattr(err, "path", None) not in {problem.path for problem in problems} - {None}:
            problems.append(Problem(f"it cannot be printed and read again: {err}"))
    return problems


def _value_problems(cfg: Config) -> Iterator[Problem]:
    for path, value in leaf_paths(cfg._cfg_dict):
        message = None
        if path.rpartition(".")[2] == DELETE_KEY:
            message = f"`{DELETE_KEY}` has no effect here: inside a list nothing is inherited"
        elif isinstance(value, str) and "{{" in value and "}}" in value:
            message = f"the template in {_short(value)} is not known and stays as it is"
        elif isinstance(value, LazyObject) and not _is_findable(value):
            message = f"module {value.module!r} is not installed"
        if message is not None:
            place = cfg.origin(path)[0]
            yield Problem(message, path, place.filename, place.lineno)


def _is_findable(value: LazyObject) -> bool:
    import importlib.util  # slow to import

    return importlib.util.find_spec(value.module.partition(".")[0]) is not None


def origin_data(origin: Origin) -> dict[str, Any]:
    """An origin as plain data for JSON."""
    return {**origin._asdict(), "value": json_value(origin.value)}


def json_value(value: Any) -> Any:
    """``value`` as JSON can hold it; what it cannot hold is shown as text."""
    return json.loads(json.dumps(plain(value), default=repr, skipkeys=True))


def _short(value: Any, width: int = 70) -> str:
    text = repr(value)
    return text if len(text) <= width else text[: width - 3] + "..."

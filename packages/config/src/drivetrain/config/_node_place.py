"""Where in the files of a config a node stands.

A node remembers its place itself, so that an error about it can name file and line long after the
node was taken out of its config. A place is the file chain, for the top of a config, or a pair of
the place around it and the key there. Lines are worked out when somebody asks.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from drivetrain.config._errors import Place
from drivetrain.config._origin import place_in_files
from drivetrain.config._sources import Source

NodePlace = Source | tuple[Any, Any]

_NOT_IN_FILES = object()


def added_by_program(around: NodePlace) -> NodePlace:
    """Place of what a program put into the node at ``around``."""
    return around, _NOT_IN_FILES


def line_of(place: NodePlace, keys: Iterable[object] = ()) -> Place:
    """File and line of the first of ``keys`` in a node that a file says, else of the node.

    Args:
        place: Of the node.
        keys: The nearest ones to a key that is missing there, the best first.
    """
    steps: list[Any] = []
    while isinstance(place, tuple):
        place, key = place
        steps.append(key)
    steps.reverse()
    if _NOT_IN_FILES in steps:
        steps, keys = steps[: steps.index(_NOT_IN_FILES)], ()
    parts = [str(step) for step in steps]
    paths = [[*parts, str(key)] for key in keys]
    return line_of_paths(place, [*paths, *(parts[:depth] for depth in range(len(parts), 0, -1))])


def line_of_paths(source: Source, paths: Iterable[list[str]]) -> Place:
    """File and line of the first of ``paths`` that a file says, else the first line of all."""
    for path in paths:
        filename, lineno = place_in_files(source, path)
        if lineno is not None:
            return filename, lineno
    return source.path, 1

"""All trackers of a run behind one object; none of them can end the run."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

from drivetrain.logging import print_log, process_rank, release
from drivetrain.registry import VISBACKENDS
from drivetrain.visualization._backend import BaseVisBackend
from drivetrain.visualization._errors import (
    DuplicateBackendError,
    RecordError,
    UnknownBackendError,
)


class Trackers:
    """Call the same method of several trackers; the one that fails is left out from then on.

    A tracker may write to a full disk or to a server that is down. A run that lasted for days must
    not end with it: the first failure is a warning in the log, the last thing of that tracker.
    What it cannot record, as an image of a wrong shape, is passed over, with a warning.

    Args:
        backends: The trackers by name.
    """

    def __init__(self, backends: Mapping[str, BaseVisBackend]) -> None:
        self.by_name = dict(backends)
        self._working = dict(backends)
        self._said: set[str] = set()

    @cached_property
    def _is_first_process(self) -> bool:
        # Asked with the first thing to record: by then the processes of a run know each other.
        return process_rank() == 0

    def call(self, method: str, *args: Any, **kwargs: Any) -> None:
        """Call a method of every tracker that works, in the first process of a run."""
        if not self._is_first_process:
            return
        release()
        for name, backend in list(self._working.items()):
            try:
                getattr(backend, method)(*args, **kwargs)
            except RecordError as err:  # what was given was wrong; the tracker works
                self._warn_once(f"The tracker {name} passed over {method}: {err}")
            except Exception as err:  # whatever a tracker raises: isolating it is the purpose
                del self._working[name]
                self._warn_once(
                    f"The tracker {name} failed in {method} and records nothing from now on: "
                    f"{type(err).__name__}: {err}"
                )

    def _warn_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            print_log(text, logger="current", level=logging.WARNING)

    def __getitem__(self, name: str) -> BaseVisBackend:
        release()  # who asks for a tracker may record by it
        if name not in self.by_name:
            raise UnknownBackendError(
                f"the visualizer has no backend {name!r}.\n"
                f"  It has: {', '.join(map(repr, self.by_name)) or 'none'}"
            )
        return self.by_name[name]


def build_backends(
    backends: Iterable[Any] | Mapping[str, Any] | None, save_dir: str | None
) -> dict[str, BaseVisBackend]:
    """Make trackers of their configs; trackers themselves are taken as they are.

    Args:
        backends: Trackers, or config nodes that may have a ``name`` besides ``type``; one, several,
            or several by name.
        save_dir: Where those that do not say it write to. If it is None, trackers that cannot do
            without a folder are left out, with a warning.

    Raises:
        DuplicateBackendError: If two have the same name.
    """
    made: dict[str, BaseVisBackend] = {}
    for name, backend in _named(backends):
        if not isinstance(backend, BaseVisBackend):
            node = dict(backend)
            name = node.pop("name", name)
            node.setdefault("save_dir", save_dir)
            backend = VISBACKENDS.build(node)
        name = name or type(backend).__name__
        if name in made:
            raise DuplicateBackendError(
                f"two backends of the visualizer are named {name!r}. Give each its own: "
                f"dict(type={type(backend).__name__!r}, name=...)"
            )
        if _lacks_folder(backend):
            print_log(
                f"{name} records nothing: neither it nor the visualizer has a save_dir.",
                logger="current",
                level=logging.WARNING,
            )
        else:
            made[name] = backend
    return made


def _named(backends: Any) -> list[tuple[str | None, Any]]:
    if backends is None:
        return []
    if isinstance(backends, BaseVisBackend):
        return [(None, backends)]
    if isinstance(backends, Mapping):
        return [(None, backends)] if "type" in backends else list(backends.items())
    return [(None, backend) for backend in backends]


def _lacks_folder(backend: BaseVisBackend) -> bool:
    argument = inspect.signature(type(backend).__init__).parameters.get("save_dir")
    needs_one = argument is not None and argument.default is inspect.Parameter.empty
    return needs_one and getattr(backend, "_save_dir", None) is None

"""The place where the parts of a run leave scalars and facts for each other."""

from __future__ import annotations

import copy
import difflib
import logging
from array import array
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from drivetrain.logging._errors import (
    ResumeFlagError,
    ScalarTypeError,
    StateError,
    UnknownScalarError,
)
from drivetrain.logging._history_buffer import HistoryBuffer
from drivetrain.logging._inbox import FULL, Inbox
from drivetrain.logging._logger import print_log
from drivetrain.logging._portable import NotPortableError, copied, portable
from drivetrain.logging._scalar import number_here
from drivetrain.registry import ManagerMixin


class MessageHub(ManagerMixin):
    """Histories of scalars (``log_scalars``) and the newest facts of a run (``runtime_info``).

    Anything in a process finds the hub of the run by ``MessageHub.get_current_instance()``. Scalars
    whose names begin with ``train/``, ``val/`` or ``test/`` appear in the log.

    Reading one scalar whose tensors still wait for their device turns those of all scalars of the
    hub into numbers, in one transfer. So a log line of ten losses costs one wait.

    Args:
        name: Name of this instance.
        log_scalars: Histories to begin with.
        runtime_info: Facts to begin with.
        resumed_keys: For each name, whether ``state_dict`` includes it.

    Raises:
        ScalarTypeError: If one of ``log_scalars`` is no ``HistoryBuffer``.

    Example:
        >>> hub = MessageHub("demo")
        >>> for loss in (0.5, 0.25):
        ...     hub.update_scalar("train/loss", loss)
        >>> hub.update_info("epoch", 3)
        >>> print(hub.get_scalar("train/loss").mean(), hub.get_info("epoch"))
        0.375 3
    """

    def __init__(
        self,
        name: str,
        log_scalars: Mapping[str, HistoryBuffer] | None = None,
        runtime_info: Mapping[str, Any] | None = None,
        resumed_keys: Mapping[str, bool] | None = None,
    ) -> None:
        super().__init__(name)
        self._log_scalars: OrderedDict[str, HistoryBuffer] = OrderedDict()
        self._inbox = Inbox(self._deliver)  # numbers that are not in their histories yet
        self._columns: dict[str, array[float]] = {}
        self._opened: dict[str, bool] = {}  # scalars that have a column, and whether they resume
        self._runtime_info: OrderedDict[str, Any] = OrderedDict(runtime_info or {})
        self._resumed_keys: OrderedDict[str, bool] = OrderedDict(resumed_keys or {})
        self._reported: set[str] = set()  # facts of which we said that no state can hold them
        for key, history in (log_scalars or {}).items():
            if not isinstance(history, HistoryBuffer):
                raise ScalarTypeError(
                    f"MessageHub {name!r}: log_scalars[{key!r}] must be a HistoryBuffer, "
                    f"got {type(history).__name__}"
                )
            self._adopt(key, history)

    @classmethod
    def get_current_instance(cls) -> MessageHub:
        """Return the hub that was made last; if there is none, make one named 'drivetrain'."""
        if not cls._instance_dict:
            cls.get_instance("drivetrain")
        return super().get_current_instance()

    def update_scalar(self, key: str, value: Any, count: Any = 1, resumed: bool = True) -> None:
        """Append to the history of a scalar, in the same short time however long it is.

        Args:
            key: Name of the scalar.
            value: A number, a numpy scalar, or a tensor of one element, whose device is not waited
                for.
            count: What it counts for in a mean.
            resumed: Whether ``state_dict`` includes this scalar; always the same for one key.

        Raises:
            ResumeFlagError: If ``resumed`` was different before.
            ScalarTypeError: If value or count is no number.
            ScalarValueError: If value or count holds several numbers.
        """
        if self._opened.get(key) is not resumed:
            self._open(key, resumed)
        number = value if type(value) is float else number_here(value)
        if number is None or type(count) is not int or count != 1:
            self._inbox.empty()
            history = self._history(key)
            history.update(value, count)
            self._adopt(key, history)
            return
        column = self._columns[key]
        column.append(number)
        if len(column) >= FULL:
            self._inbox.empty()

    def column_for(self, key: str) -> array[float]:
        """Return where to put the numbers of a scalar, for who logs one in each of many iterations.

        ``column.append(number)`` is what ``update_scalar(key, number)`` does after it has looked at
        everything, and takes no call of a Python function. Look at its length now and then: from
        ``FULL`` on, call :meth:`settle`.

        Args:
            key: Name of a scalar that ``state_dict`` includes.

        Raises:
            ResumeFlagError: If it was logged with ``resumed=False`` before.
        """
        self._open(key, resumed=True)
        return self._columns[key]

    def facts_for(self, *keys: str) -> dict[str, Any]:
        """Return where to put facts, for who sets some in each of many iterations.

        ``facts[key] = value`` is then what ``update_info(key, value)`` does.

        Args:
            *keys: Names of facts that ``state_dict`` includes.

        Raises:
            ResumeFlagError: If one was set with ``resumed=False`` before.
        """
        for key in keys:
            self._set_resumed(key, True)
        return self._runtime_info

    def update_scalars(self, log_dict: Mapping[str, Any], resumed: bool = True) -> None:
        """Append to several histories.

        Args:
            log_dict: For each name a value, or ``{"value": ..., "count": ...}``; without a count
                it is 1.
            resumed: As for ``update_scalar``.

        Raises:
            ScalarTypeError: If one value is no number.
        """
        for key, value in log_dict.items():
            count: Any = 1
            if isinstance(value, Mapping):
                if "value" not in value or not value.keys() <= {"value", "count"}:
                    raise ScalarTypeError(
                        f"MessageHub.update_scalars: {key!r} must be a number or "
                        f"{{'value': ..., 'count': ...}}, got a dict with keys {sorted(value)}"
                    )
                count = value.get("count", 1)
                value = value["value"]
            self.update_scalar(key, value, count, resumed)

    def call_in_order(self, function: Callable[[], None]) -> None:
        """Call a function when the histories hold all that is logged by now, and nothing more.

        That is when somebody reads them, or when much is waiting to be read: at the latest with
        :meth:`settle`. So what is computed for a log line can wait, and comes out the same.

        Args:
            function: Called once, in this or a later call of a method of the hub.
        """
        self._inbox.call_in_order(function)

    def update_info(self, key: str, value: Any, resumed: bool = True) -> None:
        """Set a fact; the one that was there is forgotten.

        Args:
            key: Name of the fact.
            value: Anything. ``state_dict`` includes it if it is plain data or tensors.
            resumed: Whether ``state_dict`` includes it; always the same for one key.

        Raises:
            ResumeFlagError: If ``resumed`` was different before.
        """
        if self._resumed_keys.get(key) is not resumed:
            self._set_resumed(key, resumed)
        self._runtime_info[key] = value

    def update_info_dict(self, info_dict: Mapping[str, Any], resumed: bool = True) -> None:
        """Set several facts; see ``update_info``."""
        for key, value in info_dict.items():
            self.update_info(key, value, resumed)

    def pop_info(self, key: str, default: Any = None) -> Any:
        """Forget a fact and return it, or ``default`` if there is none."""
        return self._runtime_info.pop(key, default)

    def get_scalar(self, key: str) -> HistoryBuffer:
        """Return the history of a scalar; the history itself, not a copy.

        Raises:
            UnknownScalarError: If nothing was logged under ``key``.
        """
        history = self.log_scalars.get(key)
        if history is None:
            nearest = difflib.get_close_matches(key, self._log_scalars, n=3)
            raise UnknownScalarError(
                f"MessageHub {self.instance_name!r}: nothing was logged as {key!r}.\n"
                + (f"  Did you mean:  {', '.join(map(repr, nearest))}\n" if nearest else "")
                + f"  Logged so far: {', '.join(self._log_scalars) or 'nothing'}"
            )
        return history

    def get_info(self, key: str, default: Any = None) -> Any:
        """Return a fact, or ``default`` if there is none.

        Containers, arrays and tensors come as copies; other objects as they are.
        """
        return copied(self._runtime_info.get(key, default))

    def settle(self) -> None:
        """Turn all waiting tensors into numbers, in one transfer; reading a scalar does it, too."""
        self._inbox.empty()
        for history in self._log_scalars.values():
            if history._waits:
                history._settle()  # takes all the others along

    @property
    def log_scalars(self) -> OrderedDict[str, HistoryBuffer]:
        """All histories by name; the histories themselves, not copies."""
        self._inbox.empty()
        return self._log_scalars

    @property
    def runtime_info(self) -> OrderedDict[str, Any]:
        """A copy of all facts by name, made as ``get_info`` makes it."""
        return OrderedDict((key, copied(value)) for key, value in self._runtime_info.items())

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs: plain data and tensors, of bounded size.

        A fact that is neither is left out, with one warning.

        Returns:
            ``log_scalars`` (states of histories), ``runtime_info``, ``resumed_keys``.
        """
        infos: dict[str, Any] = {}
        for key, value in self._runtime_info.items():
            if self._resumed_keys.get(key, False):
                try:
                    infos[key] = portable(value)
                except NotPortableError as err:
                    self._report(key, err)
        return {
            "log_scalars": {
                key: history.state_dict()
                for key, history in self.log_scalars.items()
                if self._resumed_keys.get(key, False)
            },
            "runtime_info": infos,
            "resumed_keys": {key: True for key, resumed in self._resumed_keys.items() if resumed},
        }

    def load_state_dict(self, state_dict: Mapping[str, Any] | MessageHub) -> None:
        """Take over the scalars and facts of a state, or of another hub.

        A state that the reference engine wrote is accepted, too: its histories are objects.

        Raises:
            StateError: If this is no state of a message hub.
        """
        if isinstance(state_dict, MessageHub):
            state_dict = {
                "log_scalars": state_dict.log_scalars,
                "runtime_info": state_dict._runtime_info,
                "resumed_keys": state_dict._resumed_keys,
            }
        missing = {"log_scalars", "runtime_info", "resumed_keys"} - set(state_dict)
        if missing:
            raise StateError(
                f"MessageHub {self.instance_name!r}: this is no state of a message hub; "
                f"missing: {', '.join(sorted(missing))}"
            )
        self._inbox.empty()
        for key, history in state_dict["log_scalars"].items():
            self._adopt(key, _as_history(key, history))
        for key, value in state_dict["runtime_info"].items():
            self._runtime_info[key] = copied(value)
        self._resumed_keys.update(state_dict["resumed_keys"])
        self._opened.clear()

    def _deliver(self, key: str, numbers: array[float]) -> None:
        history = self._history(key)
        history.extend(numbers)
        self._adopt(key, history)

    def _history(self, key: str) -> HistoryBuffer:
        """The history of a scalar, also one that somebody put there, or else a new one.

        It becomes one of the hub once it holds a number: a log line that waits tells of a moment at
        which there was none.
        """
        history = self._log_scalars.get(key)
        return HistoryBuffer() if history is None else history

    def _open(self, key: str, resumed: bool) -> None:
        self._set_resumed(key, resumed)
        self._columns[key] = self._inbox.column(key)
        self._opened[key] = resumed

    def _adopt(self, key: str, history: HistoryBuffer) -> None:
        history._siblings = self._log_scalars
        history._inbox = self._columns[key] = self._inbox.column(key)
        history._hand_out = self._inbox.empty
        self._log_scalars[key] = history

    def _set_resumed(self, key: str, resumed: bool) -> None:
        before = self._resumed_keys.setdefault(key, bool(resumed))
        if before != bool(resumed):
            raise ResumeFlagError(
                f"MessageHub {self.instance_name!r}: {key!r} was recorded with resumed={before}, "
                f"and now with resumed={bool(resumed)}.\n"
                "  Pass the same value each time, or use another name."
            )

    def _report(self, key: str, err: NotPortableError) -> None:
        if key not in self._reported:
            self._reported.add(key)
            print_log(
                f"runtime_info[{key!r}] is not saved: {err} "
                "Store plain data, or say so with update_info(..., resumed=False).",
                logger="current",
                level=logging.WARNING,
            )


def _as_history(key: str, state: Any) -> HistoryBuffer:
    """Make a history of a state, of another history, or of what the reference engine saved."""
    if isinstance(state, HistoryBuffer):
        history = copy.deepcopy(state)
    elif isinstance(state, Mapping):
        history = HistoryBuffer()
        history.load_state_dict(state)
    elif hasattr(state, "_log_history") and hasattr(state, "_count_history"):
        history = HistoryBuffer(
            state._log_history, state._count_history, getattr(state, "_max_length", 1_000_000)
        )
    else:
        raise StateError(
            f"log_scalars[{key!r}] must be the state of a history, got {type(state).__name__}"
        )
    return history

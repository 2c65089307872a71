"""The hooks of a run: their order, and what each point of the run has to call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

from drivetrain.registry import HOOKS, ComponentArgumentError, building, current_path
from drivetrain.runner._errors import RunnerConfigError
from drivetrain.runner._priority import Priority, get_priority
from drivetrain.runner.hooks._hook import STAGES, Hook, reacts_at

#: Hooks of every run; ``default_hooks`` of a config is merged over them.
DEFAULT_HOOKS: dict[str, dict[str, Any]] = {
    "runtime_info": {"type": "RuntimeInfoHook"},
    "timer": {"type": "IterTimerHook"},
    "sampler_seed": {"type": "DistSamplerSeedHook"},
    "logger": {"type": "LoggerHook"},
    "param_scheduler": {"type": "ParamSchedulerHook"},
    "checkpoint": {"type": "CheckpointHook", "interval": 1},
}


def raise_with_hook(
    err: Exception, method: Callable[..., None], point: str, runner: Any
) -> NoReturn:
    """Raise ``err`` again, with the hook it comes from.

    Raises:
        TypeError: If it is one: a hook that does not take the arguments of its point.
    """
    owner = type(getattr(method, "__self__", runner)).__name__
    if isinstance(err, TypeError):
        raise TypeError(f"{owner}.{point}: {err}") from err
    note = f"Raised in {owner}.{point}, at iteration {runner.iter + 1}."
    if hasattr(err, "add_note"):  # from Python 3.11 on
        err.add_note(note)
    elif len(err.args) == 1 and isinstance(err.args[0], str):  # before, a traceback shows no notes
        err.args = (f"{err.args[0]}\n{note}",)
    raise err


def _bound_at(hook: Hook, point: str, runner: Any) -> Callable[..., None] | None:
    """What ``hook.bound_at`` says, unless a subclass, an object or a test has its own method."""
    speaker = next(cls for cls in type(hook).__mro__ if "bound_at" in vars(cls))
    written = speaker.methods_written.get(point)
    if written is None or written is not getattr(type(hook), point) or point in vars(hook):
        return getattr(hook, point)
    method: Any = hook.bound_at(point, runner)
    if method is not None and not hasattr(method, "__self__"):
        method.__self__ = hook  # errors name the hook
    return method


class BoundMethods(dict[str, tuple[Callable[..., None], ...]]):
    """By point, the methods that really do something there, bound when first asked for.

    An iteration pays for those and for nothing else, not even for a call that looks them up.
    """

    def __init__(
        self, hooks: list[Hook], runner: Any, first: dict[str, Callable[..., None]]
    ) -> None:
        super().__init__()
        self._hooks = hooks
        self._runner = runner
        self._first = first

    def __missing__(self, point: str) -> tuple[Callable[..., None], ...]:
        methods = [
            _bound_at(hook, point, self._runner) for hook in self._hooks if reacts_at(hook, point)
        ]
        if point in self._first:
            methods.insert(0, self._first[point])
        self[point] = tuple(method for method in methods if method is not None)
        return self[point]


class HookList:
    """Hooks in order of priority, stable among equals.

    Args:
        runner: The runner that calls them.
        first: For some points, a function of the engine's to call before any hook.

    Attributes:
        at: By point, the methods to call there, in order.
    """

    def __init__(
        self, runner: Any = None, first: Mapping[str, Callable[..., None]] | None = None
    ) -> None:
        self._hooks: list[Hook] = []
        self._priorities: list[int] = []
        self._defaults: dict[str, Hook] = {}
        self.at = BoundMethods(self._hooks, runner, dict(first or {}))

    def __iter__(self) -> Iterator[Hook]:
        return iter(self._hooks)

    def __len__(self) -> int:
        return len(self._hooks)

    @property
    def hooks(self) -> list[Hook]:
        """The hooks, earliest first."""
        return self._hooks

    def register(
        self, hook: Hook | dict[str, Any], priority: int | str | Priority | None = None
    ) -> Hook:
        """Build ``hook`` if it is a node, and insert it behind all of the same or a higher rank.

        The priority is the argument, else the node's ``priority``, else the hook's own.
        """
        node_priority = None
        if isinstance(hook, dict):
            node = dict(hook)
            node_priority = node.pop("priority", None)
            hook = HOOKS.build(node)
        if not isinstance(hook, Hook):
            raise TypeError(
                f"a hook is a Hook or a config of one, got {type(hook).__name__}: {hook!r}"
            )
        level = _level(hook, priority, node_priority)
        given = node_priority if priority is None else priority
        if given is not None:
            hook.priority = given
        at = len(self._hooks)
        while at > 0 and self._priorities[at - 1] > level:
            at -= 1
        self._hooks.insert(at, hook)
        self._priorities.insert(at, level)
        self.at.clear()
        return hook

    def register_defaults(
        self, hooks: dict[str, Hook | dict[str, Any] | None] | None = None
    ) -> None:
        """Register the six defaults, with ``hooks`` merged over them; ``name=None`` removes one.

        Called again it keeps those that are there, and replaces those that ``hooks`` names.
        """
        if hooks is not None and not isinstance(hooks, Mapping):
            raise RunnerConfigError(
                "default_hooks is a dict of hooks or of their configs, by the names "
                f"{', '.join(DEFAULT_HOOKS)} or others, got {type(hooks).__name__}"
            )
        given = dict(hooks or {})
        for name in given.keys() & self._defaults.keys():
            self._remove(self._defaults.pop(name))
        for name, hook in {**DEFAULT_HOOKS, **given}.items():
            if hook is not None and name not in self._defaults:
                with building(f"default_hooks.{name}"):
                    self._defaults[name] = self.register(hook)

    def _remove(self, hook: Hook) -> None:
        at = next((i for i, other in enumerate(self._hooks) if other is hook), None)
        if at is not None:
            del self._hooks[at], self._priorities[at]
            self.at.clear()

    def register_customs(self, hooks: list[Hook | dict[str, Any]] | None) -> None:
        """Register the hooks of a config's ``custom_hooks``."""
        if hooks is not None and not isinstance(hooks, (list, tuple)):
            raise RunnerConfigError(
                f"custom_hooks is a list of hooks or of their configs, got {type(hooks).__name__}"
            )
        for index, hook in enumerate(hooks or ()):
            with building(f"custom_hooks[{index}]"):
                self.register(hook)

    def state_dict(self) -> dict[str, Any]:
        """State of every hook that has some, under ``<class name>`` or ``<class name>#<n>``."""
        return {key: hook.state_dict() for key, hook in self._stateful()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Give each hook its state back; a hook that is new since the save keeps its own."""
        for key, hook in self._stateful():
            if key in state:
                hook.load_state_dict(state[key])

    def _stateful(self) -> Iterator[tuple[str, Any]]:
        seen: dict[str, int] = {}
        for hook in self._hooks:
            if not hasattr(hook, "state_dict") or not hasattr(hook, "load_state_dict"):
                continue
            name = type(hook).__name__
            count = seen.get(name, 0)
            seen[name] = count + 1
            yield (f"{name}#{count}" if count else name), hook

    def describe(self) -> str:
        """Which hook is called at which point, one stage a paragraph."""
        lines = ["Hooks, in the order of their calls:"]
        for point in STAGES:
            rows = [
                f"  ({self._level_name(level):<12}) {type(hook).__name__}"
                for hook, level in zip(self._hooks, self._priorities, strict=True)
                if reacts_at(hook, point)
            ]
            if rows:
                lines += [f"{point}:", *rows]
        return "\n".join(lines)

    @staticmethod
    def _level_name(level: int) -> str:
        try:
            return Priority(level).name
        except ValueError:
            return str(level)


def _level(hook: Hook, argument: Any, of_node: Any) -> int:
    """The first of the priorities that is given, as a number.

    Raises:
        RunnerConfigError: If it is none; names the place.
        ComponentArgumentError: If it is not even a number or a name.
    """
    name = type(hook).__name__
    places = (
        (f"register_hook({name}, priority=)", argument),
        (f"{current_path() or name}.priority", of_node),
        (f"{name}.priority", hook.priority),
    )
    place, chosen = next(each for each in places if each[1] is not None)
    try:
        return get_priority(chosen)
    except ValueError as err:
        raise RunnerConfigError(f"{place}: {err}") from None
    except TypeError as err:
        raise ComponentArgumentError(f"{place}: {err}") from None

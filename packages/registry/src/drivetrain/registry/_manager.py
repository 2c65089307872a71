"""Instances that can be reached by name from anywhere: loggers, message hubs, visualizers."""

from __future__ import annotations

from _thread import RLock  # `threading` costs as much to import as the rest of this package

from drivetrain.registry._errors import InstanceError, UsageError

TYPE_CHECKING = False  # as checkers know it; importing `typing` would take longer than all the rest
if TYPE_CHECKING:
    from typing import Any, ClassVar, TypeVar

    T = TypeVar("T", bound="ManagerMixin")

# Guards the instances of all classes. No constructor runs under it: one may import a module, or
# wait for a thread, that asks for other instances.
_instances_lock = RLock()
# One lock for each instance that is being made, so that it is made once.
_in_the_making: dict[tuple[type, str], Any] = {}
# What each was made with: asking again with the same arguments (a notebook cell that runs twice, a
# second build of one node) loses nothing.
_made_with: dict[tuple[type, str], dict[str, Any]] = {}


def _takes_name(init: Any) -> bool:
    code = getattr(init, "__code__", None)
    if code is not None:
        return "name" in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    import inspect  # only for the rare __init__ that is no plain function; slow to import

    try:
        return "name" in inspect.signature(init).parameters
    except ValueError:  # written in C and without a signature: nothing to check
        return True


class ManagerMeta(type):
    """Give each class its own instances, and check that they can be named.

    Raises:
        UsageError: If ``__init__`` of the class takes no argument ``name``.
    """

    _instance_dict: dict[str, Any]

    def __init__(cls, *args: Any) -> None:
        super().__init__(*args)
        cls._instance_dict = {}
        init = cls.__init__  # type: ignore[misc]  # of the class that is made: it is no instance yet
        if not _takes_name(init):
            raise UsageError(
                f"{cls.__module__}.{cls.__qualname__}.__init__ takes no argument 'name'.",
                (
                    ("Why:", "instances of this class are found by their name"),
                    ("To do:", "take `name`, and pass it to super().__init__(name)"),
                ),
            )


class ManagerMixin(metaclass=ManagerMeta):
    """Base of classes whose instances are created once a name, and found by it.

    Args:
        name: Name of the instance, not empty.

    Raises:
        UsageError: If ``name`` is no string, or empty.

    Example:
        >>> class Clock(ManagerMixin):
        ...     def __init__(self, name: str, hour: int = 0) -> None:
        ...         super().__init__(name)
        ...         self.hour = hour
        >>> Clock.get_instance("kitchen", hour=7) is Clock.get_instance("kitchen")
        True
        >>> Clock.get_current_instance().instance_name
        'kitchen'
    """

    _instance_dict: ClassVar[dict[str, Any]]

    def __init__(self, name: str = "", **kwargs: Any) -> None:
        if not isinstance(name, str) or not name:
            raise UsageError(
                f"{type(self).__name__}: the name of an instance must be a string that is not "
                f"empty, got {name!r}."
            )
        self._instance_name = name

    @classmethod
    def get_instance(cls: type[T], name: str, **kwargs: Any) -> T:
        """Return the instance of that name, and create it with ``kwargs`` if there is none.

        Raises:
            InstanceError: If the instance exists and was made with other ``kwargs`` (these would be
                lost).
        """
        if not isinstance(name, str):
            raise UsageError(
                f"{cls.__name__}.get_instance: the name must be a string, got {name!r}."
            )
        with _instances_lock:
            if name in cls._instance_dict:
                return cls._existing(name, kwargs)
            making = _in_the_making.setdefault((cls, name), RLock())
        with making:
            with _instances_lock:
                if name in cls._instance_dict:  # another thread was quicker
                    return cls._existing(name, kwargs)
            try:
                instance = cls(name=name, **kwargs)
                with _instances_lock:
                    instance = cls._instance_dict.setdefault(name, instance)
                    _made_with[cls, name] = kwargs
            finally:
                with _instances_lock:
                    _in_the_making.pop((cls, name), None)
        return instance

    @classmethod
    def _existing(cls: type[T], name: str, kwargs: dict[str, Any]) -> T:
        if kwargs and not _equal(kwargs, _made_with.get((cls, name))):
            raise InstanceError(
                f"{cls.__name__} instance {name!r} exists already and takes no new arguments "
                f"({', '.join(kwargs)}).",
                (("To do:", "ask for it by its name alone, or create one under another name"),),
            )
        instance: T = cls._instance_dict[name]
        return instance

    @classmethod
    def get_current_instance(cls: type[T]) -> T:
        """Return the instance that was created last.

        Raises:
            InstanceError: If there is none yet.
        """
        instance = cls._latest()
        if instance is None:
            raise InstanceError(
                f"No instance of {cls.__name__} exists yet.",
                (("Create one:", f"{cls.__name__}.get_instance('some name')"),),
            )
        return instance

    @classmethod
    def _latest(cls: type[T]) -> T | None:
        with _instances_lock:
            last: T | None = next(reversed(cls._instance_dict.values()), None)
        return last

    @classmethod
    def check_instance_created(cls, name: str) -> bool:
        """Tell whether an instance of that name exists."""
        return name in cls._instance_dict

    @property
    def instance_name(self) -> str:
        """Name under which the instance was created."""
        return self._instance_name


def _equal(arguments: dict[str, Any], others: dict[str, Any] | None) -> bool:
    try:
        return bool(arguments == others)
    except Exception:  # arrays and tensors do not compare as a whole
        return False


def reset_instances() -> None:
    """Forget every named instance of every class."""
    with _instances_lock:
        _made_with.clear()
        pending: list[Any] = [ManagerMixin]
        while pending:
            cls = pending.pop()
            cls._instance_dict.clear()
            pending += type.__subclasses__(cls)

"""From a node to the thing that it describes."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from drivetrain.registry._discovery import import_object
from drivetrain.registry._errors import (
    MissingPrerequisiteError,
    NodeError,
    RegistryError,
    UsageError,
)
from drivetrain.registry._node import (
    arguments_of,
    is_node,
    missing_type,
    no_node,
    placed,
    resolve_arguments,
)
from drivetrain.registry._scope import overwriting_scope, overwritten_scope

TYPE_CHECKING = False  # as checkers know it; importing `typing` would take longer than all the rest
if TYPE_CHECKING:
    from typing import Any

    from drivetrain.registry._registry import Registry


def build_from_cfg(cfg: Any, registry: Registry[Any], default_args: Any = None) -> Any:
    """Build what a node describes: an instance of a class, or the result of a function.

    Args:
        cfg: The node. Anything that is no mapping, and may have been built, is returned as it is.
        registry: Where the name in ``type`` is looked up, after the registry of the default scope.
        default_args: Arguments for keys that the node does not have; ``type`` may be one of them.

    Returns:
        The instance or the result. Of a ``ManagerMixin`` class: the instance of that name.

    Raises:
        NodeError: If ``cfg`` is no node.
        UnknownComponentError: If nothing installed offers the type.
        ComponentArgumentError: If the keys do not fit the arguments.
        ComponentBuildError: If the component raises; also an instance of what it raised.
    """
    _require_registry(registry)
    arguments = arguments_of(cfg, default_args)
    return cfg if arguments is None else _construct(cfg, arguments, registry)


def _construct(
    cfg: Any, arguments: dict[str, Any], registry: Registry[Any], method: str | None = None
) -> Any:
    """Call what ``type`` names, or a class method of it, in the scope that the node asks for."""
    if "type" not in arguments:
        raise missing_type(cfg)
    kind = arguments.pop("type")
    scope = arguments.pop("_scope_", None)
    if scope is not None and not isinstance(scope, str):
        raise placed(NodeError(f"`_scope_` must be a string, got {scope!r}."), cfg)
    token = None if scope is None else overwritten_scope.set(overwriting_scope(scope))
    factory: Callable[..., Any] = type(None)
    try:
        factory = registry.factory(kind)
        if method != "from_cfg":  # that one gets a whole config, not arguments
            resolve_arguments(arguments)
        if method is not None:
            factory = getattr(factory, method)
        return factory(**arguments)
    except Exception as err:
        located = failed_build(err, factory, arguments, cfg, registry, kind=kind)
        if located is err:
            raise
        raise located from err
    finally:
        if token is not None:
            overwritten_scope.reset(token)


def build_model_from_cfg(cfg: Any, registry: Registry[Any], default_args: Any = None) -> Any:
    """Build a model; from a list of nodes, a ``Sequential`` of them.

    Args:
        cfg: A node, or a list of nodes.
        registry: As for ``build_from_cfg``.
        default_args: As for ``build_from_cfg``; for a list, of each of its nodes.

    Raises:
        MissingPrerequisiteError: If a list is to be built, and torch is not installed.
    """
    if not isinstance(cfg, (list, tuple)):
        return build_from_cfg(cfg, registry, default_args)
    modules = []
    for index, node in enumerate(cfg):
        try:
            modules.append(build_from_cfg(node, registry, default_args))
        except RegistryError as err:
            failed_build(err, build_from_cfg, {}, cfg, registry, str(index))  # lengthens its path
            raise
    container = registry.root.get(f"{registry.root.scope}.Sequential")
    if container is None:
        # Not imported by name: this package needs no torch, a list of models does.
        container = import_object("torch.nn.Sequential")
    if container is None:
        raise MissingPrerequisiteError(
            "a list of models becomes a torch.nn.Sequential, and torch is not installed.",
            (("To do:", "pip install torch, or build the nodes one by one"),),
        )
    return container(*modules)


def build_runner_from_cfg(cfg: Any, registry: Registry[Any]) -> Any:
    """Build a runner, with the ``from_cfg`` of its class.

    Args:
        cfg: The whole config. ``runner_type`` names the class; default ``"Runner"``.
        registry: Where that name is looked up.
    """
    _require_registry(registry)
    if not is_node(cfg):
        raise no_node(cfg)
    rest = cfg.copy()
    kind = rest.pop("runner_type", "Runner")
    node = {"type": kind, "_scope_": rest.pop("_scope_", None), "cfg": rest}
    return _construct(cfg, node, registry, "from_cfg")


def build_scheduler_from_cfg(cfg: Any, registry: Registry[Any], default_args: Any = None) -> Any:
    """Build a parameter scheduler, counted in epochs or converted to iterations.

    Args:
        cfg: The node. With ``convert_to_iter_based=True`` the scheduler is built by
            ``build_iter_from_epoch`` of its class, from arguments that count epochs.
        registry: Where its type is looked up.
        default_args: Must hold ``optimizer``; for a conversion, also ``epoch_length``.

    Raises:
        NodeError: If the conversion is asked for without ``epoch_length``, or of a scheduler that
            counts iterations already (``by_epoch=False``).
    """
    arguments = arguments_of(cfg, default_args)
    if arguments is None:
        return cfg
    epoch_length = arguments.pop("epoch_length", None)
    if not arguments.pop("convert_to_iter_based", False):
        return _construct(cfg, arguments, registry)
    if epoch_length is None or not arguments.get("by_epoch", True):
        raise placed(
            NodeError(
                "convert_to_iter_based needs `epoch_length`, and a scheduler with by_epoch=True.",
                (("To do:", "drop convert_to_iter_based, or count `begin` and `end` in epochs"),),
            ),
            cfg,
        )
    return _construct(
        cfg, {**arguments, "epoch_length": epoch_length}, registry, "build_iter_from_epoch"
    )


def _require_registry(registry: Any) -> None:
    if not hasattr(registry, "factory"):
        raise UsageError(f"registry must be a drivetrain.registry.Registry, got {registry!r}")


# The texts of errors need inspect, difflib and traceback, which take longer to import than all the
# rest: they are imported when the first build fails.


def failed_build(
    err: Exception,
    factory: Callable[..., Any],
    arguments: dict[str, Any],
    cfg: Any,
    registry: Registry[Any],
    key: str | None = None,
    kind: Any = None,
) -> Exception:
    """Turn what went wrong in a build into an error that says where and what."""
    from drivetrain.registry._explain import explain_failure

    return explain_failure(err, factory, arguments, cfg, registry, key, kind)


def unknown_component(
    registry: Registry[Any],
    key: str,
    order: Iterable[Registry[Any]],
    scope: str | None,
    failure: Exception | None,
) -> Exception:
    """Explain that no registry has a name, and what to do."""
    from drivetrain.registry._explain_unknown import explain_unknown

    return explain_unknown(registry, key, list(order), scope, failure)


def misused_build(
    registry: Registry[Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Exception:
    """Explain that ``build`` takes arguments of the component only through ``default_args``."""
    given = [repr(value) for value in args]
    given += [f"{key}={value!r}" for key, value in kwargs.items() if key != "default_args"]
    wanted = ", ".join(item for item in given if "=" in item)
    return placed(
        UsageError(
            f"{registry.name}: build takes the node and `default_args`, got also "
            f"{', '.join(given)}.",
            (("To do:", f"build(cfg, default_args=dict({wanted}))"),),
        )
    )

"""Several optimizers, each under its name."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from contextlib import AbstractContextManager
from typing import Any, NoReturn

from torch import Tensor, nn

from drivetrain.optim._errors import (
    AmbiguousUpdateError,
    OptimStateError,
    OptimTypeError,
    nearest,
)
from drivetrain.optim._optim_wrapper import BaseOptimWrapper, OptimWrapper
from drivetrain.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class OptimWrapperDict(OptimWrapper):
    """Keeps the optimizer wrappers of a model that is updated in parts, such as a GAN.

    It reads like a dict, and saves, loads and reports for all. Which of them a loss updates
    only the model knows: call ``update_params`` of a member in ``train_step``.

    Args:
        **optim_wrapper_dict: Name and wrapper of each optimizer.

    Raises:
        OptimTypeError: If a value is not an optimizer wrapper.
    """

    def __init__(self, **optim_wrapper_dict: BaseOptimWrapper) -> None:
        for name, member in optim_wrapper_dict.items():
            if not isinstance(member, BaseOptimWrapper):
                raise OptimTypeError(
                    f"OptimWrapperDict: {name!r} must be an optimizer wrapper, "
                    f"got {type(member).__name__}"
                )
        # No call of the base constructor: there is no single optimizer here.
        self.optim_wrappers: dict[str, BaseOptimWrapper] = dict(optim_wrapper_dict)
        self.base_param_settings = None

    def _refuse(self, call: str) -> NoReturn:
        raise AmbiguousUpdateError(
            f"OptimWrapperDict.{call}: which of {', '.join(self.optim_wrappers)} is meant? "
            f"Call it on one of them, e.g. optim_wrapper[{next(iter(self.optim_wrappers), '')!r}]"
            f".{call}(...), in the model's train_step."
        )

    def update_params(
        self,
        loss: Tensor,
        step_kwargs: Mapping[str, Any] | None = None,
        zero_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        """Not available for several optimizers at once: call it on a member.

        Raises:
            AmbiguousUpdateError: Always.
        """
        self._refuse("update_params")

    def backward(self, loss: Tensor, **kwargs: Any) -> None:
        """Not available for several optimizers at once: call it on a member.

        Raises:
            AmbiguousUpdateError: Always.
        """
        self._refuse("backward")

    def step(self, **kwargs: Any) -> None:
        """Not available for several optimizers at once: call it on a member.

        Raises:
            AmbiguousUpdateError: Always.
        """
        self._refuse("step")

    def optim_context(self, model: nn.Module) -> AbstractContextManager[Any]:
        """Not available for several optimizers at once: call it on a member.

        Raises:
            AmbiguousUpdateError: Always.
        """
        self._refuse("optim_context")

    def zero_grad(self, **kwargs: Any) -> None:
        """Clear the gradients of all members."""
        for member in self.optim_wrappers.values():
            member.zero_grad(**kwargs)

    def initialize_count_status(self, model: nn.Module, init_counts: int, max_counts: int) -> None:
        """Do nothing: how often each member is updated, only the model knows."""

    @property
    def inner_count(self) -> int:
        """Not available for several optimizers at once: read it on a member."""
        self._refuse("inner_count")

    @property
    def param_groups(self) -> dict[str, list[dict[str, Any]]]:  # type: ignore[override]  # documented
        """The parameter groups of each member, by name."""
        return {name: member.param_groups for name, member in self.optim_wrappers.items()}

    @property
    def defaults(self) -> dict[str, Any]:
        """The default settings of each member, by name."""
        return {name: member.defaults for name, member in self.optim_wrappers.items()}

    def get_lr(self) -> dict[str, list[float]]:
        """Return the learning rates of all members as ``{'<name>.lr': [...]}``."""
        return {
            f"{name}.{key}": values
            for name, member in self.optim_wrappers.items()
            for key, values in member.get_lr().items()
        }

    def get_momentum(self) -> dict[str, list[float]]:
        """Return the momenta of all members as ``{'<name>.momentum': [...]}``."""
        return {
            f"{name}.{key}": values
            for name, member in self.optim_wrappers.items()
            for key, values in member.get_momentum().items()
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the state of each member, by name."""
        return {name: member.state_dict() for name, member in self.optim_wrappers.items()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore the members that ``state_dict`` names; nothing is loaded if one is unknown.

        Args:
            state_dict: What :meth:`state_dict` returned; members that it lacks stay as they are.

        Raises:
            OptimStateError: If it names a member that does not exist.
        """
        for name in state_dict:
            if name not in self.optim_wrappers:
                raise OptimStateError(
                    f"OptimWrapperDict: the state has {name!r}, which is not among "
                    f"{', '.join(self.optim_wrappers)}.{nearest(name, self.optim_wrappers)}"
                )
        for name, state in state_dict.items():
            self.optim_wrappers[name].load_state_dict(state)

    def accumulated_state(self) -> dict[str, Any] | None:
        """Return what each member has added up inside a group of passes; ``None`` if none has."""
        states = {
            name: member.accumulated_state()
            for name, member in self.optim_wrappers.items()
            if isinstance(member, OptimWrapper)
        }
        return states if any(state is not None for state in states.values()) else None

    def load_accumulated_state(self, state: Mapping[str, Any]) -> None:
        """Let each member go on inside the group that it was in."""
        for name, member in self.optim_wrappers.items():
            if isinstance(member, OptimWrapper) and state.get(name) is not None:
                member.load_accumulated_state(state[name])

    def items(self) -> ItemsView[str, BaseOptimWrapper]:
        """Names and members."""
        return self.optim_wrappers.items()

    def keys(self) -> KeysView[str]:
        """Names of the members."""
        return self.optim_wrappers.keys()

    def values(self) -> ValuesView[BaseOptimWrapper]:
        """The members."""
        return self.optim_wrappers.values()

    def __getitem__(self, name: str) -> BaseOptimWrapper:
        return self.optim_wrappers[name]

    def __contains__(self, name: object) -> bool:
        return name in self.optim_wrappers

    def __iter__(self) -> Iterator[str]:
        return iter(self.optim_wrappers)

    def __len__(self) -> int:
        return len(self.optim_wrappers)

    def __repr__(self) -> str:
        return "\n".join(f"name: {name}\n{member!r}" for name, member in self.items())

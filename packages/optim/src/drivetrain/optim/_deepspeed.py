"""Updates through a DeepSpeed engine, which owns gradients, precision and the step."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from torch import Tensor, nn

from drivetrain.optim._errors import OptimArgumentError
from drivetrain.optim._optim_wrapper import _NO_CONTEXT, BaseOptimWrapper
from drivetrain.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class DeepSpeedOptimWrapper(BaseOptimWrapper):
    """For ``DeepSpeedStrategy``, which starts the engine and gives it to :attr:`engine`.

    Clipping and accumulation are the engine's: tell them to the strategy.

    Args:
        optimizer: The optimizer that the engine will step.
    """

    def __init__(self, optimizer: Any) -> None:
        super().__init__(optimizer)
        #: The engine; ``None`` until the strategy has started it.
        self.engine: Any = None
        self.message_hub: Any = None

    def update_params(
        self,
        loss: Tensor,
        step_kwargs: Mapping[str, Any] | None = None,
        zero_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        """Let the engine go backward, and step when its group of passes is complete.

        Raises:
            OptimArgumentError: If arguments for the step or for zeroing are given: the engine
                takes none.
        """
        if step_kwargs or zero_kwargs:
            raise OptimArgumentError("DeepSpeedOptimWrapper: the engine takes no arguments.")
        self.backward(loss)
        self.step()

    def backward(self, loss: Tensor, **kwargs: Any) -> None:
        """Compute gradients; the engine scales the loss and exchanges them.

        Raises:
            OptimArgumentError: If the strategy has not started an engine yet.
        """
        self._started().backward(loss, **kwargs)

    def step(self, **kwargs: Any) -> None:
        """Update the parameters if this pass ends its group, and clear the gradients then.

        Raises:
            OptimArgumentError: If the strategy has not started an engine yet.
        """
        self._started().step(**kwargs)

    def zero_grad(self, **kwargs: Any) -> None:
        """Clear the gradients; the engine does so after each step by itself.

        Raises:
            OptimArgumentError: If the strategy has not started an engine yet.
        """
        self._started().optimizer.zero_grad(**kwargs)

    def optim_context(self, model: nn.Module) -> AbstractContextManager[Any]:
        """Return a context that does nothing: the engine knows when to communicate."""
        return _NO_CONTEXT

    def initialize_count_status(self, model: nn.Module, init_counts: int, max_counts: int) -> None:
        """Do nothing: the engine counts.

        Args:
            model: Not used.
            init_counts: Not used.
            max_counts: Not used.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return the base settings; the engine writes the optimizer's state."""
        base = self.base_param_settings
        return {} if base is None else {"base_param_settings": dict(base)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore the base settings."""
        base = state_dict.get("base_param_settings")
        if base is not None:
            self.base_param_settings = dict(base)

    def _started(self) -> Any:
        if self.engine is None:
            raise OptimArgumentError(
                "DeepSpeedOptimWrapper: there is no engine. Use it with DeepSpeedStrategy."
            )
        return self.engine

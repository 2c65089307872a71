"""What this package asks of models, optimizer wrappers and schedulers, which it does not import."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

from torch import Tensor, nn


class OptimizerWrapper(Protocol):
    """What a wrapped model and a strategy ask of an optimizer wrapper."""

    def optim_context(self, model: nn.Module) -> AbstractContextManager[Any]:
        """Context of the forward pass: precision, and whether gradients are exchanged."""
        ...

    def update_params(self, loss: Tensor) -> None:
        """Backward pass, step and zeroing, as the wrapper's counters demand."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """State as plain types and tensors."""
        ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what ``state_dict`` gave."""
        ...


class Scheduler(Protocol):
    """What a strategy asks of a parameter scheduler."""

    def state_dict(self) -> dict[str, Any]:
        """State as plain types and tensors."""
        ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what ``state_dict`` gave."""
        ...


class TrainableModel(Protocol):
    """What a model wrapper asks of the model inside."""

    def data_preprocessor(self, data: Any, training: bool = False) -> Any:
        """Bring a batch into the form and onto the device that ``forward`` takes.

        Args:
            data: What the data loader gave.
            training: Whether the model is being trained.

        Returns:
            The batch, as ``forward`` takes it.
        """
        ...

    def parse_losses(self, losses: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss to minimize, and what to log."""
        ...

    def val_step(self, data: Any) -> Any:
        """Predictions during validation."""
        ...

    def test_step(self, data: Any) -> Any:
        """Predictions during testing."""
        ...

"""The steps of training, validation and testing that most models share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from drivetrain.model._base_module import BaseModule
from drivetrain.model._batch_note import note_batch
from drivetrain.model._data_preprocessor import BaseDataPreprocessor
from drivetrain.model._errors import ModelOutputError, ModelTypeError
from drivetrain.registry import MODELS, building


class ParameterUpdater(Protocol):
    """What a model asks of the optimizer wrapper that it trains with."""

    def optim_context(self, model: nn.Module) -> AbstractContextManager[Any]:
        """Return the context for the forward pass."""
        ...

    def update_params(self, loss: Tensor) -> None:
        """Run backward, and update the parameters when that is due."""
        ...


class BaseModel(BaseModule):
    """A model that knows how to take a training, a validation and a test step.

    A subclass implements :meth:`forward`; the engine calls the steps.

    Args:
        data_preprocessor: Brings a batch to the device and into the form that ``forward`` takes; a
            module or its node. The default moves it.
        init_cfg: How to initialize the weights, see :class:`BaseModule`.

    Raises:
        ModelTypeError: If ``data_preprocessor`` is neither module nor node.

    Example:
        >>> class Net(BaseModel):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.linear = nn.Linear(4, 2)
        ...
        ...     def forward(self, inputs, labels=None, mode="tensor"):
        ...         logits = self.linear(inputs)
        ...         if mode == "loss":
        ...             return {"loss": nn.functional.cross_entropy(logits, labels)}
        ...         return logits.argmax(1) if mode == "predict" else logits
    """

    def __init__(
        self,
        data_preprocessor: nn.Module | Mapping[str, Any] | None = None,
        init_cfg: Mapping[str, Any] | list[Mapping[str, Any]] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if data_preprocessor is None:
            self.data_preprocessor: nn.Module = BaseDataPreprocessor()
        elif isinstance(data_preprocessor, nn.Module):
            self.data_preprocessor = data_preprocessor
        elif isinstance(data_preprocessor, Mapping):
            with building("data_preprocessor"):
                self.data_preprocessor = MODELS.build(data_preprocessor)
        else:
            raise ModelTypeError(
                f"{type(self).__name__}: data_preprocessor must be a module or a dict, "
                f"got {type(data_preprocessor).__name__}"
            )

    @abstractmethod
    def forward(
        self, inputs: Tensor, data_samples: list[Any] | None = None, mode: str = "tensor"
    ) -> Any:
        """Compute losses, predictions, or raw outputs.

        The batch is unpacked into the arguments: a dict by key, a list or tuple by position.

        Args:
            inputs: The batch of inputs.
            data_samples: What else belongs to it, such as labels.
            mode: ``'loss'``: return a dict of losses, for training; ``'predict'``: return what the
                metrics take, one element per sample; ``'tensor'``: return raw outputs.
        """

    def train_step(self, data: Any, optim_wrapper: ParameterUpdater) -> dict[str, Tensor]:
        """Preprocess, compute the losses, and update the parameters.

        Args:
            data: What the data loader gave.
            optim_wrapper: Updates the parameters.

        Returns:
            The losses and what else ``forward`` returned to be logged, as detached tensors on their
            device: nothing here waits for it.

        Raises:
            ModelTypeError: If the data preprocessor returns neither a dict, a list nor a tuple.
        """
        with optim_wrapper.optim_context(self):
            data = self.data_preprocessor(data, True)
            losses = self._run_forward(data, mode="loss")
        loss, log_vars = self.parse_losses(losses)
        optim_wrapper.update_params(loss)
        return log_vars

    def val_step(self, data: Any) -> Any:
        """Return the predictions for a batch, for the evaluator.

        Args:
            data: A batch, as the loader yields it: a dict, list or tuple.

        Returns:
            What ``forward(mode='predict')`` returns.

        Raises:
            ModelTypeError: If the data preprocessor returns neither a dict, a list nor a tuple.
        """
        return self._run_forward(self.data_preprocessor(data, False), mode="predict")

    def test_step(self, data: Any) -> Any:
        """Return the predictions for a batch, for the evaluator.

        Args:
            data: A batch, as the loader yields it: a dict, list or tuple.

        Returns:
            What ``forward(mode='predict')`` returns.

        Raises:
            ModelTypeError: If the data preprocessor returns neither a dict, a list nor a tuple.
        """
        return self._run_forward(self.data_preprocessor(data, False), mode="predict")

    def parse_losses(
        self, losses: Mapping[str, Tensor | list[Tensor]]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Sum the losses, and take out what is logged.

        Args:
            losses: By name, a tensor (its mean counts) or a list of tensors (the sum of their means
                counts). Names that contain ``'loss'`` are summed; the others are only logged.
                ``num_samples``, if there, is the number of samples that the losses are means over;
                accumulated passes and ranks are then weighted by it.

        Returns:
            The sum, to be differentiated, and all values as detached scalars, ``'loss'`` (the sum)
            first.

        Raises:
            ModelOutputError: If ``losses`` is no dict, a value is no tensor, or no name contains
                ``'loss'``.
        """
        if type(losses) is not dict and not isinstance(losses, Mapping):
            raise ModelOutputError(
                f"{type(self).__name__}.forward(mode='loss') must return a dict of losses, "
                f"got {type(losses).__name__}"
            )
        total: Tensor | None = None
        num_samples: int | Tensor | None = None
        values: dict[str, Tensor] = {}
        for name, value in losses.items():
            if name == "num_samples":
                num_samples = value  # type: ignore[assignment]  # a count, not a loss
                continue
            scalar = value if isinstance(value, Tensor) and value.ndim == 0 else _mean(name, value)
            if "loss" in name:
                total = scalar if total is None else total + scalar
            if name != "loss":
                values[name] = scalar.detach()
        if total is None:
            raise ModelOutputError(
                f"{type(self).__name__}.forward(mode='loss') returned no loss: a name must contain "
                f"'loss', got {', '.join(map(repr, losses)) or 'nothing'}"
            )
        if num_samples is not None:
            # On the tensor itself: so it reaches the optimizer wrapper through every model wrapper.
            total.num_samples = num_samples  # type: ignore[attr-defined]
        return total, {"loss": total.detach(), **values}

    def _run_forward(self, data: Any, mode: str) -> Any:
        try:
            if isinstance(data, dict):
                return self(**data, mode=mode)
            if isinstance(data, list | tuple):
                return self(*data, mode=mode)
            if isinstance(data, Mapping):
                return self(**data, mode=mode)
        except Exception as err:
            note_batch(err, self, mode, data)
            raise
        raise ModelTypeError(
            f"{type(self).__name__}: the data preprocessor must return a dict, a list or a tuple, "
            f"got {type(data).__name__}"
        )


def _mean(name: str, value: Any) -> Tensor:
    """Return a scalar: the mean of a tensor, or the sum of the means of several."""
    if isinstance(value, Tensor):
        return (value if value.is_floating_point() else value.float()).mean()
    if isinstance(value, list | tuple) and all(isinstance(item, Tensor) for item in value):
        means = [_mean(name, item) for item in value]
        return sum(means[1:], start=means[0]) if means else torch.zeros(())
    raise ModelOutputError(
        f"forward(mode='loss'): {name!r} must be a tensor or a list of tensors, "
        f"got {type(value).__name__}"
    )

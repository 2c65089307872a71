"""Engines of other libraries that know how to take a training, validation and test step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from drivetrain.dist._ddp import run_forward
from drivetrain.dist._protocols import OptimizerWrapper
from drivetrain.registry import MODEL_WRAPPERS


class EngineWrapper(nn.Module):
    """An engine around a model, with the steps that a loop calls.

    Args:
        engine: What is called in place of the model.
        module: The model inside it.
        inputs_to_half: Which of the data preprocessor's outputs are cast to the type of the
            parameters: names, or numbers where it returns a sequence.
    """

    engine: Any

    def __init__(
        self, engine: Any, module: nn.Module, inputs_to_half: Sequence[int | str] | None = None
    ) -> None:
        super().__init__()
        self.__dict__["engine"] = engine  # not a child: its module is one, by the name of wrappers
        self.module = module
        self.inputs_to_half = tuple(inputs_to_half or ())

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        """Call the engine."""
        return self.engine(*inputs, **kwargs)

    def train_step(self, data: Any, optim_wrapper: OptimizerWrapper) -> dict[str, Tensor]:
        """One step: preprocess, forward, losses, backward, update.

        Args:
            data: A batch as the loader gave it.
            optim_wrapper: Updates the parameters through the engine.

        Returns:
            What to log, as detached tensors.
        """
        model: Any = self.module
        with optim_wrapper.optim_context(self):
            inputs = self._cast(model.data_preprocessor(data, training=True))
            losses = run_forward(self, inputs, mode="loss")
        loss, log_vars = model.parse_losses(losses)
        optim_wrapper.update_params(loss)
        return log_vars

    def val_step(self, data: Any) -> Any:
        """Predictions during validation, by the engine: it may hold parameters in parts."""
        model: Any = self.module
        inputs = self._cast(model.data_preprocessor(data, False))
        return run_forward(self, inputs, mode="predict")

    def test_step(self, data: Any) -> Any:
        """Predictions during testing."""
        return self.val_step(data)

    def _cast(self, inputs: Any) -> Any:
        if not self.inputs_to_half:
            return inputs
        dtype = next(self.module.parameters()).dtype
        if isinstance(inputs, dict):
            return {
                key: _in_type(value, dtype) if key in self.inputs_to_half else value
                for key, value in inputs.items()
            }
        return [
            _in_type(value, dtype) if number in self.inputs_to_half else value
            for number, value in enumerate(inputs)
        ]


@MODEL_WRAPPERS.register_module()
class MMDeepSpeedEngineWrapper(EngineWrapper):
    """What ``deepspeed.initialize`` made of a model, with the steps that a loop calls.

    Args:
        model: The engine.
        inputs_to_half: See ``EngineWrapper``.
    """

    def __init__(self, *, model: Any, inputs_to_half: Sequence[int | str] | None = None) -> None:
        super().__init__(model, model.module, inputs_to_half)


@MODEL_WRAPPERS.register_module()
class ColossalAIModelWrapper(EngineWrapper):
    """What ColossalAI's booster made of a model, with the steps that a loop calls.

    Args:
        model_wrapper: The boosted model.
        model: The model inside it.
    """

    def __init__(self, model_wrapper: nn.Module, model: nn.Module) -> None:
        super().__init__(model_wrapper, model)


def _in_type(value: Any, dtype: torch.dtype) -> Any:
    if isinstance(value, Tensor):
        return value.to(dtype) if value.is_floating_point() else value
    if isinstance(value, list | tuple):
        return type(value)(_in_type(item, dtype) for item in value)
    return value

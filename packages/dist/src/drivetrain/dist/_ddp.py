"""Data-parallel models that know how to take a training, validation and test step."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from drivetrain.dist._anomalous import detect_anomalous_params
from drivetrain.dist._comm_hooks import set_comm_hook
from drivetrain.dist._errors import UnusedParametersError
from drivetrain.dist._protocols import OptimizerWrapper
from drivetrain.registry import MODEL_WRAPPERS, Registry

MODEL_WRAPPERS.register_module(module=DataParallel)
MODEL_WRAPPERS.register_module(module=DistributedDataParallel)


@MODEL_WRAPPERS.register_module()
class MMDistributedDataParallel(DistributedDataParallel):
    """``DistributedDataParallel`` with the steps that a loop calls.

    The forward pass of ``train_step`` goes through the wrapper, so that gradients are exchanged;
    validation and testing go to the model inside, where nothing is exchanged.

    Args:
        module: A model with ``data_preprocessor``, ``parse_losses``, ``val_step``, ``test_step``.
        detect_anomalous_params: Log, at each step, the parameters that take no part in the loss.
            Slow; for finding out why gradients are missing.
        comm_hook: How gradients travel: ``'fp16'``, ``'bf16'``, or a mapping with
            ``type='powersgd'`` and its arguments; whole by default.
        **kwargs: Those of ``torch.nn.parallel.DistributedDataParallel``, e.g. ``device_ids``,
            ``broadcast_buffers``, ``find_unused_parameters``, ``static_graph``.
    """

    def __init__(
        self,
        module: nn.Module,
        detect_anomalous_params: bool = False,
        comm_hook: str | Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(module=module, **_as_torch_names_them(kwargs))
        self.detect_anomalous_params = detect_anomalous_params
        if comm_hook is not None:
            set_comm_hook(self, comm_hook)

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        """Call the model inside; gradients are exchanged in the backward pass that follows.

        Raises:
            UnusedParametersError: If parameters took no part in the last backward pass; names them.
        """
        try:
            return super().forward(*inputs, **kwargs)
        except RuntimeError as err:
            unused = _unused_parameters(self, err)
            if not unused:
                raise
            raise UnusedParametersError(
                f"{type(self.module).__name__}: {', '.join(unused)} took no part in the loss of "
                "the last step, so the ranks wait for gradients that never come.\n"
                "  Do:  use them, freeze them (requires_grad_(False)), or give the wrapper "
                "find_unused_parameters=True."
            ) from err

    def train_step(self, data: Any, optim_wrapper: OptimizerWrapper) -> dict[str, Tensor]:
        """One step: preprocess, forward, losses, backward, update.

        Args:
            data: A batch as the loader gave it.
            optim_wrapper: Updates the parameters.

        Returns:
            What to log, as detached tensors: nothing here waits for the device.
        """
        model: Any = self.module
        with optim_wrapper.optim_context(self):
            data = model.data_preprocessor(data, training=True)
            losses = self._run_forward(data, mode="loss")
        loss, log_vars = model.parse_losses(losses)
        if self.detect_anomalous_params:
            detect_anomalous_params(loss, model=self)
        optim_wrapper.update_params(loss)
        return log_vars

    def _run_forward(self, data: Any, mode: str) -> Any:
        return run_forward(self, data, mode)

    def val_step(self, data: Any) -> Any:
        """Predictions of the model inside, during validation."""
        return self.module.val_step(data)

    def test_step(self, data: Any) -> Any:
        """Predictions of the model inside, during testing."""
        return self.module.test_step(data)


def _unused_parameters(model: DistributedDataParallel, err: RuntimeError) -> list[str]:
    """Names of the parameters that torch's error has by number; empty for other errors."""
    found = re.search(r"did not receive grad for rank \d+: ([\d ]+)", str(err))
    if found is None:
        return []
    names = [name for name, param in model.module.named_parameters() if param.requires_grad]
    return [names[int(number)] for number in found.group(1).split()]


def run_forward(model: nn.Module, data: Any, mode: str) -> Any:
    """Call ``model`` with what a data preprocessor returned, as keywords or in order."""
    if isinstance(data, dict):
        return model(**data, mode=mode)
    if isinstance(data, list | tuple):
        return model(*data, mode=mode)
    raise TypeError(
        f"{type(model).__name__}: data_preprocessor must return a dict, list or tuple, got "
        f"{type(data).__name__}."
    )


def _as_torch_names_them(options: dict[str, Any]) -> dict[str, Any]:
    """``broadcast_buffers`` has another name since torch 2.13, which warns about the old one.

    With the new one, ranks start from the same buffers in any case.
    """
    known = inspect.signature(DistributedDataParallel.__init__).parameters
    if "broadcast_buffers" in options and "forward_sync_buffers" in known:
        options = dict(options)
        options.setdefault("forward_sync_buffers", options.pop("broadcast_buffers"))
    return options


def is_model_wrapper(model: nn.Module, registry: Registry = MODEL_WRAPPERS) -> bool:
    """Whether ``model`` wraps another one, as data parallelism does.

    Args:
        model: Any module.
        registry: Classes that count as wrappers; those of its child registries count too. Add
            your own with ``MODEL_WRAPPERS.register_module()``.
    """
    wrappers = tuple(registry.module_dict.values())
    if isinstance(model, wrappers):
        return True
    return any(is_model_wrapper(model, child) for child in registry.children.values())


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside all wrappers; ``model`` itself when there is none."""
    while is_model_wrapper(model) and isinstance(getattr(model, "module", None), nn.Module):
        model = model.module  # pyrefly: ignore[bad-assignment]
    return model

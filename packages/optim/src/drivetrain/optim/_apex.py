"""Mixed precision through NVIDIA Apex, where that is installed."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from torch import Tensor, nn

from drivetrain.optim._errors import OptimDependencyError
from drivetrain.optim._optim_wrapper import OptimWrapper
from drivetrain.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class ApexOptimWrapper(OptimWrapper):
    """Trains with ``apex.amp``, which initializes model and optimizer at the first forward pass.

    For existing configs; new ones want :class:`AmpOptimWrapper`, which needs nothing but torch.

    Args:
        opt_level: ``'O0'`` to ``'O3'``; this and the arguments up to ``max_loss_scale`` are those
            of ``apex.amp.initialize``.
        loss_scale: See there.
        enabled: See there.
        cast_model_type: See there.
        patch_torch_functions: See there.
        keep_batchnorm_fp32: See there.
        master_weights: See there.
        cast_model_outputs: See there.
        num_losses: See there.
        verbosity: See there.
        min_loss_scale: See there.
        max_loss_scale: See there.
        **kwargs: Arguments of :class:`OptimWrapper`.

    Raises:
        OptimDependencyError: If Apex is not installed.
    """

    def __init__(
        self,
        opt_level: str = "O1",
        loss_scale: float | str | None = "dynamic",
        enabled: bool | None = True,
        cast_model_type: Any | None = None,
        patch_torch_functions: bool | None = None,
        keep_batchnorm_fp32: bool | str | None = None,
        master_weights: bool | None = None,
        cast_model_outputs: Any | None = None,
        num_losses: int = 1,
        verbosity: int = 1,
        min_loss_scale: float | None = None,
        max_loss_scale: float | None = 2.0**24,
        **kwargs: Any,
    ) -> None:
        try:
            self._amp: Any = importlib.import_module("apex.amp")
        except ImportError as err:
            raise OptimDependencyError(
                "ApexOptimWrapper needs NVIDIA Apex, which is built from source: "
                "https://github.com/NVIDIA/apex#installation. AmpOptimWrapper does the same with "
                "torch alone."
            ) from err
        super().__init__(**kwargs)
        self._settings: dict[str, Any] = {
            "opt_level": opt_level,
            "loss_scale": loss_scale,
            "enabled": enabled,
            "cast_model_type": cast_model_type,
            "patch_torch_functions": patch_torch_functions,
            "keep_batchnorm_fp32": keep_batchnorm_fp32,
            "master_weights": master_weights,
            "cast_model_outputs": cast_model_outputs,
            "num_losses": num_losses,
            "verbosity": verbosity,
            "min_loss_scale": min_loss_scale,
            "max_loss_scale": max_loss_scale,
        }

    def backward(self, loss: Tensor, **kwargs: Any) -> None:
        """Scale the loss, compute gradients, and count the pass."""
        with self._amp.scale_loss(loss, self.optimizer) as scaled_loss:
            scaled_loss.backward(**kwargs)
        self._inner_count += 1

    def optim_context(self, model: nn.Module) -> AbstractContextManager[Any]:
        """Return the context for the forward pass; initialize Apex before the first one."""
        if not hasattr(self.optimizer, "_amp_stash"):  # Apex leaves this mark on an optimizer
            _, self.optimizer = self._amp.initialize(model, self.optimizer, **self._settings)
        return super().optim_context(model)

    def state_dict(self) -> dict[str, Any]:
        """Return the optimizer's state, and that of Apex as ``'apex_amp'``."""
        return {**super().state_dict(), "apex_amp": self._amp.state_dict()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore optimizer and Apex; a state without Apex leaves ours as it is.

        Args:
            state_dict: What :meth:`state_dict` returned.
        """
        state = dict(state_dict)
        amp = state.pop("apex_amp", None)
        super().load_state_dict(state)
        if amp is not None:
            self._amp.load_state_dict(amp)

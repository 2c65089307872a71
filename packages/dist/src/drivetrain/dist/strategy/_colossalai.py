"""Training through ColossalAI's booster and one of its plugins."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from drivetrain.checkpoint import AsyncCheckpointWriter, _load_checkpoint, save_checkpoint
from drivetrain.dist._device import get_device
from drivetrain.dist._errors import StrategyConfigError, StrategyError
from drivetrain.dist._group import get_rank
from drivetrain.dist._objects import run_on_main
from drivetrain.dist.strategy._base import BaseStrategy
from drivetrain.dist.strategy._shard_folder import in_step, make_folder, where
from drivetrain.dist.strategy._weights import SHAPES, STRIP_WRAPPER, ReviseKeys
from drivetrain.registry import MODEL_WRAPPERS, STRATEGIES

_PLUGINS = {"gemini": "GeminiPlugin", "lowlevel-zero": "LowLevelZeroPlugin"}
_WEIGHTS, _OPTIMIZER, _REST = "weights", "optimizer", "rest.pth"


@STRATEGIES.register_module()
class ColossalAIStrategy(BaseStrategy):
    """One process a device, trained by ColossalAI's booster; for a Python of its own.

    ColossalAI 0.4 and 0.5 take torch 2.2 to 2.5.1 only. This strategy follows the documentation of
    its ``Booster``; nobody has run it beside a torch of this package yet.

    Args:
        plugin: ``'gemini'``, ``'lowlevel-zero'``, a mapping with one of these (or the name of
            another class of ``colossalai.booster.plugin``) under ``type`` and its arguments, or a
            plugin.
        model_wrapper: Config of the wrapper around the boosted model; ``ColossalAIModelWrapper``
            by default.
        **kwargs: See ``BaseStrategy``.

    Raises:
        StrategyError: If ColossalAI cannot be imported.
        StrategyConfigError: If there is no plugin of that name.
    """

    several_processes = True

    def __init__(
        self,
        *,
        plugin: str | Mapping[str, Any] | Any = "gemini",
        model_wrapper: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._booster_module = _colossalai("colossalai.booster")
        self.plugin = _plugin(plugin)
        self.model_wrapper = dict(model_wrapper or {"type": "ColossalAIModelWrapper"})
        self.booster: Any = None

    def convert_model(self, model: nn.Module) -> nn.Module:
        """Nothing to convert."""
        return model

    def wrap_model(self, model: nn.Module) -> nn.Module:
        """Place the model; the booster comes with the optimizer."""
        return model.to(get_device())

    def build_optim_wrapper(self, optim_wrapper: Any, model: nn.Module | None = None) -> Any:
        """The optimizer wrapper; with it, the boosted model.

        Args:
            optim_wrapper: A ``ColossalAIOptimWrapper``, or its config.
            model: The model that is boosted.

        Returns:
            The wrapper, around the boosted optimizer.

        Raises:
            StrategyConfigError: If the wrapper takes no booster.
        """
        wrapper = super().build_optim_wrapper(optim_wrapper, model)
        if not hasattr(wrapper, "booster"):
            raise StrategyConfigError(
                f"ColossalAIStrategy: optim_wrapper is a {type(wrapper).__name__}; gradients go "
                "through the booster.\n  Do:  optim_wrapper=dict(type='ColossalAIOptimWrapper', "
                "optimizer=...)."
            )
        self.booster = self._booster_module.Booster(plugin=self.plugin)
        bare = self._bare(model)
        boosted, wrapper.optimizer, *_ = self.booster.boost(bare, wrapper.optimizer)
        wrapper.booster = self.booster
        self.model = MODEL_WRAPPERS.build(
            {**self.model_wrapper, "model_wrapper": boosted, "model": bare}
        )
        return wrapper

    def optim_state_dict(self) -> dict[str, Any]:
        """Nothing: the booster writes the optimizer's state."""
        return {}

    def _weights_to_save(self, on_cpu: bool) -> dict[str, Any]:
        return {}  # the booster writes them

    def write_checkpoint(
        self,
        checkpoint: dict[str, Any],
        filename: str,
        *,
        backend_args: dict[str, Any] | None = None,
        background: AsyncCheckpointWriter | None = None,
        then: Callable[[str], None] | None = None,
    ) -> None:
        """Write a folder: the booster's files, and what else the run has, at once.

        Args:
            checkpoint: The assembled checkpoint; its weights are replaced by the files of the
                booster.
            filename: Path of the folder.
            backend_args: Not used: the folder lies on a disk that all ranks see.
            background: Not used: the booster writes at once.
            then: Called on rank 0 with the path, once the folder is complete.

        Raises:
            StrategyError: If the model has not been prepared for training.
        """
        if self.booster is None:
            raise StrategyError("ColossalAIStrategy: only a model in training can be saved.")
        rest = {key: value for key, value in checkpoint.items() if key != "state_dict"}
        rest[SHAPES] = dict(self._model_outline().shapes)

        def write_rest(folder: str) -> None:
            if get_rank() == 0:
                save_checkpoint(rest, os.path.join(folder, _REST))

        def write(folder: str) -> None:
            self.booster.save_model(self._boosted, os.path.join(folder, _WEIGHTS), shard=True)
            if "optimizer" in rest:
                optimizer = self.optim_wrapper.optimizer
                self.booster.save_optimizer(optimizer, os.path.join(folder, _OPTIMIZER), shard=True)

        path = make_folder(filename, [write_rest, write])
        if then is not None:
            run_on_main(lambda: then(path))

    def load_optim_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Read the optimizer's files of the folder that weights were read from last."""
        path = os.path.join(self._folder, _OPTIMIZER)
        self.booster.load_optimizer(self.optim_wrapper.optimizer, path)

    def load_model_state_dict(
        self,
        state_dict: dict[str, Any],
        *,
        strict: bool = False,
        revise_keys: ReviseKeys = STRIP_WRAPPER,
    ) -> None:
        """Read the weights of the folder, which the checkpoint only names."""
        if self.booster is None:
            super().load_model_state_dict(state_dict, strict=strict, revise_keys=revise_keys)
        else:
            path = os.path.join(self._folder, _WEIGHTS)
            self.booster.load_model(self._boosted, path, strict=strict)

    def read_checkpoint(self, filename: str, map_location: Any) -> dict[str, Any]:
        """What else a run has; the booster reads weights and moments itself.

        Args:
            filename: Path of the folder.
            map_location: Not used: it is read to the CPU.

        Returns:
            The checkpoint, with an empty ``state_dict``.

        Raises:
            StrategyError: If there is no such folder.
        """
        self._folder = where(filename)
        if not os.path.isdir(self._folder):
            raise StrategyError(f"{filename}: is no folder that ColossalAIStrategy has written.")
        rest = in_step(lambda: _load_checkpoint(os.path.join(self._folder, _REST), "cpu", None))
        self._model_outline().refuse_shapes(rest, in_full=self._resumes_training)
        return {**rest, "state_dict": {}}

    @property
    def _boosted(self) -> Any:
        return getattr(self.model, "engine", None)


def _plugin(setting: str | Mapping[str, Any] | Any) -> Any:
    if not isinstance(setting, str | Mapping):
        return setting
    options = {"type": setting} if isinstance(setting, str) else dict(setting)
    kind = str(options.pop("type", "gemini"))
    plugins = _colossalai("colossalai.booster.plugin")
    found = getattr(plugins, _PLUGINS.get(kind, kind), None)
    if found is None:
        raise StrategyConfigError(
            f"ColossalAIStrategy: no plugin {kind!r}.\n"
            f"  Known:  {', '.join(_PLUGINS)}, and the classes of colossalai.booster.plugin"
        )
    return found(**options)


def _colossalai(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as err:
        raise StrategyError(
            "ColossalAIStrategy needs colossalai 0.4 or 0.5, which need torch 2.2 to 2.5.1; this "
            f"Python has torch {torch.__version__}, and {module} cannot be imported: {err}\n"
            "  Do:  make a virtual environment with those, or use FSDPStrategy."
        ) from err

"""Training through a DeepSpeed engine: ZeRO stages 1, 2 and 3."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from drivetrain.checkpoint import AsyncCheckpointWriter, _load_checkpoint, save_checkpoint
from drivetrain.dist._device import get_device
from drivetrain.dist._engine_wrappers import MMDeepSpeedEngineWrapper
from drivetrain.dist._errors import StrategyConfigError, StrategyError
from drivetrain.dist._group import get_backend, get_rank
from drivetrain.dist._objects import run_on_main
from drivetrain.dist.strategy._base import BaseStrategy
from drivetrain.dist.strategy._shard_folder import in_step, make_folder, where
from drivetrain.dist.strategy._shards import gathered
from drivetrain.dist.strategy._weights import SHAPES, STRIP_WRAPPER, ReviseKeys
from drivetrain.registry import STRATEGIES

_TAG = "deepspeed"  # the folder of DeepSpeed's own files in a checkpoint
_REST = "rest.pth"
_NEVER = 10_000_000_000_000
_VERSIONS = "deepspeed 0.19 (0.19.8 was tried, with torch 2.13)"


@STRATEGIES.register_module()
class DeepSpeedStrategy(BaseStrategy):
    """One process a device, trained by a DeepSpeed engine; needs ``pip install deepspeed``.

    The optimizer is that of a ``DeepSpeedOptimWrapper``; clipping and accumulation are the
    engine's, and told here. Checkpoints are folders for this strategy and the same number of ranks;
    weights of other strategies' files can be loaded.

    Args:
        config: A DeepSpeed config, or the path of one; the arguments below are put over it.
        zero_optimization: ``stage`` and what else DeepSpeed has under this name.
        gradient_clipping: Norm to which gradients are clipped.
        fp16: ``enabled``, ``loss_scale``, ...
        inputs_to_half: Outputs of the data preprocessor that are cast to the type of the
            parameters, by name or number.
        bf16: ``enabled``, ...
        amp: For NVIDIA Apex: ``enabled``, ``opt_level``.
        activation_checkpointing: DeepSpeed's settings of this name.
        aio: Settings of asynchronous reads and writes, for offloading to disks.
        train_micro_batch_size_per_gpu: Samples of a rank in one pass; from the loader by default.
        gradient_accumulation_steps: Passes in one update.
        steps_per_print: How often the engine reports by itself; practically never by default.
        exclude_frozen_parameters: Whether checkpoints leave parameters out that are not trained.
        **kwargs: See ``BaseStrategy``.

    Raises:
        StrategyError: If DeepSpeed cannot be imported.
        StrategyConfigError: If ``config`` is no JSON file that can be read.
    """

    several_processes = True

    def __init__(
        self,
        *,
        config: str | Mapping[str, Any] | None = None,
        zero_optimization: Mapping[str, Any] | None = None,
        gradient_clipping: float = 1.0,
        fp16: Mapping[str, Any] | None = None,
        inputs_to_half: Sequence[int | str] | None = None,
        bf16: Mapping[str, Any] | None = None,
        amp: Mapping[str, Any] | None = None,
        activation_checkpointing: Mapping[str, Any] | None = None,
        aio: Mapping[str, Any] | None = None,
        train_micro_batch_size_per_gpu: int | None = None,
        gradient_accumulation_steps: int | None = None,
        steps_per_print: int = _NEVER,
        exclude_frozen_parameters: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._deepspeed = _deepspeed()
        self._compile: bool | Mapping[str, Any] = False
        given = {
            "zero_optimization": zero_optimization,
            "fp16": fp16,
            "bf16": bf16,
            "amp": amp,
            "activation_checkpointing": activation_checkpointing,
            "aio": aio,
            "train_micro_batch_size_per_gpu": train_micro_batch_size_per_gpu,
            "gradient_accumulation_steps": gradient_accumulation_steps,
        }
        self.config = _read_config(config)
        self.config.update({key: value for key, value in given.items() if value is not None})
        if gradient_clipping != 1.0 or "gradient_clipping" not in self.config:
            self.config["gradient_clipping"] = gradient_clipping
        if steps_per_print != _NEVER or "steps_per_print" not in self.config:
            self.config["steps_per_print"] = steps_per_print
        # An optimizer of torch is what the user asked for, on a CPU too.
        self.config.setdefault("zero_allow_untested_optimizer", True)
        self.config.setdefault("zero_force_ds_cpu_optimizer", False)
        self.inputs_to_half = inputs_to_half
        self.exclude_frozen_parameters = exclude_frozen_parameters

    # ---- what is trained ----------------------------------------------------------------------

    def convert_model(self, model: nn.Module) -> nn.Module:
        """Nothing to convert."""
        return model

    def wrap_model(self, model: nn.Module) -> nn.Module:
        """Place the model; the engine comes with the optimizer."""
        return model.to(get_device())

    def compile_model(self, model: nn.Module, compile: bool | Mapping[str, Any]) -> nn.Module:
        """Keep the options: the engine compiles."""
        self._compile = compile
        return model

    def build_optim_wrapper(self, optim_wrapper: Any, model: nn.Module | None = None) -> Any:
        """The optimizer wrapper; with it, the engine around the model.

        Args:
            optim_wrapper: A ``DeepSpeedOptimWrapper``, or its config.
            model: The model that the engine is made around.

        Returns:
            The wrapper, with the engine in it.

        Raises:
            StrategyConfigError: If the wrapper takes no engine.
        """
        wrapper = super().build_optim_wrapper(optim_wrapper, model)
        if not hasattr(wrapper, "engine"):
            raise StrategyConfigError(
                f"DeepSpeedStrategy: optim_wrapper is a {type(wrapper).__name__}; the engine "
                "updates parameters itself.\n  Do:  optim_wrapper=dict(type="
                "'DeepSpeedOptimWrapper', optimizer=...)."
            )
        wrapper.engine = self._start_engine(self._bare(model), wrapper.optimizer)
        self.model = MMDeepSpeedEngineWrapper(
            model=wrapper.engine, inputs_to_half=self.inputs_to_half
        )
        return wrapper

    def _start_engine(self, model: nn.Module, optimizer: Any) -> Any:
        batch_size = self.dispatch_kwargs.get("train_micro_batch_size_per_gpu")
        self.config.setdefault("train_micro_batch_size_per_gpu", batch_size or 1)
        # It takes the process group that is there, but asks the environment for its device.
        on_cpu = get_device() == "cpu"
        device = get_rank() if on_cpu else torch.accelerator.current_device_index()
        os.environ.setdefault("LOCAL_RANK", str(device))
        self._deepspeed.init_distributed(
            dist_backend=get_backend(), auto_mpi_discovery=False, verbose=False
        )
        engine, *_ = self._deepspeed.initialize(
            model=model, optimizer=optimizer, config=dict(self.config)
        )
        if self._compile is not False:
            options = {} if self._compile is True else dict(self._compile)
            options.pop("target", None)
            backend = {"backend": options.pop("backend")} if "backend" in options else {}
            engine.compile(**backend, compile_kwargs=options)
        return engine

    # ---- state --------------------------------------------------------------------------------

    def model_state_dict(self) -> dict[str, Any]:
        """Whole weights on the CPU of rank 0, ``None`` elsewhere; called on all ranks."""
        model = self._bare()
        fetch = gathered(keep=self.rank == 0)
        weights: dict[str, Any] = {}
        params = dict(model.named_parameters(remove_duplicate=False))
        for name, value in model.state_dict().items():
            with self._whole([params[name]] if name in params else []):
                weights[name] = fetch(params.get(name, value))
        return weights

    def load_model_state_dict(
        self,
        state_dict: dict[str, Any],
        *,
        strict: bool = False,
        revise_keys: ReviseKeys = STRIP_WRAPPER,
    ) -> None:
        """Put whole weights into the model; called on all ranks with the same weights."""
        with self._whole(list(self._bare().parameters()), changed_by=0):
            super().load_model_state_dict(state_dict, strict=strict, revise_keys=revise_keys)
        refresh = getattr(getattr(self._engine, "optimizer", None), "refresh_fp32_params", None)
        if refresh is not None:
            refresh()

    def optim_state_dict(self) -> dict[str, Any]:
        """What the wrapper keeps besides the engine's state, which the engine writes."""
        return self.optim_wrapper.state_dict()

    def write_checkpoint(
        self,
        checkpoint: dict[str, Any],
        filename: str,
        *,
        backend_args: dict[str, Any] | None = None,
        background: AsyncCheckpointWriter | None = None,
        then: Callable[[str], None] | None = None,
    ) -> None:
        """Write a folder: the engine's files, and what else the run has.

        Args:
            checkpoint: The assembled checkpoint; its weights are replaced by the files of the
                engine.
            filename: Path of the folder.
            backend_args: Not used: the folder lies on a disk that all ranks see.
            background: Not used: the engine writes at once.
            then: Called on rank 0 with the path, once the folder is complete.

        Raises:
            StrategyError: If the model has not been prepared for training.
        """
        if self._engine is None:
            raise StrategyError("DeepSpeedStrategy: only a model in training can be saved.")
        rest = {key: value for key, value in checkpoint.items() if key != "state_dict"}
        rest[SHAPES] = dict(self._model_outline().shapes)

        def write_rest(folder: str) -> None:
            if get_rank() == 0:
                save_checkpoint(rest, os.path.join(folder, _REST))

        def write(folder: str) -> None:
            self._engine.save_checkpoint(
                folder,
                tag=_TAG,
                save_latest=False,
                exclude_frozen_parameters=bool(self.exclude_frozen_parameters),
            )

        path = make_folder(filename, [write_rest, write])
        if then is not None:
            run_on_main(lambda: then(path))

    def _weights_to_save(self, on_cpu: bool) -> dict[str, Any]:
        return {}  # the engine writes them

    def load_checkpoint(self, filename: str, **options: Any) -> dict[str, Any]:
        """Put the weights of a file, or of a folder of DeepSpeed, into the model."""
        if not os.path.isdir(os.path.join(where(filename), _TAG)):
            return super().load_checkpoint(filename, **options)
        return self._from_folder(filename, with_optimizer=False, **options)

    def resume(
        self,
        filename: str,
        *,
        resume_optimizer: bool = True,
        resume_param_scheduler: bool = True,
        map_location: Any = "default",
        callback: Callable[[dict[str, Any]], Any] | None = None,
    ) -> dict[str, Any]:
        """Put the run back where ``save_checkpoint`` saw it; called on all ranks.

        Raises:
            StrategyError: If a folder of another number of ranks would have to give the optimizer.
        """
        if not os.path.isdir(os.path.join(where(filename), _TAG)):
            return super().resume(
                filename,
                resume_optimizer=False,  # of another strategy: it has another form
                resume_param_scheduler=resume_param_scheduler,
                map_location=map_location,
                callback=callback,
            )
        checkpoint = self._from_folder(filename, with_optimizer=resume_optimizer, callback=callback)
        if resume_optimizer and "optimizer" in checkpoint:
            self.load_optim_state_dict(checkpoint["optimizer"])
        if resume_param_scheduler and "param_schedulers" in checkpoint and self.param_schedulers:
            self.load_scheduler_state_dict(checkpoint["param_schedulers"])
        self._resume_randomness(checkpoint)
        return checkpoint

    def _from_folder(
        self,
        filename: str,
        *,
        with_optimizer: bool,
        callback: Callable[[dict[str, Any]], Any] | None = None,
        strict: bool = False,
        revise_keys: ReviseKeys = STRIP_WRAPPER,
        map_location: Any = "cpu",
    ) -> dict[str, Any]:
        folder = where(filename)
        rest = in_step(
            lambda: _load_checkpoint(os.path.join(folder, _REST), map_location="cpu", logger=None)
        )
        if callback is not None:
            callback(rest)
        if with_optimizer and rest["meta"]["world_size"] != self.world_size:
            raise StrategyError(
                f"{filename}: holds the shards of {rest['meta']['world_size']} ranks, this run has "
                f"{self.world_size}.\n  Do:  resume with as many, or load its weights only."
            )
        # DeepSpeed would say that sizes of its buffers differ, or nothing.
        self._model_outline().refuse_shapes(rest, in_full=with_optimizer)
        if with_optimizer and self._engine is not None:
            self._engine.load_checkpoint(folder, tag=_TAG, load_lr_scheduler_states=False)
        else:
            to_fp32 = importlib.import_module("deepspeed.utils.zero_to_fp32")
            weights = to_fp32.get_fp32_state_dict_from_zero_checkpoint(folder, _TAG)
            self.load_model_state_dict(weights, strict=strict, revise_keys=revise_keys)
        return rest

    @property
    def _engine(self) -> Any:
        return getattr(self.model, "engine", None)

    def _whole(
        self, params: list[nn.Parameter], changed_by: int | None = None
    ) -> AbstractContextManager[Any]:
        """Parameters put together from all ranks, as stage 3 keeps only parts of them."""
        if self._engine is None or self._engine.zero_optimization_stage() < 3 or not params:
            return nullcontext()
        return self._deepspeed.zero.GatheredParameters(params, modifier_rank=changed_by)


def _deepspeed() -> Any:
    if get_device() == "cpu":
        # Else it looks for accelerators by way of tools that may not be installed.
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    try:
        return importlib.import_module("deepspeed")
    except ImportError as err:
        raise StrategyError(
            f"DeepSpeedStrategy needs {_VERSIONS}; this Python has torch {torch.__version__} and "
            f"no deepspeed that can be imported: {err}\n"
            "  Do:  DS_BUILD_OPS=0 pip install --no-build-isolation deepspeed, or use FSDPStrategy."
        ) from err


def _read_config(config: str | Mapping[str, Any] | None) -> dict[str, Any]:
    if not isinstance(config, str):
        return dict(config or {})
    try:
        with open(config, encoding="utf-8") as file:
            return dict(json.load(file))
    except (OSError, ValueError) as err:
        raise StrategyConfigError(
            f"DeepSpeedStrategy: config {config!r} is no JSON file that can be read: {err}"
        ) from err

"""Training a model whose parameters are cut over the devices."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from drivetrain.checkpoint import AsyncCheckpointWriter, _load_checkpoint, save_checkpoint
from drivetrain.dist._collectives import broadcast
from drivetrain.dist._device import get_device
from drivetrain.dist._errors import StrategyConfigError, StrategyError
from drivetrain.dist._objects import broadcast_object, run_on_all, run_on_main
from drivetrain.dist._randomness import load_random_state_dict, random_state_dict
from drivetrain.dist._sharding import checkpoint_activations, shard_model
from drivetrain.dist.strategy._base import BaseStrategy, CheckpointCallback
from drivetrain.dist.strategy._session import check_keys
from drivetrain.dist.strategy._sharded_checkpoint import is_sharded_checkpoint, save_sharded
from drivetrain.dist.strategy._shards import (
    detached,
    distributed_like,
    from_own_part,
    gathered,
    map_tensors,
    named_wrappers,
    optimizer_state_like_parameters,
    own_part,
)
from drivetrain.dist.strategy._weights import STRIP_WRAPPER, ReviseKeys, revised
from drivetrain.registry import STRATEGIES

_SHARDING_KEYS = tuple(inspect.signature(shard_model).parameters)[1:]
_KINDS = ("full", "local", "sharded")


@STRATEGIES.register_module()
class FSDPStrategy(BaseStrategy):
    """One process a device; each holds a shard of every parameter, gradient and optimizer state.

    Built on FSDP2 (``torch.distributed.fsdp.fully_shard``). Checkpoints of kind ``'full'`` are the
    same files that the other strategies write and read.

    Args:
        model_wrapper: How the model is cut: ``wrap`` (``classes``, ``names``, ``min_params``),
            ``mixed_precision`` (``param_dtype``, ``reduce_dtype``, ...), ``cpu_offload``,
            ``reshard_after_forward``, ``mesh`` (``replicate``, ``shard``).
        skip_init_weights: Whether the model's ``init_weights`` is not called, for a run that
            loads its weights anyway.
        state_dict_cfg: ``'full'``: checkpoints are one file with whole tensors. ``'sharded'``: they
            are folders to which every rank brings its shards; any strategy reads them, on any
            number of ranks. ``'local'``: folders of one file a rank, as memory has it; for this
            strategy and the same number of ranks only. Or a mapping with one of these under
            ``state_dict_type``.
        activation_checkpointing: Modules whose intermediate results are recomputed: ``classes``,
            ``names``, ``min_params``.
        meta_init: Build a model that is given as a config on the ``meta`` device everywhere but
            on rank 0, and take the weights from there: no rank but the first ever holds it whole.
        **kwargs: See ``BaseStrategy``.
    """

    several_processes = True

    def __init__(
        self,
        *,
        model_wrapper: Mapping[str, Any] | None = None,
        skip_init_weights: bool = False,
        state_dict_cfg: str | Mapping[str, Any] = "full",
        activation_checkpointing: Mapping[str, Any] | None = None,
        meta_init: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model_wrapper = dict(model_wrapper or {})
        check_keys("FSDPStrategy.model_wrapper", self.model_wrapper, _SHARDING_KEYS)
        self.skip_init_weights = skip_init_weights
        self.state_dict_kind = _kind(state_dict_cfg)
        self.activation_checkpointing = activation_checkpointing
        self.meta_init = meta_init

    # ---- what is trained ----------------------------------------------------------------------

    def build_model(self, model: nn.Module | dict[str, Any]) -> nn.Module:
        """The model, whole on rank 0 and without memory elsewhere if so asked."""
        if not self.meta_init or not isinstance(model, Mapping) or self.rank == 0:
            return super().build_model(model)
        with torch.device("meta"):
            return super().build_model(model)

    def init_model_weights(self, model: nn.Module) -> None:
        """Call the model's own ``init_weights``, unless told not to or it has no memory here."""
        if not self.skip_init_weights and not _is_meta(model):
            super().init_model_weights(model)

    def convert_model(self, model: nn.Module) -> nn.Module:
        """Recompute intermediate results of the chosen modules."""
        if self.activation_checkpointing is not None:
            checkpoint_activations(model, self.activation_checkpointing)
        return model

    def wrap_model(self, model: nn.Module) -> nn.Module:
        """Make all ranks start from rank 0's weights, and cut the model."""
        if self.meta_init:
            return self._cut_from_rank_0(model)
        model = model.to(get_device())
        for value in model.state_dict().values():
            if isinstance(value, Tensor):
                broadcast(value)
        return shard_model(model, **self.model_wrapper)

    def _cut_from_rank_0(self, model: nn.Module) -> nn.Module:
        """Cut the model everywhere, then hand out the weights one by one."""
        whole = model.state_dict() if self.rank == 0 else {}
        model = shard_model(model.to("meta"), **self.model_wrapper)
        model.to_empty(device=get_device())
        for name, target in model.state_dict().items():
            if not isinstance(target, Tensor):
                continue
            device = target.device
            weight = (
                whole[name].to(device)
                if name in whole
                else torch.empty(target.shape, dtype=target.dtype, device=device)
            )
            broadcast(weight)
            target.copy_(distributed_like(weight, target))
        if not self.diff_rank_seed:  # building on meta drew no numbers
            load_random_state_dict(broadcast_object(random_state_dict()))
        return model

    # ---- state --------------------------------------------------------------------------------

    def model_state_dict(self) -> dict[str, Any]:
        """Weights as the chosen kind of checkpoint has them; called on all ranks.

        Whole tensors are on rank 0 only, and ``None`` elsewhere.
        """
        return map_tensors(self._bare().state_dict(), self._outgoing())

    def optim_state_dict(self) -> dict[str, Any]:
        """State of the optimizer wrapper, as the chosen kind of checkpoint has it."""
        return map_tensors(self.optim_wrapper.state_dict(), self._outgoing())

    def load_model_state_dict(
        self,
        state_dict: dict[str, Any],
        *,
        strict: bool = False,
        revise_keys: ReviseKeys = STRIP_WRAPPER,
    ) -> None:
        """Put weights into the shards; called on all ranks."""
        targets = self._bare().state_dict()
        incoming = revised(state_dict, revise_keys)
        for name, value in incoming.items():
            fits = name in targets and isinstance(value, Tensor)
            if fits and (self._is_local or value.shape == targets[name].shape):
                incoming[name] = self._incoming(value, targets[name])
        super().load_model_state_dict(incoming, strict=strict, revise_keys=())

    def load_optim_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Put a state into the optimizer wrapper, cut as its parameters are."""
        wrappers = dict(named_wrappers(self.optim_wrapper))
        if None in wrappers:
            cut = self._cut_state(state_dict, wrappers[None])
        else:
            cut = {
                name: self._cut_state(state_dict[name], wrapper) if name in state_dict else {}
                for name, wrapper in wrappers.items()
            }
        self.optim_wrapper.load_state_dict(cut)

    def save_checkpoint(
        self,
        filename: str,
        *,
        save_optimizer: bool = True,
        save_param_scheduler: bool = True,
        extra_ckpt: dict[str, Any] | None = None,
        callback: CheckpointCallback | None = None,
        backend_args: dict[str, Any] | None = None,
        background: AsyncCheckpointWriter | None = None,
        then: Callable[[str], None] | None = None,
    ) -> None:
        """Write the state of the run; called on all ranks. See ``BaseStrategy``.

        Of kinds ``'sharded'`` and ``'local'``, ``filename`` becomes a folder.
        """
        if self.state_dict_kind == "full":
            super().save_checkpoint(
                filename,
                save_optimizer=save_optimizer,
                save_param_scheduler=save_param_scheduler,
                extra_ckpt=extra_ckpt,
                callback=callback,
                backend_args=backend_args,
                background=background,
                then=then,
            )
            return
        checkpoint = self._assemble(save_optimizer, save_param_scheduler, extra_ckpt or {})
        if self._is_local:
            checkpoint["random_state"] = [random_state_dict()]
        if callback is not None:
            callback(checkpoint)
        if self._is_local:
            path = self._own_file(filename)
            run_on_all(lambda: save_checkpoint(checkpoint, path, backend_args=backend_args))
        else:
            save_sharded(filename, checkpoint, self._bare(), self.optim_wrapper)
        if then is not None:
            run_on_main(lambda: then(filename))

    def read_checkpoint(self, filename: str, map_location: Any) -> dict[str, Any]:
        """Read a checkpoint file, a folder of shards, or this rank's file of a folder."""
        if not self._is_local or is_sharded_checkpoint(filename):
            return super().read_checkpoint(filename, map_location)
        own_file = self._own_file(filename)
        checkpoint = run_on_all(lambda: _load_checkpoint(own_file, map_location, self.logger))
        written_by = checkpoint["meta"]["world_size"]
        if written_by != self.world_size:
            raise StrategyError(
                f"{filename}: holds the shards of {written_by} ranks, this run has "
                f"{self.world_size}.\n  Do:  resume with as many, and save with "
                "state_dict_cfg='full' to change the number."
            )
        states = [None] * self.world_size
        states[self.rank] = checkpoint["random_state"][0]
        return {**checkpoint, "random_state": states}

    @property
    def _is_local(self) -> bool:
        return self.state_dict_kind == "local"

    def _own_file(self, filename: str) -> str:
        return os.path.join(filename, f"rank{self.rank}.pth")

    def _outgoing(self) -> Callable[[Tensor], Any]:
        kinds = {"local": own_part, "sharded": detached, "full": gathered(keep=self.rank == 0)}
        return kinds[self.state_dict_kind]

    def _incoming(self, value: Tensor, like: Tensor) -> Tensor:
        return from_own_part(value, like) if self._is_local else distributed_like(value, like)

    def _cut_state(self, state: dict[str, Any], wrapper: Any) -> dict[str, Any]:
        if "state" not in state or "param_groups" not in state:
            return state
        return optimizer_state_like_parameters(state, wrapper.optimizer, self._incoming)


def _kind(state_dict_cfg: str | Mapping[str, Any]) -> str:
    kind = state_dict_cfg
    if isinstance(state_dict_cfg, Mapping):
        kind = state_dict_cfg.get("state_dict_type", "")
    if kind not in _KINDS:
        raise StrategyConfigError(
            f"FSDPStrategy: state_dict_cfg must be one of {', '.join(_KINDS)}; got "
            f"{state_dict_cfg!r}."
        )
    return str(kind)


def _is_meta(model: nn.Module) -> bool:
    return any(param.is_meta for param in model.parameters())

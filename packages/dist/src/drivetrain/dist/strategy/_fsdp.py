"""Training a model whose parameters are cut over the devices."""

from __future__ import annotations

import copy
import inspect
import os
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from drivetrain.checkpoint import AsyncCheckpointWriter, _load_checkpoint
from drivetrain.dist._collectives import broadcast
from drivetrain.dist._device import get_device
from drivetrain.dist._errors import StrategyConfigError, StrategyError
from drivetrain.dist._group import get_world_size
from drivetrain.dist._memoryless import named_tensors, without_memory
from drivetrain.dist._mesh import Arrangement
from drivetrain.dist._objects import broadcast_object, run_on_all
from drivetrain.dist._randomness import load_random_state_dict, random_state_dict
from drivetrain.dist._sharding import checkpoint_activations, materialize, shard_model
from drivetrain.dist.strategy._first_generation import FirstGenerationState, is_first_generation
from drivetrain.dist.strategy._session import check_keys
from drivetrain.dist.strategy._sharded_checkpoint import (
    is_sharded_checkpoint,
    own_file,
    save_own_parts,
    save_sharded,
)
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
from drivetrain.dist.strategy._weights import SHAPES, STRIP_WRAPPER, ReviseKeys, revised
from drivetrain.registry import MODEL_WRAPPERS, STRATEGIES

_SHARDING_KEYS = tuple(inspect.signature(shard_model).parameters)[1:]
_KINDS = ("full", "local", "sharded")


@STRATEGIES.register_module()
class FSDPStrategy(FirstGenerationState):
    """One process a device; each holds a shard of every parameter, gradient and optimizer state.

    Built on FSDP2 (``torch.distributed.fsdp.fully_shard``). Checkpoints of kind ``'full'`` are the
    same files that the other strategies write and read.

    Args:
        model_wrapper: How the model is cut, as a mapping with the arguments from ``wrap`` to
            ``tensor_parallel``. With ``type``, the config of a wrapper instead, such as
            ``MMFullyShardedDataParallel``, the first generation.
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
        wrap: Parts that gather and free their parameters on their own: ``classes``, ``names``
            (patterns), ``min_params``.
        mixed_precision: ``param_dtype``, ``reduce_dtype``, ``output_dtype``,
            ``cast_forward_inputs``.
        cpu_offload: Whether shards wait on the CPU.
        reshard_after_forward: Whether parameters are freed between forward and backward pass.
        mesh: ``replicate``, ``shard`` and ``tensor``: how ranks are arranged. Ranks that differ in
            ``tensor`` only see the same data.
        tensor_parallel: Patterns of layer names, and how these are cut over ``mesh['tensor']``:
            ``'colwise'``, ``'rowwise'``, ``'sequence'``, or a mapping with one as ``type``.
        **kwargs: See ``BaseStrategy``.

    Raises:
        StrategyConfigError: If ``state_dict_cfg`` is unknown, or a setting stands in
            ``model_wrapper`` and beside it, or beside a wrapper of another type.

    Source: Zhao et al., PyTorch FSDP (VLDB 2023), arXiv:2304.11277.
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
        wrap: Mapping[str, Any] | None = None,
        mixed_precision: Mapping[str, Any] | None = None,
        cpu_offload: bool | Mapping[str, Any] | None = None,
        reshard_after_forward: bool | int | None = None,
        mesh: Mapping[str, int] | None = None,
        tensor_parallel: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        given = {
            "wrap": wrap,
            "mixed_precision": mixed_precision,
            "cpu_offload": cpu_offload,
            "reshard_after_forward": reshard_after_forward,
            "mesh": mesh,
            "tensor_parallel": tensor_parallel,
        }
        self.model_wrapper = _joined(model_wrapper or {}, given)
        self.skip_init_weights = skip_init_weights
        self.state_dict_kind = _kind(state_dict_cfg)
        self.activation_checkpointing = activation_checkpointing
        self.meta_init = meta_init
        self._reads_own_parts = self._is_local

    def _ranks_per_batch(self) -> int:
        """How many ranks compute a layer together, and so work on one batch."""
        return Arrangement.of(self.model_wrapper.get("mesh"), get_world_size()).tensor

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
        if "type" in self.model_wrapper:
            return MODEL_WRAPPERS.build({**self.model_wrapper, "module": model.to(get_device())})
        if self.meta_init:
            return self._cut_from_rank_0(model)
        model = model.to(get_device())
        for _, tensor in named_tensors(model):
            broadcast(tensor.detach())
        return shard_model(model, **self.model_wrapper)

    @torch.no_grad()
    def _cut_from_rank_0(self, model: nn.Module) -> nn.Module:
        """Cut the model everywhere, then hand out the weights one by one."""
        whole = dict(named_tensors(model)) if self.rank == 0 else {}
        model = without_memory(model)
        # What has memory goes to the device, and those that send data there learn which it is.
        model._apply(lambda tensor: tensor if tensor.is_meta else tensor.to(get_device()))
        model = shard_model(model, **self.model_wrapper)
        materialize(model, offloaded=bool(self.model_wrapper.get("cpu_offload", False)))
        for name, target in named_tensors(model):
            device = get_device()
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
        if self._is_first_generation:
            return super().model_state_dict()
        return map_tensors(self._bare().state_dict(), self._outgoing())

    def optim_state_dict(self) -> dict[str, Any]:
        """State of the optimizer wrapper, as the chosen kind of checkpoint has it."""
        if self._is_first_generation:
            return super().optim_state_dict()
        return map_tensors(self.optim_wrapper.state_dict(), self._outgoing())

    def load_model_state_dict(
        self,
        state_dict: dict[str, Any],
        *,
        strict: bool = False,
        revise_keys: ReviseKeys = STRIP_WRAPPER,
    ) -> None:
        """Put weights into the shards; called on all ranks."""
        incoming = revised(state_dict, revise_keys)
        if not self._is_first_generation:
            incoming = self._cut_weights(incoming)
        super().load_model_state_dict(incoming, strict=strict, revise_keys=())

    def load_optim_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Put a state into the optimizer wrapper, cut as its parameters are."""
        if self._is_first_generation:
            super().load_optim_state_dict(state_dict)
            return
        wrappers = dict(named_wrappers(self.optim_wrapper))
        if None in wrappers:
            cut = self._cut_state(state_dict, wrappers[None])
        else:
            cut = {
                name: self._cut_state(state_dict[name], wrapper) if name in state_dict else {}
                for name, wrapper in wrappers.items()
            }
        self.optim_wrapper.load_state_dict(cut)

    def _random_states(self) -> list[Any] | None:
        if self.state_dict_kind == "full" or self._is_first_generation:
            return super()._random_states()
        return [random_state_dict()]  # each rank brings its own to the folder

    def write_checkpoint(
        self,
        checkpoint: dict[str, Any],
        filename: str,
        *,
        backend_args: dict[str, Any] | None = None,
        background: AsyncCheckpointWriter | None = None,
        then: Callable[[str], None] | None = None,
    ) -> None:
        """Write an assembled checkpoint; of kinds ``'sharded'`` and ``'local'``, as a folder.

        Raises:
            StrategyError: If a folder would have to be written where only files can be.
        """
        if self.state_dict_kind == "full" or self._is_first_generation:
            # Hooks may have added what is cut, such as averaged weights.
            whole = map_tensors(checkpoint, gathered(keep=self.rank == 0, only_cut=True))
            super().write_checkpoint(
                whole, filename, backend_args=backend_args, background=background, then=then
            )
            return
        _refuse_stores(filename, self.state_dict_kind)
        if self._is_local:
            own = map_tensors(checkpoint, own_part) | {SHAPES: dict(self._model_outline().shapes)}
            save_own_parts(filename, own, background=background, then=then)
        else:
            bare, wrapper = self._bare(), self.optim_wrapper
            save_sharded(filename, checkpoint, bare, wrapper, background=background, then=then)

    def read_checkpoint(self, filename: str, map_location: Any) -> dict[str, Any]:
        """Read a checkpoint file, a folder of shards, or this rank's file of a folder.

        Raises:
            StrategyError: If it is a folder of one file a rank, of another number of ranks.
        """
        is_file = is_sharded_checkpoint(filename) or not os.path.isdir(filename)
        self._reads_own_parts = self._is_local and not is_file
        if self._reads_own_parts:
            return self._cut_entries(self._read_own_part(filename, map_location))
        checkpoint = super().read_checkpoint(filename, map_location)
        return checkpoint if self._is_first_generation else self._cut_entries(checkpoint)

    def _read_own_part(self, filename: str, map_location: Any) -> dict[str, Any]:
        file = own_file(filename)
        checkpoint = run_on_all(lambda: _load_checkpoint(file, map_location, self.logger))
        written_by = checkpoint["meta"]["world_size"]
        if written_by != self.world_size:
            raise StrategyError(
                f"{filename}: holds the shards of {written_by} ranks, this run has "
                f"{self.world_size}.\n  Do:  resume with as many, and save with "
                "state_dict_cfg='full' to change the number."
            )
        self._model_outline().refuse_shapes(checkpoint, in_full=True)  # parts fit all or none
        states = [None] * self.world_size
        states[self.rank] = checkpoint["random_state"][0]
        return {**checkpoint, "random_state": states}

    @property
    def _is_local(self) -> bool:
        return self.state_dict_kind == "local"

    @property
    def _is_first_generation(self) -> bool:
        return is_first_generation(self.model)

    def _outgoing(self) -> Callable[[Tensor], Any]:
        kinds = {"local": own_part, "sharded": detached, "full": gathered(keep=self.rank == 0)}
        return kinds[self.state_dict_kind]

    def _incoming(self, value: Tensor, like: Tensor) -> Tensor:
        return (from_own_part if self._reads_own_parts else distributed_like)(value, like)

    def _cut_entries(self, checkpoint: dict[str, Any]) -> dict[str, Any]:
        """Weights and their averages cut as the model is, so that hooks can put them in place."""
        return {
            key: self._cut_weights(value)
            if key.endswith("state_dict") and isinstance(value, Mapping)
            else value
            for key, value in checkpoint.items()
        }

    def _cut_weights(self, weights: Mapping[str, Any]) -> dict[str, Any]:
        likes = self._bare().state_dict()
        result: Any = copy.copy(weights)
        for name, value in weights.items():
            # Averaged models hold the model under the name "module".
            like = likes.get(name, likes.get(name.removeprefix("module.")))
            if like is None or not isinstance(value, Tensor):
                continue
            if self._reads_own_parts or value.shape == like.shape:
                result[name] = self._incoming(value, like)
        return result

    def _cut_state(self, state: dict[str, Any], wrapper: Any) -> dict[str, Any]:
        if "state" not in state or "param_groups" not in state:
            return state
        return optimizer_state_like_parameters(state, wrapper.optimizer, self._incoming)


def _joined(wrapper: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """One mapping of how to cut, from two places that must not say the same thing."""
    named = {key: value for key, value in given.items() if value is not None}
    if "type" in wrapper:
        if named:
            raise StrategyConfigError(
                f"FSDPStrategy: {', '.join(named)} cannot be told to the wrapper "
                f"{wrapper['type']!r}; it has its own arguments."
            )
        return dict(wrapper)
    check_keys("FSDPStrategy.model_wrapper", wrapper, _SHARDING_KEYS)
    twice = sorted(set(named) & set(wrapper))
    if twice:
        raise StrategyConfigError(
            f"FSDPStrategy: {', '.join(twice)} stands in model_wrapper and beside it; give it once."
        )
    return {**wrapper, **named}


def _refuse_stores(filename: str, kind: str) -> None:
    if "://" in filename:
        raise StrategyError(
            f"{filename}: state_dict_cfg={kind!r} writes folders, which only disks have.\n"
            "  Do:  state_dict_cfg='full', or a path."
        )


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

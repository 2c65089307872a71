"""The state of a run: what a strategy saves, and how it gets it back."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any, cast

from torch import nn

from drivetrain.checkpoint import (
    AsyncCheckpointWriter,
    CheckpointContentError,
    CheckpointFolder,
    _load_checkpoint,
    get_state_dict,
    load_state_dict,
    weights_to_cpu,
)
from drivetrain.dist.__about__ import __version__
from drivetrain.dist._ddp import unwrapped
from drivetrain.dist._errors import StrategyConfigError, StrategyError
from drivetrain.dist._objects import gather_object, run_on_all, run_on_main
from drivetrain.dist._randomness import (
    derived_random_state,
    load_random_state_dict,
    random_state_dict,
)
from drivetrain.dist.strategy._sharded_checkpoint import (
    is_sharded_checkpoint,
    load_sharded,
    write_whole,
)
from drivetrain.dist.strategy._surroundings import Surroundings
from drivetrain.dist.strategy._weights import (
    STRIP_WRAPPER,
    Outline,
    ReviseKeys,
    load_each,
    revised,
)

CheckpointCallback = Callable[[dict[str, Any]], Any]


class RunState(Surroundings):
    """Weights, and the states of optimizers, schedulers and generators, to files and back."""

    model: nn.Module | None
    optim_wrapper: Any
    param_schedulers: Any
    _resumes_training = False
    _outline: Outline | None

    def model_state_dict(self) -> dict[str, Any]:
        """Weights of the model, without prefixes of wrappers, on the CPU; called on all ranks."""
        return weights_to_cpu(get_state_dict(self._bare()))

    def _weights_to_save(self, on_cpu: bool) -> dict[str, Any]:
        return self.model_state_dict() if on_cpu else self._live_weights()

    def _live_weights(self) -> dict[str, Any]:
        """Weights where they are, for who copies them anyway."""
        if type(self).model_state_dict is not RunState.model_state_dict:  # another form
            return self.model_state_dict()
        # Not a copy as a plain dict: that would lose the versions of the layers.
        return cast("dict[str, Any]", get_state_dict(self._bare()))

    def optim_state_dict(self) -> dict[str, Any]:
        """State of the optimizer wrapper; called on all ranks."""
        return self.optim_wrapper.state_dict()

    def scheduler_state_dict(self) -> Any:
        """State of the schedulers, in the structure that they have."""
        schedulers = self.param_schedulers
        if isinstance(schedulers, Mapping):
            return {
                name: [scheduler.state_dict() for scheduler in ones]
                for name, ones in schedulers.items()
            }
        return [scheduler.state_dict() for scheduler in schedulers or []]

    def load_model_state_dict(
        self,
        state_dict: dict[str, Any],
        *,
        strict: bool = False,
        revise_keys: ReviseKeys = STRIP_WRAPPER,
    ) -> None:
        """Put weights into the model; called on all ranks with the same weights.

        Raises:
            StrategyError: If not one weight of the model is among them.
            StrategyConfigError: While a training is resumed, if a parameter that is trained is
                missing or has another shape.
        """
        model, weights = self._bare(), revised(state_dict, revise_keys)
        report = load_state_dict(model, weights, strict, self.logger)
        self._model_outline().refuse_other(weights, report, in_full=self._resumes_training)

    def load_optim_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Put a state into the optimizer wrapper; called on all ranks with the same state."""
        self.optim_wrapper.load_state_dict(state_dict)

    def load_scheduler_state_dict(self, state_dict: Any) -> None:
        """Put states into the schedulers, in the structure of ``scheduler_state_dict``."""
        schedulers = self.param_schedulers
        if isinstance(schedulers, Mapping) != isinstance(state_dict, Mapping):
            raise StrategyError(
                "load_scheduler_state_dict: the checkpoint was written with another number of "
                "optimizers than this run has."
            )
        if isinstance(schedulers, Mapping):
            for name, ones in schedulers.items():
                load_each(ones, state_dict[name])
            return
        load_each(schedulers or [], state_dict)

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
        """Write the state of the run; called on all ranks, written by rank 0.

        Holds ``meta``, ``state_dict``, ``optimizer``, ``param_schedulers``, ``random_state`` (one
        per rank), and what ``extra_ckpt`` adds. If writing fails, every rank raises; in the
        background, a failure raises at the next call of the writer where it happened.

        Args:
            filename: Path or address.
            save_optimizer: Whether the optimizer's state is written.
            save_param_scheduler: Whether the schedulers' state is written.
            extra_ckpt: More entries; its ``meta`` is merged into ours.
            callback: Gets the whole checkpoint before it is written, on every rank, and may
                change it.
            backend_args: How to reach the store that ``filename`` is in.
            background: Writes while training goes on, which waits for a copy of the state only.
            then: Called on rank 0 with ``filename`` when the checkpoint is whole and on the disk.
        """
        checkpoint = self._assemble(
            save_optimizer, save_param_scheduler, extra_ckpt or {}, on_cpu=background is None
        )
        if callback is not None:
            callback(checkpoint)
        self.write_checkpoint(
            checkpoint, filename, backend_args=backend_args, background=background, then=then
        )

    def write_checkpoint(
        self,
        checkpoint: dict[str, Any],
        filename: str,
        *,
        backend_args: dict[str, Any] | None = None,
        background: AsyncCheckpointWriter | None = None,
        then: Callable[[str], None] | None = None,
    ) -> None:
        """Write an assembled checkpoint; called on all ranks. See ``save_checkpoint``."""
        run_on_main(
            lambda: write_whole(
                checkpoint, filename, backend_args=backend_args, background=background, then=then
            )
        )

    def load_checkpoint(
        self,
        filename: str,
        *,
        map_location: Any = "cpu",
        strict: bool = False,
        revise_keys: ReviseKeys = STRIP_WRAPPER,
        callback: CheckpointCallback | None = None,
    ) -> dict[str, Any]:
        """Put the weights of a file into the model; called on all ranks.

        Args:
            filename: Path or address.
            map_location: Where tensors are put while they are read.
            strict: Whether missing and unexpected weights are an error instead of a warning.
            revise_keys: Pairs of a pattern and its replacement, for the names of weights.
            callback: Gets the whole checkpoint before it is used, and may change it.

        Returns:
            The whole checkpoint.
        """
        self._bare()
        checkpoint = self.read_checkpoint(filename, map_location)
        if callback is not None:
            callback(checkpoint)
        weights = checkpoint.get("state_dict", checkpoint)
        self.load_model_state_dict(weights, strict=strict, revise_keys=revise_keys)
        return checkpoint

    def resume(
        self,
        filename: str,
        *,
        resume_optimizer: bool = True,
        resume_param_scheduler: bool = True,
        map_location: Any = "default",
        callback: CheckpointCallback | None = None,
    ) -> dict[str, Any]:
        """Put the run back where ``save_checkpoint`` saw it; called on all ranks.

        The number of ranks may differ from then: a rank that did not exist then seeds itself from
        the state of rank 0 and its own number.

        Args:
            filename: Path or address.
            resume_optimizer: Whether the optimizer goes back too.
            resume_param_scheduler: Whether the schedulers go back too.
            map_location: Where tensors are put while they are read; ``'default'`` is the CPU, from
                where each piece goes to its device without a second copy there.
            callback: Gets the whole checkpoint before it is used, and may change it.

        Returns:
            The whole checkpoint.

        Raises:
            StrategyConfigError: If the optimizer is to go back too and the model is another one.
        """
        location = "cpu" if map_location == "default" else map_location
        self._resumes_training = resume_optimizer and self.optim_wrapper is not None
        try:
            checkpoint = self.load_checkpoint(filename, map_location=location, callback=callback)
        finally:
            self._resumes_training = False
        if resume_optimizer and self.optim_wrapper is not None and "optimizer" in checkpoint:
            self.load_optim_state_dict(checkpoint["optimizer"])
        has_schedulers = self.param_schedulers is not None and "param_schedulers" in checkpoint
        if resume_param_scheduler and has_schedulers:
            self.load_scheduler_state_dict(checkpoint["param_schedulers"])
        self._resume_randomness(checkpoint)
        return checkpoint

    def read_checkpoint(self, filename: str, map_location: Any) -> dict[str, Any]:
        """Read what ``save_checkpoint`` of any strategy wrote; called on all ranks.

        Weights and moments in a folder of shards come cut as those of this run are.
        """
        if is_sharded_checkpoint(filename):
            return load_sharded(filename, self._bare(), self.optim_wrapper)
        if os.path.isdir(filename):
            raise StrategyConfigError(self._why_not_read(filename))
        checkpoint = run_on_all(lambda: _load_checkpoint(filename, map_location, self.logger))
        if not isinstance(checkpoint, Mapping):
            raise CheckpointContentError(
                f"{filename}: holds a {type(checkpoint).__name__}, not a dict with weights"
            )
        return cast("dict[str, Any]", checkpoint)

    def _why_not_read(self, folder: str) -> str:
        names = CheckpointFolder(folder).names(all_kinds=True)
        inside = f"\n  Inside: {', '.join(names[:3])}" if names else ""
        return (
            f"{folder}: is a folder that {type(self).__name__} cannot read: a folder of "
            "checkpoints, shards of another kind ('local'), or of another strategy "
            f"(DeepSpeedStrategy).{inside}\n"
            "  Do:     name a file; or resume with what wrote it, or export its weights first."
        )

    def _assemble(
        self,
        save_optimizer: bool,
        save_param_scheduler: bool,
        extra: dict[str, Any],
        *,
        on_cpu: bool = True,
    ) -> dict[str, Any]:
        # Before anything else: gathering state must not be able to move a generator.
        random_states = self._random_states()
        checkpoint: dict[str, Any] = {
            "meta": {
                "seed": self.seed,
                "world_size": self.world_size,
                "strategy": type(self).__name__,
                "time": time.strftime("%Y%m%d_%H%M%S"),
                "drivetrain_version": __version__,
            },
            "state_dict": self._weights_to_save(on_cpu),
        }
        if save_optimizer and self.optim_wrapper is not None:
            checkpoint["optimizer"] = self.optim_state_dict()
        if save_param_scheduler and self.param_schedulers is not None:
            checkpoint["param_schedulers"] = self.scheduler_state_dict()
        if random_states is not None:
            checkpoint["random_state"] = random_states
        checkpoint["meta"].update(extra.get("meta") or {})
        checkpoint.update({key: value for key, value in extra.items() if key != "meta"})
        return checkpoint

    def _random_states(self) -> list[Any] | None:
        """Those of all ranks, on rank 0; called on all ranks."""
        return gather_object(random_state_dict()) if self.distributed else [random_state_dict()]

    def _resume_randomness(self, checkpoint: dict[str, Any]) -> None:
        seed = (checkpoint.get("meta") or {}).get("seed")
        if seed is not None and seed != self.seed:
            self.logger.warning(
                "The run is resumed with the seed %s of its checkpoint, not with %s.",
                seed,
                self.seed,
            )
            self._session.seed = seed
        states = checkpoint.get("random_state")
        if not states:
            return
        if len(states) != self.world_size:
            self.logger.warning(
                "The checkpoint was written by %s ranks and is resumed by %s: random numbers "
                "continue differently.",
                len(states),
                self.world_size,
            )
        if self.rank < len(states):
            load_random_state_dict(states[self.rank])
        else:
            derived_random_state(states[0], self.rank)

    def _model_outline(self) -> Outline:
        """What the model was before it was wrapped, as far as this strategy has seen that."""
        return self._outline or Outline.of(self._bare())

    def _bare(self, model: nn.Module | None = None) -> nn.Module:
        """The model inside all wrappers."""
        model = self.model if model is None else model
        if model is None:
            raise StrategyError(
                f"{type(self).__name__}: there is no model yet; call prepare first."
            )
        return unwrapped(model)

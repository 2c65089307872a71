"""The engine behind ``Runner`` and ``FlexibleRunner``.

It holds the pieces, builds them when they are needed, runs loops and calls hooks. Devices,
processes, precision and state belong to the strategy.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn
from torch.utils.data import DataLoader

from drivetrain.config import Config
from drivetrain.dataset import build_dataloader
from drivetrain.dist import check_same_settings, is_main_process
from drivetrain.dist.strategy import BaseStrategy
from drivetrain.evaluator import Evaluator, build_evaluator
from drivetrain.logging import MessageHub, MMLogger
from drivetrain.registry import DefaultScope, building
from drivetrain.runner import _builders
from drivetrain.runner._base_loop import BaseLoop, length_of
from drivetrain.runner._config_check import locator
from drivetrain.runner._errors import MissingPartError
from drivetrain.runner._eval_loops import TestLoop, ValLoop
from drivetrain.runner._hook_list import HookList, raise_with_hook
from drivetrain.runner._log_file import log_to_file
from drivetrain.runner._log_processor import LogProcessor
from drivetrain.runner._priority import Priority
from drivetrain.runner._resume_rules import settings_of
from drivetrain.runner._run_facts import is_built
from drivetrain.runner._run_state import RunState
from drivetrain.runner._stage_parts import STAGE_PARTS, check_parts
from drivetrain.runner._train_loops import EpochBasedTrainLoop, IterBasedTrainLoop
from drivetrain.runner.hooks._heartbeat import HeartbeatHook
from drivetrain.runner.hooks._hook import OF_ITERATIONS, Hook
from drivetrain.visualization import Visualizer


class Engine(RunState):
    """Holds the pieces of a run and lets them work; not meant to be constructed by itself.

    Args:
        strategy: Owner of devices, processes, precision and state.
        model: A model, or the config of one.
        parts: The parts of the stages and the scheduler, by the names in ``STAGE_PARTS`` and
            ``param_scheduler``.
        cfg: The whole config.
        default_hooks: Hooks merged over the default ones.
        custom_hooks: Further hooks.
        data_preprocessor: Put into a model config that has none.
        load_from: Checkpoint to load weights from, or to resume from.
        resume: Go on from a checkpoint: ``load_from``, or else the newest in the work dir.
        log_processor: A log processor, or the config of one.
        visualizer: A visualizer, or the config of one.
        default_scope: Scope in which names of components are looked up first.
        compile: Whether to compile the model; as a dict, options of ``torch.compile``, and which
            method (``target``) or which parts (``blocks``): see ``BaseStrategy.prepare``.
    """

    def __init__(
        self,
        strategy: BaseStrategy,
        model: nn.Module | dict[str, Any],
        parts: Mapping[str, Any],
        *,
        cfg: Config,
        default_hooks: dict[str, Hook | dict[str, Any] | None] | None = None,
        custom_hooks: list[Hook | dict[str, Any]] | None = None,
        data_preprocessor: dict[str, Any] | nn.Module | None = None,
        load_from: str | None = None,
        resume: bool = False,
        log_processor: LogProcessor | dict[str, Any] | None = None,
        visualizer: Visualizer | dict[str, Any] | None = None,
        default_scope: str | None = "drivetrain",
        compile: bool | dict[str, Any] = False,
    ) -> None:
        check_parts(parts)
        if not isinstance(compile, (bool, dict)):
            raise TypeError(f"compile is a bool or a dict of options, got {compile!r}")
        self.cfg = cfg
        self.strategy = strategy
        self.setup_env(self._env_cfg)
        if self.distributed:
            check_same_settings("config", cfg.to_dict())
        self.default_scope: DefaultScope | None = None
        if default_scope is not None:
            name = self._instance_name(DefaultScope)
            self.default_scope = DefaultScope.get_instance(name, scope_name=default_scope)
        self._train_dataloader = parts.get("train_dataloader")
        self._val_dataloader = parts.get("val_dataloader")
        self._test_dataloader = parts.get("test_dataloader")
        self._train_loop = parts.get("train_cfg")
        self._val_loop = parts.get("val_cfg")
        self._test_loop = parts.get("test_cfg")
        self._val_evaluator = parts.get("val_evaluator")
        self._test_evaluator = parts.get("test_evaluator")
        self.optim_wrapper: Any = parts.get("optim_wrapper")
        self.param_schedulers: Any = parts.get("param_scheduler")
        self._compile = compile
        self._load_from = None if load_from is None else str(load_from)
        self._resume = resume
        self._has_loaded = False
        self.settings: dict[str, Any] = {}
        self._random_states: list[Any] | None = None
        self.is_training = False
        self.is_resuming = False
        if isinstance(model, dict) and data_preprocessor is not None:
            model = {"data_preprocessor": data_preprocessor, **model}
        self.model: Any = model

        self.message_hub = self.build_message_hub()
        self.visualizer = self.build_visualizer(visualizer)
        self.visualizer.add_config(cfg)
        self.log_processor = self.build_log_processor(log_processor)
        self._hook_list = HookList(
            self,
            {
                "before_train": _bind_hooks_again,
                "after_train_iter": _finish_iter,
                "after_train_epoch": _finish_epoch,
                "after_val": _finish_validation,
            },
        )
        self.register_hooks(default_hooks, custom_hooks)
        if self.distributed:
            self.register_hook(HeartbeatHook())
        self._log_surroundings()
        self.dump_config()

    # ---------------------------------------------------------------- loops and their data

    @property
    def train_loop(self) -> Any:
        """The training loop."""
        if not is_built(self._train_loop):
            self._require("train")
            self._train_loop = self.build_train_loop(self._train_loop)
        return self._train_loop

    @property
    def val_loop(self) -> Any:
        """The validation loop, or None where there is no validation."""
        if self._val_loop is None:
            return None
        if not is_built(self._val_loop):
            self._val_loop = self.build_val_loop(self._val_loop)
        return self._val_loop

    @property
    def test_loop(self) -> Any:
        """The test loop, or None where there is no test."""
        if self._test_loop is None:
            return None
        if not is_built(self._test_loop):
            self._test_loop = self.build_test_loop(self._test_loop)
        return self._test_loop

    @property
    def train_dataloader(self) -> DataLoader:
        """The loader of the training data."""
        return self.train_loop.dataloader

    @property
    def val_dataloader(self) -> DataLoader:
        """The loader of the validation data."""
        return self.val_loop.dataloader

    @property
    def test_dataloader(self) -> DataLoader:
        """The loader of the test data."""
        return self.test_loop.dataloader

    @property
    def val_evaluator(self) -> Evaluator:
        """The evaluator of the validation."""
        return self.val_loop.evaluator

    @property
    def test_evaluator(self) -> Evaluator:
        """The evaluator of the test."""
        return self.test_loop.evaluator

    #: What the arguments say about processes, devices and limits.
    _env_cfg: dict[str, Any] | None = None

    def setup_env(self, env_cfg: dict[str, Any] | None) -> None:
        """Join the other processes, seed, make the log folder and open the log.

        Called when the runner is made; a subclass may do more before or after it.

        Args:
            env_cfg: What the runner was given; its strategy has it already.
        """
        self.strategy.setup()

    def set_randomness(
        self, seed: int | None, diff_rank_seed: bool = False, deterministic: bool = False
    ) -> None:
        """Seed all random generators of this process.

        Args:
            seed: The seed; None draws one, the same on all ranks.
            diff_rank_seed: Add the rank to it.
            deterministic: Use deterministic algorithms only.
        """
        self.strategy.set_randomness(seed, diff_rank_seed, deterministic)

    def build_logger(
        self, log_level: int | str = "INFO", log_file: str | None = None, **kwargs: Any
    ) -> MMLogger:
        """A logger for this run, besides the one that it has.

        Args:
            log_level: Lowest level that is logged.
            log_file: Path of a file; by default one in the folder of the run's logs.
            **kwargs: Further arguments of ``MMLogger``.
        """
        path = log_file or os.path.join(self.log_dir, f"{self.timestamp}.log")
        node = {"name": self._instance_name(MMLogger), "file_mode": "a", **kwargs}
        return MMLogger.get_instance(log_file=path, log_level=log_level, **node)

    @staticmethod
    def build_dataloader(
        dataloader: DataLoader | dict[str, Any],
        seed: int | None = None,
        diff_rank_seed: bool = False,
    ) -> DataLoader:
        """A loader from itself or from a config; see ``drivetrain.dataset.build_dataloader``."""
        return build_dataloader(dataloader, seed=seed, diff_rank_seed=diff_rank_seed)

    def build_evaluator(self, evaluator: Any) -> Evaluator:
        """An evaluator from itself, from metrics, or from a config."""
        return build_evaluator(evaluator)

    def build_train_loop(self, loop: BaseLoop | Mapping[str, Any]) -> BaseLoop:
        """A training loop from itself or from a config."""
        return _builders.build_train_loop(loop, self, self._train_dataloader)

    def build_val_loop(self, loop: BaseLoop | Mapping[str, Any]) -> BaseLoop:
        """A validation loop from itself or from a config."""
        return _builders.build_eval_loop(
            "val", loop, self, self._val_dataloader, self._val_evaluator
        )

    def build_test_loop(self, loop: BaseLoop | Mapping[str, Any]) -> BaseLoop:
        """A test loop from itself or from a config."""
        return _builders.build_eval_loop(
            "test", loop, self, self._test_dataloader, self._test_evaluator
        )

    def build_log_processor(
        self, log_processor: LogProcessor | dict[str, Any] | None
    ) -> LogProcessor:
        """A log processor from itself or from a config."""
        return _builders.build_log_processor(log_processor)

    def build_visualizer(self, visualizer: Visualizer | dict[str, Any] | None = None) -> Visualizer:
        """A visualizer from itself or from a config; by default one that writes local files."""
        return _builders.build_visualizer(
            visualizer, self._instance_name(Visualizer), str(self.log_dir)
        )

    def build_message_hub(self, message_hub: dict[str, Any] | None = None) -> MessageHub:
        """The message hub of the run."""
        node = {"name": self._instance_name(MessageHub), **(message_hub or {})}
        return MessageHub.get_instance(**node)

    def _instance_name(self, kind: Any) -> str:
        """A name for a global instance that no earlier run of this process has taken."""
        name, count = self.experiment_name, 1
        while kind.check_instance_created(name):
            count += 1
            name = f"{self.experiment_name}_{count}"
        return name

    # ---------------------------------------------------------------- hooks

    @property
    def hooks(self) -> list[Hook]:
        """The hooks, in the order of their calls."""
        return self._hook_list.hooks

    def register_hook(
        self, hook: Hook | dict[str, Any], priority: int | str | Priority | None = None
    ) -> None:
        """Add a hook behind all of the same or a higher priority.

        Args:
            hook: A hook, or the config of one.
            priority: Its priority; by default the config's ``priority``, or else the hook's own.
        """
        self._hook_list.register(hook, priority)

    def register_default_hooks(self, hooks: dict[str, Any] | None = None) -> None:
        """Add the six default hooks, with ``hooks`` merged over them; ``name=None`` removes one.

        Called again it keeps those that are there, and replaces those that ``hooks`` names.
        """
        self._hook_list.register_defaults(hooks)

    def register_custom_hooks(self, hooks: list[Hook | dict[str, Any]]) -> None:
        """Add hooks."""
        self._hook_list.register_customs(hooks)

    def register_hooks(
        self,
        default_hooks: dict[str, Any] | None = None,
        custom_hooks: list[Hook | dict[str, Any]] | None = None,
    ) -> None:
        """Add default and custom hooks."""
        self.register_default_hooks(default_hooks)
        self._hook_list.register_customs(custom_hooks)

    def get_hooks_info(self) -> str:
        """Which hook is called at which point."""
        return self._hook_list.describe()

    def call_hook(self, fn_name: str, **kwargs: Any) -> None:
        """Call the hooks that act at ``fn_name``, a documented point or a custom loop's own.

        Raises:
            TypeError: If a hook does not take the arguments; names the hook.
        """
        if fn_name not in OF_ITERATIONS:
            self.logger.release()  # the run pauses: log lines wait for the next ones no longer
        for method in self._hook_list.at[fn_name]:
            try:
                method(self, **kwargs)
            except Exception as err:
                raise_with_hook(err, method, fn_name, self)

    own_call_hook = call_hook  # by which a loop sees whether a runner has one of its own

    @property
    def hook_methods(self) -> Mapping[str, tuple[Callable[..., None], ...]]:
        """By point, the methods that ``call_hook`` calls there, in their order."""
        return self._hook_list.at

    # ---------------------------------------------------------------- running

    def train(self) -> nn.Module:
        """Train, and return the model.

        Raises:
            MissingPartError: If the parts of a training were not given.
        """
        self._require("train")
        with building("", locate=locator(self.cfg)):
            loop = self.train_loop
            self.val_loop  # a mistake in it should show now, not after the first epoch  # noqa: B018
            self._prepare(training=True)
        if type(loop) in (EpochBasedTrainLoop, IterBasedTrainLoop):  # others call what they like
            self._require_step("train")
        if type(self._val_loop) is ValLoop:
            self._require_step("val")
        self.call_hook("before_run")
        # Hooks that take part in loading were set up by before_run.
        self.load_or_resume()
        self.optim_wrapper.initialize_count_status(
            self.model, self.iter, getattr(loop, "max_iters", -1)
        )
        self.is_training = True
        try:
            model = loop.run()
        except BaseException:
            self.logger.release()
            self._close_hooks()
            raise
        finally:
            self.is_training = False
        self.call_hook("after_run")
        return model

    def _close_hooks(self) -> None:
        """Let hooks give back what they hold where ``after_train`` does not come."""
        for hook in self.hooks:
            close = getattr(hook, "close", None)
            if close is not None:
                close()

    def val(self) -> dict[str, float]:
        """Validate, and return the metrics.

        Raises:
            MissingPartError: If the parts of a validation were not given.
        """
        return self._evaluate("val")

    def test(self) -> dict[str, float]:
        """Test, and return the metrics.

        Raises:
            MissingPartError: If the parts of a test were not given.
        """
        return self._evaluate("test")

    def _evaluate(self, stage: str) -> dict[str, float]:
        self._require(stage)
        with building("", locate=locator(self.cfg)):
            loop = self.val_loop if stage == "val" else self.test_loop
            self._prepare(training=False)
        if type(loop) in (ValLoop, TestLoop):
            self._require_step(stage)
        self.call_hook("before_run")
        self.load_or_resume()
        try:
            metrics = loop.run()
        finally:
            self.logger.release()
        self.call_hook("after_run")
        return metrics

    def _require(self, stage: str) -> None:
        if getattr(self, f"_{stage}_loop") is None:
            names = ", ".join(STAGE_PARTS[stage])
            raise MissingPartError(f"{stage}() needs {names}; this runner was built without them")

    def _require_step(self, stage: str) -> None:
        """Refuse a model without the method that the loops of ``stage`` call.

        Asked once the model is wrapped: a custom wrapper may bring the method.
        """
        if not hasattr(self.model, f"{stage}_step"):
            raise MissingPartError(
                f"{self.model_name} has no {stage}_step(), which {stage} needs.\n"
                "  Derive the model from drivetrain.model.BaseModel and give it a "
                "forward(..., mode=), or write the method."
            )

    def _prepare(self, *, training: bool) -> None:
        """Let the strategy build and wrap what is not ready yet."""
        if training:
            self.strategy.prepare(
                self.model,
                optim_wrapper=self.optim_wrapper,
                param_scheduler=self.param_schedulers,
                compile=self._compile,
                dispatch_kwargs=self._lengths(),
            )
            self.optim_wrapper = self.strategy.optim_wrapper
            self.optim_wrapper.message_hub = self.message_hub
            self.param_schedulers = self.strategy.param_schedulers
            self.settings = self.settings or settings_of(self)
        else:
            init_weights = bool(self.cfg.get("init_weights_for_test_or_val", True))
            self.strategy.prepare(
                self.model,
                compile=self._compile,
                dispatch_kwargs={"init_weights_for_test_or_val": init_weights},
            )
        self.model = self.strategy.model

    def _lengths(self) -> dict[str, Any]:
        """What a strategy has to know about the training loop and its data."""
        loop = self.train_loop
        return {
            "epoch_length": length_of(loop.dataloader),
            "max_epochs": getattr(loop, "max_epochs", None),  # a user's own loop may have no end
            "max_iters": getattr(loop, "max_iters", None),
            "train_micro_batch_size_per_gpu": _batch_size(loop.dataloader),
        }

    def _log_surroundings(self) -> None:
        """Put what matters for repeating the run into its log file; the terminal is for results."""
        system, runtime = self.strategy.collect_env()
        for title, facts in (("System", system), ("Runtime", runtime)):
            rows = "\n".join(f"  {name}: {value}" for name, value in facts.items())
            log_to_file(self.logger, f"{title}:\n{rows}")
        log_to_file(self.logger, f"Config:\n{self.cfg.pretty_text}")
        log_to_file(self.logger, self._hook_list.describe())

    def dump_config(self) -> None:
        """Write the whole config into the work dir, under its own name."""
        if is_main_process():
            name = Path(self.cfg.filename).name if self.cfg.filename else f"{self.timestamp}.py"
            # Not strict: a config that was made in code may hold objects, which show as their repr.
            self.cfg.dump(os.path.join(self.work_dir, name), strict=False)


def _bind_hooks_again(runner: Engine) -> None:
    """Let hooks look anew at what stays the same: a training begins."""
    runner._hook_list.at.clear()


def _finish_iter(
    runner: Engine, batch_idx: int, data_batch: Any = None, outputs: Any = None
) -> None:
    """Move the position behind the iteration, before a hook can save it."""
    loop = runner._train_loop
    # A loop of ours has a position; asked for in the quickest way, for this is every iteration.
    progress = getattr(loop, "progress", None) or runner.progress
    progress.iter = loop.iter + 1
    progress.batch_in_epoch += 1


def _finish_epoch(runner: Engine) -> None:
    """Move the position behind the epoch, before a hook can save it."""
    # In an iteration loop the whole training is one epoch; its loader counts the passes.
    if not isinstance(runner.train_loop, IterBasedTrainLoop):
        progress = runner.progress
        progress.epoch = runner.epoch + 1
        progress.batch_in_epoch = 0


def _finish_validation(runner: Engine) -> None:
    """Note that this step is validated, before a hook can save the position."""
    if runner.is_training:
        runner.progress.validated_at = runner.progress.iter


def _batch_size(dataloader: DataLoader) -> int | None:
    size = dataloader.batch_size
    return size if size is not None else getattr(dataloader.batch_sampler, "batch_size", None)

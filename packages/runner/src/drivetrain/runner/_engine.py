"""The engine behind ``Runner`` and ``FlexibleRunner``.

It holds the pieces, builds them when they are needed, runs loops and calls hooks. Devices,
processes, precision and state belong to the strategy.
"""

from __future__ import annotations

import copy
import inspect
import os
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import nn
from torch.utils.data import DataLoader

from drivetrain.config import Config
from drivetrain.dist import check_same_settings, is_main_process
from drivetrain.dist.strategy import BaseStrategy
from drivetrain.evaluator import Evaluator
from drivetrain.logging import release
from drivetrain.registry import DefaultScope, building
from drivetrain.runner._arguments import (
    arguments_in,
    as_config,
    checked_level,
    config_stem,
    resume_source,
)
from drivetrain.runner._base_loop import BaseLoop, length_of
from drivetrain.runner._config_check import check_config, locator
from drivetrain.runner._errors import MissingPartError, RunnerConfigError
from drivetrain.runner._eval_loops import TestLoop, ValLoop
from drivetrain.runner._hook_list import HookList, raise_with_hook
from drivetrain.runner._log_file import log_to_file
from drivetrain.runner._log_processor import LogProcessor
from drivetrain.runner._priority import Priority
from drivetrain.runner._resume_rules import settings_of
from drivetrain.runner._run_parts import RunParts
from drivetrain.runner._stage_parts import check_parts
from drivetrain.runner._train_loops import EpochBasedTrainLoop, IterBasedTrainLoop
from drivetrain.runner.hooks._heartbeat import HeartbeatHook
from drivetrain.runner.hooks._hook import OF_ITERATIONS, Hook
from drivetrain.visualization import Visualizer

Node = dict[str, Any]

#: What hooks hold on to from one iteration to the next, see ``Hook.bound_at``.
_LOOKED_UP_ONCE = frozenset(("message_hub", "log_processor", "_train_loop"))


class Engine(RunParts):
    """Holds the pieces of a run and lets them work; what its arguments mean stands at ``Runner``.

    A face of the engine says which strategy its arguments stand for, and whether to compile.
    """

    def __init__(
        self,
        model: nn.Module | Node,
        work_dir: str,
        train_dataloader: DataLoader | Node | None = None,
        val_dataloader: DataLoader | Node | None = None,
        test_dataloader: DataLoader | Node | None = None,
        train_cfg: BaseLoop | Node | None = None,
        val_cfg: BaseLoop | Node | None = None,
        test_cfg: BaseLoop | Node | None = None,
        auto_scale_lr: Node | None = None,
        optim_wrapper: Any = None,
        param_scheduler: Any = None,
        val_evaluator: Evaluator | Node | list | None = None,
        test_evaluator: Evaluator | Node | list | None = None,
        default_hooks: dict[str, Hook | Node | None] | None = None,
        custom_hooks: list[Hook | Node] | None = None,
        data_preprocessor: nn.Module | Node | None = None,
        load_from: str | None = None,
        resume: bool | str = False,
        launcher: str = "none",
        env_cfg: Node | None = None,
        log_processor: LogProcessor | Node | None = None,
        log_level: int | str = "INFO",
        visualizer: Visualizer | Node | None = None,
        default_scope: str | None = "drivetrain",
        randomness: Node | None = None,
        experiment_name: str | None = None,
        cfg: Config | Node | None = None,
    ) -> None:
        check_parts(locals())
        self._load_from, self._resume = resume_source(load_from, resume)
        self.cfg = as_config(cfg)
        self._compile = self._choose_compile()
        self.strategy = self._make_strategy(
            work_dir=str(work_dir),
            experiment_name=experiment_name or config_stem(self.cfg),
            env_kwargs={
                **(env_cfg or {}),
                "launcher": launcher,
                "randomness": randomness or {"seed": None},
            },
            log_kwargs={"log_level": checked_level(log_level)},
            auto_scale_lr=auto_scale_lr,
        )
        self.setup_env(env_cfg or {})
        if self.distributed:
            check_same_settings("config", self.cfg.to_dict())
        self.default_scope: DefaultScope | None = None
        if default_scope is not None:
            name = self._instance_name(DefaultScope)
            self.default_scope = DefaultScope.get_instance(name, scope_name=default_scope)
        self._train_dataloader = train_dataloader
        self._val_dataloader = val_dataloader
        self._test_dataloader = test_dataloader
        self._train_loop, self._val_loop, self._test_loop = train_cfg, val_cfg, test_cfg
        self._val_evaluator, self._test_evaluator = val_evaluator, test_evaluator
        self.optim_wrapper, self.param_schedulers = optim_wrapper, param_scheduler
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
        self.visualizer.add_config(self.cfg)
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
        self.model = self._first_model(self.model)

    def _first_model(self, model: nn.Module | Node) -> nn.Module | Node:
        """What a runner has as its model until it is needed."""
        return model

    @abstractmethod
    def _make_strategy(self, **arguments: Any) -> BaseStrategy:
        """The owner of devices, processes, precision and state, not set up yet."""

    @abstractmethod
    def _choose_compile(self) -> bool | dict[str, Any]:
        """Whether to compile the model, and how: see ``BaseStrategy.prepare``."""

    @classmethod
    def _from_cfg(cls, cfg: Config | Node, *, required: Iterable[str], names: Iterable[str]) -> Any:
        """Build a runner of the arguments ``names`` that a whole config holds."""
        cfg = copy.deepcopy(as_config(cfg))
        for key in required:
            if cfg.get(key) is None:
                raise RunnerConfigError(
                    f"{cfg.filename or 'the config'} has no {key!r}, which every runner needs"
                )
        if cfg.get("check_config", True):
            check_config(cfg)
        return cls(**arguments_in(cfg, names), cfg=cfg)

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
            release()  # the run pauses: log lines wait for the next ones no longer
        for method in self._hook_list.at[fn_name]:
            try:
                method(self, **kwargs)
            except Exception as err:
                raise_with_hook(err, method, fn_name, self)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _LOOKED_UP_ONCE and "_hook_list" in vars(self):
            release()
            self._hook_list.at.clear()  # hooks look again
        super().__setattr__(name, value)

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
            release()
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
            release()
        self.call_hook("after_run")
        return metrics

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


#: Arguments of every runner that a config may hold: all but ``self`` and ``cfg``.
ENGINE_ARGUMENTS = tuple(inspect.signature(Engine.__init__).parameters)[1:-1]


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

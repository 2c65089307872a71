"""``FlexibleRunner``: the engine with a strategy that the user chooses."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.utils.data import DataLoader

from drivetrain.config import Config
from drivetrain.dist import infer_launcher
from drivetrain.dist.strategy import BaseStrategy
from drivetrain.evaluator import Evaluator
from drivetrain.registry import RUNNERS, STRATEGIES, building
from drivetrain.runner._base_loop import BaseLoop
from drivetrain.runner._config_check import check_config
from drivetrain.runner._engine import Engine
from drivetrain.runner._errors import RunnerConfigError
from drivetrain.runner._log_processor import LogProcessor
from drivetrain.runner._runner import (
    RUNNER_ARGUMENTS,
    arguments_in,
    as_config,
    config_stem,
    resume_source,
)
from drivetrain.runner.hooks._hook import Hook
from drivetrain.visualization import Visualizer

Node = dict[str, Any]


@RUNNERS.register_module()
class FlexibleRunner(Engine):
    """Train, validate and test a model under a strategy of one's choice.

    Arguments mean what they mean to ``Runner``, except for the following.

    Args:
        model: The model; also the model config stays unbuilt until it is needed.
        strategy: A strategy, or the config of one; None for one device without a launcher and for
            ``DDPStrategy`` with one. A config is completed with ``work_dir``, ``experiment_name``,
            ``auto_scale_lr``, ``env_kwargs`` and ``log_kwargs``; an object has its own, and a
            warning names what is not used.
        launcher: None infers it from the environment.
        resume: True, or the path of a checkpoint to go on from.
        compile: True, or a dict of options with ``target``, the method of the model to compile.

    Raises:
        RunnerConfigError: If arguments contradict one another.
        TypeError: If ``compile`` or ``strategy`` is of the wrong type.
    """

    def __init__(
        self,
        model: nn.Module | Node,
        *,
        work_dir: str = "work_dirs",
        experiment_name: str | None = None,
        train_dataloader: DataLoader | Node | None = None,
        optim_wrapper: Any = None,
        param_scheduler: Any = None,
        train_cfg: BaseLoop | Node | None = None,
        val_dataloader: DataLoader | Node | None = None,
        val_evaluator: Evaluator | Node | list | None = None,
        val_cfg: BaseLoop | Node | None = None,
        test_dataloader: DataLoader | Node | None = None,
        test_evaluator: Evaluator | Node | list | None = None,
        test_cfg: BaseLoop | Node | None = None,
        strategy: BaseStrategy | Node | str | None = None,
        auto_scale_lr: Node | None = None,
        default_hooks: dict[str, Hook | Node | None] | None = None,
        custom_hooks: list[Hook | Node] | None = None,
        data_preprocessor: nn.Module | Node | None = None,
        load_from: str | None = None,
        resume: bool | str = False,
        launcher: str | None = None,
        env_cfg: Node | None = None,
        log_processor: LogProcessor | Node | None = None,
        log_level: int | str = "INFO",
        visualizer: Visualizer | Node | None = None,
        default_scope: str | None = "drivetrain",
        randomness: Node | None = None,
        compile: bool | Node = False,
        cfg: Config | Node | None = None,
    ) -> None:
        load_from, resume = resume_source(load_from, resume)
        full_cfg = as_config(cfg)
        self._env_cfg = env_cfg
        self._strategy_kwargs = {
            "work_dir": str(work_dir),
            "experiment_name": experiment_name or config_stem(full_cfg),
            "auto_scale_lr": auto_scale_lr,
            "env_kwargs": {
                **(env_cfg or {}),
                "launcher": infer_launcher() if launcher is None else launcher,
                "randomness": randomness or {"seed": None},
            },
            "log_kwargs": {"log_level": log_level},
        }
        super().__init__(
            self.build_strategy(strategy),
            model,
            {
                "train_dataloader": train_dataloader,
                "train_cfg": train_cfg,
                "optim_wrapper": optim_wrapper,
                "param_scheduler": param_scheduler,
                "val_dataloader": val_dataloader,
                "val_cfg": val_cfg,
                "val_evaluator": val_evaluator,
                "test_dataloader": test_dataloader,
                "test_cfg": test_cfg,
                "test_evaluator": test_evaluator,
            },
            cfg=full_cfg,
            default_hooks=default_hooks,
            custom_hooks=custom_hooks,
            data_preprocessor=data_preprocessor,
            load_from=load_from,
            resume=resume,
            log_processor=log_processor,
            visualizer=visualizer,
            default_scope=default_scope,
            compile=compile,
        )
        if isinstance(strategy, BaseStrategy):
            given = {
                "work_dir": str(work_dir) not in ("work_dirs", self.strategy.work_dir),
                "experiment_name": experiment_name,
                "auto_scale_lr": auto_scale_lr,
                "launcher": launcher not in (None, "none"),
                "env_cfg": env_cfg,
                "randomness": randomness,
            }
            self._warn_of_unused([name for name, value in given.items() if value])

    def _warn_of_unused(self, names: list[str]) -> None:
        """Name the arguments that a strategy that was made already does not get."""
        if names:
            self.logger.warning(
                f"Not used: {', '.join(names)}. The strategy is an object, made with its own.\n"
                "  Give them to it, or give the strategy as a config, which is completed with them."
            )

    @classmethod
    def from_cfg(cls, cfg: Config | Node) -> FlexibleRunner:
        """Build a runner from a whole config; its keys are the arguments of ``FlexibleRunner``."""
        cfg = copy.deepcopy(as_config(cfg))
        if cfg.get("model") is None:
            raise RunnerConfigError(
                f"{cfg.filename or 'the config'} has no 'model', which every runner needs"
            )
        if cfg.get("check_config", True):
            check_config(cfg)
        return cls(**arguments_in(cfg, (*RUNNER_ARGUMENTS, "strategy", "compile")), cfg=cfg)

    def build_strategy(self, strategy: BaseStrategy | Node | str | None) -> BaseStrategy:
        """The strategy, from itself, from its name, or from its config."""
        if isinstance(strategy, BaseStrategy):
            return strategy
        launched = self._strategy_kwargs["env_kwargs"]["launcher"] != "none"
        default = "DDPStrategy" if launched else "SingleDeviceStrategy"
        if strategy is None or isinstance(strategy, str):
            node: Node = {"type": strategy or default}
        elif isinstance(strategy, Mapping):
            node = {"type": default, **strategy}
        else:
            raise TypeError(f"a strategy is a BaseStrategy, a name or a config, got {strategy!r}")
        with building("strategy"):
            return STRATEGIES.build(node, default_args=self._strategy_kwargs)

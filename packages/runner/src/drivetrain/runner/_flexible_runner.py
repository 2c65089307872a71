"""``FlexibleRunner``: the engine with a strategy that the user chooses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from drivetrain.config import Config
from drivetrain.dist import infer_launcher
from drivetrain.dist.strategy import BaseStrategy
from drivetrain.registry import RUNNERS, STRATEGIES, building
from drivetrain.runner._arguments import checked_compile, taking_arguments_of
from drivetrain.runner._engine import ENGINE_ARGUMENTS, Engine

Node = dict[str, Any]

#: Arguments that complete the config of a strategy, in the order in which a warning names them.
_FOR_STRATEGIES = (
    "work_dir",
    "experiment_name",
    "auto_scale_lr",
    "launcher",
    "env_cfg",
    "randomness",
)


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
        **others: Any other argument of ``Runner``, by its name.

    Raises:
        RunnerConfigError: If arguments contradict one another.
        TypeError: If ``compile`` or ``strategy`` is of the wrong type.
    """

    @taking_arguments_of(Engine.__init__)
    def __init__(
        self,
        model: nn.Module | Node,
        *,
        work_dir: str = "work_dirs",
        strategy: BaseStrategy | Node | str | None = None,
        launcher: str | None = None,
        compile: bool | Node = False,
        **others: Any,
    ) -> None:
        self._given_strategy = strategy
        self._given_compile = compile
        chosen = infer_launcher() if launcher is None else launcher
        super().__init__(model, work_dir, launcher=chosen, **others)
        if isinstance(strategy, BaseStrategy):
            is_elsewhere = str(work_dir) not in ("work_dirs", self.strategy.work_dir)
            is_launched = launcher not in (None, "none")
            given = {"work_dir": is_elsewhere, "launcher": is_launched, **others}
            self._warn_of_unused([name for name in _FOR_STRATEGIES if given.get(name)])

    def _make_strategy(self, **arguments: Any) -> BaseStrategy:
        self._strategy_kwargs = arguments
        return self.build_strategy(self._given_strategy)

    def _choose_compile(self) -> bool | Node:
        return checked_compile(self._given_compile)

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
        names = (*ENGINE_ARGUMENTS, "strategy", "compile")
        return cls._from_cfg(cfg, required=("model",), names=names)

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

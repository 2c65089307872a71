"""``Runner``: the engine with the arguments of a training script."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import nn

from drivetrain.config import Config
from drivetrain.dist.strategy import BaseStrategy, DDPStrategy, SingleDeviceStrategy
from drivetrain.registry import RUNNERS, building
from drivetrain.runner._arguments import as_config, checked_compile
from drivetrain.runner._engine import ENGINE_ARGUMENTS, Engine
from drivetrain.runner._errors import RunnerConfigError

Node = dict[str, Any]


@RUNNERS.register_module()
class Runner(Engine):
    """Train, validate and test a model.

    Each part is an object or the config of one. Nothing but the model is built before it is needed:
    a runner that only tests needs no training parts.

    Args:
        model: The model; with ``train_step``, ``val_step`` and ``test_step`` as far as they are
            used.
        work_dir: Folder of checkpoints; logs go into a folder in it that is named after the time.
        train_dataloader: Loader of the training data.
        val_dataloader: Loader of the validation data.
        test_dataloader: Loader of the test data.
        train_cfg: The training loop; without a ``type``, ``by_epoch`` chooses one.
        val_cfg: The validation loop; ``dict()`` for the default one.
        test_cfg: The test loop; ``dict()`` for the default one.
        auto_scale_lr: ``enable`` and ``base_batch_size``, to scale the learning rate linearly with
            the real batch size.
        optim_wrapper: The optimizer and how it is stepped.
        param_scheduler: A scheduler, or a list of them.
        val_evaluator: Metrics of the validation.
        test_evaluator: Metrics of the test.
        default_hooks: Merged over the six default hooks; ``name=None`` removes one.
        custom_hooks: Further hooks.
        data_preprocessor: Put into a model config that has none.
        load_from: Checkpoint to load weights from; with ``resume``, to go on from.
        resume: Go on from ``load_from``, or from the newest good checkpoint in ``work_dir``;
            without one, start afresh. The path of a checkpoint means ``load_from`` and True.
        launcher: ``"none"``, ``"pytorch"`` (torchrun), ``"slurm"`` or ``"mpi"``.
        env_cfg: ``cudnn_benchmark``, ``mp_cfg``, ``dist_cfg`` (``backend``, ``timeout`` in
            seconds; by default the best backend of the device) and ``resource_limit``.
        log_processor: Maker of the log lines.
        log_level: Level of the logger.
        visualizer: Trackers of scalars and pictures; by default local files.
        default_scope: Scope in which names of components are looked up first; None for no change.
        randomness: ``seed`` (None draws one), ``diff_rank_seed`` and ``deterministic``.
        experiment_name: Name of the run; by default that of the config file. The time is appended.
        cfg: The whole config; also holds ``compile``, ``model_wrapper_cfg`` and ``sync_bn``.

    Raises:
        RunnerConfigError: If arguments contradict one another.

    Example:
        >>> runner = Runner.from_cfg(Config.fromfile("config.py"))  # doctest: +SKIP
        >>> model = runner.train()                                  # doctest: +SKIP
        >>> runner.test()                                           # doctest: +SKIP
        {'accuracy': 0.99}
    """

    @classmethod
    def from_cfg(cls, cfg: Config | Node) -> Runner:
        """Build a runner from a whole config; its keys are the arguments of ``Runner``.

        The config is looked through first, so that a typo in a test dataset shows now and not after
        training; ``check_config=False`` in it leaves that out.

        Raises:
            CheckError: If the config has unknown types or arguments; names all of them.
            RunnerConfigError: If ``model`` or ``work_dir`` is missing.
        """
        cfg = as_config(cfg)
        if cfg.get("strategy") is not None:
            raise RunnerConfigError(
                "strategy: Runner takes the one that its launcher asks for.\n"
                "  Write runner_type = 'FlexibleRunner' to choose one, or take `strategy` out."
            )
        return cls._from_cfg(cfg, required=("model", "work_dir"), names=ENGINE_ARGUMENTS)

    def _make_strategy(self, **arguments: Any) -> BaseStrategy:
        """One process a device where there is a launcher, else a single one."""
        if arguments["env_kwargs"]["launcher"] == "none":
            return SingleDeviceStrategy(**arguments)
        wrapper, sync_bn = self.cfg.get("model_wrapper_cfg"), self.cfg.get("sync_bn")
        return DDPStrategy(model_wrapper=wrapper, sync_bn=sync_bn, **arguments)

    def _choose_compile(self) -> bool | Node:
        return checked_compile(self.cfg.get("compile", False))

    def _first_model(self, model: nn.Module | Node) -> nn.Module:
        return self.build_model(model)

    def build_model(self, model: nn.Module | Node) -> nn.Module:
        """The model, from itself or from its config; placed and wrapped when it is first used."""
        with building("model"):
            return self.strategy.build_model(model)

    def _prepare(self, *, training: bool) -> None:
        """Let the strategy build and wrap what is not ready, by the methods that a subclass has."""
        if self._has_own("wrap_model"):
            self.strategy.wrap_by = partial(self.wrap_model, self.cfg.get("model_wrapper_cfg"))
        if training and (self._has_own("build_optim_wrapper", "build_param_scheduler")):
            self._prepare_by_own_builders()
        super()._prepare(training=training)

    def _has_own(self, *methods: str) -> bool:
        """Whether a subclass has its own version of one of these methods."""
        return any(getattr(type(self), name) is not getattr(Runner, name) for name in methods)

    def _prepare_by_own_builders(self) -> None:
        """The same in the same order, one part after the other."""
        strategy = self.strategy
        [self.model, *_] = strategy.prepare(
            self.model, compile=self._compile, dispatch_kwargs=self._lengths()
        )
        if strategy.optim_wrapper is None:
            self.optim_wrapper = self.build_optim_wrapper(self.optim_wrapper)
            strategy.prepare(self.model, optim_wrapper=self.optim_wrapper)
        if strategy.param_schedulers is None and self.param_schedulers is not None:
            self.param_schedulers = self.build_param_scheduler(self.param_schedulers)

    def wrap_model(self, model_wrapper_cfg: Node | None, model: nn.Module) -> nn.Module:
        """Place ``model`` and wrap it for the processes that there are.

        Args:
            model_wrapper_cfg: Config of the wrapper; None for the default one.
            model: The model.
        """
        if model_wrapper_cfg is not None and isinstance(self.strategy, DDPStrategy):
            self.strategy.model_wrapper = model_wrapper_cfg
        return self.strategy.wrap_model(self.strategy.convert_model(model))

    def build_optim_wrapper(self, optim_wrapper: Any) -> Any:
        """The optimizer wrapper, from itself or from its config, for this runner's model."""
        return self.strategy.build_optim_wrapper(optim_wrapper, self.model)

    def build_param_scheduler(self, scheduler: Any) -> Any:
        """The schedulers, from themselves or from their configs, for this runner's optimizer."""
        self.strategy.dispatch_kwargs.update(self._lengths())
        return self.strategy.build_param_scheduler(scheduler, self.optim_wrapper)

    def scale_lr(self, optim_wrapper: Any, auto_scale_lr: Node | None = None) -> None:
        """Scale learning rates by the real batch size; before the schedulers are built.

        Args:
            optim_wrapper: The optimizer wrapper.
            auto_scale_lr: ``enable`` and ``base_batch_size``.
        """
        self.strategy.dispatch_kwargs.update(self._lengths())
        self.strategy.scale_lr(optim_wrapper, auto_scale_lr)

"""The part of a strategy that does not depend on how many devices there are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from drivetrain.dist._agreement import check_same_model
from drivetrain.dist._data_share import get_data_share
from drivetrain.dist._device import get_device
from drivetrain.dist._errors import StrategyError
from drivetrain.dist._graphs import GRAPH_MODES, outliving_graphs
from drivetrain.dist._module_rule import ModuleRule
from drivetrain.dist.strategy._learning_rate import check_schedules_follow, scale_lr
from drivetrain.dist.strategy._run_state import RunState
from drivetrain.dist.strategy._weights import Outline
from drivetrain.registry import FUNCTIONS, MODELS


class BaseStrategy(RunState, ABC):
    """How a model is trained on the devices at hand: processes, placement, precision, state.

    A subclass says what it does differently in ``convert_model`` and ``wrap_model``; the state
    methods are for those that keep parameters in another form.

    Constructing one stores its arguments; processes, folders and seeds come with ``setup``.

    Args:
        work_dir: Folder of all runs of this experiment.
        experiment_name: The time stamp is appended; alone it is the name by default.
        env_kwargs: ``launcher`` (inferred by default), ``cudnn_benchmark``, ``mp_cfg``
            (``mp_start_method``, ``opencv_num_threads``), ``dist_cfg`` (arguments of ``init_dist``,
            e.g. ``backend``, ``timeout`` in seconds), ``resource_limit`` (open files),
            ``randomness`` (``seed``, ``diff_rank_seed``, ``deterministic``).
        log_kwargs: Arguments of ``MMLogger``, e.g. ``log_level``, ``log_file``.
        auto_scale_lr: ``enable`` and ``base_batch_size``; see ``scale_lr``.

    Attributes:
        model, optim_wrapper, param_schedulers: What ``prepare`` made; ``None`` before.
        wrap_by: Called by ``prepare`` instead of ``wrap_model``, where a runner has its own way.
    """

    #: Whether all ranks must bring the same parameters; not so where each trains its own stage.
    same_model_on_ranks: bool = True

    def __init__(
        self,
        *,
        work_dir: str = "work_dirs",
        experiment_name: str | None = None,
        env_kwargs: Mapping[str, Any] | None = None,
        log_kwargs: Mapping[str, Any] | None = None,
        auto_scale_lr: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            work_dir=work_dir,
            experiment_name=experiment_name,
            env_kwargs=env_kwargs,
            log_kwargs=log_kwargs,
        )
        self.auto_scale_lr = auto_scale_lr
        self.dispatch_kwargs: dict[str, Any] = {}
        self.wrap_by: Callable[[nn.Module], nn.Module] | None = None
        self.model: nn.Module | None = None
        self.optim_wrapper: Any = None
        self.param_schedulers: Any = None
        self._outline = None

    # ---- what is trained ----------------------------------------------------------------------

    def prepare(
        self,
        model: nn.Module | dict[str, Any],
        *,
        optim_wrapper: Any = None,
        param_scheduler: Any = None,
        compile: bool | dict[str, Any] = False,
        dispatch_kwargs: Mapping[str, Any] | None = None,
    ) -> list[Any]:
        """Build, place and wrap the model, then what updates it.

        Called again, it returns what the first call prepared, and adds what that one lacked: a
        run that was tested can be trained.

        Args:
            model: A module, or the config of one.
            optim_wrapper: An optimizer wrapper, or a config.
            param_scheduler: Schedulers, or configs; needs ``optim_wrapper``.
            compile: Whether ``torch.compile`` is used; as a mapping, its options, and ``target``,
                the method of the model to compile (``train_step`` by default), or ``blocks``,
                the parts to compile one by one instead: arguments of ``ModuleRule``.
            dispatch_kwargs: What is known of the run: ``epoch_length``, ``max_epochs``,
                ``max_iters``, ``train_micro_batch_size_per_gpu``,
                ``init_weights_for_test_or_val``.

        Returns:
            The model, then the optimizer wrapper and the schedulers as far as they exist.

        Raises:
            StrategyError: If schedulers come without an optimizer wrapper, or were built before
                ``auto_scale_lr`` changed the rates, gradients are accumulated and ``max_iters`` is
                not known, or nothing installed builds one of the parts.
            TypeError: If ``model`` is neither a module nor the config of one.
        """
        self.setup()
        self.dispatch_kwargs.update(dispatch_kwargs or {})
        if self.model is None:
            self.model = self._prepare_model(model, compile)
        if optim_wrapper is not None and self.optim_wrapper is None:
            self.optim_wrapper = self.build_optim_wrapper(optim_wrapper, self.model)
            self._start_counting()
            factor = self.scale_lr(self.optim_wrapper, self.auto_scale_lr, self._real_batch_size())
            check_schedules_follow(factor, param_scheduler)
        if param_scheduler is not None and self.param_schedulers is None:
            if self.optim_wrapper is None:
                raise StrategyError("prepare: param_scheduler needs an optim_wrapper.")
            self.param_schedulers = self.build_param_scheduler(param_scheduler, self.optim_wrapper)
        return self._prepared()

    def build_model(self, model: nn.Module | dict[str, Any]) -> nn.Module:
        """The model, from itself or from its config.

        Args:
            model: A module, which is returned as it is, or the config of one.

        Returns:
            The model, not yet placed or wrapped.

        Raises:
            TypeError: If it is no module.
        """
        built = MODELS.build(model) if isinstance(model, Mapping) else model
        if not isinstance(built, nn.Module):
            raise TypeError(f"prepare: model must be a module, got {type(built).__name__}.")
        return built

    def init_model_weights(self, model: nn.Module) -> None:
        """Call the model's own ``init_weights`` if it has one."""
        init_weights = getattr(model, "init_weights", None)
        if callable(init_weights):
            init_weights()

    @abstractmethod
    def convert_model(self, model: nn.Module) -> nn.Module:
        """Replace layers that this strategy cannot run as they are."""

    @abstractmethod
    def wrap_model(self, model: nn.Module) -> nn.Module:
        """Place the model on its devices, and wrap it where that is how it trains."""

    def compile_blocks(self, model: nn.Module, blocks: Mapping[str, Any], **options: Any) -> None:
        """Compile parts of ``model`` one by one, in place, before it is wrapped.

        Where a model repeats one block many times, that takes a fraction of the time: code made for
        one block serves the others. Layers of torch's own are no blocks: torch runs them as they
        are.

        Args:
            model: The model.
            blocks: Which parts: ``classes``, ``names``, ``min_params``.
            **options: Arguments of ``torch.compile``.

        Raises:
            StrategyError: If ``target`` is given, too.
            WrapperError: If a class or a name fits no part.
        """
        if "target" in options:
            raise StrategyError("compile: either blocks or a target; blocks are compiled whole.")
        chosen = ModuleRule(**blocks).select(model)
        for _, block in chosen:
            block.compile(**options)
        self.logger.info("torch.compile will compile %d blocks at their first calls", len(chosen))

    def compile_model(self, model: nn.Module, compile: bool | Mapping[str, Any]) -> nn.Module:
        """Compile one method of ``model``, in place.

        Args:
            model: The model, after wrapping.
            compile: Whether to compile; as a mapping, ``target`` names the method (``train_step``
                by default), the rest are arguments of ``torch.compile``.

        Returns:
            ``model``.

        Raises:
            StrategyError: If the model has no method of that name.
        """
        if compile is False:
            return model
        options = {} if compile is True else dict(compile)
        target = options.pop("target", "train_step")
        if not hasattr(model, target):
            raise StrategyError(f"compile: {type(model).__name__} has no method {target!r}.")
        compiled = torch.compile(getattr(model, target), **options)
        in_graphs = options.get("mode") in GRAPH_MODES
        setattr(model, target, outliving_graphs(compiled) if in_graphs else compiled)
        self.logger.info("torch.compile will compile %s at its first call", target)
        return model

    def build_optim_wrapper(self, optim_wrapper: Any, model: nn.Module | None = None) -> Any:
        """The optimizer wrapper, from itself or from its config, for the model inside wrappers.

        Args:
            optim_wrapper: An optimizer wrapper, or the config of one.
            model: The model whose parameters are updated, wrapped or not.

        Returns:
            The optimizer wrapper.

        Raises:
            StrategyError: If nothing installed builds one.
        """
        return self._function("build_optim_wrapper")(self._bare(model), optim_wrapper)

    def build_param_scheduler(self, param_scheduler: Any, optim_wrapper: Any) -> Any:
        """The schedulers: a list, or a mapping of lists for several optimizers.

        Args:
            param_scheduler: Schedulers or configs: one, a list, or a mapping of lists.
            optim_wrapper: What they set values in.

        Returns:
            The schedulers.

        Raises:
            StrategyError: If nothing installed builds them.
        """
        known = {
            key: self.dispatch_kwargs.get(key)
            for key in ("epoch_length", "max_epochs", "max_iters")
        }
        return self._function("build_param_schedulers")(param_scheduler, optim_wrapper, **known)

    def scale_lr(
        self,
        optim_wrapper: Any,
        auto_scale_lr: Mapping[str, Any] | None = None,
        real_batch_size: int | None = None,
    ) -> float:
        """Multiply the learning rates by ``real_batch_size / base_batch_size`` if so asked.

        Must come before the schedulers are built.

        Args:
            optim_wrapper: A wrapper, or a mapping of names to wrappers; changed in place.
            auto_scale_lr: ``base_batch_size``, for which the learning rate was chosen, and
                ``enable``. Nothing happens without it, or when ``enable`` is false.
            real_batch_size: Samples in one step over all ranks; by default from what ``prepare``
                was told.

        Returns:
            The factor.

        Raises:
            StrategyError: If the schedulers exist already.
            StrategyConfigError: If one of the two batch sizes is not known.

        Source: Goyal et al., Accurate, Large Minibatch SGD (2017), arXiv:1706.02677, section 2.1.
        """
        if self.param_schedulers is not None:
            raise StrategyError("scale_lr: the schedulers exist already; they keep the old rates.")
        if real_batch_size is None:
            real_batch_size = self._real_batch_size()
        return scale_lr(optim_wrapper, auto_scale_lr, real_batch_size)

    def _prepare_model(
        self, model: nn.Module | dict[str, Any], compile: bool | Mapping[str, Any]
    ) -> nn.Module:
        built = self.build_model(model)
        if self.dispatch_kwargs.get("init_weights_for_test_or_val", True):
            self.init_model_weights(built)
        built = self.convert_model(built)
        if self.distributed and self.same_model_on_ranks:
            check_same_model(built)
        self._outline = Outline.of(built)
        if isinstance(compile, Mapping) and "blocks" in compile:
            self.compile_blocks(built, **compile)
            compile = False
        wrap = self.wrap_by or self.wrap_model
        return self.compile_model(wrap(built), compile)

    def _start_counting(self) -> None:
        """Tell wrappers that accumulate gradients how many iterations there are."""
        if getattr(self.optim_wrapper, "_accumulative_counts", 1) < 2:
            return
        if self.dispatch_kwargs.get("max_iters") is None:
            raise StrategyError(
                "prepare: gradient accumulation must know where the run ends, for its last step.\n"
                "  Do:  pass max_iters in dispatch_kwargs."
            )
        max_iters = self.dispatch_kwargs["max_iters"]
        self.optim_wrapper.initialize_count_status(self.model, 0, max_iters)

    def _real_batch_size(self) -> int | None:
        per_rank = self.dispatch_kwargs.get("train_micro_batch_size_per_gpu")
        return None if per_rank is None else per_rank * get_data_share()[1]

    def _prepared(self) -> list[Any]:
        parts = (self.model, self.optim_wrapper, self.param_schedulers)
        return [part for part in parts if part is not None]

    @staticmethod
    def _function(name: str) -> Callable[..., Any]:
        function = FUNCTIONS.get(name)
        if function is None:
            raise StrategyError(
                f"prepare: nothing installed offers the function {name!r}.\n"
                "  Do:  install drivetrain-optim, or register your own in FUNCTIONS."
            )
        return function

    def __repr__(self) -> str:
        return f"{type(self).__name__}(work_dir={self.work_dir!r}, device={get_device()!r})"

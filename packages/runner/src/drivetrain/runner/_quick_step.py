"""Iterations with all that stays the same during a run looked up once.

What an iteration does is written in ``TrainLoop._step``, ``BaseModel.train_step`` and
``OptimWrapper.update_params``, for an evaluation in ``EvalLoop.run_iter`` and
``BaseModel.val_step``. Where none of their parts was overridden or replaced, the functions here do
the same, in the same order and to the last bit, with a quarter of the calls. Beside a small model
those are most of what an engine costs.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import TYPE_CHECKING, Any

from torch import Tensor

from drivetrain.dist import MMDistributedDataParallel
from drivetrain.model import BaseDataPreprocessor, BaseModel
from drivetrain.runner._as_written import as_written, keeps
from drivetrain.runner._hook_list import raise_with_hook

if TYPE_CHECKING:
    from drivetrain.runner._engine import Engine
    from drivetrain.runner._eval_loops import EvalLoop
    from drivetrain.runner._train_loops import TrainLoop

TrainStep = Callable[[Any], dict[str, Tensor]]


_STEP_OF_A_MODEL = as_written(BaseModel, "train_step")
_STEP_OF_A_WRAPPER = as_written(MMDistributedDataParallel, "train_step")
_PREDICTIONS = as_written(BaseModel, "val_step", "test_step")
_PREDICTIONS_OF_A_WRAPPER = as_written(MMDistributedDataParallel, "val_step", "test_step")
_BATCHES = (list, tuple, dict)
_LOSSES = as_written(BaseModel, "parse_losses")
_MOVING = as_written(BaseDataPreprocessor, "__call__", "forward", "cast_data")


def calls_hooks_as_written(runner: Engine) -> bool:
    """Whether ``call_hook`` of a runner is the engine's."""
    kind = type(runner)
    return kind.call_hook is kind.own_call_hook and "call_hook" not in vars(runner)


def quick_iteration(loop: TrainLoop) -> Callable[[int, Any], None]:
    """``loop._step`` as one function.

    Args:
        loop: A loop whose ``_step`` is ours, and so is ``call_hook`` of its runner.
    """
    runner = loop.runner
    methods_at = runner.hook_methods
    model: Any = None
    optim_wrapper: Any = None
    train_step: Any = None

    def iterate(batch_idx: int, data_batch: Any) -> None:
        nonlocal model, optim_wrapper, train_step
        for method in methods_at["before_train_iter"]:
            try:
                method(runner, batch_idx=batch_idx, data_batch=data_batch)
            except Exception as err:
                raise_with_hook(err, method, "before_train_iter", runner)
        if (
            runner.model is not model
            or runner.optim_wrapper is not optim_wrapper
            or "train_step" in model.__dict__  # as NaNWatchHook and tests put it there
        ):
            model, optim_wrapper = runner.model, runner.optim_wrapper
            train_step = quick_train_step(model, optim_wrapper)
        outputs = train_step(data_batch)
        for method in methods_at["after_train_iter"]:
            try:
                method(runner, batch_idx=batch_idx, data_batch=data_batch, outputs=outputs)
            except Exception as err:
                raise_with_hook(err, method, "after_train_iter", runner)
        loop._iter += 1

    return iterate


def quick_train_step(model: Any, optim_wrapper: Any) -> TrainStep:
    """``model.train_step`` with this wrapper; as one function where nothing is the user's own."""
    single = isinstance(model, BaseModel) and keeps(model, _STEP_OF_A_MODEL)
    parallel = (
        isinstance(model, MMDistributedDataParallel)
        and keeps(model, _STEP_OF_A_WRAPPER)
        and not model.detect_anomalous_params
    )
    plain_update = (
        hasattr(type(optim_wrapper), "as_written")
        and keeps(optim_wrapper, optim_wrapper.as_written)
        and optim_wrapper.accumulative_counts == 1
    )
    if not (plain_update and (single or parallel)):
        return lambda data: model.train_step(data, optim_wrapper=optim_wrapper)
    inner: Any = model.module if parallel else model
    forward, preprocess = model._run_forward, _preprocessing(inner, training=True)
    plain_losses = keeps(inner, _LOSSES)

    def train_step(data: Any) -> dict[str, Tensor]:
        losses = forward(preprocess(data), mode="loss")
        loss = losses.get("loss") if plain_losses and type(losses) is dict else None
        if type(loss) is Tensor and len(losses) == 1 and not loss.ndim:
            log_vars = {"loss": loss.detach()}
        else:
            loss, log_vars = inner.parse_losses(losses)
            if type(loss) is not Tensor or loss.ndim:
                optim_wrapper.update_params(loss)
                return log_vars
        if getattr(loss, "num_samples", None) is not None:
            optim_wrapper.update_params(loss)
            return log_vars
        if optim_wrapper.check_loss and loss.is_cpu:
            value: Any = loss.tolist()  # not item(): who counts waits for the device sees that
            if not isfinite(value):
                optim_wrapper.backward(loss)  # raises, and explains
        try:
            loss.backward()
        except RuntimeError:
            if not loss.requires_grad:
                optim_wrapper.backward(loss)  # raises, and explains
            raise
        optim_wrapper._inner_count += 1  # as every override of `backward` does
        if optim_wrapper.clipper is not None:
            optim_wrapper._clip_grad()
        optimizer = optim_wrapper.optimizer
        optimizer.step()
        optimizer.zero_grad()
        return log_vars

    return train_step


def quick_evaluation(loop: EvalLoop) -> Callable[[int, Any], None]:
    """``loop.run_iter`` as one function.

    Args:
        loop: A loop whose ``run_iter`` is ours, and so is ``call_hook`` of its runner; for one
            process, without mixed precision.
    """
    runner, mode = loop.runner, loop.mode
    methods_at = runner.hook_methods
    before_iter, after_iter = f"before_{mode}_iter", f"after_{mode}_iter"
    model: Any = None
    predict: Any = None
    take_losses, process = loop._take_losses, loop.evaluator.process

    def iterate(batch_idx: int, data_batch: Any) -> None:
        nonlocal model, predict
        for method in methods_at[before_iter]:
            try:
                method(runner, batch_idx=batch_idx, data_batch=data_batch)
            except Exception as err:
                raise_with_hook(err, method, before_iter, runner)
        if runner.model is not model:
            model = runner.model
            predict = quick_prediction(model, f"{mode}_step")
        outputs = predict(data_batch)
        if type(outputs) is not Tensor:
            outputs = take_losses(outputs)
        process(data_samples=outputs, data_batch=data_batch)
        for method in methods_at[after_iter]:
            try:
                method(runner, batch_idx=batch_idx, data_batch=data_batch, outputs=outputs)
            except Exception as err:
                raise_with_hook(err, method, after_iter, runner)

    return iterate


def quick_prediction(model: Any, step: str) -> Callable[[Any], Any]:
    """``model.val_step`` or ``model.test_step``; as one function where nothing is the user's own.

    Args:
        model: The model, wrapped or not.
        step: Which of the two.
    """
    inner = model
    if isinstance(model, MMDistributedDataParallel) and keeps(model, _PREDICTIONS_OF_A_WRAPPER):
        inner = model.module
    if not (isinstance(inner, BaseModel) and keeps(inner, _PREDICTIONS)):
        return getattr(model, step)
    forward, preprocess = inner._run_forward, _preprocessing(inner, training=False)

    def predict(data: Any) -> Any:
        return forward(preprocess(data), mode="predict")

    return predict


def _preprocessing(model: Any, *, training: bool) -> Callable[[Any], Any]:
    """``model.data_preprocessor``, not called for a batch of tensors that it would pass."""
    preprocessor, modules = model.data_preprocessor, model._modules
    # Moving or converting a model gives its preprocessor another device: then it is asked again.
    home = preprocessor.device if _passes_cpu_tensors(preprocessor) else None

    def preprocess(data: Any) -> Any:
        if home is None or modules["data_preprocessor"] is not preprocessor:
            return model.data_preprocessor(data, training)
        kind = type(data)
        if home is preprocessor._device and kind in _BATCHES:
            for part in data.values() if kind is dict else data:
                if type(part) is not Tensor or not part.is_cpu:
                    break
            else:
                return data
        return preprocessor(data, training)

    return preprocess


def _passes_cpu_tensors(preprocessor: Any) -> bool:
    """Whether a data preprocessor would only move tensors, and leave those on the CPU there."""
    return (
        isinstance(preprocessor, BaseDataPreprocessor)
        and keeps(preprocessor, _MOVING)
        and not preprocessor._forward_hooks
        and not preprocessor._forward_pre_hooks
        and preprocessor.passes_cpu_tensors
    )

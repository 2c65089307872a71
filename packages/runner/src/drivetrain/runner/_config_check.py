"""Looking through a whole config for mistakes before anything of it is built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from drivetrain.config import Config, ConfigError
from drivetrain.registry import (
    DATA_SAMPLERS,
    DATASETS,
    EVALUATOR,
    HOOKS,
    LOG_PROCESSORS,
    LOOPS,
    METRICS,
    MODELS,
    OPTIM_WRAPPERS,
    OPTIMIZERS,
    PARAM_SCHEDULERS,
    VISBACKENDS,
    VISUALIZERS,
    Registry,
    Root,
    check,
)

_HOOK = Root(HOOKS, consumed=("priority",))
_EVALUATOR = Root(EVALUATOR, default_type="Evaluator")
_LOOP_PARTS = ("runner", "dataloader", "evaluator")

#: What builds a part of a config, and what it adds to or takes out of the node.
_ROOTS: dict[str, Registry[Any] | Root] = {
    "model": MODELS,
    "optim_wrapper": Root(
        OPTIM_WRAPPERS, default_type="OptimWrapper", consumed=("constructor", "paramwise_cfg")
    ),
    "optim_wrapper.optimizer": Root(OPTIMIZERS, given=("params",)),
    "param_scheduler": Root(
        PARAM_SCHEDULERS, given=("optimizer",), consumed=("convert_to_iter_based",)
    ),
    "default_hooks.*": _HOOK,
    "custom_hooks": _HOOK,
    "log_processor": Root(LOG_PROCESSORS, default_type="LogProcessor"),
    "visualizer": Root(VISUALIZERS, given=("name", "save_dir"), default_type="Visualizer"),
    "visualizer.vis_backends": Root(VISBACKENDS, given=("save_dir",), consumed=("name",)),
    **{
        f"{stage}_dataloader.{part}": root
        for stage in ("train", "val", "test")
        for part, root in {
            "dataset": DATASETS,
            "sampler": Root(DATA_SAMPLERS, given=("dataset", "seed")),
            "batch_sampler": Root(DATA_SAMPLERS, given=("sampler", "batch_size")),
        }.items()
    },
}


def check_config(cfg: Config) -> None:
    """Refuse a config with unknown types or with arguments that do not fit; names all at once.

    Only what is bound to fail counts. Modules that offer components are imported, nothing is built.

    Raises:
        CheckError: With every mistake and its place.
    """
    roots = {path: root for path, root in _ROOTS.items() if _is_ours(cfg, path)}
    roots |= _loop_roots(cfg)
    for stage in ("val", "test"):
        evaluator = cfg.get(f"{stage}_evaluator")
        if isinstance(evaluator, Mapping) and "metrics" in evaluator:
            roots[f"{stage}_evaluator"] = _EVALUATOR
            roots[f"{stage}_evaluator.metrics"] = METRICS
        else:
            roots[f"{stage}_evaluator"] = METRICS
    check(cfg, roots, locate=locator(cfg)).raise_if_bad()


def locator(cfg: Config) -> Callable[[str], str | None]:
    """A function that tells for a dotted path in which file and line ``cfg`` got its value."""

    def locate(path: str) -> str | None:
        try:
            return str(cfg.origin(path)[0])
        except ConfigError:
            return None

    return locate


def _is_ours(cfg: Config, path: str) -> bool:
    """Whether ``_ROOTS`` says how the part is built: a user's constructor builds as it likes."""
    if not path.startswith("optim_wrapper"):
        return True
    wrapper = cfg.get("optim_wrapper")
    return isinstance(wrapper, Mapping) and "optimizer" in wrapper and "constructor" not in wrapper


def _loop_roots(cfg: Config) -> dict[str, Root]:
    """Loops, whose type may be left out."""
    train_cfg = cfg.get("train_cfg")
    by_epoch = isinstance(train_cfg, Mapping) and train_cfg.get("by_epoch", True)
    train_loop = "EpochBasedTrainLoop" if by_epoch else "IterBasedTrainLoop"
    return {
        "train_cfg": Root(LOOPS, _LOOP_PARTS[:2], train_loop, consumed=("by_epoch",)),
        "val_cfg": Root(LOOPS, _LOOP_PARTS, "ValLoop"),
        "test_cfg": Root(LOOPS, _LOOP_PARTS, "TestLoop"),
    }

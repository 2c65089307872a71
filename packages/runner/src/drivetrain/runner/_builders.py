"""Turning configs of loops, log processors and visualizers into objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from drivetrain.registry import LOG_PROCESSORS, LOOPS, VISUALIZERS, building
from drivetrain.runner._base_loop import BaseLoop
from drivetrain.runner._errors import RunnerConfigError
from drivetrain.runner._log_processor import LogProcessor
from drivetrain.visualization import Visualizer

if TYPE_CHECKING:
    from drivetrain.runner._run_parts import RunParts

Node = Mapping[str, Any]


def build_log_processor(log_processor: LogProcessor | Node | None) -> LogProcessor:
    """A log processor from itself or from a config whose ``type`` may be left out."""
    if isinstance(log_processor, LogProcessor):
        return log_processor
    if log_processor is None or isinstance(log_processor, Mapping):
        with building("log_processor"):
            return LOG_PROCESSORS.build({"type": "LogProcessor", **(log_processor or {})})
    raise TypeError(f"log_processor is a LogProcessor or a config of one, got {log_processor!r}")


def build_visualizer(visualizer: Visualizer | Node | None, name: str, save_dir: str) -> Visualizer:
    """A visualizer from itself or from a config; by default one that writes local files.

    Args:
        visualizer: What the config says.
        name: Name of the instance, if the config gives none.
        save_dir: Folder for its files, if the config gives none.
    """
    if isinstance(visualizer, Visualizer):
        return visualizer
    defaults: dict[str, Any] = {"name": name, "save_dir": save_dir}
    if visualizer is None:
        defaults["vis_backends"] = [{"type": "LocalVisBackend"}]
    elif not isinstance(visualizer, Mapping):
        raise TypeError(f"visualizer is a Visualizer or a config of one, got {visualizer!r}")
    with building("visualizer"):
        return VISUALIZERS.build({"type": "Visualizer", **defaults, **(visualizer or {})})


def build_train_loop(loop: BaseLoop | Node, runner: RunParts, dataloader: Any) -> BaseLoop:
    """A training loop from itself or from ``train_cfg``, which gives ``type`` or ``by_epoch``."""
    if isinstance(loop, BaseLoop):
        return loop
    node = dict(_node("train_cfg", loop))
    if "type" in node and "by_epoch" in node:
        raise RunnerConfigError("train_cfg: give type or by_epoch, not both")
    if "type" not in node:
        if "by_epoch" not in node:
            raise RunnerConfigError(
                "train_cfg: give type (the class of a loop) or by_epoch "
                "(True for EpochBasedTrainLoop, False for IterBasedTrainLoop)"
            )
        by_epoch = node.pop("by_epoch")
        node["type"] = "EpochBasedTrainLoop" if by_epoch else "IterBasedTrainLoop"
    parts = {"runner": runner, "dataloader": _loader(runner, "train", dataloader)}
    with building("train_cfg"):
        return LOOPS.build(node, default_args=parts)


def build_eval_loop(
    mode: str, loop: BaseLoop | Node, runner: RunParts, dataloader: Any, evaluator: Any
) -> BaseLoop:
    """A validation or test loop (``mode``) from itself or a config; ``type`` may be left out."""
    if isinstance(loop, BaseLoop):
        return loop
    node = {"type": f"{mode.capitalize()}Loop", **_node(f"{mode}_cfg", loop)}
    with building(f"{mode}_evaluator"):
        evaluator = runner.build_evaluator(evaluator)
    parts = {
        "runner": runner,
        "dataloader": _loader(runner, mode, dataloader),
        "evaluator": evaluator,
    }
    with building(f"{mode}_cfg"):
        return LOOPS.build(node, default_args=parts)


def _loader(runner: RunParts, stage: str, dataloader: Any) -> Any:
    if not isinstance(dataloader, dict):
        return dataloader
    with building(f"{stage}_dataloader"):
        return runner.build_dataloader(
            dataloader, seed=runner.seed, diff_rank_seed=runner.diff_rank_seed
        )


def _node(name: str, value: Any) -> Node:
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} is a loop or a config of one, got {value!r}")
    return value

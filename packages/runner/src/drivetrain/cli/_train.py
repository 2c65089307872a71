"""``drivetrain train``: build a runner from a config, train, test, report."""

from __future__ import annotations

import logging
import os
import shlex
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from drivetrain.checkpoint import (
    CheckpointContentError,
    CheckpointCorruptError,
    CheckpointFolder,
    StateDictMismatchError,
    UnknownSchemeError,
    UnsafeCheckpointError,
)
from drivetrain.cli._arguments import (
    command_prefix,
    default_work_dir,
    load_config,
    short_path,
)
from drivetrain.cli._failures import USAGE, exit_code_of, is_debug, is_explained, message_of
from drivetrain.cli._report import RunReport
from drivetrain.cli._strategy import use_strategy
from drivetrain.config import Config
from drivetrain.dist import (
    broadcast_object,
    consequence_line,
    infer_launcher,
    is_main_process,
    record_failure,
)
from drivetrain.fileio import UnknownBackendError
from drivetrain.registry import RUNNERS
from drivetrain.runner import NothingToResumeError, Runner, RunnerConfigError, TrainingInterrupted
from drivetrain.runner._log_file import log_to_file
from drivetrain.runner.hooks import InterruptHook, ProgressHook
from drivetrain.runner.hooks._hook import Hook

#: What the file that a run was told to begin with may turn out to be.
_NO_CHECKPOINT = (
    CheckpointCorruptError,
    CheckpointContentError,
    UnsafeCheckpointError,
    UnknownSchemeError,
    UnknownBackendError,
    StateDictMismatchError,
)


def run_training(
    config: str,
    overrides: Sequence[str],
    *,
    work_dir: str | None,
    resume: bool,
    load_from: str | None,
    launch: int | None,
    launcher: str | None,
    strategy: str | None,
    amp: bool,
    auto_scale_lr: bool,
    run_test: bool,
) -> None:
    """Train the model of ``config``; then test its best checkpoint, and say what came of it."""
    with failures_recorded():
        cfg = load_config(config, overrides, import_custom_modules=True)
        cfg.work_dir = work_dir or default_work_dir(cfg)
        set_launcher(cfg, launcher)
        if strategy:
            use_strategy(cfg, strategy)
        if amp:
            _use_amp(cfg)
        if auto_scale_lr:
            _use_auto_scale_lr(cfg)
        if load_from is not None or resume:
            # Resuming goes on with this run's state, not with the weights that it began from.
            cfg.load_from = load_from
        if resume:
            cfg.resume = True
            _require_checkpoint(cfg)
        elif _is_restart() and CheckpointFolder(cfg.work_dir).latest() is not None:
            cfg.resume, cfg.load_from = True, None
        runner = build_runner(cfg)
        started_s = time.monotonic()
        with live(runner, InterruptHook()):
            flags = {"--amp": amp, "--auto-scale-lr": auto_scale_lr, "--no-test": not run_test}
            given = [config, *overrides, *(name for name, on in flags.items() if on)]
            given += ["--strategy", strategy] if strategy else []
            _train(runner, given)
            trained_s = time.monotonic() - started_s
            metrics = _test_best(runner) if run_test else None
        if is_main_process():
            RunReport(runner, config, trained_s, metrics).show()


def build_runner(cfg: Config) -> Runner:
    """The runner that the config asks for by ``runner_type``, else a ``Runner``."""
    runner_class: Any = RUNNERS.get(cfg.runner_type) if cfg.get("runner_type") else Runner
    if runner_class is None:
        raise RunnerConfigError(f"runner_type: no {cfg.runner_type!r} in registry 'runner'")
    return runner_class.from_cfg(cfg)


def set_launcher(cfg: Config, launcher: str | None) -> None:
    """Take the launcher from the command line, or the config, or the environment."""
    cfg.launcher = launcher or cfg.get("launcher") or infer_launcher()


@contextmanager
def failures_recorded() -> Iterator[None]:
    """Tell the launcher of this process, if there is one, what ended it."""
    try:
        yield
    except (KeyboardInterrupt, TrainingInterrupted):
        raise
    except Exception as err:
        if isinstance(err, _NO_CHECKPOINT):
            err.exit_code = USAGE  # type: ignore[union-attr]  # exit_code_of looks for it
        code, debug = exit_code_of(err), is_debug(click.get_current_context().find_root().obj)
        text = message_of(err) if is_explained(err) and not debug else None
        is_first = record_failure(err, exit_code=code, text=text)
        if "TORCHELASTIC_ERROR_FILE" in os.environ:
            sys.exit(code)  # the launcher shows the error of the rank that failed first, once
        if not is_first:
            click.echo(consequence_line(err), err=True)
            sys.exit(code)
        raise


@contextmanager
def live(runner: Runner, *hooks: Hook) -> Iterator[None]:
    """Show the run on the terminal, with ``hooks`` added; give terminal and signals back after."""
    for hook in (ProgressHook(), *hooks):
        runner.register_hook(hook)
    try:
        yield
    except Exception:
        _write_traceback_to_log(runner)
        raise
    finally:
        for hook in runner.hooks:
            close = getattr(hook, "close", None)
            if close is not None:
                close()


def _train(runner: Runner, given: Sequence[str]) -> None:
    """Train; if that is stopped, say how to go on with what was ``given`` on the command line."""
    try:
        runner.train()
    except TrainingInterrupted as stop:
        if is_main_process():
            work_dir = short_path(runner.work_dir)
            words = ["drivetrain", "train", *given, "--work-dir", work_dir, "--resume"]
            if os.environ.get("LOCAL_WORLD_SIZE") == str(runner.world_size) and runner.distributed:
                words += ["--launch", str(runner.world_size)]
            click.echo(f"\nStopped at iteration {runner.progress.iter}. State: {stop.checkpoint}")
            click.echo(f"Go on:  {command_prefix()}{shlex.join(words)}")
        sys.exit(stop.exit_code)


def _test_best(runner: Runner) -> dict[str, float] | None:
    """Metrics of the best checkpoint on the test data; of the last state where there is none."""
    if runner.test_loop is None:
        return None
    best = broadcast_object(runner.message_hub.get_info("best_ckpt"))
    if best is not None:
        runner.load_checkpoint(best)
    return runner.test()


def _require_checkpoint(cfg: Config) -> None:
    """Refuse to start afresh where the user wants to go on."""
    if cfg.get("load_from"):
        return
    folder = CheckpointFolder(cfg.work_dir)
    if folder.latest() is not None:
        return
    passed_over = "".join(f"\n  Passed over {path}: {reason}" for path, reason in folder.skipped)
    raise NothingToResumeError(
        f"--resume: there is no checkpoint in {cfg.work_dir}.{passed_over}\n"
        "  Leave --resume out to start from the beginning, or name another --work-dir."
    )


def _is_restart() -> bool:
    """Whether an elastic launcher started this process again, after some rank had failed."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def _use_amp(cfg: Config) -> None:
    kind = cfg.optim_wrapper.get("type", "OptimWrapper")
    if kind not in ("OptimWrapper", "AmpOptimWrapper"):
        raise RunnerConfigError(
            f"--amp: works with OptimWrapper, but optim_wrapper.type is {kind!r}"
        )
    cfg.optim_wrapper.type = "AmpOptimWrapper"
    cfg.optim_wrapper.setdefault("loss_scale", "dynamic")


def _use_auto_scale_lr(cfg: Config) -> None:
    scale = cfg.get("auto_scale_lr")
    if scale is None or "base_batch_size" not in scale:
        raise RunnerConfigError(
            "--auto-scale-lr: the config says for which batch size its learning rate is meant\n"
            "  in auto_scale_lr = dict(base_batch_size=...); it does not."
        )
    scale.enable = True


def _write_traceback_to_log(runner: Runner) -> None:
    """Keep the traceback with the run; what a person sees is decided at the top."""
    log_to_file(runner.logger, f"The run failed.\n{traceback.format_exc()}", logging.ERROR)

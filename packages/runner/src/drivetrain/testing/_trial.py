"""One training of a proof, in a process of its own."""

from __future__ import annotations

import os
import socket
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drivetrain.config import Config, apply_overrides
from drivetrain.registry import RUNNERS
from drivetrain.runner import Runner
from drivetrain.testing._recorder import EnoughSteps, Recorder

_KILLED = -9


@dataclass(frozen=True)
class Trial:
    """What one training of a proof does.

    Attributes:
        config: Path of the config file.
        overrides: Changes to it, as on the command line.
        folder: Where everything that the training writes goes.
        name: Name of the training; those with equal work dirs continue each other.
        work_dir: Its work dir, inside ``folder``.
        steps: Iteration after which it stops.
        save_after: Iteration after which it saves; it is killed in the next one.
        resume: Whether it goes on from the newest checkpoint.
        ranks: Number of processes.
    """

    config: str
    overrides: tuple[str, ...]
    folder: Path
    name: str
    work_dir: str
    steps: int
    save_after: int | None = None
    resume: bool = False
    ranks: int = 1

    def trace(self, rank: int) -> Path:
        """File in which a rank writes its steps down."""
        return self.folder / f"{self.name}_{rank}.jsonl"

    def output(self, rank: int) -> Path:
        """File with what a rank printed."""
        return self.folder / f"{self.name}_{rank}.txt"


def run_trial(trial: Trial, rank: int, port: int) -> None:
    """Train in this process."""
    cfg = Config.fromfile(trial.config)
    apply_overrides(cfg, list(trial.overrides))
    _keep_inside(cfg, trial)
    if trial.ranks > 1:
        _be_rank(cfg, trial, rank, port)
    kind: Any = RUNNERS.get(cfg.runner_type) if cfg.get("runner_type") else Runner
    runner = kind.from_cfg(cfg)
    runner.register_hook(Recorder(trial.trace(rank), trial.steps, trial.save_after))
    try:
        runner.train()
    except EnoughSteps:
        pass


def _keep_inside(cfg: Config, trial: Trial) -> None:
    """Let the training write into the proof's folder only, and always with the same seed."""
    cfg.work_dir = str(trial.folder / trial.work_dir)
    cfg.launcher = "none"
    randomness = dict(cfg.get("randomness") or {})
    if randomness.get("seed") is None:
        randomness["seed"] = 0
    cfg.randomness = randomness
    if trial.resume:
        cfg.resume, cfg.load_from = True, None
    else:
        cfg.resume = False
    if isinstance(cfg.get("visualizer"), dict):
        cfg.visualizer.vis_backends = [{"type": "LocalVisBackend"}]
    for hook in (cfg.get("default_hooks") or {}).values():
        if isinstance(hook, dict):
            hook.pop("out_dir", None)


def _be_rank(cfg: Config, trial: Trial, rank: int, port: int) -> None:
    cfg.launcher = "pytorch"
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(trial.ranks))
    os.environ.update(LOCAL_WORLD_SIZE=str(trial.ranks))
    os.environ.update(MASTER_ADDR="localhost", MASTER_PORT=str(port))


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


def run_in_processes(trial: Trial, timeout_s: float) -> list[int]:
    """Run a trial, each rank in a process forked from this one; returns their exit codes.

    A fork takes milliseconds, a new interpreter seconds; and what was never used here, such as a
    device, begins in the child as in a new process.
    """
    port = _free_port()
    pids = [
        _forked(lambda rank=rank: run_trial(trial, rank, port), trial.output(rank))
        for rank in range(trial.ranks)
    ]
    deadline_s = time.monotonic() + timeout_s
    codes: dict[int, int] = {}
    while len(codes) < len(pids):
        for pid in pids:
            if pid in codes:
                continue
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                codes[pid] = os.waitstatus_to_exitcode(status)
                if codes[pid] != 0:  # the others would wait for it
                    deadline_s = min(deadline_s, time.monotonic() + 10.0)
        if time.monotonic() > deadline_s:
            for pid in pids:
                if pid not in codes:
                    os.kill(pid, 9)
                    os.waitpid(pid, 0)
                    codes[pid] = _KILLED
        time.sleep(0.005)
    return [codes[pid] for pid in pids]


def _forked(action: Callable[[], None], output: Path) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        target = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(target, 1)
        os.dup2(target, 2)
        action()
        code = 0
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)

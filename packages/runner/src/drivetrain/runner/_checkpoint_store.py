"""The store that a run's checkpoints are in, when it has to be told how to reach it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence

from drivetrain.checkpoint import CheckpointFolder
from drivetrain.dist import run_on_all
from drivetrain.fileio import get_file_backend
from drivetrain.runner.hooks._checkpoint import CheckpointHook
from drivetrain.runner.hooks._hook import Hook


def folder_of_run(work_dir: str, hooks: Sequence[Hook]) -> CheckpointFolder:
    """The work dir, whose pointer may lead to the ``out_dir`` of a checkpoint hook."""
    hook = _hook_with_store(hooks)
    return CheckpointFolder(work_dir, elsewhere_args=None if hook is None else hook.backend_args)


def newest_in_store(work_dir: str, hooks: Sequence[Hook]) -> CheckpointFolder | None:
    """The folder that the checkpoint hook fills, where that is not the work dir.

    A run that starts on another machine has no pointer there.
    """
    hook = _hook_with_store(hooks)
    if hook is None:
        return None
    return CheckpointFolder(hook.folder_for(work_dir), backend_args=hook.backend_args)


@contextlib.contextmanager
def within_reach(filename: str, hooks: Sequence[Hook]) -> Iterator[str]:
    """Give a path of ``filename`` that can be read without ``backend_args``; on all ranks."""
    hook = _hook_with_store(hooks)
    if hook is None or not hook.backend_args or not hook.has_in_store(filename):
        yield filename
        return
    backend = get_file_backend(filename, backend_args=hook.backend_args, enable_singleton=True)
    with contextlib.ExitStack() as stack:
        local = run_on_all(lambda: stack.enter_context(backend.get_local_path(filename)))
        yield os.fspath(local)


def _hook_with_store(hooks: Sequence[Hook]) -> CheckpointHook | None:
    for hook in hooks:
        if isinstance(hook, CheckpointHook) and hook.has_store:
            return hook
    return None

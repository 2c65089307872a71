"""Starting several processes on this machine."""

from __future__ import annotations

from collections.abc import Sequence


def launch(argv: Sequence[str], nproc: int, *, max_restarts: int = 0) -> int:
    """Run ``python <argv>`` as ``nproc`` ranks on this machine and wait for all of them.

    The ranks find each other through the variables that torchrun sets (``launcher='pytorch'``).
    When one fails, the others are ended, and the error of the one that failed first is printed
    last. The error streams of ranks other than 0 are kept in files until then.

    Args:
        argv: What to give to Python, e.g. ``["-m", "drivetrain.runner", "train", "config.py"]``.
        nproc: Number of ranks.
        max_restarts: How often all ranks are started afresh after one of them failed.

    Returns:
        0, or the exit code of the rank that failed first; 128 + number for a signal, as shells do.

    Raises:
        LauncherError: If ``nproc`` is below 1 or this process itself runs under a launcher.
    """
    # Torch's elastic machinery takes as long to import as half of this package, and a rank that
    # was started has no use for it.
    from drivetrain.dist._elastic import run_ranks

    return run_ranks(argv, nproc, max_restarts=max_restarts)

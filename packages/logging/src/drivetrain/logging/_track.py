"""Run a function over tasks, here or in worker processes, with a bar that shows how far it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import ExitStack
from typing import Any, TextIO, TypeVar

from drivetrain.logging._errors import ProgressError
from drivetrain.logging._progress_bar import ProgressBar

T = TypeVar("T")
R = TypeVar("R")


def track_progress(
    func: Callable[..., R],
    tasks: Iterable[Any],
    bar_width: int = 50,
    file: TextIO | None = None,
    **kwargs: Any,
) -> list[R]:
    """Call a function for each task, one after the other.

    Args:
        func: Called as ``func(task, **kwargs)``.
        tasks: Something with a length, or a tuple of an iterable and the number of its items.
        bar_width: Width of the bar in characters.
        file: Where the bar is written; ``sys.stdout`` by default.
        **kwargs: Passed on to ``func``.

    Returns:
        The results, in the order of the tasks.

    Raises:
        ProgressError: If the number of tasks cannot be told.
    """
    return [func(task, **kwargs) for task in track_iter_progress(tasks, bar_width, file)]


def track_iter_progress(
    tasks: Iterable[Any], bar_width: int = 50, file: TextIO | None = None
) -> Iterator[Any]:
    """Yield the tasks; one counts as done when the next is asked for.

    Args:
        tasks: Something with a length, or a tuple of an iterable and the number of its items.
        bar_width: Width of the bar in characters.
        file: Where the bar is written; ``sys.stdout`` by default.

    Raises:
        ProgressError: If the number of tasks cannot be told.
    """
    items, total = counted_tasks(tasks)
    bar = ProgressBar(total, bar_width, file=file)
    for item in items:
        yield item
        bar.update()
    bar.file.write("\n")


def track_parallel_progress(
    func: Callable[[Any], R],
    tasks: Iterable[Any],
    nproc: int,
    initializer: Callable[..., None] | None = None,
    initargs: tuple[Any, ...] | None = None,
    bar_width: int = 50,
    chunksize: int = 1,
    skip_first: bool = False,
    keep_order: bool = True,
    file: TextIO | None = None,
) -> list[R]:
    """Call a function for each task, in worker processes.

    Args:
        func: Called as ``func(task)``; it has to be importable by the workers.
        tasks: Something with a length, or a tuple of an iterable and the number of its items.
        nproc: How many workers.
        initializer: Called in each worker first.
        initargs: Its arguments.
        bar_width: Width of the bar in characters.
        chunksize: How many tasks a worker takes at once.
        skip_first: Start the clock after the first task of each worker, which may take longer.
        keep_order: Return the results in the order of the tasks, not of their completion.
        file: Where the bar is written; ``sys.stdout`` by default.

    Returns:
        The results.

    Raises:
        ProgressError: If the number of tasks cannot be told.
    """
    items, total = counted_tasks(tasks)
    warming_up = nproc * chunksize if skip_first else 0
    bar = ProgressBar(max(total - warming_up, 0), bar_width, start=not skip_first, file=file)
    results: list[R] = []
    with init_pool(nproc, initializer, initargs) as pool:
        submit = pool.imap if keep_order else pool.imap_unordered
        for result in submit(func, items, chunksize):
            results.append(result)
            if len(results) < warming_up:
                continue
            if len(results) == warming_up:
                bar.start()
                continue
            bar.update()
        pool.close()
        pool.join()
    bar.file.write("\n")
    return results


def init_pool(
    process_num: int,
    initializer: Callable[..., None] | None = None,
    initargs: tuple[Any, ...] | None = None,
) -> Any:
    """Return a ``multiprocessing`` pool of ``process_num`` workers."""
    from multiprocessing import Pool  # only who tracks in parallel needs it

    return Pool(process_num, initializer, initargs or ())


def track_progress_rich(
    func: Callable[..., R],
    tasks: Iterable[Any] = (),
    task_num: int | None = None,
    nproc: int = 1,
    chunksize: int = 1,
    description: str = "Processing",
    color: str = "blue",
) -> list[R]:
    """Call a function for each task with a bar drawn by rich, here or in worker processes.

    Args:
        func: Called as ``func(*task)`` for a tuple, ``func(task)`` for anything else. With workers
            it has to be importable by them.
        tasks: The tasks. Where ``func`` takes nothing there may be none: it is called ``task_num``
            times.
        task_num: How many tasks there are; told by ``tasks`` if that has a length.
        nproc: How many workers; 1 works here.
        chunksize: How many tasks a worker takes at once.
        description: Text before the bar.
        color: Colour of the bar, by a name that rich knows.

    Returns:
        The results, in the order of the tasks.

    Raises:
        ProgressError: If the tasks cannot be iterated, or nothing says how many there are.
        ValueError: If ``nproc`` is below 1, or ``task_num`` differs from the length of ``tasks``.
    """
    if nproc < 1:
        raise ValueError(f"track_progress_rich: nproc must be at least 1, got {nproc}")
    items, total = _rich_tasks(tasks, task_num)
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,  # heavy: who draws no bar does not pay for it
    )

    call = _Call(func)
    with ExitStack() as stack:
        # The workers come first: forked beside the drawing thread they might inherit its lock.
        pool = stack.enter_context(init_pool(nproc)) if nproc > 1 else None
        columns = (
            TextColumn("{task.description}"),
            BarColumn(complete_style=color, finished_style=color),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        progress = stack.enter_context(Progress(*columns))
        shown = progress.add_task(description, total=total)
        results: list[R] = []
        for result in map(call, items) if pool is None else pool.imap(call, items, chunksize):
            results.append(result)
            progress.advance(shown)
    return results


class _Call:
    """A function of one task, which workers can receive."""

    def __init__(self, func: Callable[..., Any]) -> None:
        self.func = func

    def __call__(self, task: Any) -> Any:
        return self.func(*task) if isinstance(task, tuple) else self.func(task)


def _rich_tasks(tasks: Iterable[Any], task_num: int | None) -> tuple[Iterable[Any], int | None]:
    if not isinstance(tasks, Iterable):
        raise ProgressError(
            f"track_progress_rich: tasks must be iterable, got {type(tasks).__name__}"
        )
    if not isinstance(tasks, Sized):
        return tasks, task_num
    if len(tasks) == 0:
        if task_num is None:
            raise ProgressError("track_progress_rich: without tasks, task_num must be given")
        return (() for _ in range(task_num)), task_num
    if task_num is not None and task_num != len(tasks):
        raise ValueError(
            f"track_progress_rich: task_num is {task_num}, but there are {len(tasks)} tasks"
        )
    return tasks, len(tasks)


def counted_tasks(tasks: Any) -> tuple[Iterable[Any], int]:
    """Return an iterable and its length.

    Raises:
        ProgressError: If the number of tasks cannot be told.
    """
    if isinstance(tasks, tuple) and len(tasks) == 2:
        items, total = tasks
        if isinstance(items, Iterable) and isinstance(total, int) and not isinstance(total, bool):
            return items, total
    if isinstance(tasks, Iterable) and isinstance(tasks, Sized):
        return tasks, len(tasks)
    raise ProgressError(
        "tasks must have a length, or be a tuple (iterable, number of items), "
        f"got {type(tasks).__name__}"
    )

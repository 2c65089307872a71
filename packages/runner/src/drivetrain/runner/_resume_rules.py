"""What a resumed run takes from its checkpoint, and what from a config that has changed since.

One rule: what was changed in the config holds from here on, everything else goes on as it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from drivetrain.checkpoint import NotPlainDataError, as_plain_data
from drivetrain.runner._errors import RunnerConfigError
from drivetrain.runner._progress import Progress

if TYPE_CHECKING:
    from drivetrain.runner._run_state import RunState

#: What a scheduler counts; all else in its state are settings.
_SCHEDULER_PROGRESS = {"last_step", "_global_step", "_last_value", "verbose"}
_SCHEDULER_PROGRESS |= {"best", "num_bad_epochs", "cooldown_counter"}

#: What becomes of a change, by the beginning of its path; the first that fits.
_EFFECTS = (
    ("seed", "not followed: a run has one seed"),
    ("world_size", "followed, at the same sample"),
    ("train_dataloader", "followed, at the same sample"),
    ("optimizer", "followed; its state goes on"),
    ("param_scheduler", "followed, as if it had been so from the start"),
    ("model", "followed, if its trained parameters fit"),
    ("", "followed"),
)

#: Parts of a config that settings do not repeat, and that shape a training.
_CONFIG_PARTS = (
    "model",
    "val_dataloader",
    "val_evaluator",
    "default_hooks",
    "custom_hooks",
    "auto_scale_lr",
)


class Change(NamedTuple):
    """A setting that is not what it was when the checkpoint was written."""

    path: str
    old: Any
    new: Any

    def __str__(self) -> str:
        effect = next(text for prefix, text in _EFFECTS if self.path.startswith(prefix))
        return f"{self.path}: {self.old} -> {self.new}  ({effect})"


def settings_of(runner: RunState) -> dict[str, Any]:
    """What shapes the training, as it is before the first step: plain data for a checkpoint."""
    loop, loader = runner.train_loop, runner.train_dataloader
    names = ("max_epochs", "max_iters", "val_interval", "val_begin")
    schedulers = [
        {"type": type(s).__name__, **_without(s.state_dict(), _SCHEDULER_PROGRESS)}
        for s in flat(runner.param_schedulers)
    ]
    settings = {
        "train_cfg": {
            "type": type(loop).__name__,
            **{name: getattr(loop, name) for name in names if hasattr(loop, name)},
        },
        "train_dataloader": {
            "batch_size": getattr(loader, "batch_size", None),
            "num_workers": getattr(loader, "num_workers", None),
            "samples": _length(getattr(loader, "dataset", None)),
        },
        "world_size": runner.world_size,
        "seed": runner.seed,
        "optimizer": list(_groups(runner.optim_wrapper)),
        "param_scheduler": schedulers,
        "accumulative_counts": getattr(runner.optim_wrapper, "_accumulative_counts", 1),
        **{name: runner.cfg[name] for name in _CONFIG_PARTS if name in runner.cfg},
    }
    return _plain(settings)


def changes_between(old: Any, new: Any, path: str = "") -> Iterator[Change]:
    """Paths at which two nests of plain data differ."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in [*old, *(key for key in new if key not in old)]:
            below = f"{path}.{key}".lstrip(".")
            yield from changes_between(old.get(key, "absent"), new.get(key, "absent"), below)
    elif isinstance(old, (list, tuple)) and isinstance(new, (list, tuple)):
        if len(old) == len(new):
            for index, pair in enumerate(zip(old, new, strict=True)):
                yield from changes_between(*pair, f"{path}[{index}]")
        else:
            yield Change(path, f"{len(old)} of them", f"{len(new)} of them")
    elif repr(old) != repr(new):  # as texts: tensors have no single truth
        yield Change(path, old, new)


def refuse_other_optimizer(old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Refuse an optimizer whose state is not that of the checkpoint's.

    Raises:
        RunnerConfigError: If class, number of groups, or parameters in a group differ.
    """
    before, now = (
        [(group["type"], group["parameters"]) for group in settings.get("optimizer", [])]
        for settings in (old, new)
    )
    if before and now and before != now:
        raise RunnerConfigError(
            "resume: the optimizer is another one than in the checkpoint, whose state it cannot "
            f"take.\n  Checkpoint: {_form(before)}\n  Now:        {_form(now)}\n"
            "  Give the optimizer that the run had; or begin a new run from its weights alone: "
            "load_from, without resume."
        )


def follow_changed_optimizer(runner: RunState, old: Mapping[str, Any]) -> None:
    """Put the settings of parameter groups that the config has changed in place of the old ones."""
    before, now = old.get("optimizer", []), runner.settings.get("optimizer", [])
    groups = list(_raw_groups(runner.optim_wrapper))
    for group, was, is_now in zip(groups, before, now, strict=False):
        for change in changes_between(was, is_now):
            if change.path in group:
                group[change.path] = change.new


def follow_new_schedules(
    runner: RunState, fresh: list[dict[str, Any]], saved: Any, progress: Progress
) -> None:
    """Bring the schedules of the config to where they would be now, had they always been so.

    Where one of them waits for a metric that cannot be known: let them go on from where the old
    ones were, with their new settings.

    Args:
        runner: The runner, with the checkpoint's optimizer.
        fresh: The parameter groups before the first step.
        saved: States of the old schedules.
        progress: How far the run is.
    """
    schedulers = flat(runner.param_schedulers)
    if any(getattr(scheduler, "need_val_args", False) for scheduler in schedulers):
        for scheduler, state in zip(schedulers, flat(saved), strict=False):
            counts = {key: state[key] for key in _SCHEDULER_PROGRESS if key in state}
            vars(scheduler).update(counts)
        return
    for group, start in zip(_raw_groups(runner.optim_wrapper), fresh, strict=False):
        group.update(start)
    length = getattr(runner.train_loop, "_batches_per_epoch", None)
    by_iter = [scheduler for scheduler in schedulers if not scheduler.by_epoch]
    if length is None:  # the whole training is one epoch
        _step(by_iter, progress.iter)
        return
    for _ in range(progress.epoch):
        _step(by_iter, length)
        _step([scheduler for scheduler in schedulers if scheduler.by_epoch], 1)
    _step(by_iter, progress.batch_in_epoch)


def _step(schedulers: list[Any], times: int) -> None:
    for _ in range(times):
        for scheduler in schedulers:
            scheduler.step()


def scheduled_values(optim_wrapper: Any) -> list[dict[str, Any]]:
    """The settings of each parameter group, also those that schedules move."""
    return [_without(group, {"params"}) for group in _raw_groups(optim_wrapper)]


def flat(schedulers: Any) -> list[Any]:
    """Schedulers of one optimizer (a list) or of several (a dict of lists)."""
    if isinstance(schedulers, Mapping):
        return [scheduler for ones in schedulers.values() for scheduler in ones]
    return list(schedulers or ())


def _raw_groups(optim_wrapper: Any) -> Iterator[dict[str, Any]]:
    groups = optim_wrapper.param_groups
    if isinstance(groups, Mapping):
        for ones in groups.values():
            yield from ones
    else:
        yield from groups


def _groups(optim_wrapper: Any) -> Iterator[dict[str, Any]]:
    """The settings of each parameter group; of what is scheduled, the value it begins with."""
    members = optim_wrapper.values() if hasattr(optim_wrapper, "values") else [optim_wrapper]
    for member in members:
        kind = type(getattr(member, "optimizer", member)).__name__
        for group in member.param_groups:
            values = {
                name: group.get(f"initial_{name}", value)
                for name, value in group.items()
                if name != "params" and not name.startswith("initial_")
            }
            yield {"type": kind, "parameters": len(group.get("params", ())), **values}


def _form(groups: list[tuple[str, int]]) -> str:
    return ", ".join(f"{kind} with {count} parameters" for kind, count in groups)


def _without(mapping: Mapping[str, Any], keys: set[str]) -> dict[str, Any]:
    return {key: value for key, value in mapping.items() if key not in keys}


def _length(dataset: Any) -> int | None:
    try:
        return len(dataset)
    except TypeError:
        return None


def _plain(value: Any) -> Any:
    """``value`` as plain data; what has no such form as its ``repr``."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    try:
        return as_plain_data(value)
    except NotPlainDataError:
        return (
            f"{value.__module__}.{value.__qualname__}"
            if isinstance(value, type)
            else (f"a {type(value).__qualname__}")
        )

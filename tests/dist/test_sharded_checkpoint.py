"""Folders of shards: written in the background, whole or absent, read by any strategy."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as torch_dist
from torch import Tensor, nn
from torch.distributed.checkpoint import FileSystemWriter

from drivetrain import dist
from drivetrain.checkpoint import AsyncCheckpointWriter, CheckpointFolder
from drivetrain.dist.strategy import (
    FSDPStrategy,
    SingleDeviceStrategy,
    _shard_folder,
    _sharded_checkpoint,
)
from drivetrain.dist.strategy._shard_folder import make_folder

SEEDED = {"randomness": {"seed": 7}}
BLOCKS = {"wrap": {"classes": ["Linear"]}}
PLAN = {
    "mesh": {"tensor": 2},
    "tensor_parallel": {r"layers\.0": "colwise", r"layers\.2": "rowwise"},
}


def _tiny() -> Any:
    import tiny_training

    return tiny_training


def _prepared(folder: str, kind: str = "sharded", **options: Any) -> Any:
    strategy: Any = FSDPStrategy(
        work_dir=os.path.join(folder, "runs"),
        state_dict_cfg=kind,
        env_kwargs=SEEDED,
        **(options or BLOCKS),
    )
    return _with_model(strategy)


def _alone(folder: Path) -> Any:
    return _with_model(SingleDeviceStrategy(work_dir=str(folder / "runs"), env_kwargs=SEEDED))


def _with_model(strategy: Any) -> Any:
    strategy.setup().prepare(
        _tiny().TinyModel((4, 6, 2)), optim_wrapper=_tiny().ADAMW, param_scheduler={"factor": 0.9}
    )
    return strategy


def _whole(strategy: Any) -> dict[str, Tensor]:
    state = strategy._bare().state_dict()
    return {
        n: (t.full_tensor() if hasattr(t, "full_tensor") else t).clone() for n, t in state.items()
    }


def _equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


# ---- in the background ------------------------------------------------------------------------


def _save_behind(folder: str, kind: str) -> Any:
    """Save in the background, and go on training at once: the save must not see that."""
    finished: list[str] = []
    with _tiny().tiny_builders():
        strategy = _prepared(folder, kind)
        _tiny().train(strategy, range(2))
        expected = _whole(strategy)
        with AsyncCheckpointWriter(folder) as writer:
            path = os.path.join(folder, "step_2")
            strategy.save_checkpoint(path, background=writer, then=finished.append)
            _tiny().train(strategy, range(2, 4))
        end = _whole(strategy)
        resumed = _prepared(folder, kind)
        resumed.resume(path)
        assert _equal(_whole(resumed), expected)
        _tiny().train(resumed, range(2, 4))
        return _equal(_whole(resumed), end), finished


@pytest.mark.parametrize("kind", ["sharded", "local", "full"])
def test_a_save_in_the_background_holds_the_state_of_its_call(
    ranks: Any, tmp_path: Path, kind: str
) -> None:
    path = str(tmp_path / "step_2")
    assert ranks(_save_behind, str(tmp_path), kind) == [(True, [path]), (True, [])]
    assert CheckpointFolder(tmp_path).verify("step_2").size_bytes > 0
    if kind != "full":
        files = json.loads((tmp_path / "step_2" / "manifest.json").read_text())["files"]
        assert len(files) >= 3


# The rank that fails, and what it fails in.
FAILURES: dict[str, tuple[int, Any, str]] = {
    "folder": (0, _shard_folder, "_fresh_folder"),
    "rest": (0, _sharded_checkpoint, "_write_rest"),
    "shard": (1, FileSystemWriter, "write_data"),
    "manifest": (0, _shard_folder, "seal_folder"),
}


def _fail(what: str, folder: str) -> str:
    rank, module, step = FAILURES[what]
    with _tiny().tiny_builders():
        strategy = _prepared(folder)
        writer = AsyncCheckpointWriter(folder)
        original = getattr(module, step)
        if dist.get_rank() == rank:
            setattr(module, step, _full_disk)
        try:
            strategy.save_checkpoint(os.path.join(folder, "step_0"), background=writer)
            with pytest.raises(dist.DistError if dist.get_rank() != rank else Exception) as caught:
                writer.wait()
        finally:
            setattr(module, step, original)
        strategy.save_checkpoint(os.path.join(folder, "step_1"), background=writer)
        writer.wait()
        return str(caught.value)


def _full_disk(*args: Any, **kwargs: Any) -> None:
    raise OSError("No space left on device")


@pytest.mark.parametrize("what", FAILURES)
def test_a_rank_that_cannot_write_fails_the_save_on_all(
    ranks: Any, tmp_path: Path, what: str
) -> None:
    for text in ranks(_fail, what, str(tmp_path)):
        assert "No space left on device" in text
    assert CheckpointFolder(tmp_path).names() == ["step_1"]


# ---- what else is cut -------------------------------------------------------------------------


def _with_average(folder: str, kind: str, options: dict[str, Any]) -> bool:
    with _tiny().tiny_builders():
        strategy = _prepared(folder, kind, **options)
        average = strategy.model.sharded_copy()
        _tiny().train(strategy, range(2))

        def add(checkpoint: dict[str, Any]) -> None:
            entries = average.state_dict().items()
            checkpoint["ema_state_dict"] = {f"module.{name}": value for name, value in entries}

        path = os.path.join(folder, "averaged")
        strategy.save_checkpoint(path, callback=add)
        other = _prepared(folder, kind, **options)
        twin = other.model.sharded_copy()
        with torch.no_grad():
            for param in twin.parameters():
                param.zero_()

        def take(checkpoint: dict[str, Any]) -> None:
            entries = checkpoint["ema_state_dict"].items()
            twin.load_state_dict({name.removeprefix("module."): value for name, value in entries})

        other.resume(path, callback=take)
        pairs = zip(twin.state_dict().values(), average.state_dict().values(), strict=True)
        return all(torch.equal(a.full_tensor(), b.full_tensor()) for a, b in pairs)


@pytest.mark.parametrize("options", [BLOCKS, PLAN], ids=["shards", "tensor"])
@pytest.mark.parametrize("kind", ["sharded", "local", "full"])
def test_what_hooks_add_is_cut_too(
    ranks: Any, tmp_path: Path, kind: str, options: dict[str, Any]
) -> None:
    assert ranks(_with_average, str(tmp_path), kind, options) == [True, True]


# ---- bad input --------------------------------------------------------------------------------


def _load_into_another_model(folder: str) -> str:
    with _tiny().tiny_builders():
        _prepared(folder).save_checkpoint(os.path.join(folder, "tiny"))
        other: Any = FSDPStrategy(work_dir=folder, env_kwargs=SEEDED).setup()
        other.prepare(nn.Sequential(nn.Linear(3, 3)))
        try:
            other.load_checkpoint(os.path.join(folder, "tiny"))
        except dist.StrategyError as err:
            return str(err)
    return ""


def test_a_folder_of_another_model_is_refused(ranks: Any, tmp_path: Path) -> None:
    for text in ranks(_load_into_another_model, str(tmp_path)):
        assert "the checkpoint is of another model" in text
        assert "Expected: 0.weight, 0.bias" in text


def _save_own_parts(folder: str) -> None:
    with _tiny().tiny_builders():
        _prepared(folder, "local").save_checkpoint(os.path.join(folder, "parts"))


def test_a_folder_of_another_kind_is_refused(ranks: Any, tmp_path: Path) -> None:
    ranks(_save_own_parts, str(tmp_path))
    with (
        _tiny().tiny_builders(),
        pytest.raises(dist.StrategyError, match="is a folder that SingleDeviceStrategy cannot"),
    ):
        _alone(tmp_path).resume(str(tmp_path / "parts"))


def _save_to_a_store() -> str:
    with _tiny().tiny_builders():
        try:
            FSDPStrategy(state_dict_cfg="sharded").write_checkpoint({}, "s3://bucket/step_1")
        except dist.StrategyError as err:
            return str(err)
    return ""


def test_a_store_takes_files_only(ranks: Any) -> None:
    assert all("which only disks have" in text for text in ranks(_save_to_a_store))


def test_what_killed_saves_and_removals_left_is_swept_by_a_later_save(tmp_path: Path) -> None:
    an_hour_ago = time.time() - 3600
    for name in (".step_1.partial", ".step_2.0a1b2c3d.removed", ".step_3.partial"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "rank0.pth").write_bytes(b"")
        if name != ".step_3.partial":  # which another process may be writing now
            os.utime(tmp_path / name, (an_hour_ago, an_hour_ago))
    make_folder(str(tmp_path / "step_4"), [])
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".step_3.partial", "step_4"]


# ---- killed -----------------------------------------------------------------------------------


def _die(*args: Any, **kwargs: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _after(action: Callable[..., Any]) -> Callable[..., None]:
    def run(*args: Any, **kwargs: Any) -> None:
        action(*args, **kwargs)
        _die()

    return run


def _halfway(tensors: Any, group: Any, path: str) -> None:
    """Die while the data file is partly written."""
    with open(os.path.join(path, f"__{dist.get_rank()}_0.distcp"), "wb") as file:
        file.write(b"half of a shard")
    _die()


# Of the rank that dies: what it does in place of a step of the save.
MOMENTS: dict[str, tuple[int, Any, str, Callable[..., Any]]] = {
    "before it makes the folder": (0, _shard_folder, "_fresh_folder", _die),
    "after it made the folder": (
        0,
        _shard_folder,
        "_fresh_folder",
        _after(_shard_folder._fresh_folder),
    ),
    "in its shard, rank 0": (0, _sharded_checkpoint, "_write_tensors", _halfway),
    "in its shard, rank 1": (1, _sharded_checkpoint, "_write_tensors", _halfway),
    "before the manifest": (0, _shard_folder, "seal_folder", _die),
    "after the manifest": (0, _shard_folder, "seal_folder", _after(_shard_folder.seal_folder)),
    "right after the end": (0, _shard_folder, "_publish", _after(_shard_folder._publish)),
}


def _save_and_die(rank: int, folder: str, moment: str, in_background: bool, name: str) -> None:
    torch_dist.init_process_group(
        "gloo",
        store=torch_dist.FileStore(os.path.join(folder, "store"), 2),
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=10),
    )
    writer = AsyncCheckpointWriter(folder) if in_background else None
    pointer = CheckpointFolder(folder).set_latest
    with _tiny().tiny_builders():
        strategy = _prepared(folder)
        _tiny().train(strategy, range(1))
        strategy.save_checkpoint(os.path.join(folder, "step_1"), then=pointer)
        who, module, step, instead = MOMENTS[moment]
        if rank == who:
            setattr(module, step, instead)
        _tiny().train(strategy, range(1, 2))
        strategy.save_checkpoint(os.path.join(folder, name), background=writer, then=pointer)
        if writer is not None:
            writer.wait()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["step_2", "step_1"], ids=["new", "replaced"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_rank_killed_while_it_saves_leaves_a_good_checkpoint(
    tmp_path: Path, moment: str, name: str
) -> None:
    context = multiprocessing.get_context("fork")
    in_background = name == "step_2"
    victim = MOMENTS[moment][0]
    processes = [
        context.Process(
            target=_save_and_die, args=(rank, str(tmp_path), moment, in_background, name)
        )
        for rank in range(2)
    ]
    for process in processes:
        process.start()
    processes[victim].join(60)
    assert processes[victim].exitcode == -signal.SIGKILL
    processes[1 - victim].kill()
    processes[1 - victim].join()
    with _tiny().tiny_builders():
        strategy = _alone(tmp_path)
        latest = CheckpointFolder(tmp_path).latest()
        assert latest is not None
        strategy.resume(latest)
        steps = strategy.param_schedulers[0].steps
        # The pointer moves to a new one after its end.
        assert steps == (2 if (moment, name) == ("right after the end", "step_1") else 1)
        expected = _alone(tmp_path)
        _tiny().train(expected, range(steps))
    for weight_name, weight in _whole(expected).items():
        torch.testing.assert_close(_whole(strategy)[weight_name], weight, rtol=0, atol=1e-6)

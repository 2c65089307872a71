"""drivetrain checkpoint ls, show, verify, export."""

from __future__ import annotations

import json
import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as torch_dist
from torch import nn
from torch.distributed.checkpoint.metadata import _MEM_FORMAT_ENCODING, StorageMeta

from drivetrain.checkpoint import CheckpointFolder, load_checkpoint, load_safetensors, seal_folder
from drivetrain.cli import main
from drivetrain.dist.strategy import FSDPStrategy
from drivetrain.runner.hooks import Hook

Answer = tuple[int, str, str]


class Scores(Hook):
    """Better in each epoch, but for the last one."""

    priority = "VERY_HIGH"

    def __init__(self) -> None:
        self.scores = iter([0.2, 0.5, 0.4])

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        assert metrics is not None
        metrics["acc"] = next(self.scores)


@pytest.fixture
def run_dir(make_runner: Callable[..., Any], tmp_path: Path) -> Path:
    """Checkpoints of three epochs, with averaged weights and a best one."""
    hook = {"type": "CheckpointHook", "interval": 1, "save_best": "acc"}
    make_runner(
        train_cfg={"by_epoch": True, "max_epochs": 3},
        default_hooks={"checkpoint": hook},
        custom_hooks=[
            {"type": "EMAHook"},
            Scores(),
            {"type": "EarlyStoppingHook", "monitor": "acc"},
        ],
    ).train()
    return tmp_path / "work"


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Exit code, stdout and stderr of a command."""

    def run(*words: object) -> Answer:
        capsys.readouterr()
        argv, sys.argv = sys.argv, ["drivetrain", "checkpoint", *map(str, words)]
        try:
            with pytest.raises(SystemExit) as stop:
                main()
        finally:
            sys.argv = argv
        out = capsys.readouterr()
        return int(stop.value.code or 0), out.out, out.err

    return run


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def test_ls_shows_where_each_stands_and_which_is_the_latest_and_the_best(
    run_dir: Path, call: Callable[..., Answer]
) -> None:
    code, out, _ = call("ls", run_dir)
    head, *lines = out.splitlines()
    row = {line.split()[0]: line for line in lines}

    assert code == 0
    assert head.split() == ["NAME", "STEP", "EPOCH", "SIZE", "SAVED", "STATE"]
    assert row["epoch_3.pth"].split()[1:3] == ["15", "3"]
    assert row["epoch_3.pth"].endswith("good; latest")
    assert row["best_acc_epoch_2.pth"].endswith("good; best acc 0.5")
    assert len(row) == 4


def test_ls_says_what_is_broken_and_why_and_what_a_run_would_take_instead(
    run_dir: Path, call: Callable[..., Answer]
) -> None:
    cut(run_dir / "epoch_3.pth")
    code, out, _ = call("ls", run_dir, "--json")
    rows = {row["name"]: row for row in json.loads(out)}

    assert code == 0
    assert not rows["epoch_3.pth"]["good"]
    assert "its manifest says" in rows["epoch_3.pth"]["problem"]
    assert [name for name, row in rows.items() if row["latest"]] == ["epoch_2.pth"]
    assert rows["epoch_1.pth"]["step"] == 5


def test_ls_lists_files_of_other_programs_too(tmp_path: Path, call: Callable[..., Answer]) -> None:
    torch.save({"state_dict": {}, "meta": {"epoch": 7, "iter": 70}}, tmp_path / "theirs.pth")
    torch.save([nn.Linear(1, 1)], tmp_path / "unsafe.pth")
    _, out, _ = call("ls", tmp_path, "--json")
    rows = {row["name"]: row for row in json.loads(out)}

    assert (rows["theirs.pth"]["epoch"], rows["theirs.pth"]["good"]) == (7, True)
    assert "not plain data" in rows["unsafe.pth"]["problem"]


def test_ls_follows_the_pointer_into_a_store(
    make_runner: Callable[..., Any], tmp_path: Path, call: Callable[..., Answer]
) -> None:
    hook = {"type": "CheckpointHook", "interval": 1, "out_dir": "memory://listed"}
    make_runner(default_hooks={"checkpoint": hook}).train()

    _, out, _ = call("ls", tmp_path / "work")

    assert "memory://listed/work/epoch_2.pth" in out
    assert "good; latest" in out


def test_show_tells_progress_weights_optimizer_and_the_rest(
    run_dir: Path, call: Callable[..., Answer]
) -> None:
    code, out, _ = call("show", run_dir / "epoch_3.pth")

    assert code == 0
    assert "verified by sha256" in out
    for text in ("layers.0.weight", "(8, 4)", "float32", "averaged", "momentum_buffer", "lr="):
        assert text in out
    for entry in ("message_hub", "hooks", "random_state", "progress"):
        assert entry in out


def test_show_gives_all_of_it_as_json(run_dir: Path, call: Callable[..., Answer]) -> None:
    facts = json.loads(call("show", run_dir / "epoch_3.pth", "--json")[1])

    assert (facts["epoch"], facts["step"], facts["averaged"]) == (3, 15, True)
    assert facts["weights"]["layers.0.weight"] == {"shape": [8, 4], "dtype": "float32"}
    assert facts["optimizer"]["groups"][0]["momentum"] == 0.9
    assert facts["meta"]["seed"] == 3


def test_verify_tells_good_from_broken_by_its_exit_code(
    run_dir: Path, call: Callable[..., Answer]
) -> None:
    assert call("verify", run_dir)[0] == 0
    assert call("verify", run_dir / "epoch_1.pth")[0] == 0

    cut(run_dir / "epoch_1.pth")
    code, out, _ = call("verify", run_dir)

    assert code == 1
    assert sorted(line.split()[0] for line in out.splitlines()) == ["broken"] + ["good"] * 3
    assert f"broken  {run_dir / 'epoch_1.pth'}: has " in out


def test_verify_sees_a_changed_byte_in_a_file_without_a_manifest(
    tmp_path: Path, call: Callable[..., Answer]
) -> None:
    path = tmp_path / "theirs.pth"
    torch.save({"state_dict": {"w": torch.zeros(5000)}}, path)
    assert call("verify", path)[0] == 0

    with open(path, "r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"x")

    code, out, _ = call("verify", path)
    assert (code, "changed" in out) == (1, True)


def test_verify_of_an_empty_folder_is_no_success(
    tmp_path: Path, call: Callable[..., Answer]
) -> None:
    assert call("verify", tmp_path)[0] == 1


def test_export_writes_weights_that_load_with_torch_alone(
    run_dir: Path, tmp_path: Path, call: Callable[..., Answer], classifier: type[nn.Module]
) -> None:
    source = torch.load(run_dir / "epoch_3.pth", weights_only=True)

    assert call("export", run_dir / "epoch_3.pth", tmp_path / "w.pth")[0] == 0

    weights = torch.load(tmp_path / "w.pth", weights_only=True)
    assert list(weights) == list(source["state_dict"])
    assert torch.equal(weights["layers.0.weight"], source["state_dict"]["layers.0.weight"])
    classifier().load_state_dict(weights)


def test_export_gives_the_averaged_weights_or_those_as_trained(
    run_dir: Path, tmp_path: Path, call: Callable[..., Answer]
) -> None:
    source = torch.load(run_dir / "epoch_3.pth", weights_only=True)
    averaged, trained = tmp_path / "a.safetensors", tmp_path / "t.safetensors"

    call("export", "--ema", run_dir / "epoch_3.pth", averaged)
    call("export", "--no-ema", run_dir / "epoch_3.pth", trained)

    name = "layers.0.weight"
    assert torch.equal(load_safetensors(str(averaged))[name], source["state_dict"][name])
    expected = source["ema_state_dict"][f"module.{name}"]
    assert torch.equal(load_safetensors(str(trained))[name], expected)
    assert not torch.equal(expected, source["state_dict"][name])


def test_export_takes_a_part_under_its_own_names(
    run_dir: Path, tmp_path: Path, call: Callable[..., Answer]
) -> None:
    call("export", run_dir / "epoch_3.pth", tmp_path / "part.pth", "--prefix", "layers.0")
    assert list(torch.load(tmp_path / "part.pth", weights_only=True)) == ["weight", "bias"]


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """A checkpoint that is a folder, of one process."""
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
    torch_dist.init_process_group("gloo", store=torch_dist.HashStore(), rank=0, world_size=1)
    try:
        strategy = FSDPStrategy(work_dir=str(tmp_path / "work"), state_dict_cfg="sharded")
        strategy.prepare(nn.Linear(4, 3), optim_wrapper={"optimizer": {"type": "AdamW"}})
        folder = tmp_path / "iter_5.pth"
        strategy.save_checkpoint(str(folder), extra_ckpt={"meta": {"iter": 5, "epoch": 1}})
    finally:
        torch_dist.destroy_process_group()
    return folder


def test_folders_of_shards_are_listed_shown_verified_and_exported(
    shards: Path, call: Callable[..., Answer]
) -> None:
    row = json.loads(call("ls", shards.parent, "--json")[1])[0]
    assert (row["name"], row["step"], row["good"]) == ("iter_5.pth", 5, True)
    facts = json.loads(call("show", shards, "--json")[1])
    assert facts["weights"]["weight"] == {"shape": [3, 4], "dtype": "float32"}
    assert call("verify", shards)[0] == 0

    code, _, err = call("export", shards, shards.parent / "whole.pth")

    assert code == 0, err
    model = nn.Linear(4, 3)
    load_checkpoint(model, str(shards.parent / "whole.pth"), strict=True, logger="silent")
    assert call("export", shards, shards.parent / "all.pth", "--all")[0] == 0
    everything = torch.load(shards.parent / "all.pth", weights_only=True)
    assert torch.equal(everything["state_dict"]["weight"], model.weight)
    assert everything["meta"]["iter"] == 5
    assert everything["optimizer"]["param_groups"][0]["params"] == [0, 1]
    (shards / "rest.pth").write_bytes(b"")
    assert call("verify", shards)[0] == 1


MISTAKES = {
    "no folder": (["ls", "gone"], 2, "gone: there is no such folder"),
    "a file to ls": (["ls", "work/epoch_1.pth"], 2, "drivetrain checkpoint show"),
    "no file": (["show", "work/epoch_9.pth"], 2, "there is no such file"),
    "a folder to show": (["show", "work"], 2, "drivetrain checkpoint ls"),
    "nothing to verify": (["verify", "gone.pth"], 2, "there is no such file"),
    "no such part": (["export", "work/epoch_1.pth", "a.pth", "--prefix", "head"], 1, "layers"),
    "another format": (["export", "work/epoch_1.pth", "a.onnx"], 2, "safetensors"),
    "onto itself": (["export", "work/epoch_1.pth", "work/epoch_1.pth"], 2, "itself"),
    "all, and a part": (["export", "work/epoch_1.pth", "a.pth", "--all", "--ema"], 2, "--ema"),
    "all as weights": (["export", "work/epoch_1.pth", "a.safetensors", "--all"], 2, ".pth or .pt"),
    "no file to write": (["export", "work/epoch_1.pth"], 2, "Missing argument 'OUT'"),
}


def test_enumerations_as_python_3_11_0_to_3_11_3_write_them_are_read(
    shards: Path, call: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = pickle.loads((shards / ".metadata").read_bytes())
    by_name = lambda member, protocol: (getattr, (type(member), member.name))  # noqa: E731
    monkeypatch.setattr(_MEM_FORMAT_ENCODING, "__reduce_ex__", by_name)
    (shards / ".metadata").write_bytes(pickle.dumps(table))
    monkeypatch.undo()
    assert b"getattr" in (shards / ".metadata").read_bytes()
    (shards / "manifest.json").unlink()
    seal_folder(shards)
    code, _, err = call("export", shards, shards.parent / "out.pth")
    assert code == 0, err


def test_a_mistake_is_one_screen_with_its_exit_code(
    run_dir: Path, call: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run_dir.parent)
    for words, code, text in MISTAKES.values():
        got, _, err = call(*words)
        assert (got, text in err, "Traceback" in err) == (code, True, False), (words, err)
        assert len(err.splitlines()) <= 10


def test_a_file_that_would_run_code_is_refused(tmp_path: Path, call: Callable[..., Answer]) -> None:
    torch.save({"state_dict": {}, "model": nn.Linear(1, 1)}, tmp_path / "unsafe.pth")
    for words in (["show", "unsafe.pth"], ["export", "unsafe.pth", str(tmp_path / "out.pth")]):
        code, _, err = call(words[0], tmp_path / words[1], *words[2:])
        assert (code, "not plain data" in err) == (1, True)
    assert not (tmp_path / "out.pth").exists()


@pytest.mark.parametrize("way", ["a call", "an attribute of a class"])
def test_a_folder_whose_table_of_contents_would_run_code_is_refused(
    shards: Path, call: Callable[..., Answer], way: str
) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            if way == "a call":
                return os.mkdir, (str(shards.parent / "was_here"),)
            return getattr, (StorageMeta, "__subclasses__")

    (shards / ".metadata").write_bytes(pickle.dumps(Evil()))
    (shards / "manifest.json").unlink()
    seal_folder(shards)
    code, _, err = call("export", shards, shards.parent / "out.pth")

    assert (code, ("posix.mkdir" if way == "a call" else "builtins.getattr") in err) == (1, True)
    assert not (shards.parent / "was_here").exists()
    assert CheckpointFolder(shards.parent).names() == ["iter_5.pth"]

"""The command line: what it prints, what it leaves behind, and its exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from drivetrain.cli import main

MODULE = """
import torch
from torch import nn
from torch.utils.data import Dataset
from drivetrain.evaluator import BaseMetric
from drivetrain.model import BaseModel
from drivetrain.registry import DATASETS, METRICS, MODELS

@DATASETS.register_module(force=True)
class CliPoints(Dataset):
    def __init__(self, missing=None):
        if missing:
            raise FileNotFoundError(2, "No such file or directory", missing)
    def __len__(self):
        return 12
    def __getitem__(self, index):
        return {"x": torch.full((2,), float(index)), "y": torch.tensor(index % 2)}

@MODELS.register_module(force=True)
class CliNet(BaseModel):
    def __init__(self, width=4):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, width), nn.ReLU(), nn.Linear(width, 2))
    def forward(self, x, y, mode="tensor"):
        out = self.net(x)
        if mode == "loss":
            return {"loss": nn.functional.cross_entropy(out, y)}
        return list(out.argmax(1) == y)

@METRICS.register_module(force=True)
class CliAccuracy(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results += [float(hit) for hit in data_samples]
    def compute_metrics(self, results):
        return {"acc": sum(results) / len(results)}
"""

CONFIG = """
custom_imports = dict(imports=["cli_parts"])
model = dict(type="CliNet", width=4)
loader = dict(
    batch_size=4,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(type="CliPoints"),
    collate_fn=dict(type="default_collate"),
)
train_dataloader = loader
val_dataloader = loader
test_dataloader = loader
train_cfg = dict(by_epoch=True, max_epochs=2)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(optimizer=dict(type="SGD", lr=0.1))
val_evaluator = dict(type="CliAccuracy")
test_evaluator = dict(type="CliAccuracy")
default_hooks = dict(logger=dict(type="LoggerHook", interval=1))
randomness = dict(seed=0)
"""


STOPPER = """
import os
import signal
from drivetrain.runner.hooks import Hook

class Stop(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == 1:
            os.kill(os.getpid(), signal.SIGINT)
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a config and the module that it imports; it is the current one."""
    (tmp_path / "cli_parts.py").write_text(MODULE)
    (tmp_path / "tiny.py").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "cli_parts", raising=False)
    return tmp_path


def call(capsys: pytest.CaptureFixture, *words: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command."""
    argv, sys.argv = sys.argv, ["drivetrain", *words]
    try:
        with pytest.raises(SystemExit) as stop:
            main()
    finally:
        sys.argv = argv
    out = capsys.readouterr()
    return int(stop.value.code or 0), out.out, out.err


def test_train_leaves_logs_records_pictures_and_checkpoints(project, capsys) -> None:
    code, out, _ = call(capsys, "train", "tiny.py")
    assert code == 0
    assert "test acc" in out
    assert "drivetrain test tiny.py" in out
    run = next(path for path in (project / "work_dirs" / "tiny").iterdir() if path.is_dir())
    assert (project / "work_dirs" / "tiny" / "epoch_2.pth").is_file()
    assert (run / "run.png").read_bytes().startswith(b"\x89PNG")
    log = (run / f"{run.name}.log").read_text()
    assert "Epoch(train) [1][1/3]" in log
    assert "Epoch(val) [2][3/3]" in log
    records = [json.loads(x) for x in (run / "vis_data" / "scalars.json").read_text().splitlines()]
    assert [r["step"] for r in records if r.get("mode") == "train"] == [1, 2, 3, 4, 5, 6]
    assert [r["step"] for r in records if r.get("mode") == "val"] == [3, 6]


def test_overrides_reach_the_run_in_both_spellings(project, capsys) -> None:
    words = ["train", "tiny.py", "train_cfg.max_epochs=1", "--cfg-options", "model.width=7"]
    code, _, _ = call(capsys, *words, "--no-test")
    dumped = (project / "work_dirs" / "tiny" / "tiny.py").read_text()
    assert code == 0
    assert "max_epochs=1" in dumped
    assert "width=7" in dumped


def test_test_and_val_take_the_newest_checkpoint_by_default(project, capsys) -> None:
    call(capsys, "train", "tiny.py", "--no-test")
    for stage in ("val", "test"):
        code, out, _ = call(capsys, stage, "tiny.py")
        assert code == 0
        assert f"{stage} metrics of" in out
        assert "epoch_2.pth" in out


def test_resume_goes_on_with_the_run_though_the_config_names_weights_to_begin_from(
    project, capsys
) -> None:
    call(capsys, "train", "tiny.py", "--no-test", "train_cfg.max_epochs=1")
    weights = "+load_from=work_dirs/tiny/epoch_1.pth"
    call(capsys, "train", "tiny.py", "--no-test", weights)
    code, out, _ = call(capsys, "train", "tiny.py", "--no-test", weights, "--resume")
    assert code == 0
    assert "epoch_2.pth: epoch 2, iteration 6" in out
    assert "This training is finished" in out


def test_the_commands_to_type_next_are_quoted(project, capsys) -> None:
    words = ["--work-dir", "my runs", "default_hooks.logger.interval=2", "--no-test"]
    _, out, _ = call(capsys, "train", "tiny.py", *words)
    assert "tensorboard --logdir 'my runs'" in out


def test_how_to_go_on_keeps_the_options_of_the_stopped_command(project, capsys) -> None:
    (project / "stopper.py").write_text(STOPPER)
    hooks = '+custom_hooks=[{"type": "stopper.Stop"}]'
    code, out, _ = call(capsys, "train", "tiny.py", hooks, "--amp", "--no-test")
    assert code == 130
    go_on = next(line for line in out.splitlines() if line.startswith("Go on:"))
    assert "--amp --no-test --work-dir work_dirs/tiny --resume" in go_on


def test_plot_draws_a_run_again(project, capsys) -> None:
    call(capsys, "train", "tiny.py", "--no-test")
    code, out, _ = call(capsys, "plot", "work_dirs/tiny", "--out", "again.png")
    assert code == 0
    assert out.strip().endswith("again.png")
    assert (project / "again.png").is_file()


def test_config_show_imports_nothing_that_the_config_names(project, capsys) -> None:
    code, out, _ = call(capsys, "config", "show", "tiny.py", "model.width=9")
    assert code == 0
    assert "width=9" in out
    assert "cli_parts" not in sys.modules


def test_registry_ls_and_show(project, capsys) -> None:
    code, out, _ = call(capsys, "registry", "ls", "hook", "--json")
    assert code == 0
    assert "CheckpointHook" in [row["name"] for row in json.loads(out)]
    code, out, _ = call(capsys, "registry", "show", "EMAHook")
    assert code == 0
    assert "begin_epoch" in out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(capsys, shell) -> None:
    code, out, _ = call(capsys, "completion", shell)
    assert code == 0
    assert "_DRIVETRAIN_COMPLETE" in out


def test_completion_knows_the_keys_of_the_config(project) -> None:
    from drivetrain.cli._arguments import complete_override

    class Context:
        params = {"config": "tiny.py"}

    assert complete_override(Context(), None, "optim") == [
        "optim_wrapper.optimizer.type=",
        "optim_wrapper.optimizer.lr=",
    ]


@pytest.mark.parametrize(
    "words",
    [[], ["train"], ["config", "show"], ["registry", "ls"], ["plot"], ["val"], ["test"]],
    ids=" ".join,
)
def test_help_is_everywhere(capsys, words) -> None:
    code, out, _ = call(capsys, *words, "--help")
    assert code == 0
    assert out.startswith("Usage: drivetrain")


MISTAKES = {
    "no such config": (["train", "nothing.py"], 2, "nothing.py"),
    "no config at all": (["train"], 2, "Missing argument 'CONFIG'"),
    "misspelt override": (["train", "tiny.py", "model.widht=3"], 2, "model.width"),
    "override without a value": (["train", "tiny.py", "model.width"], 2, "model.width"),
    "misspelt type": (["train", "tiny.py", "model.type=CliNat"], 2, "Did you mean:  'CliNet'"),
    "typo in a part used last": (
        ["train", "tiny.py", "test_evaluator.type=CliAcuracy"],
        2,
        "test_evaluator: no 'CliAcuracy'",
    ),
    "unknown argument": (["train", "tiny.py", "+model.depth=3"], 2, "takes no argument 'depth'"),
    "place of a mistake": (["train", "tiny.py", "model.type=CliNat"], 2, "tiny.py:3"),
    "nothing to resume": (["train", "tiny.py", "--resume"], 2, "there is no checkpoint in"),
    "work dir below a file": (["train", "tiny.py", "--work-dir", "tiny.py/x"], 2, "tiny.py"),
    "dataset that is not there": (
        ["train", "tiny.py", "+train_dataloader.dataset.missing=gone.csv"],
        2,
        "gone.csv",
    ),
    "weights that are not there": (
        ["train", "tiny.py", "--load-from", "gone.pth"],
        2,
        "gone.pth: there is no such file",
    ),
    "checkpoint to go on from that is not there": (
        ["train", "tiny.py", "--resume", "--load-from", "gone.pth"],
        2,
        "gone.pth: there is no such file",
    ),
    "file after --resume": (
        ["train", "tiny.py", "--resume", "gone.pth"],
        2,
        "--resume --load-from gone.pth",
    ),
    "path as resume in the config": (
        ["train", "tiny.py", "+resume=gone.pth"],
        2,
        "gone.pth: there is no such file",
    ),
    "weights in a file that is no checkpoint": (
        ["train", "tiny.py", "--load-from", "tiny.py"],
        2,
        "tiny.py: is cut, or no checkpoint",
    ),
    "weights in a file of something else": (
        ["test", "tiny.py", "list.pth"],
        2,
        "list.pth: holds a list, not a dict with weights",
    ),
    "weights in a folder of checkpoints": (
        ["train", "tiny.py", "--load-from", "runs"],
        2,
        "epoch_1.pth",
    ),
    "weights of another model": (
        ["train", "tiny.py", "--load-from", "foo.pth"],
        2,
        "the checkpoint is of another model",
    ),
    "another model than in the checkpoint": (
        ["train", "tiny.py", "model.width=5", "--resume", "--load-from", "four.pth"],
        2,
        "net.0.weight: (4, 2) in the checkpoint, (5, 2) in the model",
    ),
    "unknown level of the log": (["train", "tiny.py", "+log_level=LOUD"], 2, "no level 'LOUD'"),
    "launcher that nobody has": (["train", "tiny.py", "+launcher=foo"], 2, "'foo'"),
    "compile as a number": (["train", "tiny.py", "+compile=3"], 2, "compile is a bool"),
    "setting that nobody can follow": (
        ["train", "tiny.py", "+randomness.sed=3"],
        2,
        "unknown key 'sed'",
    ),
    "nothing to test": (["test", "tiny.py"], 2, "there is no checkpoint in"),
    "checkpoint that is not there": (["test", "tiny.py", "gone.pth"], 2, "gone.pth"),
    "nothing to plot": (["plot", "gone"], 1, "gone"),
    "unknown registry": (["registry", "ls", "hok"], 2, "hook"),
    "unknown component": (["registry", "show", "EMAHok"], 2, "EMAHook"),
}


@pytest.mark.parametrize(("words", "code", "text"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_screen_without_a_traceback(project, capsys, words, code, text) -> None:
    weights = {"net.0.weight": torch.zeros(4, 2), "net.2.bias": torch.zeros(2)}
    torch.save([1, 2], project / "list.pth")
    torch.save({"state_dict": {"foo": torch.zeros(1)}}, project / "foo.pth")
    (project / "runs").mkdir()
    torch.save({"state_dict": weights}, project / "runs" / "epoch_1.pth")
    torch.save({"state_dict": weights, "meta": {}}, project / "four.pth")
    got, _, err = call(capsys, *words)
    assert got == code, err
    assert text in err
    assert "Traceback" not in err
    assert len(err.splitlines()) <= 24


def test_debug_shows_the_traceback(project, capsys) -> None:
    code, _, err = call(capsys, "train", "tiny.py", "model.type=CliNat", "--debug")
    assert code == 2
    assert "Traceback" in err


def test_a_missing_module_names_it_and_the_way_out(project, capsys) -> None:
    (project / "cli_parts.py").write_text("import a_module_that_nobody_has\n")
    code, _, err = call(capsys, "train", "tiny.py")
    assert code == 2
    assert "a_module_that_nobody_has" in err
    assert "Traceback" not in err


def test_a_bug_in_the_users_code_shows_its_traceback_and_lands_in_the_log(project, capsys) -> None:
    module = (project / "cli_parts.py").read_text()
    (project / "cli_parts.py").write_text(module.replace("out = self.net(x)", "out = self.nett(x)"))
    code, _, err = call(capsys, "train", "tiny.py")
    assert code == 1
    assert "Traceback" in err
    assert "nett" in err
    assert "nett" in next((project / "work_dirs" / "tiny").glob("*/*.log")).read_text()


def test_help_does_not_wait_for_torch() -> None:
    code = (
        "import sys; sys.argv = ['drivetrain', '--help']\n"
        "from drivetrain.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"

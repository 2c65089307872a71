"""CheckpointHook and EarlyStoppingHook: what is kept, what goes, when it is enough."""

from __future__ import annotations

import hashlib
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from drivetrain.checkpoint import CheckpointFolder
from drivetrain.runner import MetricNotFoundError
from drivetrain.runner.hooks import CheckpointHook, EarlyStoppingHook, Hook
from drivetrain.runner.hooks._best_score import BestScore, infer_rule


def files(folder) -> list[str]:
    return sorted(path.name for path in folder.glob("*.pth"))


class Scripted(Hook):
    """Replace the metrics of each validation by the next of a list."""

    priority = "VERY_HIGH"

    def __init__(self, scores: list[dict[str, float]]) -> None:
        self.scores = iter(scores)

    def after_val_epoch(self, runner, metrics=None) -> None:
        metrics.clear()
        metrics.update(next(self.scores))


def train(make_runner, scores, max_epochs=None, hooks=(), **options):
    hook = {"type": "CheckpointHook", "interval": 1, **options}
    runner = make_runner(
        train_cfg={"by_epoch": True, "max_epochs": max_epochs or len(scores)},
        default_hooks={"checkpoint": hook},
        custom_hooks=[Scripted([s if isinstance(s, dict) else {"acc": s} for s in scores]), *hooks],
    )
    runner.train()
    return runner


PERIODS = {
    "every epoch": ({}, ["epoch_1", "epoch_2", "epoch_3", "epoch_4", "epoch_5"]),
    "every second, and the last": ({"interval": 2}, ["epoch_2", "epoch_4", "epoch_5"]),
    "the last two": ({"max_keep_ckpts": 2}, ["epoch_4", "epoch_5"]),
    "not the last": ({"interval": 2, "save_last": False}, ["epoch_2", "epoch_4"]),
    "from the third on": ({"save_begin": 3, "interval": 2}, ["epoch_3", "epoch_5"]),
    "only the last": ({"interval": -1}, ["epoch_5"]),
    "under another name": ({"interval": 4, "filename_tmpl": "e{}.pth"}, ["e4", "e5"]),
    "by iterations": ({"interval": 10, "by_epoch": False}, ["iter_10", "iter_20", "iter_25"]),
}


@pytest.mark.parametrize("async_save", [False, True], ids=["at once", "in the background"])
@pytest.mark.parametrize(("options", "expected"), PERIODS.values(), ids=PERIODS)
def test_periodic_checkpoints(make_runner, tmp_path, options, expected, async_save) -> None:
    train(make_runner, [0.1] * 5, async_save=async_save, **options)
    assert files(tmp_path / "work") == sorted(f"{name}.pth" for name in expected)


def test_a_training_by_iterations_is_one_epoch_to_a_hook_that_counts_epochs(
    make_runner, tmp_path
) -> None:
    """Who forgets ``by_epoch=False`` finds the last checkpoint, under the number of its epoch."""
    make_runner(train_cfg={"by_epoch": False, "max_iters": 12}).train()
    assert files(tmp_path / "work") == ["epoch_1.pth"]


def test_only_the_best_so_far_is_kept(make_runner, tmp_path) -> None:
    runner = train(make_runner, [0.2, 0.5, 0.4], save_best="acc")
    assert "best_acc_epoch_2.pth" in files(tmp_path / "work")
    assert "best_acc_epoch_1.pth" not in files(tmp_path / "work")
    assert runner.message_hub.get_info("best_score") == 0.5
    assert runner.message_hub.get_info("best_ckpt").endswith("best_acc_epoch_2.pth")


def test_several_metrics_each_have_their_best(make_runner, tmp_path) -> None:
    scores = [{"acc": 0.5, "err": 3.0}, {"acc": 0.4, "err": 1.0}]
    train(make_runner, scores, save_best=["acc", "err"], rule=["greater", "less"])
    kept = files(tmp_path / "work")
    assert "best_acc_epoch_1.pth" in kept
    assert "best_err_epoch_2.pth" in kept


def test_auto_takes_the_first_metric_that_is_reported(make_runner, tmp_path) -> None:
    train(make_runner, [{"val/acc": 0.5, "other": 1.0}], save_best="auto")
    assert "best_val_acc_epoch_1.pth" in files(tmp_path / "work")


def test_a_metric_that_nobody_reports_is_named_with_those_that_are(make_runner) -> None:
    with pytest.raises(MetricNotFoundError, match=r"'acuracy'.*\n.*'accuracy'"):
        train(make_runner, [{"accuracy": 0.5}], save_best="acuracy", rule="greater")


def test_a_score_that_is_not_a_number_is_never_the_best(make_runner, tmp_path) -> None:
    train(make_runner, [0.2, math.nan], save_best="acc")
    assert "best_acc_epoch_1.pth" in files(tmp_path / "work")


def test_a_validation_outside_of_training_saves_nothing(make_runner, tmp_path) -> None:
    runner = make_runner(
        default_hooks={"checkpoint": {"type": "CheckpointHook", "save_best": "acc"}}
    )
    runner.val()
    assert files(tmp_path / "work") == []


def test_checkpoints_may_go_elsewhere(make_runner, tmp_path) -> None:
    train(make_runner, [0.1], out_dir=str(tmp_path / "store"))
    assert files(tmp_path / "store" / "work") == ["epoch_1.pth"]


WRONG_OPTIONS = {
    "two placeholders": ({"filename_tmpl": "{}_{}.pth"}, "filename_tmpl"),
    "keep none": ({"max_keep_ckpts": 0}, "max_keep_ckpts"),
    "a metric twice": ({"save_best": ["acc", "acc"]}, "twice"),
    "auto with others": ({"save_best": ["auto", "acc"]}, "alone"),
    "rules that do not match": (
        {"save_best": ["acc", "mAP"], "rule": ["less"] * 3},
        "3 rules for 2",
    ),
    "a rule that is none": ({"save_best": "acc", "rule": "bigger"}, "'greater'"),
    "a name that says nothing": ({"save_best": "score"}, "give rule"),
}


@pytest.mark.parametrize(("options", "text"), WRONG_OPTIONS.values(), ids=WRONG_OPTIONS)
def test_options_that_contradict_themselves_are_refused(options, text) -> None:
    with pytest.raises(ValueError, match=text):
        CheckpointHook(**options)


RULES = {
    "acc": "greater",
    "top1": "greater",
    "coco/bbox_mAP": "greater",
    "val_loss": "less",
    "AUC": "greater",
}


@pytest.mark.parametrize(("key", "rule"), RULES.items())
def test_the_rule_follows_from_the_name(key, rule) -> None:
    assert infer_rule(key) == rule


def test_a_gain_of_min_delta_is_rounded_as_the_reference_engine_does() -> None:
    best = BestScore("acc", min_delta=0.01)
    best.value = 0.55
    assert best.is_better(0.56)  # 0.56 - 0.55 is 0.010000000000000009
    best.value = 0.56
    assert not best.is_better(0.57)  # 0.57 - 0.56 is 0.009999999999999898


def test_min_delta_counts_only_real_improvements() -> None:
    best = BestScore("loss", min_delta=0.1)
    best.value = 1.0
    assert not best.is_better(0.95)
    assert best.is_better(0.85)


def stop(scores, make_runner, **options) -> int:
    hook = EarlyStoppingHook("acc", **options)
    return train(make_runner, scores + [9.0] * 5, hooks=[hook]).epoch


STOPS = {
    "no better for two validations": ([0.5, 0.4, 0.45, 0.6], {"patience": 2, "min_delta": 0.0}, 3),
    "hardly better is no better": ([0.5, 0.55, 0.58], {"patience": 2}, 3),
    "not a number": ([0.5, math.nan], {}, 2),
    "good enough": ([0.5, 0.96], {"stopping_threshold": 0.95}, 2),
}


@pytest.mark.parametrize(("scores", "options", "epochs"), STOPS.values(), ids=STOPS)
def test_training_stops_early(make_runner, scores, options, epochs) -> None:
    assert stop(scores, make_runner, **options) == epochs


def test_an_early_stop_still_leaves_its_last_checkpoint(make_runner, tmp_path) -> None:
    hook = EarlyStoppingHook("acc", patience=1)
    train(make_runner, [0.5, 0.4, 0.1, 0.1], hooks=[hook], interval=4)
    assert files(tmp_path / "work") == ["epoch_2.pth"]


def test_patience_survives_a_resume() -> None:
    first = EarlyStoppingHook("acc", patience=3)
    first._best.value, first.wait_count = 0.7, 2
    second = EarlyStoppingHook("acc", patience=3)
    second.load_state_dict(first.state_dict())
    assert (second._best.value, second.wait_count) == (0.7, 2)


def test_what_is_published_has_the_keys_that_were_asked_for(make_runner, tmp_path) -> None:
    train(make_runner, [0.2, 0.5], save_best="acc", published_keys=["meta", "state_dict"])
    work_dir = tmp_path / "work"
    for stem in ("best_acc_epoch_2", "epoch_2"):
        (published,) = work_dir.glob(f"{stem}-????????.pth")
        assert list(torch.load(published, weights_only=True)) == ["meta", "state_dict"]
        digest = hashlib.sha256(published.read_bytes()).hexdigest()
        assert published.stem.endswith(digest[:8])


def test_a_key_that_cannot_be_published_is_named(make_runner) -> None:
    with pytest.raises(KeyError, match="have no 'weights'"):
        train(make_runner, [0.2], published_keys="weights")


def test_a_published_key_that_some_runs_lack_is_left_out(make_runner, tmp_path) -> None:
    train(make_runner, [0.2], published_keys=["state_dict", "ema_state_dict"])
    (published,) = (tmp_path / "work").glob("epoch_1-????????.pth")
    assert list(torch.load(published, weights_only=True)) == ["state_dict"]


def test_only_the_last_is_saved_also_after_an_early_stop(make_runner, tmp_path) -> None:
    hook = EarlyStoppingHook("acc", patience=1)
    train(make_runner, [0.5, 0.4, 0.1, 0.1], hooks=[hook], interval=-1)
    assert files(tmp_path / "work") == ["epoch_2.pth"]


@pytest.mark.parametrize("async_save", [False, True], ids=["at once", "in the background"])
def test_what_a_run_writes_loads_in_a_process_with_torch_alone(
    make_runner, tmp_path, async_save
) -> None:
    train(
        make_runner,
        [0.5, 0.6],
        save_best="acc",
        async_save=async_save,
        hooks=[{"type": "EMAHook"}, EarlyStoppingHook("acc")],
    )
    code = (
        "import sys, torch\n"
        "sys.modules['drivetrain'] = sys.modules['numpy'] = None\n"
        "c = torch.load(sys.argv[1], weights_only=True)\n"
        "print(*sorted(c), *sorted(c['hooks']))"
    )
    path = tmp_path / "work" / "best_acc_epoch_2.pth"
    done = subprocess.run([sys.executable, "-I", "-c", code, path], capture_output=True, text=True)

    expected = {"ema_state_dict", "message_hub", "progress", "random_state", "EarlyStoppingHook"}
    assert expected <= set(done.stdout.split()), done.stderr


def test_several_metrics_that_improve_at_once_are_saved_once_and_whole(
    make_runner, tmp_path
) -> None:
    scores = [{"acc": 0.5, "err": 3.0}]
    train(make_runner, scores, save_best=["acc", "err"], rule=["greater", "less"])
    folder = CheckpointFolder(tmp_path / "work")
    acc, err = (folder.path_of(f"best_{key}_epoch_1.pth") for key in ("acc", "err"))
    assert Path(acc).read_bytes() == Path(err).read_bytes()
    assert folder.verify(err).method == "sha256"


def test_a_resumed_run_goes_on_to_remove_what_the_first_one_wrote(make_runner, tmp_path) -> None:
    train(make_runner, [0.5, 0.6], max_keep_ckpts=2)
    hook = {"type": "CheckpointHook", "interval": 1, "max_keep_ckpts": 2}
    make_runner(
        train_cfg={"by_epoch": True, "max_epochs": 4},
        default_hooks={"checkpoint": hook},
        resume=True,
    ).train()
    assert files(tmp_path / "work") == ["epoch_3.pth", "epoch_4.pth"]


def test_a_resumed_run_knows_the_best_score_of_the_first_one(make_runner, tmp_path) -> None:
    train(make_runner, [0.9, 0.2], save_best="acc")
    hook = {"type": "CheckpointHook", "interval": 1, "save_best": "acc"}
    runner = make_runner(
        train_cfg={"by_epoch": True, "max_epochs": 3},
        default_hooks={"checkpoint": hook},
        custom_hooks=[Scripted([{"acc": 0.2}, {"acc": 0.8}])],  # it validates epoch 2 first
        resume=True,
    )
    runner.train()
    assert runner.message_hub.get_info("best_score") == 0.9
    assert [name for name in files(tmp_path / "work") if name.startswith("best")] == [
        "best_acc_epoch_1.pth"
    ]


@pytest.mark.parametrize("async_save", [False, True], ids=["at once", "in the background"])
def test_a_run_that_keeps_its_checkpoints_in_a_store_is_resumed_from_there(
    make_runner, tmp_path, async_save
) -> None:
    hook = {
        "type": "CheckpointHook",
        "interval": 1,
        "out_dir": f"memory://resumed_{async_save}",
        "max_keep_ckpts": 1,
        "save_best": "acc",
        "rule": "greater",
        "async_save": async_save,
    }
    train_cfg = {"by_epoch": True, "max_epochs": 2}
    make_runner(train_cfg=train_cfg, default_hooks={"checkpoint": dict(hook)}).train()
    train_cfg = {"by_epoch": True, "max_epochs": 3}
    runner = make_runner(train_cfg=train_cfg, default_hooks={"checkpoint": dict(hook)}, resume=True)
    runner.train()

    names = CheckpointFolder(f"memory://resumed_{async_save}/work").names()
    assert [name for name in names if name.startswith("epoch")] == ["epoch_3.pth"]
    assert runner.iter == 15


class AtStart(Hook):
    """Note the iteration that training begins at."""

    def __init__(self, seen: list[int]) -> None:
        self.seen = seen

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if not self.seen:
            self.seen.append(runner.iter)


@pytest.mark.parametrize("has_pointer", [True, False], ids=["its work dir", "another machine"])
def test_a_store_that_needs_backend_args_is_resumed_from(
    make_runner, tmp_path, has_pointer
) -> None:
    """Without the protocol in the arguments, the address is a path that no disk has."""
    hook = {
        "type": "CheckpointHook",
        "interval": 1,
        "out_dir": f"/shelf_with_{has_pointer}",
        "backend_args": {"backend": "fsspec", "protocol": "memory"},
    }
    train_cfg = {"by_epoch": True, "max_epochs": 2}
    make_runner(train_cfg=train_cfg, default_hooks={"checkpoint": dict(hook)}).train()
    if not has_pointer:
        (tmp_path / "work" / "last_checkpoint").unlink()

    train_cfg = {"by_epoch": True, "max_epochs": 3}
    runner = make_runner(train_cfg=train_cfg, default_hooks={"checkpoint": dict(hook)}, resume=True)
    resumed_at: list[int] = []
    runner.register_hook(AtStart(resumed_at))
    runner.train()

    assert not Path(hook["out_dir"]).exists()
    assert (resumed_at, runner.iter) == ([10], 15)


def test_a_checkpoint_is_no_larger_after_many_iterations_than_after_few(
    make_runner, tmp_path
) -> None:
    make_runner(
        train_cfg={"by_epoch": True, "max_epochs": 300},
        default_hooks={
            "checkpoint": {"type": "CheckpointHook", "interval": 20},
            "logger": {"type": "LoggerHook", "interval": 5},
        },
        val_dataloader=None,
        val_cfg=None,
        val_evaluator=None,
    ).train()

    sizes = {n: (tmp_path / "work" / f"epoch_{n}.pth").stat().st_size for n in (20, 40, 300)}
    assert sizes[300] <= min(sizes[20], sizes[40]) + 2048, sizes


class OtherRun(Hook):
    """What a second run on the same folder does after an epoch of this one."""

    priority = "LOWEST"

    def __init__(self, folder: CheckpointFolder, epoch: int, name: str) -> None:
        self.folder, self.epoch, self.name = folder, epoch, name

    def after_train_epoch(self, runner) -> None:
        if runner.progress.epoch == self.epoch:
            self.folder.write(self.name, {"other": True})


def test_rotation_leaves_what_another_run_wrote_in_the_same_folder(make_runner, tmp_path) -> None:
    other = CheckpointFolder(tmp_path / "work")
    hooks = [OtherRun(other, epoch=1, name="epoch_1.pth")]

    train(make_runner, [0.1, 0.2, 0.3], hooks=hooks, max_keep_ckpts=1)

    assert files(tmp_path / "work") == ["epoch_1.pth", "epoch_3.pth"]


@pytest.mark.parametrize("async_save", [False, True], ids=["at once", "in the background"])
def test_a_checkpoint_that_another_run_removes_before_the_pointer_moves_costs_no_older_one(
    make_runner, tmp_path, monkeypatch, async_save
) -> None:
    point = CheckpointFolder.set_latest

    def after_the_other_run(self: CheckpointFolder, name: str, also_in=None) -> None:
        if name == "epoch_2.pth":
            CheckpointFolder(self.path).remove(name)
        point(self, name, also_in)

    monkeypatch.setattr(CheckpointFolder, "set_latest", after_the_other_run)
    train(make_runner, [0.1, 0.2], max_keep_ckpts=1, async_save=async_save)

    assert CheckpointFolder(tmp_path / "work").latest() == str(tmp_path / "work" / "epoch_1.pth")

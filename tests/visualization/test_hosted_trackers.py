"""Trackers of services, each in the mode of its library that needs no service."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from importlib.util import find_spec

import pytest

import drivetrain.visualization as package
from drivetrain.visualization import MissingLibraryError
from drivetrain.visualization._config_values import config_dict, files_to_keep, flat

# What each tracker is made with, and what makes its library stay on this machine.
TRACKERS = {
    "AimVisBackend": ("aim", "save_dir='out'", {}),
    "ClearMLVisBackend": (
        "clearml",
        "init_kwargs=dict(project_name='p', task_name='t')",
        {"CLEARML_OFFLINE_MODE": "1"},
    ),
    "DVCLiveVisBackend": ("dvclive", "save_dir='out', init_kwargs=dict(save_dvc_exp=False)", {}),
    "MLflowVisBackend": ("mlflow", "save_dir='out', exp_name='e', params=dict(seed=1)", {}),
    "NeptuneVisBackend": ("neptune", "", {}),
    "WandbVisBackend": (
        "wandb",
        "save_dir='out', define_metric_cfg={'accuracy': 'max'}",
        {"WANDB_MODE": "offline"},
    ),
}

PROGRAM = """
import numpy as np
from drivetrain.visualization import {name}

class Config(dict):
    pretty_text = "lr = 0.1"

tracker = {name}({arguments})
tracker.add_config(Config(work_dir="work", model=dict(kind="ResNetOfTheTest", depths=[2, 3])))
for step in (10, 20):
    tracker.add_scalars(dict(mode="train", loss_of_the_test=1 / step, step=step))
tracker.add_scalar("accuracy_of_the_test", np.float32(0.5), step=20)
tracker.add_image("image_of_the_test", np.zeros((4, 6, 3), dtype=np.uint8), step=20)
assert tracker.experiment is not None
tracker.close()
tracker.close()
print("all recorded")
"""


def traces(folder, word):
    """Return the files that have a word in their text or in their name."""
    return [
        path
        for path in folder.rglob("*")
        if path.is_file() and (word in str(path) or word.encode() in path.read_bytes())
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", TRACKERS)
def test_a_run_leaves_its_traces_in_the_files_of_the_tracker(name, tmp_path):
    library, arguments, environment = TRACKERS[name]
    if find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "kept.py").write_text("kept = True")
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM.format(name=name, arguments=arguments))],
        cwd=tmp_path,
        env={**os.environ, "HOME": str(tmp_path), **environment},
        capture_output=True,
        text=True,
    )
    assert "all recorded" in result.stdout, result.stdout + result.stderr
    for word in ("loss_of_the_test", "accuracy_of_the_test"):
        assert traces(tmp_path, word), f"{word} is in no file"


@pytest.mark.parametrize("name", TRACKERS)
def test_a_tracker_without_its_library_says_how_to_install_it(name, monkeypatch):
    library = TRACKERS[name][0]
    monkeypatch.setattr("drivetrain.visualization._backend.find_spec", lambda _: None)
    with pytest.raises(MissingLibraryError, match=re.escape(f"pip install {library}")):
        getattr(package, name)(save_dir="x")


def test_the_values_of_a_config_come_by_dotted_names():
    values = config_dict({"a": {"b": (1, 2)}, "hooks": [{"type": int}], "none": None, "empty": {}})
    assert flat(values) == {
        "a.b": [1, 2],
        "hooks.0.type": "<class 'int'>",
        "none": None,
        "empty": {},
    }


def test_files_of_a_work_folder_are_chosen_by_suffix(tmp_path):
    for name in ("a.py", "b.log", "sub/c.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    assert [path.name for path in files_to_keep(tmp_path, (".py", "yaml"))] == ["a.py", "c.yaml"]
    assert files_to_keep(tmp_path, ()) == files_to_keep(None, (".py",)) == []

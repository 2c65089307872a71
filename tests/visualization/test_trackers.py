"""Trackers: what they write can be read by others, and none of them ends a run."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from drivetrain.logging import MMLogger
from drivetrain.visualization import (
    BaseVisBackend,
    DuplicateBackendError,
    LocalVisBackend,
    MissingLibraryError,
    RecordError,
    TensorboardVisBackend,
    UnknownBackendError,
    Visualizer,
    force_init_env,
)

torch = pytest.importorskip("torch")

RED = np.zeros((4, 6, 3), dtype=np.uint8) + np.array([255, 0, 0], dtype=np.uint8)


class Config:
    """What a tracker asks of a config."""

    pretty_text = "lr = 0.1\n"

    def dump(self, path, *, strict=True):
        with open(path, "w") as file:
            file.write(self.pretty_text)


def lines_of(path):
    return [json.loads(line, parse_constant=_refuse) for line in path.read_text().splitlines()]


def _refuse(constant):
    raise AssertionError(f"{constant} is no JSON")


def events_of(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return events


class Broken(BaseVisBackend):
    """A tracker whose server is down."""

    def __init__(self, save_dir=None):
        super().__init__(save_dir)
        self.calls = 0

    @property
    def experiment(self):
        return None

    def add_scalars(self, *args, **kwargs):
        self.calls += 1
        raise ConnectionError("server is down")

    def close(self):
        raise AssertionError("left out, so not closed either")


class TestLocal:
    """Files that any program reads."""

    def test_scalars_are_lines_of_json(self, tmp_path):
        tracker = LocalVisBackend(str(tmp_path))
        tracker.add_scalar("mAP", 0.6, step=3)
        tracker.add_scalars({"mode": "train", "loss": 0.5, "step": 7})
        tracker.add_scalars({"loss": 0.4}, step=8)
        assert lines_of(tmp_path / "scalars.json") == [
            {"mAP": 0.6, "step": 3},
            {"mode": "train", "loss": 0.5, "step": 7},
            {"loss": 0.4, "step": 8},
        ]

    @pytest.mark.parametrize(
        ("value", "written"),
        [
            (np.float32(0.5), 0.5),
            (torch.tensor(0.5), 0.5),
            (torch.tensor([1, 2]), [1, 2]),
            (np.array([0.5, math.nan]), [0.5, None]),
            (math.inf, None),
            (True, True),
            ({"a": (1,)}, {"a": [1]}),
        ],
        ids=str,
    )
    def test_whatever_is_recorded_is_valid_json(self, tmp_path, value, written):
        LocalVisBackend(str(tmp_path)).add_scalars({"x": value})
        assert lines_of(tmp_path / "scalars.json") == [{"x": written, "step": 0}]

    def test_a_line_is_in_the_file_before_the_tracker_is_closed(self, tmp_path):
        tracker = LocalVisBackend(str(tmp_path))
        tracker.add_scalar("loss", 1.0)
        assert len(lines_of(tmp_path / "scalars.json")) == 1

    def test_a_closed_tracker_goes_on_where_it_was(self, tmp_path):
        tracker = LocalVisBackend(str(tmp_path))
        tracker.add_scalar("loss", 1.0, step=1)
        tracker.close()
        tracker.add_scalar("loss", 0.5, step=2)
        tracker.close()
        assert [line["step"] for line in lines_of(tmp_path / "scalars.json")] == [1, 2]

    def test_scalars_can_go_to_another_file_too(self, tmp_path):
        tracker = LocalVisBackend(str(tmp_path))
        tracker.add_scalars({"loss": 1}, file_path="epoch.json")
        assert lines_of(tmp_path / "epoch.json") == lines_of(tmp_path / "scalars.json")
        with pytest.raises(RecordError, match=r"where all scalars go anyway"):
            tracker.add_scalars({"loss": 1}, file_path="scalars.json")
        with pytest.raises(RecordError, match=r"must end in \.json, got 'epoch.txt'"):
            tracker.add_scalars({"loss": 1}, file_path="epoch.txt")

    def test_an_image_is_written_as_it_is(self, tmp_path):
        tracker = LocalVisBackend(str(tmp_path))
        tracker.add_image("val/red", RED, step=5)
        tracker.add_image("gray", RED[:, :, 0])
        read = np.asarray(Image.open(tmp_path / "vis_image" / "val" / "red_5.png"))
        assert (read == RED).all()
        assert (tmp_path / "vis_image" / "gray_0.png").exists()

    @pytest.mark.parametrize(
        "image", [RED / 1.0, RED.transpose(2, 0, 1), RED[0, 0], RED * 2.5, "red"], ids=repr
    )
    def test_what_is_no_image_is_refused(self, tmp_path, image):
        with pytest.raises(RecordError, match=r"image 'x' must be a numpy array of whole numbers"):
            LocalVisBackend(str(tmp_path)).add_image("x", image)

    def test_whole_numbers_of_any_type_are_an_image(self, tmp_path):
        LocalVisBackend(str(tmp_path)).add_image("wide", RED.astype(np.int64))
        assert (np.asarray(Image.open(tmp_path / "vis_image" / "wide_0.png")) == RED).all()
        with pytest.raises(RecordError, match=r"whole numbers from 0 to 255"):
            LocalVisBackend(str(tmp_path)).add_image("bright", RED.astype(np.int64) + 1)

    def test_the_config_is_written_to_its_file(self, tmp_path):
        LocalVisBackend(str(tmp_path)).add_config(Config())
        assert (tmp_path / "config.py").read_text() == "lr = 0.1\n"

    def test_nothing_is_made_before_something_is_recorded(self, tmp_path):
        tracker = LocalVisBackend(str(tmp_path / "new"))
        assert not (tmp_path / "new").exists()
        assert tracker.experiment is tracker
        assert (tmp_path / "new").is_dir()

    def test_files_must_have_a_suffix_that_says_what_they_are(self):
        with pytest.raises(RecordError, match=r"config_save_file must end in \.py or \.json"):
            LocalVisBackend("x", config_save_file="config.txt")
        with pytest.raises(RecordError, match=r"scalar_save_file must end in \.json"):
            LocalVisBackend("x", scalar_save_file="scalars.yaml")

    def test_what_json_cannot_hold_is_refused_by_type(self, tmp_path):
        with pytest.raises(RecordError, match=r"JSON has no place for object"):
            LocalVisBackend(str(tmp_path)).add_scalars({"x": object()})
        with pytest.raises(RecordError, match=r"'x' must be one number, got shape"):
            LocalVisBackend(str(tmp_path)).add_scalar("x", np.zeros(2))


class TestTensorboard:
    """Read back by TensorBoard's own reader."""

    def test_the_records_of_the_engine_become_curves_by_phase(self, tmp_path):
        tracker = TensorboardVisBackend(str(tmp_path))
        for step in (10, 20):
            tracker.add_scalars({"mode": "train", "loss": 1 / step, "lr": 0.1, "step": step})
        tracker.add_scalars({"mode": "val", "accuracy/top1": 98.5, "epoch": 1, "step": 20})
        tracker.close()
        events = events_of(tmp_path)
        assert sorted(events.Tags()["scalars"]) == [
            "train/loss",
            "train/lr",
            "val/accuracy/top1",
            "val/epoch",
        ]
        points = [(event.step, event.value) for event in events.Scalars("train/loss")]
        assert points == [(10, pytest.approx(0.1)), (20, pytest.approx(0.05))]

    def test_numbers_of_all_kinds_are_recorded_and_texts_passed_over(self, tmp_path):
        tracker = TensorboardVisBackend(str(tmp_path))
        tracker.add_scalars({"a": torch.tensor(1.0), "b": np.int64(2), "c": "text", "d": [1, 2]}, 3)
        tracker.add_scalar("e", torch.tensor([4.0]), 3)
        tracker.close()
        events = events_of(tmp_path)
        assert sorted(events.Tags()["scalars"]) == ["a", "b", "e"]
        assert events.Scalars("b")[0].step == 3

    def test_images_and_the_config_are_recorded(self, tmp_path):
        tracker = TensorboardVisBackend(str(tmp_path))
        tracker.add_image("red", RED, step=2)
        tracker.add_image("gray", RED[:, :, 0])
        tracker.add_config(Config())
        tracker.close()
        events = events_of(tmp_path)
        (image,) = events.Images("red")
        assert (image.step, image.width, image.height) == (2, 6, 4)
        assert "gray" in events.Tags()["images"]
        (text,) = events.Tensors("config/text_summary")
        assert b"    lr = 0.1" in text.tensor_proto.string_val[0]

    def test_the_graph_of_a_model_is_recorded(self, tmp_path):
        tracker = TensorboardVisBackend(str(tmp_path))
        tracker.add_graph(torch.nn.Linear(2, 1), torch.zeros(1, 2))
        tracker.close()
        assert events_of(tmp_path).Tags()["graph"]

    def test_a_closed_tracker_can_record_again(self, tmp_path):
        tracker = TensorboardVisBackend(str(tmp_path))
        tracker.close()
        tracker.add_scalar("x", 1, 1)
        tracker.close()
        tracker.add_scalar("x", 2, 2)
        tracker.close()
        assert tracker.experiment.get_logdir() == str(tmp_path)
        tracker.close()


class TestVisualizer:
    """One object for all trackers."""

    def test_what_is_recorded_goes_to_each_tracker(self, tmp_path):
        visualizer = Visualizer(
            vis_backends=[{"type": "LocalVisBackend"}, {"type": "TensorboardVisBackend"}],
            save_dir=str(tmp_path),
        )
        visualizer.add_config(Config())
        visualizer.add_scalar("accuracy", 0.9, step=1)
        visualizer.add_scalars({"loss": 0.1}, step=1)
        visualizer.add_image("red", RED)
        visualizer.close()
        folder = tmp_path / "vis_data"
        assert len(lines_of(folder / "scalars.json")) == 2
        assert (folder / "config.py").exists()
        assert (folder / "vis_image" / "red_0.png").exists()
        assert sorted(events_of(folder).Tags()["scalars"]) == ["accuracy", "loss"]

    def test_a_failing_tracker_is_left_out_with_one_warning(self, tmp_path, capsys):
        MMLogger.get_instance("log")
        broken = Broken()
        visualizer = Visualizer(
            vis_backends=[broken, {"type": "LocalVisBackend"}], save_dir=str(tmp_path)
        )
        for step in range(3):
            visualizer.add_scalars({"loss": 1.0}, step=step)
        visualizer.close()
        assert broken.calls == 1
        assert len(lines_of(tmp_path / "vis_data" / "scalars.json")) == 3
        out = capsys.readouterr().out
        assert out.count("The tracker Broken failed in add_scalars") == 1
        assert "ConnectionError: server is down" in out

    def test_what_cannot_be_recorded_is_passed_over_and_the_tracker_goes_on(self, tmp_path, capsys):
        MMLogger.get_instance("log")
        visualizer = Visualizer(vis_backends=[{"type": "LocalVisBackend"}], save_dir=str(tmp_path))
        for step in range(3):
            visualizer.add_image("x", RED / 255)
            visualizer.add_scalar("loss", 1.0, step=step)
        assert len(lines_of(tmp_path / "vis_data" / "scalars.json")) == 3
        out = capsys.readouterr().out
        assert out.count("LocalVisBackend passed over add_image: image 'x' must be") == 1

    def test_an_unwritable_folder_does_not_end_the_run(self, tmp_path, capsys):
        MMLogger.get_instance("log")
        (tmp_path / "vis_data").write_text("a file is in the way")
        visualizer = Visualizer(vis_backends=[{"type": "LocalVisBackend"}], save_dir=str(tmp_path))
        visualizer.add_scalar("loss", 1.0)
        assert "The tracker LocalVisBackend failed in add_scalar" in capsys.readouterr().out

    def test_only_the_first_process_records(self, tmp_path, monkeypatch):
        monkeypatch.setenv("RANK", "1")
        visualizer = Visualizer(vis_backends=[{"type": "LocalVisBackend"}], save_dir=str(tmp_path))
        visualizer.add_scalar("loss", 1.0)
        visualizer.add_scalars({"loss": 1.0})
        visualizer.add_image("red", RED)
        visualizer.add_config(Config())
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        "backends",
        [
            [{"type": "LocalVisBackend", "name": "mine"}],
            {"mine": {"type": "LocalVisBackend"}},
            {"type": "LocalVisBackend", "name": "mine"},
        ],
        ids=str,
    )
    def test_a_tracker_is_found_by_its_name(self, tmp_path, backends):
        visualizer = Visualizer(vis_backends=backends, save_dir=str(tmp_path))
        assert isinstance(visualizer.get_backend("mine"), LocalVisBackend)
        with pytest.raises(UnknownBackendError, match=r"no backend 'yours'\.\n  It has: 'mine'"):
            visualizer.get_backend("yours")

    def test_two_trackers_of_one_class_need_names(self, tmp_path):
        node = {"type": "LocalVisBackend"}
        with pytest.raises(DuplicateBackendError, match=r"two backends .* 'LocalVisBackend'"):
            Visualizer(vis_backends=[node, node], save_dir=str(tmp_path))
        other = {"type": "LocalVisBackend", "save_dir": str(tmp_path / "other"), "name": "other"}
        visualizer = Visualizer(vis_backends=[node, other], save_dir=str(tmp_path))
        visualizer.add_scalar("x", 1)
        assert (tmp_path / "other" / "scalars.json").exists()

    def test_a_config_node_is_not_changed(self, tmp_path):
        node = {"type": "LocalVisBackend", "name": "mine"}
        Visualizer(vis_backends=[node], save_dir=str(tmp_path))
        assert node == {"type": "LocalVisBackend", "name": "mine"}

    def test_without_a_folder_nothing_is_recorded_and_the_log_says_so(self, capsys):
        MMLogger.get_instance("log")
        visualizer = Visualizer(vis_backends=[{"type": "LocalVisBackend"}, Broken()])
        assert list(visualizer._vis_backends) == ["Broken"]
        assert "LocalVisBackend records nothing: neither it nor" in capsys.readouterr().out

    def test_an_instance_of_a_subclass_is_found_as_a_visualizer(self):
        class DetLocalVisualizer(Visualizer):
            pass

        made = DetLocalVisualizer.get_instance("det")
        assert Visualizer.get_current_instance() is made
        assert DetLocalVisualizer.get_current_instance() is made
        assert Visualizer.get_instance("det") is made

    def test_the_dataset_meta_is_kept(self):
        visualizer = Visualizer()
        assert visualizer.dataset_meta is None
        visualizer.dataset_meta = {"classes": ("cat",)}
        assert visualizer.dataset_meta == {"classes": ("cat",)}


def test_a_tracker_without_its_library_says_what_to_install():
    class Elsewhere(Broken):
        library = "not_a_real_library"
        distribution = "not-a-real-library"

    with pytest.raises(MissingLibraryError, match=r"pip install not-a-real-library"):
        Elsewhere()


def test_what_a_tracker_writes_to_is_opened_once_and_again_after_a_failure():
    class Opening(Broken):
        opened = 0

        def _init_env(self):
            self.opened += 1
            if self.opened == 1:
                raise OSError("not yet")

        @force_init_env
        def record(self):
            return "recorded"

    tracker = Opening()
    with pytest.raises(OSError, match=r"not yet"):
        tracker.record()
    assert tracker.record() == tracker.record() == "recorded"
    assert tracker.opened == 2


def test_importing_the_package_loads_nothing_heavy():
    program = (
        "import sys, drivetrain.visualization;"
        "print([m for m in ('torch', 'matplotlib', 'PIL', 'tensorboard') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr

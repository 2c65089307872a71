"""Pictures of runs: which records they find, and what they show of them."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from PIL import Image

from drivetrain.visualization import (
    DrawingError,
    RunDataError,
    RunNotFoundError,
    image_grid,
    plot_run,
)
from drivetrain.visualization._image_grid import displayable
from drivetrain.visualization._plot_run import best_index
from drivetrain.visualization._records import only_epoch_length, read_run
from drivetrain.visualization._smoothing import smoothed


def train(step, loss=1.0, **more):
    return {
        "mode": "train",
        "lr": 0.1,
        "loss": loss,
        "epoch": 1,
        "iter": step,
        "step": step,
        **more,
    }


def val(step, accuracy):
    return {"mode": "val", "accuracy/top1": accuracy, "time": 0.1, "epoch": 1, "step": step}


def texts_of(svg):
    """Return what is written in a picture (matplotlib leaves each text as a comment)."""
    return [line.strip()[5:-4] for line in svg.read_text().splitlines() if "<!-- " in line]


RUN = [
    *(train(step, loss=2 / step, loss_cls=1 / step) for step in range(10, 1010, 10)),
    *(val(step, 90 + step / 100) for step in (100, 200, 300)),
    val(400, 91.0),
    {"mode": "test", "accuracy/top1": 92.25, "step": 400},
]


def test_a_picture_of_a_work_folder_is_made_in_it(write_run):
    folder = write_run(RUN)
    picture = plot_run(folder)
    assert picture == folder / "run.png"
    width, height = Image.open(picture).size
    assert width > 1500
    assert height > 400


def test_a_picture_says_what_the_run_reached(write_run, tmp_path):
    svg = plot_run(write_run(RUN), tmp_path / "pictures" / "run.svg")
    texts = texts_of(svg)
    for expected in (
        "work",
        "Losses",
        "loss_cls",
        "accuracy/top1",
        "top1 (%)",
        "best 93.00 at step 300",
        "test 92.25",
        "Learning rate",
        "step (iterations)",
        "1,000 steps   ·   1 epochs",
    ):
        assert expected in texts


def test_a_file_of_records_can_be_drawn(write_run):
    file = next(write_run(RUN).rglob("scalars.json"))
    assert plot_run(file) == file.with_suffix(".png")


@pytest.mark.parametrize(
    "records",
    [
        [train(1)],
        [val(1, 0.5)],
        [{"loss": 1.0, "step": 3}],
        [train(1, loss=None), train(2, loss=0.5)],
        [train(step, loss=-1.0) for step in range(50)],
        [train(step, loss=1e-30 if step else 1e30) for step in range(50)],
        [{"mode": "val", "step": 1, **{f"metric_{i}": i for i in range(9)}}],
        [train(1), {"mode": "val", "loss": 2.0, "step": 1}],
        [{"mode": "test", "accuracy": 0.0, "step": 0}],
    ],
    ids=[
        "one step", "only validation", "no mode", "a nan", "negative losses", "many decades",
        "many metrics", "validation loss", "zero",
    ],
)  # fmt: skip
def test_a_picture_can_be_made_of_little_or_strange_data(write_run, records):
    assert plot_run(write_run(records)).stat().st_size > 10_000


def test_metrics_beyond_the_sixth_are_named_below(write_run, tmp_path):
    records = [{"mode": "val", "step": 1, **{f"metric_{i}": i for i in range(8)}}]
    svg = plot_run(write_run(records), tmp_path / "run.svg")
    assert any("not shown: metric_6, metric_7" in text for text in texts_of(svg))


def test_the_newest_run_of_a_folder_counts(write_run):
    write_run([train(step, loss=9.0) for step in (10, 20)], "20260101_000000")
    folder = write_run([train(step, loss=1.0) for step in (10, 20)], "20260102_000000")
    run, file = read_run(folder)
    assert run.train["loss"].values == [1.0, 1.0]
    assert "20260102" in str(file)


def test_a_run_that_was_resumed_is_joined_with_what_came_before(write_run):
    write_run([train(step, loss=3.0) for step in (10, 20, 30, 40)], "20260101_000000")
    folder = write_run([train(step, loss=1.0) for step in (30, 40, 50)], "20260102_000000")
    run, _ = read_run(folder)
    assert run.train["loss"].steps == [10, 20, 30, 40, 50]
    assert run.train["loss"].values == [3.0, 3.0, 1.0, 1.0, 1.0]


def test_runs_with_a_gap_between_them_are_not_joined(write_run):
    write_run([train(step) for step in (10, 20)], "20260101_000000")
    folder = write_run([train(step) for step in (500, 510)], "20260102_000000")
    run, _ = read_run(folder)
    assert run.train["loss"].steps == [500, 510]


def test_a_step_that_was_run_again_counts_once(write_run):
    run, _ = read_run(write_run([train(10), train(20), train(30), train(20, loss=0.5)]))
    assert run.train["loss"].steps == [10, 20]
    assert run.train["loss"].values == [1.0, 0.5]


def test_an_unfinished_last_line_is_passed_over(write_run):
    folder = write_run([train(10)])
    file = next(folder.rglob("scalars.json"))
    file.write_text(file.read_text() + '{"mode": "train", "lo')
    assert read_run(folder)[0].train["loss"].steps == [10]


def test_missing_or_broken_records_are_refused_with_their_place(tmp_path):
    with pytest.raises(RunNotFoundError, match=r"there is no '.*nowhere'"):
        plot_run(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="no records of a run in"):
        plot_run(tmp_path)
    file = tmp_path / "scalars.json"
    file.write_text('no json\n{"a": 1}\n')
    with pytest.raises(RunDataError, match=r"scalars.json:1: this line is no JSON"):
        plot_run(file)
    file.write_text("[1]\n")
    with pytest.raises(RunDataError, match=r"scalars.json:1: a record must be a JSON object"):
        plot_run(file)
    file.write_text(json.dumps({"note": "x", "step": 1}))
    with pytest.raises(RunDataError, match="has no number to draw"):
        plot_run(file)


@pytest.mark.parametrize(
    ("name", "best"),
    [("accuracy/top1", 1), ("val_loss", 2), ("coco/bbox_mAP", 1), ("rmse", 2), ("depth", None)],
)
def test_the_name_of_a_metric_tells_which_value_is_best(name, best):
    assert best_index(name, [2.0, 3.0, 1.0, math.nan]) == best


def test_no_value_is_best_where_there_is_none():
    assert best_index("accuracy", [math.nan]) is None


def test_a_smoothed_line_stays_a_line_and_passes_over_holes():
    assert smoothed([1.0, math.nan, 1.0], span=5) == pytest.approx([1.0, 1.0, 1.0])
    assert all(math.isnan(value) for value in smoothed([math.nan] * 3, span=5))
    ramp = [float(i) for i in range(41)]
    assert smoothed(ramp, span=5) == pytest.approx(ramp, abs=1e-6)  # no delay, not at the ends
    assert smoothed([2.0], span=5) == [2.0]
    assert smoothed([2.0, math.inf, math.nan], span=5) == pytest.approx([2.0] * 3)


def test_steps_per_epoch_are_told_only_if_they_are_certain():
    assert only_epoch_length({10: 1, 40: 1, 50: 2, 1170: 30}) == 40
    assert only_epoch_length({10: 1, 30: 2}) is None
    assert only_epoch_length({}) is None


@pytest.mark.parametrize("columns", [None, 2, 20])
def test_images_stand_in_rows(tmp_path, columns):
    images = [np.random.default_rng(i).random((8, 8)) for i in range(7)]
    titles = [f"image {i}" for i in range(7)]
    out = image_grid(images, titles, tmp_path / "new" / "grid.svg", columns, heading="Seven")
    assert {*titles, "Seven"} <= set(texts_of(out))


def test_an_image_can_stand_alone_and_be_in_colour(tmp_path):
    red = np.zeros((5, 5, 3), dtype=np.uint8)
    red[:, :, 0] = 255
    out = image_grid([red], out=tmp_path / "red.png")
    pixels = np.asarray(Image.open(out).convert("RGB"))
    assert pixels[pixels.shape[0] // 2, pixels.shape[1] // 2].tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (np.array([[0.0, 0.5]]), [[0, 128]]),
        (np.array([[-1.0, 1.0]]), [[0, 255]]),
        (np.array([[7.0, 7.0]]), [[0, 0]]),
        (np.array([[math.nan, 1.0]]), [[0, 255]]),
        (np.array([[True, False]]), [[255, 0]]),
        (np.array([[300, -5]]), [[255, 0]]),
        (np.ones((1, 1, 2)), [[255, 255]]),
        (np.ones((1, 2, 1)), [[255, 255]]),
    ],
    ids=str,
)
def test_numbers_of_all_kinds_become_brightness(image, expected):
    assert displayable(image).tolist() == expected


def test_a_tensor_with_channels_first_is_an_image():
    torch = pytest.importorskip("torch")
    assert displayable(torch.ones(3, 8, 9, requires_grad=True)).shape == (8, 9, 3)


def test_what_gives_no_grid_is_refused(tmp_path):
    with pytest.raises(DrawingError, match="there is no image"):
        image_grid([], out=tmp_path / "x.png")
    with pytest.raises(DrawingError, match="1 images, but 2 titles"):
        image_grid([np.ones((2, 2))], ["a", "b"], tmp_path / "x.png")
    with pytest.raises(DrawingError, match=r"image 0 has shape \(4,\), which is no image"):
        image_grid([np.ones(4)], out=tmp_path / "x.png")


def test_validations_at_the_ends_of_epochs_tell_their_length(write_run):
    ends = [{"mode": "val", "f1": 0.5, "epoch": epoch, "step": 733 * epoch} for epoch in (1, 2, 3)]
    assert read_run(write_run([train(50), *ends]))[0].steps_per_epoch == 733


def test_the_folder_of_one_run_is_joined_with_what_it_went_on_from(write_run, tmp_path):
    write_run([train(step, loss=3.0) for step in (10, 20)], "20260101_000000")
    work = write_run([train(step) for step in (30, 40)], "20260102_000000")
    write_run([train(step) for step in (50, 60)], "20260103_000000")
    run, _ = read_run(work / "20260102_000000")
    assert run.train["loss"].steps == [10, 20, 30, 40]
    assert run.name == "work"
    assert read_run(work / "20260102_000000" / "vis_data")[0].name == "work"
    assert plot_run(work / "20260102_000000") == work / "20260102_000000" / "run.png"

"""BaseMetric and DumpResults: from batches to values."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from drivetrain.evaluator import (
    BaseMetric,
    DumpResults,
    EmptyResultsError,
    MetricOptionError,
    MetricResultError,
)
from drivetrain.fileio import load


class Accuracy(BaseMetric):
    default_prefix = "toy"

    def process(self, data_batch, data_samples):
        self.results += [s["label"] == s["predicted"] for s in data_samples]

    def compute_metrics(self, results):
        return {"accuracy": sum(results) / len(results)}


class Returning(BaseMetric):
    """Takes results as they are, and returns what it is told."""

    def __init__(self, value=None, **kwargs):
        super().__init__(**kwargs)
        self.value = value
        self.seen = None

    def process(self, data_batch, data_samples):
        self.results += list(data_samples)

    def compute_metrics(self, results):
        self.seen = results
        return {"count": len(results)} if self.value is None else self.value


GOOD, BAD = {"label": 1, "predicted": 1}, {"label": 1, "predicted": 0}


def test_values_are_computed_over_all_batches():
    metric = Accuracy()
    metric.process(None, [GOOD, BAD])
    metric.process(None, [GOOD, GOOD])
    assert metric.evaluate(4) == {"toy/accuracy": 0.75}


@pytest.mark.parametrize(
    ("prefix", "name"), [(None, "toy/accuracy"), ("mine", "mine/accuracy"), ("", "toy/accuracy")]
)
def test_names_have_the_prefix_given_or_that_of_the_class(prefix, name):
    metric = Accuracy(prefix=prefix)
    metric.process(None, [GOOD])
    assert metric.evaluate(1) == {name: 1.0}


def test_without_any_prefix_names_stay_as_they_are():
    metric = Returning()
    metric.process(None, [1])
    assert metric.evaluate(1) == {"count": 1}


def test_results_are_gone_after_an_evaluation():
    metric = Returning()
    metric.process(None, [1, 2])
    metric.evaluate(2)
    metric.process(None, [3])
    assert metric.evaluate(1) == {"count": 1}


def test_results_are_gone_after_a_failed_evaluation_too():
    metric = Returning(value=3)
    metric.process(None, [1])
    with pytest.raises(MetricResultError):
        metric.evaluate(1)
    assert metric.results == []


def test_results_beyond_the_size_are_dropped():
    metric = Returning()
    metric.process(None, [1, 2, 3])
    metric.evaluate(2)
    assert metric.seen == [1, 2]


def test_no_results_are_warned_about(capsys):
    Returning().evaluate(0)
    assert "Returning got empty `self.results`" in capsys.readouterr().out


def test_a_metric_that_fails_on_no_results_is_told_why():
    class Mean(Returning):
        def compute_metrics(self, results):
            return {"mean": sum(results) / len(results)}

    with pytest.raises(EmptyResultsError, match=r"Mean.*ZeroDivisionError.*append") as caught:
        Mean().evaluate(4)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_values_must_be_a_mapping():
    with pytest.raises(MetricResultError, match=r"Returning.compute_metrics must return a mapping"):
        Returning(value=0.5).evaluate(1)


@pytest.mark.parametrize("device", ["cuda", "gpu:0", ""])
def test_unknown_devices_are_refused(device):
    with pytest.raises(MetricOptionError, match="collect_device is 'cpu' or 'gpu'"):
        Accuracy(collect_device=device)


def test_a_folder_contradicts_collecting_on_a_gpu():
    with pytest.raises(MetricOptionError, match="needs collect_device='cpu'"):
        Accuracy(collect_device="gpu", collect_dir="x")


def test_a_metric_without_its_methods_cannot_be_made():
    class Half(BaseMetric):
        pass

    with pytest.raises(TypeError, match="abstract"):
        Half()


def test_dataset_meta_is_kept():
    metric = Accuracy()
    metric.dataset_meta = {"classes": ["a"]}
    assert metric.dataset_meta == {"classes": ["a"]}


def test_dumped_results_are_read_back(tmp_path):
    metric = DumpResults(out_file_path=str(tmp_path / "deep" / "results.pkl"))
    metric.process(None, [{"scores": torch.ones(2)}, {"scores": torch.zeros(2)}])
    assert metric.evaluate(2) == {}
    scores = [r["scores"].tolist() for r in load(tmp_path / "deep" / "results.pkl")]
    assert scores == [[1, 1], [0, 0]]


def test_dumped_results_take_what_a_model_may_return(tmp_path):
    metric = DumpResults(out_file_path=tmp_path / "results.pickle")
    metric.process(None, ({"a": [torch.ones(1)], "b": (torch.ones(1), "text")},))
    metric.evaluate(1)
    (result,) = load(tmp_path / "results.pickle")
    assert isinstance(result["b"], tuple)


@pytest.mark.parametrize("name", ["results.json", "results"])
def test_dumped_results_need_a_pickle_file(name):
    with pytest.raises(MetricOptionError, match="must be a pkl file"):
        DumpResults(out_file_path=name)


class PerSample(Returning):
    def compute_metrics(self, results):
        return {"order": results}


def _evaluated_on_a_rank(size, world_size, device, collect_dir):
    rank = torch.distributed.get_rank()
    metric = PerSample(collect_device=device, collect_dir=collect_dir)
    padded = [i % size for i in range(-(-size // world_size) * world_size)]
    metric.process(None, padded[rank::world_size])
    return metric.evaluate(size)


@pytest.mark.parametrize("world_size", [2, 3])
@pytest.mark.parametrize("how", ["cpu", "gpu", "folder"])
def test_results_of_all_ranks_are_in_the_order_of_the_dataset(on_ranks, tmp_path, world_size, how):
    """7 samples fit neither 2 nor 3 ranks: the padding must be gone, and the order whole."""
    folder = str(tmp_path / "collect") if how == "folder" else None
    device = "gpu" if how == "gpu" else "cpu"
    answers = on_ranks(world_size, _evaluated_on_a_rank, 7, world_size, device, folder)
    assert answers == [{"order": [0, 1, 2, 3, 4, 5, 6]}] * world_size


class FailsOnMain(Returning):
    def compute_metrics(self, results):
        raise ZeroDivisionError("no positives")


def _error_on_a_rank():
    metric = FailsOnMain()
    metric.process(None, [1])
    try:
        metric.evaluate(1)
    except Exception as err:
        return type(err).__name__, str(err)


def test_a_failure_on_rank_0_is_raised_on_all_ranks(on_ranks):
    """The others wait for its values, and would wait for ever."""
    first, second = on_ranks(2, _error_on_a_rank)
    assert first == ("ZeroDivisionError", "no positives")
    assert second == ("RankFailedError", "rank 0 failed: ZeroDivisionError: no positives")


def _dumped_on_a_rank(path):
    rank = torch.distributed.get_rank()
    metric = DumpResults(out_file_path=path)
    metric.process(None, [{"i": torch.tensor(rank)}])
    return metric.evaluate(2)


def test_one_file_has_the_results_of_all_ranks(on_ranks, tmp_path):
    path = str(tmp_path / "all.pkl")
    assert on_ranks(2, _dumped_on_a_rank, path) == [{}, {}]
    assert [int(r["i"]) for r in load(Path(path))] == [0, 1]


class Maps(Returning):
    """Keeps a map of 4 MiB for each sample."""

    def compute_metrics(self, results):
        return {"order": [int(result[0]) for result in results]}


def _memory_of_a_rank(size):
    resource = pytest.importorskip("resource")
    metric = Maps()
    mine = range(torch.distributed.get_rank(), size, 2)
    metric.process(None, [torch.full((1024 * 1024,), float(index)) for index in mine])
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    values = metric.evaluate(size)
    return values, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib) / 1024


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is counted in KiB there")
def test_results_travel_in_pieces_of_bounded_size(on_ranks):
    """96 MiB on each rank: rank 0 holds all in the end, the other no second copy of its own."""
    (values, grown_on_main), (_, grown_elsewhere) = on_ranks(2, _memory_of_a_rank, 48)
    assert values["order"] == list(range(48))
    assert grown_elsewhere < 80
    assert grown_on_main < 96 + 80

"""A metric: what to keep of each batch, and what to make of it all at the end."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Mapping, Sequence
from logging import WARNING
from typing import Any

from drivetrain.dist import broadcast_object, collect_results, run_on_main
from drivetrain.evaluator._data_element import to_cpu
from drivetrain.evaluator._errors import EmptyResultsError, MetricOptionError, MetricResultError
from drivetrain.fileio import dump
from drivetrain.logging import print_log
from drivetrain.registry import METRICS


class BaseMetric(metaclass=ABCMeta):
    """Base class of metrics.

    A subclass appends what it needs of each batch to ``self.results`` in ``process``, and turns
    the results of the whole dataset, from all ranks, into values in ``compute_metrics``. One
    result per sample, in the order of the samples, keeps the order of the dataset.

    Args:
        collect_device: ``'cpu'`` or ``'gpu'``: where results travel between ranks.
        prefix: Put before each name, as ``prefix/name``, so that equal names of different metrics
            stay apart. ``default_prefix`` of the class where ``None``.
        collect_dir: A folder that all ranks see, to pass results through files instead of the
            process group. Only with ``collect_device='cpu'``.

    Raises:
        MetricOptionError: If ``collect_device`` is unknown or contradicts ``collect_dir``.

    Example:
        >>> class Accuracy(BaseMetric):
        ...     def process(self, data_batch, data_samples):
        ...         self.results += [s["label"] == s["predicted"] for s in data_samples]
        ...     def compute_metrics(self, results):
        ...         return {"accuracy": 100 * sum(results) / len(results)}
        >>> metric = Accuracy()
        >>> metric.process(None, [{"label": 1, "predicted": 1}, {"label": 2, "predicted": 1}])
        >>> metric.evaluate(size=2)
        {'accuracy': 50.0}
    """

    default_prefix: str | None = None

    def __init__(
        self,
        collect_device: str = "cpu",
        prefix: str | None = None,
        collect_dir: str | None = None,
    ) -> None:
        if collect_device not in ("cpu", "gpu"):
            raise MetricOptionError(
                f"{type(self).__name__}: collect_device is 'cpu' or 'gpu', got {collect_device!r}"
            )
        if collect_dir is not None and collect_device != "cpu":
            raise MetricOptionError(
                f"{type(self).__name__}: collect_dir={collect_dir!r} needs collect_device='cpu': "
                "results on a GPU travel through the process group"
            )
        self.collect_device = collect_device
        self.collect_dir = collect_dir
        self.prefix = prefix or self.default_prefix
        self.results: list[Any] = []
        self._dataset_meta: dict[str, Any] | None = None

    @property
    def dataset_meta(self) -> dict[str, Any] | None:
        """Meta information of the dataset, once an evaluator has been told of it."""
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict[str, Any] | None) -> None:
        self._dataset_meta = dataset_meta

    @abstractmethod
    def process(self, data_batch: Any, data_samples: Sequence[Any]) -> None:
        """Append what is needed of one batch to ``self.results``.

        Args:
            data_batch: What the loader yielded.
            data_samples: What the model returned; data elements come as dicts.
        """

    @abstractmethod
    def compute_metrics(self, results: list[Any]) -> dict[str, Any]:
        """Values of the whole dataset. Called on rank 0 only.

        Args:
            results: Those of all ranks, in the order of the dataset, on the CPU.

        Returns:
            Names, without prefix, and values.
        """

    def evaluate(self, size: int) -> dict[str, Any]:
        """Gather the results of all ranks and compute the values. Called on all ranks.

        Args:
            size: Length of the dataset: results beyond it come from samples that were repeated to
                make the ranks even, and are dropped.

        Returns:
            Names, with prefix, and values; the same on every rank.

        Raises:
            MetricOptionError: If ``size`` is negative or no integer.
            MetricResultError: If ``compute_metrics`` returns no mapping.
            EmptyResultsError: If it fails, and there are no results.
            RankFailedError: On other ranks, if computing failed on rank 0.
        """
        if not isinstance(size, int) or size < 0:
            raise MetricOptionError(
                f"{type(self).__name__}.evaluate: size is the length of the dataset, got {size!r}"
            )
        if not self.results:
            print_log(
                f"{type(self).__name__} got empty `self.results`. Does its `process` append what "
                "it computes to `self.results`?",
                logger="current",
                level=WARNING,
            )
        try:
            # On the CPU before they travel: unpickling a tensor would put it on its old device.
            results = collect_results(
                to_cpu(self.results), size, self.collect_device, tmpdir=self.collect_dir
            )
            metrics = run_on_main(lambda: self._computed(results or []))
        finally:
            self.results.clear()
        return broadcast_object(metrics) or {}

    def _computed(self, results: list[Any]) -> dict[str, Any]:
        try:
            metrics = self.compute_metrics(results)
        except Exception as err:
            if results:
                raise
            raise EmptyResultsError(
                f"{type(self).__name__}.compute_metrics failed on no results ({err!r}): does "
                "`process` append what it computes to `self.results`?"
            ) from err
        if not isinstance(metrics, Mapping):
            raise MetricResultError(
                f"{type(self).__name__}.compute_metrics must return a mapping of names to values, "
                f"got {type(metrics).__name__}"
            )
        if not self.prefix:
            return dict(metrics)
        return {f"{self.prefix}/{name}": value for name, value in metrics.items()}


@METRICS.register_module()
class DumpResults(BaseMetric):
    """Write the predictions of the whole dataset into one pickle file, to evaluate them later.

    Args:
        out_file_path: The file; ends in ``.pkl`` or ``.pickle``. Read it back with
            ``drivetrain.fileio.load``, and only if you trust where it comes from.
        collect_device: As for ``BaseMetric``.
        collect_dir: As for ``BaseMetric``.

    Raises:
        MetricOptionError: If ``out_file_path`` ends otherwise.
    """

    def __init__(
        self, out_file_path: str, collect_device: str = "cpu", collect_dir: str | None = None
    ) -> None:
        super().__init__(collect_device=collect_device, collect_dir=collect_dir)
        if not str(out_file_path).endswith((".pkl", ".pickle")):
            raise MetricOptionError(
                f"DumpResults: the output file must be a pkl file, got {str(out_file_path)!r}. "
                "End it in .pkl or .pickle."
            )
        self.out_file_path = out_file_path

    # The documented name of the second parameter is another one here.
    # pyrefly: ignore[bad-override-param-name]
    def process(self, data_batch: Any, predictions: Sequence[Any]) -> None:
        """Keep the predictions, with their tensors on the CPU.

        Args:
            data_batch: Not looked at.
            predictions: One per sample.
        """
        self.results.extend(to_cpu(list(predictions)))

    def compute_metrics(self, results: list[Any]) -> dict[str, Any]:
        """Write the file; there are no values.

        Args:
            results: Predictions of all ranks, in the order of the dataset.

        Returns:
            An empty dict.
        """
        dump(results, self.out_file_path)
        print_log(f"Saved the predictions to {self.out_file_path}.", logger="current")
        return {}

"""Datasets made of datasets: one after the other, repeated, or balanced by class."""

from __future__ import annotations

import copy
import math
import warnings
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, NoReturn

from torch.utils.data import ConcatDataset as TorchConcatDataset

from drivetrain.dataset._base_dataset import BaseDataset, Entry
from drivetrain.dataset._errors import DatasetArgumentError, MetainfoError, SubsetUnsupportedError
from drivetrain.dataset._lazy_init import force_full_init
from drivetrain.registry import DATASETS, building


def _built(dataset: Any, wrapper: Any) -> Any:
    """The dataset to wrap, from a node or from itself."""
    if isinstance(dataset, Mapping):
        return DATASETS.build(dataset)
    if isinstance(dataset, BaseDataset) or hasattr(dataset, "full_init"):
        return dataset
    raise DatasetArgumentError(
        f"{type(wrapper).__name__} wraps a BaseDataset, another wrapper, or a node of one; got "
        f"{type(dataset).__name__}. For plain PyTorch datasets use torch.utils.data's own wrappers."
    )


class _Wrapper:
    """What all wrappers share: initialization on demand, entries and samples by mapped index."""

    _metainfo: dict[str, Any]
    _fully_initialized: bool = False

    @property
    def metainfo(self) -> dict[str, Any]:
        """A copy of the meta information; of the first dataset where there are several."""
        return copy.deepcopy(self._metainfo)

    def full_init(self) -> None:
        """Initialize what is wrapped, once."""
        raise AssertionError("each wrapper says how")

    def _locate(self, idx: int) -> tuple[Any, int]:
        """The dataset that holds sample ``idx``, and its index there."""
        raise AssertionError("each wrapper says how")

    @force_full_init
    def get_data_info(self, idx: int) -> Entry:
        """A copy of the entry of sample ``idx``.

        Raises:
            IndexError: If there is no such sample.
        """
        dataset, inner = self._locate(idx)
        return dataset.get_data_info(inner)

    @force_full_init
    def get_cat_ids(self, idx: int) -> list[int]:
        """The categories of sample ``idx``."""
        dataset, inner = self._locate(idx)
        return dataset.get_cat_ids(inner)

    def __getitem__(self, idx: int) -> Any:
        if not self._fully_initialized:
            warnings.warn(
                "Please call `full_init` before samples are read: otherwise each worker process "
                "reads the annotation file again.",
                stacklevel=2,
            )
            self.full_init()
        dataset, inner = self._locate(idx)
        return dataset[inner]

    def get_subset_(self, indices: int | Sequence[int]) -> NoReturn:
        """Not supported: the subset of a wrapper could mean two things.

        Raises:
            SubsetUnsupportedError: Always.
        """
        self._refuse_subset()

    def get_subset(self, indices: int | Sequence[int]) -> NoReturn:
        """Not supported: the subset of a wrapper could mean two things.

        Raises:
            SubsetUnsupportedError: Always.
        """
        self._refuse_subset()

    def _refuse_subset(self) -> NoReturn:
        raise SubsetUnsupportedError(
            f"`{type(self).__name__}` does not support `get_subset` and `get_subset_`: indices "
            "could mean samples of the wrapper or of what it wraps. Give `indices` to the wrapped "
            "dataset, or use torch.utils.data.Subset."
        )

    def _checked(self, idx: int, size: int) -> int:
        if not -size <= idx < size:
            raise IndexError(f"{type(self).__name__}: no sample {idx}, there are {size}")
        return idx % size


@DATASETS.register_module()
class ConcatDataset(_Wrapper, TorchConcatDataset):
    """Datasets one after the other, with the meta information of the first.

    Args:
        datasets: Datasets or their nodes; all with the same meta information.
        lazy_init: Whether to leave annotation files unread until they are needed.
        ignore_keys: Fields of the meta information that may differ.

    Raises:
        DatasetArgumentError: If one is neither a dataset nor a node, or there is none.
        MetainfoError: If the meta information of two datasets differs.
    """

    def __init__(
        self,
        datasets: Sequence[BaseDataset | Mapping[str, Any]],
        lazy_init: bool = False,
        ignore_keys: str | Sequence[str] | None = None,
    ) -> None:
        self.datasets: list[Any] = []
        for position, dataset in enumerate(datasets):
            with building(f"datasets[{position}]"):
                self.datasets.append(_built(dataset, self))
        if not self.datasets:
            raise DatasetArgumentError("ConcatDataset: datasets is empty, give at least one")
        self.ignore_keys = (
            [ignore_keys] if isinstance(ignore_keys, str) else list(ignore_keys or ())
        )
        self._fully_initialized = False
        self._check_metainfo()
        if not lazy_init:
            self.full_init()

    def full_init(self) -> None:
        """Initialize all datasets, once.

        Raises:
            MetainfoError: If the meta information of two datasets differs.
        """
        if self._fully_initialized:
            return
        for dataset in self.datasets:
            dataset.full_init()
        self._check_metainfo()  # now with what the annotation files say
        self.cumulative_sizes = list(accumulate(map(len, self.datasets)))
        self._fully_initialized = True

    @force_full_init
    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def _locate(self, idx: int) -> tuple[Any, int]:
        which, inner = self._get_ori_dataset_idx(idx)
        return self.datasets[which], inner

    @force_full_init
    def _get_ori_dataset_idx(self, idx: int) -> tuple[int, int]:
        position = self._checked(idx, self.cumulative_sizes[-1])
        which = bisect_right(self.cumulative_sizes, position)
        return which, position - (self.cumulative_sizes[which - 1] if which else 0)

    def _check_metainfo(self) -> None:
        self._metainfo = self.datasets[0].metainfo
        expected = self._compared(self._metainfo)
        for position, dataset in enumerate(self.datasets[1:], start=1):
            found = self._compared(dataset.metainfo)
            if found != expected:
                keys = sorted(
                    key
                    for key in {*found, *expected}
                    if key not in found or key not in expected or found[key] != expected[key]
                )
                raise MetainfoError(
                    f"ConcatDataset: the meta information of dataset {position} does not match "
                    f"that of dataset 0 in {keys}. Make it agree, or name these in ignore_keys."
                )

    def _compared(self, metainfo: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in metainfo.items() if key not in self.ignore_keys}


class _OneDatasetWrapper(_Wrapper):
    """A wrapper of one dataset."""

    def __init__(self, dataset: BaseDataset | Mapping[str, Any], lazy_init: bool) -> None:
        with building("dataset"):
            self.dataset = _built(dataset, self)
        self._metainfo = self.dataset.metainfo
        self._fully_initialized = False
        if not lazy_init:
            self.full_init()

    def full_init(self) -> None:
        """Initialize the dataset, once."""
        if self._fully_initialized:
            return
        self.dataset.full_init()
        self._metainfo = self.dataset.metainfo
        self._prepare()
        self._fully_initialized = True

    def _prepare(self) -> None:
        """What the wrapper needs to know about the initialized dataset."""
        raise AssertionError("each wrapper says what")

    def _locate(self, idx: int) -> tuple[Any, int]:
        return self.dataset, self._get_ori_dataset_idx(idx)

    def _get_ori_dataset_idx(self, idx: int) -> int:
        raise AssertionError("each wrapper says how")


@DATASETS.register_module()
class RepeatDataset(_OneDatasetWrapper):
    """A dataset ``times`` over, which makes the epochs of a small one long.

    Each repetition is a sample of its own: random transforms treat it differently.

    Args:
        dataset: A dataset or its node.
        times: How often, at least 1.
        lazy_init: Whether to leave the annotation file unread until it is needed.

    Raises:
        DatasetArgumentError: If ``dataset`` is neither, or ``times`` is no positive integer.
    """

    def __init__(
        self, dataset: BaseDataset | Mapping[str, Any], times: int, lazy_init: bool = False
    ) -> None:
        if isinstance(times, bool) or not isinstance(times, int) or times < 1:
            raise DatasetArgumentError(f"RepeatDataset: times must be an int >= 1, got {times!r}")
        self.times = times
        super().__init__(dataset, lazy_init)

    def _prepare(self) -> None:
        self._ori_len = len(self.dataset)

    @force_full_init
    def __len__(self) -> int:
        return self.times * self._ori_len

    @force_full_init
    def _get_ori_dataset_idx(self, idx: int) -> int:
        return self._checked(idx, self.times * self._ori_len) % self._ori_len


@DATASETS.register_module()
class ClassBalancedDataset(_OneDatasetWrapper):
    """A dataset in which samples of rare categories come several times.

    With ``f(c)`` the fraction of samples that contain category ``c`` and ``t`` the threshold, a
    sample is repeated ``ceil(max over its categories of max(1, sqrt(t / f(c))))`` times. The
    wrapped dataset must tell its categories by ``get_cat_ids``.

    Args:
        dataset: A dataset or its node.
        oversample_thr: The threshold ``t``: rarer categories are repeated.
        lazy_init: Whether to leave the annotation file unread until it is needed.

    Raises:
        DatasetArgumentError: If ``dataset`` is neither, or ``oversample_thr`` is negative.

    Source: Gupta, Dollar and Girshick, LVIS (CVPR 2019), repeat factor sampling.
    """

    def __init__(
        self,
        dataset: BaseDataset | Mapping[str, Any],
        oversample_thr: float,
        lazy_init: bool = False,
    ) -> None:
        if not oversample_thr >= 0:  # NaN is refused too
            raise DatasetArgumentError(
                f"ClassBalancedDataset: oversample_thr is a fraction of the samples, such as 1e-3; "
                f"got {oversample_thr!r}"
            )
        self.oversample_thr = oversample_thr
        super().__init__(dataset, lazy_init)

    def _prepare(self) -> None:
        factors = self._get_repeat_factors(self.dataset, self.oversample_thr)
        self.repeat_indices: list[int] = []
        for index, factor in enumerate(factors):
            self.repeat_indices.extend([index] * math.ceil(factor))

    @force_full_init
    def __len__(self) -> int:
        return len(self.repeat_indices)

    @force_full_init
    def _get_ori_dataset_idx(self, idx: int) -> int:
        return self.repeat_indices[self._checked(idx, len(self.repeat_indices))]

    def _get_repeat_factors(self, dataset: Any, repeat_thr: float) -> list[float]:
        """``(len(dataset),)`` factors, each at least 1; a sample without categories gets 1."""
        categories = [set(dataset.get_cat_ids(index)) for index in range(len(dataset))]
        counts = Counter(category for found in categories for category in found)
        factor_of = {
            category: max(1.0, math.sqrt(repeat_thr * len(categories) / count))
            for category, count in counts.items()
        }
        return [max((factor_of[c] for c in found), default=1.0) for found in categories]

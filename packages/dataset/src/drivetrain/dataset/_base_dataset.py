"""A dataset from an annotation file: meta information, an index of samples, and a pipeline."""

from __future__ import annotations

import copy
import os.path
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset

from drivetrain.dataset._compose import Compose
from drivetrain.dataset._errors import (
    AnnotationError,
    AnnotationNotFoundError,
    DatasetArgumentError,
    MetainfoError,
    SampleError,
    SubsetError,
    TransformError,
    transform_error,
)
from drivetrain.dataset._lazy_init import force_full_init
from drivetrain.dataset._packed_index import PackedIndex, pack
from drivetrain.dataset._rows import rows_of
from drivetrain.fileio import is_abs, list_from_file, load
from drivetrain.registry import DATASETS

Entry = dict[str, Any]


@DATASETS.register_module()
class BaseDataset(Dataset):
    """Samples described by an annotation file and prepared by a pipeline.

    The file (JSON, YAML or pickle) holds a mapping with two fields::

        {"metainfo": {"classes": ["cat", "dog"]},
         "data_list": [{"img_path": "a.jpg", "img_label": 0}, ...]}

    A subclass overrides ``parse_data_info`` for other entries, ``load_data_list`` for other files,
    ``filter_data`` to leave entries out. Meta information comes, the first counting most, from the
    argument ``metainfo``, from the class's ``METAINFO``, and from the file.

    Args:
        ann_file: Path or URL of the annotation file, absolute or below ``data_root``.
        metainfo: Meta information; a value that names a local text file stands for its lines.
        data_root: Put before ``ann_file`` and ``data_prefix`` where these are not absolute.
        data_prefix: For each field of an entry that is a path, the folder it is relative to.
        filter_cfg: For ``filter_data`` of a subclass.
        indices: Only the first (or, negative, the last) so many entries, or these entries.
        serialize_data: Whether to keep the index packed, in memory that processes share.
        pipeline: Transforms or their nodes.
        test_mode: Whether a sample that cannot be prepared is an error rather than replaced.
        lazy_init: Whether to leave the annotation file unread until it is needed.
        max_refetch: How many other samples to try when the pipeline returns ``None``.

    Raises:
        MetainfoError: If ``metainfo`` is not a mapping.
        DatasetArgumentError: If another argument is of the wrong kind.
        AnnotationError: If the annotation file breaks the format.
        AnnotationNotFoundError: If there is no annotation file.
    """

    METAINFO: dict[str, Any] = {}  # noqa: RUF012  # subclasses assign a dict; it is never mutated
    _fully_initialized: bool = False

    def __init__(
        self,
        ann_file: str | None = "",
        metainfo: Mapping[str, Any] | None = None,
        data_root: str | None = "",
        data_prefix: Mapping[str, str] = {"img_path": ""},  # copied, never mutated
        filter_cfg: Mapping[str, Any] | None = None,
        indices: int | Sequence[int] | None = None,
        serialize_data: bool = True,
        pipeline: Sequence[Mapping[str, Any] | Callable[[Any], Any]] = (),
        test_mode: bool = False,
        lazy_init: bool = False,
        max_refetch: int = 1000,
    ) -> None:
        self._check_kinds(ann_file, data_root, data_prefix, max_refetch)
        self.ann_file = ann_file
        self._metainfo = self._load_metainfo(copy.deepcopy(metainfo))
        self.data_root = data_root
        self.data_prefix = dict(data_prefix)
        self.filter_cfg = copy.deepcopy(filter_cfg)
        self._indices = indices
        self.serialize_data = serialize_data
        self.test_mode = test_mode
        if max_refetch < 0:
            raise DatasetArgumentError(
                f"{type(self).__name__}: max_refetch counts other samples to try, so it cannot be "
                f"{max_refetch}"
            )
        self.max_refetch = max_refetch
        self.data_list: list[Entry] = []
        self._packed: PackedIndex | None = None
        self._join_prefix()
        self.pipeline = Compose(pipeline)
        if not lazy_init:
            self.full_init()

    @property
    def metainfo(self) -> dict[str, Any]:
        """A copy of the meta information of the dataset."""
        return copy.deepcopy(self._metainfo)

    @force_full_init
    def __len__(self) -> int:
        return len(self.data_list) if self._packed is None else self._packed.size

    # pyrefly: ignore[bad-override-param-name]  # the documented name
    def __getitem__(self, idx: int) -> Any:
        """The sample at ``idx``, as the pipeline leaves it.

        A pipeline refuses a sample by returning ``None``; then another one is taken at random, at
        most ``max_refetch`` times. In test mode that is an error.
        """
        if not self._fully_initialized:
            warnings.warn(
                "Please call `full_init` before samples are read: otherwise each worker process "
                "reads the annotation file again.",
                stacklevel=2,
            )
            self.full_init()
        data = self.prepare_data(idx)
        if data is not None:
            return data
        if self.test_mode:
            raise SampleError(
                f"{self._describe(idx)}: the pipeline returned None in test mode, where no sample "
                "may be replaced. Leave the entry out of the annotation file, or mend the pipeline."
            )
        for _ in range(self.max_refetch):
            data = self.prepare_data(self._rand_another())
            if data is not None:
                return data
        raise SampleError(
            f"{self._describe(idx)}: the pipeline returned None for it and for {self.max_refetch} "
            "others taken at random (max_refetch). Check the pipeline and the paths it reads."
        )

    def full_init(self) -> None:
        """Read the annotations, once: load, filter, take ``indices``, pack."""
        if self._fully_initialized:
            return
        entries: Iterable[Entry] = self.load_data_list()
        streams = self.serialize_data and type(self).filter_data is BaseDataset.filter_data
        if streams and not isinstance(entries, list):
            self._packed = pack(entries)
        else:
            self.data_list = entries if isinstance(entries, list) else list(entries)
            self.data_list = self.filter_data()
        if self._indices is not None:
            self._keep(self._indices)
        if self.serialize_data and self._packed is None:
            self._serialize_data()
        self._fully_initialized = True

    def load_data_list(self) -> list[Entry]:
        """Read the annotation file. A subclass may also return an iterator, which saves memory.

        Returns:
            One entry per sample.

        Raises:
            AnnotationError: If the file breaks the format.
            AnnotationNotFoundError: If there is no such file.
            DatasetArgumentError: If ``parse_data_info`` returns neither a dict nor a list of dicts.
        """
        content = self._load_ann_file()
        if not isinstance(content, dict):
            raise AnnotationError(
                f"{self.ann_file}: an annotation file holds a mapping with 'metainfo' and "
                f"'data_list', this one a {type(content).__name__}. Convert it, or override "
                f"load_data_list in {type(self).__name__}."
            )
        missing = [key for key in ("data_list", "metainfo") if key not in content]
        if missing:
            raise AnnotationError(
                f"{self.ann_file}: the annotation file must have 'data_list' and 'metainfo', "
                f"and lacks {' and '.join(map(repr, missing))}. Its keys: {sorted(content)}"
            )
        _require(self.ann_file, "'metainfo'", content["metainfo"], Mapping, "a mapping")
        _require(self.ann_file, "'data_list'", content["data_list"], list, "a list")
        entries: list[Entry] = []
        for position, raw in enumerate(content["data_list"]):
            entries.extend(self._parsed(raw, position))
        for key, value in content["metainfo"].items():
            self._metainfo.setdefault(key, value)
        return entries

    def parse_data_info(self, raw_data_info: Entry) -> Entry | list[Entry]:
        """Turn an entry of the file into one entry per sample.

        Args:
            raw_data_info: An entry of ``data_list``; may be changed in place.

        Returns:
            The entry with ``data_prefix`` before its paths. A subclass may return several.

        Raises:
            AnnotationError: If a field named in ``data_prefix`` is missing, or no text.
        """
        if self.data_prefix:
            _require(self.ann_file, "an entry of 'data_list'", raw_data_info, dict, "a mapping")
        for key, prefix in self.data_prefix.items():
            if key not in raw_data_info:
                raise AnnotationError(
                    f"{self.ann_file}: data_prefix names the field {key!r}, which an entry lacks. "
                    f"Its fields: {sorted(raw_data_info)}"
                )
            if not isinstance(raw_data_info[key], str | os.PathLike):
                raise AnnotationError(
                    f"{self.ann_file}: data_prefix names the field {key!r}, which must be a path; "
                    f"an entry has {raw_data_info[key]!r} there"
                )
            raw_data_info[key] = os.path.join(prefix, raw_data_info[key])
        return raw_data_info

    def filter_data(self) -> list[Entry]:
        """The entries of ``self.data_list`` to keep; all of them here.

        A subclass leaves out what ``self.filter_cfg`` says.
        """
        return self.data_list

    def get_data_info(self, idx: int) -> Entry:
        """A copy of the entry at ``idx``, which may be negative, with ``sample_idx`` added.

        Args:
            idx: Index from 0 on; a negative one counts from the end.

        Raises:
            IndexError: If there is no such entry.
        """
        # Called for every sample: no decorator here, and nothing twice.
        if not self._fully_initialized:
            self.full_init()
        packed = self._packed
        size = len(self.data_list) if packed is None else packed.size
        if not 0 <= idx < size:
            idx = self._from_end(idx, size)
        entry = copy.deepcopy(self.data_list[idx]) if packed is None else packed[idx]
        entry["sample_idx"] = idx
        return entry

    def _from_end(self, idx: int, size: int) -> int:
        if not -size <= idx < 0:
            raise IndexError(f"{type(self).__name__}: no sample {idx}, there are {size}")
        return idx + size

    def get_cat_ids(self, idx: int) -> list[int]:
        """The categories of the sample at ``idx``; needed by ``ClassBalancedDataset`` only.

        Args:
            idx: Index of the sample.

        Raises:
            NotImplementedError: Unless a subclass knows them.
        """
        raise NotImplementedError(
            f"{type(self).__name__}.get_cat_ids: override it to tell the categories of sample "
            f"{idx}, for example return [self.get_data_info(idx)['img_label']]"
        )

    def prepare_data(self, idx: int) -> Any:
        """The entry at ``idx``, passed through the pipeline.

        Args:
            idx: Index of the sample.

        Raises:
            TransformError: If a transform raised, with the sample's index and file; also an
                instance of what it raised.
        """
        entry = self.get_data_info(idx)
        try:
            return self.pipeline(entry)
        except TransformError as err:
            cause = err.__cause__
            original = cause if isinstance(cause, Exception) else err
            raise transform_error(f"{self._describe(idx)}: {err}", original) from cause

    @force_full_init
    def get_subset_(self, indices: int | Sequence[int]) -> None:
        """Keep only some samples.

        Args:
            indices: The first (or, negative, the last) so many, or these.

        Raises:
            DatasetArgumentError: If it is neither.
            SubsetError: If an index names no sample; nothing has changed then.
        """
        self._keep(indices)

    @force_full_init
    def get_subset(self, indices: int | Sequence[int]) -> BaseDataset:
        """A copy of the dataset with only some samples; a packed index is shared, not copied.

        Args:
            indices: The first (or, negative, the last) so many, or these.

        Raises:
            DatasetArgumentError: If it is neither.
            SubsetError: If an index names no sample.
        """
        # deepcopy takes what its memo already has, so the entries are not copied.
        subset = copy.deepcopy(self, {id(self.data_list): self.data_list})
        subset._keep(indices)
        return subset

    def _keep(self, indices: int | Sequence[int]) -> None:
        try:
            if self._packed is not None:
                self._packed = self._packed.take(rows_of(indices, len(self._packed)))
            else:
                self.data_list = self._get_unserialized_subset(indices)
        except (DatasetArgumentError, SubsetError) as err:
            source = f" ({self.ann_file})" if self.ann_file else ""
            err.args = (f"{type(self).__name__}{source}: {err}",)
            raise

    # Downstream subclasses write their own full_init out of the next four names.

    def _serialize_data(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        """Pack ``self.data_list`` and empty it; the bytes of all entries, and where each ends."""
        self._packed = pack(self.data_list)
        self.data_list = []
        return self.data_bytes, self.data_address

    def _get_unserialized_subset(self, indices: int | Sequence[int]) -> list[Entry]:
        """The entries of ``self.data_list`` at ``indices``."""
        return [self.data_list[row] for row in rows_of(indices, len(self.data_list))]

    @property
    def data_bytes(self) -> npt.NDArray[np.uint8]:
        """The packed entries, one after the other; a view of the shared index."""
        return (self._packed or pack(())).bytes_view

    @data_bytes.setter
    def data_bytes(self, data_bytes: npt.NDArray[np.uint8]) -> None:
        """Accepted and ignored: what ``_serialize_data`` returned is in the index already."""

    @property
    def data_address(self) -> npt.NDArray[np.int64]:
        """Where in ``data_bytes`` each packed entry ends; a view of the shared index."""
        return (self._packed or pack(())).ends_view

    @data_address.setter
    def data_address(self, data_address: npt.NDArray[np.int64]) -> None:
        """Accepted and ignored: what ``_serialize_data`` returned is in the index already."""

    def _parsed(self, raw: Any, position: int) -> list[Entry]:
        parsed = self.parse_data_info(raw)
        if isinstance(parsed, dict):
            return [parsed]
        if isinstance(parsed, list) and all(isinstance(entry, dict) for entry in parsed):
            return parsed
        raise DatasetArgumentError(
            f"{self.ann_file}, entry {position}: {type(self).__name__}.parse_data_info must return "
            f"a dict or a list of dicts, got {_kind_of(parsed)}"
        )

    def _load_ann_file(self) -> Any:
        if not self.ann_file:
            raise AnnotationNotFoundError(
                f"{type(self).__name__}: no ann_file is given. Name one, or override "
                "load_data_list to get the entries from elsewhere."
            )
        try:
            return load(self.ann_file)
        except FileNotFoundError as err:
            raise AnnotationNotFoundError(
                f"{type(self).__name__}: there is no annotation file {self.ann_file!r} "
                f"(ann_file below data_root={self.data_root!r}; working directory {os.getcwd()!r})"
            ) from err
        except ValueError as err:  # what parsers raise; they know the line, but not the file
            raise AnnotationError(
                f"{self.ann_file}: the annotation file cannot be read: {err}. Is it complete?"
            ) from err

    @classmethod
    def _load_metainfo(cls, metainfo: Mapping[str, Any] | None = None) -> dict[str, Any]:
        merged = copy.deepcopy(dict(cls.METAINFO))
        if metainfo is None:
            return merged
        if not isinstance(metainfo, Mapping):
            raise MetainfoError(
                f"{cls.__name__}: metainfo must be a mapping, got {type(metainfo).__name__}"
            )
        for key, value in metainfo.items():
            merged[key] = _lines_or_value(value)
        return merged

    def _join_prefix(self) -> None:
        """Put ``data_root`` before whatever is not absolute."""
        root = self.data_root
        if self.ann_file and not is_abs(self.ann_file) and root:
            self.ann_file = os.path.join(root, self.ann_file)
        for key, prefix in self.data_prefix.items():
            if not isinstance(prefix, str):
                raise DatasetArgumentError(
                    f"{type(self).__name__}: data_prefix[{key!r}] should be a string, "
                    f"got {type(prefix).__name__}"
                )
            if root and not is_abs(prefix):
                self.data_prefix[key] = os.path.join(root, prefix)

    @classmethod
    def _check_kinds(
        cls, ann_file: Any, data_root: Any, data_prefix: Any, max_refetch: Any
    ) -> None:
        """Refuse what would fail later, where nobody sees which argument it was."""
        paths = str | os.PathLike | None
        wanted: list[tuple[str, Any, Any, str]] = [
            ("ann_file", ann_file, paths, "a path"),
            ("data_root", data_root, paths, "a path"),
            ("data_prefix", data_prefix, Mapping, "a mapping of fields to folders"),
            ("max_refetch", max_refetch, int, "an integer"),
        ]
        for name, value, kind, words in wanted:
            if not isinstance(value, kind):
                raise DatasetArgumentError(
                    f"{cls.__name__}: {name} should be {words}, got {value!r}"
                )

    def _rand_another(self) -> int:
        return int(np.random.randint(0, len(self)))

    def _describe(self, idx: int) -> str:
        """Which sample this is, for an error: its index and the first path of its entry."""
        entry = self.get_data_info(idx)
        paths = [
            f"{key}={value!r}"
            for key, value in entry.items()
            if isinstance(value, str) and ("path" in key or "file" in key)
        ]
        return f"{type(self).__name__} sample {idx}" + (f" ({paths[0]})" if paths else "")


def _require(ann_file: str | None, what: str, value: Any, kind: type, name: str) -> None:
    if not isinstance(value, kind):
        raise AnnotationError(
            f"{ann_file}: {what} must be {name}, got {type(value).__name__}. Correct the file, or "
            "override load_data_list."
        )


def _lines_or_value(value: Any) -> Any:
    """The lines of the local text file that ``value`` names, or the value itself."""
    if isinstance(value, str) and os.path.isfile(value):
        return list_from_file(value)
    return value


def _kind_of(value: Any) -> str:
    if isinstance(value, list):
        return f"a list of {sorted({type(item).__name__ for item in value})}"
    return type(value).__name__

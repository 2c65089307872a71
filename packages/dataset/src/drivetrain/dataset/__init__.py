"""Datasets, samplers, collation, and loaders that resume at the exact sample."""

from drivetrain.dataset.__about__ import __version__
from drivetrain.dataset._base_dataset import BaseDataset
from drivetrain.dataset._build import build_dataloader
from drivetrain.dataset._collate import default_collate, num_samples, pseudo_collate
from drivetrain.dataset._compose import Compose
from drivetrain.dataset._errors import (
    AnnotationError,
    AnnotationNotFoundError,
    CollateError,
    DatasetArgumentError,
    DatasetError,
    EmptyLoaderError,
    LoaderConfigError,
    MetainfoError,
    SampleError,
    SubsetError,
    SubsetUnsupportedError,
    TransformError,
)
from drivetrain.dataset._lazy_init import force_full_init
from drivetrain.dataset._position import (
    BatchExtent,
    batch_extent,
    batches_before,
    set_epoch,
    skip_batches,
    skip_samples,
)
from drivetrain.dataset._sample_randomness import sample_seed
from drivetrain.dataset._samplers import DefaultSampler, InfiniteSampler
from drivetrain.dataset._worker import worker_init_fn
from drivetrain.dataset._wrappers import ClassBalancedDataset, ConcatDataset, RepeatDataset
from drivetrain.registry import FUNCTIONS as COLLATE_FUNCTIONS

__all__ = [
    "COLLATE_FUNCTIONS",
    "AnnotationError",
    "AnnotationNotFoundError",
    "BaseDataset",
    "BatchExtent",
    "ClassBalancedDataset",
    "CollateError",
    "Compose",
    "ConcatDataset",
    "DatasetArgumentError",
    "DatasetError",
    "DefaultSampler",
    "EmptyLoaderError",
    "InfiniteSampler",
    "LoaderConfigError",
    "MetainfoError",
    "RepeatDataset",
    "SampleError",
    "SubsetError",
    "SubsetUnsupportedError",
    "TransformError",
    "__version__",
    "batch_extent",
    "batches_before",
    "build_dataloader",
    "default_collate",
    "force_full_init",
    "num_samples",
    "pseudo_collate",
    "sample_seed",
    "set_epoch",
    "skip_batches",
    "skip_samples",
    "worker_init_fn",
]

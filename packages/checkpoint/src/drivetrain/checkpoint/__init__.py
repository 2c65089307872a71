"""Write and read training state so that a kill never costs a checkpoint."""

from drivetrain.checkpoint.__about__ import __version__
from drivetrain.checkpoint._async import AsyncCheckpointWriter
from drivetrain.checkpoint._entry import CheckpointEntry
from drivetrain.checkpoint._errors import (
    CheckpointContentError,
    CheckpointCorruptError,
    CheckpointDeviceError,
    CheckpointError,
    CheckpointNotFoundError,
    CheckpointWriteError,
    MissingLibraryError,
    NotPlainDataError,
    SchemeRegistrationError,
    StateDictMismatchError,
    UnknownSchemeError,
    UnsafeCheckpointError,
)
from drivetrain.checkpoint._folder import CheckpointFolder, find_latest_checkpoint
from drivetrain.checkpoint._load_report import LoadReport, ShapeMismatch
from drivetrain.checkpoint._load_url import load_url
from drivetrain.checkpoint._loader import (
    CheckpointLoader,
    _load_checkpoint,
    _load_checkpoint_to_model,
    _load_checkpoint_with_prefix,
    load_checkpoint,
)
from drivetrain.checkpoint._model_table import (
    get_deprecated_model_names,
    get_external_models,
    get_mmcls_models,
    get_torchvision_models,
)
from drivetrain.checkpoint._plain import as_plain_data
from drivetrain.checkpoint._publish import publish_checkpoint
from drivetrain.checkpoint._read import read_checkpoint_file
from drivetrain.checkpoint._revise import revised_keys
from drivetrain.checkpoint._safetensors import export_safetensors, load_safetensors
from drivetrain.checkpoint._shard_reader import shard_reader
from drivetrain.checkpoint._sharded import is_checkpoint_folder, seal_folder
from drivetrain.checkpoint._staging import in_main_memory
from drivetrain.checkpoint._state_dict import get_state_dict, load_state_dict, weights_to_cpu
from drivetrain.checkpoint._summary import CheckpointSummary, summarize_checkpoint
from drivetrain.checkpoint._verify import FileCheck, verify_checkpoint
from drivetrain.checkpoint._write import save_checkpoint

__all__ = [
    "AsyncCheckpointWriter",
    "CheckpointContentError",
    "CheckpointCorruptError",
    "CheckpointDeviceError",
    "CheckpointEntry",
    "CheckpointError",
    "CheckpointFolder",
    "CheckpointLoader",
    "CheckpointNotFoundError",
    "CheckpointSummary",
    "CheckpointWriteError",
    "FileCheck",
    "LoadReport",
    "MissingLibraryError",
    "NotPlainDataError",
    "SchemeRegistrationError",
    "ShapeMismatch",
    "StateDictMismatchError",
    "UnknownSchemeError",
    "UnsafeCheckpointError",
    "__version__",
    "_load_checkpoint",
    "_load_checkpoint_to_model",
    "_load_checkpoint_with_prefix",
    "as_plain_data",
    "export_safetensors",
    "find_latest_checkpoint",
    "get_deprecated_model_names",
    "get_external_models",
    "get_mmcls_models",
    "get_state_dict",
    "get_torchvision_models",
    "in_main_memory",
    "is_checkpoint_folder",
    "load_checkpoint",
    "load_safetensors",
    "load_state_dict",
    "load_url",
    "publish_checkpoint",
    "read_checkpoint_file",
    "revised_keys",
    "save_checkpoint",
    "seal_folder",
    "shard_reader",
    "summarize_checkpoint",
    "verify_checkpoint",
    "weights_to_cpu",
]

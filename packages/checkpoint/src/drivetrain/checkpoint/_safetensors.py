"""Weights in the safetensors format, for other programs."""

from __future__ import annotations

import ctypes
import json
import os
from collections import OrderedDict
from collections.abc import Mapping
from typing import IO, Any

import torch

from drivetrain.checkpoint._errors import (
    CheckpointCorruptError,
    MissingLibraryError,
    NotPlainDataError,
)
from drivetrain.fileio import atomic_write

_TYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "U16": torch.uint16,
    "I16": torch.int16,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "U32": torch.uint32,
    "I32": torch.int32,
    "F32": torch.float32,
    "U64": torch.uint64,
    "I64": torch.int64,
    "F64": torch.float64,
    "C64": torch.complex64,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}
_NAMES = {dtype: name for name, dtype in _TYPES.items()}


def is_safetensors(path: str) -> bool:
    """Whether a file's name says that it is in this format."""
    return path.endswith(".safetensors")


def export_safetensors(
    state_dict: Mapping[str, torch.Tensor],
    filename: str | os.PathLike[str],
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write weights as a ``.safetensors`` file: whole, or not at all.

    Tensors are written one by one, so no second copy of them is made. Those that share memory are
    written once each, as the format has no sharing. Needs no library.

    Args:
        state_dict: Names and tensors, as ``module.state_dict()`` gives them.
        filename: The file; its folder must exist.
        metadata: More about them; values that are no strings are written as JSON.

    Raises:
        NotPlainDataError: If a value is no tensor, or of a type that the format lacks.
    """
    header: dict[str, Any] = {}
    if metadata:
        header["__metadata__"] = {key: _text(item) for key, item in metadata.items()}
    end = 0
    for name, tensor in _writable(state_dict).items():
        start, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # readers map the tensors into memory, where they are aligned
    with atomic_write(filename) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in state_dict.values():
            _write_values(tensor, file)


def _writable(state_dict: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
    others = [
        name
        for name, value in state_dict.items()
        if not isinstance(value, torch.Tensor) or value.layout is not torch.strided
    ]
    if others:
        raise NotPlainDataError(f"safetensors hold tensors only; these are none: {others[:10]}")
    unknown = {value.dtype for value in state_dict.values()} - set(_NAMES)
    if unknown:
        raise NotPlainDataError(f"safetensors have no type for {', '.join(map(str, unknown))}")
    return state_dict


def _write_values(tensor: torch.Tensor, file: IO[bytes]) -> None:
    values = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
    size = values.numel() * values.element_size()
    if size:
        file.write((ctypes.c_ubyte * size).from_address(values.data_ptr()))


def load_safetensors(path: str, map_location: Any = None) -> OrderedDict[str, torch.Tensor]:
    """Read all tensors of a ``.safetensors`` file.

    Args:
        path: The file.
        map_location: A device; ``"meta"`` reads names, shapes and types only.

    Raises:
        CheckpointCorruptError: If it is cut, or in another format.
        MissingLibraryError: If ``safetensors`` is not installed.
    """
    library = _library()
    device = str(map_location) if isinstance(map_location, (str, torch.device)) else "cpu"
    try:
        if device == "meta":
            return _outline(library, path)
        return OrderedDict(library.torch.load_file(path, device=device))
    except library.SafetensorError as err:
        raise CheckpointCorruptError(f"{path}: cannot be read as safetensors: {err}") from err


def _outline(library: Any, path: str) -> OrderedDict[str, torch.Tensor]:
    with library.safe_open(path, framework="pt") as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  # no mapping
        return OrderedDict(
            (name, torch.empty(part.get_shape(), dtype=_TYPES[part.get_dtype()], device="meta"))
            for name, part in slices.items()
        )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _library() -> Any:
    try:
        # Here: the library is an extra, most runs never need it.
        import safetensors.torch
    except ImportError as err:
        raise MissingLibraryError(
            "safetensors is not installed: pip install drivetrain-checkpoint[safetensors]"
        ) from err
    return safetensors

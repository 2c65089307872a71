"""Store the elements that a state uses, not the memory that they are cut from."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from typing import Any

import torch

from drivetrain.checkpoint._plain import tensors_in


def without_unused_memory(plain: Any) -> Any:
    """Return plain data whose tensors do not drag unused memory into a file.

    ``torch.save`` stores the whole memory behind a tensor: ten rows of a table cost the table.
    Where the tensors of the state use less of some memory than there is, they are copied. Others
    are left as they are, and what shares memory goes on sharing it.
    """
    used: defaultdict[int, dict[tuple[Any, ...], int]] = defaultdict(dict)
    size: dict[int, int] = {}
    for tensor in filter(_has_memory, tensors_in(plain)):
        storage = tensor.untyped_storage()
        view = (tensor.storage_offset(), tensor.size(), tensor.stride(), tensor.dtype)
        used[storage.data_ptr()][view] = tensor.numel() * tensor.element_size()
        size[storage.data_ptr()] = storage.nbytes()
    wasteful = {memory for memory, views in used.items() if sum(views.values()) < size[memory]}
    return _copied(plain, wasteful, {}) if wasteful else plain


def _has_memory(tensor: torch.Tensor) -> bool:
    return tensor.layout is torch.strided and not tensor.is_meta and not tensor.is_quantized


def _copied(value: Any, wasteful: set[int], copies: dict[tuple[Any, ...], torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        if not _has_memory(value) or value.untyped_storage().data_ptr() not in wasteful:
            return value
        memory = value.untyped_storage().data_ptr()
        key = (memory, value.storage_offset(), value.size(), value.stride(), value.dtype)
        if key not in copies:  # one view under two names stays one
            copies[key] = value.detach().clone(memory_format=torch.contiguous_format)
        return copies[key]
    if isinstance(value, dict):
        result: dict[Any, Any] = OrderedDict() if isinstance(value, OrderedDict) else {}
        result.update((key, _copied(item, wasteful, copies)) for key, item in value.items())
        if hasattr(value, "_metadata"):
            result._metadata = value._metadata  # type: ignore[attr-defined]  # as torch does
        return result
    if type(value) in (list, tuple):
        return type(value)(_copied(item, wasteful, copies) for item in value)
    return value

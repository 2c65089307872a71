"""Collectives on tensors: one call for one process and for many, for any device.

A rank outside of ``group`` may make the same calls: nothing happens, and it gets nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
import torch.distributed as torch_dist
from torch import Tensor
from torch.distributed import ProcessGroup, ReduceOp

from drivetrain.dist._errors import DataMismatchError
from drivetrain.dist._group import get_rank, get_world_size, is_member
from drivetrain.dist._transfer import get_comm_device

_OPS = {
    "sum": ReduceOp.SUM,
    "mean": ReduceOp.SUM,  # divided by us: not every backend has an average
    "product": ReduceOp.PRODUCT,
    "produce": ReduceOp.PRODUCT,  # the reference engine's spelling
    "min": ReduceOp.MIN,
    "max": ReduceOp.MAX,
    "band": ReduceOp.BAND,
    "bor": ReduceOp.BOR,
    "bxor": ReduceOp.BXOR,
}
_MEGABYTE = 1024 * 1024
_MAX_DIMS = 8
_DTYPES = (
    torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.complex64, torch.complex128,
    torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool,
)  # fmt: skip


def all_reduce(
    data: Tensor, op: str | ReduceOp.RedOpType = "sum", group: ProcessGroup | None = None
) -> None:
    """Combine ``data`` of all ranks in place; afterwards it has the same bits on every rank.

    Args:
        data: Same shape and dtype on every rank; on any device.
        op: ``'sum'``, ``'mean'``, ``'product'``, ``'min'``, ``'max'``, ``'band'``, ``'bor'`` or
            ``'bxor'`` (or torch's ``ReduceOp``). The mean of integers is rounded towards zero.
        group: All ranks by default.

    Raises:
        ValueError: If ``op`` is unknown.
        TypeError: If ``data`` is no tensor.
    """
    if not isinstance(data, Tensor):
        raise TypeError(f"all_reduce: data must be a tensor, got {type(data).__name__}.")
    world_size = get_world_size(group)
    if world_size <= 1:
        return
    buffer = _outgoing(data, group)
    torch_dist.all_reduce(buffer, _reduce_op(op), group=group)
    if op == "mean":
        rounding = None if buffer.is_floating_point() or buffer.is_complex() else "trunc"
        buffer = torch.div(buffer, world_size, rounding_mode=rounding)
    if buffer is not data:
        data.detach().copy_(buffer)


def all_gather(data: Tensor, group: ProcessGroup | None = None) -> list[Tensor]:
    """The ``data`` of every rank, in the order of ranks, on every rank.

    Args:
        data: Shapes may differ between ranks; dtype and number of dimensions may not.
        group: All ranks by default.

    Returns:
        As many tensors as ranks, on the device of ``data``; ``[data]`` without a process group.

    Raises:
        DataMismatchError: On every rank, if dtypes or numbers of dimensions differ.
    """
    if get_world_size(group) <= 1:
        return [data] if is_member(group) else []
    shapes = _exchange_shapes(data, group)
    flat, sizes = _padded(data, shapes, group)
    received = [torch.empty_like(flat) for _ in shapes]
    torch_dist.all_gather(received, flat, group=group)
    return _cut(received, sizes, shapes, data.device)


def gather(data: Tensor, dst: int = 0, group: ProcessGroup | None = None) -> list[Tensor]:
    """The ``data`` of every rank, in the order of ranks, on rank ``dst``.

    Args:
        data: Shapes may differ between ranks; dtype and number of dimensions may not.
        dst: Global rank that receives.
        group: All ranks by default.

    Returns:
        As many tensors as ranks on ``dst``, an empty list elsewhere; ``[data]`` without a process
        group.

    Raises:
        DataMismatchError: On every rank, if dtypes or numbers of dimensions differ.
    """
    if get_world_size(group) <= 1:
        return [data] if is_member(group) else []
    shapes = _exchange_shapes(data, group)
    flat, sizes = _padded(data, shapes, group)
    is_receiver = torch_dist.get_rank() == dst
    received = [torch.empty_like(flat) for _ in shapes] if is_receiver else None
    torch_dist.gather(flat, received, dst=dst, group=group)
    return [] if received is None else _cut(received, sizes, shapes, data.device)


def broadcast(data: Tensor, src: int = 0, group: ProcessGroup | None = None) -> None:
    """Overwrite ``data`` on all ranks with that of one rank, in place.

    Args:
        data: Of one shape and dtype on every rank; any device.
        src: Global rank that sends.
        group: All ranks by default.
    """
    if get_world_size(group) <= 1:
        return
    buffer = _outgoing(data, group)
    torch_dist.broadcast(buffer, src=src, group=group)
    if buffer is not data and get_rank() != src:
        data.detach().copy_(buffer)


def all_reduce_dict(
    data: dict[str, Tensor],
    op: str | ReduceOp.RedOpType = "sum",
    group: ProcessGroup | None = None,
) -> None:
    """Combine the tensors of ``data`` over all ranks, key by key, in place.

    Tensors of one dtype travel together.

    Args:
        data: Of the same keys on every rank; the tensors of a key are of one shape and dtype.
        op: As for ``all_reduce``, e.g. ``'sum'`` or ``'mean'``.
        group: All ranks by default.

    Raises:
        DataMismatchError: On every rank, if the ranks bring different keys.
        TypeError: If ``data`` is no mapping.
    """
    if not isinstance(data, Mapping):
        raise TypeError(f"all_reduce_dict: data must be a dict, got {type(data).__name__}.")
    world_size = get_world_size(group)
    if world_size <= 1:
        return
    keys = sorted(data)
    everyones: list[list[str] | None] = [None] * world_size
    torch_dist.all_gather_object(everyones, keys, group=group)
    for rank, theirs in enumerate(everyones):
        if theirs != everyones[0]:
            raise DataMismatchError(
                f"all_reduce_dict: rank {rank} has keys {theirs}, rank 0 has {everyones[0]}."
            )
    all_reduce_params([data[key] for key in keys], op=op, group=group)


def all_reduce_params(
    params: Iterable[Tensor],
    coalesce: bool = True,
    bucket_size_mb: int = -1,
    op: str | ReduceOp.RedOpType = "sum",
    group: ProcessGroup | None = None,
) -> None:
    """Combine each of ``params`` over all ranks, in place.

    Args:
        params: Same tensors in the same order on every rank.
        coalesce: Whether several travel as one.
        bucket_size_mb: Most megabytes that travel as one; no limit when below 1.
        op: As in ``all_reduce``.
        group: All ranks by default.
    """
    if get_world_size(group) <= 1:
        return
    tensors = [param.detach() for param in params]
    if not coalesce:
        for tensor in tensors:
            all_reduce(tensor, op, group)
        return
    limit_bytes = bucket_size_mb * _MEGABYTE if bucket_size_mb > 0 else None
    for bucket in _buckets(tensors, limit_bytes):
        flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
        all_reduce(flat, op, group)
        parts = flat.split([tensor.numel() for tensor in bucket])
        for tensor, part in zip(bucket, parts, strict=True):
            tensor.copy_(part.view_as(tensor))


def _reduce_op(op: str | ReduceOp.RedOpType) -> ReduceOp.RedOpType:
    if not isinstance(op, str):
        return op
    if op.lower() not in _OPS:
        raise ValueError(f"all_reduce: op must be one of {', '.join(_OPS)}; got {op!r}.")
    return _OPS[op.lower()]


def _outgoing(data: Tensor, group: ProcessGroup | None) -> Tensor:
    """``data`` where and how the backend takes it; ``data`` itself when that is so already."""
    return (
        data.detach().to(get_comm_device(group)).contiguous() if _must_move(data, group) else data
    )


def _must_move(data: Tensor, group: ProcessGroup | None) -> bool:
    return data.device != get_comm_device(group) or not data.is_contiguous()


def _exchange_shapes(data: Tensor, group: ProcessGroup | None) -> list[list[int]]:
    """Shape of ``data`` on each rank: backends hang or mix memory up when shapes differ."""
    if data.dim() > _MAX_DIMS:
        raise DataMismatchError(f"gather: at most {_MAX_DIMS} dimensions, got {data.dim()}.")
    dtype_code = _DTYPES.index(data.dtype) if data.dtype in _DTYPES else len(_DTYPES)
    header = [dtype_code, data.dim(), *data.shape] + [0] * (_MAX_DIMS - data.dim())
    own = torch.tensor(header, dtype=torch.int64, device=get_comm_device(group))
    received = [torch.empty_like(own) for _ in range(get_world_size(group))]
    torch_dist.all_gather(received, own, group=group)
    headers: list[list[int]] = torch.stack(received).tolist()
    for rank, (code, dims, *shape) in enumerate(headers):
        if [code, dims] != headers[0][:2]:
            raise DataMismatchError(
                f"gather: rank {rank} brings {dims} dimensions {shape[:dims]} of dtype number "
                f"{code}, rank 0 brings {headers[0][1]} dimensions of dtype number "
                f"{headers[0][0]}; both must be equal."
            )
    return [shape[:dims] for _, dims, *shape in headers]


def _padded(
    data: Tensor, shapes: Sequence[Sequence[int]], group: ProcessGroup | None
) -> tuple[Tensor, list[int]]:
    """``data`` flat, and as long as the longest of all ranks; and the length of each rank's."""
    sizes = [int(torch.Size(shape).numel()) for shape in shapes]
    flat = data.detach().to(get_comm_device(group)).reshape(-1)
    missing = max(sizes) - flat.numel()
    return (torch.cat([flat, flat.new_zeros(missing)]) if missing else flat), sizes


def _cut(
    received: list[Tensor],
    sizes: Sequence[int],
    shapes: Sequence[Sequence[int]],
    device: torch.device,
) -> list[Tensor]:
    parts = zip(received, sizes, shapes, strict=True)
    return [flat[:size].view(torch.Size(shape)).to(device) for flat, size, shape in parts]


def _buckets(tensors: list[Tensor], limit_bytes: int | None) -> Iterable[list[Tensor]]:
    """Split into runs of one dtype and device, each of at most ``limit_bytes`` (but one tensor)."""
    kinds: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for tensor in tensors:
        kinds.setdefault((tensor.dtype, tensor.device), []).append(tensor)
    for same_kind in kinds.values():
        bucket: list[Tensor] = []
        size_bytes = 0
        for tensor in same_kind:
            if bucket and limit_bytes is not None and size_bytes + tensor.nbytes > limit_bytes:
                yield bucket
                bucket, size_bytes = [], 0
            bucket.append(tensor)
            size_bytes += tensor.nbytes
        yield bucket

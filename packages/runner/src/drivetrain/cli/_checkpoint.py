"""``drivetrain checkpoint verify`` and ``export``."""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import click

from drivetrain.checkpoint import (
    CheckpointContentError,
    CheckpointError,
    CheckpointFolder,
    CheckpointLoader,
    CheckpointNotFoundError,
    export_safetensors,
    is_checkpoint_folder,
    save_checkpoint,
    verify_checkpoint,
)
from drivetrain.cli._checkpoint_facts import check_one, position, size_text
from drivetrain.dist.strategy import load_sharded
from drivetrain.fileio import isdir


def verify_text(path: str, *, as_json: bool) -> tuple[str, bool]:
    """What is whole and what is not, of a checkpoint or of all in a folder; and whether all is.

    Raises:
        CheckpointNotFoundError: If there is nothing at ``path``.
    """
    rows = [_checked(one) for one in _to_verify(path)]
    all_good = bool(rows) and all(row["good"] for row in rows)
    if as_json:
        return json.dumps(rows, indent=2), all_good
    lines = [
        f"good    {row['path']}  {row['size_bytes']:,} bytes, by {row['method']}"
        if row["good"]
        else f"broken  {row['path']}: {row['problem']}"
        for row in rows
    ]
    return "\n".join(lines) or f"{path}: no checkpoints", all_good


def _to_verify(path: str) -> list[str]:
    if not isdir(path) or is_checkpoint_folder(path):
        return [path]
    folder = CheckpointFolder(path)
    return [folder.path_of(name) for name in folder.names(all_kinds=True)]


def _checked(path: str) -> dict[str, Any]:
    try:
        check = check_one(path)
        if check.method == "structure" and os.path.isfile(path):
            check = verify_checkpoint(path, read_all=True)
    except CheckpointNotFoundError:
        raise
    except CheckpointError as err:
        return {"path": path, "good": False, "problem": str(err).removeprefix(f"{path}: ")}
    return {"path": path, "good": True, "size_bytes": check.size_bytes, "method": check.method}


def export_weights(path: str, out: str, *, ema: bool | None, prefix: str | None) -> str:
    """Write the weights of a checkpoint, and nothing else, as one file; returns what was done.

    Args:
        path: A file, a folder of shards, or a URL.
        out: Ends in ``.pth``, ``.pt`` or ``.safetensors``.
        ema: True: the averaged weights; False: those as trained; None: those under ``state_dict``,
            which are the averaged ones where there is an average.
        prefix: Only the weights under this name, which is cut from theirs.
    """
    if not out.endswith((".pth", ".pt", ".safetensors")):
        raise click.UsageError(f"{out}: OUT ends in .pth, .pt or .safetensors")
    content = _content(path, out)
    weights = _under(prefix, _weights(path, content, ema), path)
    if out.endswith(".safetensors"):
        epoch, step, _ = position(content)
        facts = {"format": "pt", "epoch": epoch, "iter": step}
        export_safetensors(weights, out, {k: v for k, v in facts.items() if v is not None})
    else:
        save_checkpoint(weights, out)
    return f"{out}: {len(weights)} weights, {size_text(os.path.getsize(out))}"


def export_everything(path: str, out: str) -> str:
    """Write all that a checkpoint holds as one file; returns what was done.

    Args:
        path: A file, a folder of shards, or a URL.
        out: Ends in ``.pth`` or ``.pt``.
    """
    if not out.endswith((".pth", ".pt")):
        raise click.UsageError(f"{out}: with --all, OUT ends in .pth or .pt")
    save_checkpoint(_content(path, out), out)
    return f"{out}: all of {path}, {size_text(os.path.getsize(out))}"


def _content(path: str, out: str) -> Any:
    if os.path.exists(out) and os.path.realpath(out) == os.path.realpath(path):
        raise click.UsageError(f"{out}: OUT is the checkpoint itself")
    if os.path.isdir(path):
        return load_sharded(path, None)
    return CheckpointLoader.load_checkpoint(path, "cpu", "silent")


def _weights(path: str, content: Any, ema: bool | None) -> Mapping[str, Any]:
    if not isinstance(content, Mapping):
        raise CheckpointContentError(f"{path}: holds a {type(content).__name__}, not weights")
    weights = content.get("state_dict", content)
    if ema and "ema_state_dict" not in content:
        raise CheckpointContentError(f"{path}: was written without an average (EMAHook)")
    if ema is not False or "ema_state_dict" not in content:
        return weights
    start = "module."  # the hook keeps the trained weights where the average has its model
    trained = {
        name.removeprefix(start): value
        for name, value in content["ema_state_dict"].items()
        if name.startswith(start)
    }
    return OrderedDict((name, trained.get(name, value)) for name, value in weights.items())


def _under(prefix: str | None, weights: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    if prefix is None:
        return weights
    start = prefix if prefix.endswith(".") else f"{prefix}."
    part = OrderedDict((n[len(start) :], v) for n, v in weights.items() if n.startswith(start))
    if not part:
        heads = ", ".join(sorted({name.split(".")[0] for name in weights})[:10])
        raise CheckpointContentError(
            f"{path}: no weight starts with {start!r}\n  They start with: {heads}"
        )
    return part

"""Paths of values in a config: ``train_pipeline[3].scale``, as Python code would reach them."""

from __future__ import annotations


def join_path(*parts: str) -> str:
    """Join parts that are keys, paths, or indices such as ``"[3]"``; empty ones do not count."""
    path = ""
    for part in parts:
        path += f".{part}" if path and part and not part.startswith("[") else part
    return path


def dotted_path(path: str) -> str:
    """Return a path as overrides and ``Config.origin`` write it: ``train_pipeline.3.scale``."""
    return path.replace("[", ".").replace("]", "").lstrip(".") if "[" in path else path

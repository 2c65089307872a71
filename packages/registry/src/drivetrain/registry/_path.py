"""Paths of values in a config: ``train_pipeline.3.scale``, as an override writes them."""

from __future__ import annotations


def dotted_path(path: str) -> str:
    """Return a path with its indices between dots: ``hooks[3].scale`` becomes ``hooks.3.scale``."""
    return path.replace("[", ".").replace("]", "").lstrip(".") if "[" in path else path


def join_path(*parts: str) -> str:
    """Join keys, indices and paths, however they spell an index; empty ones do not count."""
    return ".".join([dotted_path(part) for part in parts if part])

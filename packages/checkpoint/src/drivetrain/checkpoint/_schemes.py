"""Where weights come from: one loader for each kind of name."""

from __future__ import annotations

import hashlib
import os
import re
from typing import Any
from urllib.parse import urlsplit

import torch

from drivetrain.checkpoint._model_table import (
    get_deprecated_model_names,
    get_external_models,
    get_mmcls_models,
    get_torchvision_models,
    url_of,
)
from drivetrain.checkpoint._read import read_checkpoint_file
from drivetrain.fileio import download, get_file_backend

_DIGEST_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.\w+$")
_LOOKS_LIKE_A_DATE = re.compile(r"^(19|20)\d{6}$")


def load_from_local(filename: str, map_location: Any = None, *, weights_only: bool = True) -> Any:
    """Load a file of this disk; ``~`` is the home folder."""
    path = os.path.expanduser(filename)
    return read_checkpoint_file(path, map_location, weights_only=weights_only)


def load_from_http(filename: str, map_location: Any = None, *, weights_only: bool = True) -> Any:
    """Download once into torch's cache folder, check, and load.

    The checksum is the one that the name carries (``resnet50-0676ba61.pth``: the first digits of
    its SHA-256), or the full one after ``#sha256=``. A file without one is kept by its URL, so that
    two servers may have different files of one name. Processes that ask for the same file at the
    same time download it once; a broken download goes on where it stopped.

    Raises:
        DigestMismatchError: (of ``drivetrain.fileio``) If the content is another one.
    """
    url, promised = _url_and_digest(filename)
    name = os.path.basename(urlsplit(url).path) or "checkpoint.pth"
    known_by = "" if promised else hashlib.sha256(url.encode()).hexdigest()[:16]
    path = os.path.join(torch.hub.get_dir(), "checkpoints", known_by, name)
    download(url, path, sha256=promised)
    return read_checkpoint_file(path, map_location, weights_only=weights_only)


def load_from_fsspec(filename: str, map_location: Any = None, *, weights_only: bool = True) -> Any:
    """Load from any store that fsspec or a registered backend knows."""
    with get_file_backend(filename, enable_singleton=True).get_local_path(filename) as path:
        return read_checkpoint_file(path, map_location, weights_only=weights_only)


def load_from_torchvision(
    filename: str, map_location: Any = None, *, weights_only: bool = True
) -> Any:
    """Load weights that torchvision publishes: ``torchvision://resnet50``.

    Raises:
        MissingLibraryError: If torchvision is not installed.
        UnknownSchemeError: If it has none of this name.
    """
    url = url_of(filename, get_torchvision_models())
    return load_from_http(url, map_location, weights_only=weights_only)


def load_from_open_mmlab(
    filename: str, map_location: Any = None, *, weights_only: bool = True
) -> Any:
    """Load weights of the table that `get_external_models` shows: ``open-mmlab://vgg16_caffe``.

    Raises:
        UnknownSchemeError: If there is none of this name.
    """
    name = filename.split("://", 1)[1]
    current = get_deprecated_model_names().get(name, name)
    url = url_of(f"open-mmlab://{current}", get_external_models())
    return load_from_http(url, map_location, weights_only=weights_only)


def load_from_mmcls(filename: str, map_location: Any = None, *, weights_only: bool = True) -> Any:
    """Load a backbone of the table that `get_mmcls_models` shows: ``mmcls://resnet50``.

    Only the weights of the backbone are returned, under their names in it.

    Raises:
        UnknownSchemeError: If there is none of this name.
    """
    url = url_of(filename, get_mmcls_models())
    checkpoint = load_from_http(url, map_location, weights_only=weights_only)
    start = "backbone."
    weights = checkpoint["state_dict"].items()
    return {"state_dict": {n[len(start) :]: v for n, v in weights if n.startswith(start)}}


def _url_and_digest(filename: str) -> tuple[str, str | None]:
    url, _, fragment = filename.partition("#")
    if fragment.startswith("sha256="):
        return url, fragment.removeprefix("sha256=")
    found = _DIGEST_IN_NAME.search(urlsplit(url).path)
    if found is None or _LOOKS_LIKE_A_DATE.match(found[1]):
        return url, None
    return url, found[1]

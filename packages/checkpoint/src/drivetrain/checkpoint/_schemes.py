"""Where weights come from: one loader for each kind of name."""

from __future__ import annotations

import importlib
import os
import re
from typing import Any
from urllib.parse import urlsplit

import torch

from drivetrain.checkpoint._errors import MissingLibraryError, UnknownSchemeError
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
    its SHA-256), or the full one after ``#sha256=``. Processes that ask for the same file at the
    same time download it once; a broken download goes on where it stopped.

    Raises:
        DigestMismatchError: (of ``drivetrain.fileio``) If the content is another one.
    """
    url, promised = _url_and_digest(filename)
    name = os.path.basename(urlsplit(url).path) or "checkpoint.pth"
    path = os.path.join(torch.hub.get_dir(), "checkpoints", name)
    download(url, path, sha256=promised)
    return read_checkpoint_file(path, map_location, weights_only=weights_only)


def load_from_fsspec(filename: str, map_location: Any = None, *, weights_only: bool = True) -> Any:
    """Load from any store that fsspec or a registered backend knows."""
    with get_file_backend(filename, enable_singleton=True).get_local_path(filename) as path:
        return read_checkpoint_file(path, map_location, weights_only=weights_only)


def load_from_torchvision(
    filename: str, map_location: Any = None, *, weights_only: bool = True
) -> Any:
    """Load the weights that torchvision publishes for a model: ``torchvision://resnet50``.

    Raises:
        MissingLibraryError: If ``torchvision`` is not installed.
        UnknownSchemeError: If it has no model of this name.
    """
    name = filename.split("://", 1)[1]
    try:
        # By name and here: the library is optional, and as large as torch.
        models = importlib.import_module("torchvision.models")
    except ImportError as err:
        raise MissingLibraryError(f"{filename}: needs torchvision, which is not installed") from err
    architecture, _, which = name.partition(".")
    try:
        weights = models.get_model_weights(architecture)
        chosen = weights[which] if which else weights.DEFAULT
    except (ValueError, KeyError, AttributeError) as err:
        raise UnknownSchemeError(f"{filename}: torchvision has no such weights: {err}") from err
    return load_from_http(chosen.url, map_location, weights_only=weights_only)


def _url_and_digest(filename: str) -> tuple[str, str | None]:
    url, _, fragment = filename.partition("#")
    if fragment.startswith("sha256="):
        return url, fragment.removeprefix("sha256=")
    found = _DIGEST_IN_NAME.search(urlsplit(url).path)
    if found is None or _LOOKS_LIKE_A_DATE.match(found[1]):
        return url, None
    return url, found[1]

"""Files on this machine: JSON lines, PNG images, and the config."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TextIO

from drivetrain.registry import VISBACKENDS
from drivetrain.visualization._backend import BaseVisBackend, ConfigLike, force_init_env, number
from drivetrain.visualization._errors import RecordError

if TYPE_CHECKING:
    import numpy as np


# JSON has no nan; `json.dumps` would make an encoder for each call.
_encode = json.JSONEncoder(allow_nan=False).encode


@VISBACKENDS.register_module()
class LocalVisBackend(BaseVisBackend):
    """Write to files in a folder.

    Each call of ``add_scalar`` or ``add_scalars`` appends one line of JSON, at once on its way to
    the disk: what was recorded survives the process. A number that JSON does not have (nan,
    infinity) becomes ``null``.

    Args:
        save_dir: The folder; made when first needed.
        img_save_dir: Folder of the images, inside of it. Images are ``<name>_<step>.png``.
        config_save_file: File of the config, ``.py``, ``.json`` or ``.yaml``.
        scalar_save_file: File of the scalars, ``.json``.

    Raises:
        RecordError: If one of the files has another suffix.

    Example:
        >>> import tempfile, pathlib
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> tracker = LocalVisBackend(str(folder))
        >>> tracker.add_scalars({"loss": 0.25, "lr": 0.1}, step=10)
        >>> tracker.close()
        >>> print((folder / "scalars.json").read_text(), end="")
        {"loss": 0.25, "lr": 0.1, "step": 10}
    """

    def __init__(
        self,
        save_dir: str | None,
        img_save_dir: str = "vis_image",
        config_save_file: str = "config.py",
        scalar_save_file: str = "scalars.json",
    ) -> None:
        _check_suffix(config_save_file, (".py", ".json", ".yaml", ".yml"), "config_save_file")
        _check_suffix(scalar_save_file, (".json",), "scalar_save_file")
        super().__init__(save_dir)
        self._img_save_dir = img_save_dir
        self._config_save_file = config_save_file
        self._scalar_save_file = scalar_save_file
        self._files: dict[str, TextIO] = {}
        self._further_files: set[str] = set()

    def _init_env(self) -> None:
        if self._save_dir is None:
            raise RecordError("LocalVisBackend: save_dir is None, so there is nowhere to write")
        os.makedirs(self._save_dir, exist_ok=True)

    def _path(self, *names: str) -> str:
        return os.path.join(self._save_dir or "", *names)

    @property
    @force_init_env
    def experiment(self) -> LocalVisBackend:
        """The tracker itself."""
        return self

    @force_init_env
    def add_config(self, config: ConfigLike, **kwargs: Any) -> None:
        """Write the config to its file."""
        # Not strict: a config that was made in code may hold objects, which show as their repr.
        config.dump(self._path(self._config_save_file), strict=False)

    @force_init_env
    def add_image(self, name: str, image: np.ndarray, step: int = 0, **kwargs: Any) -> None:
        """Write an image to ``<name>_<step>.png``; a ``/`` in the name makes a folder."""
        from PIL import Image  # heavy: most runs write no image

        path = self._path(self._img_save_dir, f"{name}_{step}.png")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        Image.fromarray(checked_image(name, image)).save(path)

    @force_init_env
    def add_scalar(self, name: str, value: Any, step: int = 0, **kwargs: Any) -> None:
        """Append ``{name: value, "step": step}``."""
        self._append(self._scalar_save_file, _line({name: number(name, value), "step": step}))

    @force_init_env
    def add_scalars(
        self,
        scalar_dict: Mapping[str, Any],
        step: int = 0,
        file_path: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Append one line with all the scalars and their step.

        Args:
            scalar_dict: What to write; anything that JSON can hold, arrays and tensors too.
            step: When in the run, if ``scalar_dict`` does not say.
            file_path: Another file in the folder that gets the line, too, ``.json``.
            **kwargs: Not used.

        Raises:
            RecordError: If ``file_path`` is the file of the scalars, or has another suffix.
        """
        line = _line({**scalar_dict, "step": scalar_dict.get("step", step)})
        if file_path is not None:
            if file_path not in self._further_files:  # checked once, not with every record
                self._check_further_file(file_path)
                self._further_files.add(file_path)
            self._append(file_path, line)
        self._append(self._scalar_save_file, line)

    def _check_further_file(self, file_path: str) -> None:
        _check_suffix(file_path, (".json",), "file_path")
        if self._path(file_path) == self._path(self._scalar_save_file):
            raise RecordError(
                f"LocalVisBackend: file_path {file_path!r} is where all scalars go anyway"
            )

    def _append(self, name: str, line: str) -> None:
        file = self._files.get(name)
        if file is None:
            file = self._files[name] = open(self._path(name), "a", encoding="utf-8")  # noqa: SIM115
        file.write(line)
        file.flush()

    def close(self) -> None:
        """Close the files; recording again opens them again."""
        while self._files:
            self._files.popitem()[1].close()


def _line(record: Mapping[str, Any]) -> str:
    try:
        return _encode(record) + "\n"  # finite numbers and strings: nearly every record
    except (TypeError, ValueError):
        return _encode(plain(record)) + "\n"


def plain(value: Any) -> Any:
    """Bring a value to what JSON can hold.

    Raises:
        RecordError: If it is none of the types that JSON, numpy and torch have.
    """
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    raise RecordError(f"JSON has no place for {type(value).__name__}: {value!r}")


def checked_image(name: str, image: Any) -> np.ndarray:
    """Return an image that any tracker can write, as uint8.

    Raises:
        RecordError: If it is no array of whole numbers from 0 to 255, ``(H, W, 3)`` or ``(H, W)``.
    """
    import numpy as np  # loaded already: there is an array, or an error

    is_array = isinstance(image, np.ndarray)
    fits = is_array and (image.ndim == 2 or image.shape[2:] in ((3,), (4,)))
    if (
        fits
        and image.dtype.kind in "iu"
        and 0 <= image.min(initial=0) <= image.max(initial=0) < 256
    ):
        return image.astype(np.uint8, copy=False)
    found = f"{image.dtype} {image.shape}" if is_array else type(image).__name__
    raise RecordError(
        f"image {name!r} must be a numpy array of whole numbers from 0 to 255 (uint8), "
        f"(H, W, 3) RGB or (H, W) gray, got {found}"
    )


def _check_suffix(path: str, suffixes: tuple[str, ...], argument: str) -> None:
    if not path.endswith(suffixes):
        raise RecordError(
            f"LocalVisBackend: {argument} must end in {' or '.join(suffixes)}, got {path!r}"
        )

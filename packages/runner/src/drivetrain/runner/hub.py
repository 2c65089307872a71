"""Configs and models of installed packages, by ``package::path``."""

from __future__ import annotations

import importlib
from typing import Any

from torch import nn

from drivetrain.checkpoint import load_checkpoint
from drivetrain.config import Config
from drivetrain.registry import MODELS, DefaultScope, building, package2module
from drivetrain.runner._errors import ModelIndexError
from drivetrain.runner._model_index import model_by_config

__all__ = ["get_config", "get_model"]


def get_config(cfg_path: str, pretrained: bool = False) -> Config:
    """Read a config that an installed package brings.

    Args:
        cfg_path: ``package::path``, relative to the package's ``configs`` folder; the ending may be
            left out.
        pretrained: Look up where the weights are; ``cfg.model_path`` then tells.

    Raises:
        ModelIndexError: If ``cfg_path`` has another form, or there are no weights.
        ConfigFileNotFoundError: If there is no such package or config.

    Example:
        >>> cfg = get_config("mmdet::retinanet/retinanet_r50_fpn_1x_coco")  # doctest: +SKIP
        >>> cfg.model.type                                                  # doctest: +SKIP
        'RetinaNet'
    """
    package, path = _split(cfg_path)
    cfg = Config.fromfile(f"{package}::{path}")
    if pretrained:
        cfg.model_path = model_by_config(package, path).weights
    return cfg


def get_model(cfg_path: str, pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Build a model of an installed package.

    Args:
        cfg_path: As for :func:`get_config`.
        pretrained: Load its weights.
        **kwargs: Further arguments of the model, where its config does not give them.

    Returns:
        The model, with the weights if ``pretrained``.
    """
    package, _ = _split(cfg_path)
    cfg = get_config(cfg_path, pretrained)
    register_modules_of(package)
    scope = cfg.get("default_scope") or package
    with DefaultScope.overwrite_default_scope(scope), building("model"):
        model = MODELS.build(cfg.model, default_args=kwargs)
    if pretrained:
        load_checkpoint(model, cfg.model_path, map_location="cpu")
    return model


def register_modules_of(package: str) -> None:
    """Import what registers the components of a package.

    That is its ``utils.register_all_modules()`` where it has one, as packages for the reference
    engine do; else the import of the package itself. Packages that announce their components by
    entry points need neither.
    """
    try:
        module = package2module(package)
    except ImportError:
        module = package
    importlib.import_module(module)
    try:
        utils = importlib.import_module(f"{module}.utils")
    except ModuleNotFoundError as err:
        if err.name != f"{module}.utils":
            raise
        return
    register = getattr(utils, "register_all_modules", None)
    if register is not None:
        register(init_default_scope=False)


def _split(cfg_path: str) -> tuple[str, str]:
    package, mark, path = cfg_path.partition("::")
    if not (package and mark and path):
        raise ModelIndexError(
            f"{cfg_path!r}: give package::path, such as 'mmdet::retinanet/retinanet_r50_fpn.py'"
        )
    return package, path if path.endswith((".py", ".yaml", ".yml", ".json")) else f"{path}.py"

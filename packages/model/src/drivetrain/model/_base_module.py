"""Modules that know how their weights are initialized."""

from __future__ import annotations

import copy
import logging
from abc import ABC
from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from drivetrain.dist import is_model_wrapper, master_only
from drivetrain.logging import MMLogger, print_log
from drivetrain.model._errors import ModelTypeError
from drivetrain.model._initializers import PretrainedInit, initialize
from drivetrain.model._weight_init import fingerprint, update_init_info
from drivetrain.registry import MODELS

InitCfg = Mapping[str, Any] | list[Mapping[str, Any]]


class BaseModule(nn.Module, ABC):
    """A module with a recipe for its weights.

    Args:
        init_cfg: A node of an initializer, or a list of them, see
            :func:`~drivetrain.model.initialize`.

    Attributes:
        init_cfg: The recipe.
        _params_init_info: During ``init_weights``: what initialized each parameter.
    """

    def __init__(self, init_cfg: InitCfg | None = None) -> None:
        super().__init__()
        self._is_init = False
        self.init_cfg = copy.deepcopy(init_cfg)

    @property
    def is_init(self) -> bool:
        """Whether ``init_weights`` was called."""
        return self._is_init

    @is_init.setter
    def is_init(self, value: bool) -> None:
        self._is_init = value

    def init_weights(self) -> None:
        """Initialize the weights: own recipe first, then the children's, then what is pretrained.

        Children that have ``init_weights`` are asked, those in a wrapper such as ``DataParallel``
        too. What lies in a container of torch (``nn.Sequential``, ``nn.ModuleList``) gets this
        module's recipe only, as in the reference engine: models count on it. Use
        :class:`Sequential`, :class:`ModuleList` and :class:`ModuleDict` for parts with recipes of
        their own. It works once; a further call changes nothing, and says so. The outermost call
        logs what initialized each parameter.
        """
        outermost = not hasattr(self, "_params_init_info")
        if outermost:
            self._open_notes()
        try:
            if self._is_init:
                print_log(
                    f"{type(self).__name__}.init_weights was called before; nothing is done.",
                    logger="current",
                    level=logging.WARNING,
                )
            else:
                self._init_own_and_children()
                self._is_init = True
            if outermost:
                self._report_init()
        finally:
            if outermost:
                self._close_notes()

    def _init_own_and_children(self) -> None:
        recipes = _recipes(self)
        pretrained = [cfg for cfg in recipes if cfg.get("type") in ("Pretrained", PretrainedInit)]
        initialize(self, [cfg for cfg in recipes if cfg not in pretrained])
        for child in self.children():
            _init_child(child)
        # Last: what was learned overwrites what was drawn.
        initialize(self, pretrained)

    def _open_notes(self) -> None:
        unchanged = f"not changed by init_weights of {type(self).__name__}"
        notes = {
            param: {"init_info": unchanged, "fingerprint": fingerprint(param)}
            for param in self.parameters()
        }
        for module in self.modules():
            module._params_init_info = notes  # type: ignore[assignment]  # shared by the whole tree

    def _close_notes(self) -> None:
        for module in self.modules():
            if hasattr(module, "_params_init_info"):
                del module._params_init_info

    @master_only
    def _report_init(self) -> None:
        """Write what initialized each parameter to the log file, or to the log where none is."""
        notes = self._params_init_info
        lines = ["Name of parameter - Initialization information"]
        for name, param in self.named_parameters():
            info = notes[param]["init_info"] if param in notes else "made during init_weights"  # type: ignore[index,operator]  # notes are a dict of dicts
            lines.append(f"{name} - {tuple(param.shape)}: {info}")
        logger = MMLogger.get_current_instance()
        files = [handler for handler in logger.handlers if isinstance(handler, logging.FileHandler)]
        message = "\n".join(lines)
        if not files:
            logger.info(message)
        record = logger.makeRecord(logger.name, logging.INFO, __file__, 0, message, (), None)
        for handler in files:
            handler.handle(record)

    def __repr__(self) -> str:
        text = super().__repr__()
        return f"{text}\ninit_cfg={self.init_cfg}" if self.init_cfg else text


def _recipes(module: BaseModule) -> list[Mapping[str, Any]]:
    cfg = module.init_cfg
    if not cfg:
        return []
    recipes = [cfg] if isinstance(cfg, Mapping) else cfg
    if not isinstance(recipes, list | tuple) or not all(isinstance(r, Mapping) for r in recipes):
        raise ModelTypeError(
            f"{type(module).__name__}: init_cfg must be a dict or a list of dicts, got {cfg!r}"
        )
    return list(recipes)


def _init_child(module: nn.Module) -> None:
    if is_model_wrapper(module) and not hasattr(module, "init_weights"):
        module = module.module  # type: ignore[assignment]  # every wrapper holds its model there
    init_weights = getattr(module, "init_weights", None)
    if init_weights is not None and not getattr(module, "is_init", False):
        init_weights()
        if hasattr(module, "_params_init_info"):
            update_init_info(module, init_info=f"init_weights of {type(module).__name__}")


@MODELS.register_module()  # what a list of nodes is built into
class Sequential(BaseModule, nn.Sequential):
    """``nn.Sequential`` with a recipe for its weights.

    Args:
        *args: Modules in order, or one ordered dict of them.
        init_cfg: See :class:`BaseModule`.
    """

    def __init__(self, *args: Any, init_cfg: InitCfg | None = None) -> None:
        BaseModule.__init__(self, init_cfg)
        nn.Sequential.__init__(self, *args)


class ModuleList(BaseModule, nn.ModuleList):
    """``nn.ModuleList`` with a recipe for its weights.

    Args:
        modules: Modules in order.
        init_cfg: See :class:`BaseModule`.
    """

    def __init__(
        self, modules: Iterable[nn.Module] | None = None, init_cfg: InitCfg | None = None
    ) -> None:
        BaseModule.__init__(self, init_cfg)
        nn.ModuleList.__init__(self, modules)


class ModuleDict(BaseModule, nn.ModuleDict):
    """``nn.ModuleDict`` with a recipe for its weights.

    Args:
        modules: Name and module, as a mapping or as pairs.
        init_cfg: See :class:`BaseModule`.
    """

    def __init__(
        self, modules: Mapping[str, nn.Module] | None = None, init_cfg: InitCfg | None = None
    ) -> None:
        BaseModule.__init__(self, init_cfg)
        nn.ModuleDict.__init__(self, modules)

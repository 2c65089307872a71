"""Initialization as components, for ``init_cfg``."""

from __future__ import annotations

import copy
import logging
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from torch import nn

from drivetrain.logging import print_log
from drivetrain.model import _weight_init as functions
from drivetrain.model._errors import InitCfgError, ModelTypeError, nearest
from drivetrain.model._weight_init import Distribution, bias_init_with_prob, update_init_info
from drivetrain.registry import WEIGHT_INITIALIZERS


class BaseInit(ABC):
    """Initializes the modules of certain classes within a module.

    Args:
        bias: Fills biases.
        bias_prob: Instead of ``bias``: the probability that a sigmoid should give at first.
        layer: Names of the classes, of which subclasses are initialized too; none means none,
            except where the initializer stands in an ``override``, which names its module.

    Raises:
        ModelTypeError: If an argument has the wrong type.
    """

    def __init__(
        self,
        *,
        bias: float = 0,
        bias_prob: float | None = None,
        layer: str | list[str] | None = None,
    ) -> None:
        if not isinstance(bias, int | float):
            raise ModelTypeError(f"bias must be a number, got {type(bias).__name__}")
        if bias_prob is not None and not isinstance(bias_prob, float):
            raise ModelTypeError(f"bias_prob must be a float, got {type(bias_prob).__name__}")
        if layer is not None and not isinstance(layer, str | list):
            raise ModelTypeError(
                f"layer must be a class name or a list of them, got {type(layer).__name__}"
            )
        self.bias = bias if bias_prob is None else bias_init_with_prob(bias_prob)
        self.layer = [layer] if isinstance(layer, str) else list(layer or [])
        self.wholemodule = False

    @abstractmethod
    def init_module(self, module: nn.Module) -> None:
        """Initialize this module itself, not its children."""

    def __call__(self, module: nn.Module) -> None:
        """Initialize what the settings select in ``module``, and note it."""
        selected = [part for part in module.modules() if self.wholemodule or self._selects(part)]
        for part in selected:
            self.init_module(part)
        if self.layer and not selected:
            classes = {type(part).__name__ for part in module.modules()}
            hints = (nearest(layer, classes) for layer in self.layer)
            warnings.warn(
                f"init_cfg: {type(self).__name__} changes nothing: {type(module).__name__} "
                f"holds no {' and no '.join(self.layer)}.{next(filter(None, hints), '')}",
                stacklevel=2,
            )
        if hasattr(module, "_params_init_info"):
            update_init_info(module, init_info=self._get_init_info())

    def _selects(self, module: nn.Module) -> bool:
        return any(base.__name__ in self.layer for base in type(module).__mro__)

    def _get_init_info(self) -> str:
        settings = [f"{k}={v}" for k, v in vars(self).items() if k not in ("layer", "wholemodule")]
        return f"{type(self).__name__}: {', '.join(settings)}"


@WEIGHT_INITIALIZERS.register_module(name="Constant")
class ConstantInit(BaseInit):
    """Fills weights with a constant.

    Args:
        val: Fills weights.
        **kwargs: ``bias``, ``bias_prob``, ``layer``, see :class:`BaseInit`.
    """

    def __init__(self, val: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.val = val

    def init_module(self, module: nn.Module) -> None:
        """Initialize this module itself.

        Args:
            module: Its own weight and bias are filled in place, whatever its class.
        """
        functions.constant_init(module, self.val, self.bias)


@WEIGHT_INITIALIZERS.register_module(name="Xavier")
class XavierInit(BaseInit):
    """Draws weights as Glorot and Bengio (2010) do.

    Normal: mean 0, standard deviation ``gain * sqrt(2 / (fan_in + fan_out))``. Uniform: between
    ``-b`` and ``b``, where ``b`` is ``sqrt(3)`` times that.

    Args:
        gain: Factor of the standard deviation.
        distribution: ``'normal'`` or ``'uniform'``.
        **kwargs: ``bias``, ``bias_prob``, ``layer``, see :class:`BaseInit`.

    Source: Glorot and Bengio, Understanding the difficulty of training deep feedforward neural
    networks (AISTATS 2010).
    """

    def __init__(
        self, gain: float = 1, distribution: Distribution = "normal", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.gain = gain
        self.distribution: Distribution = distribution

    def init_module(self, module: nn.Module) -> None:
        """Initialize this module itself.

        Args:
            module: Its own weight and bias are filled in place, whatever its class.
        """
        functions.xavier_init(module, self.gain, self.bias, self.distribution)


@WEIGHT_INITIALIZERS.register_module(name="Normal")
class NormalInit(BaseInit):
    """Draws weights from a normal distribution.

    Args:
        mean: Its mean.
        std: Its standard deviation.
        **kwargs: ``bias``, ``bias_prob``, ``layer``, see :class:`BaseInit`.
    """

    def __init__(self, mean: float = 0, std: float = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mean = mean
        self.std = std

    def init_module(self, module: nn.Module) -> None:
        """Initialize this module itself.

        Args:
            module: Its own weight and bias are filled in place, whatever its class.
        """
        functions.normal_init(module, self.mean, self.std, self.bias)


@WEIGHT_INITIALIZERS.register_module(name="TruncNormal")
class TruncNormalInit(BaseInit):
    """Draws weights from a normal distribution without its tails.

    Args:
        mean: Mean before cutting.
        std: Standard deviation before cutting.
        a: Smallest value.
        b: Largest value.
        **kwargs: ``bias``, ``bias_prob``, ``layer``, see :class:`BaseInit`.
    """

    def __init__(
        self, mean: float = 0, std: float = 1, a: float = -2, b: float = 2, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.mean = mean
        self.std = std
        self.a = a
        self.b = b

    def init_module(self, module: nn.Module) -> None:
        """Initialize this module itself.

        Args:
            module: Its own weight and bias are filled in place, whatever its class.
        """
        functions.trunc_normal_init(module, self.mean, self.std, self.a, self.b, self.bias)


@WEIGHT_INITIALIZERS.register_module(name="Uniform")
class UniformInit(BaseInit):
    """Draws weights uniformly.

    Args:
        a: Smallest value.
        b: Largest value.
        **kwargs: ``bias``, ``bias_prob``, ``layer``, see :class:`BaseInit`.
    """

    def __init__(self, a: float = 0.0, b: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.a = a
        self.b = b

    def init_module(self, module: nn.Module) -> None:
        """Initialize this module itself.

        Args:
            module: Its own weight and bias are filled in place, whatever its class.
        """
        functions.uniform_init(module, self.a, self.b, self.bias)


@WEIGHT_INITIALIZERS.register_module(name="Kaiming")
class KaimingInit(BaseInit):
    """Draws weights as He et al. (2015) do.

    Normal: mean 0, standard deviation ``g / sqrt(fan)``. Uniform: between ``-b`` and ``b``, where
    ``b`` is ``sqrt(3)`` times that. ``g`` belongs to the nonlinearity: ``sqrt(2)`` for ``'relu'``,
    ``sqrt(2 / (1 + a ** 2))`` for ``'leaky_relu'``.

    Args:
        a: Negative slope of the rectifier behind; only for ``'leaky_relu'``.
        mode: ``'fan_in'`` keeps the variance in the forward pass, ``'fan_out'`` in the backward.
        nonlinearity: Name of the function behind, as in ``torch.nn.functional``.
        distribution: ``'normal'`` or ``'uniform'``.
        **kwargs: ``bias``, ``bias_prob``, ``layer``, see :class:`BaseInit`.

    Source: He et al., Delving Deep into Rectifiers (ICCV 2015), arXiv:1502.01852, section 2.2.
    """

    def __init__(
        self,
        a: float = 0,
        mode: Literal["fan_in", "fan_out"] = "fan_out",
        nonlinearity: str = "relu",
        distribution: Distribution = "normal",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.a = a
        self.mode: Literal["fan_in", "fan_out"] = mode
        self.nonlinearity = nonlinearity
        self.distribution: Distribution = distribution

    def init_module(self, module: nn.Module) -> None:
        """Initialize this module itself.

        Args:
            module: Its own weight and bias are filled in place, whatever its class.
        """
        functions.kaiming_init(
            module, self.a, self.mode, self.nonlinearity, self.bias, self.distribution
        )


@WEIGHT_INITIALIZERS.register_module(name="Caffe2Xavier")
class Caffe2XavierInit(KaimingInit):
    """Draws weights as Caffe2's XavierFill does.

    Between ``-sqrt(3 / fan_in)`` and ``sqrt(3 / fan_in)``.

    Args:
        **kwargs: ``bias``, ``bias_prob``, ``layer``, see :class:`BaseInit`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            a=1, mode="fan_in", nonlinearity="leaky_relu", distribution="uniform", **kwargs
        )


@WEIGHT_INITIALIZERS.register_module(name="Pretrained")
class PretrainedInit:
    """Loads weights from a checkpoint.

    Args:
        checkpoint: Path or address of the checkpoint.
        prefix: Load only the part of the checkpoint whose names start with it, without it.
        map_location: Where the tensors are put while loading.
    """

    def __init__(
        self, checkpoint: str, prefix: str | None = None, map_location: Any | None = None
    ) -> None:
        self.checkpoint = checkpoint
        self.prefix = prefix
        self.map_location = map_location
        self.wholemodule = False

    def __call__(self, module: nn.Module) -> None:
        """Load the weights into ``module``, and note it.

        Args:
            module: Its parameters and buffers are overwritten in place.
        """
        # Not at the top: most models load nothing, and this brings in every file backend.
        from drivetrain.checkpoint import (
            _load_checkpoint_with_prefix,
            load_checkpoint,
            load_state_dict,
        )

        if self.prefix is None:
            print_log(f"Loading weights from {self.checkpoint}", logger="current")
            load_checkpoint(
                module, self.checkpoint, map_location=self.map_location, logger="current"
            )
        else:
            print_log(
                f"Loading {self.prefix!r} of the weights from {self.checkpoint}", logger="current"
            )
            state = _load_checkpoint_with_prefix(
                self.prefix, self.checkpoint, map_location=self.map_location
            )
            load_state_dict(module, state, strict=False, logger="current")
        if hasattr(module, "_params_init_info"):
            update_init_info(module, init_info=f"{type(self).__name__}: from {self.checkpoint}")


def initialize(
    module: nn.Module, init_cfg: Mapping[str, Any] | Sequence[Mapping[str, Any]]
) -> None:
    """Initialize a module as configured.

    Args:
        module: The module.
        init_cfg: A node of an initializer, or a list of them, applied in order. ``layer`` says
            which classes of modules inside are meant. ``override`` is a dict, or a list of them,
            whose ``name`` names a submodule that is initialized as a whole: by its own node, or
            without a node by the outer one. With neither, an initializer that goes by layers
            changes nothing, and a warning says so.

    Raises:
        ModelTypeError: If ``init_cfg`` or ``override`` is neither dict nor list.
        InitCfgError: If an ``override`` has no ``name``, settings without ``type``, or names what
            the module does not have.

    Example:
        >>> net = nn.Sequential(nn.Conv1d(3, 1, 3), nn.Linear(1, 2))
        >>> initialize(net, [dict(type="Constant", layer="Conv1d", val=1),
        ...                  dict(type="Normal", layer="Linear", std=0.01)])
    """
    for cfg in _as_list(init_cfg, "init_cfg"):
        own = copy.deepcopy(dict(cfg))
        override = own.pop("override", None)
        initializer = _apply_node(module, own)
        if override is None and getattr(initializer, "layer", None) == []:
            print_log(
                f"init_cfg of {type(module).__name__}: {dict(cfg)} initializes nothing, for it has "
                "no 'layer', the names of the classes it is for, nor 'override'.",
                logger="current",
                level=logging.WARNING,
            )
        if override is not None:
            own.pop("layer", None)  # a named module is initialized whatever its class
            for node in _as_list(override, "override"):
                _apply_override(module, dict(node), own)


def _as_list(cfg: Any, what: str) -> list[Mapping[str, Any]]:
    nodes = [cfg] if isinstance(cfg, Mapping) else cfg
    is_list = isinstance(nodes, Sequence) and not isinstance(nodes, str)
    if not is_list or not all(isinstance(node, Mapping) for node in nodes):
        raise ModelTypeError(f"{what} must be a dict or a list of dicts, got {cfg!r}")
    return list(nodes)


def _apply_node(module: nn.Module, cfg: Mapping[str, Any], wholemodule: bool = False) -> Any:
    initializer = WEIGHT_INITIALIZERS.build(cfg)
    initializer.wholemodule = wholemodule
    initializer(module)
    return initializer


def _apply_override(module: nn.Module, node: dict[str, Any], outer: Mapping[str, Any]) -> None:
    name = node.pop("name", None)
    if name is None:
        raise InitCfgError(f"init_cfg.override: the key 'name' is missing in {node}")
    if node and "type" not in node:
        raise InitCfgError(
            f"init_cfg.override of {name!r}: settings need a 'type' of their own, got {node}"
        )
    try:
        part = module.get_submodule(name)
    except AttributeError as err:
        known = [child for child, _ in module.named_modules() if child]
        raise InitCfgError(
            f"init_cfg.override: {type(module).__name__} has no submodule {name!r}."
            f"{nearest(name, known)} It has {', '.join(known[:8])}"
        ) from err
    _apply_node(part, node or outer, wholemodule=True)

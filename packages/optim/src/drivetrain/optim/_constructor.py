"""Settings by parameter: which learning rate and weight decay each parameter gets."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from math import isfinite
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from drivetrain.logging import print_log
from drivetrain.optim._errors import OptimTypeError, ParamwiseError, misspelt, nearest
from drivetrain.optim._optim_wrapper import OptimWrapper
from drivetrain.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS, building

_NORM_LAYERS = (_BatchNorm, _InstanceNorm, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
# By name: deformable convolutions live in other libraries, which need not be installed.
_DEFORMABLE_CONVS = frozenset({"DeformConv2d", "ModulatedDeformConv2d"})
_NO_DECAY = {"decay_mult": 0.0}
_RULES = frozenset(
    {
        "bias_lr_mult",
        "bias_decay_mult",
        "norm_decay_mult",
        "flat_decay_mult",
        "dwconv_decay_mult",
        "dcn_offset_lr_mult",
        "bypass_duplicate",
        "custom_keys",
        "merge_groups",
        "allow_unmatched_keys",
    }
)


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class DefaultOptimWrapperConstructor:
    """Builds an optimizer wrapper for a model, with settings by parameter where asked.

    ``paramwise_cfg`` may hold:

    - ``custom_keys``: a dict from a part of a parameter's name to ``lr_mult``, ``decay_mult`` and
      any other setting of its group. The longest matching key wins, then the first in the alphabet,
      and the other rules are ignored for that parameter. The name is matched with a dot in front,
      so ``'.head'`` matches a module ``head`` and not ``my_head``.
    - ``bias_lr_mult``, ``bias_decay_mult``: for biases, except those of normalization layers and of
      deformable convolutions' offsets.
    - ``norm_decay_mult``: for weights and biases of normalization layers.
    - ``dwconv_decay_mult``: for weights and biases of depthwise convolutions; overrides
      ``bias_decay_mult`` there.
    - ``flat_decay_mult``: for one-dimensional parameters that no rule above decided.
    - ``dcn_offset_lr_mult``: for the offset layers of deformable convolutions; overrides
      ``bias_lr_mult`` there.
    - ``bypass_duplicate``: leave out a parameter that the model holds a second time.
    - ``merge_groups``: put parameters with equal settings into one group. Off by default, because
      it changes the number of groups, and with it the optimizer's state dict; many small groups
      make fused optimizers slow.
    - ``allow_unmatched_keys``: accept ``custom_keys`` that fit no parameter of this model. One that
      only says ``decay_mult=0`` is accepted with a warning: schedules for many models list them.

    Args:
        optim_wrapper_cfg: Node of the wrapper; ``optimizer`` is the node of the optimizer, ``type``
            defaults to ``'OptimWrapper'``.
        paramwise_cfg: The rules above.

    Raises:
        OptimTypeError: If one of the arguments is no dict.
        ParamwiseError: If a rule is unknown, or multiplies a setting that the optimizer lacks.

    Example:
        >>> constructor = DefaultOptimWrapperConstructor(
        ...     dict(optimizer=dict(type="SGD", lr=0.1, weight_decay=0.01)),
        ...     dict(norm_decay_mult=0.0, custom_keys={"0.weight": dict(lr_mult=0.1)}))
        >>> model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.LayerNorm(2))
        >>> [round(lr, 3) for lr in constructor(model).get_lr()["lr"]]
        [0.01, 0.1, 0.1]
    """

    def __init__(
        self,
        optim_wrapper_cfg: Mapping[str, Any],
        paramwise_cfg: Mapping[str, Any] | None = None,
    ) -> None:
        if not isinstance(optim_wrapper_cfg, Mapping):
            raise OptimTypeError(
                f"optim_wrapper_cfg must be a dict, got {type(optim_wrapper_cfg).__name__}"
            )
        if "optimizer" not in optim_wrapper_cfg:
            raise ParamwiseError(
                "optim_wrapper: the key 'optimizer' is missing, e.g. "
                "optimizer=dict(type='SGD', lr=0.01)." + misspelt("optimizer", optim_wrapper_cfg)
            )
        if paramwise_cfg is not None and not isinstance(paramwise_cfg, Mapping):
            raise OptimTypeError(
                f"optim_wrapper.paramwise_cfg must be a dict, got {type(paramwise_cfg).__name__}"
            )
        self.optim_wrapper_cfg = dict(optim_wrapper_cfg)
        self.optimizer_cfg = self.optim_wrapper_cfg.pop("optimizer")
        if not isinstance(self.optimizer_cfg, Mapping):
            raise OptimTypeError(
                "optim_wrapper.optimizer must be a dict with 'type', "
                f"got {type(self.optimizer_cfg).__name__}"
            )
        self.paramwise_cfg: dict[str, Any] = {} if paramwise_cfg is None else dict(paramwise_cfg)
        self.base_lr: float | None = self.optimizer_cfg.get("lr")
        self.base_wd: float | None = self.optimizer_cfg.get("weight_decay")
        self._validate_cfg()

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimizer for ``model`` (or for what a wrapper holds as ``module``)."""
        model = getattr(model, "module", model)
        with building("optimizer"):
            optimizer = OPTIMIZERS.build({**self.optimizer_cfg, "params": self._params_of(model)})
        cfg = {"type": "OptimWrapper", **self.optim_wrapper_cfg, "optimizer": optimizer}
        wrapper = OPTIM_WRAPPERS.build(cfg)
        if self.paramwise_cfg and isinstance(wrapper, OptimWrapper):
            # The groups differ: keep the settings they were derived from, for logs and schedulers.
            # A group like the others, for whoever goes through `param_groups`, of no parameters.
            wrapper.base_param_settings = {"params": [], **optimizer.defaults}
        return wrapper

    def add_params(
        self,
        params: list[dict[str, Any]],
        module: nn.Module,
        prefix: str = "",
        is_dcn_module: bool | None = None,
    ) -> None:
        """Append a group for each parameter of ``module`` and of its children to ``params``.

        Override this to set groups by a rule of your own.

        Args:
            params: Parameter groups; appended to.
            module: The module to add.
            prefix: Its name in the model.
            is_dcn_module: Whether it lies directly in a deformable convolution.
        """
        for name, param in module.named_parameters(recurse=False):
            full_name = f"{prefix}.{name}" if prefix else name
            group: dict[str, Any] = {"params": [param]}
            if self.paramwise_cfg.get("bypass_duplicate") and _holds(params, param):
                print_log(
                    f"{full_name} is a parameter that is in the optimizer already; left out.",
                    logger="current",
                    level=logging.WARNING,
                )
                continue
            if param.requires_grad:
                group.update(self._settings(full_name, name, param, module, bool(is_dcn_module)))
            params.append(group)
            for key, value in group.items():
                if key != "params":
                    print_log(
                        f"paramwise_options -- {full_name}:{key}={value}",
                        logger="current",
                        level=logging.DEBUG,  # one a parameter; `describe` shows all as a table
                    )

        # By name: the libraries that have such layers need not be installed. The ones with offset
        # layers of their own are subclasses, e.g. ModulatedDeformConv2dPack.
        inside_dcn = any(base.__name__ in _DEFORMABLE_CONVS for base in type(module).__mro__)
        for name, child in module.named_children():
            child_prefix = f"{prefix}.{name}" if prefix else name
            self.add_params(params, child, prefix=child_prefix, is_dcn_module=inside_dcn)

    def _params_of(self, model: nn.Module) -> list[Any]:
        if not self.paramwise_cfg:
            return list(model.parameters())
        groups: list[dict[str, Any]] = []
        self.add_params(groups, model)
        if type(self).add_params is DefaultOptimWrapperConstructor.add_params:
            self._check_keys_matched(model)
        return _merged(groups) if self.paramwise_cfg.get("merge_groups") else groups

    def _settings(
        self, full_name: str, name: str, param: Tensor, module: nn.Module, in_dcn: bool
    ) -> dict[str, Any]:
        """Return the settings of one parameter that differ from the optimizer's."""
        key = self._matching_key(full_name)
        if key is not None:
            return self._custom_settings(self.paramwise_cfg["custom_keys"][key])
        settings: dict[str, Any] = {}
        lr_mult = self._lr_mult(full_name, name, module, in_dcn)
        if lr_mult is not None:
            settings["lr"] = self._times_lr(lr_mult)
        decay_mult = self._decay_mult(name, param, module, in_dcn)
        if decay_mult is not None and self.base_wd is not None:
            settings["weight_decay"] = self.base_wd * decay_mult
        return settings

    def _matching_key(self, full_name: str) -> str | None:
        dotted = f".{full_name}"
        keys = [key for key in self.paramwise_cfg.get("custom_keys", ()) if key in dotted]
        return min(keys, key=lambda key: (-len(key), key)) if keys else None

    def _custom_settings(self, custom: Mapping[str, Any]) -> dict[str, Any]:
        settings: dict[str, Any] = {}
        if self.base_lr is not None:
            settings["lr"] = self.base_lr * custom.get("lr_mult", 1.0)
        if self.base_wd is not None:
            settings["weight_decay"] = self.base_wd * custom.get("decay_mult", 1.0)
        return {**settings, **custom}

    def _lr_mult(self, full_name: str, name: str, module: nn.Module, in_dcn: bool) -> float | None:
        rules = self.paramwise_cfg
        is_offset = in_dcn and "conv_offset" in full_name and isinstance(module, nn.Conv2d)
        if is_offset and rules.get("dcn_offset_lr_mult") is not None:
            return rules["dcn_offset_lr_mult"]
        if name == "bias" and not (isinstance(module, _NORM_LAYERS) or in_dcn):
            return rules.get("bias_lr_mult")
        return None

    def _decay_mult(
        self, name: str, param: Tensor, module: nn.Module, in_dcn: bool
    ) -> float | None:
        is_norm = isinstance(module, _NORM_LAYERS)
        is_dwconv = isinstance(module, nn.Conv2d) and module.in_channels == module.groups
        cases = (
            ("norm_decay_mult", is_norm),
            ("dwconv_decay_mult", is_dwconv),
            ("bias_decay_mult", name == "bias" and not is_norm and not in_dcn),
            ("flat_decay_mult", param.ndim == 1 and not in_dcn),
        )
        for rule, applies in cases:
            if applies and self.paramwise_cfg.get(rule) is not None:
                return self.paramwise_cfg[rule]
        return None

    def _times_lr(self, mult: float) -> float:
        if self.base_lr is None:
            raise ParamwiseError(
                "optim_wrapper.paramwise_cfg multiplies the learning rate, but the optimizer's "
                "node has no 'lr'. Give it one."
            )
        return self.base_lr * mult

    @staticmethod
    def _require_numbers(where: str, factors: Mapping[str, Any]) -> None:
        for name, factor in factors.items():
            is_number = isinstance(factor, int | float) and isfinite(factor)
            if str(name).endswith("_mult") and factor is not None and not is_number:
                raise ParamwiseError(f"{where}.{name} must be a finite number, got {factor!r}")

    def _validate_cfg(self) -> None:
        where = "optim_wrapper.paramwise_cfg"
        if type(self) is DefaultOptimWrapperConstructor:
            for rule in self.paramwise_cfg:
                if rule not in _RULES:
                    raise ParamwiseError(
                        f"{where}: unknown rule {rule!r}.{nearest(rule, _RULES)} "
                        f"Known: {', '.join(sorted(_RULES))}"
                    )
        custom_keys = self.paramwise_cfg.get("custom_keys", {})
        if not isinstance(custom_keys, Mapping):
            raise OptimTypeError(
                f"{where}.custom_keys must be a dict, got {type(custom_keys).__name__}"
            )
        for key, custom in custom_keys.items():
            if not isinstance(custom, Mapping):
                raise OptimTypeError(
                    f"{where}.custom_keys[{key!r}] must be a dict such as dict(lr_mult=0.1), "
                    f"got {custom!r}"
                )
        self._require_numbers(where, {k: v for k, v in self.paramwise_cfg.items() if k in _RULES})
        for key, custom in custom_keys.items():
            self._require_numbers(f"{where}.custom_keys[{key!r}]", custom)
        decaying = [rule for rule in self.paramwise_cfg if str(rule).endswith("decay_mult")]
        decaying += [
            f"custom_keys[{k!r}].decay_mult" for k, c in custom_keys.items() if "decay_mult" in c
        ]
        if decaying and self.base_wd is None:
            raise ParamwiseError(
                f"{where}.{decaying[0]} multiplies the weight decay, but the optimizer's node has "
                "no 'weight_decay'. Give it one."
            )
        scaling = [k for k, c in custom_keys.items() if "lr_mult" in c]
        if scaling and self.base_lr is None:
            raise ParamwiseError(
                f"{where}.custom_keys[{scaling[0]!r}].lr_mult multiplies the learning rate, but "
                "the optimizer's node has no 'lr'. Give it one."
            )

    def _check_keys_matched(self, model: nn.Module) -> None:
        # Those that are frozen or left out as duplicates count: their key is no mistake.
        names = [name for name, _ in model.named_parameters(remove_duplicate=False)]
        keys = self.paramwise_cfg.get("custom_keys", {})
        unmatched = [key for key in keys if not any(key in f".{name}" for name in names)]
        if not unmatched or self.paramwise_cfg.get("allow_unmatched_keys"):
            return
        prefixes = {name.rsplit(".", depth)[0] for name in names for depth in range(4)}
        for key in sorted(unmatched, key=lambda key: (keys[key] == _NO_DECAY, key)):
            message = (
                f"optim_wrapper.paramwise_cfg.custom_keys: {key!r} is in no parameter's name."
                f"{nearest(key, prefixes)} The model has {', '.join(names[:4])}, ... "
                f"({len(names)}). Correct the key, remove it, or set "
                "paramwise_cfg.allow_unmatched_keys=True."
            )
            if keys[key] != _NO_DECAY:
                raise ParamwiseError(message)
            print_log(message, logger="current", level=logging.WARNING)


def _holds(groups: list[dict[str, Any]], param: Tensor) -> bool:
    return any(param is member for group in groups for member in group["params"])


def _merged(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    merged: list[dict[str, Any]] = []
    for group in groups:
        settings = {key: value for key, value in group.items() if key != "params"}
        for other in merged:
            if {key: value for key, value in other.items() if key != "params"} == settings:
                other["params"] += group["params"]
                break
        else:
            merged.append({**group, "params": list(group["params"])})
    return merged

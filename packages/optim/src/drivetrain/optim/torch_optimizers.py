"""The optimizers of torch, and of libraries beside it, under their names in ``OPTIMIZERS``.

The registry imports this module when a config first asks for an optimizer. It takes every public
optimizer class of ``torch.optim``. Those of other libraries are stood in for by a function each,
which imports the library when it is called.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer

from drivetrain.optim._errors import OptimDependencyError
from drivetrain.registry import OPTIMIZERS

#: Registered name -> (module, class, distribution). A name that torch has too carries its library's
#: name in front.
THIRD_PARTY_OPTIMIZERS: dict[str, tuple[str, str, str]] = {
    "DAdaptAdaGrad": ("dadaptation", "DAdaptAdaGrad", "dadaptation"),
    "DAdaptAdam": ("dadaptation", "DAdaptAdam", "dadaptation"),
    "DAdaptAdan": ("dadaptation", "DAdaptAdan", "dadaptation"),
    "DAdaptLion": ("dadaptation", "DAdaptLion", "dadaptation"),
    "DAdaptSGD": ("dadaptation", "DAdaptSGD", "dadaptation"),
    "Lion": ("lion_pytorch", "Lion", "lion-pytorch"),
    "SophiaG": ("Sophia", "SophiaG", "Sophia-Optimizer"),
    "TransformersAdafactor": ("transformers", "Adafactor", "transformers"),
    **{
        name: ("bitsandbytes.optim", name, "bitsandbytes")
        for name in (
            "Adagrad8bit",
            "Adagrad32bit",
            "Adam8bit",
            "Adam32bit",
            "AdamW8bit",
            "AdamW32bit",
            "AdEMAMix",
            "AdEMAMix8bit",
            "AdEMAMix32bit",
            "LAMB",
            "LAMB8bit",
            "LAMB32bit",
            "LARS",
            "LARS8bit",
            "LARS32bit",
            "Lion8bit",
            "Lion32bit",
            "PagedAdEMAMix",
            "PagedAdEMAMix8bit",
            "PagedAdEMAMix32bit",
            "PagedAdam",
            "PagedAdam8bit",
            "PagedAdam32bit",
            "PagedAdamW",
            "PagedAdamW8bit",
            "PagedAdamW32bit",
            "PagedLion",
            "PagedLion8bit",
            "PagedLion32bit",
            "RMSprop8bit",
            "RMSprop32bit",
            "SGD8bit",
            "SGD32bit",
        )
    },
}


def torch_optimizers() -> dict[str, type[Optimizer]]:
    """Return every public optimizer class of the installed ``torch.optim``, by name."""
    return {
        name: member
        for name, member in vars(torch.optim).items()
        if isinstance(member, type)
        and issubclass(member, Optimizer)
        and member is not Optimizer
        and not name.startswith("_")
    }


def _stand_in(name: str, module: str, attribute: str, distribution: str) -> Callable[..., Any]:
    def build(params: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            optimizer_class = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as err:
            raise OptimDependencyError(
                f"optimizer {name!r} is {module}.{attribute}, which cannot be imported here: {err}."
                f" Install it: pip install {distribution}"
            ) from err
        return optimizer_class(params, *args, **kwargs)

    build.__name__ = build.__qualname__ = name
    build.__doc__ = f"Build ``{module}.{attribute}`` (from the distribution {distribution!r})."
    return build


def ZeroRedundancyOptimizer(params: Any, optimizer_type: str, **kwargs: Any) -> Optimizer:
    """Build an optimizer whose state is divided among the ranks (ZeRO, stage 1).

    Args:
        params: Parameters, or parameter groups.
        optimizer_type: Name of an optimizer of ``torch.optim``.
        **kwargs: Arguments of torch's ``ZeroRedundancyOptimizer``, and of the optimizer.
    """
    # Not at the top: most runs do not want it, and it imports much of torch.distributed.
    zero = importlib.import_module("drivetrain.optim._zero_redundancy")
    return zero.ZeroRedundancyOptimizer(params, optimizer_type, **kwargs)


if "ZeroRedundancyOptimizer" not in OPTIMIZERS:
    OPTIMIZERS.register_module(module=ZeroRedundancyOptimizer)
for _name, _optimizer_class in torch_optimizers().items():
    if _name not in OPTIMIZERS:
        OPTIMIZERS.register_module(name=_name, module=_optimizer_class)
for _name, _source in THIRD_PARTY_OPTIMIZERS.items():
    if _name not in OPTIMIZERS:
        OPTIMIZERS.register_module(name=_name, module=_stand_in(_name, *_source))

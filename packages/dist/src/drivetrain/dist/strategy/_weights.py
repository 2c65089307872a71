"""Names of weights, and the states of schedulers, on their way into a run."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from drivetrain.checkpoint import LoadReport, ShapeMismatch, get_state_dict
from drivetrain.dist._errors import StrategyConfigError, StrategyError

ReviseKeys = Sequence[tuple[str, str]]
STRIP_WRAPPER: ReviseKeys = ((r"^module\.", ""),)


_MAX_SHOWN = 10
#: Entry of a checkpoint whose weights lie elsewhere: their shapes, by name.
SHAPES = "weight_shapes"


def revised(weights: Mapping[str, Any], revise_keys: ReviseKeys) -> dict[str, Any]:
    """``weights`` with each pattern in their names replaced, in turn."""
    result = type(weights)() if isinstance(weights, OrderedDict) else {}
    for name, weight in weights.items():
        for pattern, replacement in revise_keys:
            name = re.sub(pattern, replacement, name)
        result[name] = weight
    if hasattr(weights, "_metadata"):  # versions of layers, which torch keeps on the dict
        result._metadata = weights._metadata  # pyrefly: ignore[missing-attribute]
    return result


@dataclass(frozen=True)
class Outline:
    """A model's weights by name, without their values: what a checkpoint of it must have.

    Attributes:
        kind: Name of the model's class.
        shapes: By name of the weight, wrappers left out.
        trained: Names of the parameters that are trained.
    """

    kind: str
    shapes: Mapping[str, tuple[int, ...]]
    trained: frozenset[str]

    @classmethod
    def of(cls, model: nn.Module) -> Outline:
        """That of a model whose parameters are not cut, or say the shapes of the whole."""
        state = get_state_dict(model, keep_vars=True)
        tensors = {n: w for n, w in state.items() if isinstance(w, Tensor) and not is_lazy(w)}
        return cls(
            type(model).__name__,
            {name: tuple(weight.shape) for name, weight in tensors.items()},
            frozenset(name for name, weight in tensors.items() if weight.requires_grad),
        )

    def report(self, shapes: Mapping[str, Sequence[int]]) -> LoadReport:
        """What would become of weights of these shapes."""
        own = self.shapes
        return LoadReport(
            loaded=sum(tuple(shapes[name]) == own[name] for name in own if name in shapes),
            missing=tuple(n for n in own if n not in shapes and "num_batches_tracked" not in n),
            unexpected=tuple(name for name in shapes if name not in own),
            mismatched=tuple(
                ShapeMismatch(name, tuple(shapes[name]), own[name])
                for name in own
                if name in shapes and tuple(shapes[name]) != own[name]
            ),
        )

    def refuse_shapes(self, checkpoint: dict[str, Any], in_full: bool) -> None:
        """``refuse_other`` by the entry ``SHAPES``, which is taken out of the checkpoint."""
        shapes = checkpoint.pop(SHAPES, None)
        if shapes is not None:
            self.refuse_other(shapes, self.report(shapes), in_full)

    def refuse_other(self, found: Mapping[str, Any], report: LoadReport, in_full: bool) -> None:
        """Refuse the weights of another model.

        Args:
            found: The weights, or anything else by their names.
            report: What became of them.
            in_full: Whether a run goes on with what belongs to each of them, such as its
                optimizer's state: then none that is trained may be missing or of another shape.

        Raises:
            StrategyConfigError: If the model has not one of their names; if ``in_full`` and some do
                not fit, or none does: names them.
        """
        fits_none = found and not report.loaded
        if fits_none and not report.mismatched:
            raise StrategyConfigError(
                f"{self.kind}: the checkpoint is of another model; it has none of its weights.\n"
                f"  It has:   {_some_names(found)}\n  Expected: {_some_names(self.shapes)}"
            )
        wrong = [f"{name}: missing" for name in report.missing if name in self.trained]
        wrong += [
            f"{name}: {tuple(there)} in the checkpoint, {tuple(here)} in the model"
            for name, there, here in report.mismatched
            if name in self.trained
        ]
        if (in_full or fits_none) and wrong:
            rows = "\n".join(f"  {row}" for row in wrong[:_MAX_SHOWN])
            more = f"\n  and {len(wrong) - _MAX_SHOWN} more" if len(wrong) > _MAX_SHOWN else ""
            where = "resume: " if in_full else ""
            raise StrategyConfigError(
                f"{where}{self.kind} is another model than in the checkpoint.\n{rows}{more}\n"
                "  Do:  give the model that the run had; or begin a new run from the weights that "
                "fit: load_from, without resume (but not from a folder of kind 'local')."
            )


def _some_names(weights: Mapping[str, Any]) -> str:
    return ", ".join(list(weights)[:3]) + (", ..." if len(weights) > 3 else "")


def load_each(schedulers: Sequence[Any], states: Sequence[dict[str, Any]]) -> None:
    if len(schedulers) != len(states):
        raise StrategyError(
            f"load_scheduler_state_dict: the checkpoint holds {len(states)} schedulers, this run "
            f"has {len(schedulers)}."
        )
    for scheduler, state in zip(schedulers, states, strict=True):
        scheduler.load_state_dict(state)

"""Which modules of a model something is done to: by class, by name or by size."""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from torch import nn

from drivetrain.dist._errors import WrapperError


@dataclass(frozen=True)
class ModuleRule:
    """Which modules of a model something is done to.

    Args:
        classes: Classes, or their names.
        names: Regular expressions that must match a module's whole name.
        min_params: Modules with at least so many parameters that no module inside took already.
    """

    classes: Sequence[str | type[nn.Module]] = field(default_factory=tuple)
    names: Sequence[str] = field(default_factory=tuple)
    min_params: int | None = None

    def select(self, model: nn.Module) -> list[tuple[str, nn.Module]]:
        """The chosen modules with their names, inner before outer, without ``model`` itself.

        Raises:
            WrapperError: If a class or pattern fits no module.
        """
        self._check(model)
        chosen: list[tuple[str, nn.Module]] = []
        taken: set[int] = set()
        for name, module in reversed(list(model.named_modules())):
            if name and self._takes(name, module, taken):
                chosen.append((name, module))
                taken.update(id(param) for param in module.parameters())
        return chosen

    def _takes(self, name: str, module: nn.Module, taken: set[int]) -> bool:
        if self._fits_class(module) or any(fits(pattern, name) for pattern in self.names):
            return True
        if self.min_params is None:
            return False
        free = sum(param.numel() for param in module.parameters() if id(param) not in taken)
        return free >= self.min_params

    def _fits_class(self, module: nn.Module) -> bool:
        lineage = type(module).__mro__
        names = {kind.__name__ for kind in lineage}
        return any(kind in (names if isinstance(kind, str) else lineage) for kind in self.classes)

    def _check(self, model: nn.Module) -> None:
        modules = dict(model.named_modules())
        for kind in self.classes:
            rule = ModuleRule(classes=[kind])
            if not any(rule._fits_class(module) for module in modules.values()):
                name = kind if isinstance(kind, str) else kind.__name__
                present = sorted({type(module).__name__ for module in modules.values()})
                raise WrapperError(
                    f"no module of {type(model).__name__} is of class {name!r}."
                    f"{nearest(name, present)}\n  Classes:  {', '.join(present[:20])}"
                )
        for pattern in self.names:
            if not any(fits(pattern, name) for name in modules):
                raise no_such_module(pattern, model)


def fits(pattern: str, name: str) -> bool:
    """Whether a regular expression matches a whole name; ``*.fc`` counts as a shell pattern."""
    try:
        return re.fullmatch(pattern, name) is not None
    except re.error:
        return fnmatch.fnmatchcase(name, pattern)


def no_such_module(pattern: str, model: nn.Module) -> WrapperError:
    """The error of a pattern that matches nothing."""
    names = [name for name, _ in model.named_modules() if name]
    return WrapperError(
        f"no module of {type(model).__name__} has a name like {pattern!r}."
        f"{nearest(pattern, names)}\n  Names:  {', '.join(names[:20])}"
    )


def nearest(text: str, names: Collection[str]) -> str:
    """A line that offers the names most like ``text``; empty where none is."""
    # A pattern's special signs are nothing that a name could resemble.
    plain = re.sub(r"\\d|\[.*?\]|[\\^$*+?()|]", "", text)
    near: list[str] = []
    # 'fc9' is like the end of 'blocks.0.fc1', not like all of it.
    for wanted in (plain, plain.rpartition(".")[2]):
        parts = wanted.count(".") + 1
        by_end: dict[str, str] = {}
        for name in names:
            by_end.setdefault(".".join(name.split(".")[-parts:]), name)
        near += [by_end[end] for end in difflib.get_close_matches(wanted, by_end, 3, cutoff=0.5)]
    offers = list(dict.fromkeys(near))[:3]
    return f"\n  Did you mean:  {', '.join(map(repr, offers))}" if offers else ""

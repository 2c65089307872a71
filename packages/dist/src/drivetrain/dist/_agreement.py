"""Finding at the start what would otherwise show as a hang or a wrong result: ranks that differ."""

from __future__ import annotations

import hashlib
import platform
import site
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor, nn
from torch.distributed import ProcessGroup
from torch.nn.parameter import is_lazy

from drivetrain.dist._errors import DataMismatchError
from drivetrain.dist._objects import all_gather_object

_MAX_ROWS = 20
_MAX_CHARS = 200


@dataclass(frozen=True)
class _Fact:
    """What is compared, and how a person reads it: without quotes, and with where it is from."""

    value: str
    shown: str | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        return self.shown or self.value


def check_agreement(facts: Mapping[str, object], group: ProcessGroup | None = None) -> None:
    """Make sure that every rank brings the same facts; nothing without a process group.

    Args:
        facts: By name, e.g. versions or settings; compared by ``==``.
        group: All ranks by default.

    Raises:
        DataMismatchError: On every rank, if any differ; says which, where and how.
    """
    gathered = all_gather_object(dict(facts), group)
    rows = []
    for name in sorted({name for theirs in gathered for name in theirs}):
        values = [theirs.get(name) for theirs in gathered]
        if any(value != values[0] for value in values):
            rows.append(f"  {name}:  {_by_rank(values)}")
    if rows:
        more = f"\n  and {len(rows) - _MAX_ROWS} more" if len(rows) > _MAX_ROWS else ""
        text = "\n".join(rows[:_MAX_ROWS])
        raise DataMismatchError(f"The ranks were not started alike:\n{text}{more}")


def check_same_settings(
    what: str, settings: Mapping[str, object], group: ProcessGroup | None = None
) -> None:
    """``check_agreement`` for many settings: they travel only where some differ.

    Args:
        what: Put before the name of a setting in the error, e.g. ``'config'``.
        settings: By name, nested at will; compared by their ``repr``, or by their type where that
            shows an address.
        group: All ranks by default.

    Raises:
        DataMismatchError: On every rank, if any differ; says which, where and how.
    """
    facts = {f"{what} {path}": _Fact(_text(value)) for path, value in _leaves(settings)}
    _check_facts(facts, group)


def check_same_model(model: nn.Module, group: ProcessGroup | None = None) -> None:
    """Make sure that the model has the same parameters and buffers on every rank.

    Args:
        model: Not wrapped yet; names, shapes and types are compared, not values.
        group: All ranks by default.

    Raises:
        DataMismatchError: On every rank, if any differ; says which, where and how.
    """
    tensors = (*model.named_parameters(), *model.named_buffers())
    facts = {f"model {name}": _described(tensor) for name, tensor in tensors}
    _check_facts(facts, group)


def check_same_code(group: ProcessGroup | None = None) -> None:
    """Make sure that every rank runs the same code.

    That is the text of the program's own modules, and the versions of those that are installed.
    Modules that ranks share are compared: a rank may load more than others.

    Args:
        group: All ranks by default.

    Raises:
        DataMismatchError: On every rank, if any differ; says which.
    """
    facts = {"version of python": _Fact(platform.python_version()), **dict(_code())}
    shared = set(facts).intersection(*all_gather_object(set(facts), group))
    _check_facts({name: facts[name] for name in shared}, group)


def _check_facts(facts: Mapping[str, _Fact], group: ProcessGroup | None) -> None:
    """``check_agreement`` for many facts: they travel only where some differ."""
    texts = sorted((name, fact.value) for name, fact in facts.items())
    digest = hashlib.sha256(repr(texts).encode()).hexdigest()
    if len(set(all_gather_object(digest, group))) > 1:
        check_agreement(facts, group)


def _code() -> Iterator[tuple[str, _Fact]]:
    """Versions of loaded modules, and the text of those that nobody installed."""
    foreign = tuple(filter(None, _installed_folders()))
    for name, module in list(sys.modules.items()):
        known = getattr(module, "__dict__", {})  # asking for what is not there may run code
        version, file = known.get("__version__"), known.get("__file__")
        if isinstance(version, str):
            yield f"version of {name}", _Fact(str(version))
        if not isinstance(file, str) or not file.endswith(".py") or file.startswith(foreign):
            continue
        try:
            text = Path(file).read_bytes()
        except OSError:  # run from an archive, or gone since
            continue
        digest = hashlib.sha256(text).hexdigest()[:12]
        yield f"code of {name}", _Fact(digest, f"{file} ({digest})")


def _installed_folders() -> Iterator[str]:
    """Where Python's own library and installed packages lie."""
    for kind in ("stdlib", "platstdlib", "purelib", "platlib"):
        yield sysconfig.get_path(kind)
    yield from site.getsitepackages()
    yield site.getusersitepackages()


def _by_rank(values: Sequence[object]) -> str:
    """Which ranks have which value; those with the same one together."""
    groups: list[tuple[object, list[int]]] = []
    for rank, value in enumerate(values):
        fitting = next((ranks for other, ranks in groups if other == value), None)
        if fitting is None:
            groups.append((value, [rank]))
        else:
            fitting.append(rank)
    return ", ".join(f"{_ranks(ranks)}: {_shortened(repr(value))}" for value, ranks in groups)


def _ranks(ranks: Sequence[int]) -> str:
    """``rank 3``, or ``ranks 0-2, 5``."""
    runs: list[list[int]] = []
    for rank in ranks:
        if runs and runs[-1][-1] == rank - 1:
            runs[-1][1:] = [rank]
        else:
            runs.append([rank])
    text = ", ".join("-".join(map(str, run)) for run in runs)
    return f"rank {text}" if len(ranks) == 1 else f"ranks {text}"


def _described(tensor: Tensor) -> _Fact:
    if is_lazy(tensor):
        return _Fact("no shape yet")
    return _Fact(f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}")


def _leaves(node: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Dotted path and value of everything in a nest of mappings and lists."""
    items: Iterable[tuple[object, object]]
    if isinstance(node, Mapping):
        items = node.items()
    elif isinstance(node, list | tuple):
        items = enumerate(node)
    elif isinstance(node, set | frozenset):  # each process orders texts in a set in its own way
        items = enumerate(sorted(node, key=repr))
    else:
        yield path, node
        return
    for key, value in items:
        yield from _leaves(value, f"{path}.{key}" if path else str(key))


def _text(value: object) -> str:
    text = repr(value)
    return f"<{type(value).__qualname__}>" if " at 0x" in text else text


def _shortened(text: str) -> str:
    return text if len(text) <= _MAX_CHARS else text[: _MAX_CHARS - 3] + "..."

"""Finding at the start what would otherwise show as a hang or a wrong result: ranks that differ."""

from __future__ import annotations

import hashlib
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from torch.distributed import ProcessGroup

from drivetrain.dist._errors import DataMismatchError
from drivetrain.dist._objects import all_gather_object


def check_agreement(facts: Mapping[str, object], group: ProcessGroup | None = None) -> None:
    """Make sure that every rank brings the same facts; nothing without a process group.

    Args:
        facts: By name, e.g. versions or settings; compared by ``==``.
        group: All ranks by default.

    Raises:
        DataMismatchError: On every rank, if any differ; says which, where and how.
    """
    gathered = all_gather_object(dict(facts), group)
    lines = []
    for name in sorted({name for theirs in gathered for name in theirs}):
        values = [theirs.get(name) for theirs in gathered]
        if any(value != values[0] for value in values):
            ranks = ", ".join(f"rank {rank}: {value!r}" for rank, value in enumerate(values))
            lines.append(f"  {name}:  {_shortened(ranks)}")
    if lines:
        raise DataMismatchError("The ranks were not started alike:\n" + "\n".join(lines))


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
    texts = {f"{what} {path}": _text(value) for path, value in _leaves(settings)}
    digest = hashlib.sha256(repr(sorted(texts.items())).encode()).hexdigest()
    if len(set(all_gather_object(digest, group))) > 1:
        check_agreement(texts, group)


def check_same_code(group: ProcessGroup | None = None) -> None:
    """Make sure that the program's own modules have the same text on every rank.

    Those that ranks share are compared: a rank may load more than others. Installed packages and
    Python's own library are left out.

    Args:
        group: All ranks by default.

    Raises:
        DataMismatchError: On every rank, if any differ; says which.
    """
    digests = dict(_own_modules())
    gathered = all_gather_object(digests, group)
    shared = set(digests).intersection(*gathered)
    check_agreement({f"code of {name}": digests[name] for name in shared}, group)


def _own_modules() -> Iterator[tuple[str, str]]:
    """Name and digest of each loaded module that is neither installed nor Python's own."""
    foreign = tuple({sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib")})
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not isinstance(file, str) or not file.endswith(".py") or file.startswith(foreign):
            continue
        try:
            text = Path(file).read_bytes()
        except OSError:  # run from an archive, or gone since
            continue
        yield name, hashlib.sha256(text).hexdigest()[:12]


def _leaves(node: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Dotted path and value of everything in a nest of mappings and lists."""
    items: Iterable[tuple[object, object]]
    if isinstance(node, Mapping):
        items = node.items()
    elif isinstance(node, list | tuple):
        items = enumerate(node)
    else:
        yield path, node
        return
    for key, value in items:
        yield from _leaves(value, f"{path}.{key}" if path else str(key))


def _text(value: object) -> str:
    text = repr(value)
    return f"<{type(value).__qualname__}>" if " at 0x" in text else text


def _shortened(text: str) -> str:
    return text if len(text) <= 300 else text[:297] + "..."

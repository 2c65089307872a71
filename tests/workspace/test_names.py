"""The table of the reference engine's names is true."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

ROWS = re.compile(r"^\| `(mmengine[\w.]*)` \| `(drivetrain[\w.]+)` \|$", re.MULTILINE)


def rows(root: Path) -> dict[str, str]:
    text = (root / "docs" / "reference" / "names.md").read_text(encoding="utf-8")
    return dict(ROWS.findall(text))


def test_every_name_of_the_table_imports(root: Path) -> None:
    missing = []
    for home in rows(root).values():
        module, _, name = home.rpartition(".")
        if not hasattr(importlib.import_module(module), name):
            missing.append(home)
    assert missing == []


def test_no_strategy_or_optimizer_wrapper_is_missing_from_the_table(root: Path) -> None:
    homes = set(rows(root).values())
    missing = [
        f"{module}.{name}"
        for module in ("drivetrain.dist", "drivetrain.dist.strategy", "drivetrain.optim")
        for name in importlib.import_module(module).__all__
        if name.endswith(("Strategy", "OptimWrapper", "EngineWrapper", "ModelWrapper"))
        and f"{module}.{name}" not in homes
    ]
    assert missing == []


def test_the_table_is_large_and_names_each_once(root: Path) -> None:
    text = (root / "docs" / "reference" / "names.md").read_text(encoding="utf-8")
    assert len(ROWS.findall(text)) == len(rows(root)) > 400


@pytest.mark.parametrize(
    ("reference", "home"),
    [
        ("mmengine.utils.digit_version", "drivetrain.registry.digit_version"),
        ("mmengine.hooks.EMAHook", "drivetrain.runner.hooks.EMAHook"),
        ("mmengine.runner.load_checkpoint", "drivetrain.checkpoint.load_checkpoint"),
        ("mmengine.is_list_of", "drivetrain.structures.is_list_of"),
        ("mmengine.infer.BaseInferencer", "drivetrain.runner.infer.BaseInferencer"),
        ("mmengine.hub.get_model", "drivetrain.runner.hub.get_model"),
    ],
)
def test_a_name_lives_in_the_package_that_owns_it(root: Path, reference: str, home: str) -> None:
    assert rows(root)[reference] == home

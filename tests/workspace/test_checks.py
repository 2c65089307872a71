"""The checks of the house: they pass, and they fail where they must."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


def lint_imports(tree: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter on the packages below ``tree``, wherever others are installed."""
    sources = os.pathsep.join(str(path) for path in sorted(tree.glob("packages/*/src")))
    program = "from importlinter.cli import lint_imports_command as run; run()"
    return subprocess.run(
        [sys.executable, "-c", program, "--no-cache", "--config", str(tree / "pyproject.toml")],
        capture_output=True,
        text=True,
        check=False,
        cwd=tree,
        env={**os.environ, "PYTHONPATH": sources, "COLUMNS": "300"},
    )


@pytest.fixture
def copied_tree(root: Path, tmp_path: Path) -> Path:
    """The sources of every package and the contracts, where a test may spoil them."""
    pytest.importorskip("importlinter")
    shutil.copy(root / "pyproject.toml", tmp_path)
    for source in root.glob("packages/*/src"):
        target = tmp_path / source.relative_to(root)
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_the_floors_hold(copied_tree: Path) -> None:
    done = lint_imports(copied_tree)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("where", "statement", "reported"),
    [
        ("dist", "import drivetrain.optim", "drivetrain.dist._planted -> drivetrain.optim"),
        (
            "model",
            "from drivetrain.optim import x",
            "drivetrain.model._planted -> drivetrain.optim",
        ),
        (
            "config",
            "import drivetrain.registry",
            "drivetrain.config._planted -> drivetrain.registry",
        ),
        ("registry", "def f():\n    import torch", "drivetrain.registry._planted -> torch"),
        ("registry", "import yaml", "drivetrain.registry._planted -> yaml"),
        ("config", "import numpy as np", "drivetrain.config._planted -> numpy"),
    ],
    ids=["upwards", "sideways", "sideways-at-the-bottom", "torch", "third-party", "numpy"],
)
def test_a_planted_import_breaks_the_floors_and_is_named(
    copied_tree: Path, where: str, statement: str, reported: str
) -> None:
    folder = copied_tree / "packages" / where / "src" / "drivetrain" / where
    (folder / "_planted.py").write_text(statement + "\n", encoding="utf-8")

    done = lint_imports(copied_tree)

    assert done.returncode != 0
    assert reported in done.stdout


def test_each_package_declares_the_siblings_that_it_imports(
    package: Path, tool: Callable[[str], ModuleType]
) -> None:
    assert tool("check_dependencies").sibling_problems(package) == []


def test_an_undeclared_sibling_is_named(tmp_path: Path, tool: Callable[[str], ModuleType]) -> None:
    """Each way to write the import counts, in a function too; so does one that is too much."""
    package = tmp_path / "optim"
    source = package / "src" / "drivetrain" / "optim" / "_one.py"
    source.parent.mkdir(parents=True)
    (source.parent / "__init__.py").touch()
    source.write_text(
        "from drivetrain import dist\n"
        "def f():\n    from drivetrain.model import BaseModel\n"
        "import drivetrain.optim.other\n",
        encoding="utf-8",
    )
    (package / "pyproject.toml").write_text(
        '[project]\ndependencies = ["drivetrain-dist>=0.1", "drivetrain-fileio>=0.1"]\n',
        encoding="utf-8",
    )

    assert tool("check_dependencies").sibling_problems(package) == [
        "optim: needs drivetrain.model, but does not declare drivetrain-model",
        "optim: declares drivetrain-fileio, but never imports drivetrain.fileio",
    ]


def test_an_undeclared_third_party_import_is_named(
    tmp_path: Path, tool: Callable[[str], ModuleType]
) -> None:
    pytest.importorskip("deptry")
    source = tmp_path / "config" / "src" / "drivetrain" / "config" / "__init__.py"
    source.parent.mkdir(parents=True)
    source.write_text("import cbor2\n", encoding="utf-8")
    (tmp_path / "config" / "pyproject.toml").write_text(
        '[project]\nname = "drivetrain-config"\nversion = "0"\ndependencies = []\n',
        encoding="utf-8",
    )

    problems = tool("check_dependencies").third_party_problems(tmp_path / "config")

    assert len(problems) == 1
    assert "DEP001 'cbor2' imported but missing" in problems[0]

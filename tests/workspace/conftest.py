"""What the tests of the repository itself ask of it."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for ``package`` once for each package that has code."""
    if "package" in metafunc.fixturenames:
        folders = sorted(path.parent for path in ROOT.glob("packages/*/src"))
        metafunc.parametrize("package", folders, ids=[folder.name for folder in folders])


@pytest.fixture
def root() -> Path:
    """The folder of the repository."""
    return ROOT


@pytest.fixture
def tool() -> Callable[[str], ModuleType]:
    """Import a script of ``tools/`` by its name, as a module."""

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(
            f"_tool_{name}", ROOT / "tools" / f"{name}.py"
        )
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        return module

    return load

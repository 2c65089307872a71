"""Distributions that exist for one test only, and announce components."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from drivetrain.registry.testing import reset_discovery

Announce = Callable[..., Path]


@pytest.fixture(autouse=True)
def _unchanged_modules() -> Iterator[None]:
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("toy_"):
            del sys.modules[name]


@pytest.fixture
def announce(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Announce]:
    """Install a distribution made of modules and entry points, by files on ``sys.path``."""
    count = 0

    def install(
        entry_points: Mapping[str, str],
        modules: Mapping[str, str],
        distribution: str = "toy-parts",
        version: str = "0.3.1",
    ) -> Path:
        nonlocal count
        count += 1
        folder = tmp_path / f"site{count}"
        for name, source in modules.items():
            path = folder.joinpath(*name.split(".")).with_suffix(".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source)
        info = folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
        )
        lines = [f"{name} = {module}" for name, module in entry_points.items()]
        (info / "entry_points.txt").write_text("\n".join(["[drivetrain.components]", *lines, ""]))
        monkeypatch.syspath_prepend(str(folder))
        return folder

    reset_discovery()
    yield install
    reset_discovery()

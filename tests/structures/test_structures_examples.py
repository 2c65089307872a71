"""The examples in docstrings and README do what they say."""

from __future__ import annotations

import contextlib
import doctest
import importlib
import io
import pkgutil
import re
from pathlib import Path

import pytest
import torch

import drivetrain.structures as package

MODULES = [info.name for info in pkgutil.iter_modules(package.__path__)]
README = Path(__file__).parents[2] / "packages" / "structures" / "README.md"


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_docstrings(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(f"{package.__name__}.{name}")

    failed, _ = doctest.testmod(module, extraglobs={"torch": torch})

    assert failed == 0


def test_the_readme_shows_what_its_program_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    program, shown = re.findall(
        r"```python\n(.*?)```\n\n```\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL
    )[0]

    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(program, str(README), "exec"), {})

    assert printed.getvalue() == shown


def test_the_public_names_are_those_listed() -> None:
    exposed = {name for name in vars(package) if not name.startswith("_")}

    assert exposed == {name for name in package.__all__ if not name.startswith("_")}
    assert all(hasattr(package, name) for name in package.__all__)

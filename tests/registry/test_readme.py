"""What the README shows is what happens."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import drivetrain.registry
from drivetrain.registry import RegistryError

README = Path(__file__).resolve().parents[2] / "packages" / "registry" / "README.md"


@pytest.fixture
def blocks():
    if not README.exists():
        pytest.skip("the README is not here: the tests run without the repository")
    return re.findall(r"```(\w*)\n(.*?)```", README.read_text(), re.DOTALL)


def test_the_first_program_prints_what_the_readme_says(blocks, tmp_path):
    (language, program), (_, output) = blocks[:2]
    assert language == "python"
    (tmp_path / "example.py").write_text(program)
    done = subprocess.run(
        [sys.executable, "example.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    printed, _, error = output.partition("\n")
    assert done.stdout.strip() == printed
    # The place is shown with its folder, which differs from machine to machine.
    shown = done.stderr[done.stderr.index("drivetrain.registry._errors.") :]
    assert shown.replace(f"{tmp_path}/", "").strip() == error.strip()


def test_every_python_block_can_be_parsed(blocks):
    programs = [text for language, text in blocks if language == "python"]
    assert len(programs) >= 4
    for program in programs:
        compile(program, "README.md", "exec")


def test_every_error_of_the_package_is_in_its_tree_and_exported():
    from drivetrain.registry import _errors

    classes = [
        value
        for value in vars(_errors).values()
        if isinstance(value, type) and issubclass(value, Exception)
    ]
    assert len(classes) >= 10
    for cls in classes:
        assert issubclass(cls, RegistryError)
        assert cls.__name__ in drivetrain.registry.__all__
        assert cls is RegistryError or cls.__name__ in _errors.__doc__

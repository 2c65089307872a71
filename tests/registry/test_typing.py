"""What a type checker, and so an editor, knows about registries."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import drivetrain.registry

SOURCE = """
from typing import assert_type
from drivetrain.registry import ManagerMixin, Registry


class Model:
    def __init__(self, depth: int) -> None: ...


MODELS: Registry[Model] = Registry("model")
assert_type(MODELS.build({"type": "ResNet"}), Model)


@MODELS.register_module()
class ResNet(Model):
    pass


assert_type(ResNet(3), ResNet)


@MODELS.register_module(name=["a", "b"])
def make(depth: int) -> Model:
    return ResNet(depth)


assert_type(make(3), Model)
registered = MODELS.register_module(module=ResNet)
assert_type(registered(3), ResNet)
assert_type(MODELS.require("ResNet")(depth=3), Model)
found = MODELS.get("ResNet")
if found is not None:
    assert_type(found(), Model)


class Clock(ManagerMixin):
    def __init__(self, name: str, hour: int = 0) -> None:
        super().__init__(name)


assert_type(Clock.get_instance("a"), Clock)
assert_type(Clock.get_current_instance(), Clock)
"""

WRONG = SOURCE + "\nmake('three')\nMODELS.build()\nassert_type(MODELS.build({}), int)\n"


def errors(source: str, folder: Path) -> str:
    checker = shutil.which("pyrefly", path=str(Path(sys.executable).parent))
    if checker is None:
        pytest.skip("no type checker is installed")
    path = folder / "example.py"
    path.write_text(source)
    (folder / "pyrefly.toml").write_text('python-version = "3.11"\n')
    package = Path(drivetrain.registry.__file__).parents[2]
    done = subprocess.run(
        [checker, "check", str(path), "--search-path", str(package), "--output-format=min-text"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return "\n".join(line for line in done.stdout.splitlines() if line.startswith("ERROR"))


def test_build_has_a_type_and_register_module_keeps_the_decorated_one(tmp_path: Path) -> None:
    assert errors(SOURCE, tmp_path) == ""


def test_wrong_uses_are_errors(tmp_path: Path) -> None:
    assert len(errors(WRONG, tmp_path).splitlines()) == 3

"""The public names of a package are its ``__all__``, nothing else."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest

OF_THE_LANGUAGE = {"annotations", "Any", "TYPE_CHECKING"}


def front_doors(package: Path) -> list[str]:
    """The package, and each folder in it whose name is public."""
    source = package / "src"
    doors = []
    for path in sorted((source / "drivetrain").rglob("__init__.py")):
        parts = path.parent.relative_to(source).parts
        if not any(part.startswith("_") for part in parts):
            doors.append(".".join(parts))
    return doors


def exposed(module: ModuleType) -> set[str]:
    """What a reader finds: no modules (imported or below), no private names, no typing."""
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and name not in OF_THE_LANGUAGE
        and not isinstance(value, ModuleType)
    }


def test_the_front_door_lists_what_it_exposes(package: Path) -> None:
    for door in front_doors(package):
        module = importlib.import_module(door)
        listed = set(module.__all__)
        assert exposed(module) - listed == set(), f"{door}: exposed, and not in __all__"
        missing = sorted(name for name in listed if not hasattr(module, name))
        assert missing == [], f"{door}: in __all__, and not there"


def test_the_front_door_lists_a_name_once(package: Path) -> None:
    for door in front_doors(package):
        names = importlib.import_module(door).__all__
        assert sorted(names) == sorted(set(names)), door


def test_a_package_knows_its_version(package: Path) -> None:
    module = importlib.import_module(f"drivetrain.{package.name}")
    about = importlib.import_module(f"drivetrain.{package.name}.__about__")
    assert "__version__" in module.__all__
    assert module.__version__ == about.__version__


@pytest.mark.parametrize("name", ["Registry", "ManagerMixin"])
def test_a_public_name_lives_in_one_place(name: str, root: Path) -> None:
    """Where two packages export one name, it is the same object: importing either will do."""
    doors = [f"drivetrain.{path.parent.name}" for path in sorted(root.glob("packages/*/src"))]
    modules = [importlib.import_module(door) for door in doors]
    objects = {id(getattr(module, name)) for module in modules if name in module.__all__}
    assert len(objects) == 1

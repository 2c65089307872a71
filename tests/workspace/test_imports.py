"""What an import brings along, measured in a fresh interpreter."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Modules that each import must leave alone. A config reader that drags torch in costs every command
# line two seconds; a tracker imported too early breaks where it is not installed.
LEFT_ALONE = {
    "drivetrain.config": {"torch", "numpy", "drivetrain.registry"},
    "drivetrain.registry": {"torch", "numpy", "yaml", "drivetrain.config", "importlib.metadata"},
    "drivetrain.fileio": {"torch", "fsspec", "aiohttp", "drivetrain.registry"},
    "drivetrain.logging": {"torch"},
    "drivetrain.checkpoint": {"safetensors", "drivetrain.dist"},
    "drivetrain.dist": {"drivetrain.optim", "drivetrain.model", "matplotlib"},
    "drivetrain.optim": {"drivetrain.model", "drivetrain.dataset"},
    "drivetrain.visualization": {"matplotlib", "tensorboard", "PIL"},
    "drivetrain.cli": {"torch", "numpy", "drivetrain.runner"},
    "drivetrain.runner": {"matplotlib", "tensorboard", "sklearn", "drivetrain.optim"},
}


def loaded_by(module: str) -> set[str]:
    """Names in ``sys.modules`` after the import, less what a bare interpreter has."""
    program = (
        f"import sys; bare = set(sys.modules); import {module}; "
        "print(*sorted(set(sys.modules) - bare))"
    )
    command = [sys.executable, "-c", program]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.parametrize(("module", "left_alone"), LEFT_ALONE.items(), ids=list(LEFT_ALONE))
def test_an_import_leaves_alone_what_it_does_not_need(module: str, left_alone: set[str]) -> None:
    assert loaded_by(module) & left_alone == set()


def test_importing_one_light_package_loads_no_other_of_ours() -> None:
    for name in ("config", "registry", "fileio"):
        ours = {module for module in loaded_by(f"drivetrain.{name}") if "drivetrain." in module}
        assert {module.split(".")[1] for module in ours} == {name}

"""The scripts behind the commands of ``hatch.toml``."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

Load = Callable[[str], ModuleType]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], False),
        (["--resume"], False),
        (["train_cfg.max_epochs=2"], False),
        (["--cfg-options", "data.file=a.json"], False),
        (["--work-dir=runs/a.py"], False),
        (["config.py"], True),
        (["--resume", "configs/mine.yaml", "a.b=1"], True),
    ],
    ids=lambda value: " ".join(value) or "none" if isinstance(value, list) else str(value),
)
def test_train_takes_the_example_where_no_config_is_named(
    arguments: list[str], expected: bool, tool: Load
) -> None:
    assert tool("train").names_a_config(arguments) is expected


def test_constraints_bind_our_names_to_the_wheels_just_built(tmp_path: Path, tool: Load) -> None:
    for name in ("drivetrain-0.1.0", "drivetrain_config-0.1.0", "somebody_else-1.0"):
        (tmp_path / f"{name}-py3-none-any.whl").touch()

    lines = tool("build").write_constraints(tmp_path).read_text(encoding="utf-8").splitlines()

    assert lines == [
        f"drivetrain @ {tmp_path.as_uri()}/drivetrain-0.1.0-py3-none-any.whl",
        f"drivetrain-config @ {tmp_path.as_uri()}/drivetrain_config-0.1.0-py3-none-any.whl",
    ]


def test_siblings_are_followed_through_others(tool: Load) -> None:
    siblings_of = tool("isolated").siblings_of

    assert siblings_of("registry") == {"registry"}
    assert siblings_of("config") == {"config"}
    assert {"logging", "registry"} <= siblings_of("dist")


@pytest.mark.slow
def test_a_wheel_holds_one_package_and_not_the_namespace(
    package: Path, tmp_path: Path, tool: Load
) -> None:
    pytest.importorskip("hatchling")
    tool("build").build([package.name], tmp_path)

    assert len(list(tmp_path.glob("*.tar.gz"))) == 1
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(next(name for name in names if name.endswith("METADATA"))).decode()
    code = [name for name in names if ".dist-info/" not in name]
    folders = {name.split("/")[1] for name in code}
    assert folders == {path.name for path in (package / "src" / "drivetrain").glob("[!_]*")}
    assert f"drivetrain/{package.name}/py.typed" in code
    assert "drivetrain/__init__.py" not in code
    assert not any("__pycache__" in name or "test_" in name for name in code)
    assert (package / "README.md").read_text(encoding="utf-8").splitlines()[0] in metadata


@pytest.mark.slow
def test_the_full_set_is_a_wheel_without_code(tmp_path: Path, tool: Load) -> None:
    pytest.importorskip("hatchling")
    tool("build").build(["drivetrain"], tmp_path)

    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert all(".dist-info/" in name for name in archive.namelist())

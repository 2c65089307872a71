"""Every package has the same shape, and the repository holds nothing that belongs elsewhere."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

tomllib = pytest.importorskip("tomllib", reason="reading pyproject.toml needs Python 3.11")

# A function lives with the idea that it serves: these names say that nobody looked for it.
NAMES_THAT_SAY_NOTHING = {"utils", "util", "misc", "helpers", "helper", "common", "tools"}


def project(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def owned_names(folder: Path) -> set[str]:
    """The runner also brings the command, which must start before torch is imported, and proofs."""
    return {folder.name} | ({"cli", "testing"} if folder.name == "runner" else set())


def version_of(folder: Path) -> Version:
    """What ``__about__`` says: the metadata of an existing environment may be older."""
    about = folder / "src" / "drivetrain" / folder.name / "__about__.py"
    found = re.fullmatch(r'__version__ = "([^"]+)"\n', about.read_text(encoding="utf-8"))
    assert found, f"{about} must hold one line: the version"
    return Version(found[1])


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml"])
def test_a_package_has_the_files_that_its_sdist_promises(package: Path, name: str) -> None:
    assert (package / name).stat().st_size > 0


def test_a_package_says_that_it_is_typed(package: Path) -> None:
    assert (package / "src" / "drivetrain" / package.name / "py.typed").is_file()
    assert "Typing :: Typed" in project(package)["classifiers"]


def test_no_package_owns_the_namespace(package: Path) -> None:
    """One ``drivetrain/__init__.py`` anywhere would hide every other package."""
    inside = {path.name for path in (package / "src" / "drivetrain").iterdir()} - {"__pycache__"}
    assert inside == owned_names(package)


def test_a_package_is_described_for_the_index(package: Path) -> None:
    described = project(package)

    assert described["name"] == f"drivetrain-{package.name}"
    assert described["requires-python"] == ">=3.10"
    assert described["license"] == "Apache-2.0"
    assert len(described["description"]) > 30
    assert "Programming Language :: Python :: 3.10" in described["classifiers"]
    assert "Programming Language :: Python :: 3.14" in described["classifiers"]


def test_a_package_asks_for_ranges_and_never_for_pins(package: Path) -> None:
    extras = project(package).get("optional-dependencies", {}).values()
    for line in [*project(package)["dependencies"], *(line for extra in extras for line in extra)]:
        requirement = Requirement(line)
        operators = {specifier.operator for specifier in requirement.specifier}
        assert ">=" in operators, f"{line}: from which version on?"
        assert not operators & {"==", "===", "~="}, f"{line}: a pin in a published package"


def test_a_package_accepts_the_siblings_that_lie_beside_it(package: Path, root: Path) -> None:
    """A version raised out of a dependent's range is noticed here, not by whoever installs."""
    for requirement in map(Requirement, project(package)["dependencies"]):
        if requirement.name.startswith("drivetrain-"):
            sibling = root / "packages" / requirement.name.removeprefix("drivetrain-")
            assert requirement.specifier.contains(version_of(sibling), prereleases=True)


def test_the_full_set_names_every_package_at_a_range_that_covers_it(root: Path) -> None:
    requirements = map(Requirement, project(root / "packages" / "drivetrain")["dependencies"])
    wanted = {requirement.name: requirement.specifier for requirement in requirements}
    folders = [path.parent for path in root.glob("packages/*/src")]

    assert set(wanted) == {f"drivetrain-{folder.name}" for folder in folders}
    for folder in folders:
        assert wanted[f"drivetrain-{folder.name}"].contains(version_of(folder), prereleases=True)


def test_a_changelog_starts_with_what_is_not_released_yet(package: Path) -> None:
    headings = re.findall(r"^##? .*", (package / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert headings[0].startswith("# ")
    assert headings[1] == "## Unreleased" or headings[1].startswith(f"## {version_of(package)}")


def test_a_module_is_named_after_its_idea(package: Path) -> None:
    modules = (package / "src").rglob("*.py")
    assert not [path for path in modules if path.stem.strip("_") in NAMES_THAT_SAY_NOTHING]


def test_a_package_has_a_page_in_the_reference(package: Path, root: Path) -> None:
    page = root / "docs" / "reference" / f"{package.name}.md"
    shown = set(re.findall(r"^::: (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE))
    source = package / "src"
    for door in (source / "drivetrain" / package.name).rglob("__init__.py"):
        assert ".".join(door.parent.relative_to(source).parts) in shown
    assert f"reference/{package.name}.md" in (root / "mkdocs.yml").read_text(encoding="utf-8")


def test_every_path_that_a_command_names_exists(root: Path) -> None:
    """A renamed script breaks here, not on the next person's first command."""
    named = re.findall(r"\{root\}/([\w./]+)", (root / "hatch.toml").read_text(encoding="utf-8"))
    assert named
    assert [path for path in named if not (root / path).exists()] == []


def test_no_tracked_file_knows_the_machine_it_was_written_on(root: Path) -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    here = re.compile(rb"(?<![\w.$}>])/(root|work|home/\w+|opt/wheels)\b(?!_)")
    tracked = [root / name for name in listed.stdout.decode().split("\0") if name]
    texts = {path: path.read_bytes() for path in tracked if path.is_file()}
    found = [
        f"{path.relative_to(root)}: {match[0].decode()}"
        for path, text in texts.items()
        if path != Path(__file__) and b"\0" not in text[:1000]
        for match in [here.search(text)]
        if match
    ]
    assert found == []

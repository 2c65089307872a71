"""What the pages of the repository point at is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# What lies in docs/ is checked by its own build.
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("packages/*/*.md")])

tomllib = pytest.importorskip("tomllib", reason="reading hatch.toml needs Python 3.11")


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    """Code is taken out first: ``cfg["a"](b)`` looks like a link."""
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text)
    files = [
        target for target in targets if "://" not in target and not target.startswith("mailto")
    ]
    assert [target for target in files if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_every_command_of_hatch_that_a_page_names_exists(name: str) -> None:
    environments = tomllib.loads((ROOT / "hatch.toml").read_text(encoding="utf-8"))["envs"]
    known = set(environments["default"]["scripts"]) | {"drivetrain", "tensorboard"}
    known |= {
        f"{environment}:{script}"
        for environment, settings in environments.items()
        for script in settings.get("scripts", {})
    }
    named = re.findall(r"hatch run (?:\+\S+ )?([\w:]+)", (ROOT / name).read_text(encoding="utf-8"))
    assert named
    assert set(named) <= known

"""The examples that are no configs."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_fifteen_minutes_learns_the_digits(tmp_path) -> None:
    names = runpy.run_path(str(ROOT / "examples" / "fifteen_minutes.py"))
    metrics = names["main"](str(tmp_path), max_epochs=3)
    assert metrics["accuracy"] > 90


def test_the_runners_readme_tells_the_truth(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    readme = (ROOT / "packages" / "runner" / "README.md").read_text()
    code = readme.split("```python\n")[1].split("```")[0]
    promised = readme.split("```\n{")[1].split("\n```")[0]
    exec(compile(code, "README.md", "exec"), {"__name__": "readme"})
    assert ("{" + promised) in capsys.readouterr().out
    assert "drivetrain.runner" in sys.modules

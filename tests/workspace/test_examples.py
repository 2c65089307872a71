"""The examples that a reader copies do what they show."""

from __future__ import annotations

import contextlib
import doctest
import importlib
import io
import re
from pathlib import Path

import numpy
import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
# An example in a docstring need not import what every reader has open.
TAKEN_AS_IMPORTED = {"np": numpy, "numpy": numpy, "torch": torch}
GUIDES = sorted((ROOT / "docs" / "guide").glob("*.md"))


def modules_of(package: Path) -> list[str]:
    """Every module of a package, by its dotted name."""
    source = package / "src"
    paths = sorted((source / "drivetrain").rglob("*.py"))
    # `__main__` runs something when it is imported.
    kept = (path for path in paths if path.stem != "__main__")
    return [".".join(path.relative_to(source).with_suffix("").parts) for path in kept]


def test_the_examples_in_docstrings_show_what_happens(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # an example may write a file
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    report = io.StringIO()
    for name in modules_of(package):
        module = importlib.import_module(name.removesuffix(".__init__"))
        for example in doctest.DocTestFinder(exclude_empty=True).find(module):
            example.globs.update(TAKEN_AS_IMPORTED)
            runner.run(example, out=report.write)
    assert runner.summarize(verbose=False).failed == 0, report.getvalue()


@pytest.mark.parametrize("page", GUIDES, ids=[page.stem for page in GUIDES])
def test_the_programs_in_the_guide_print_what_their_comments_say(page: Path) -> None:
    """``print(x)  # 9`` must print 9."""
    for program in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            exec(compile(program, str(page), "exec"), {})
        expected = re.findall(r"^print\(.*\)  # (.*)$", program, flags=re.MULTILINE)
        assert output.getvalue().splitlines() == expected

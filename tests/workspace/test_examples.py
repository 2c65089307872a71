"""The examples that a reader copies do what they show."""

from __future__ import annotations

import contextlib
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GUIDES = sorted((ROOT / "docs" / "guide").glob("*.md"))

# One interpreter for all of them, and none of the tests' own: an example may not lean on what a
# test left behind. It need not import what every reader has open (torch, the public names of the
# package), nor build the reader's model.
RUN_EXAMPLES = """
import contextlib, doctest, importlib, io, json, sys, traceback
import numpy, torch

model = torch.nn.Sequential()
model.add_module("backbone", torch.nn.Linear(2, 2))
model.add_module("head", torch.nn.Linear(2, 2))
at_hand = {"np": numpy, "numpy": numpy, "torch": torch, "model": model}
options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
reports = {}
for package, modules in json.load(sys.stdin).items():
    report = io.StringIO()
    door = importlib.import_module(f"drivetrain.{package}")
    public = {name: getattr(door, name) for name in door.__all__}
    runner = doctest.DocTestRunner(optionflags=options, verbose=False)
    for name in modules:
        try:
            module = importlib.import_module(name)
        except Exception:
            report.write(traceback.format_exc())
            continue
        for example in doctest.DocTestFinder(exclude_empty=True).find(module):
            example.globs = {**at_hand, **public, **example.globs}
            with contextlib.redirect_stdout(io.StringIO()):
                runner.run(example, out=report.write)
    reports[package] = report.getvalue()
print(json.dumps(reports))
"""


def modules_of(package: Path) -> list[str]:
    """Every module of a package, by its dotted name."""
    source = package / "src"
    paths = sorted((source / "drivetrain").rglob("*.py"))
    # `__main__` runs something when it is imported.
    kept = (path.relative_to(source) for path in paths if path.stem != "__main__")
    return [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in kept]


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What doctest has to say of each package: nothing, if all is well."""
    packages = sorted(path.parent for path in ROOT.glob("packages/*/src"))
    done = subprocess.run(
        [sys.executable, "-c", RUN_EXAMPLES],
        input=json.dumps({package.name: modules_of(package) for package in packages}),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=tmp_path_factory.mktemp("examples"),  # an example may write a file
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_the_examples_in_docstrings_show_what_happens(
    package: Path, reports: dict[str, str]
) -> None:
    if reports[package.name]:
        pytest.fail(reports[package.name], pytrace=False)


@pytest.mark.parametrize("page", GUIDES, ids=[page.stem for page in GUIDES])
def test_the_programs_in_the_guide_print_what_their_comments_say(page: Path) -> None:
    """``print(x)  # 9`` must print 9."""
    text = page.read_text(encoding="utf-8")
    for program in re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            exec(compile(program, str(page), "exec"), {})
        expected = re.findall(r"^print\(.*\)  # (.*)$", program, flags=re.MULTILINE)
        assert output.getvalue().splitlines() == expected

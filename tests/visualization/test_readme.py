"""The programs of the README print what it says, and the front door is what it lists."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

import drivetrain.visualization as package

README = Path(__file__).parents[2] / "packages" / "visualization" / "README.md"
STAMP = re.compile(r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d")


def programs():
    blocks = re.findall(r"```(\w+)\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    return [
        (program, output)
        for (language, program), (after, output) in pairwise(blocks)
        if language == "python" and after == "text"
    ]


@pytest.mark.parametrize(("program", "output"), programs())
def test_a_program_of_the_readme_prints_what_it_says(program, output, tmp_path):
    pytest.importorskip("torch")
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True
    )
    assert STAMP.sub("", result.stdout) == STAMP.sub("", output), result.stderr


def test_the_front_door_lists_what_is_public():
    public = {name for name in vars(package) if not name.startswith("_")}
    listed = set(package.__all__) - {"__version__"}
    assert listed == public
    assert package.__version__

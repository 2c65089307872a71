"""Every file of tests is run: none hides in a folder whose name pytest passes over."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

# Files are found as always, and not imported: that takes a while and is tried by running them.
COLLECT = """
import sys
import pytest

class Found(pytest.Item):
    def runtest(self):
        pass

class Unread(pytest.Module):
    def collect(self):
        yield Found.from_parent(self, name="found")

class LeavesFilesUnread:
    @pytest.hookimpl(tryfirst=True)
    def pytest_pycollect_makemodule(self, module_path, parent):
        return Unread.from_parent(parent, path=module_path)

sys.exit(pytest.main(["--collect-only", "-q"], plugins=[LeavesFilesUnread()]))
"""


def test_every_file_of_tests_on_disk_is_collected(root: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    done = subprocess.run(
        [sys.executable, "-c", COLLECT], cwd=root, env=environment, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    collected = {line.removesuffix("::found") for line in lines if line.endswith("::found")}
    on_disk = {path.relative_to(root).as_posix() for path in root.glob("tests/**/test_*.py")}
    assert len(on_disk) > 100
    assert collected == on_disk

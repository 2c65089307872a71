"""Records as the engine writes them."""

from __future__ import annotations

import json
import os

import pytest


@pytest.fixture
def write_run(tmp_path):
    """Write records where a run would, below the folder that is returned."""
    written = []

    def write(records, timestamp="20260131_102030"):
        file = tmp_path / "work" / timestamp / "vis_data" / "scalars.json"
        file.parent.mkdir(parents=True)
        file.write_text("".join(json.dumps(record) + "\n" for record in records))
        written.append(file)
        os.utime(file, (1_000_000_000 + len(written),) * 2)  # one after the other
        return tmp_path / "work"

    return write

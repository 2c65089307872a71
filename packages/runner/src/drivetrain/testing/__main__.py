"""Carry out the proof that a file asks for; ``verify_resume`` starts this."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch._dynamo  # noqa: F401

# With the line above: imported here once, not in each of the trainings that are forked from this
# process. Torch itself imports its compiler for the first optimizer, which takes a second.
import drivetrain.optim
import drivetrain.visualization  # noqa: F401
from drivetrain.testing._errors import TrialError
from drivetrain.testing._proof import prove


def main(path: Path) -> None:
    """Answer the request at ``path`` in a file beside it."""
    request = json.loads(path.read_text())
    request["folder"] = Path(request["folder"])
    try:
        answer = prove(**request).to_dict()
    except TrialError as err:
        answer = {"error": str(err)}
    path.with_name("answer.json").write_text(json.dumps(answer))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

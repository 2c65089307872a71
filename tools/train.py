"""Train, and take the digits example where no config file is named.

``hatch run train --resume`` and ``hatch run train train_cfg.max_epochs=2`` both mean the example;
``hatch run train my_config.py`` means yours.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
_EXAMPLE = _ROOT / "examples" / "digits" / "config.py"
_CONFIG_SUFFIXES = (".py", ".yaml", ".yml", ".json")


def names_a_config(arguments: list[str]) -> bool:
    """Whether one argument is a config file, rather than all being flags and overrides."""
    return any(
        argument.endswith(_CONFIG_SUFFIXES) and "=" not in argument and not argument.startswith("-")
        for argument in arguments
    )


def main(arguments: list[str]) -> None:
    """Run ``drivetrain train`` in this process."""
    # Relative where it can be: the path is repeated in the commands that a run ends with.
    here = Path.cwd()
    example = _EXAMPLE.relative_to(here) if _EXAMPLE.is_relative_to(here) else _EXAMPLE
    config = [] if names_a_config(arguments) else [str(example)]
    sys.argv = ["drivetrain", "train", *config, *arguments]
    runpy.run_module("drivetrain.cli", run_name="__main__", alter_sys=False)


if __name__ == "__main__":
    main(sys.argv[1:])

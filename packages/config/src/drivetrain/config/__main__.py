"""``python -m drivetrain.config``."""

from __future__ import annotations

import sys

from drivetrain.config._command import main

if __name__ == "__main__":
    sys.exit(main())

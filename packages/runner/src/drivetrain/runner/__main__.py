"""``python -m drivetrain.runner``: the drivetrain command, for launchers that start a module."""

from drivetrain.cli import main

if __name__ == "__main__":
    main()

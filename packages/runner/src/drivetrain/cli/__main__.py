"""``python -m drivetrain.cli``: the drivetrain command."""

from drivetrain.cli import main

if __name__ == "__main__":
    main()

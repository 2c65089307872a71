"""Build the sdist and the wheel of every package, or of those that are named, into ``dist/``.

Beside them it writes ``dist/local.txt``, a constraints file for pip that binds each of our names to
the wheel just built: ``PIP_CONSTRAINT=dist/local.txt pip install drivetrain-runner`` can then never
take one of ours from an index.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"


def build(names: list[str], folder: Path) -> None:
    """Build both targets of each package with the hatchling of this environment."""
    for name in names:
        print(f"building {name}", flush=True)
        done = subprocess.run(
            [sys.executable, "-m", "hatchling", "build", "--directory", str(folder)],
            cwd=ROOT / "packages" / name,
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            sys.exit(f"{done.stdout}{done.stderr}{name}: not built")


def write_constraints(folder: Path) -> Path:
    """Write ``local.txt``: one ``name @ file://…`` line for each wheel in ``folder``."""
    path = folder / "local.txt"
    lines = [
        f"{wheel.name.split('-')[0].replace('_', '-')} @ {wheel.resolve().as_uri()}\n"
        for wheel in sorted(folder.glob("drivetrain*.whl"))
    ]
    path.write_text("".join(lines), encoding="utf-8")
    return path


def main() -> None:
    """Parse the command line, empty ``dist/`` and fill it again."""
    available = sorted(path.parent.name for path in ROOT.glob("packages/*/pyproject.toml"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("packages", nargs="*", metavar="package", help="default: all")
    parser.add_argument("--into", type=Path, default=DIST, help="emptied first (default: dist/)")
    options = parser.parse_args()
    unknown = sorted(set(options.packages) - set(available))
    if unknown:
        parser.error(f"no package {', '.join(unknown)}; there are: {', '.join(available)}")

    shutil.rmtree(options.into, ignore_errors=True)
    options.into.mkdir(parents=True)
    build(options.packages or available, options.into.resolve())
    write_constraints(options.into)
    print(f"{len(list(options.into.glob('*.whl')))} wheels in {options.into}")


if __name__ == "__main__":
    main()

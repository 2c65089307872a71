"""Install one package alone, from its wheel, in a new environment, and run its tests there.

The wheel is built from the working tree, and so are those of the siblings it depends on; a
constraints file binds our names to these wheels, so an index can never supply them.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TEST_TOOLS = ["pytest>=9,<10", "hypothesis>=6.100"]


def siblings_of(name: str) -> set[str]:
    """The packages of ours that ``name`` needs, directly and through others, itself included."""
    needed, waiting = set(), [name]
    while waiting:
        package = waiting.pop()
        if package in needed:
            continue
        needed.add(package)
        declared = (ROOT / "packages" / package / "pyproject.toml").read_text(encoding="utf-8")
        waiting += re.findall(r'^\s*"drivetrain-([a-z]+)', declared, flags=re.MULTILINE)
    return needed


def make_environment(folder: Path, interpreter: str) -> Path:
    """Create a virtual environment of ``interpreter`` and return its Python."""
    subprocess.run([interpreter, "-m", "venv", str(folder)], check=True)
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def test_alone(name: str, interpreter: str, pytest_arguments: list[str]) -> int:
    """Build, install, list what came along, test. Returns pytest's exit status."""
    with tempfile.TemporaryDirectory(prefix=f"drivetrain-{name}-") as temporary:
        work = Path(temporary)
        python = str(make_environment(work / "env", interpreter))
        wheels = work / "wheels"
        sources = [str(ROOT / "packages" / sibling) for sibling in sorted(siblings_of(name))]
        pip = [python, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        subprocess.run(
            [*pip, "wheel", "--no-deps", "--wheel-dir", str(wheels), *sources], check=True
        )
        # Python 3.10 and 3.11 put setuptools into every environment: nobody asked for it.
        subprocess.run([*pip, "uninstall", "--yes", "setuptools"], check=True)
        constraints = work / "local.txt"
        constraints.write_text(
            (ROOT / "constraints.txt").read_text(encoding="utf-8")
            + "".join(
                f"{wheel.name.split('-')[0].replace('_', '-')} @ {wheel.as_uri()}\n"
                for wheel in sorted(wheels.glob("*.whl"))
            ),
            encoding="utf-8",
        )
        install = [*pip, "install", "--constraint", str(constraints)]
        subprocess.run([*install, f"drivetrain-{name}"], check=True)
        print(f"drivetrain-{name} alone, in {interpreter}:", flush=True)
        subprocess.run([*pip, "freeze", "--all", "--exclude", "pip"], check=True)
        subprocess.run([*install, *TEST_TOOLS], check=True)
        return subprocess.run(
            [python, "-m", "pytest", str(ROOT / "tests" / name), *pytest_arguments],
            cwd=ROOT,
            check=False,
            env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        ).returncode


def main() -> int:
    """Parse the command line; what is not known here goes to pytest."""
    available = sorted(path.parent.name for path in ROOT.glob("packages/*/src"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("package", choices=available)
    parser.add_argument("--python", default=sys.executable, help="interpreter (default: this one)")
    options, pytest_arguments = parser.parse_known_args()
    return test_alone(options.package, options.python, pytest_arguments)


if __name__ == "__main__":
    sys.exit(main())

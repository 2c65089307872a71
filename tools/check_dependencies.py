"""Check that each package declares what it imports: no more, no less.

deptry looks at the third-party names. It cannot tell our own packages apart (it sees one import
name, ``drivetrain``), so their imports are read here.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent

# The engine builds these from configs, through the registry, without importing them: a training
# needs them all the same.
BUILT_BY_NAME = {"runner": {"model", "optim"}}

# Asked for, and imported by what we import: `torch.utils.tensorboard` does not bring its own.
IMPORTED_BY_OTHERS = ["tensorboard"]


def declared_siblings(package: Path) -> set[str]:
    """Names of our packages among the dependencies of ``package``, extras included."""
    project = tomllib.loads((package / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project.get("optional-dependencies", {}).values()
    requirements = [*project.get("dependencies", []), *(line for extra in extras for line in extra)]
    found = (re.match(r"drivetrain-([a-z]+)", line) for line in requirements)
    return {match[1] for match in found if match}


def owned_names(package: Path) -> set[str]:
    """What ``package`` brings below ``drivetrain``: its own name, and ``cli`` for the runner."""
    return {path.parent.name for path in package.glob("src/drivetrain/*/__init__.py")}


def imported_siblings(package: Path) -> set[str]:
    """Names of our packages that the sources of ``package`` import, anywhere in a file."""
    found: set[str] = set()
    for path in sorted(package.glob("src/**/*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
            modules: list[str] = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                modules = [node.module or ""]
                if node.module == "drivetrain":
                    modules = [f"drivetrain.{alias.name}" for alias in node.names]
            found |= {name.split(".")[1] for name in modules if name.startswith("drivetrain.")}
    return found - owned_names(package)


def sibling_problems(package: Path) -> list[str]:
    """One line for each sibling that is imported and not declared, or declared and not imported."""
    declared, imported = declared_siblings(package), imported_siblings(package)
    by_name = BUILT_BY_NAME.get(package.name, set())
    return [
        f"{package.name}: needs drivetrain.{name}, but does not declare drivetrain-{name}"
        for name in sorted((imported | by_name) - declared)
    ] + [
        f"{package.name}: declares drivetrain-{name}, but never imports drivetrain.{name}"
        for name in sorted(declared - imported - by_name)
    ]


def third_party_problems(package: Path) -> list[str]:
    """What deptry finds in one package, one line each.

    A package may excuse a dependency in its own ``[tool.deptry.per_rule_ignores]``. The option of
    that name replaces the table, so ours is merged with it. Siblings are never "unused" here, nor
    is what an extra brings: it is often what another library imports (a driver of fsspec).
    """
    settings = tomllib.loads((package / "pyproject.toml").read_text(encoding="utf-8"))
    extras = settings["project"].get("optional-dependencies", {}).values()
    brought = [re.split(r"[^\w.-]", line)[0] for extra in extras for line in extra]
    ignores = dict(settings.get("tool", {}).get("deptry", {}).get("per_rule_ignores", {}))
    siblings = [f"drivetrain-{name}" for name in sorted(declared_siblings(package))]
    ignores["DEP002"] = [*ignores.get("DEP002", []), *siblings, *brought, *IMPORTED_BY_OTHERS]
    table = ",".join(f"{rule}={'|'.join(names)}" for rule, names in ignores.items() if names)
    command = ["deptry", "src", "--experimental-namespace-package", "--no-ansi"]
    if table:
        command += ["--per-rule-ignores", table]
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=package, capture_output=True, text=True, check=False
    )
    if done.returncode == 0:
        return []
    lines = (done.stdout + done.stderr).splitlines()
    return [f"{package.name}: {line}" for line in lines if "DEP0" in line] or lines


def main(root: Path = ROOT) -> int:
    """Check every package that has code."""
    packages = sorted(path.parent for path in root.glob("packages/*/src"))
    problems = [
        line
        for package in packages
        for line in sibling_problems(package) + third_party_problems(package)
    ]
    print("\n".join(problems) or f"dependencies: {len(packages)} packages declare what they import")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

"""``python -m drivetrain.registry``: see which components there are."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from drivetrain.registry import listing
from drivetrain.registry._errors import RegistryError


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m drivetrain.registry",
        description="See which components are installed, and what arguments they take.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    ls = commands.add_parser("ls", help="list components (imports what is announced)")
    ls.add_argument("registry", nargs="?", help="only this registry, for example hook or HOOKS")
    ls.add_argument(
        "--registries", action="store_true", help="list the registries instead; imports nothing"
    )
    show = commands.add_parser("show", help="everything about one component")
    show.add_argument("name", help="Name or scope.Name")
    show.add_argument("--registry", help="where several registries have that name")
    for command in (ls, show):
        command.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _answer(options: argparse.Namespace) -> tuple[Any, str]:
    if options.command == "show":
        description = listing.describe_component(options.name, options.registry)
        return description, listing.render_component(description)
    if options.registries:
        rows = listing.list_registries()
        return rows, listing.render_registries(rows)
    rows = listing.list_components(options.registry)
    return rows, listing.render_list(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 0, or 1 for a name that does not exist."""
    options = _parser().parse_args(arguments)
    try:
        data, text = _answer(options)
    except RegistryError as err:
        sys.stderr.write(f"{err}\n")
        return 1
    sys.stdout.write(f"{json.dumps(data, indent=2) if options.json else text}\n")
    for failed in listing.failed_providers():
        sys.stderr.write(f"not imported: {failed['module']} ({failed['provider']}): ")
        sys.stderr.write(f"{failed['error']}\n")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenPipeError:  # the reader (head, less) has seen enough
        sys.stderr.close()
        sys.exit(141)

"""``python -m drivetrain.config``: look at configs from a shell."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from drivetrain.config._apply import apply_overrides
from drivetrain.config._config import Config
from drivetrain.config._errors import ConfigError
from drivetrain.config._inspect import (
    check,
    diff,
    diff_text,
    explain,
    json_value,
    origin_data,
    show,
)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m drivetrain.config", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("show", help="print a config with everything it inherits")
    _add_config(command)
    command.add_argument("--origins", action="store_true", help="where each value comes from")
    command = commands.add_parser("explain", help="where one value comes from")
    _add_config(command, "path")
    command = commands.add_parser("diff", help="what two configs differ in")
    command.add_argument("old")
    command.add_argument("new")
    command.add_argument("--unified", action="store_true", help="as a diff of the printed configs")
    command = commands.add_parser("check", help="what is wrong with a config file")
    command.add_argument("config")
    command.add_argument("--safe", action="store_true", help="do not run Python files")
    for each in commands.choices.values():
        each.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _add_config(command: argparse.ArgumentParser, *more: str) -> None:
    command.add_argument("config", help="a config file, or package::path")
    for name in more:
        command.add_argument(name, help="dotted, such as optimizer.lr")
    command.add_argument("overrides", nargs="*", help="key=value, or +key=value to add")
    command.add_argument("--safe", action="store_true", help="do not run Python files")


def _load(args: argparse.Namespace) -> Config:
    cfg = Config.fromfile(args.config, import_custom_modules=False, safe=args.safe)
    apply_overrides(cfg, args.overrides)
    return cfg


def _show(args: argparse.Namespace) -> int:
    cfg = _load(args)
    _print(json_value(cfg._cfg_dict) if args.json else show(cfg, origins=args.origins))
    return 0


def _explain(args: argparse.Namespace) -> int:
    cfg = _load(args)
    chain = [origin_data(each) for each in cfg.origin(args.path)] if args.json else None
    _print(explain(cfg, args.path) if chain is None else chain)
    return 0


def _diff(args: argparse.Namespace) -> int:
    old, new = (Config.fromfile(name, import_custom_modules=False) for name in (args.old, args.new))
    found = diff(old, new)
    if args.json:
        _print([json_value(each._asdict()) for each in found])
    else:
        _print(Config.diff(old, new) + "\n" if args.unified and found else diff_text(old, new))
    return 1 if found else 0


def _check(args: argparse.Namespace) -> int:
    problems = check(args.config, safe=args.safe)
    if args.json:
        _print([each._asdict() for each in problems])
    else:
        _print("".join(f"{each}\n" for each in problems) or f"{args.config}: good\n")
    return 1 if problems else 0


def _print(result: object) -> None:
    text = result if isinstance(result, str) else json.dumps(result, indent=2) + "\n"
    sys.stdout.write(text)


_COMMANDS = {"show": _show, "explain": _explain, "diff": _diff, "check": _check}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: Instead of those of the process.

    Returns:
        The exit code: 0, or 1 if configs differ or a check finds something, or 2 on an error.
    """
    parser = _parser()
    # argparse gives up on overrides that stand behind an option.
    args, more = parser.parse_known_args(arguments)
    if more and (not hasattr(args, "overrides") or any(each.startswith("-") for each in more)):
        parser.error(f"unrecognized arguments: {' '.join(more)}")
    args.overrides = [*getattr(args, "overrides", ()), *more]
    try:
        return _COMMANDS[args.command](args)
    except ConfigError as err:
        sys.stderr.write(f"{err}\n")
        return 2
    except BrokenPipeError:  # `| head` has seen enough
        return 0

"""Commands and their options. What a command does is imported when it is called."""

from __future__ import annotations

import shlex
import sys
from importlib.metadata import version
from typing import Any

import click

from drivetrain.cli._arguments import (
    config_argument,
    debug_option,
    load_config,
    override_arguments,
)
from drivetrain.cli._failures import exit_code_of, is_debug, show

_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(context_settings=_SETTINGS)
@click.version_option(version("drivetrain-runner"), prog_name="drivetrain")
@click.pass_context
def app(ctx: click.Context) -> None:
    """Train, validate and test PyTorch models from config files.

    Exit codes: 0 done, 1 failed, 2 wrong command line or config, 130 stopped by Ctrl-C, 143 by
    SIGTERM.
    """
    ctx.ensure_object(dict)


@app.command()
@config_argument
@override_arguments
@click.option("--work-dir", metavar="DIR", help="Folder of checkpoints and logs.")
@click.option("--resume", is_flag=True, help="Go on from the newest checkpoint of the work dir.")
@click.option(
    "--load-from", metavar="FILE", help="Start from these weights; with --resume, go on from here."
)
@click.option(
    "--launch", type=click.IntRange(1), metavar="N", help="Train in N processes on this machine."
)
@click.option(
    "--max-restarts",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    help="With --launch: start all again from the last checkpoint, up to N times.",
)
@click.option(
    "--launcher",
    type=click.Choice(["none", "pytorch", "slurm", "mpi"]),
    help="What started this process; found out by default.",
)
@click.option(
    "--strategy", metavar="NAME", help="single, ddp, fsdp, or the name of a strategy of yours."
)
@click.option("--amp", is_flag=True, help="Automatic mixed precision.")
@click.option("--auto-scale-lr", is_flag=True, help="Scale the learning rate with the batch size.")
@click.option(
    "--test/--no-test", "run_test", default=True, help="Test the best checkpoint at the end."
)
@debug_option
def train(
    config: str, overrides: tuple[str, ...], cfg_options: tuple[str, ...], **options: Any
) -> None:
    """Train the model of CONFIG, then test its best checkpoint.

    KEY=VALUE overrides a value of the config (optim_wrapper.optimizer.lr=0.01); +KEY=VALUE adds
    one.
    """
    changes = (*overrides, *cfg_options)
    if options["resume"]:
        _refuse_value_of_resume(overrides)
    if options["launch"]:
        from drivetrain.cli._launch import launch_training

        sys.exit(launch_training(config, changes, **options))
    if options.pop("max_restarts"):
        raise click.UsageError("--max-restarts goes with --launch; torchrun has one of its own.")
    from drivetrain.cli._train import run_training

    run_training(config, changes, **options)


def _refuse_value_of_resume(overrides: tuple[str, ...]) -> None:
    """Say how to name the checkpoint to go on from to those who wrote ``--resume FILE``."""
    for word in overrides:
        if "=" not in word:
            raise click.UsageError(
                f"--resume takes no file: it goes on from the newest checkpoint of the work dir.\n"
                f"  To go on from {word}:  --resume --load-from {shlex.quote(word)}"
            )


def _evaluate_command(stage: str, summary: str) -> None:
    @app.command(name=stage, help=summary)
    @config_argument
    @click.argument("arguments", nargs=-1, metavar="[CHECKPOINT] [KEY=VALUE]...")
    @click.option(
        "--cfg-options", multiple=True, metavar="KEY=VALUE", help="The same as a plain KEY=VALUE."
    )
    @click.option("--work-dir", metavar="DIR", help="Folder of checkpoints and logs.")
    @click.option(
        "--launcher",
        type=click.Choice(["none", "pytorch", "slurm", "mpi"]),
        help="What started this process; found out by default.",
    )
    @debug_option
    def command(
        config: str, arguments: tuple[str, ...], cfg_options: tuple[str, ...], **options: Any
    ) -> None:
        checkpoints = [argument for argument in arguments if "=" not in argument]
        if len(checkpoints) > 1:
            raise click.UsageError(f"one checkpoint at most, got {' and '.join(checkpoints)}")
        changes = [argument for argument in arguments if "=" in argument]
        from drivetrain.cli._evaluate import run_evaluation

        checkpoint = checkpoints[0] if checkpoints else None
        run_evaluation(stage, config, checkpoint, (*changes, *cfg_options), **options)


_WHICH = "By default the best one of the work dir, or else the newest."
_evaluate_command("val", f"Validate a checkpoint.\n\n{_WHICH}")
_evaluate_command("test", f"Test a checkpoint.\n\n{_WHICH}")


@app.command()
@click.argument("run", type=click.Path())
@click.option(
    "--out", type=click.Path(), help="The picture; by default run.png in the run's folder."
)
@debug_option
def plot(run: str, out: str | None) -> None:
    """Draw loss, learning rate and metrics.

    RUN is a work dir or a file of scalars.
    """
    from drivetrain.visualization import plot_run

    click.echo(plot_run(run, out))


@app.group()
def config() -> None:
    """Look at config files."""


@config.command("show")
@config_argument
@override_arguments
@debug_option
def config_show(config: str, overrides: tuple[str, ...], cfg_options: tuple[str, ...]) -> None:
    """Print CONFIG as it will be used: bases merged, overrides applied."""
    cfg = load_config(config, (*overrides, *cfg_options), import_custom_modules=False)
    click.echo(cfg.pretty_text)


@app.group()
def registry() -> None:
    """Look at what can be built."""


@registry.command("ls")
@click.argument("name", required=False, metavar="[REGISTRY]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@debug_option
def registry_ls(name: str | None, as_json: bool) -> None:
    """List components, of one registry or of all."""
    from drivetrain.cli._registry import list_text

    click.echo(list_text(name, as_json=as_json))


@registry.command("show")
@click.argument("name", metavar="COMPONENT")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@debug_option
def registry_show(name: str, as_json: bool) -> None:
    """Show signature, description and origin of a component."""
    from drivetrain.cli._registry import component_text

    click.echo(component_text(name, as_json=as_json))


@app.group()
def checkpoint() -> None:
    """Look at checkpoints, verify or export them.

    Nothing that a file holds is run.
    """


@checkpoint.command("ls")
@click.argument("path", type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@debug_option
def checkpoint_ls(path: str, as_json: bool) -> None:
    """List the checkpoints in PATH, newest first.

    PATH is the work dir of a run. The latest is the one that --resume goes on from.
    """
    from drivetrain.cli._checkpoint_list import list_text

    click.echo(list_text(path, as_json=as_json))


@checkpoint.command("show")
@click.argument("file", type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--all", "all_weights", is_flag=True, help="List all weights.")
@debug_option
def checkpoint_show(file: str, as_json: bool, all_weights: bool) -> None:
    """Show what is in FILE.

    FILE is a checkpoint or a folder of shards; its weights are not read.
    """
    from drivetrain.cli._checkpoint_show import show_text

    click.echo(show_text(file, as_json=as_json, all_weights=all_weights))


@checkpoint.command("verify")
@click.argument("path", type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@debug_option
def checkpoint_verify(path: str, as_json: bool) -> None:
    """Check that all bytes of PATH are as written.

    PATH is a checkpoint or a folder of them. Exits with 1 if anything is broken, or if there is
    nothing.
    """
    from drivetrain.cli._checkpoint import verify_text

    text, all_good = verify_text(path, as_json=as_json)
    click.echo(text)
    if not all_good:
        sys.exit(1)


@checkpoint.command("export")
@click.argument("file", type=click.Path())
@click.argument("out", type=click.Path())
@click.option(
    "--ema/--no-ema",
    default=None,
    help="The averaged weights, or those as trained; by default averaged ones where there are.",
)
@click.option("--prefix", metavar="NAME", help="Only the weights under NAME, such as backbone.")
@click.option(
    "--all", "everything", is_flag=True, help="Not the weights alone: one file to --resume from."
)
@debug_option
def checkpoint_export(
    file: str, out: str, ema: bool | None, prefix: str | None, everything: bool
) -> None:
    """Write the weights of FILE, alone, to OUT.

    OUT is a .pth, .pt or .safetensors file. FILE may be a folder of shards, or a URL.
    """
    from drivetrain.cli._checkpoint import export_everything, export_weights

    if not everything:
        click.echo(export_weights(file, out, ema=ema, prefix=prefix))
    elif ema is not None or prefix is not None:
        raise click.UsageError("--all takes all that FILE holds: leave --ema and --prefix out")
    else:
        click.echo(export_everything(file, out))


@app.group()
def verify() -> None:
    """Prove on your own config what the engine promises."""


@verify.command("resume")
@config_argument
@override_arguments
@click.option("--steps", type=click.IntRange(3), metavar="N", help="Steps to compare (12).")
@click.option(
    "--kill-at",
    type=click.IntRange(1),
    multiple=True,
    metavar="K",
    help="Save after step K, and kill in the next; can be repeated (at one and two thirds).",
)
@click.option(
    "--launch",
    "ranks",
    type=click.IntRange(1),
    default=1,
    metavar="N",
    help="Train in N processes.",
)
@click.option(
    "--timeout", "timeout_s", type=float, default=600.0, metavar="S", help="Of one training (600)."
)
@debug_option
def verify_resume(
    config: str, overrides: tuple[str, ...], cfg_options: tuple[str, ...], **options: Any
) -> None:
    """Prove that a killed run goes on exactly.

    Trains CONFIG whole, and killed and resumed, and shows where the two first differ. Works in
    temporary folders. Exit codes: 0 if no bit differs, 1 if one does.
    """
    from drivetrain.cli._verify import run_proof

    run_proof(config, (*overrides, *cfg_options), **options)


@app.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell.

    For example:  eval "$(drivetrain completion bash)"
    """
    from click.shell_completion import get_completion_class

    made = get_completion_class(shell)
    assert made is not None
    click.echo(made(app, {}, "drivetrain", "_DRIVETRAIN_COMPLETE").source())


def main() -> None:
    """Run the command line and exit with its code."""
    state: dict[str, Any] = {}
    try:
        app.main(standalone_mode=False, prog_name="drivetrain", obj=state)
    except click.exceptions.Abort:
        show(KeyboardInterrupt(), debug=False)
        code = exit_code_of(KeyboardInterrupt())
    except click.exceptions.Exit as err:
        code = err.exit_code
    except Exception as err:
        show(err, debug=is_debug(state))
        code = exit_code_of(err)
    else:
        code = 0
    sys.exit(code)

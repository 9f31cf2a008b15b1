"""The `rnncore` command: a verb parses, calls one function and prints."""

import os
import sys
from typing import Annotated

import typer

from rnncore import __version__
from rnncore.cli import budgets, data, gate, models, runs
from rnncore.cli.options import EXIT_ERROR
from rnncore.cli.screen import say
from rnncore.errors import RnncoreError
from rnncore.screen import fit_screen

# Verbs that compute in this process: with no more threads than it may use, and none that spin beside other work.
COMPUTING = ("train", "evaluate", "forecast", "export", "reproduce")

app = typer.Typer(
    name="rnncore",
    help="Train, run and measure GRU and LSTM load forecasters; compare and gate any suite of pytest-benchmark.\n\n"
    "Benchmarks are run by pytest: pytest SUITES --benchmark-autosave. Exit codes: 0 done; 2 wrong usage, unreadable or "
    "missing file; 130 interrupted; compare, gate and check have more.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
data_app = typer.Typer(help="Fetch and describe load series.", no_args_is_help=True)
app.add_typer(data_app, name="data")


def main() -> None:
    """Run the command; print errors as one paragraph and exit with 2. Ctrl-C ends with 130, by Typer."""
    fit_screen()
    try:
        app(prog_name="rnncore")  # however it was started
    except RnncoreError as error:
        say(f"rnncore: {error}", err=True)
        sys.exit(EXIT_ERROR)


def _print_version(wanted: bool) -> None:
    if wanted:
        say(__version__)
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    if context.invoked_subcommand in COMPUTING:
        from rnncore.forecast.device import limited_threads, passive_waiting

        os.environ.update(limited_threads() | passive_waiting())


data_app.command()(data.fetch)
data_app.command()(data.describe)

app.command()(models.train)
app.command()(models.evaluate)
app.command()(models.forecast)
app.command()(models.export)
app.command()(models.reproduce)
app.command()(runs.report)
app.command()(runs.recommend)
app.command(epilog=gate.COMPARE_EXIT_CODES)(gate.compare)
app.command(epilog=gate.GATE_EXIT_CODES)(gate.gate)
app.command(epilog=budgets.CHECK_EXIT_CODES)(budgets.check)
app.command()(gate.noise)
app.command()(gate.selftest)
app.command()(runs.trend)
app.command()(runs.convert)
app.command()(runs.profile)
app.command()(runs.recover)
app.command()(runs.push)
app.command()(runs.pull)

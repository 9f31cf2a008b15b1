"""The `rnncore` command: a verb parses, calls one function and prints."""

import os
import sys
from typing import Annotated

import typer

from rnncore import __version__
from rnncore.cli import data, gate, models, runs
from rnncore.cli.options import EXIT_ERROR
from rnncore.cli.screen import say
from rnncore.errors import RnncoreError
from rnncore.screen import fit_screen

# Verbs that compute in this process: with no more threads than it may use, and none that spin beside other work.
COMPUTING = ("train", "evaluate", "forecast", "export", "reproduce")

app = typer.Typer(
    name="rnncore",
    help="Train, run and measure GRU and LSTM load forecasters.\n\nBenchmarks are run by pytest: pytest bench/ "
    "--benchmark-autosave. Exit codes: 0 done; 2 wrong usage, unreadable or missing file; 130 interrupted; compare and gate "
    "have more.",
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


for _verb in (data.fetch, data.describe):
    data_app.command()(_verb)
for _verb in (models.train, models.evaluate, models.forecast, models.export, models.reproduce, runs.report, runs.recommend):
    app.command()(_verb)
for _verb in (gate.compare, gate.gate):
    app.command(epilog=gate.EXIT_CODES_HELP)(_verb)
for _verb in (gate.noise, gate.selftest, runs.trend, runs.convert, runs.profile, runs.recover):
    app.command()(_verb)

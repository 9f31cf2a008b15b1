"""What verbs show: lines, tables, JSON, progress."""

import json
import logging
import math
import os
import signal
import sys
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn

from rnncore.amounts import counted

if TYPE_CHECKING:
    from rnncore.drive.gate import Progress as GateProgress
    from rnncore.forecast.fit import Progress as TrainingProgress
    from rnncore.report.table import Table

# Where a gate's progress is no bar, it is a line this often.
GATE_LINE_EVERY_S = 60.0

# What takes longer to clean up after a signal may be ended by the next.
_CLEANING_UP_S = 30.0

# Piped output has no width of its own; a table must not be cut there.
PIPED_WIDTH = 200

# Results go to standard output, everything else to standard error, so that --json can be piped.
err = Console(stderr=True, highlight=False)


def repository_root() -> Path | None:
    """Return the folder from which GitHub names files, of those that hold this one; None outside of any."""
    here, workspace = Path.cwd(), os.environ.get("GITHUB_WORKSPACE")
    if workspace and here.is_relative_to(found := Path(workspace).resolve()):
        return found
    return next((one for one in (here, *here.parents) if (one / ".git").exists()), None)


def say(text: str = "", err: bool = False, nl: bool = True) -> None:
    """Print a line. The stream is named, as Typer would write UTF-8 to one that is ASCII."""
    typer.echo(text, file=sys.stderr if err else sys.stdout, nl=nl)


def print_json(facts: dict[str, Any]) -> None:
    """Print facts as JSON."""
    say(json_text(facts).removesuffix("\n"))


def json_text(facts: Any) -> str:
    """Return facts as JSON that every reader takes: it has no NaN and no infinity, so these are null."""
    return json.dumps(_finite(facts), indent=1, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_table(table: "Table") -> None:
    """Print a table."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    console.print(table.screen())


def print_tables(tables: "Iterable[tuple[str, Table | None]]") -> None:
    """Print lines, each with the table under them, if there is one."""
    for lines, table in tables:
        say(lines)
        if table:
            print_table(table)
        say()


def print_verdict_last(tables: "Iterable[tuple[str, Table | None]]") -> None:
    """Print lines and tables as `print_tables` does, what a page begins with at the end: on a screen the eye is there."""
    verdict, *details = tables
    print_tables([*details, verdict])


def progress_bar(*columns: ProgressColumn) -> Progress:
    """Return a bar for standard error, with a description before it and these columns after it; none but on a terminal."""
    first = TextColumn("{task.description}"), BarColumn()
    return Progress(*first, *columns, console=err, transient=True, disable=not err.is_terminal)


@contextmanager
def process_progress(total: int, noun: str = "process") -> "Iterator[Callable[[int], None]]":
    """Show how many of all processes have ended, and the time left."""
    with progress_bar(TextColumn("{task.completed} of {task.total}"), TimeRemainingColumn()) as progress:
        task = progress.add_task(f"Running {noun}", total=total)
        yield lambda done: progress.update(task, completed=done)


@contextmanager
def gate_progress(budget_s: float) -> "Iterator[Callable[[GateProgress], None]]":
    """Show how far a gate is and what it can tell: a bar on a terminal, else a line a minute."""
    from rnncore.report.noise import sensitivity_lines, time_until_told

    with progress_bar() as progress:
        task = progress.add_task("Warming up", total=budget_s)
        said_at_s, said = budget_s, False

        def on_progress(now: "GateProgress") -> None:
            nonlocal said_at_s, said
            if now.sensitivity and not said:
                # Once: after later looks it says much the same, and the line below how long a small slowdown takes.
                said = True
                lines = sensitivity_lines(now.sensitivity, "undecided benchmark" if now.decided else "benchmark")
                # Names of benchmarks have brackets, which are no markup.
                err.print(lines, soft_wrap=True, markup=False)
            counts = (
                f"{now.decided} decided, {now.undecided} undecided" if now.decided + now.undecided else "none decided yet"
            )
            line = f"{counted(now.pairs, 'pair')}, {counts}, {max(now.left_s, 0) / 60:.1f} min left"
            if now.sensitivity:
                line += time_until_told(now.sensitivity, now.pairs, now.left_s)
            progress.update(task, description=line, completed=budget_s - now.left_s)
            if not err.is_terminal and said_at_s - now.left_s >= GATE_LINE_EVERY_S:
                said_at_s = now.left_s
                err.print(line, soft_wrap=True)

        yield on_progress


@contextmanager
def training_progress(name: str = "") -> "Iterator[Callable[..., None]]":
    """Show a bar with rate and time left on a terminal, and log lines everywhere."""
    rate = TextColumn("step {task.completed:,.0f} of {task.total:,.0f}, {task.fields[rate]:,.0f} windows/s,")
    logger = logging.getLogger("rnncore.training")
    handler = RichHandler(console=err, show_path=False, show_level=False)
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        with progress_bar(rate, TimeRemainingColumn()) as progress:
            task = progress.add_task(name, total=1, rate=0.0)

            def on_step(now: "TrainingProgress", description: str = name) -> None:
                progress.update(
                    task, description=description, completed=now.step, total=now.total_steps, rate=now.windows_per_s
                )

            yield on_step
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


@contextmanager
def stop_on_ctrl_c() -> "Iterator[Callable[[], bool]]":
    """Let the first Ctrl-C end the training after the step it is in; the second interrupts at once."""
    asked = False

    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        err.print("Stopping after this step; press Ctrl-C again to stop at once.")

    before = signal.signal(signal.SIGINT, on_signal)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)


# Built-in exceptions have no weak references.
class _Interrupted(KeyboardInterrupt):
    """A Ctrl-C."""


class _Ended(SystemExit):
    """A signal to end."""


@contextmanager
def end_in_order() -> "Iterator[None]":
    """Let SIGTERM and SIGHUP end the block as Ctrl-C does, so that it cleans up, and the command with 128 + their number.

    Further ones, and further Ctrl-C, do not end the cleaning up, unless it takes long. Where the block goes on, as what was
    raised was dropped (Python drops what is raised in `__del__`), the next one ends it.
    """
    raised: weakref.ref[BaseException] | None = None
    raised_s = 0.0

    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal raised, raised_s
        if raised and raised() is not None and time.monotonic() - raised_s < _CLEANING_UP_S:
            return
        error = _Interrupted() if number == signal.SIGINT else _Ended(128 + number)
        raised, raised_s = weakref.ref(error), time.monotonic()
        try:
            raise error
        finally:
            # Its own traceback would keep it by this frame.
            del error

    heeded = [one for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(one) != signal.SIG_IGN]
    before = {one: signal.signal(one, on_signal) for one in heeded}
    try:
        yield
    except _Interrupted:
        # Python itself ends by the signal only for the plain one.
        raise KeyboardInterrupt from None
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)

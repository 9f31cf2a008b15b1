"""Verbs on run files: report, recommend, trend, convert, profile, recover, push, pull."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.progress import TimeRemainingColumn

from rnncore.amounts import counted
from rnncore.cli.options import EXIT_ERROR, STORE, JsonOption, RunArgument, StoreOption, require_output
from rnncore.cli.screen import err, print_json, print_tables, print_verdict_last, progress_bar, say
from rnncore.errors import ConfigError, RunFileError
from rnncore.files import write_text
from rnncore.forecast.cells import Cell

if TYPE_CHECKING:
    from rnncore.runfile.remote import Pulled


def report(
    names: Annotated[
        list[str],
        typer.Argument(metavar="RUN...", help="Run files, folders or globs of them, or numbers of saved runs, like 0007."),
    ],
    url: StoreOption = None,
    folder: Annotated[Path, typer.Option("--out", help="Folder to write to.")] = Path("reports/latest"),
    title: Annotated[str | None, typer.Option(help="Of the page [default: what was compared]")] = None,
    prices: Annotated[
        list[str] | None,
        typer.Option("--price", metavar="NAME=PRICE", help="Per hour of a run's machine; NAME is its file or its letter."),
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Write the report of one run, or of several side by side: a page, the same as Markdown, figures, CSV and Parquet.

    Any run file of pytest-benchmark will do, also of other suites than those of rnncore.
    """
    import webbrowser

    from rnncore.report.page import write_report
    from rnncore.runfile.read import find_runs

    store = store_of(url)
    paths = list(dict.fromkeys(path for name in names for path in find_runs(name, store)))
    with err.status("Drawing the report"):
        page = write_report(paths, folder, title, _prices(prices or []))
    say(f"Report: {page}")
    if show:
        webbrowser.open(page.absolute().as_uri())


def recommend(
    name: RunArgument,
    max_latency_ms: Annotated[
        float | None, typer.Option(help="Largest p90 of a call's time, or median where the calls are too few [default: any]")
    ] = None,
    max_smape_loss: Annotated[
        float | None, typer.Option(help="Most points of sMAPE above the most accurate choice of the run [default: any]")
    ] = None,
    batch: Annotated[int | None, typer.Option(help="Windows per call [default: those with most windows per second]")] = None,
    cell: Annotated[Literal[Cell, "own"] | None, typer.Option(help="Recurrent cell, or own [default: any]")] = None,
    device: Annotated[
        str | None, typer.Option(metavar="NAME", help="Where to run: cpu, cuda and so on [default: any]")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Name the fastest measured way to run a forecaster within bounds, the next, how sure that is, and the code."""
    from rnncore.compare.choices import Limits
    from rnncore.compare.choices import recommend as choose
    from rnncore.report.recommendation import recommendation_facts, recommendation_text
    from rnncore.runfile.read import read_one_run

    for option, value in (("--max-latency-ms", max_latency_ms), ("--max-smape-loss", max_smape_loss), ("--batch", batch)):
        if value is not None and not 0 <= value < math.inf:
            raise ConfigError(f"{option} is {value}; give a number of at least 0.")
    max_latency_s = None if max_latency_ms is None else max_latency_ms / 1e3
    found = choose(read_one_run(name), Limits(max_latency_s, max_smape_loss, batch, cell, device))
    if as_json:
        print_json(recommendation_facts(found))
        return
    say(recommendation_text(found))


def _prices(texts: list[str]) -> dict[str, float]:
    prices = {}
    for text in texts:
        name, _, amount = text.rpartition("=")
        try:
            price = float(amount)
        except ValueError:
            price = math.nan
        if not name or not 0 <= price < math.inf:
            raise ConfigError(f"--price is {text!r}; give the name or letter of a run and a price per hour, such as A=1.80.")
        prices[name] = price
    return prices


def trend(
    folders: Annotated[
        list[Path] | None, typer.Argument(metavar="STORE", help="Folder of run files [default: .benchmarks]")
    ] = None,
    url: StoreOption = None,
    text: Annotated[str, typer.Option("-k", metavar="TEXT", help="Only benchmarks whose name holds TEXT.")] = "",
    practical_pct: Annotated[
        float, typer.Option("--threshold", metavar="PERCENT", min=0.5, max=100, help="Smallest step that counts.")
    ] = 2.0,
    folder: Annotated[
        Path | None, typer.Option("--out", help="Write a page too: a small chart of each benchmark, its steps and commits.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the history of each benchmark on each machine, and the commits at which its speed changed.

    A step is called once two points in a row confirm it, or more where the history before is short or noisy. What is not
    called yet is named, with how many more points like the newest it takes.
    """
    from rnncore.compare.change_points import find_trends
    from rnncore.compare.history import read_history
    from rnncore.report.trend import trend_json, trend_tables, write_trend_page

    given = folders or []
    store = given[0] if given else None
    if given[1:] or (store is not None and store.is_file()):
        raise ConfigError(
            f"{store}: trend takes one folder and reads all run files below it. Give it, as .benchmarks, or --store URL."
        )
    if store is not None and url is not None:
        raise ConfigError(f"{store} and --store: give one of them, the folder or an address.")
    read = store or store_of(url)
    with progress_bar(TimeRemainingColumn()) as progress:
        task = progress.add_task("Reading run files", total=None)
        history = read_history(read, lambda done, total: progress.update(task, completed=done, total=total))
    trends = find_trends(history, practical_pct / 100)
    if folder is not None:
        err.print(f"Page: {write_trend_page(history, trends, folder, text)}")
    if as_json:
        print_json(trend_json(history, trends, text))
        return
    print_verdict_last(trend_tables(history, trends, text))


def convert(
    run: RunArgument,
    tracker: Annotated[
        Literal["bencher", "github-smaller-is-better", "github-bigger-is-better"],
        typer.Option("--to", help="Bencher Metric Format, or one of the two lists of github-action-benchmark."),
    ],
    path: Annotated[Path | None, typer.Option("--out", help="File [default: standard output]")] = None,
) -> None:
    """Write throughput, latency, memory and sMAPE of a run for a tracker of benchmarks.

    Numbers that benchmarks recorded in extra_info go to Bencher alone: of the lists each has one direction.
    """
    from rnncore.report.trackers import bencher_json, github_action_benchmark_json, tracker_text
    from rnncore.runfile.read import read_one_run

    read = read_one_run(run)
    content: Any = bencher_json(read) if tracker == "bencher" else github_action_benchmark_json(read, "bigger" in tracker)
    if path is None:
        say(tracker_text(content), nl=False)
        return
    write_text(path, tracker_text(content))
    say(f"{path}: for {tracker}")


def profile(
    run: RunArgument,
    other: Annotated[
        str | None, typer.Argument(help="A later run: show what changed from the first to it, operation by operation.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Operations per benchmark; --json has all.")] = 10,
    text: Annotated[str, typer.Option("-k", metavar="TEXT", help="Only benchmarks whose name holds TEXT.")] = "",
    folder: Annotated[
        Path | None,
        typer.Option("--out", help="Write a page too: a flame graph of each benchmark, its work against limits."),
    ] = None,
    show: Annotated[
        bool, typer.Option("--open", help="Open that page in a browser [in reports/profile without --out].")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show where the time of each benchmark goes, or between two runs, which operations grew."""
    import webbrowser

    from rnncore.report.profile import profile_json, profile_tables
    from rnncore.runfile.read import read_one_run

    base, head = read_one_run(run), None if other is None else read_one_run(other)
    if show or folder is not None:
        from rnncore.report.profile_page import write_profile_page

        page = write_profile_page(base, head, text, folder or Path("reports/profile"))
        err.print(f"Page: {page}")
        if show:
            webbrowser.open(page.absolute().as_uri())
    if as_json:
        print_json(profile_json(base, head, text))
        return
    print_tables(profile_tables(base, head, text, top))


def recover(
    journal: Annotated[
        Path | None, typer.Argument(help="A .jsonl file [default: the newest in .benchmarks/journal/]")
    ] = None,
    path: Annotated[Path | None, typer.Option("--out", help="Run file [default: the next number in .benchmarks/]")] = None,
) -> None:
    """Make a run file of what a session had finished when it was killed or crashed."""
    from rnncore.runfile.journal import newest_journal
    from rnncore.runfile.journal import recover as recover_run

    if path is not None:
        require_output(path, ".json")
    recovered = recover_run(journal or newest_journal(STORE / "journal"), path)
    say(f"{recovered.path}: {counted(recovered.finished, 'benchmark')} recovered")
    for fullname, outcome in recovered.failed:
        say(f"{outcome}: {fullname}")


def push(
    where: Annotated[
        list[str],
        typer.Argument(
            metavar="[STORE] URL",
            help="Folder of run files [default: .benchmarks], and where they go: any address of fsspec, such as "
            "s3://bucket/runs, or git+REMOTE#BRANCH.",
        ),
    ],
) -> None:
    """Copy saved runs to a store that outlives this machine; what is there stays, and any number may push at once."""
    from rnncore.runfile import remote
    from rnncore.runfile.branch import without_password

    *folders, url = where
    if len(folders) > 1:
        raise ConfigError(f"{len(where)} places: give a folder and an address, or the address alone.")
    pushed = remote.push(Path(folders[0]) if folders else STORE, url)
    for path, why in pushed.left_out:
        err.print(f"Left out: {path}: {why}", soft_wrap=True, markup=False)
    say(f"{without_password(url)}: {counted(len(pushed.new), 'run file')} pushed, {pushed.known} there already")


def pull(
    url: Annotated[str, typer.Argument(metavar="URL", help="As of 'rnncore push'.")],
    store: Annotated[Path, typer.Argument(help="Folder that they are copied to.")] = STORE,
) -> None:
    """Copy the runs of a store to this machine: those that are not here yet."""
    from rnncore.runfile import remote

    pulled = remote.pull(url, store)
    _say_what_is_left(pulled)
    say(f"{store}: {counted(len(pulled.new), 'run file')} pulled, {pulled.known} here already")
    if not pulled.new and not pulled.known:
        from rnncore.runfile.branch import without_password

        say(f"{without_password(url)} holds none: it is empty, or not the address that you mean.")
    if pulled.damaged:
        raise typer.Exit(EXIT_ERROR)


def store_of(url: str | None) -> Path:
    """Return the folder in which saved runs are looked up: of a store elsewhere, its copy in the user's cache."""
    if url is None:
        return STORE
    from rnncore.runfile.branch import without_password
    from rnncore.runfile.remote import local_copy

    with err.status("Pulling run files"):
        folder, pulled = local_copy(url)
    _say_what_is_left(pulled)
    if not pulled.new and not pulled.known:
        raise RunFileError(f"{without_password(url)}: holds no run files. Copy some there by 'rnncore push URL'.")
    return folder


def _say_what_is_left(pulled: "Pulled") -> None:
    for name in pulled.damaged:
        err.print(
            f"Left: {name}: is not what was pushed; push it again from where it was measured, or delete it.",
            soft_wrap=True,
            markup=False,
        )
    if pulled.foreign:
        err.print(f"Left: {counted(pulled.foreign, 'file')} with names that 'rnncore push' does not give.", soft_wrap=True)

"""Verbs of verdicts: compare, gate, noise, selftest."""

import math
import os
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rnncore.cli.options import (
    STORE,
    GithubOption,
    IsolatedOption,
    JsonOption,
    JunitOption,
    KeywordOption,
    MarkdownOption,
    PathsArgument,
    PrepareOption,
    StoreOption,
    VerdictJsonOption,
)
from rnncore.cli.screen import (
    end_in_order,
    err,
    gate_progress,
    json_text,
    print_json,
    print_table,
    print_tables,
    print_verdict_last,
    process_progress,
    repository_root,
    say,
)
from rnncore.errors import ConfigError, RunFileError
from rnncore.files import require_writable, write_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rnncore.compare.verdict import Comparison
    from rnncore.drive.suites import Suites


def _exit_codes(well: str, bad: str) -> str:
    # One paragraph per code: Typer joins the lines of a paragraph.
    return (
        "Exit codes, of those that hold the first of 2, 4, 1, 5, 3:\n\n"
        f"0  {well}\n\n"
        f"1  {bad}\n\n"
        "2  wrong usage, or an unreadable file\n\n"
        "3  unclear: cannot tell\n\n"
        "4  incomparable: other hardware, software or data\n\n"
        "5  benchmarks missing"
    )


COMPARE_EXIT_CODES = _exit_codes("nothing slower", "slower, or an invalid result")
GATE_EXIT_CODES = _exit_codes("nothing slower or over its budget", "slower, over its budget, or an invalid result")


def compare(
    base: Annotated[str, typer.Argument(help="Run file, folder or glob of them, or number of a saved run, such as 0007.")],
    head: Annotated[str, typer.Argument(help="The same of what is judged.")],
    more_base: Annotated[
        list[str] | None, typer.Option("--base", help="A further process of the base; may be given more than once.")
    ] = None,
    more_head: Annotated[
        list[str] | None, typer.Option("--head", help="A further process of the head; may be given more than once.")
    ] = None,
    url: StoreOption = None,
    as_json: VerdictJsonOption = False,
    markdown: MarkdownOption = None,
    junit: JunitOption = None,
    github: GithubOption = False,
) -> None:
    """Say for each benchmark whether the head is slower, faster, the same, or unclear.

    Any run files of pytest-benchmark will do. A verdict of slower needs several processes per side; 'rnncore gate' measures
    them. Thresholds are read from [tool.rnncore.thresholds] in ./pyproject.toml.
    """
    from rnncore.cli.runs import store_of
    from rnncore.compare.floors import above_noise, read_noise
    from rnncore.compare.judge import judge, read_side
    from rnncore.compare.pairs import pairs_of
    from rnncore.compare.thresholds import read_thresholds

    store = store_of(url)
    sides = read_side([base, *(more_base or [])], store), read_side([head, *(more_head or [])], store)
    thresholds, pairs = read_thresholds(Path()), pairs_of(sides[0].runs, sides[1].runs)
    if pairs is not None:
        # Noise is on record as ratios of pairs; that of whole processes is another.
        first = sides[0].runs[0]
        names = {*sides[0].names, *sides[1].names}
        noise = read_noise(STORE, first.fingerprint, str(first.session.get("scale")))
        thresholds = above_noise(thresholds, noise, names, len(pairs))
    comparison = judge(*sides, thresholds)
    _print_comparison(comparison, as_json, markdown, junit, github)
    raise typer.Exit(comparison.exit_code)


def gate(
    base: Annotated[str, typer.Option("--base", metavar="REV", help="Revision that the head is held against.")],
    head: Annotated[
        str, typer.Option("--head", metavar="REV", help="Revision, or 'worktree': this folder with its uncommitted changes.")
    ] = "worktree",
    budget: Annotated[str, typer.Option(metavar="TIME", help="For all processes, such as 90s, 10m or 1h.")] = "10m",
    text: KeywordOption = "",
    scale: Annotated[str, typer.Option("--rnn-scale", help="Grid of each process.")] = "gate",
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="End as soon as anything is slower or invalid; the rest may stay unclear.")
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Measure every benchmark, also those that the change cannot reach.")
    ] = False,
    paths: PathsArgument = None,
    prepare: PrepareOption = None,
    isolated: IsolatedOption = False,
    folder: Annotated[Path, typer.Option("--out", help="Folder for verdicts and run files.")] = Path("reports/gate"),
    as_json: VerdictJsonOption = False,
    markdown: MarkdownOption = None,
    junit: JunitOption = None,
    github: GithubOption = False,
) -> None:
    """Tell whether a change made anything slower: both revisions, interleaved on this machine.

    Both lie in git worktrees of their own; your files stay as they are. A benchmark that reads none of the changed files is
    the same, and is not measured. Thresholds and budgets are the head's, from [tool.rnncore.thresholds] and
    [tool.rnncore.budgets] in its pyproject.toml.
    """
    from rnncore.drive.environment import Preparation
    from rnncore.drive.gate import parse_budget, run_gate
    from rnncore.drive.suites import Suites, chooses, find_suites
    from rnncore.report.verdict.json import verdict_json
    from rnncore.report.verdict.page import write_verdict_page

    budget_s = parse_budget(budget)
    for file in filter(None, (markdown, junit)):
        require_writable(file)
    _choose_waiting()
    asked, more = _paths_and_arguments(paths)
    arguments = (f"--rnn-scale={scale}", *_chosen(text), *more)
    is_selection = bool(asked or text) or chooses(Path(), more)
    suites = Suites(find_suites(Path(), asked), arguments, is_selection=is_selection)
    with _folder_of_now(folder) as out, end_in_order(), gate_progress(budget_s) as on_progress:
        comparison = run_gate(
            Path(),
            base,
            head,
            suites,
            budget_s,
            STORE,
            out / "processes",
            on_progress,
            fail_fast,
            everything,
            _say_step,
            Preparation(prepare, isolated),
            lambda: _say_busy(suites),
        )
    write_text(out / "verdict.json", json_text(verdict_json(comparison)))
    _write_files(comparison, out / "verdict.md", out / "junit.xml")
    profiles = _write_profiles(out)
    write_verdict_page(comparison, out, (*profiles, "verdict.md", "verdict.json", "junit.xml"))
    _print_comparison(comparison, as_json, markdown, junit, github)
    err.print(f"Verdicts and run files: {out}")
    raise typer.Exit(comparison.exit_code)


def _write_profiles(out: Path) -> list[str]:
    """Write the page of what grew in what became slower, if a gate profiled both sides; return its name in the folder."""
    from rnncore.report.profile_page import write_profile_page
    from rnncore.runfile.read import read_run

    sides = [out / "processes" / f"{side}-profiled.json" for side in ("base", "head")]
    if not all(side.exists() for side in sides):
        return []
    base, head = map(read_run, sides)
    try:
        return [write_profile_page(base, head, "", out).name]
    except RunFileError:
        # Without profiles in both there is nothing to show.
        return []


def noise(
    pairs: Annotated[int, typer.Option(help="How many to run, 8 at least; more make the floor surer.")] = 20,
    budget: Annotated[str, typer.Option(metavar="TIME", help="Of the gate whose smallest visible change is shown.")] = "10m",
    wanted_pct: Annotated[float, typer.Option("--wanted", metavar="PERCENT", help="Slowdown that a gate should see.")] = 5.0,
    text: KeywordOption = "",
    scale: Annotated[str, typer.Option("--rnn-scale", help="Grid of each process.")] = "gate",
    paths: PathsArgument = None,
    prepare: PrepareOption = None,
    isolated: IsolatedOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure this machine's noise: identical code, again and again. The gate uses it from then on.

    Tells for each benchmark the smallest slowdown that a gate of the budget sees, and the pairs that a wanted one needs.
    """
    import tempfile

    from rnncore.compare.floors import KEPT_SIZES, record_noise, write_noise
    from rnncore.compare.looks import pairs_in
    from rnncore.compare.thresholds import read_thresholds
    from rnncore.drive.environment import Preparation, two_revisions
    from rnncore.drive.gate import parse_budget
    from rnncore.drive.noise import measure_noise
    from rnncore.drive.suites import Suites, find_suites
    from rnncore.drive.worktrees import WORKTREE
    from rnncore.report.noise import noise_json, noise_table
    from rnncore.runfile.grid import grid_of

    _require_enough("--pairs", pairs)
    budget_s = parse_budget(budget)
    if not 0 < wanted_pct < math.inf:
        raise ConfigError(f"--wanted is {wanted_pct:g}; give percents above 0, such as 5.")
    thresholds = read_thresholds(Path())
    _choose_waiting()
    asked, more = _paths_and_arguments(paths)
    suites = Suites(find_suites(Path(), asked), (f"--rnn-scale={scale}", *_chosen(text), *more))
    with (
        end_in_order(),
        two_revisions(Path(), WORKTREE, WORKTREE, Preparation(prepare, isolated), _say_step) as trees,
        tempfile.TemporaryDirectory() as folder,
        process_progress(pairs, "pair") as on_pair,
    ):
        _say_busy(suites)
        found = measure_noise(trees, suites, pairs, Path(folder), on_pair, budget_s, _say_step)
    walls_s = [pair.wall_s for pair in found]
    of_gate = pairs_in(budget_s, sorted(walls_s)[len(walls_s) // 2])
    with err.status("Drawing gates"):
        runs = [(pair.base, pair.head) for pair in found]
        record = record_noise(runs, walls_s, thresholds, {*KEPT_SIZES, of_gate})
    path = write_noise(STORE, record)
    facts = noise_json(record, grid_of(found[0].base), budget_s, of_gate, wanted_pct / 100)
    if as_json:
        print_json(facts)
        return
    lines, table = noise_table(facts)
    say(lines)
    print_table(table)
    say(f"Kept in {path}: 'rnncore gate', and 'compare' of pairs, refuse thresholds below the floor.")


def selftest(
    blocks: Annotated[int, typer.Option(help="Blocks of a pair of identical code and one of each delay, 8 at least.")] = 30,
    delays: Annotated[str, typer.Option(metavar="PERCENTS", help="Delays to plant, apart by commas.")] = "3,5",
    budget: Annotated[str, typer.Option(metavar="TIME", help="Of each gate that is replayed.")] = "10m",
    gates: Annotated[int, typer.Option(min=10, help="Gates to replay for each delay.")] = 300,
    text: KeywordOption = "",
    replay: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Use the processes of an earlier self-test; run none.")
    ] = None,
    paths: PathsArgument = None,
    prepare: PrepareOption = None,
    isolated: IsolatedOption = False,
    folder: Annotated[Path, typer.Option("--out", help="Folder for rates and run files.")] = Path("reports/selftest"),
    as_json: JsonOption = False,
) -> None:
    """Prove the gate: plant delays of known size, and identical code, and count what it finds and what it makes up.

    Beside it is what pytest-benchmark's min:5% and asv's test would have said of the same processes. It takes the blocks
    times a pair and one for each delay.
    """
    from rnncore.compare.looks import pairs_in
    from rnncore.compare.replay import read_pool, score_rules
    from rnncore.compare.thresholds import read_thresholds
    from rnncore.drive.environment import Preparation, two_revisions
    from rnncore.drive.gate import parse_budget
    from rnncore.drive.noise import measure_pool
    from rnncore.drive.suites import Suites, find_suites
    from rnncore.drive.worktrees import WORKTREE
    from rnncore.report.noise import selftest_json, selftest_markdown, selftest_tables

    _require_enough("--blocks", blocks)
    budget_s, delays_pct, thresholds = parse_budget(budget), _delays(delays), read_thresholds(Path())
    with _folder_of_now(folder) as out:
        if replay is None:
            _choose_waiting()
            total = blocks * (1 + len(delays_pct))
            asked, more = _paths_and_arguments(paths)
            suites = Suites(find_suites(Path(), asked), ("--rnn-scale=gate", *_chosen(text), *more))
            with (
                end_in_order(),
                two_revisions(Path(), WORKTREE, WORKTREE, Preparation(prepare, isolated), _say_step) as trees,
                process_progress(total, "pair") as on_pair,
            ):
                _say_busy(suites)
                measure_pool(trees, suites, blocks, delays_pct, budget_s, out / "processes", on_pair, _say_step)
            err.print(f"Processes: {out / 'processes'}")
        pool = read_pool(replay or out / "processes")
        with process_progress(gates * (1 + len(pool.delayed)), "gate") as on_gate:
            scores = score_rules(pool, budget_s, thresholds, gates, on_gate)
        facts = selftest_json(pool, scores, budget_s, pairs_in(budget_s, pool.pair_s))
        write_text(out / "selftest.json", json_text(facts))
        write_text(out / "selftest.md", selftest_markdown(facts))
    if as_json:
        print_json(facts)
    else:
        print_verdict_last(selftest_tables(facts))
    err.print(f"Rates: {out}")


# What would send the run file of a process elsewhere, or leave none.
_SET_BY_US = frozenset({"--benchmark-json", "--benchmark-disable", "--benchmark-skip", "--collect-only", "--co"})


def _paths_and_arguments(given: list[str] | None) -> tuple[list[str], list[str]]:
    """Tell suites from arguments of pytest: the first of those begins with a dash, and the `--` is not passed on."""
    given = given or []
    first = next((place for place, one in enumerate(given) if one.startswith("-")), len(given))
    taken = [one for one in given[first:] if one.partition("=")[0] in _SET_BY_US]
    if taken:
        raise ConfigError(f"{', '.join(taken)}: set for each process by rnncore itself. Leave it out after '--'.")
    return given[:first], given[first:]


def _chosen(text: str) -> list[str]:
    """Return the arguments of pytest that choose benchmarks."""
    return ["-k", text] if text else []


def _say_step(line: str) -> None:
    # Commands and names of benchmarks have brackets, which are no markup.
    err.print(line, soft_wrap=True, markup=False)


@contextmanager
def _folder_of_now(parent: Path) -> "Iterator[Path]":
    """Yield a folder that another command does not share, though it began in the same second; an empty one is removed."""
    from datetime import UTC, datetime

    made = [one for one in (parent, *parent.parents) if not one.exists()]
    folder = parent / f"{datetime.now(UTC):%Y%m%d_%H%M%S_%f}"
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise ConfigError(
            f"--out: {folder} cannot be made ({error.strerror}). Give a folder that can be written to."
        ) from error
    try:
        yield folder
    finally:
        # From the inside out; what holds anything stays.
        for one in (folder / "processes", folder, *made):
            with suppress(OSError):
                one.rmdir()


def _require_enough(option: str, given: int) -> None:
    from rnncore.compare.judge import FAMILY_ERROR
    from rnncore.compare.signs import pairs_needed

    fewest = pairs_needed(FAMILY_ERROR)
    if given < fewest:
        raise ConfigError(f"{option} is {given}; give {fewest} or more: fewer pairs tell nothing.")


def _delays(text: str) -> list[float]:
    try:
        delays_pct = [float(part) for part in text.split(",")]
    except ValueError:
        delays_pct = []
    if not delays_pct or not all(0 < one < math.inf for one in delays_pct) or len(set(delays_pct)) < len(delays_pct):
        raise ConfigError(f"--delays is {text!r}; give percents above 0, each once, such as 3,5,10.")
    return delays_pct


def _write_files(comparison: "Comparison", markdown: Path | None, junit: Path | None) -> None:
    from rnncore.report.verdict.junit import verdict_junit
    from rnncore.report.verdict.markdown import verdict_markdown

    if markdown is not None:
        write_text(markdown, verdict_markdown(comparison))
    if junit is not None:
        write_text(junit, verdict_junit(comparison))


def _print_comparison(
    comparison: "Comparison", as_json: bool, markdown: Path | None, junit: Path | None, github: bool
) -> None:
    from rnncore.report.verdict.github import github_annotations
    from rnncore.report.verdict.json import verdict_json
    from rnncore.report.verdict.text import verdict_tables

    _write_files(comparison, markdown, junit)
    if as_json:
        print_json(verdict_json(comparison))
    else:
        print_tables(verdict_tables(comparison))
    if github:
        for line in github_annotations(comparison, repository_root()):
            say(line, err=as_json)


def _choose_waiting() -> None:
    """Look at the host, for all processes that will measure: they wait alike."""
    from rnncore.measure.busy import session_environment

    os.environ.update(session_environment())


def _say_busy(suites: "Suites") -> None:
    """Say that the host is busy where it is, once it is known that there is something to measure."""
    from rnncore.drive.suites import use_rnncore
    from rnncore.measure.busy import notice

    said = notice(of_cases=use_rnncore(Path(), suites), threads="'-- --rnn-threads N'")
    if said:
        err.print(said, soft_wrap=True)

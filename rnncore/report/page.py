"""The report as files: a page, the same as Markdown, its figures, flat tables of all results, and the run files."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rnncore.amounts import counted
from rnncore.errors import ConfigError, RunFileError
from rnncore.files import whole_file, write_text
from rnncore.report.figure import Figure, write_figure
from rnncore.report.fold import without_folded
from rnncore.report.html import figure_html, page_html
from rnncore.report.results import result_rows, write_results
from rnncore.report.section import Section, Shown
from rnncore.report.sections import OF_ONE_ORDINARY, OF_ONE_RUN, OF_SEVERAL, OF_SEVERAL_ORDINARY
from rnncore.report.sections.method import raw_name
from rnncore.report.table import inert, paragraph
from rnncore.runfile.checks import one_line
from rnncore.runfile.read import read_run
from rnncore.runfile.record import Run

REPORT_NAME = "report.md"
PAGE_NAME = "index.html"

TITLE = "GRU and LSTM load forecasters: what is fastest here"
TITLE_OF_SEVERAL = "GRU and LSTM load forecasters: runs side by side"
TITLE_OF_ORDINARY = "Benchmarks: how long each takes here"
TITLE_OF_SEVERAL_ORDINARY = "Benchmarks: runs side by side"


def write_report(
    paths: list[Path], folder: Path, title: str | None = None, prices: Mapping[str, float] | None = None
) -> Path:
    """Write the page, the same as Markdown, its figures, all results as CSV and Parquet, and the run files into *folder*.

    Args:
        paths: Run files; several are put side by side.
        folder: Where to; made if missing.
        title: Of the page; None for the usual one of one or of several runs.
        prices: Of an hour of a run's machine, by the name of its file or its letter (A, B); ranks choices by cost.

    Returns:
        The path of the page.

    Raises:
        RunFileError: If a run file cannot be read or holds no benchmark.
        ConfigError: If a price is of no run, or no run has rows that prices are for, or the runs are of several pairs.
    """
    runs = [read_run(path) for path in paths]
    _require_no_pairs(runs)
    for run in runs:
        _require_benchmarks(run)
    drawn = figures(runs)
    text = render(runs, drawn, title, prices)
    # All are read before one is written: a run file may be the copy beside an earlier report.
    raw = {raw_name(index, len(paths)): path.read_bytes() for index, path in enumerate(paths)}
    pictures = {figure.name: figure_html(figure, write_figure(figure, folder)) for figure in drawn}
    write_text(folder / REPORT_NAME, without_folded(text))
    write_results(result_rows(runs), folder)
    for name, content in raw.items():
        with whole_file(folder / name) as temporary:
            temporary.write_bytes(content)
    page = folder / PAGE_NAME
    write_text(page, page_html(text, pictures, (REPORT_NAME, "results.csv", "results.parquet", *raw)))
    return page


def figures(runs: Sequence[Run]) -> list[Figure]:
    """Return the figures that the runs of a page have something to draw for."""
    return [figure for section in _sections(runs) for figure in section.drawn(runs)]


def render(
    runs: Sequence[Run],
    drawn: Sequence[Figure] = (),
    title: str | None = None,
    prices: Mapping[str, float] | None = None,
) -> str:
    """Return the report of one or several runs as Markdown, with what a page folds; equal text for equal runs.

    Args:
        runs: The runs; the first is what the others are held against.
        drawn: Figures that lie beside it.
        title: Its title; None for the usual one of one or of several runs.
        prices: Of an hour of a run's machine, by the name of its file or its letter.

    Raises:
        ConfigError: If a price is of no run, or no run has rows that prices are for.
    """
    sections = _sections(runs)
    lacking = dict.fromkeys(section.lacking for section in sections if section.lacking and section.lacks(runs))
    shown = Shown({figure.name: figure for figure in drawn}, prices or {}, list(lacking))
    titles = (TITLE_OF_ORDINARY, TITLE_OF_SEVERAL_ORDINARY) if _is_ordinary(runs) else (TITLE, TITLE_OF_SEVERAL)
    if prices and _is_ordinary(runs):
        raise ConfigError("--price ranks choices of rnncore's suites, and no run has a row of them. Leave it out.")
    heading = title or titles[len(runs) > 1]
    lines = [line for section in sections for line in section.lines(runs, shown)]
    return "\n".join([f"# {paragraph(inert(heading))}", *lines])


def _sections(runs: Sequence[Run]) -> tuple[Section, ...]:
    if _is_ordinary(runs):
        return OF_ONE_ORDINARY if len(runs) == 1 else OF_SEVERAL_ORDINARY
    return OF_ONE_RUN if len(runs) == 1 else OF_SEVERAL


def _is_ordinary(runs: Sequence[Run]) -> bool:
    """Say whether no benchmark of any run is of a suite of ours."""
    return not any(record.has_case for run in runs for record in run.records)


def _require_no_pairs(runs: Sequence[Run]) -> None:
    """Make sure that runs are not the processes of several pairs, of which a gate leaves dozens: those are two sides.

    Raises:
        ConfigError: If they are.
    """
    pairs: dict[int, list[str]] = {}
    for run in runs:
        if run.pair is not None:
            pairs.setdefault(run.pair, []).append(str(run.path))
    if len(pairs) > 1:
        raise ConfigError(
            f"{len(runs)} run files of {len(pairs)} pairs, as a gate leaves them, are processes of two sides, and no runs "
            "to put side by side. Give the sides to 'rnncore compare', those of a gate as base-[0-9]*.json and "
            f"head-[0-9]*.json; or report one pair: {' '.join(pairs[min(pairs)])}."
        )


def _require_benchmarks(run: Run) -> None:
    """Make sure that a run has something to show.

    Raises:
        RunFileError: If no benchmark was measured.
    """
    if run.records:
        return
    why = "none ran to its end"
    if run.failed:
        fullname, outcome, reason = run.failed[0]
        why = f"{counted(len(run.failed), 'benchmark')} ended without a result, such as {fullname} ({outcome}: {reason})"
    elif run.skipped:
        fullname, reason = run.skipped[0]
        why = f"{counted(len(run.skipped), 'benchmark')} skipped, such as {fullname} ({reason})"
    raise RunFileError(
        f"{run.path}: holds no benchmark: {one_line(why)}. Run its suites again with 'pytest --benchmark-autosave'."
    )

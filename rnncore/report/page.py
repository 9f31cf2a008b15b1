"""The report as files: a page, the same as Markdown, its figures, flat tables of all results, and the run files."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rnncore.errors import RunFileError
from rnncore.files import whole_file, write_text
from rnncore.report.charts import Figure, figures, figures_of_several, write_figure
from rnncore.report.html import page_html
from rnncore.report.one_run import one_run
from rnncore.report.results import result_rows, write_results
from rnncore.report.sections import raw_name
from rnncore.report.several_runs import several_runs
from rnncore.runfile.read import read_run
from rnncore.runfile.record import Run

REPORT_NAME = "report.md"
PAGE_NAME = "index.html"

TITLE = "GRU and LSTM load forecasters: what is fastest here"
TITLE_OF_SEVERAL = "GRU and LSTM load forecasters: runs side by side"


def write_report(
    paths: list[Path], folder: Path, title: str | None = None, prices: Mapping[str, float] | None = None
) -> Path:
    """Write the page, the same as Markdown, its figures, all results as CSV and Parquet, and the run files into *folder*.

    Args:
        paths: Run files; several are put side by side.
        folder: Where to; made if missing.
        title: Of the page; None for one that says what was compared.
        prices: Of an hour of a run's machine, by the name of its file or its letter (A, B); ranks choices by cost.

    Returns:
        The path of the page.

    Raises:
        RunFileError: If a run file cannot be read or holds no benchmark of rnncore's.
        ConfigError: If a price is of no run.
    """
    runs = [read_run(path) for path in paths]
    for run in runs:
        if not run.records:
            raise RunFileError(
                f"{run.path}: holds no benchmark of rnncore's suites. Run 'pytest bench/ --benchmark-autosave'."
            )
    drawn = figures(runs[0]) if len(runs) == 1 else figures_of_several(runs)
    text = render(runs, drawn, title, prices)
    # All are read before one is written: a run file may be the copy beside an earlier report.
    raw = {raw_name(index, len(paths)): path.read_bytes() for index, path in enumerate(paths)}
    svgs = {figure.name: write_figure(figure, folder) for figure in drawn}
    write_text(folder / REPORT_NAME, text)
    write_results(result_rows(runs), folder)
    for name, content in raw.items():
        with whole_file(folder / name) as temporary:
            temporary.write_bytes(content)
    page = folder / PAGE_NAME
    write_text(page, page_html(text, drawn, svgs, (REPORT_NAME, "results.csv", "results.parquet", *raw)))
    return page


def render(
    runs: list[Run],
    drawn: Sequence[Figure] = (),
    title: str | None = None,
    prices: Mapping[str, float] | None = None,
) -> str:
    """Return the report of one or several runs as Markdown; equal text for equal runs.

    Args:
        runs: The runs.
        drawn: Figures that lie beside it.
        title: Its title; None for one that says what was compared.
        prices: Of an hour of a run's machine.

    Raises:
        ConfigError: If a price is of no run.
    """
    if len(runs) == 1:
        return one_run(runs[0], drawn, title or TITLE, prices or {})
    return several_runs(runs, drawn, title or TITLE_OF_SEVERAL, prices or {})

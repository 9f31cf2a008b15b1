"""The verb of budgets: check."""

from pathlib import Path
from typing import Annotated

import typer

from rnncore.cli.options import GithubOption, MarkdownOption, VerdictJsonOption
from rnncore.cli.screen import print_json, print_tables, repository_root, say
from rnncore.errors import ConfigError
from rnncore.files import write_text

# One paragraph per code: Typer joins the lines of a paragraph.
CHECK_EXIT_CODES = (
    "Exit codes, of those that hold the first of 2, 1, 5, 3:\n\n"
    "0  nothing over its budget\n\n"
    "1  over, or an invalid result\n\n"
    "2  wrong usage, or an unreadable file\n\n"
    "3  cannot tell\n\n"
    "5  missing: a budget for what was not measured"
)


def check(
    names: Annotated[
        list[str],
        typer.Argument(metavar="RUN...", help="Run files, folders or globs of them, or numbers of saved runs, like 0007."),
    ],
    as_json: VerdictJsonOption = False,
    markdown: MarkdownOption = None,
    junit: Annotated[
        Path | None, typer.Option("--junit", help="Write them as JUnit XML too: over a budget is a failed case.")
    ] = None,
    github: GithubOption = False,
) -> None:
    """Say for each budget whether the runs keep it: within, over, cannot tell, or not judged on another machine.

    Budgets are absolute limits by pattern, from [tool.rnncore.budgets] in ./pyproject.toml. Several run files are several
    processes of the same benchmarks.
    """
    from rnncore.compare.budgets import judge_budgets, read_budgets
    from rnncore.compare.judge import read_side
    from rnncore.report.verdict.budgets import budget_tables, budgets_json
    from rnncore.report.verdict.github import budget_annotations
    from rnncore.report.verdict.junit import budgets_junit
    from rnncore.report.verdict.markdown import budgets_markdown

    budgets = read_budgets(Path())
    if not budgets:
        raise ConfigError(
            "pyproject.toml sets no budgets. Write some, such as '[tool.rnncore.budgets.\"*test_forecast*\"]' and "
            "'p99_ms = 2' below it (docs/budgets.md)."
        )
    found = judge_budgets(budgets, read_side(names))
    if markdown is not None:
        write_text(markdown, budgets_markdown(found))
    if junit is not None:
        write_text(junit, budgets_junit(found))
    if as_json:
        print_json(budgets_json(found))
    else:
        print_tables(budget_tables(found))
    if github:
        for line in budget_annotations(found, repository_root()):
            say(line, err=as_json)
    raise typer.Exit(found.exit_code)

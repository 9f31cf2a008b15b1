"""Tests of tables: units, alignment and formats of columns, in Markdown and on a screen."""

from io import StringIO

from rich.console import Console

from rnncore.report.table import Column, Table, numbers, words

TABLE = Table(
    [
        *words("Benchmark"),
        *numbers("median", unit="ms", show="{:.1f}".format),
        *numbers("rounds"),
        Column("why", wraps=True),
    ],
    [["test_one[x]", 1.25, 1200, "too few rounds to tell a change from noise"], ["test_two", None, None, "none"]],
)


def _screen(width: int) -> list[str]:
    out = StringIO()
    Console(file=out, width=width, highlight=False).print(TABLE.screen())
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_a_column_has_its_unit_in_the_heading_its_format_and_a_dash_for_what_is_not_known() -> None:
    assert TABLE.head == ["Benchmark", "median ms", "rounds", "why"]
    assert TABLE.texts == [
        ["test_one[x]", "1.2", "1,200", "too few rounds to tell a change from noise"],
        ["test_two", "–", "–", "none"],
    ]


def test_words_are_aligned_left_in_markdown_and_numbers_right() -> None:
    assert TABLE.markdown() == (
        "| Benchmark | median ms | rounds | why |\n"
        "| --- | --: | --: | --- |\n"
        "| test_one[x] | 1.2 | 1,200 | too few rounds to tell a change from noise |\n"
        "| test_two | – | – | none |\n"
    )


def test_on_a_narrow_screen_words_wrap_and_numbers_stay_whole() -> None:
    assert _screen(48) == [
        "Benchmark    median ms  rounds  why",
        "test_one[x]        1.2   1,200  too few rounds",
        "                                to tell a change",
        "                                from noise",
        "test_two             –       –  none",
    ]

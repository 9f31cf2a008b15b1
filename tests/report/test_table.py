"""Tests of tables: units, alignment and formats of columns, in Markdown and on a screen."""

from io import StringIO

from rich.console import Console

from rnncore.report.table import Column, Markdown, Table, code, inert, numbers, strong, words

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


def test_a_cell_is_text_unless_it_is_made_markdown() -> None:
    rows = [["*a* | `b` <c>", strong("*d*"), inert("_e_")]]
    assert Table(words("_x_", Markdown("_y_"), "z"), rows).markdown() == (
        "| \\_x\\_ | _y_ | z |\n| --- | --- | --- |\n| \\*a\\* \\| \\`b\\` &lt;c> | **\\*d\\*** | \\_e\\_ |\n"
    )


def test_text_is_made_inert_once_and_code_ends_where_it_is_to_end() -> None:
    assert inert(inert("*a*")) == inert("*a*") == "\\*a\\*"
    assert (code("fast"), code("a`b")) == ("`fast`", "a\\`b")


def test_a_heading_stays_markdown_with_its_unit() -> None:
    (column,) = numbers(inert("a*b"), unit="ms")
    assert Table([column], []).markdown().splitlines()[0] == "| a\\*b ms |"


def test_nothing_in_a_cell_moves_the_cursor() -> None:
    out = StringIO()
    Console(file=out, width=60).print(Table(words("name"), [["a\x1b[31mb\rc\x9bd"]]).screen())
    assert out.getvalue().split("\n")[1].rstrip() == "a [31mb c d"

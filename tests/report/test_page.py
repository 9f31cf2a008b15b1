"""Tests of the page: one text for Markdown and HTML, text from files stays text, and nothing is fetched from elsewhere."""

import csv
import hashlib
import json
import math
import re
import subprocess
import sys
from base64 import b64encode
from collections.abc import Collection
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
import vl_convert
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from rnncore.errors import ConfigError
from rnncore.report import figure as figure_module
from rnncore.report.figure import OTHERS
from rnncore.report.fold import without_folded
from rnncore.report.html import page_html
from rnncore.report.page import figures, render, write_report
from rnncore.report.profile_page import write_profile_page
from rnncore.report.results import result_rows
from rnncore.report.section import picture_line
from rnncore.report.sections.accuracy import pareto_front
from rnncore.report.sections.ratios import case_ratios
from rnncore.report.sections.ratios import figures as ratio_figures
from rnncore.report.table import Table, numbers, words
from rnncore.runfile.read import read_run
from rnncore.runfile.record import Run
from tests.report_text import PUBLISHED, broken_rows
from tests.run_files import GPU, SECTIONS, accuracy, every_phase, inference, make_run, run_content

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)> ![x](https://example.org/x.png) [y](javascript:x) ../../x"


class Page(HTMLParser):
    """What a browser would see: elements with their attributes, and text by element."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.headings: list[str] = []
        self._in: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("h1", "h2"):
            self._in = tag
            self.headings.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == self._in:
            self._in = None

    def handle_data(self, data: str) -> None:
        if self._in:
            self.headings[-1] += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def _with_profile_and_intensity(content: dict[str, Any]) -> dict[str, Any]:
    for entry in content["benchmarks"]:
        if entry["extra_info"].get("gflop_per_s"):
            entry["extra_info"]["flops_per_byte"] = 12.5
    shares = {"recurrent products": 60.0, "pointwise": 30.0, "overhead": 10.0}
    content["benchmarks"][0]["extra_info"]["profile"] = {"wall_s": 0.01, "shares_pct": shares, "ops": []}
    return content


def poisoned(value: Any, key: str = "") -> Any:
    """Return JSON values with markup, script and paths in place of each text that no row is chosen by; names stay apart."""
    if isinstance(value, dict):
        return {name: poisoned(inner, name) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [poisoned(inner) for inner in value]
    if key == "fullname":
        return f"{EVIL} {value}"
    return EVIL if isinstance(value, str) and key not in ("phase", "validity", "datetime") else value


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    write_report([make_run(folder, _with_profile_and_intensity(run_content()))], folder / "out")
    return folder / "out"


def test_the_folder_holds_page_text_tables_and_figures(written: Path) -> None:
    names = ("accuracy", "answers", "forecasts", "latency", "learning", "loss", "profiles", "roofline", "throughput")
    drawn = [f"{name}.{kind}" for name in names for kind in ("png", "svg")]
    assert sorted(path.name for path in written.iterdir()) == sorted(
        [*drawn, "index.html", "report.md", "results.csv", "results.parquet", "run.json"]
    )
    assert read_run(written / "run.json").digest == hashlib.sha256((written / "run.json").read_bytes()).hexdigest()


def test_the_page_has_the_sections_of_the_markdown_in_its_order(written: Path) -> None:
    text = (written / "report.md").read_text(encoding="utf-8")
    page = Page((written / "index.html").read_text(encoding="utf-8"))
    assert page.headings == [line.lstrip("# ") for line in text.splitlines() if re.match("##? ", line)]
    assert page.headings[1:] == list(SECTIONS)
    anchors = [f"#{attributes['id']}" for attributes in page.of("h2")]
    assert [attributes["href"] for attributes in page.of("a")][1 : len(anchors) + 1] == anchors


def test_every_table_and_number_of_the_markdown_is_in_the_page(written: Path) -> None:
    run = read_run(written / "run.json")
    text = render([run], figures([run]))
    page = (written / "index.html").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| --")]
    assert len(re.findall(r"<tr\b", page)) == len(rows)
    for number in ("1.82", "5.55x faster", "1,230", "0.987"):
        assert number in text
        assert number in page


def test_the_answers_are_a_table_to_readers_of_screens_though_they_look_like_cards(written: Path) -> None:
    page = Page((written / "index.html").read_text(encoding="utf-8"))
    assert [one["role"] for one in page.of("table") if one.get("class") == "answers"] == ["table"]
    roles = [one["role"] for _, one in page.elements if one.get("role") in ("columnheader", "row", "cell", "rowgroup")]
    assert (roles.count("columnheader"), roles.count("rowgroup")) == (4, 2)
    assert roles.count("cell") == 4 * (roles.count("row") - 1) > 0


def test_nothing_in_the_page_is_fetched(written: Path) -> None:
    page = Page((written / "index.html").read_text(encoding="utf-8"))
    assert not page.of("iframe")
    for tag in ("img", "script", "link", "source", "video"):
        for attributes in page.of(tag):
            address = attributes.get("src") or attributes.get("href")
            assert address is None or address.startswith("data:"), (tag, address)
    local = {"report.md", "results.csv", "results.parquet", "run.json"}
    assert all(str(one["href"]).startswith("#") or one["href"] in local for one in page.of("a"))
    (policy,) = [one["content"] for one in page.of("meta") if one.get("http-equiv") == "Content-Security-Policy"]
    assert str(policy).startswith("default-src 'none';")
    # Of scripts its own alone runs, known by its bytes.
    text = (written / "index.html").read_text(encoding="utf-8")
    digest = hashlib.sha256(text.split("<script>")[1].split("</script>")[0].encode()).digest()
    assert f"script-src 'sha256-{b64encode(digest).decode()}';" in str(policy)


def test_every_figure_has_words_and_a_picture_for_wide_and_for_narrow_screens(written: Path) -> None:
    page = Page((written / "index.html").read_text(encoding="utf-8"))
    shown = [attributes["data-figure"] for attributes in page.of("figure")]
    assert shown == [
        *("answers", "latency", "throughput", "accuracy", "forecasts", "learning", "loss", "roofline", "profiles"),
    ]
    pictures = [one for one in page.of("div") if one.get("role") == "img"]
    assert [one["class"] for one in pictures] == ["chart wide", "chart narrow"] * len(shown)
    assert all(one["aria-label"] for one in pictures)
    assert len(page.of("svg")) == 2 * len(shown)
    # One document: no two pictures have an id in common.
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_a_page_is_small_and_carries_no_library(written: Path, tmp_path: Path) -> None:
    assert len((written / "index.html").read_bytes()) < 500_000
    for name in ("2026-11-24-xeon-2cpu", "2026-11-24-xeon-2cpu-runtimes"):
        page = write_report([PUBLISHED / name / "run.json"], tmp_path / name)
        assert len(page.read_bytes()) < 1_000_000
        assert "vega" not in page.read_text(encoding="utf-8").lower()


def test_a_figure_is_drawn_once_for_each_width_and_its_file_is_made_of_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [
        _calls_of(monkeypatch, where, name)
        for where, name in ((figure_module, "_styled"), (vl_convert, "vegalite_to_svg"), (vl_convert, "svg_to_png"))
    ]
    page = write_report([make_run(tmp_path, _with_profile_and_intensity(run_content()))], tmp_path / "out")
    count = page.read_text(encoding="utf-8").count("<figure ")
    assert count > 5
    assert list(map(len, made)) == [count, 2 * count, count]


def _calls_of(monkeypatch: pytest.MonkeyPatch, where: Any, name: str) -> list[tuple[Any, ...]]:
    """Return a list to which each call of a function adds its arguments."""
    found: list[tuple[Any, ...]] = []
    real = getattr(where, name)

    def called(*given: Any, **more: Any) -> Any:
        found.append(given)
        return real(*given, **more)

    monkeypatch.setattr(where, name, called)
    return found


def test_a_page_of_a_thousand_rows_is_small_and_its_plain_cells_are_not_parsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = []
    for number in range(1000):
        cell, batch_size = ("gru", "lstm")[number % 2], 2 ** (number // 2 % 10)
        row = inference(cell, "torch", batch_size, 1e-3 * (1 + number % 7), threads=2 + number // 20)
        rows.append({**row, "fullname": row["fullname"].replace("]", f"-{number}]")})
    parsed = _calls_of(monkeypatch, MarkdownIt, "renderInline")
    page = write_report([make_run(tmp_path, run_content(rows))], tmp_path / "out")
    text = page.read_text(encoding="utf-8")
    assert text.count("<tr>") > 3000
    assert len(text.encode()) < 3_000_000
    # Of tens of thousands.
    assert len(parsed) < 100


def _with_bf16(content: dict[str, Any]) -> dict[str, Any]:
    row = inference("gru", "torch", 1, 5e-3, precision="bf16")
    content["benchmarks"].append({**row, "fullname": row["fullname"].replace("fp32", "bf16")})
    return _with_profile_and_intensity(content)


def test_every_figure_is_what_the_schema_of_vega_lite_allows(tmp_path: Path) -> None:
    run = read_run(make_run(tmp_path, _with_bf16(run_content())))
    found = [*figures([run]), *figures([read_run(path) for path in _two_machines(tmp_path)])]
    assert len(found) > 8
    for figure in found:
        # It is drawn without the check, which takes as long as the drawing.
        figure.chart.to_dict(validate=True)


# One of each kind of Markdown and HTML, and what a page or GitHub would make of it.
MARKUP = "*em* **st** `co` _un_ ~~de~~ [li](x) ![im](y.png) <b>ht</b> | &amp; \\"
MADE = (
    *("<em>em</em>", "<em>un</em>", "<strong>st</strong>", "<code>co</code>", "<s>de</s>", "<b>ht</b>", 'href="x"'),
    *('src="y.png"', "<td>&amp; "),
)

# What is shown and by which no row is chosen.
SHOWN = ("runtime_title", "kernel", "steady_why", "cpu", "name", "reason", "trace", "op", "where", "shapes", "category")


def _with_markup(value: Any, keys: Collection[str] | None, key: str = "") -> Any:
    """Return JSON values with markup in texts: in those of some keys, or in all but what rows are sorted by."""
    if isinstance(value, dict):
        return {name: _with_markup(inner, keys, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [_with_markup(inner, keys, key) for inner in value]
    chosen = key not in ("phase", "validity", "datetime") if keys is None else key in keys
    return f"{value} {MARKUP}" if isinstance(value, str) and (chosen or key == "fullname") else value


@pytest.mark.parametrize("keys", [None, SHOWN], ids=["every text", "what is shown"])
def test_no_text_of_a_run_file_becomes_markdown_or_html(keys: Collection[str] | None, tmp_path: Path) -> None:
    content = _with_bf16(run_content())
    for row in content["benchmarks"]:
        row["extra_info"]["runtime_title"] = row["extra_info"]["runtime"]
    content["benchmarks"][0]["extra_info"]["profile"]["ops"] = [
        {"op": "mm", "where": "cpu", "self_s": 1e-3, "category": "pointwise", "shapes": "[1]"}
    ]
    content["benchmarks"][8]["extra_info"]["validity"] = f"wrong {MARKUP}"
    run = read_run(make_run(tmp_path / "in", _with_markup(content, keys)))
    pages = [
        write_profile_page(run, other, "", tmp_path / name).read_text(encoding="utf-8")
        for name, other in (("profile", None), ("profiles", run))
    ]
    for runs in ([run], [run, run]):
        text = render(runs, figures(runs))
        assert broken_rows(text) == []
        # As a page shows it, and as GitHub does, which takes HTML.
        github = MarkdownIt("commonmark").enable(["table", "strikethrough"])
        pages += [page_html(text, {}), github.render(without_folded(text))]
    for page in pages:
        assert [one for one in MADE if one in page] == []
        assert "*em*" in page


def test_text_of_a_run_file_stays_text(tmp_path: Path) -> None:
    run_file = make_run(tmp_path / "in", poisoned(_with_profile_and_intensity(run_content())))
    write_report([run_file], tmp_path / "out", title=EVIL)
    write_report([run_file, run_file], tmp_path / "two", title=EVIL)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out", "two"]
    for folder in ("out", "two"):
        page = Page((tmp_path / folder / "index.html").read_text(encoding="utf-8"))
        assert all(str(one.get("src", "data:")).startswith("data:") for one in page.of("img"))
        assert not [one for _, one in page.elements if "onerror" in one]
        assert len(page.of("script")) == 1
        assert all("javascript:" not in str(one.get("href")) for one in page.of("a"))
        assert EVIL in page.headings[0]


def test_the_flat_tables_have_a_row_per_benchmark_with_numbers(written: Path) -> None:
    rows = list(csv.DictReader((written / "results.csv").read_text(encoding="utf-8").splitlines()))
    assert len(rows) == len(every_phase())
    table = pyarrow.parquet.read_table(written / "results.parquet").to_pylist()
    assert [row["benchmark"] for row in table] == [row["benchmark"] for row in rows]
    first = table[0]
    assert (first["cell"], first["batch_size"], first["median_s"], first["smape"]) == ("gru", 1, 0.0101, 69.5)
    assert float(rows[0]["windows_per_s"]) == pytest.approx(1 / 0.0101)


def test_the_flat_tables_hold_any_value_and_are_written_without_loading_pandas(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from rnncore.report.page import write_report; "
        "write_report([Path(sys.argv[1])], Path(sys.argv[2])); sys.exit('pandas' in sys.modules)"
    )
    rows = [
        inference("gru", "torch", 1, 0.01),
        inference("lstm", "torch", 1, 0.02, kernel=None, bound=None, us_per_step=None),
    ]
    rows[0] |= {"group": 'π, "quoted"', "fullname": f"{rows[0]['fullname']}é"}
    rows[0]["extra_info"]["smape"] = 0.0
    path = make_run(tmp_path, run_content(rows))
    subprocess.run([sys.executable, "-c", code, str(path), str(tmp_path / "out")], check=True, timeout=120)
    found = pyarrow.parquet.read_table(tmp_path / "out" / "results.parquet")
    assert found.to_pylist() == [{name: row[name] for name in found.column_names} for row in result_rows([read_run(path)])]
    with (tmp_path / "out" / "results.csv").open(encoding="utf-8", newline="") as file:
        assert [(row["group"], row["kernel"], row["smape"]) for row in csv.DictReader(file)] == [
            ('π, "quoted"', "ATen loop", "0"),
            ("infer", "", "69.5"),
        ]


def test_the_best_choice_of_each_goal_is_named_with_the_next(written: Path) -> None:
    text = render([read_run(written / "run.json")])
    onnx, torch = "ONNX Runtime, CPU, fp32", "PyTorch, CPU, fp32"
    assert f"| Lowest latency | LSTM in {onnx}, batch 1 | 1.82 ms | GRU in {onnx}, batch 1: 3.08 ms |" in text
    assert f"| Best accuracy | LSTM fast in {onnx} | sMAPE 0.987 % | GRU fast in {torch}: sMAPE 1.056 % |" in text


def test_points_that_another_beats_in_both_are_not_on_the_front() -> None:
    assert pareto_front([(1, 1.0), (2, 0.9), (3, 0.95), (2, 1.2)]) == {1, 2}
    assert pareto_front([(1, 1.0), (1, 1.0)]) == {0, 1}
    assert pareto_front([]) == set()


def _limits(run: Run) -> list[dict[str, Any]]:
    """Return the limits that the figure of throughput shows."""
    (throughput,) = [figure for figure in figures([run]) if figure.name == "throughput"]
    (values,) = throughput.spec["datasets"].values()
    return [one for one in values if one["kind"] == "limit"]


def test_the_limit_of_products_is_drawn_where_it_allows_that_many_windows(tmp_path: Path) -> None:
    run = read_run(make_run(tmp_path, run_content([inference("gru", "torch", 1, 0.01)])))
    (limit,) = _limits(run)
    assert limit["windows_per_s"] == pytest.approx(178e9 / 0.107e9)
    assert limit["is_highest"]


def test_lines_and_limits_are_named_at_the_right_of_all_lines_and_no_name_is_on_another(tmp_path: Path) -> None:
    rows = [inference("gru", "torch", size, size / 1600) for size in (1, 32)]
    rows += [inference("gru", "onnxruntime", 1, 1 / 1700), inference("gru", "openvino", 1, 1 / 1610, precision="bf16")]
    content = run_content(rows)
    ceilings = content["machine_info"]["ceilings"]
    bf16 = {"device": "cpu", "precision": "bf16", "threads": 2, "per_s": 175e9, "by": "made"}
    content["machine_info"]["ceilings"] = {**ceilings, "gemm": [*ceilings["gemm"], bf16]}
    (throughput,) = [one for one in figures([read_run(make_run(tmp_path, content))]) if one.name == "throughput"]
    (values,) = throughput.spec["datasets"].values()
    ends = [one for one in values if one["kind"] != "row"]
    assert sorted(one["kind"] for one in ends) == ["limit", "limit", "name", "name", "name"]
    assert {one["batch"] for one in ends} == {32}
    layers = throughput.spec["spec"]["layer"]
    for layer in layers:
        encoding = layer["encoding"]
        if layer["mark"]["type"] == "text":
            assert (layer["mark"]["align"], encoding["x"]["field"]) == ("left", "batch")
        if layer["mark"]["type"] == "rule":
            assert (encoding["x"]["field"], encoding["x2"]["field"]) == ("left", "batch")
    low, high = layers[-1]["encoding"]["y"]["scale"]["domain"]
    px = sorted(320 * math.log(one["at"] / low) / math.log(high / low) for one in ends)
    assert all(after - before > 14.9 for before, after in pairwise(px))


def test_names_of_roofs_stand_at_the_right_of_all_points(tmp_path: Path) -> None:
    content = _with_profile_and_intensity(run_content([inference("gru", "torch", 1, 0.01)]))
    (drawn,) = [one for one in figures([read_run(make_run(tmp_path, content))]) if one.name == "roofline"]
    roof, name, points = drawn.spec["layer"]
    at, known = (drawn.spec["datasets"][layer["data"]["name"]] for layer in (name, points))
    end = max(one["flops_per_byte"] for one in drawn.spec["datasets"][roof["data"]["name"]])
    assert {one["flops_per_byte"] for one in at} == {end}
    assert name["mark"]["align"] == "left"
    assert max(one["flops_per_byte"] for one in known) < end < name["encoding"]["x"]["scale"]["domain"][1]


def test_the_seven_fastest_lines_have_colours_of_their_own_and_names_and_all_others_are_grey(tmp_path: Path) -> None:
    titles = [f"runtime {number:02}" for number in range(15)]
    rows = []
    for cell in ("gru", "lstm"):
        for number, title in enumerate(titles, 1):
            row = inference(cell, "torch", 32, 0.01 * number, runtime_title=title)
            rows.append({**row, "fullname": f"{row['fullname']} {title}"})
    run = read_run(make_run(tmp_path, run_content(rows)))
    (throughput,) = [figure for figure in figures([run]) if figure.name == "throughput"]
    (values,) = throughput.spec["datasets"].values()
    named = {(one["model"], one["runtime"]) for one in values if one["kind"] == "name"}
    assert named == {(model, f"{title}, fp32") for model in ("GRU", "LSTM") for title in titles[:7]}
    (points,) = [layer["encoding"] for layer in throughput.spec["spec"]["layer"] if layer["mark"]["type"] == "point"]
    colours = points["color"]["scale"]["range"]
    assert points["color"]["scale"]["domain"][:7] == [f"{title}, fp32" for title in titles[:7]]
    assert len(set(colours[:7])) == 7
    assert set(colours[7:]) == {OTHERS}
    assert OTHERS not in colours[:7]


def test_baselines_far_above_the_models_are_not_drawn(tmp_path: Path) -> None:
    run = read_run(make_run(tmp_path, run_content([accuracy("gru", "torch", 0.5, 1.0)])))
    (drawn,) = [figure for figure in figures([run]) if figure.name == "accuracy"]
    names = [value["name"] for value in drawn.spec["datasets"][drawn.spec["layer"][0]["data"]["name"]]]
    assert names == ["AR(90), least squares", "24 per-hour regressions"]


def _two_machines(folder: Path) -> list[Path]:
    slow = run_content([inference("gru", "torch", 1, 0.010, joules_per_1000=None), inference("gru", "torch", 32, 0.050)])
    quick = run_content([inference("gru", "torch", 1, 0.005, joules_per_1000=20.0), inference("gru", "torch", 32, 0.010)])
    quick["machine_info"]["fingerprint"].update(cpu="Other CPU", gpu=GPU)
    ceilings = json.loads(json.dumps(quick["machine_info"]["ceilings"]))
    ceilings["gemm"][0]["per_s"] *= 5
    quick["machine_info"]["ceilings"] = ceilings
    return [make_run(folder, slow, "slow.json"), make_run(folder, quick, "quick.json")]


def test_ratios_between_machines_come_with_what_explains_them(tmp_path: Path) -> None:
    text = render([read_run(path) for path in _two_machines(tmp_path)])
    assert "| test_forecast[gru-torch-cpu-fp32-b1] | 10.0 ms | 5.00 ms | 2.00x faster | its products" in text
    assert "its products are 5.00x faster; its memory is equal, but each step waits for the one before |" in text
    assert "its products are 5.00x faster; its memory is equal; it is held back by arithmetic |" in text


def test_runs_of_one_machine_are_not_explained_by_hardware(tmp_path: Path) -> None:
    runs = [read_run(make_run(tmp_path, name=f"{name}.json")) for name in ("a", "b")]
    assert "| B against A | Why |" not in render(runs)


def test_prices_rank_machines_by_the_cost_of_forecasts(tmp_path: Path) -> None:
    runs = [read_run(path) for path in _two_machines(tmp_path)]
    text = render(runs, prices={"A": 0.36, "quick": 3.6})
    rows = [line for line in text.splitlines() if line.startswith(("| A: Made CPU", "| B: Other CPU")) and "| GRU" in line]
    assert rows == [
        "| A: Made CPU (family 6, model 143) | GRU in PyTorch, CPU, fp32, batch 32 | 640 | 0.36 | 0.156 | – |",
        "| B: Other CPU, Made GPU | GRU in PyTorch, CPU, fp32, batch 32 | 3,200 | 3.60 | 0.312 | – |",
    ]
    one = render(runs[:1], prices={"slow.json": 0.36})
    assert rows[0].split(" | ", 1)[1] in one
    known = r"A, B, Made CPU .*, Other CPU, Made GPU, quick, quick\.json, slow"
    with pytest.raises(ConfigError, match=rf"--price C=\.\.\.: no such run\. Name one of {known}"):
        render(runs, prices={"C": 1.0})


@given(st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=2, max_size=2), max_size=4))
@example([["a|b", "\\|"], ["**a**", "`b"], ["_a_", "&amp;"], ["<b>", "[a](b)"], ["\\", "| |"], ["a_b", "![a](answers.png)"]])
def test_a_cell_of_the_page_shows_its_text_whatever_it_is(rows: list[list[str]]) -> None:
    table = Table([*words("a*b*", "c|d")], rows)
    parsed = _Cells(page_html(f"# One\n\n{table.markdown()}", {}))
    shown = [re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", " ", cell) for row in rows for cell in row]
    assert [cell.strip(" ") for cell in parsed.cells] == ["a*b*", "c|d", *(cell.strip(" ") for cell in shown)]
    assert parsed.within == set()


class _Cells(HTMLParser):
    """The texts of the cells of a page, and which elements are in them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.within: set[str] = set()
        self._is_in = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._is_in:
            self.within.add(tag)
        if tag in ("td", "th"):
            self._is_in = True
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._is_in = False

    def handle_data(self, data: str) -> None:
        if self._is_in:
            self.cells[-1] += data


@pytest.mark.parametrize("heading", ["Tip", "Report", "Copy", "Filter", "said"])
def test_a_heading_takes_no_id_of_the_page_itself(heading: str) -> None:
    page = Page(page_html(f"# One\n\n## {heading}\n\n## {heading}\n", {}))
    assert [one["id"] for one in page.of("h2")] == [f"{heading.lower()}-2", f"{heading.lower()}-3"]


def test_any_number_of_headings_have_anchors() -> None:
    page = Page(page_html("# One\n\n" + "## 名\n\n" * 1200, {}))
    assert len({one["id"] for one in page.of("h2")}) == 1200


def test_the_words_of_a_picture_end_no_bracket_and_are_no_markdown(written: Path) -> None:
    alt = "Of test[a], *b* and ](javascript:x) <b>"
    text = "\n".join(["# One\n", picture_line("made", alt)])
    assert "PICTURE" in page_html(text, {"made": "<p>PICTURE</p>"})
    (image,) = [
        child for token in MarkdownIt("commonmark").parse(text) for child in token.children or () if child.type == "image"
    ]
    assert (image.content.replace("\\", ""), image.attrs["src"]) == (alt.replace("<", "&lt;"), "made.png")


def test_a_page_of_markdown_alone_has_no_figures() -> None:
    page = Page(page_html("# One\n\n## Two\n\ntext\n", {}))
    assert page.headings == ["One", "Two"]
    assert not page.of("figure")


def test_roofs_are_those_of_the_precisions_that_were_measured(tmp_path: Path) -> None:
    content = _with_profile_and_intensity(run_content([inference("gru", "torch", 1, 0.01)]))
    bf16 = {"device": "cpu", "precision": "bf16", "threads": 2, "per_s": 1e12, "by": "made"}
    ceilings = content["machine_info"]["ceilings"]
    content["machine_info"]["ceilings"] = {**ceilings, "gemm": [ceilings["gemm"][0], bf16]}
    (drawn,) = [one for one in figures([read_run(make_run(tmp_path, content))]) if one.name == "roofline"]
    roofs = drawn.spec["datasets"][drawn.spec["layer"][0]["data"]["name"]]
    assert {roof["roof"] for roof in roofs} == {"cpu, fp32"}
    assert max(roof["gflop_per_s"] for roof in roofs) <= 178


def test_the_roof_of_mixed_training_is_that_of_its_products(tmp_path: Path) -> None:
    content = _with_profile_and_intensity(run_content([inference("gru", "torch", 1, 0.01)]))
    content["benchmarks"][0]["extra_info"]["precision"] = "amp_bf16"
    bf16 = {"device": "cpu", "precision": "bf16", "threads": 2, "per_s": 1e12, "by": "made"}
    ceilings = content["machine_info"]["ceilings"]
    content["machine_info"]["ceilings"] = {**ceilings, "gemm": [*ceilings["gemm"], bf16]}
    drawn = {one.name: one for one in figures([read_run(make_run(tmp_path, content))])}["roofline"]
    roofs = drawn.spec["datasets"][drawn.spec["layer"][0]["data"]["name"]]
    assert {roof["roof"] for roof in roofs} == {"cpu, bf16"}


def test_the_roof_is_the_peak_where_that_is_more_than_a_library_reaches(tmp_path: Path) -> None:
    content = _with_profile_and_intensity(run_content([inference("gru", "torch", 1, 0.01)]))
    peak = {"device": "cpu", "precision": "fp32", "threads": 2, "per_s": 538e9, "by": "made"}
    ceilings = content["machine_info"]["ceilings"]
    for of_peak, per_s in ((peak, 538e9), ({**peak, "per_s": 100e9}, 178e9), ({**peak, "per_s": None}, 178e9)):
        content["machine_info"]["ceilings"] = {**ceilings, "peak": [of_peak]}
        drawn = {one.name: one for one in figures([read_run(make_run(tmp_path, content))])}
        roofs = drawn["roofline"].spec["datasets"][drawn["roofline"].spec["layer"][0]["data"]["name"]]
        (limit,) = _limits(read_run(make_run(tmp_path, content)))
        # 0.107 GFLOP a window.
        assert limit["windows_per_s"] == pytest.approx(per_s / 0.107e9)
        assert max(roof["gflop_per_s"] for roof in roofs) <= per_s / 1e9


def test_the_verdict_on_several_machines_names_the_fastest_and_counts_the_rest(tmp_path: Path) -> None:
    text = render([read_run(path) for path in _two_machines(tmp_path)])
    verdict = text.split("## Machines and data")[0]
    assert "A: Made CPU (family 6, model 143) (2026-11-22); B: Other CPU, Made GPU (2026-11-22).\n" in verdict
    assert (
        "- For one window at a time, **GRU in PyTorch, CPU, fp32 on B** is fastest: 5.00 ms per call; "
        "the best on A, GRU in PyTorch, CPU, fp32, is 2.00x slower.\n"
    ) in verdict
    assert "- B against A, of 2 benchmarks in both: 2 of too few rounds for an interval.\n" in verdict


def test_ratios_beyond_their_interval_are_counted_as_faster_and_slower(tmp_path: Path) -> None:
    def content(*medians_s: float) -> dict[str, Any]:
        entries = [inference("gru", "torch", 2**index, median_s) for index, median_s in enumerate(medians_s)]
        for entry, median_s in zip(entries, medians_s, strict=True):
            entry["stats"]["data"] = [median_s * (1 + index / 1000) for index in range(12)]
        return run_content(entries)

    contents = content(0.01, 0.01, 0.01), content(0.005, 0.03, 0.01)
    runs = [read_run(make_run(tmp_path, one, f"{index}.json")) for index, one in enumerate(contents)]
    assert (
        "- B against A, of 3 benchmarks in both: 1 faster (2.00x), 1 slower (3.00x), 1 within the interval of the rounds.\n"
    ) in render(runs)
    assert "`rnncore gate` tell a change from it" in render(runs)
    by_row = {ratio.benchmark: ratio for ratio in case_ratios(runs)}
    slower = by_row["test_forecast[gru-torch-cpu-fp32-b2]"]
    assert slower.ratio == pytest.approx(3)
    assert slower.low is not None
    assert slower.high is not None
    assert 2.9 < slower.low <= 3 <= slower.high < 3.1


def test_the_page_of_several_runs_draws_their_ratios(tmp_path: Path) -> None:
    paths = _two_machines(tmp_path / "in")
    page = write_report(paths, tmp_path / "out")
    shown = [attributes["data-figure"] for attributes in Page(page.read_text(encoding="utf-8")).of("figure")]
    assert shown == ["ratios"]
    (drawn,) = ratio_figures([read_run(path) for path in paths])
    points = drawn.spec["datasets"][drawn.spec["layer"][1]["data"]["name"]]
    ratios = {one["row"]: one["ratio"] for one in points}
    assert ratios == pytest.approx(
        {f"test_forecast[gru-torch-cpu-fp32-b{size}]": ratio for size, ratio in ((1, 0.5), (32, 0.2))}
    )


def test_a_report_can_be_made_again_from_the_run_files_beside_it(tmp_path: Path) -> None:
    paths = _two_machines(tmp_path / "in")
    out = tmp_path / "out"
    write_report(paths, out)
    names = ["run-A.json", "run-B.json"]
    assert [(out / name).read_bytes() for name in names] == [path.read_bytes() for path in paths]
    write_report([out / name for name in reversed(names)], out)
    assert [(out / name).read_bytes() for name in reversed(names)] == [path.read_bytes() for path in paths]


def test_the_processes_of_a_gate_are_no_runs_side_by_side(tmp_path: Path) -> None:
    paths = []
    for number in range(3):
        for side in ("base", "head"):
            content = run_content([inference("gru", "torch", 1, 0.01)])
            content["rnncore"]["pair"] = number
            paths.append(make_run(tmp_path, content, f"{side}-{number:03}.json"))
    advice = r"^6 run files of 3 pairs.* 'rnncore compare', .*report one pair: \S*base-000\.json \S*head-000\.json\.$"
    with pytest.raises(ConfigError, match=advice):
        write_report(paths, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert write_report(paths[:2], tmp_path / "out").is_file()


def test_a_small_page_is_the_golden_text() -> None:
    text = "# A <title>\n\n## One\n\nWords, `code`, **strong** & &lt;b>html</b>.\n\n## One\n\n"
    text += Table([*words("a"), *numbers("b")], [["x", "1"]]).markdown()
    page = page_html(text, {}, ("report.md", "a b&c.json"))
    body = page[page.index("<body>") : page.index("<script>")]
    assert body == (Path(__file__).parents[1] / "golden" / "page-body.html").read_text(encoding="utf-8")

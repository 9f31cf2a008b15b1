"""Tests of the page in a real browser: sections, sorting, filtering, no error, no request, no label on another, axe's rules.

They need Debian's chromium and chromium-driver, or others on the path. With RNNCORE_REQUIRE_BROWSER set their absence is a
failure. axe-core is read from RNNCORE_AXE, the path of its axe.min.js.
"""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rnncore.report.page import write_report
from rnncore.report.profile_page import write_profile_page
from rnncore.report.verdict.page import write_verdict_page
from rnncore.runfile.read import read_run
from tests.report.test_page import EVIL, _with_profile_and_intensity, poisoned
from tests.report.test_verdict import COMPARISON
from tests.report_text import GOLDEN, PUBLISHED
from tests.run_files import SECTIONS, make_run, run_content

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")

pytestmark = pytest.mark.long

PHONE = (390, 844)
DESKTOP = (1280, 900)

# Widths of the pictures that are shown.
DRAWN = (
    "return [...document.querySelectorAll('figure .chart')].filter((one) => one.checkVisibility())"
    ".map((one) => one.querySelector('svg').getBoundingClientRect().width)"
)
UNFOLD = "for (const one of document.querySelectorAll('details')) one.open = true"
RESULTS = "#all-results ~ details"

# Without these a fresh profile calls home.
SWITCHES = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


def _missing(what: str) -> None:
    reason = f"{what} is not there: apt-get install chromium chromium-driver, and npm pack axe-core for RNNCORE_AXE"
    if os.environ.get("RNNCORE_REQUIRE_BROWSER"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    found = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    for name, path in found.items():
        if path is None:
            _missing(name)
    options = Options()
    options.binary_location = str(found["chromium"])
    for switch in SWITCHES:
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(found["chromedriver"]))
    # axe looks at every cell of a page that is all unfolded; beside other work that takes its time.
    driver.set_script_timeout(110)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browser")
    return write_report([make_run(folder, _with_profile_and_intensity(run_content()))], folder / "out")


@pytest.fixture
def opened(browser: Any, page: Path) -> Any:
    """The page on a desktop."""
    return _open(browser, page, DESKTOP)


def _open(browser: Any, page: Path, size: tuple[int, int], dark: bool = False) -> Any:
    from selenium.webdriver.support.ui import WebDriverWait

    metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size == PHONE}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    for kind in ("browser", "performance"):
        browser.get_log(kind)
    browser.get(page.as_uri())
    drawn = "return document.documentElement.dataset.ready === 'yes'"
    WebDriverWait(browser, 60).until(lambda driver: driver.execute_script(drawn))
    return browser


def test_every_section_and_chart_is_there(opened: Any) -> None:
    headings = opened.execute_script("return [...document.querySelectorAll('h2')].map((one) => one.textContent)")
    assert headings == list(SECTIONS)
    # Without what is folded, and the pictures for phones.
    widths = opened.execute_script(DRAWN)
    assert len(widths) == 7
    assert min(widths) > 300
    opened.execute_script(UNFOLD)
    assert len(opened.execute_script(DRAWN)) == 9


def test_nothing_is_requested_and_nothing_fails(browser: Any, page: Path) -> None:
    _open(browser, page, DESKTOP)
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [one["params"]["request"]["url"] for one in messages if one["method"] == "Network.requestWillBeSent"]
    assert page.as_uri() in asked
    assert [url for url in asked if url != page.as_uri() and not url.startswith("data:")] == []
    assert browser.get_log("browser") == []


def _column(opened: Any, number: int) -> list[str]:
    script = (
        f"return [...document.querySelector('{RESULTS}').querySelectorAll('tbody tr:not([hidden])')]"
        f".map((row) => row.cells[{number - 1}].textContent.trim())"
    )
    return [str(text) for text in opened.execute_script(script)]


def test_the_table_of_all_results_sorts_both_ways(opened: Any) -> None:
    opened.execute_script(UNFOLD)
    head = opened.find_elements("css selector", f"{RESULTS} thead")[0].find_elements("css selector", "button")
    (place,) = [number for number, button in enumerate(head, 1) if button.text.startswith("windows/s")]
    head[place - 1].click()
    rising = [float(text.replace(",", "")) for text in _column(opened, place)]
    head[place - 1].click()
    falling = [float(text.replace(",", "")) for text in _column(opened, place)]
    assert len(rising) > 10
    assert rising == sorted(rising)
    assert falling == sorted(rising, reverse=True)
    state = f"return document.querySelector('{RESULTS}').querySelectorAll('th[aria-sort=descending]').length"
    assert opened.execute_script(state) == 1


def test_the_table_of_all_results_filters_by_words_and_says_how_many(opened: Any) -> None:
    fold = f"return document.querySelector('{RESULTS}').open"
    assert not opened.execute_script(fold)
    opened.find_element("id", "filter").send_keys("lstm b32")
    assert opened.execute_script(fold)
    shown = _column(opened, 1)
    assert shown
    assert all("lstm" in name and "b32" in name for name in shown)
    assert opened.find_element("id", "said").text.startswith(f"{len(shown)} of ")


def test_rows_that_are_shown_can_be_copied_as_csv(opened: Any) -> None:
    opened.execute_script("window.copied = null")
    opened.execute_script("navigator.clipboard.writeText = async (text) => { window.copied = text }")
    opened.find_element("id", "filter").send_keys("lstm b32")
    opened.find_element("id", "copy").click()
    lines = opened.execute_script("return window.copied").splitlines()
    assert lines[0].startswith("Benchmark,phase,cell")
    assert len(lines) == 1 + len(_column(opened, 1))


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_the_page_never_scrolls_sideways(browser: Any, page: Path, size: tuple[int, int]) -> None:
    _open(browser, page, size)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= size[0]


def test_the_keyboard_reaches_sections_tables_and_the_filter(opened: Any) -> None:
    reached = opened.execute_script(
        "return [...document.querySelectorAll('a[href], button, input, summary, [tabindex=\"0\"]')]"
        ".filter((one) => one.tabIndex >= 0).map((one) => one.id || one.className || one.tagName)"
    )
    assert {"skip", "filter", "copy", "SUMMARY"} <= set(reached)
    assert any(str(name).startswith("scroll") for name in reached)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages of one and of two runs with markup, script and paths in every text, in a folder of their own."""
    folder = tmp_path_factory.mktemp("hostile")
    run_file = make_run(folder / "in", poisoned(_with_profile_and_intensity(run_content())))
    write_report([run_file], folder / "out" / "one", title=EVIL)
    write_report([run_file, run_file], folder / "out" / "two", title=EVIL)
    return folder


@pytest.mark.parametrize("which", ["one", "two"])
def test_markup_in_every_text_of_a_run_file_is_shown_and_not_run(browser: Any, hostile: Path, which: str) -> None:
    assert sorted(path.name for path in hostile.iterdir()) == ["in", "out"]
    page = hostile / "out" / which / "index.html"
    _open(browser, page, DESKTOP)
    # An alert would make this raise.
    assert browser.execute_script("return document.querySelectorAll('main script, main img[src=x]').length") == 0
    assert EVIL.split(" ![x]")[0] in browser.find_element("tag name", "h1").text
    assert browser.execute_script("return document.querySelectorAll('a[href^=javascript], a[href*=example]').length") == 0
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [one["params"]["request"]["url"] for one in messages if one["method"] == "Network.requestWillBeSent"]
    assert [url for url in asked if url != page.as_uri() and not url.startswith("data:")] == []
    assert [entry["message"] for entry in browser.get_log("browser")] == []


def test_the_keyboard_sorts_and_skips(opened: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    opened.find_element("tag name", "body").send_keys(Keys.TAB)
    assert opened.switch_to.active_element.text == "Skip to the report"
    opened.execute_script(UNFOLD)
    button = opened.find_element("css selector", f"{RESULTS} thead button")
    opened.execute_script("arguments[0].focus()", button)
    button.send_keys(Keys.ENTER)
    assert opened.execute_script("return document.activeElement.closest('th').getAttribute('aria-sort')") == "ascending"
    names = _column(opened, 1)
    assert names == sorted(names)


def test_small_tables_and_lists_of_facts_have_no_buttons(opened: Any) -> None:
    counts = opened.execute_script(
        "return [...document.querySelectorAll('table')].map((one) => [one.tHead.rows[0].cells[0].textContent, "
        "one.tBodies[0].rows.length, one.querySelectorAll('thead button').length])"
    )
    with_buttons = [(head, rows) for head, rows, buttons in counts if buttons]
    without = [(head, rows) for head, rows, buttons in counts if not buttons]
    assert all(rows >= 5 for _, rows in with_buttons)
    assert [head for head, rows in without if rows >= 5] == ["Goal", "Benchmark", "Fact", "Fact"]
    assert any(rows < 5 for _, rows in without)


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages of one run, and of three on two machines, of another project's suites."""
    folder = tmp_path_factory.mktemp("others")
    inputs = [GOLDEN / "ordinary" / f"{name}.json" for name in ("json-5.3.1", "autosaved-5.3.1", "json-3.2.3")]
    write_report(inputs[:1], folder / "one")
    write_report(inputs, folder / "three")
    return folder


@pytest.mark.parametrize("which", ["one", "three"])
@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_the_page_of_another_project_s_runs_is_whole(browser: Any, others: Path, which: str, size: tuple[int, int]) -> None:
    page = others / which / "index.html"
    _open(browser, page, size)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= size[0]
    assert len(browser.execute_script(DRAWN)) == {"one": 3, "three": 1}[which]
    assert browser.get_log("browser") == []


# What of axe's rules a scheme of colours can break: all else of a page is the same in both.
OF_COLOURS = ("color-contrast", "link-in-text-block")


def _violations(browser: Any, dark: bool = False) -> list[str]:
    """Return what axe finds; in the dark scheme by the rules of colours, as the light one is held to all."""
    axe = os.environ.get("RNNCORE_AXE")
    if not axe or not Path(axe).is_file():
        _missing("axe-core")
    browser.execute_script(Path(str(axe)).read_text(encoding="utf-8"))
    rules = {"runOnly": {"type": "rule", "values": OF_COLOURS}} if dark else {}
    script = "const [rules, done] = arguments; axe.run(rules).then((one) => done(one.violations))"
    found = browser.execute_async_script(script, rules)
    return [f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in found]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_axe_finds_nothing(browser: Any, page: Path, size: tuple[int, int], dark: bool) -> None:
    _open(browser, page, size, dark)
    assert _violations(browser, dark) == []


@pytest.mark.parametrize("which", ["one", "three"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing_in_the_page_of_another_project_s_runs(browser: Any, others: Path, which: str, dark: bool) -> None:
    _open(browser, others / which / "index.html", PHONE, dark)
    assert _violations(browser, dark) == []


# Of every picture that is shown, pairs of texts whose boxes overlap by more than a pixel.
TOUCHING = """
const found = [];
for (const figure of document.querySelectorAll("figure .chart, figure .flame")) {
  if (!figure.checkVisibility()) continue;
  const texts = [...figure.querySelectorAll("svg text, span")].filter((one) => one.textContent.trim() && !one.hidden);
  const boxes = texts.map((one) => [one.textContent, one.getBoundingClientRect()]);
  for (const [index, [words, box]] of boxes.entries()) {
    for (const [others, other] of boxes.slice(index + 1)) {
      const wide = Math.min(box.right, other.right) - Math.max(box.left, other.left);
      const high = Math.min(box.bottom, other.bottom) - Math.max(box.top, other.top);
      if (wide > 1 && high > 1) found.push(`${figure.closest("figure").id}: ${words} on ${others}`);
    }
  }
}
return found;
"""


# Of every picture that is shown, texts beside marks that a line or a level rule goes through. An upright rule that rows are
# held against, such as that at 1, is behind letters on purpose, as they have a halo.
CROSSED = """
const found = [];
for (const figure of document.querySelectorAll("figure .chart")) {
  if (!figure.checkVisibility()) continue;
  const points = [];
  for (const line of figure.querySelectorAll(".mark-line.role-mark path, .mark-rule.role-mark line")) {
    const [length, place] = [line.getTotalLength(), line.getScreenCTM()];
    const [start, end] = [0, length].map((at) => line.getPointAtLength(at).matrixTransform(place));
    if (line.tagName === "line" && Math.abs(start.y - end.y) > 1) continue;
    for (let at = 0; at <= length; at += 2) points.push(line.getPointAtLength(at).matrixTransform(place));
  }
  for (const text of figure.querySelectorAll(".mark-text.role-mark text")) {
    const box = text.getBoundingClientRect();
    const is_in = ({ x, y }) => x > box.left + 2 && x < box.right - 2 && y > box.top + 3 && y < box.bottom - 3;
    if (text.textContent.trim() && points.some(is_in)) found.push(`${figure.closest("figure").id}: ${text.textContent}`);
  }
}
return found;
"""


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages of a published run, of two of them, of their profiles, and of gates that failed, one of many benchmarks."""
    folder = tmp_path_factory.mktemp("published")
    runs = [PUBLISHED / f"2026-11-24-xeon-2cpu{name}" / "run.json" for name in ("-runtimes", "")]
    write_report(runs[:1], folder / "run")
    # Of fewer rows: axe takes minutes over thousands of cells.
    write_report(runs[1:], folder / "default")
    write_report(runs, folder / "two")
    (slower,) = [one for one in COMPARISON.judgements if (one.verdict, one.measure) == ("slower", "time")]
    long = "test_a.py::test_update_with_keywords[case-insensitive-{}]"
    many = [replace(slower, fullname=long.format(index), ratio=1.22 + index / 999) for index in range(145)]
    for name, judgements in (("gate", COMPARISON.judgements), ("many", tuple(many))):
        (folder / name).mkdir()
        page = write_verdict_page(replace(COMPARISON, judgements=judgements), folder / name)
        page.rename(folder / name / "index.html")
    every, default = map(read_run, runs)
    for name, of_two in (("profile", (every, None)), ("profiles", (default, every))):
        write_profile_page(*of_two, "torch", folder / name).rename(folder / name / "index.html")
    return folder


@pytest.mark.parametrize("width", [390, 800, 1280])
@pytest.mark.parametrize("which", ["run", "two", "gate", "many", "profile", "profiles"])
def test_no_label_of_a_figure_touches_another_or_a_line(browser: Any, published: Path, which: str, width: int) -> None:
    _open(browser, published / which / "index.html", (width, 844))
    browser.execute_script(UNFOLD)
    assert browser.execute_script("return document.querySelectorAll('figure svg text, .flame span').length") > 5
    assert browser.execute_script(TOUCHING) == []
    assert browser.execute_script(CROSSED) == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("which", ["default", "two", "gate", "profile", "profiles"])
@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_axe_finds_nothing_with_all_unfolded(
    browser: Any, published: Path, which: str, size: tuple[int, int], dark: bool
) -> None:
    _open(browser, published / which / "index.html", size, dark)
    browser.execute_script(UNFOLD)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= size[0]
    assert _violations(browser, dark) == []


def test_the_first_screen_of_a_desktop_has_the_answers_their_chart_and_whether_to_trust_them(
    browser: Any, published: Path
) -> None:
    _open(browser, published / "run" / "index.html", (1280, 800))
    bottoms = browser.execute_script(
        "const trust = [...document.querySelectorAll('p')].find((one) => one.textContent.startsWith('Can it be trusted?'));"
        "return [...document.querySelectorAll('.answers tbody tr'), document.querySelector('#figure-answers'), trust]"
        ".map((one) => one.getBoundingClientRect().bottom)"
    )
    assert len(bottoms) == 6
    assert max(bottoms) <= 800


# Of the first flame graph: what its shown boxes say, where they are in percent of its width, and their level.
BOXES = """
const flame = document.querySelector(".flame");
const whole = flame.getBoundingClientRect();
const percent = (px) => (100 * (px - whole.left)) / whole.width;
return [...flame.children].filter((one) => !one.hidden).map((one) => {
  const box = one.getBoundingClientRect();
  return [one.textContent, percent(box.left), percent(box.right), Math.round((box.top - whole.top) / (1.6 * 16))];
});
"""
PRESSED = "return [...document.querySelectorAll('.flame [aria-pressed=true]')].map((one) => one.textContent)"
FOCUSED = "return document.activeElement.textContent"


def _second_kind(browser: Any) -> tuple[int, list[Any]]:
    """Return number and place of the second kind of work of the first flame graph."""
    boxes = browser.execute_script(BOXES)
    return [(number, box) for number, box in enumerate(boxes) if box[3] == 1][1]


def _require_zoomed(browser: Any, before: list[Any], to: list[Any]) -> None:
    """Require that a box fills the width, with what it is part of, and what it is made of as wide a part of it as before."""
    words, left, right, level = to
    (whole, pressed, *shown), slack = browser.execute_script(BOXES), 0.01
    assert [whole[0], pressed[0]] == [before[0][0], words]
    for box in (whole, pressed):
        assert box[1:3] == pytest.approx([0, 100], abs=0.2)
    within = [box for box in before if left - slack <= box[1] and box[2] <= right + slack and box[3] > level]
    places = {(box[0], box[3]): box[1:3] for box in shown}
    assert places
    assert places.keys() <= {(box[0], box[3]) for box in within}
    for name, start, end, depth in within:
        if end - start > slack:
            expected = [100 * (one - left) / (right - left) for one in (start, end)]
            assert places[name, depth] == pytest.approx(expected, abs=0.2)


def test_a_box_that_is_pressed_fills_the_width_and_pressed_again_the_whole_call_does(browser: Any, published: Path) -> None:
    _open(browser, published / "profile" / "index.html", DESKTOP)
    before = browser.execute_script(BOXES)
    number, kind = _second_kind(browser)
    box = browser.find_elements("css selector", ".flame span")[number]
    box.click()
    _require_zoomed(browser, before, kind)
    assert browser.execute_script(PRESSED) == [kind[0]]
    box.click()
    assert browser.execute_script(BOXES) == before
    assert browser.execute_script(PRESSED) == []


def test_the_keyboard_goes_from_box_to_box_and_zooms_and_escape_goes_back(browser: Any, published: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    _open(browser, published / "profile" / "index.html", DESKTOP)
    stops = "return [...document.querySelectorAll('.flame')].map((one) => one.querySelectorAll('[tabindex=\"0\"]').length)"
    assert set(browser.execute_script(stops)) == {1}
    before = browser.execute_script(BOXES)
    number, kind = _second_kind(browser)
    whole = browser.find_element("css selector", ".flame span")
    browser.execute_script("arguments[0].focus()", whole)

    def send(*keys: str) -> None:
        for key in keys:
            browser.switch_to.active_element.send_keys(key)

    send(Keys.ARROW_DOWN)
    assert browser.execute_script(FOCUSED) == before[1][0]
    send(Keys.ARROW_RIGHT)
    assert browser.execute_script(FOCUSED) == kind[0]
    assert "share:" in browser.find_element("id", "tip").text
    send(Keys.ENTER)
    _require_zoomed(browser, before, kind)
    send(Keys.ARROW_DOWN)
    assert browser.execute_script(FOCUSED) == before[number + 1][0]
    send(Keys.ARROW_UP, Keys.ESCAPE)
    assert browser.execute_script(BOXES) == before
    send(Keys.ARROW_LEFT)
    assert browser.execute_script(FOCUSED) == before[1][0]
    assert set(browser.execute_script(stops)) == {1}


def test_the_whole_call_is_printed_and_what_was_zoomed_is_zoomed_again(browser: Any, published: Path) -> None:
    _open(browser, published / "profile" / "index.html", DESKTOP)
    before = browser.execute_script(BOXES)
    number, kind = _second_kind(browser)
    browser.find_elements("css selector", ".flame span")[number].click()
    browser.execute_script("window.dispatchEvent(new Event('beforeprint'))")
    assert browser.execute_script(BOXES) == before
    browser.execute_script("window.dispatchEvent(new Event('afterprint'))")
    _require_zoomed(browser, before, kind)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing_in_a_flame_graph_that_is_zoomed(browser: Any, published: Path, dark: bool) -> None:
    _open(browser, published / "profile" / "index.html", PHONE, dark)
    number, _ = _second_kind(browser)
    browser.execute_script("arguments[0].click()", browser.find_elements("css selector", ".flame span")[number])
    assert browser.execute_script(PRESSED)
    assert _violations(browser, dark) == []


def test_letters_of_a_box_end_where_it_ends(browser: Any, published: Path) -> None:
    _open(browser, published / "profile" / "index.html", PHONE)
    longer = browser.execute_script(
        "return [...document.querySelectorAll('.flame span')].filter((one) => one.scrollWidth > one.clientWidth)"
        ".map((one) => getComputedStyle(one).overflowX)"
    )
    assert len(longer) > 5
    assert set(longer) == {"hidden"}


def test_what_a_mark_stands_for_is_told_at_the_pointer(opened: Any) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    mark = opened.find_element("css selector", "#figure-latency .wide [data-tip*='median:']")
    ActionChains(opened).move_to_element(mark).perform()
    assert "median:" in opened.find_element("id", "tip").text


def test_what_is_folded_is_printed(opened: Any) -> None:
    folded = "return document.querySelectorAll('details:not([open])').length"
    assert opened.execute_script(folded) > 3
    opened.execute_script("window.dispatchEvent(new Event('beforeprint'))")
    assert opened.execute_script(folded) == 0
    opened.execute_script("window.dispatchEvent(new Event('afterprint'))")
    assert opened.execute_script(folded) > 3

"""Tests of README and docs: commands are accepted, the quick ones run; links, paths, TOML, tables and length are right."""

import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
import webbrowser
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token
from typer.testing import CliRunner

from rnncore.cli import app
from rnncore.forecast.sources import DATA_ENV
from rnncore.forecast.synthetic import synthetic_dataset
from rnncore.runfile.grid import grid_digest
from tests.run_files import accuracy, inference
from tests.test_house import ARROWS, PACKAGE

REPOSITORY = Path(__file__).parents[1]
PAGES = [REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "data/README.md")]
PAGES += sorted((REPOSITORY / "docs").glob("*.md"))
OPTIONS = REPOSITORY / "docs" / "options.md"
PUBLISHED = REPOSITORY / "reports" / "published"

# A newcomer reads it in minutes; what is longer belongs into docs/.
MOST_WORDS = 1000

# What is only parsed: it measures for minutes, needs the network or a store elsewhere, a session that was killed, or a
# package that tests/test_bring_your_own.py installs.
ONLY_PARSED = r"rnncore (data fetch|gate|noise|selftest|reproduce|recover|push|pull)\b|.* --(runtime numpy|store)\b"

# Words with a private meaning, and the plain ones in their place.
PRIVATE_WORDS = {
    r"stands?": "is, lies or holds",
    r"told": "known",
    r"mends?": "fix",
    r"theirs": "the others'",
    r"so many": "the number",
    r"in turn": "interleaved",
    r"meets": "reaches",
}


@dataclass(frozen=True)
class Place:
    """Text of a page."""

    page: Path
    line: int
    text: str

    def __str__(self) -> str:
        return f"{_name(self.page)}:{self.line}"


def _name(page: Path) -> str:
    return str(page.relative_to(REPOSITORY))


def _tokens(page: Path) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))


def _blocks(language: str) -> Iterator[Place]:
    """Yield every fenced block in a language."""
    for page in PAGES:
        for token in _tokens(page):
            if token.type == "fence" and token.info == language and token.map:
                yield Place(page, token.map[0] + 2, token.content)


def _inline(page: Path, kind: str) -> Iterator[tuple[int, Token]]:
    """Yield the inline tokens of a kind, each with the line of its paragraph."""
    for token in _tokens(page):
        for child in token.children or ():
            if child.type == kind and token.map:
                yield token.map[0] + 1, child


def _commands(program: str) -> Iterator[Place]:
    """Yield every command of a program in the bash blocks."""
    for block in _blocks("bash"):
        for number, line in enumerate(block.text.splitlines()):
            assert not line.endswith("\\"), f"{block}: a command is one line"
            if line.startswith(f"{program} "):
                yield Place(block.page, block.line + number, line)


def _mentions(program: str) -> Iterator[Place]:
    """Yield every command of a program that a sentence names, often without its arguments."""
    for page in PAGES:
        for line, token in _inline(page, "code_inline"):
            if re.match(rf"{program} (?!<)", token.content):
                yield Place(page, line, token.content)


def _arguments(place: Place) -> list[str]:
    """Split a command as a shell does: without its comment, and with the files of a glob that is not quoted."""
    arguments = []
    for argument in shlex.split(place.text, comments=True)[1:]:
        found = sorted(map(str, Path().glob(argument))) if "*" in argument and f"'{argument}'" not in place.text else []
        arguments += found or [argument]
    return arguments


def _accepts(arguments: list[str]) -> bool:
    """Say whether verb and options exist: --help is answered after all of them were parsed, and before any work."""
    # After the two dashes it would be one for pytest.
    place = arguments.index("--") if "--" in arguments else len(arguments)
    return CliRunner().invoke(app, [*arguments[:place], "--help", *arguments[place:]]).exit_code == 0


def _slug(heading: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _anchors(page: Path) -> set[str]:
    tokens = _tokens(page)
    return {_slug(tokens[index + 1].content) for index, token in enumerate(tokens) if token.type == "heading_open"}


def _rows(page: Path, heading: str) -> dict[str, str]:
    """Return the rows of the first table below a heading: the first cell's code to the second cell."""
    text = page.read_text(encoding="utf-8").split(f"{heading}\n", 1)[1]
    table = re.search(r"(^\|.*\n)+", text, re.MULTILINE)
    assert table
    cells = [re.split(r"(?<!\\)\|", line.strip().strip("|")) for line in table[0].splitlines()[2:]]
    return {cell[0].strip().strip("`"): cell[1].strip() for cell in cells}


RNNCORE = [*_commands("rnncore"), *_mentions("rnncore")]
QUICK = [place for place in _commands("rnncore") if not re.match(ONLY_PARSED, place.text)]


@pytest.mark.parametrize("place", RNNCORE, ids=str)
def test_a_command_s_verb_and_options_exist(place: Place) -> None:
    assert _accepts(_arguments(place)), place.text


@pytest.mark.parametrize("wrong", ["repot 0007", "report 0007 --opne", "trend --to bencher", "data fech"])
def test_a_verb_or_option_that_does_not_exist_is_noticed(wrong: str) -> None:
    assert not _accepts(shlex.split(wrong))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder: saved runs under every name that the pages use, a CSV file, and data that are scored quickly."""
    folder = tmp_path_factory.mktemp("project")
    store = folder / ".benchmarks" / "Linux-CPython-3.11-64bit"
    store.mkdir(parents=True)
    older, newer = PUBLISHED / "2026-11-24-xeon-2cpu" / "run.json", PUBLISHED / "2026-11-24-xeon-2cpu-runtimes" / "run.json"
    for name, run in (("0001_b", newer), ("0003_a", older), ("0007_b", newer), ("0008_a", older)):
        _thinned(run, store / f"{name}.json")
    for name, run in (("laptop", older), ("server", newer), ("before", older), ("after", older)):
        _thinned(run, folder / f"{name}.json")
    for name, run in (("base-1", older), ("base-2", older), ("head-1", newer)):
        _thinned(run, folder / f"{name}.json")
    (folder / "data").mkdir()
    for series in synthetic_dataset(years=1).series[:2]:
        series.to_csv(folder / "data" / f"{series.name}.csv")
    shutil.copyfile(next((folder / "data").iterdir()), folder / "myzone.csv")
    budgets = '[tool.rnncore.budgets."*b1]"]\npeak_memory_mib = 400\n'
    (folder / "pyproject.toml").write_text(budgets, encoding="utf-8")
    return folder


def _thinned(run: Path, path: Path) -> None:
    """Copy a published run with a few of its rows, and rows of the model `fast`, which it had no latency of."""
    content = json.loads(run.read_text(encoding="utf-8"))
    fast = {"recipe": "fast", "hidden_size": 64, "num_layers": 1, "lookback": 24}
    content["benchmarks"] = content["benchmarks"][::6]
    content["benchmarks"] += [inference("lstm", "torch", 1, 1e-3, **fast), accuracy("lstm", "torch", 0.5, 0.66)]
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture(scope="module")
def already_run() -> set[str]:
    """Return the commands that were run in the project: pages repeat some."""
    return set()


# A page in one test, in its order: its forecast reads the model that it trained and exported before.
@pytest.mark.parametrize("page", sorted({place.page for place in QUICK}), ids=_name)
def test_a_page_s_quick_commands_work(
    page: Path, project: Path, already_run: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    monkeypatch.setenv(DATA_ENV, str(project / "data"))
    monkeypatch.setattr(webbrowser, "open", lambda url: url.startswith("file://"))
    for place in QUICK:
        arguments = _arguments(place)
        if place.page != page or shlex.join(arguments) in already_run:
            continue
        brief = ["--max-steps", "1"] if arguments[0] == "train" else []
        with patch.dict(os.environ):
            done = CliRunner().invoke(app, [*arguments, *brief])
        # Of compare and check the verdict decides; 2 is wrong usage.
        allowed = {0, 1, 3, 4, 5} if arguments[0] in ("compare", "check") else {0}
        assert done.exit_code in allowed, f"{place}: {place.text}: {done.output} {done.exception!r}"
        assert not (done.exception and not isinstance(done.exception, SystemExit)), f"{place}: {done.exception!r}"
        already_run.add(shlex.join(arguments))


@pytest.fixture(scope="module")
def pytest_options() -> set[str]:
    """Return the long options that pytest has with the plugins of this project."""
    command = [sys.executable, "-m", "pytest", "--help", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=True)
    return set(re.findall(r"(?<![\w-])--[a-z][\w-]+", done.stdout))


@pytest.mark.parametrize("place", [*_commands("pytest"), *_mentions("pytest")], ids=str)
def test_a_pytest_command_s_options_and_files_exist(place: Place, pytest_options: set[str]) -> None:
    path, *arguments = _arguments(place)
    assert (REPOSITORY / path).exists()
    assert {argument.split("=")[0] for argument in arguments if argument.startswith("--")} <= pytest_options
    if "-k" in arguments:
        assert arguments[arguments.index("-k") + 1] in SELECTIONS


# What the pages select by -k, and how the benchmarks are called that it must find at the default scale.
SELECTIONS = {"b32": r"-b32\b", "lstm and b32": r"lstm.*-b32\b", "numpy": None}


@pytest.fixture(scope="module")
def collected() -> str:
    command = [sys.executable, "-m", "pytest", "bench/", "--collect-only", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


def test_every_suite_is_collected_and_selections_find_benchmarks(collected: str) -> None:
    for pattern in filter(None, SELECTIONS.values()):
        assert re.search(pattern, collected)


@pytest.mark.parametrize("place", list(_blocks("toml")), ids=str)
def test_toml_is_read(place: Place) -> None:
    assert tomllib.loads(place.text)


@pytest.mark.parametrize("place", list(_blocks("yaml")), ids=str)
def test_yaml_is_read_and_its_commands_and_inputs_exist(place: Place) -> None:
    yaml = pytest.importorskip("yaml", reason="PyYAML, which pre-commit brings, is not installed")
    content = yaml.safe_load(place.text)
    for line in re.findall(r"^ *- (?:run: )?(rnncore .+)$", place.text, re.MULTILINE):
        assert _accepts(shlex.split(line)[1:]), f"{place}: {line}"
    steps = [step for job in content.get("jobs", {}).values() for step in job["steps"]]
    for step in steps:
        if "/rnncore/" in step.get("uses", ""):
            action = REPOSITORY / step["uses"].split("/rnncore/")[1].split("@")[0] / "action.yml"
            assert set(step["with"]) <= set(yaml.safe_load(action.read_text(encoding="utf-8"))["inputs"])


@pytest.mark.parametrize("place", list(_blocks("python")), ids=str)
def test_python_is_a_whole_program(place: Place, tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    path.write_text(place.text, encoding="utf-8")
    runpy.run_path(str(path))


def test_blocks_are_in_languages_that_are_checked() -> None:
    found = {(page.name, token.info) for page in PAGES for token in _tokens(page) if token.type == "fence"}
    assert {(name, language) for name, language in found if language not in ("bash", "toml", "python", "yaml")} <= {
        ("data.md", ""),  # its CSV file
        ("house.md", ""),  # its picture
    }


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_lead_to_files_and_headings_that_exist(page: Path) -> None:
    links = [(line, str(token.attrs["href"])) for line, token in _inline(page, "link_open")]
    links += [(line, str(token.attrs["src"])) for line, token in _inline(page, "image")]
    broken = []
    for line, link in links:
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            broken.append(f"{page.name}:{line}: {link}")
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_paths_in_the_text_exist(page: Path) -> None:
    """A path of this repository, by its first folder: `rnncore/kernels/laps.h`, `bench/cases.py`, `tests/golden/frozen/`."""
    text = page.read_text(encoding="utf-8")
    paths = set(re.findall(r"(?<![\w./-])(?:rnncore|bench|tests|docs|\.ci|\.github)/[\w./*-]*\w", text))
    assert {path for path in paths if not any(REPOSITORY.glob(path))} == set()


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_words_are_plain(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert {word: PRIVATE_WORDS[word] for word in PRIVATE_WORDS if re.search(rf"\b{word}\b", text)} == {}


def test_the_readme_is_short_and_leads_to_every_page() -> None:
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert len(text.split()) <= MOST_WORDS
    assert {page.name for page in PAGES if page.parent.name == "docs"} == set(re.findall(r"\(docs/([\w-]+\.md)\)", text))


@pytest.mark.parametrize("page", [REPOSITORY / "README.md", REPOSITORY / "docs" / "gate.md"], ids=_name)
def test_rates_of_the_gate_are_of_today_s_grid(page: Path) -> None:
    """`grid` and its digest, as `rnncore selftest` prints them, beside each rate of the gate that is said to be today's."""
    frozen = REPOSITORY / "tests" / "golden" / "frozen" / "ids-gate.txt"
    today = grid_digest(frozen.read_text(encoding="utf-8").splitlines())
    named = set(re.findall(r"\bgrid ([0-9a-f]{12})\b", page.read_text(encoding="utf-8")))
    assert named == {today}, f"today's grid is {today}: measure its rates by 'rnncore selftest', and name it beside them"


def test_the_page_of_options_lists_each_option_and_no_other(pytest_options: set[str]) -> None:
    listed = {option.split()[0] for option in _rows(OPTIONS, "## Options of the suites")}
    assert listed == {option for option in pytest_options if option.startswith("--rnn-")}


def test_the_page_of_ci_lists_each_input_of_the_action_and_no_other() -> None:
    yaml = pytest.importorskip("yaml", reason="PyYAML, which pre-commit brings, is not installed")
    action = yaml.safe_load((REPOSITORY / ".github" / "actions" / "gate" / "action.yml").read_text(encoding="utf-8"))
    assert set(_rows(REPOSITORY / "docs" / "ci.md", "## GitHub")) == set(action["inputs"])


def test_the_page_of_options_lists_each_verb_and_no_other() -> None:
    listed = set(_rows(OPTIONS, "## Verbs of rnncore"))
    assert listed == set(_verbs())


def _verbs() -> Iterator[str]:
    """Yield every verb, those of a group with its name, as `rnncore --help` lists them."""
    for verb in _listed_commands([]):
        below = _listed_commands([verb])
        yield from (f"{verb} {name}" for name in below) if below else (verb,)


def _listed_commands(arguments: list[str]) -> list[str]:
    shown = CliRunner().invoke(app, [*arguments, "--help"]).output
    _, _, commands = shown.partition("\nCommands:\n")
    return re.findall(r"^  (\w+)", commands, re.MULTILINE)


HOUSE = REPOSITORY / "docs" / "house.md"
ROOMS = [room for room in ARROWS if (PACKAGE / room).is_dir() and room]


def test_the_page_of_the_house_has_the_arrows_of_its_test() -> None:
    shown = {}
    for rooms, allowed in _rows(HOUSE, "# The house").items():
        every = "all but" in allowed
        named = set(re.findall(r"`(\w+)`", allowed))
        for room in re.findall(r"\w+", rooms):
            shown[room] = set(ROOMS) - named - {room} if every else named
    assert shown == {room: ARROWS[room] for room in ROOMS}


@pytest.mark.parametrize("room", ROOMS)
def test_the_page_of_the_house_lists_each_file_of_a_room_and_no_other(room: str) -> None:
    text = HOUSE.read_text(encoding="utf-8").split(f"### {room}\n")[1].split("\n#")[0]
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    listed = {name for cell in cells for name in re.findall(r"`([\w.]+)`", cell)}
    assert listed == {path.name for path in (PACKAGE / room).iterdir()} - {"__init__.py", "__pycache__"}

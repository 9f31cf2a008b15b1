"""What people and programs see of the product, frozen: ids of benchmarks, help, what reading verbs print, reports.

A change of the code that is to change none of it shows here whether it did. Where a change is meant, write the files anew by
RNNCORE_WRITE_FROZEN=1, read the difference, and name it in CHANGELOG.md.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rnncore.forecast.device import CUDA, accelerator_type
from rnncore.measure.options import SCALES

pytestmark = pytest.mark.long

REPOSITORY = Path(__file__).parents[1]
FROZEN = Path(__file__).parent / "golden" / "frozen"
WRITE_ENV = "RNNCORE_WRITE_FROZEN"

ONE, TWO = (f"reports/published/2026-11-24-xeon-2cpu{name}/run.json" for name in ("", "-runtimes"))

VERBS = (
    *("", "train", "evaluate", "forecast", "export", "reproduce", "report", "recommend", "compare", "gate", "check"),
    *("noise", "selftest", "trend", "convert", "profile", "recover", "push", "pull", "data", "data fetch", "data describe"),
)

READ = {
    "recommend-one.txt": f"recommend {ONE}",
    "recommend-one.json": f"recommend {ONE} --json",
    "recommend-two.txt": f"recommend {TWO} --batch 1 --max-smape-loss 0.01",
    "recommend-two.json": f"recommend {TWO} --batch 1 --max-smape-loss 0.01 --json",
    "recommend-two-batch.txt": f"recommend {TWO} --batch 1",
    "recommend-two-latency.txt": f"recommend {TWO} --max-latency-ms 5 --cell lstm",
    "compare.txt": f"compare {ONE} {TWO}",
    "compare.json": f"compare {ONE} {TWO} --json",
    "profile-one.txt": f"profile {ONE} -k b32 --top 3",
    "profile-two.txt": f"profile {TWO} -k b32 --top 3",
    "profile-both.txt": f"profile {ONE} {TWO} -k b32 --top 3",
    "profile-two.json": f"profile {TWO} -k lstm-onnxruntime-cpu-fp32-b1] --json",
    "convert-bencher.json": f"convert {TWO} --to bencher",
    "convert-smaller.json": f"convert {ONE} --to github-smaller-is-better",
    "convert-bigger.json": f"convert {ONE} --to github-bigger-is-better",
}


def _environment() -> dict[str, str]:
    """Return an environment in which text is as wide, as plain and for as many cores everywhere."""
    fixed = {
        "COLUMNS": "100",
        "NO_COLOR": "1",
        "TERM": "dumb",
        "OMP_NUM_THREADS": "2",
        "PYTHONUTF8": "1",
        "LC_ALL": "C.UTF-8",
    }
    taken = ("RNNCORE_DATA", "FORCE_COLOR", "GITHUB_ACTIONS", "PYTEST_ADDOPTS")
    return {**{name: value for name, value in os.environ.items() if name not in taken}, **fixed}


def _printed(*arguments: str, cwd: Path = REPOSITORY) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=cwd, env=_environment(), capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# The command several times in one process; it prints of each the exit code and both streams.
RUN = """
import io, json, sys
from contextlib import redirect_stderr, redirect_stdout

from rnncore.cli import main

printed = []
for arguments in json.loads(sys.argv[1]):
    sys.argv, code = ["rnncore", *arguments], 0
    streams = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2)]
    with redirect_stdout(streams[0]), redirect_stderr(streams[1]):
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
    printed.append([code, *(stream.buffer.getvalue().decode("utf-8") for stream in streams)])
print(json.dumps(printed))
"""


@pytest.fixture(scope="module")
def printed() -> dict[str, str]:
    """Return what help and reading verbs print, by the command without its name."""
    commands = [*(f"{verb} --help".strip() for verb in VERBS), *READ.values()]
    asked = json.dumps([command.split() for command in commands])
    done = subprocess.run(
        [sys.executable, "-c", RUN, asked],
        cwd=REPOSITORY,
        env=_environment(),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = {}
    for command, (code, out, err) in zip(commands, json.loads(done.stdout), strict=True):
        assert code in ((0, 1, 2, 3, 4, 5) if command in READ.values() else (0,)), err
        found[command] = out + (err if code == 2 else "")
    return found


def _require(name: str, text: str) -> None:
    path = FROZEN / name
    if os.environ.get(WRITE_ENV) == "1":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8"), f"if the change is meant, write {name} anew by {WRITE_ENV}=1"


@pytest.mark.parametrize("scale", SCALES)
def test_the_ids_of_benchmarks_are_the_frozen_ones(scale: str) -> None:
    if accelerator_type() != CUDA:
        pytest.skip(f"torch has {accelerator_type()} here: its rows have that name")
    printed = _printed("pytest", "bench/", "--collect-only", "-q", "-p", "no:cacheprovider", f"--rnn-scale={scale}")
    # How many threads are swept depends on the machine.
    ids = [line for line in printed.splitlines() if "::" in line and "threads" not in line]
    assert ids
    _require(f"ids-{scale}.txt", "\n".join(ids) + "\n")


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.replace(" ", "-") or "rnncore")
def test_the_help_of_a_verb_is_the_frozen_one(verb: str, printed: dict[str, str]) -> None:
    lines = printed[f"{verb} --help".strip()].splitlines()
    _require(f"help/{verb.replace(' ', '-') or 'rnncore'}.txt", "\n".join(line.rstrip() for line in lines) + "\n")


@pytest.mark.parametrize("name", READ)
def test_what_a_reading_verb_prints_is_the_frozen_text(name: str, printed: dict[str, str]) -> None:
    _require(name, printed[READ[name]])


@pytest.mark.parametrize(("name", "runs"), [("one", (ONE,)), ("two", (TWO,)), ("both", (ONE, TWO))])
def test_a_report_of_published_runs_is_the_frozen_one(name: str, runs: tuple[str, ...], tmp_path: Path) -> None:
    _printed("rnncore", "report", *runs, "--out", str(tmp_path))
    _require(f"report-{name}.md", (tmp_path / "report.md").read_text(encoding="utf-8"))
    if len(runs) == 1:
        _require(f"results-{name}.csv", (tmp_path / "results.csv").read_text(encoding="utf-8"))
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    headings = re.findall(r"<h[1-3][^>]*>(.*?)</h[1-3]>", page)
    assert headings
    _require(f"headings-{name}.txt", "\n".join(headings) + "\n")


def test_the_history_of_published_runs_is_the_frozen_one(tmp_path: Path) -> None:
    for number in range(1, 7):
        # Three of each, so that a step is confirmed; each must be a file of its own time.
        content = json.loads((REPOSITORY / (ONE if number <= 3 else TWO)).read_text(encoding="utf-8"))
        content["datetime"] = f"2026-11-24T1{number}:00:00+00:00"
        folder = tmp_path / ".benchmarks" / "Linux-CPython-3.11-64bit"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"000{number}_made.json").write_text(json.dumps(content), encoding="utf-8")
    _require("trend.txt", _printed("rnncore", "trend", "-k", "cpu-fp32-b32", cwd=tmp_path))
    _require("trend.json", _printed("rnncore", "trend", "--json", "-k", "train_step", cwd=tmp_path))

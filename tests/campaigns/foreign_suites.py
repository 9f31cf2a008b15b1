"""Verdicts on other people's suites: identical code, a planted slowdown, this machine's noise, two ordinary run files.

    python tests/campaigns/foreign_suites.py FOLDER [--project NAME]... [--budget 5m] [--delay 5] [--pairs 10]

Each project is cloned from GitHub at the commit that is named here; where copies lie elsewhere, git is told by
`git config --global url.ELSEWHERE.insteadOf https://github.com/`. Nothing of them is kept but in FOLDER. Of each, one after
another, with an environment for each revision:

1. `rnncore gate` of identical code,
2. `rnncore gate` of a head with one benchmark slowed down, by a hook in a conftest.py,
3. `rnncore noise`,
4. pytest-benchmark alone, twice; then `rnncore compare` and `rnncore report` of its two run files.

What FOLDER holds already is not measured again, so that a campaign goes on where it was broken off. The table says how many
benchmarks were called slower or faster though nothing changed them (false alarms), and whether the planted one was found.
"""

import argparse
import json
import shlex
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnncore.files import write_text
from rnncore.report.table import Table, numbers, words

CALLED = ("slower", "faster")

# Of the ordinary runs: short rounds, as their figures are not quoted.
ORDINARY = ("--benchmark-max-time=0.1", "--benchmark-min-rounds=5")


@dataclass(frozen=True)
class Project:
    """A project with a suite of pytest-benchmark.

    Attributes:
        name: Here.
        repository: Owner and name on GitHub.
        commit: That is measured.
        suites: Relative to `folder`.
        planted: End of the name of the benchmark that is slowed down.
        conftest: Gets the hook that does it.
        folder: That the gate runs in.
        install: What --prepare does; where it is empty, the project is installed.
        arguments: Of pytest.
        kind: What is special about it.
    """

    name: str
    repository: str
    commit: str
    suites: str
    planted: str
    conftest: str
    folder: str = "."
    install: str = ""
    arguments: tuple[str, ...] = ()
    kind: str = ""


PROJECTS = (
    Project(
        "lazy-object-proxy",
        "ionelmc/python-lazy-object-proxy",
        "f970e323d03bfd974bf11f342236b06163ac398f",
        "tests/test_perf.py",
        "test_perf[slots]",
        "tests/conftest.py",
        kind="C, src/",
    ),
    Project(
        "pluggy",
        "pytest-dev/pluggy",
        "e382e72789f8d791991c489d4322aa04e660b952",
        "testing/benchmark.py",
        "test_call_hook[5-5-5]",
        "testing/conftest.py",
        kind="src/",
    ),
    Project(
        "cattrs",
        "python-attrs/cattrs",
        "82b02c07ca535a1ba656b935767d819eac9d383b",
        "bench",
        "test_structure_attrs_primitives[UnstructureStrategy.AS_TUPLE-BaseConverter]",
        "bench/conftest.py",
        install="pip install -q -e . msgspec ujson immutables hypothesis orjson bson pyyaml tomlkit cbor2",
        kind="src/",
    ),
    Project(
        "multidict",
        "aio-libs/multidict",
        "41c1b9144b13dcdfa4c18085aedc874cc9d24006",
        "tests/test_multidict_benchmarks.py",
        "test_multidict_pop_str[cs-c]",
        "tests/conftest.py",
        install="pip install -q -e . objgraph pytest-codspeed pytest-cov",
        arguments=("--no-cov", "-p", "no:codspeed"),
        kind="C",
    ),
    Project(
        "opentelemetry-sdk",
        "open-telemetry/opentelemetry-python",
        "0a5d76b65094a4bad414e0c0ab68981fc266f0a9",
        "benchmarks/trace",
        "test_simple_start_span",
        "benchmarks/conftest.py",
        folder="opentelemetry-sdk",
        install=(
            "pip install -q -e ../opentelemetry-api -e ../opentelemetry-semantic-conventions "
            "-e ../tests/opentelemetry-test-utils -e ."
        ),
        # Threads that wait for one another, seconds a call.
        arguments=("-k", "not gil_contention"),
        kind="folder of a larger repository, src/",
    ),
    Project(
        "validx",
        "Cottonwood-Technology/ValidX",
        "4798c3ce8ed462c1f16253e9b238e2b5b518e036",
        "tests/unittests/benchmarks",
        "test_int_min_max[py]",
        "tests/unittests/benchmarks/conftest.py",
        kind="Cython",
    ),
)

HOOK = """

def pytest_rnn_delay_pct(fullname):
    return {delay_pct} if fullname.endswith({planted!r}) else None
"""


def git(folder: Path, *arguments: str) -> str:
    """Return what git prints; the campaign is the author of what it commits."""
    who = ["-c", "user.name=campaign", "-c", "user.email=campaign@localhost"]
    command = ["git", *who, *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, encoding="utf-8").stdout.strip()


def cloned(project: Project, folder: Path, delay_pct: float) -> Path:
    """Return a clone of a project at its commit, with a branch `planted` on which a benchmark is slower."""
    clone = folder / "clone"
    if not clone.is_dir():
        git(folder, "clone", "--quiet", f"https://github.com/{project.repository}", str(clone))
    git(clone, "checkout", "--quiet", "--force", "-B", "planted", project.commit)
    conftest = clone / project.folder / project.conftest
    before = conftest.read_text(encoding="utf-8") if conftest.is_file() else ""
    conftest.write_text(before + HOOK.format(delay_pct=delay_pct, planted=project.planted), encoding="utf-8")
    git(clone, "add", "--all")
    git(clone, "commit", "--quiet", "--no-verify", "--message", f"{project.planted} {delay_pct:g} % slower")
    git(clone, "checkout", "--quiet", "--force", "-B", "as-it-is", project.commit)
    return clone / project.folder


def rnncore(folder: Path, *arguments: str) -> tuple[float, str]:
    """Return how many seconds a command took, and what it printed; verdicts other than `same` are no fault of it."""
    began_s = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "rnncore", *arguments], cwd=folder, stdout=subprocess.PIPE, encoding="utf-8", check=False
    )
    if done.returncode == 2:
        raise SystemExit(f"'rnncore {shlex.join(arguments)}' in {folder} ended with exit code 2.")
    return time.monotonic() - began_s, done.stdout


def of_suites(project: Project) -> list[str]:
    """Return the arguments of verbs that run a project's suites."""
    prepare = ["--prepare", project.install] if project.install else []
    return [project.suites, "--isolated", *prepare, *(["--", *project.arguments] if project.arguments else [])]


def gated(project: Project, clone: Path, out: Path, head: str, budget: str) -> dict[str, Any]:
    """Return the verdict of a gate and what it took."""
    file = out / f"{head}.json"
    if not file.is_file():
        options = ["--base", project.commit, "--head", head, "--all", "--budget", budget, "--json", "--out", str(out / head)]
        wall_s, said = rnncore(clone, "gate", *options, *of_suites(project))
        files = [*(out / head).glob("*/processes/*.json")]
        write_text(file, json.dumps({"wall_s": wall_s, "processes": len(files), **json.loads(said)}))
    return dict(json.loads(file.read_text(encoding="utf-8")))


def noise(project: Project, clone: Path, out: Path, pairs: int, budget: str) -> dict[str, Any]:
    """Return what this machine's noise hides of a project's benchmarks."""
    file = out / "noise.json"
    if not file.is_file():
        options = ["--pairs", str(pairs), "--budget", budget, "--json"]
        write_text(file, rnncore(clone, "noise", *options, *of_suites(project))[1])
    return dict(json.loads(file.read_text(encoding="utf-8")))


def ordinary(project: Project, clone: Path, out: Path) -> dict[str, Any]:
    """Return the comparison of two run files that pytest-benchmark alone wrote, and make their report."""
    file = out / "compare.json"
    if not file.is_file():
        scripts = out / "environment" / "bin"
        variables = {"PATH": f"{scripts}:/usr/bin:/bin"}
        subprocess.run([sys.executable, "-m", "venv", str(scripts.parent)], check=True)
        install = f"pip install -q pytest pytest-benchmark && {project.install or 'pip install -q -e .'}"
        subprocess.run(["sh", "-c", install], cwd=clone, env=variables, check=True)
        runs = [out / f"run-{number}.json" for number in (1, 2)]
        for run in runs:
            command = [scripts / "python", "-m", "pytest", "-q", project.suites, *project.arguments, *ORDINARY]
            done = subprocess.run([*command, f"--benchmark-json={run}"], cwd=clone, env=variables, check=False)
            if not run.is_file():
                raise SystemExit(f"{project.name}: pytest ended with exit code {done.returncode} and no run file.")
        rnncore(clone, "report", *map(str, runs), "--out", str(out / "report"))
        write_text(file, rnncore(clone, "compare", *map(str, runs), "--json")[1])
    return dict(json.loads(file.read_text(encoding="utf-8")))


def verdicts(comparison: Mapping[str, Any], without: str = "") -> str:
    """Return how many benchmarks have which verdict on their time."""
    found = [
        one["time"]["verdict"] for one in comparison["benchmarks"] if not (without and one["fullname"].endswith(without))
    ]
    return ", ".join(f"{count} {verdict}" for verdict, count in Counter(found).most_common())


def row(project: Project, same: Mapping[str, Any], planted: Mapping[str, Any], *more: Mapping[str, Any]) -> list[Any]:
    """Return a project's row of the table."""
    of_noise, compared = more
    found = [one["time"]["verdict"] for one in planted["benchmarks"] if one["fullname"].endswith(project.planted)]
    untouched = [
        one for one in (*same["benchmarks"], *planted["benchmarks"]) if not one["fullname"].endswith(project.planted)
    ]
    untouched += [one for one in same["benchmarks"] if one["fullname"].endswith(project.planted)]
    floors_pct = [one["floor_pct"] for one in of_noise["benchmarks"]]
    return [
        f"{project.name} ({project.kind})" if project.kind else project.name,
        len(same["benchmarks"]),
        of_noise["pair_s"] / 2,
        f"{statistics.median(floors_pct):.1f} ({max(floors_pct):.1f})",
        verdicts(same),
        f"{', '.join(found)}; {verdicts(planted, project.planted)}",
        sum(one["time"]["verdict"] in CALLED for one in untouched),
        verdicts(compared),
    ]


def table(rows: Sequence[Sequence[Any]], delay_pct: float) -> Table:
    """Return the campaign's table."""
    columns = [*words("project"), *numbers("benchmarks"), *numbers("s a process", show="{:.1f}".format)]
    columns += words("noise floor, %: median (largest)", "identical code", f"one {delay_pct:g} % slower: it; the others")
    return Table([*columns, *numbers("false alarms"), *words("compare of two plain runs")], [list(one) for one in rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of clones, environments and results")
    parser.add_argument(
        "--project", action="append", choices=[one.name for one in PROJECTS], help="only this one; again for more"
    )
    parser.add_argument("--budget", default="5m", help="of each gate")
    parser.add_argument("--delay", type=float, default=5.0, help="percent that the planted benchmark is slower")
    parser.add_argument("--pairs", type=int, default=10, help="of identical code, for the noise")
    asked = parser.parse_args()
    rows = []
    for project in PROJECTS:
        if asked.project and project.name not in asked.project:
            continue
        out = asked.folder.resolve() / project.name
        out.mkdir(parents=True, exist_ok=True)
        clone = cloned(project, out, asked.delay)
        same, planted = (gated(project, clone, out, head, asked.budget) for head in ("as-it-is", "planted"))
        of_noise = noise(project, clone, out, asked.pairs, asked.budget)
        rows.append(row(project, same, planted, of_noise, ordinary(project, clone, out)))
        print(table(rows, asked.delay).markdown(), flush=True)


if __name__ == "__main__":
    main()

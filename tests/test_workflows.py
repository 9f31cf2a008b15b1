"""Tests of GitHub's workflows: commands that exist, actions that are pinned, and no untrusted text in a shell."""

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[1]
WORKFLOWS = sorted((REPOSITORY / ".github" / "workflows").glob("*.yml"))

# What a stranger can write: https://docs.github.com/en/actions/reference/security/secure-use
UNTRUSTED = re.compile(r"\$\{\{(?:(?!\}\}).)*\b(github\.(event|head_ref|ref|ref_name)|inputs)\b")

# GitHub's own by version; others by commit, as a tag can be moved.
PINNED = re.compile(r"actions/[a-z-]+(/[a-z-]+)?@(v\d+(\.\d+){0,2}|[0-9a-f]{40})|[\w-]+/[\w.-]+@[0-9a-f]{40}")

# What a job may do beyond reading: show PyPI which workflow it is.
FURTHER_PERMISSIONS = {("release.yml", "publish"): {"id-token": "write"}}


def _workflow(path: Path) -> dict[str, Any]:
    yaml = pytest.importorskip("yaml", reason="PyYAML, which pre-commit brings, is not installed")
    workflow: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return workflow


def _steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in _workflow(path)["jobs"].values() for step in job["steps"]]


def _commands(path: Path, start: str) -> list[list[str]]:
    """Return the words of each command in a workflow that begins with *start*."""
    lines = [line.strip() for step in _steps(path) for line in step.get("run", "").splitlines()]
    return [shlex.split(line) for line in lines if line.startswith(start)]


def _help(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", "from rnncore.cli import main; main()", *words, "--help"],
        cwd=REPOSITORY,
        env={"PATH": "", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_there_are_workflows() -> None:
    assert {path.name for path in WORKFLOWS} == {"tests.yml", "gate.yml", "release.yml"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_may_only_read_and_every_job_ends(path: Path) -> None:
    workflow = _workflow(path)
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["concurrency"]["group"]
    for name, job in workflow["jobs"].items():
        assert job.get("permissions", {}) == FURTHER_PERMISSIONS.get((path.name, name), {})
        assert 0 < job["timeout-minutes"] <= 60
    # YAML 1.1 reads the key `on` as true. This event would give a stranger's code our secrets.
    assert "pull_request_target" not in workflow[True]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_action_is_pinned_and_leaves_no_token_behind(path: Path) -> None:
    uses = [step for step in _steps(path) if "uses" in step]
    assert uses
    for step in uses:
        assert PINNED.fullmatch(step["uses"])
        if step["uses"].startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_no_text_of_a_stranger_is_put_into_a_shell(path: Path) -> None:
    wrong = [step["run"] for step in _steps(path) if "run" in step and UNTRUSTED.search(step["run"])]
    assert wrong == []


def test_untrusted_text_in_a_command_would_be_found() -> None:
    assert UNTRUSTED.search("echo ${{ github.event.pull_request.title }}")
    assert UNTRUSTED.search("echo ${{ format('{0}', github.head_ref) }}")
    assert not UNTRUSTED.search('echo "$BASE" ${{ matrix.python }}')


def test_the_tests_run_on_every_python_that_is_supported() -> None:
    path = REPOSITORY / ".github" / "workflows" / "tests.yml"
    versions = _workflow(path)["jobs"]["tests"]["strategy"]["matrix"]["python"]
    text = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    assert versions == re.findall(r'"Programming Language :: Python :: (3\.\d+)"', text)
    targets = [words[1] for words in _commands(path, "make ")]
    assert targets == ["test", "test-matrix", "check", "bench"]
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    assert all(f"\n{target}: " in makefile for target in targets)


def test_the_gate_uses_options_that_it_has_and_keeps_what_was_measured() -> None:
    path = REPOSITORY / ".github" / "workflows" / "gate.yml"
    (gate,) = _commands(path, "rnncore gate")
    options = [word for word in gate if word.startswith("--")]
    assert {"--base", "--budget", "--markdown", "--junit", "--github"} <= set(options)
    known = re.findall(r"--[a-z][a-z-]*", _help("gate"))
    assert [option for option in options if option not in known] == []
    checkout, *_, upload = _steps(path)
    assert checkout["with"]["fetch-depth"] == 0
    assert "cancelled()" in upload["if"]
    assert upload["with"]["path"] == "reports/gate"
    assert gate[gate.index("--junit") + 1].startswith("reports/gate/")


def test_the_gate_knows_what_benchmarks_read_from_earlier_gates() -> None:
    steps = {step.get("name", step.get("uses")): step for step in _steps(REPOSITORY / ".github" / "workflows" / "gate.yml")}
    names = list(steps)
    restore, save = steps["Restore what benchmarks read"], steps["Save what benchmarks read"]
    assert names.index("Restore what benchmarks read") < names.index("Gate") < names.index("Save what benchmarks read")
    assert restore["with"]["path"] == save["with"]["path"] == ".benchmarks/reach"
    assert restore["with"]["key"] == save["with"]["key"]
    assert save["with"]["key"].startswith(restore["with"]["restore-keys"])
    assert "cancelled()" in save["if"]
    # It is known for one environment: what changes with each pull request must not be in it.
    before, _, _ = steps["Gate"]["run"].partition("rnncore gate")
    assert {f"unset {name}" for name in steps["Gate"]["env"]} <= set(before.splitlines())


RELEASE = REPOSITORY / ".github" / "workflows" / "release.yml"


def test_only_a_tag_makes_a_release() -> None:
    assert _workflow(RELEASE)[True] == {"push": {"tags": ["v*"]}}


def test_what_publishes_runs_nothing_of_ours_and_waits_for_all_else() -> None:
    jobs = _workflow(RELEASE)["jobs"]
    publish = jobs.pop("publish")
    assert set(publish["needs"]) == set(jobs)
    assert publish["environment"] == "pypi"
    assert [step["uses"].split("@")[0] for step in publish["steps"]] == [
        "actions/download-artifact",
        "pypa/gh-action-pypi-publish",
    ]
    # Trusted publishing: no password, no token.
    assert "secrets" not in RELEASE.read_text(encoding="utf-8")


def test_a_release_is_of_its_tag_and_wheels_are_of_its_sdist() -> None:
    jobs = _workflow(RELEASE)["jobs"]
    commands = [step.get("run", "") for step in jobs["sdist"]["steps"]]
    checked = next(place for place, run in enumerate(commands) if run == 'python .github/release.py "$GITHUB_REF_NAME"')
    built = next(place for place, run in enumerate(commands) if "python -m build --sdist" in run)
    assert checked < built
    assert all("checkout" not in step.get("uses", "") for step in jobs["wheel"]["steps"])
    assert any("cibuildwheel --output-dir wheels dist/*.tar.gz" in step.get("run", "") for step in jobs["wheel"]["steps"])
    assert jobs["wheel"]["needs"] == "sdist"


def test_every_wheel_has_kernels_and_is_tried_before_it_is_kept() -> None:
    text = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    settings = tomllib.loads(text)["tool"]["cibuildwheel"]
    assert settings["environment"]["RNNCORE_REQUIRE_KERNELS"] == "1"
    assert settings["test-command"] == "python {package}/tests/installed.py"
    # What is tried must be in the sdist.
    assert {"/tests", "/hatch_build.py"} <= set(tomllib.loads(text)["tool"]["hatch"]["build"]["targets"]["sdist"]["include"])
    jobs = _workflow(REPOSITORY / ".github" / "workflows" / "tests.yml")["jobs"]
    (build,) = (step for step in jobs["wheel"]["steps"] if "pip wheel" in step.get("run", ""))
    assert build["env"] == {"RNNCORE_REQUIRE_KERNELS": "1"}
    assert jobs["installed"]["container"].endswith("-slim")
    assert jobs["installed"]["steps"][-1]["run"] == "installed/bin/python tests/installed.py"

"""Tests of the action for other repositories: its steps are run with a made-up rnncore, gh and pip, its wiring is read."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.test_workflows import PINNED, UNTRUSTED

yaml = pytest.importorskip("yaml", reason="PyYAML, which pre-commit brings, is not installed")

REPOSITORY = Path(__file__).parents[1]
FOLDER = REPOSITORY / ".github" / "actions" / "gate"
ACTION: dict[str, Any] = yaml.safe_load((FOLDER / "action.yml").read_text(encoding="utf-8"))
STEPS: dict[str, dict[str, Any]] = {step["name"]: step for step in ACTION["runs"]["steps"]}
MARKER = "<!-- rnncore gate: gate -->"

RNNCORE = """#!/usr/bin/env bash
printf '%s\\0' "$@" >"$MADE/arguments"
pwd >"$MADE/folder"
env -0 >"$MADE/environment"
for argument; do
    case $argument in
        --base=*) git rev-parse --verify --quiet "${argument#--base=}^{commit}" >"$MADE/base" || true ;;
        --markdown=*) [[ ! -e $MADE/verdict ]] || cp "$MADE/verdict" "${argument#--markdown=}" ;;
    esac
done
exit "$(cat "$MADE/code")"
"""

# What GitHub does with the three calls, by a list of comments in a file.
GH = f"""#!{sys.executable}
import json, os, re, sys
from pathlib import Path

made = Path(os.environ["MADE"])
if (made / "gh_fails").exists() and (made / "gh_fails").read_text() in sys.argv:
    sys.exit("gh: Resource not accessible by integration (HTTP 403)")
assert os.environ["GH_TOKEN"] == "token" and sys.argv[1] == "api"
arguments = sys.argv[2:]
with (made / "calls").open("a") as calls:
    calls.write(json.dumps(arguments) + "\\n")
comments = json.loads((made / "comments").read_text())
(path,) = [one for one in arguments if one.startswith("repos/")]
if "--jq" in arguments:
    assert "--paginate" in arguments
    assert path == "repos/owner/project/issues/7/comments"
    wanted = re.fullmatch(
        r'\\.\\[\\] \\| select\\(\\.user\\.type == "Bot" and \\(\\.body \\| startswith\\("(.+)"\\)\\)\\) \\| \\.id',
        arguments[arguments.index("--jq") + 1],
    )[1]
    for one in comments:
        if one["user"]["type"] == "Bot" and one["body"].startswith(wanted):
            print(one["id"])
else:
    kind, _, file = arguments[arguments.index("--field") + 1].partition("=@")
    assert kind == "body"
    method, body = arguments[arguments.index("--method") + 1], Path(file).read_text(encoding="utf-8")
    if method == "POST":
        assert path == "repos/owner/project/issues/7/comments"
        comments.append({{"id": 100 + len(comments), "user": {{"type": "Bot"}}, "body": body}})
    else:
        (one,) = [one for one in comments if path == f"repos/owner/project/issues/comments/{{one['id']}}"]
        one["body"] = body
    (made / "comments").write_text(json.dumps(comments))
"""

PYTHON = """#!/usr/bin/env bash
printf '%s\\0' "$@" >"$MADE/pip"
printf '%s' "$PIP_EXTRA_INDEX_URL" >"$MADE/index"
"""


@dataclass
class Job:
    """A job of another repository that uses the action for a pull request.

    Attributes:
        folder: Its temporary folder.
        base_ref: Branch that the pull request goes to; empty where there is none.
        variables: Further ones of its environment.
    """

    folder: Path
    base_ref: str = "main"
    variables: dict[str, str] = field(default_factory=dict)

    def run(self, step: str, **inputs: str) -> subprocess.CompletedProcess[str]:
        """Run a step as GitHub does: its expressions filled in, by bash that ends with the first failure."""
        values = {"github.base_ref": self.base_ref, "github.event.pull_request.number": "7", "github.token": "token"}
        given = {name: one["default"] for name, one in ACTION["inputs"].items()} | {
            name.replace("_", "-"): value for name, value in inputs.items()
        }
        values |= {f"inputs.{name}": self._filled(text, values) for name, text in given.items()}
        environment = {name: self._filled(text, values) for name, text in STEPS[step].get("env", {}).items()}
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", STEPS[step]["run"]],
            cwd=self.folder / "project" / self._filled(STEPS[step].get("working-directory", "."), values),
            env={
                "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
                "HOME": str(self.folder),
                "MADE": str(self.folder / "made"),
                "RUNNER_TEMP": str(self.folder / "temp"),
                "GITHUB_ACTION_PATH": str(FOLDER),
                "GITHUB_OUTPUT": str(self.folder / "output"),
                "GITHUB_STEP_SUMMARY": str(self.folder / "summary"),
                "GITHUB_REPOSITORY": "owner/project",
                "GITHUB_SERVER_URL": "https://github.example",
                "GITHUB_RUN_ID": "12",
                **self.variables,
                **environment,
            },
            capture_output=True,
            encoding="utf-8",
            check=False,
        )

    def gate(
        self, code: int = 0, verdict: str | None = "## Same: 2 same\n", **inputs: str
    ) -> subprocess.CompletedProcess[str]:
        """Run the step of the gate, whose rnncore ends with a code and leaves a verdict."""
        (self.made / "code").write_text(str(code), encoding="utf-8")
        (self.made / "verdict").unlink(missing_ok=True)
        if verdict is not None:
            (self.made / "verdict").write_text(verdict, encoding="utf-8")
        return self.run("Gate", **inputs)

    @staticmethod
    def _filled(text: str, values: dict[str, str]) -> str:
        return re.sub(r"\$\{\{ (.+?) \}\}", lambda found: values[found[1]], text)

    @property
    def made(self) -> Path:
        return self.folder / "made"

    @property
    def arguments(self) -> list[str]:
        """What rnncore was called with."""
        return (self.made / "arguments").read_text(encoding="utf-8").split("\0")[:-1]

    @property
    def comments(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads((self.made / "comments").read_text(encoding="utf-8"))
        return found

    def text(self, name: str) -> str:
        return (self.folder / name).read_text(encoding="utf-8")


def _git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    return subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def job(tmp_path: Path) -> Job:
    for name in ("bin", "made", "temp", "project", "origin"):
        (tmp_path / name).mkdir()
    for name, text in (("rnncore", RNNCORE), ("gh", GH), ("python", PYTHON)):
        (tmp_path / "bin" / name).write_text(text, encoding="utf-8")
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "made" / "comments").write_text("[]", encoding="utf-8")
    (tmp_path / "summary").write_text("Of an earlier step.\n", encoding="utf-8")
    _git(tmp_path / "origin", "init", "--quiet", "--initial-branch=main")
    _git(tmp_path / "origin", "commit", "--quiet", "--allow-empty", "-m", "base")
    _git(tmp_path, "clone", "--quiet", "origin", "project")
    _git(tmp_path / "project", "checkout", "--quiet", "--detach")
    _git(tmp_path / "project", "commit", "--quiet", "--allow-empty", "-m", "merge of the pull request")
    return Job(tmp_path)


def _help() -> str:
    command = [sys.executable, "-m", "rnncore", "gate", "--help"]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout


# --------------------------------------------------------------------------------------------------------------- gate


def test_the_base_is_the_branch_that_the_pull_request_goes_to_and_the_head_is_what_is_checked_out(job: Job) -> None:
    assert job.gate().returncode == 0
    verb, *options = job.arguments
    folder = job.folder / "temp" / "rnncore-gate"
    assert verb == "gate"
    assert options == [
        "--base=origin/main",
        "--head=HEAD",
        "--budget=10m",
        f"--out={folder}",
        f"--markdown={folder}/verdict.md",
        f"--junit={folder}/junit.xml",
        "--github",
    ]
    assert (job.made / "base").read_text(encoding="utf-8") == _git(job.folder / "origin", "rev-parse", "main")


def test_inputs_are_handed_on(job: Job) -> None:
    job.gate(paths="benchmarks/a.py  tests/b\n", budget="20m", prepare="make -C 'x y' all", isolated="true", base="v1.2")
    assert {"--base=v1.2", "--budget=20m", "--prepare=make -C 'x y' all", "--isolated"} < set(job.arguments)
    assert job.arguments[-2:] == ["benchmarks/a.py", "tests/b"]


def test_the_gate_has_the_options_that_it_is_called_with(job: Job) -> None:
    job.gate(prepare="true", isolated="true")
    used = {argument.partition("=")[0] for argument in job.arguments if argument.startswith("--")}
    assert used <= set(re.findall(r"--[a-z][a-z-]*", _help()))


def test_a_folder_of_a_larger_repository_is_where_the_gate_runs(job: Job) -> None:
    (job.folder / "project" / "part").mkdir()
    assert job.gate(folder="part").returncode == 0
    assert job.text("made/folder").strip() == str(job.folder / "project" / "part")


def test_the_name_of_a_branch_is_no_command(job: Job) -> None:
    job.base_ref = '$(touch hacked)";touch hacked;`touch hacked`'
    job.gate(paths="$(touch hacked) *")
    assert f"--base=origin/{job.base_ref}" in job.arguments
    assert job.arguments[-3:] == ["$(touch", "hacked)", "*"]
    assert not (job.folder / "project" / "hacked").exists()


def test_what_changes_from_one_pull_request_to_the_next_is_not_in_the_environment_of_the_gate(job: Job) -> None:
    job.variables["OF_THE_PROJECT"] = "kept"
    job.gate(base="v1.2")
    names = {one.partition("=")[0] for one in (job.made / "environment").read_text(encoding="utf-8").split("\0")}
    assert "OF_THE_PROJECT" in names
    assert {name for name in names if name.startswith("GATE_") or name == "GH_TOKEN"} == set()


@pytest.mark.parametrize(
    ("code", "inputs", "ends_with"),
    [(0, {}, 0), (1, {}, 1), (2, {}, 2), (3, {}, 0), (3, {"fail_on_unclear": "true"}, 3), (4, {}, 4), (5, {}, 5)],
)
def test_the_step_ends_as_the_gate_does_but_for_what_is_unclear(
    code: int, inputs: dict[str, str], ends_with: int, job: Job
) -> None:
    done = job.gate(code, **inputs)
    assert done.returncode == ends_with, done.stderr
    assert job.text("output") == f"code={code}\n"
    assert ("::warning" in done.stdout) == (code == 3 and not inputs)


def test_the_summary_gets_the_verdict_after_what_is_there(job: Job) -> None:
    job.gate(1, "## Slower: 1 of 2 slower\n")
    assert job.text("summary") == "Of an earlier step.\n## Slower: 1 of 2 slower\n"


def test_a_gate_without_a_verdict_is_said_and_an_earlier_verdict_is_not_taken_for_its_own(job: Job) -> None:
    job.gate(0, "## Same: 2 same\n")
    assert job.gate(2, None).returncode == 2
    assert job.text("summary").endswith("## No verdict\n\nThe gate ended with exit code 2; the log of the job says why.\n")
    assert "Same" not in job.text("temp/rnncore-gate/verdict.md")


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"isolated": "yes"}, "The input isolated is neither true nor false"),
        ({"fail_on_unclear": "True"}, "The input fail_on_unclear is neither true nor false"),
        ({"comment": ""}, "The input comment is neither true nor false"),
        ({"name": "a b"}, "The input name may have"),
        ({"name": '"; touch hacked'}, "The input name may have"),
    ],
)
def test_an_input_that_is_not_allowed_is_refused(inputs: dict[str, str], said: str, job: Job) -> None:
    done = job.gate(**inputs)
    assert done.returncode == 2
    assert said in done.stdout
    assert not (job.made / "arguments").exists()
    assert not (job.folder / "output").exists()


def test_outside_of_a_pull_request_a_base_is_asked_for(job: Job) -> None:
    job.base_ref = ""
    done = job.gate()
    assert done.returncode == 2
    assert "give the input base" in done.stdout
    assert job.gate(base="HEAD~1").returncode == 0


# ------------------------------------------------------------------------------------------------------------ comment


def _bodies(job: Job) -> list[str]:
    return [one["body"] for one in job.comments]


def test_the_comment_is_made_once_and_changed_from_then_on(job: Job) -> None:
    job.gate(1, "## Slower: 1 of 2 slower\n")
    assert job.run("Comment").returncode == 0
    link = "[The job](https://github.example/owner/project/actions/runs/12)"
    assert _bodies(job) == [f"{MARKER}\n## Slower: 1 of 2 slower\n\n{link}\n"]
    job.gate(0, "## Same: 2 same\n")
    assert job.run("Comment").returncode == 0
    assert _bodies(job) == [f"{MARKER}\n## Same: 2 same\n\n{link}\n"]
    calls = [json.loads(line) for line in (job.made / "calls").read_text(encoding="utf-8").splitlines()]
    assert [call[call.index("--method") + 1] for call in calls if "--method" in call] == ["POST", "PATCH"]


def test_the_comment_of_another_is_left_as_it_is(job: Job) -> None:
    others = [
        {"id": 1, "user": {"type": "User"}, "body": f"{MARKER}\nI begin as yours does."},
        {"id": 2, "user": {"type": "Bot"}, "body": "Coverage: 90 %"},
        {"id": 3, "user": {"type": "Bot"}, "body": f"Quoted: {MARKER}"},
    ]
    (job.made / "comments").write_text(json.dumps(others), encoding="utf-8")
    job.gate()
    job.run("Comment")
    assert job.comments[:3] == others
    assert len(job.comments) == 4


def test_gates_of_several_names_have_a_comment_each(job: Job) -> None:
    for name in ("linux", "arm-64", "linux"):
        job.gate(name=name)
        job.run("Comment", name=name)
    assert [body.split("\n")[0] for body in _bodies(job)] == [
        "<!-- rnncore gate: linux -->",
        "<!-- rnncore gate: arm-64 -->",
    ]


def test_a_verdict_that_is_too_long_for_a_comment_is_cut_at_a_line(job: Job) -> None:
    lines = [f"| benchmark {number} | é 100 % slower |" for number in range(3000)]
    job.gate(1, "\n".join(lines) + "\n")
    job.run("Comment")
    (body,) = _bodies(job)
    # Of GitHub's limit of characters.
    assert 50_000 < len(body) < 65_536
    first, *kept, _, rest, _, _, _ = body.split("\n")
    assert first == MARKER
    assert kept == lines[: len(kept)]
    assert rest == "The rest is in the summary of the job."
    assert job.text("summary").count("\n") == 1 + len(lines)


@pytest.mark.parametrize("call", ["--paginate", "POST", "PATCH"])
def test_a_comment_that_may_not_be_written_is_a_warning(call: str, job: Job) -> None:
    job.gate()
    if call == "PATCH":
        job.run("Comment")
    (job.made / "gh_fails").write_text(call, encoding="utf-8")
    done = job.run("Comment")
    assert done.returncode == 0
    assert "::warning" in done.stdout
    assert "pull-requests: write" in done.stdout


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
def test_the_comment_is_found_by_a_filter_that_jq_takes(job: Job) -> None:
    job.gate()
    job.run("Comment")
    (call,) = [json.loads(line) for line in (job.made / "calls").read_text(encoding="utf-8").splitlines() if "--jq" in line]
    found = subprocess.run(
        ["jq", call[call.index("--jq") + 1]], input=json.dumps(job.comments), capture_output=True, text=True, check=True
    )
    assert found.stdout == "100\n"


# ------------------------------------------------------------------------------------------------------------- wiring


def test_rnncore_is_installed_from_the_repository_of_the_action_with_torch_s_cpu_build(job: Job) -> None:
    assert job.run("Install rnncore").returncode == 0
    *command, path = (job.made / "pip").read_text(encoding="utf-8").split("\0")[:-1]
    assert command == ["-m", "pip", "install"]
    assert Path(path).resolve() == REPOSITORY
    assert (job.made / "index").read_text(encoding="utf-8") == "https://download.pytorch.org/whl/cpu"


def test_an_index_of_the_user_s_own_is_kept(job: Job) -> None:
    job.variables["PIP_EXTRA_INDEX_URL"] = "https://index.example"
    job.run("Install rnncore")
    assert (job.made / "index").read_text(encoding="utf-8") == "https://index.example"


def test_no_text_of_a_stranger_is_put_into_a_shell() -> None:
    scripts = [step["run"] for step in STEPS.values() if "run" in step]
    assert [script for script in scripts if "${{" in script or UNTRUSTED.search(script)] == []
    assert [path for path in FOLDER.glob("*.sh") if "${{" in path.read_text(encoding="utf-8")] == []


def test_every_action_that_is_used_is_pinned() -> None:
    uses = [step["uses"] for step in STEPS.values() if "uses" in step]
    assert uses
    assert [one for one in uses if not PINNED.fullmatch(one)] == []


def test_what_was_measured_is_kept_from_where_the_gate_writes_it(job: Job) -> None:
    name = "linux"
    job.gate(name=name)
    upload = STEPS["Keep what was measured"]["with"]
    values = {"runner.temp": str(job.folder / "temp"), "inputs.name": name}
    (out,) = [argument.partition("=")[2] for argument in job.arguments if argument.startswith("--out=")]
    assert job._filled(upload["path"], values) == out


def test_what_benchmarks_read_is_restored_before_the_gate_and_saved_after_it_however_it_ended() -> None:
    names = list(STEPS)
    restore, save = STEPS["Restore what benchmarks read"], STEPS["Save what benchmarks read"]
    assert names.index("Restore what benchmarks read") < names.index("Gate") < names.index("Save what benchmarks read")
    folder = STEPS["Gate"]["working-directory"]
    assert restore["with"]["path"] == save["with"]["path"] == f"{folder}/.benchmarks/reach"
    assert restore["with"]["key"] == save["with"]["key"]
    # A key is written once: each run has its own, and takes the newest of those before it.
    assert "github.run_id" in save["with"]["key"]
    assert save["with"]["key"].startswith(restore["with"]["restore-keys"])
    after = [step["if"] for name, step in STEPS.items() if names.index(name) > names.index("Gate")]
    assert all(condition.startswith("${{ !cancelled() && steps.gate.outputs.code != ''") for condition in after)


def test_the_token_is_given_to_the_comment_alone() -> None:
    assert [name for name, step in STEPS.items() if "github.token" in json.dumps(step)] == ["Comment"]

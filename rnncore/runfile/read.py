"""Run files, the JSON that pytest-benchmark saves, as records."""

import glob
import hashlib
import json
import re
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnncore.errors import RunFileError
from rnncore.runfile import record as rules
from rnncore.runfile.earlier import completed

# A text that escapes half a character, as JSON can and UTF-8 cannot.
_HALF_CHARACTER = re.compile(rb"\\u[dD][89a-fA-F]")


@dataclass(frozen=True)
class Record:
    """One benchmark of a run.

    Attributes:
        fullname: File and test id; the same on every machine.
        group: What it is listed with.
        rounds_s: Seconds of every timed round.
        extra: The axes and the facts that stand beside the time.
    """

    fullname: str
    group: str
    rounds_s: tuple[float, ...]
    extra: dict[str, Any]

    @property
    def short_name(self) -> str:
        """Test id without its file."""
        return self.fullname.split("::", 1)[-1]

    @property
    def median_s(self) -> float:
        """Median seconds of a round."""
        return statistics.median(self.rounds_s)

    @property
    def windows_per_s(self) -> float:
        """Windows per second at the median; of a server those that are served in time."""
        if self.extra.get("phase") == "serve":
            return float(self.extra.get("served_per_s") or 0.0)
        return float(self.extra["windows"]) / self.median_s

    @property
    def process_bytes(self) -> Any:
        """Peak memory of a fresh process that only serves; None where it is unknown.

        Files without the model's share in it are from before: they tell the peak of the session up to then.
        """
        return self.extra.get("peak_rss_bytes") if "model_rss_bytes" in self.extra else None

    @property
    def validity(self) -> str:
        """`valid`, or why the result is wrong; a benchmark that checks nothing is taken at its word."""
        return str(self.extra.get("validity") or "valid")


@dataclass(frozen=True)
class Run:
    """One run file.

    Attributes:
        path: The file.
        datetime: When it was saved, ISO 8601 in UTC.
        commit: Commit of the measured tree, with a mark for uncommitted changes; None outside git.
        fingerprint: Stable facts of the machine.
        data: Name and digest of the data set; None if no benchmark used one.
        command: The pytest command.
        skipped: Pairs of benchmark and reason.
        failed: Triples of benchmark, outcome (`error`, `out of memory`, `timed out`, `died`) and reason.
        ceilings: What the machine could do at best in the session; None in runs without them.
        session: The whole `rnncore` block of the file.
        records: rnncore's benchmarks, in order; others in the same file are left out.
        digest: SHA-256 of the file.
    """

    path: Path
    datetime: str
    commit: str | None
    fingerprint: dict[str, Any]
    data: dict[str, str] | None
    command: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]
    failed: tuple[tuple[str, str, str], ...]
    ceilings: dict[str, Any] | None
    session: dict[str, Any]
    records: tuple[Record, ...]
    digest: str

    def phase(self, name: str) -> list[Record]:
        """Return the records of one phase."""
        return [record for record in self.records if record.extra.get("phase") == name]


def read_run(path: Path) -> Run:
    """Read a run file.

    Args:
        path: A file below `.benchmarks/`, or one that `--benchmark-json` wrote.

    Raises:
        RunFileError: If the file is missing, is not a run file, or holds something else than readers rely on.
    """
    try:
        raw = path.read_bytes()
        content = json.loads(raw.decode("utf-8"))
        if _HALF_CHARACTER.search(raw):
            # Where halves come in pairs they are whole by now.
            json.dumps(content, ensure_ascii=False).encode("utf-8")
    except OSError as error:
        raise RunFileError(
            f"{path}: cannot be read ({error.strerror}). Make a run with 'pytest bench/ --benchmark-autosave'."
        ) from error
    except (ValueError, RecursionError) as error:
        raise RunFileError(f"{path}: not JSON ({error}). Give a file from .benchmarks/.") from error
    if found := rules.another_kind(content):
        raise RunFileError(
            f"{path}: not a run file of rnncore's suites ({found}). Make one with 'pytest bench/ --benchmark-autosave'."
        )
    rules.refuse(str(path), rules.RUN("", content))
    session, machine = content["rnncore"], rules.machine_facts(content)
    return Run(
        path=path,
        datetime=content["datetime"],
        commit=_commit(content["commit_info"]),
        fingerprint=machine["fingerprint"],
        data=session["data"],
        command=tuple(session["command"]),
        skipped=tuple((entry["fullname"], entry["reason"]) for entry in session["skipped"]),
        failed=tuple((entry["fullname"], entry["outcome"], entry["reason"]) for entry in session.get("failed", [])),
        ceilings=machine.get("ceilings"),
        session=session,
        records=tuple(
            _record(path, f"benchmarks[{index}]", entry)
            for index, entry in enumerate(content["benchmarks"])
            if entry["extra_info"].get("phase")
        ),
        digest=hashlib.sha256(raw).hexdigest(),
    )


def find_runs(name: str, store: Path = Path(".benchmarks")) -> list[Path]:
    """Return the run files that a name on the command line stands for.

    Args:
        name: A file, a folder of run files, a glob, or the number that pytest-benchmark gave a saved run, such as `0007`.
        store: Where saved runs lie.

    Returns:
        The files, in order of their names.

    Raises:
        RunFileError: If there is none, or a number stands for runs of several machines.
    """
    if Path(name).is_file():
        return [Path(name)]
    if name.isdecimal():
        found = sorted(store.glob(f"*/{int(name):04}_*.json"))
        if len(found) > 1:
            listed = ", ".join(map(str, found))
            raise RunFileError(f"{name}: stands for {len(found)} runs ({listed}). Give the file that you mean.")
    elif Path(name).is_dir():
        found = sorted(Path(name).glob("*.json"))
    else:
        found = sorted(Path(path) for path in glob.glob(name, recursive=True))  # noqa: PTH207 (takes absolute patterns too)
    if not found:
        raise RunFileError(
            f"{name}: no such run. Give a run file, a folder or glob of them, or the number of a run in {store}/."
        )
    return found


def _record(path: Path, where: str, entry: dict[str, Any]) -> Record:
    rules.refuse(str(path), rules.ENTRY(where, entry))
    extra, rounds_s, name = entry["extra_info"], entry["stats"].get("data"), rules.one_line(entry["fullname"])
    if rounds_s is None or rounds_s == []:
        raise RunFileError(
            f"{path}: {name} has no raw rounds. Save the run with the rnncore plugin active, or with --benchmark-save-data."
        )
    rules.refuse(f"{path}: {name}", rules.ROUNDS("stats.data", rounds_s))
    rules.refuse(f"{path}: {name}", rules.faults_of_row(extra))
    if missing := rules.missing_of_row(extra):
        raise RunFileError(
            f"{path}: {name} lacks {', '.join(missing)} in its extra_info. Give its Case these axes, or record "
            "these facts with rnn_benchmark.record."
        )
    axes = dict.fromkeys(rules.AXES)
    return Record(entry["fullname"], entry["group"] or "other", tuple(map(float, rounds_s)), completed({**axes, **extra}))


def _commit(info: dict[str, Any]) -> str | None:
    # pytest-benchmark writes these two outside git, and where there is no commit yet.
    if info.get("id") in (None, "unversioned", "unknown"):
        return None
    return f"{str(info['id'])[:12]}{' with uncommitted changes' if info.get('dirty') else ''}"

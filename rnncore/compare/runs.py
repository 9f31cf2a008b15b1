"""Run files, the JSON that pytest-benchmark saves, as records."""

import glob
import hashlib
import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnncore.errors import RunFileError
from rnncore.runfile.earlier import completed

# What a report needs beside the time, by phase.
_ALWAYS = ("windows", "device", "runtime")
_BY_PHASE = {
    "infer": ("cell", "batch_size"),
    "train": ("cell", "batch_size"),
    "paired": ("cell", "batch_size"),
    "stream": ("cell", "batch_size", "window_call_s"),
    "serve": ("cell", "batch_size", "p99_bound_s"),
    "accuracy": ("cell", "smape", "smape_article", "mae_mw", "training", "baselines_smape"),
}


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
        RunFileError: If the file is missing, is not a run file, or lacks the raw rounds.
    """
    try:
        raw = path.read_bytes()
        content = json.loads(raw.decode("utf-8"))
    except OSError as error:
        raise RunFileError(
            f"{path}: cannot be read ({error.strerror}). Make a run with 'pytest bench/ --benchmark-autosave'."
        ) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RunFileError(f"{path}: not JSON ({error}). Give a file from .benchmarks/.") from error
    try:
        session = content["rnncore"]
        ceilings = content["machine_info"].get("ceilings")
        return Run(
            path=path,
            datetime=content["datetime"],
            commit=_commit(content["commit_info"]),
            fingerprint=dict(content["machine_info"]["fingerprint"].items()),
            data=session["data"],
            command=tuple(session["command"]),
            skipped=tuple((entry["fullname"], entry["reason"]) for entry in session["skipped"]),
            failed=tuple((entry["fullname"], entry["outcome"], entry["reason"]) for entry in session.get("failed", [])),
            ceilings=dict(ceilings.items()) if ceilings is not None else None,
            session=dict(session.items()),
            records=tuple(_record(path, entry) for entry in content["benchmarks"] if entry["extra_info"].get("phase")),
            digest=hashlib.sha256(raw).hexdigest(),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise RunFileError(
            f"{path}: not a run file of rnncore's suites ({error!r} is missing). "
            "Make one with 'pytest bench/ --benchmark-autosave'."
        ) from error


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


def _record(path: Path, entry: dict[str, Any]) -> Record:
    extra, rounds_s = entry["extra_info"], entry["stats"].get("data")
    if not rounds_s:
        raise RunFileError(
            f"{path}: {entry['fullname']} has no raw rounds. Save the run with the rnncore plugin active, "
            "or with --benchmark-save-data."
        )
    if not all(isinstance(seconds, float | int) for seconds in rounds_s):
        raise RunFileError(
            f"{path}: rounds of {entry['fullname']} are not numbers. The file was changed; make the run again."
        )
    # A row that failed may lack what comes after its times; it is not ranked.
    by_phase = _BY_PHASE.get(extra["phase"], ()) if extra.get("validity") in ("valid", None) else ()
    missing = [key for key in (*_ALWAYS, *by_phase) if extra.get(key) is None]
    if missing:
        raise RunFileError(
            f"{path}: {entry['fullname']} lacks {', '.join(missing)} in its extra_info. Give its Case these axes, or record "
            "these facts with rnn_benchmark.record."
        )
    return Record(entry["fullname"], entry["group"] or "other", tuple(map(float, rounds_s)), completed(extra))


def _commit(info: dict[str, Any]) -> str | None:
    # pytest-benchmark writes these two outside git, and where there is no commit yet.
    if info.get("id") in (None, "unversioned", "unknown"):
        return None
    return f"{info['id'][:12]}{' with uncommitted changes' if info.get('dirty') else ''}"

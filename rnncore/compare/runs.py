"""Run files, the JSON that pytest-benchmark saves, as records."""

import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnncore.errors import RunFileError


@dataclass(frozen=True)
class Record:
    """One benchmark of a run.

    Attributes:
        fullname: File and test id; the same on every machine.
        group: What it is listed with.
        rounds_s: Seconds of every timed round.
        extra: The axes and the facts that stand beside the time; empty for a benchmark that is not rnncore's.
    """

    fullname: str
    group: str
    rounds_s: tuple[float, ...]
    extra: dict[str, Any]

    @property
    def median_s(self) -> float:
        """Median seconds of a round."""
        return statistics.median(self.rounds_s)

    @property
    def windows_per_s(self) -> float:
        """Windows per second at the median."""
        return float(self.extra["windows"]) / self.median_s

    @property
    def validity(self) -> str:
        """`valid`, or why the result is wrong."""
        return str(self.extra.get("validity", "valid"))


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
        records: The benchmarks, in order.
    """

    path: Path
    datetime: str
    commit: str | None
    fingerprint: dict[str, Any]
    data: dict[str, str] | None
    command: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]
    records: tuple[Record, ...]

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
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunFileError(
            f"{path}: cannot be read ({error.strerror}). Make a run with 'pytest bench/ --benchmark-autosave'."
        ) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RunFileError(f"{path}: not JSON ({error}). Give a file from .benchmarks/.") from error
    try:
        session = content["rnncore"]
        return Run(
            path=path,
            datetime=content["datetime"],
            commit=_commit(content["commit_info"]),
            fingerprint=content["machine_info"]["fingerprint"],
            data=session["data"],
            command=tuple(session["command"]),
            skipped=tuple((entry["fullname"], entry["reason"]) for entry in session["skipped"]),
            records=tuple(_record(path, entry) for entry in content["benchmarks"]),
        )
    except (KeyError, TypeError) as error:
        raise RunFileError(
            f"{path}: not a run file of rnncore's suites ({error!r} is missing). "
            "Make one with 'pytest bench/ --benchmark-autosave'."
        ) from error


def _record(path: Path, entry: dict[str, Any]) -> Record:
    rounds_s = entry["stats"].get("data")
    if not rounds_s:
        raise RunFileError(
            f"{path}: {entry['fullname']} has no raw rounds. Save the run with the rnncore plugin active, "
            "or with --benchmark-save-data."
        )
    return Record(entry["fullname"], entry["group"] or "other", tuple(rounds_s), entry["extra_info"])


def _commit(info: dict[str, Any]) -> str | None:
    if not info.get("id") or info["id"] == "unversioned":
        return None
    return f"{info['id'][:12]}{' with uncommitted changes' if info.get('dirty') else ''}"

"""The journal of a session: what is measured is on the disk at once, so that a killed process loses nothing finished.

A journal is a text file of JSON lines. The first names the process and holds what a run file says of its session; each
further line is an event. A session that ends in order saves its run file and discards its journal; `recover` makes a
run file of the journal of one that did not.
"""

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Any, Literal

from rnncore.errors import ConfigError, RunFileError
from rnncore.files import write_text
from rnncore.runfile.checks import COMMIT, FOLDER, MOMENT, list_of, object_with, or_none, refuse
from rnncore.runfile.record import facts_of, is_right
from rnncore.runfile.schema import MACHINE, SESSION
from rnncore.runfile.text import parsed

FORMAT = 1

# What `recover` copies into the run file as it is, and the block that the events are added to.
COPIED_KEYS = ("machine_info", "commit_info", "datetime", "version")
HEADER_KEYS = (*COPIED_KEYS, "machine_id", "rnncore")

DIED_REASON = "the process ended while this benchmark ran (killed, out of memory or crashed)"

_PROC = Path("/proc")


class Journal:
    """A journal that is being written; every method returns only when its line is on the disk.

    A line goes out in one write to an unbuffered file without a lock, so that a watchdog can still write while another
    thread hangs.

    Args:
        path: Where it lies.
        file: Opened for appending, unbuffered.
    """

    def __init__(self, path: Path, file: FileIO) -> None:
        self.path = path
        self._file = file

    @classmethod
    def open(cls, folder: Path, header: dict[str, Any]) -> "Journal":
        """Make a new journal.

        Args:
            folder: Where to; made if missing. `recover` takes its parent for the storage of pytest-benchmark.
            header: `HEADER_KEYS` as in a run file; `machine_id` is the folder that run files go to.

        Raises:
            ValueError: If a key of the header is missing.
            OSError: If the folder cannot be written to.
        """
        missing = [key for key in HEADER_KEYS if key not in header]
        if missing:
            raise ValueError(f"the header of a journal lacks {', '.join(missing)}; give {', '.join(HEADER_KEYS)}.")
        folder.mkdir(parents=True, exist_ok=True)
        pid = os.getpid()
        path = folder / f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{pid}.jsonl"
        first = {"journal": FORMAT, "pid": pid, "process_start_ticks": _process_start_ticks(pid), "header": header}
        line = _line(first)
        path.touch(exist_ok=False)
        journal = cls(path, path.open("ab", buffering=0))
        try:
            journal._write(line)
            _sync_folder(folder)
        except OSError:
            journal.discard()
            raise
        return journal

    def began(self, fullname: str) -> None:
        """Note that a benchmark begins: without a later line on it, it is what the process died of."""
        self._note("began", fullname=fullname)

    def finished(self, entry: dict[str, Any]) -> None:
        """Note a finished benchmark.

        Args:
            entry: As pytest-benchmark's `Metadata.as_dict` makes it, with the raw rounds in `stats.data`.
        """
        self._note("finished", entry=entry)

    def failed(self, fullname: str, outcome: Literal["error", "out of memory", "timed out"], reason: str) -> None:
        """Note a benchmark that ended without a result."""
        self._note("failed", fullname=fullname, outcome=outcome, reason=reason)

    def skipped(self, fullname: str, reason: str) -> None:
        """Note a benchmark that was skipped."""
        self._note("skipped", fullname=fullname, reason=reason)

    def facts(self, **values: Any) -> None:
        """Note facts that were not known at the start; later values replace earlier ones by key.

        They go into the block `rnncore`.
        """
        self._note("facts", values=values)

    def close(self) -> None:
        """Close the journal and keep it."""
        self._file.close()

    def discard(self) -> None:
        """Close and delete the journal: the session ended in order, and what it measured is saved."""
        self.close()
        self.path.unlink(missing_ok=True)

    def _note(self, event: str, **content: Any) -> None:
        self._write(_line({"event": event, **content}))

    def _write(self, line: bytes) -> None:
        rest = memoryview(line)
        size_bytes = os.fstat(self._file.fileno()).st_size
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError:
            # A disk that is full takes a part; a half line would spoil the ones that come after.
            self._file.truncate(size_bytes)
            raise
        os.fsync(self._file.fileno())


@dataclass(frozen=True)
class Recovered:
    """A run file made of a journal.

    Attributes:
        path: The run file.
        finished: Benchmarks in it.
        failed: Pairs of benchmark and outcome, `died` for the one that ran when the process ended.
    """

    path: Path
    finished: int
    failed: tuple[tuple[str, str], ...]


def dumps(content: object, indent: int | None = None) -> str:
    """Return JSON as pytest-benchmark writes it: NaN stays, and what JSON cannot hold becomes a text that says so."""
    return json.dumps(content, default=lambda value: f"UNSERIALIZABLE[{value!r}]", indent=indent)


def _line(content: dict[str, Any]) -> bytes:
    return f"{dumps(content)}\n".encode()


def find_journals(folder: Path) -> list[Path]:
    """Return the journals of a folder whose process has ended, newest last.

    Only on Linux is a process known from a later one of the same number. Windows is not asked: there a journal counts as
    ended.
    """
    return [path for path in sorted(folder.glob("*.jsonl")) if not _is_being_written(path)]


def newest_journal(folder: Path) -> Path:
    """Return the newest journal whose process has ended.

    Raises:
        ConfigError: If there is none.
    """
    journals = find_journals(folder)
    if not journals:
        raise ConfigError(
            f"nothing to recover: {folder} holds no journal of a session that has ended; one that still runs is left alone. "
            "If the run had a --benchmark-storage of its own, give the .jsonl file in the folder 'journal' there."
        )
    return journals[-1]


def recover(journal: Path, out: Path | None = None) -> Recovered:
    """Make a run file of what a journal holds, and delete the journal when the run file is on the disk.

    Args:
        journal: Journal of a session that has ended. A last line that broke off is left out.
        out: The run file to write. Default: the next number in the storage that the journal's folder lies in.

    Raises:
        RunFileError: If the journal cannot be read, is garbled before its last line, still grows, or holds no finished
            benchmark.
        ConfigError: If *out* exists.
    """
    if out is not None and out.exists():
        raise ConfigError(f"{out} exists already and is left as it is. Give a file name that is free.")
    if _is_being_written(journal):
        raise RunFileError(f"{journal}: its session still runs. Wait for its end, or end it, and recover again.")
    events = _read(journal)
    if not events.benchmarks:
        ends = "; ".join(f"{entry['outcome']}: {name}" for name, entry in events.failed.items()) or "none had begun"
        raise RunFileError(f"{journal}: no benchmark was finished ({ends}). Delete it, or give another journal.")
    path = out or _next_run_file(journal.resolve().parent.parent, events.header)
    write_text(path, dumps(events.run_content(), indent=4))
    with path.open("rb+") as file:
        os.fsync(file.fileno())
    _sync_folder(path.parent)
    journal.unlink()
    failed = tuple((fullname, entry["outcome"]) for fullname, entry in events.failed.items())
    return Recovered(path, len(events.benchmarks), failed)


@dataclass(frozen=True)
class Finished:
    """What a session that was cut off had finished.

    Attributes:
        path: Its journal.
        began: When it began, ISO 8601.
        fingerprint: Of the machine that it ran on.
        commit: Commit of the measured tree; None outside git.
        data: Name and digest of its data set; None if none was opened.
        ceilings: What the machine could do at best in it; None if that was not measured.
        entries: Its finished benchmarks, as a run file has them.
    """

    path: Path
    began: str
    fingerprint: dict[str, Any]
    commit: str | None
    data: dict[str, str] | None
    ceilings: dict[str, Any] | None
    entries: tuple[dict[str, Any], ...]


def finished_before(journal: Path) -> Finished:
    """Read what a session had finished, so that another can go on from there; the journal stays.

    Raises:
        RunFileError: If the journal cannot be read, is garbled before its last line, or still grows.
    """
    if _is_being_written(journal):
        raise RunFileError(f"{journal}: its session still runs. Wait for its end, or end it.")
    events = _read(journal)
    content = events.run_content()
    return Finished(
        path=journal,
        began=content["datetime"],
        fingerprint=dict(content["rnncore"].get("fingerprint") or content["machine_info"].get("fingerprint", {})),
        commit=content["commit_info"].get("id"),
        data=content["rnncore"].get("data"),
        ceilings=content["rnncore"].get("ceilings"),
        entries=tuple(one for one in events.benchmarks.values() if is_right(facts_of(one))),
    )


_SESSION = object_with({}, **SESSION, **MACHINE)
_HEADER = object_with(
    {
        "machine_info": object_with({}, **MACHINE),
        "commit_info": object_with({}, id=or_none(COMMIT)),
        "datetime": MOMENT,
        "machine_id": FOLDER,
        "rnncore": _SESSION,
    }
)
_FINISHED = object_with({"stats": object_with({}), "extra_info": object_with({})})


@dataclass
class _Events:
    """What the lines of a journal hold."""

    header: dict[str, Any]
    benchmarks: dict[str, dict[str, Any]] = field(default_factory=dict)
    failed: dict[str, dict[str, str]] = field(default_factory=dict)
    skipped: dict[str, dict[str, str]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    running: dict[str, None] = field(default_factory=dict)

    def take(self, line: object) -> bool:
        """Add one event; return whether it is one."""
        match line:
            case {"event": "began", "fullname": str(fullname)}:
                # Of one that is tried again, the earlier attempts do not count.
                for ended in (self.benchmarks, self.failed, self.skipped):
                    ended.pop(fullname, None)
                self.running[fullname] = None
            case {"event": "finished", "entry": {"fullname": str(fullname)} as entry}:
                # An error in the teardown comes after the first, and makes the entry invalid.
                self._end(fullname, self.benchmarks, entry)
            case {"event": "failed", "fullname": str(fullname), "outcome": str(outcome), "reason": str(reason)}:
                self._end(fullname, self.failed, {"fullname": fullname, "outcome": outcome, "reason": reason})
            case {"event": "skipped", "fullname": str(fullname), "reason": str(reason)}:
                self._end(fullname, self.skipped, {"fullname": fullname, "reason": reason})
            case {"event": "facts", "values": dict(values)}:
                self.facts |= values
            case _:
                return False
        return True

    def _end(self, fullname: str, ended: dict[str, dict[str, Any]], how: dict[str, Any]) -> None:
        self.running.pop(fullname, None)
        ended[fullname] = how

    def end_of_process(self) -> None:
        """Count what still ran as died."""
        for fullname in list(self.running):
            self._end(fullname, self.failed, {"fullname": fullname, "outcome": "died", "reason": DIED_REASON})

    def run_content(self) -> dict[str, Any]:
        """Return the content of a run file."""
        session = self.header["rnncore"]
        return {
            **{key: self.header[key] for key in COPIED_KEYS},
            "benchmarks": list(self.benchmarks.values()),
            "rnncore": {
                **session,
                **self.facts,
                "skipped": [*session.get("skipped", []), *self.skipped.values()],
                "failed": [*session.get("failed", []), *self.failed.values()],
            },
        }


def _read(journal: Path) -> _Events:
    lines = _lines(journal)
    match next(lines, None):
        case (_, {"journal": version, "header": dict(header)}) if version == FORMAT and set(HEADER_KEYS) <= set(header):
            events = _Events(header)
        case _:
            raise RunFileError(
                f"{journal}:1: not the first line of a journal of this version of rnncore. If the process was killed as it "
                "began, nothing is lost and the file can be deleted; otherwise give a .jsonl file from .benchmarks/journal/."
            )
    refuse(str(journal), _HEADER("header", events.header))
    for number, line in lines:
        if not events.take(line):
            raise _garbled(journal, number, "no event of a journal")
    refuse(str(journal), list_of(_FINISHED)("benchmarks", list(events.benchmarks.values())))
    refuse(str(journal), _SESSION("rnncore", {**events.header["rnncore"], **events.facts}))
    events.end_of_process()
    return events


def _lines(journal: Path) -> Iterator[tuple[int, Any]]:
    """Yield number and content of every line, without a last one that broke off."""
    try:
        lines = journal.read_bytes().splitlines()
    except OSError as error:
        raise RunFileError(
            f"{journal}: cannot be read ({error.strerror}). Give a .jsonl file from .benchmarks/journal/."
        ) from error
    for number, line in enumerate(lines, start=1):
        try:
            content = parsed(line)
        except RunFileError as error:
            # That is what a crash leaves.
            if number == len(lines):
                return
            raise _garbled(journal, number, str(error)) from error
        yield number, content


def _garbled(journal: Path, number: int, why: str) -> RunFileError:
    return RunFileError(
        f"{journal}:{number}: garbled ({why}). A crash garbles the last line alone, so the file was changed since; "
        "take this line out to recover the others."
    )


def _next_run_file(storage: Path, header: dict[str, Any]) -> Path:
    """Return the path that pytest-benchmark would have saved to, but for the word after the number."""
    folder = storage / str(header["machine_id"])
    # pytest-benchmark counts on from both.
    taken = [path for place in (storage, folder) for path in place.glob("[0-9][0-9][0-9][0-9]_*.json")]
    number = max((int(path.name[:4]) for path in taken), default=0) + 1
    began = datetime.fromisoformat(header["datetime"])
    return folder / f"{number:04}_recovered_{began:%Y%m%d_%H%M%S}.json"


def _is_being_written(journal: Path) -> bool:
    try:
        with journal.open("rb") as file:
            first = parsed(file.readline())
    except (OSError, RunFileError):
        return False
    match first:
        case {"pid": int(pid), "process_start_ticks": int(start_ticks)} if _PROC.is_dir():
            return _process_start_ticks(pid) == start_ticks
        # On Windows os.kill ends the process, whatever the signal.
        case {"pid": int(pid), "process_start_ticks": int() | None} if sys.platform != "win32":
            try:
                os.kill(pid, 0)
            except (ProcessLookupError, OverflowError):
                return False
            except PermissionError:
                pass
            return True
    return False


def _process_start_ticks(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; None if it has ended, or on systems other than Linux.

    Source: proc_pid_stat(5), fields 3 (state) and 22 (starttime).
    """
    try:
        # The name of the program is in brackets and may hold anything, brackets too.
        fields = (_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    has_ended = fields[0] in (b"Z", b"X")
    return None if has_ended else int(fields[19])


def _sync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk; Windows does so by itself."""
    if sys.platform == "win32":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

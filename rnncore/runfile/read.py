"""Run files, the JSON that pytest-benchmark saves, as records."""

import glob
import hashlib
import json
import re
from pathlib import Path
from typing import Any

from rnncore.errors import RunFileError
from rnncore.runfile.checks import one_line, refuse
from rnncore.runfile.earlier import completed
from rnncore.runfile.record import AXES, Record, Run, faults_of_row, has_case, missing_of_row
from rnncore.runfile.schema import ENTRY, ROUNDS, RUN, another_kind, commit_id, machine_facts

# A text that escapes half a character, as JSON can and UTF-8 cannot.
_HALF_CHARACTER = re.compile(rb"\\u[dD][89a-fA-F]")


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
    if found := another_kind(content):
        raise RunFileError(
            f"{path}: not a run file of rnncore's suites ({found}). Make one with 'pytest bench/ --benchmark-autosave'."
        )
    refuse(str(path), RUN("", content))
    session, machine, info = content["rnncore"], machine_facts(content), content["commit_info"]
    commit = commit_id(info)
    return Run(
        path=path,
        datetime=content["datetime"],
        commit=None if commit is None else f"{commit[:12]}{' with uncommitted changes' if info.get('dirty') else ''}",
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
            if has_case(entry["extra_info"])
        ),
        digest=hashlib.sha256(raw).hexdigest(),
    )


def find_runs(name: str, store: Path = Path(".benchmarks")) -> list[Path]:
    """Return the run files that a name on the command line means.

    Args:
        name: A file, a folder of run files, a glob, or the number that pytest-benchmark gave a saved run, such as `0007`.
        store: Where saved runs lie.

    Returns:
        The files, in order of their names.

    Raises:
        RunFileError: If there is none, or several machines have a run of that number.
    """
    if Path(name).is_file():
        return [Path(name)]
    if name.isdecimal():
        found = sorted(store.glob(f"*/{int(name):04}_*.json"))
        if len(found) > 1:
            listed = ", ".join(map(str, found))
            raise RunFileError(f"{name}: is the number of {len(found)} runs ({listed}). Give the file that you mean.")
    elif Path(name).is_dir():
        found = sorted(Path(name).glob("*.json"))
    else:
        found = sorted(Path(path) for path in glob.glob(name, recursive=True))  # noqa: PTH207 (takes absolute patterns too)
    if not found:
        raise RunFileError(
            f"{name}: no such run. Give a run file, a folder or glob of them, or the number of a run in {store}/."
        )
    return found


def read_one_run(name: str) -> Run:
    """Read the one run file that a name on the command line means, as in `find_runs`.

    Raises:
        RunFileError: If there is none, there are several, or it cannot be read.
    """
    paths = find_runs(name)
    if len(paths) > 1:
        raise RunFileError(f"{name}: means {len(paths)} runs, and one is wanted. Name it.")
    return read_run(paths[0])


def _record(path: Path, where: str, entry: dict[str, Any]) -> Record:
    refuse(str(path), ENTRY(where, entry))
    extra, rounds_s, name = entry["extra_info"], entry["stats"].get("data"), one_line(entry["fullname"])
    if rounds_s is None or rounds_s == []:
        raise RunFileError(
            f"{path}: {name} has no raw rounds. Save the run with the rnncore plugin active, or with --benchmark-save-data."
        )
    refuse(f"{path}: {name}", ROUNDS("stats.data", rounds_s))
    refuse(f"{path}: {name}", faults_of_row(extra))
    of_slots = extra.get("slot_rounds")
    if of_slots and sum(of_slots) != len(rounds_s):
        raise RunFileError(f"{path}: {name} has {len(rounds_s)} rounds, and slot_rounds of {sum(of_slots)} in all.")
    facts = completed({**dict.fromkeys(AXES), **extra})
    if missing := missing_of_row(facts):
        raise RunFileError(
            f"{path}: {name} lacks {', '.join(missing)} in its extra_info. Give its Case these axes, or record "
            "these facts with rnn_benchmark.record."
        )
    return Record(entry["fullname"], entry["group"] or "other", tuple(map(float, rounds_s)), facts)

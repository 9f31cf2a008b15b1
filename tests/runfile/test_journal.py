"""Tests of the journal: what a process that is killed leaves, and the run file that is made of it."""

import json
import math
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pytest_benchmark.utils import get_machine_id

from rnncore import cli
from rnncore.errors import ConfigError, RunFileError
from rnncore.runfile.journal import Journal, Recovered, find_journals, finished_before, newest_journal, recover
from rnncore.runfile.read import read_run
from tests.run_files import content_of, inference, run_content, training

REPOSITORY = Path(__file__).parents[2]
HUNG = "bench/bench_training.py::test_train_step[gru-hung]"

WRITE_AND_HANG = """
import sys, time
from pathlib import Path
from rnncore.runfile.journal import Journal
from tests.run_files import inference
from tests.runfile.test_journal import HUNG, header

journal = Journal.open(Path(sys.argv[1]), header())
for size in (1, 8):
    entry = inference("gru", "torch", size, 0.01)
    journal.began(entry["fullname"])
    journal.finished(entry)
journal.began(HUNG)
print("hangs", flush=True)
time.sleep(600)
"""

WRITE_AND_STICK = """
import hashlib, sys
from pathlib import Path
from rnncore.measure import timeout
from rnncore.runfile.journal import Journal
from tests.run_files import inference
from tests.runfile.test_journal import HUNG, header

journal = Journal.open(Path(sys.argv[1]), header())
journal.finished(inference("gru", "torch", 1, 0.01))
journal.began(HUNG)
timeout.GRACE_S = 0.3
with timeout.case_timeout(0.5, lambda: journal.failed(HUNG, "timed out", "stuck")):
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
"""

needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only Linux tells when a process started")


def header(**changed: Any) -> dict[str, Any]:
    """What the plugin knows when a session starts."""
    content = run_content([])
    del content["benchmarks"]
    content["rnncore"] = {**content["rnncore"], "data": None, "skipped": []}
    return {**content, "machine_id": get_machine_id(), **changed}


@pytest.fixture(scope="module")
def ended_pid() -> int:
    """Return the number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    return process.pid


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / ".benchmarks" / "journal"


OpenJournal = Callable[..., Journal]


@pytest.fixture
def open_journal(folder: Path, ended_pid: int) -> Iterator[OpenJournal]:
    """Return a function that opens a journal as a process that has ended since."""
    journals = []

    def new(**changed: Any) -> Journal:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "getpid", lambda: ended_pid)
            journals.append(Journal.open(folder, header(**changed)))
        return journals[-1]

    yield new
    for journal in journals:
        journal.close()


def _measure(journal: Journal, *entries: dict[str, Any]) -> None:
    for entry in entries:
        journal.began(entry["fullname"])
        journal.finished(entry)


@contextmanager
def _process_that_hangs(folder: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", WRITE_AND_HANG, str(folder)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "hangs\n"
            yield process
        finally:
            process.kill()


# ------------------------------------------------------------------------------------------------------------- writing


def test_a_line_is_in_the_file_as_soon_as_the_method_returns(open_journal: OpenJournal) -> None:
    journal = open_journal()
    assert len(journal.path.read_bytes().splitlines()) == 1
    journal.began("a.py::test_a")
    assert journal.path.read_bytes().endswith(b'{"event": "began", "fullname": "a.py::test_a"}\n')


def test_a_journal_is_named_by_time_and_process(open_journal: OpenJournal, folder: Path, ended_pid: int) -> None:
    first, second = open_journal(), open_journal()
    assert sorted(folder.iterdir()) == [first.path, second.path]
    assert first.path.stem.endswith(f"Z-{ended_pid}")
    assert json.loads(first.path.read_bytes().splitlines()[0])["pid"] == ended_pid


def test_a_discarded_journal_is_gone_and_a_closed_one_is_kept(open_journal: OpenJournal, folder: Path) -> None:
    open_journal().discard()
    kept = open_journal()
    kept.close()
    assert list(folder.iterdir()) == [kept.path]


def test_a_header_that_would_make_no_run_file_is_refused_before_anything_is_measured(folder: Path) -> None:
    incomplete = header()
    del incomplete["machine_info"], incomplete["version"]
    with pytest.raises(ValueError, match="lacks machine_info, version; give machine_info, commit_info"):
        Journal.open(folder, incomplete)
    assert not folder.exists()


def test_a_line_that_the_disk_takes_half_of_does_not_spoil_the_next(
    open_journal: OpenJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FullDisk:
        """Takes ten bytes, and then no more."""

        def __init__(self, file: Any) -> None:
            self._file = file
            self._left = 10

        def write(self, line: memoryview) -> int:
            if not self._left:
                raise OSError(28, "No space left on device")
            written, self._left = self._left, 0
            self._file.write(line[:written])
            return written

        def __getattr__(self, name: str) -> Any:
            return getattr(self._file, name)

    journal = open_journal()
    with monkeypatch.context() as patch:
        patch.setattr(journal, "_file", FullDisk(journal._file))
        with pytest.raises(OSError, match="No space left"):
            journal.began("a.py::test_lost")
    _measure(journal, inference("gru", "torch", 1, 0.01))
    assert recover(journal.path).finished == 1


# ---------------------------------------------------------------------------------------------------------- recovering


def test_a_killed_process_loses_nothing_finished_and_what_it_died_of_is_named(folder: Path) -> None:
    with _process_that_hangs(folder) as process:
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=30)
    recovered = recover(newest_journal(folder))
    assert recovered.path.parent == folder.parent / get_machine_id()
    assert recovered.path.name == "0001_recovered_20261122_181817.json"
    assert (recovered.finished, recovered.failed) == (2, ((HUNG, "died"),))
    run = read_run(recovered.path)
    assert [record.facts["batch_size"] for record in run.records] == [1, 8]
    assert run.records[0].rounds_s == tuple(inference("gru", "torch", 1, 0.01)["stats"]["data"])
    assert content_of(recovered.path)["rnncore"]["failed"] == [
        {
            "fullname": HUNG,
            "outcome": "died",
            "reason": "the process ended while this benchmark ran (killed, out of memory or crashed)",
        }
    ]


def test_a_benchmark_that_is_stuck_in_a_native_call_is_journaled_before_the_process_ends(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WRITE_AND_STICK, str(folder)], cwd=REPOSITORY, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 124, done.stderr
    recovered = recover(newest_journal(folder))
    assert (recovered.finished, recovered.failed) == (1, ((HUNG, "timed out"),))


def test_a_recovered_run_file_holds_the_session_as_an_ordinary_one_does(open_journal: OpenJournal) -> None:
    journal = open_journal()
    _measure(journal, training("gru", 2.2))
    written = recover(journal.path).path
    # It only says which folder the run file goes to.
    expected = header()
    del expected["machine_id"]
    assert content_of(written) == {
        **expected,
        "benchmarks": [training("gru", 2.2)],
        "rnncore": {**header()["rnncore"], "failed": []},
    }


def test_facts_skips_and_failures_go_into_the_session(open_journal: OpenJournal) -> None:
    journal = open_journal()
    journal.facts(data={"name": "synthetic", "digest": "0"}, ceilings={"cpu": 1.0})
    journal.began("b.py::test_skipped")
    journal.skipped("b.py::test_skipped", "no CUDA device")
    for outcome in ("error", "out of memory", "timed out"):
        journal.began(f"b.py::test[{outcome}]")
        journal.failed(f"b.py::test[{outcome}]", outcome, "why")
    _measure(journal, inference("lstm", "torch", 1, 0.01))
    overhead = {"wall_s": 3.0, "timed_s": 2.0, "overhead_s": 1.0, "parts_s": {}}
    journal.facts(ceilings={"cpu": 2.0}, overhead=overhead)
    recovered = recover(journal.path)
    run, content = read_run(recovered.path), content_of(recovered.path)
    session = content["rnncore"]
    assert run.data == {"name": "synthetic", "digest": "0"}
    assert content["machine_info"] == header()["machine_info"]
    assert run.ceilings == session["ceilings"] == {"cpu": 2.0}
    assert session["overhead"] == overhead
    assert run.skipped == (("b.py::test_skipped", "no CUDA device"),)
    assert recovered.failed == tuple((f"b.py::test[{name}]", name) for name in ("error", "out of memory", "timed out"))
    assert [entry["reason"] for entry in session["failed"]] == ["why"] * 3


def test_of_a_benchmark_that_is_begun_again_the_last_attempt_alone_counts(open_journal: OpenJournal) -> None:
    journal = open_journal()
    wrong, right = (inference("gru", "torch", 1, seconds) for seconds in (0.5, 0.01))
    died, skipped = inference("gru", "torch", 8, 0.02), inference("gru", "torch", 64, 0.03)
    for entry in (wrong, died, skipped):
        _measure(journal, entry)
    journal.began(wrong["fullname"])
    journal.failed(wrong["fullname"], "error", "ValueError: of the second attempt")
    _measure(journal, right)
    journal.began(skipped["fullname"])
    journal.skipped(skipped["fullname"], "no more room")
    journal.began(died["fullname"])
    recovered = recover(journal.path)
    run = read_run(recovered.path)
    assert [(record.fullname, record.rounds_s) for record in run.records] == [
        (right["fullname"], tuple(right["stats"]["data"]))
    ]
    assert recovered.failed == ((died["fullname"], "died"),)
    assert [name for name, _ in run.skipped] == [skipped["fullname"]]


def test_floats_come_back_to_the_last_bit_and_what_is_not_json_does_not_lose_a_result(open_journal: OpenJournal) -> None:
    journal = open_journal()
    rounds_s = [0.1 + 0.2, 2**-35 / 3, math.pi * 1e-7]
    extra = {
        "nan": math.nan,
        "least": 5e-324,
        "inf": -math.inf,
        "path": Path("a"),
        "single": np.float32(1.5),
        "double": np.float64(0.1),
    }
    entry = inference("gru", "torch", 1, 0.01, **extra)
    entry["stats"]["data"] = rounds_s
    _measure(journal, entry)
    (record,) = read_run(recover(journal.path).path).records
    assert record.rounds_s == tuple(rounds_s)
    assert math.isnan(record.facts["nan"])
    assert (record.facts["inf"], record.facts["least"], record.facts["double"]) == (-math.inf, 5e-324, 0.1)
    # As pytest-benchmark saves them.
    assert record.facts["path"] == f"UNSERIALIZABLE[{Path('a')!r}]"
    assert record.facts["single"].startswith("UNSERIALIZABLE[")


@pytest.mark.parametrize("tail", [b'{"event": "finished", "ent', b"\0\0\0\0\n", b"\xff\xfe{", b"[" * 100_000])
def test_a_last_line_that_broke_off_is_left_out(tail: bytes, open_journal: OpenJournal) -> None:
    journal = open_journal()
    _measure(journal, inference("gru", "torch", 1, 0.01))
    journal.began(HUNG)
    with journal.path.open("ab") as file:
        file.write(tail)
    recovered = recover(journal.path)
    assert (recovered.finished, recovered.failed) == (1, ((HUNG, "died"),))


@pytest.mark.parametrize("line", [b"{", b'{"event": "exploded"}', b'{"event": "began"}', b"7", b"[" * 100_000])
def test_a_garbled_line_elsewhere_is_refused_with_file_and_number(line: bytes, open_journal: OpenJournal) -> None:
    journal = open_journal()
    _measure(journal, inference("gru", "torch", 1, 0.01))
    with journal.path.open("ab") as file:
        file.write(line + b"\n")
    journal.began(HUNG)
    with pytest.raises(RunFileError, match=rf"{journal.path.name}:4: garbled .*take this line out"):
        recover(journal.path)
    assert journal.path.exists()


@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b"", b'{"jour', b'{"journal": 2, "pid": 1, "header": {}}\n', b"[]\n", b"null\n{}\n"]
)
def test_a_file_that_is_no_journal_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    with pytest.raises(RunFileError, match=r"a\.jsonl:1: not the first line of a journal of this version"):
        recover(path)
    assert path.exists()


def test_a_missing_journal_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunFileError, match=r"no\.jsonl: cannot be read \(No such file or directory\)\. Give a \.jsonl"):
        recover(tmp_path / "no.jsonl")


def test_without_a_finished_benchmark_there_is_nothing_to_write_and_the_journal_stays(
    open_journal: OpenJournal, tmp_path: Path
) -> None:
    journal = open_journal()
    journal.began("a.py::test_big")
    journal.failed("a.py::test_big", "out of memory", "needs 9 TB")
    journal.began(HUNG)
    with pytest.raises(RunFileError) as caught:
        recover(journal.path)
    said = str(caught.value)
    assert "no benchmark was finished" in said
    assert "out of memory: a.py::test_big" in said
    assert f"died: {HUNG}" in said
    assert journal.path.exists()
    assert not list(tmp_path.rglob("*.json"))


def test_what_was_recorded_with_half_a_character_is_recovered_with_its_escape(open_journal: OpenJournal) -> None:
    journal = open_journal()
    _measure(journal, {**inference("gru", "torch", 1, 0.01), "fullname": "test_\ud800"})
    path = recover(journal.path).path
    assert json.loads(path.read_text(encoding="utf-8"))["benchmarks"][0]["fullname"] == r"test_\ud800"
    assert [record.fullname for record in read_run(path).records] == [r"test_\ud800"]


def test_numbers_go_on_from_those_that_are_there(open_journal: OpenJournal, folder: Path) -> None:
    journals = [open_journal(machine_id="Made-Machine") for _ in range(2)]
    saved = folder.parent / "Made-Machine"
    saved.mkdir()
    (saved / "0003_128f4f7.json").write_text("{}")
    for journal in journals:
        _measure(journal, inference("gru", "torch", 1, 0.01))
    names = [recover(journal.path).path.relative_to(folder.parent.resolve()).as_posix() for journal in journals]
    assert names == [f"Made-Machine/000{number}_recovered_20261122_181817.json" for number in (4, 5)]


def test_the_journal_goes_when_the_run_file_is_there_and_not_before(
    open_journal: OpenJournal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(path: Path, text: str) -> None:
        raise OSError(28, "No space left on device")

    journal = open_journal()
    _measure(journal, inference("gru", "torch", 1, 0.01))
    with monkeypatch.context() as patch:
        patch.setattr("rnncore.runfile.journal.write_text", no_space)
        with pytest.raises(OSError, match="No space left"):
            recover(journal.path)
    assert journal.path.exists()
    out = tmp_path / "mine.json"
    assert recover(journal.path, out) == Recovered(out, 1, ())
    assert not journal.path.exists()


def test_an_earlier_run_file_is_never_replaced(open_journal: OpenJournal, tmp_path: Path) -> None:
    journal = open_journal()
    _measure(journal, inference("gru", "torch", 1, 0.01))
    out = tmp_path / "mine.json"
    out.write_text("measured")
    with pytest.raises(ConfigError, match=r"mine\.json exists already and is left as it is"):
        recover(journal.path, out)
    assert out.read_text() == "measured"
    assert journal.path.exists()


# ------------------------------------------------------------------------------------------------------------- finding


def test_journals_are_found_newest_last(open_journal: OpenJournal, folder: Path) -> None:
    paths = [open_journal().path for _ in range(3)]
    (folder / "notes.txt").write_text("not a journal")
    assert find_journals(folder) == paths
    assert newest_journal(folder) == paths[-1]


def test_the_journal_of_a_process_that_still_runs_is_left_alone(folder: Path) -> None:
    with _process_that_hangs(folder) as process:
        (path,) = folder.iterdir()
        assert find_journals(folder) == []
        with pytest.raises(RunFileError, match=r"its session still runs\. Wait for its end, or end it"):
            recover(path)
        process.kill()
        process.wait(timeout=30)
        assert find_journals(folder) == [path]


@needs_proc
def test_a_killed_process_that_nobody_has_waited_for_counts_as_ended(folder: Path) -> None:
    with _process_that_hangs(folder) as process:
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert len(find_journals(folder)) == 1


@needs_proc
def test_a_later_process_with_the_same_number_does_not_keep_a_journal(folder: Path) -> None:
    journal = Journal.open(folder, header())
    journal.close()
    assert find_journals(folder) == []
    first, rest = journal.path.read_bytes().split(b"\n", 1)
    earlier = {**json.loads(first), "process_start_ticks": 1}
    journal.path.write_bytes(json.dumps(earlier).encode() + b"\n" + rest)
    assert find_journals(folder) == [journal.path]


def test_a_journal_from_a_system_without_start_times_goes_by_the_number_alone(folder: Path, ended_pid: int) -> None:
    folder.mkdir(parents=True)
    for pid in (os.getpid(), ended_pid):
        first = {"journal": 1, "pid": pid, "process_start_ticks": None, "header": header()}
        (folder / f"20260101T000000.000000Z-{pid}.jsonl").write_text(json.dumps(first) + "\n")
    assert [path.stem.split("-")[1] for path in find_journals(folder)] == [str(ended_pid)]


# ---------------------------------------------------------------------------------------------------------- command


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run `rnncore recover` in the folder that holds `.benchmarks`; return exit code, standard output and error."""

    def run(*args: object) -> tuple[int, str, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["rnncore", "recover", *map(str, args)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return int(stop.value.code or 0), *capsys.readouterr()

    return run


Command = Callable[..., tuple[int, str, str]]


def test_the_command_recovers_the_newest_journal_and_names_what_failed(
    command: Command, open_journal: OpenJournal, folder: Path
) -> None:
    older, newer = open_journal(), open_journal()
    _measure(older, inference("gru", "torch", 1, 0.01))
    _measure(newer, inference("gru", "torch", 1, 0.01), inference("gru", "torch", 8, 0.01))
    newer.failed("a.py::test_slow", "timed out", "took longer than 5 s (--rnn-case-timeout)")
    newer.began(HUNG)
    code, out, err = command()
    path = folder.parent.resolve() / get_machine_id() / "0001_recovered_20261122_181817.json"
    assert (code, err) == (0, "")
    assert out == f"{path}: 2 benchmarks recovered\ntimed out: a.py::test_slow\ndied: {HUNG}\n"
    assert len(read_run(path).records) == 2
    assert find_journals(folder) == [older.path]


def test_the_command_takes_a_journal_and_a_file_to_write(
    command: Command, open_journal: OpenJournal, tmp_path: Path
) -> None:
    first, _ = open_journal(), open_journal()
    _measure(first, inference("gru", "torch", 1, 0.01))
    out = tmp_path / "mine.json"
    assert command(first.path, "--out", out) == (0, f"{out}: 1 benchmark recovered\n", "")
    assert len(read_run(out).records) == 1


def test_the_command_says_where_it_looked_when_there_is_nothing(command: Command) -> None:
    code, out, err = command()
    assert (code, out) == (2, "")
    assert f"nothing to recover: {Path('.benchmarks/journal')} holds no journal of a session that has ended" in err


def test_the_command_refuses_a_name_that_is_not_json(command: Command, open_journal: OpenJournal) -> None:
    journal = open_journal()
    _measure(journal, inference("gru", "torch", 1, 0.01))
    code, _, err = command("--out", "mine.txt")
    assert code == 2
    assert "give a file name that ends in .json" in err
    assert journal.path.exists()


def test_the_journal_is_read_without_heavy_packages() -> None:
    code = (
        "import sys, rnncore.runfile.journal, rnncore.measure.timeout\n"
        "print([name for name in ('torch', 'numpy', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"commit_info": 3}, "header.commit_info is 3, and must be an object"),
        ({"commit_info": None}, "header.commit_info is null, and must be an object"),
        ({"rnncore": []}, "header.rnncore is a list of 0, and must be an object"),
        ({"rnncore": {"skipped": 3}}, "header.rnncore.skipped is 3, and must be a list"),
        ({"rnncore": {"fingerprint": "x"}}, "header.rnncore.fingerprint is 'x', and must be an object"),
        ({"datetime": "yesterday"}, "header.datetime is 'yesterday', and must be a time in ISO 8601"),
        ({"machine_id": "../../elsewhere"}, "header.machine_id is '../../elsewhere', and must be the name of a folder"),
    ],
    ids=str,
)
@pytest.mark.parametrize("read", [recover, finished_before])
def test_a_header_of_other_types_is_refused_by_name(
    read: Callable[[Path], object], changed: dict[str, Any], said: str, open_journal: OpenJournal
) -> None:
    journal = open_journal()
    _measure(journal, training("gru", 2.2))
    first, *others = journal.path.read_text(encoding="utf-8").splitlines(keepends=True)
    content = json.loads(first)
    content["header"] |= changed
    journal.path.write_text("".join([json.dumps(content) + "\n", *others]), encoding="utf-8")
    with pytest.raises(RunFileError, match=re.escape(said)):
        read(journal.path)
    assert journal.path.exists()


@pytest.mark.parametrize("read", [recover, finished_before])
def test_an_entry_of_other_types_is_refused_by_name(read: Callable[[Path], object], open_journal: OpenJournal) -> None:
    journal = open_journal()
    _measure(journal, {**training("gru", 2.2), "extra_info": 3})
    with pytest.raises(RunFileError, match=r"benchmarks\[0\].extra_info is 3, and must be an object"):
        read(journal.path)

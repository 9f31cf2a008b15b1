"""Tests of fetching the PJM files, against a server of this process: whole and right, or not at all."""

import hashlib
import re
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from rnncore.errors import DataError
from rnncore.forecast import pjm as pjm_module
from rnncore.forecast.pjm import PJM_FILES, fetch_pjm, is_complete

CONTENT = {f"{name}_hourly.csv": f"Datetime,{name}_MW\n2018-01-01 00:00:00,1.0\n".encode() * 50 for name in "ABCD"}
ZONES = "AEP COMED DAYTON DEOK DOM DUQ EKPC FE NI PJME PJMW PJM_Load"


@dataclass
class Source:
    """A server of small files, and how often each was asked for."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=lambda: dict(CONTENT))
    cut: set[str] = field(default_factory=set)
    requests: Counter[str] = field(default_factory=Counter)


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> Iterator[Source]:
    source = Source()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.removeprefix("/files/")
            source.requests[name] += 1
            content = source.files.get(name)
            if content is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if name in source.cut else content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        source.url = f"http://127.0.0.1:{server.server_port}/files/"
        monkeypatch.setattr(pjm_module, "PJM_FILES", {name: _sha256(content) for name, content in CONTENT.items()})
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield source
        server.shutdown()
        thread.join()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _held(folder: Path) -> dict[str, bytes]:
    """Return every file below the folder, hidden and temporary ones too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_registry_names_the_twelve_zones_with_a_digest_each() -> None:
    assert list(PJM_FILES) == [f"{zone}_hourly.csv" for zone in ZONES.split()]
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in PJM_FILES.values())
    assert len(set(PJM_FILES.values())) == 12


def test_all_files_are_downloaded_whole_and_nothing_else_is_left(source: Source, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "pjm"
    reported: list[tuple[str, bool]] = []
    fetch_pjm(folder, source.url, lambda name, downloaded: reported.append((name, downloaded)))
    assert _held(folder) == CONTENT
    assert reported == [(name, True) for name in CONTENT]
    assert source.requests == Counter(CONTENT.keys())


def test_a_base_url_without_its_last_slash_is_the_same(source: Source, tmp_path: Path) -> None:
    fetch_pjm(tmp_path, source.url.rstrip("/"))
    assert _held(tmp_path) == CONTENT


def test_right_files_are_kept_and_not_asked_for_again(source: Source, tmp_path: Path) -> None:
    fetch_pjm(tmp_path, source.url)
    (tmp_path / "B_hourly.csv").unlink()
    reported: dict[str, bool] = {}
    fetch_pjm(tmp_path, source.url, reported.__setitem__)
    assert reported == {name: name == "B_hourly.csv" for name in CONTENT}
    assert source.requests == Counter(CONTENT.keys()) + Counter(["B_hourly.csv"])
    assert _held(tmp_path) == CONTENT


def test_a_wrong_file_in_the_folder_is_replaced(source: Source, tmp_path: Path) -> None:
    (tmp_path / "C_hourly.csv").write_bytes(CONTENT["C_hourly.csv"][:-1])
    fetch_pjm(tmp_path, source.url)
    assert _held(tmp_path) == CONTENT


def test_a_wrong_digest_is_an_error_and_the_file_is_not_left_behind(source: Source, tmp_path: Path) -> None:
    source.files["B_hourly.csv"] += b"one more row\n"
    with pytest.raises(DataError, match=r"B_hourly\.csv: the file's SHA-256 is not [0-9a-f]{64}.*--mirror") as caught:
        fetch_pjm(tmp_path, source.url)
    assert str(caught.value).startswith(source.url)
    assert _held(tmp_path) == {"A_hourly.csv": CONTENT["A_hourly.csv"]}


def test_a_missing_file_is_an_error_that_names_the_mirror_and_keeps_what_was_fetched(source: Source, tmp_path: Path) -> None:
    missing = source.files.pop("C_hourly.csv")
    with pytest.raises(DataError, match=r"C_hourly\.csv: download failed \(404.*Files fetched before stay.*--mirror"):
        fetch_pjm(tmp_path, source.url)
    assert _held(tmp_path) == {name: CONTENT[name] for name in ("A_hourly.csv", "B_hourly.csv")}

    source.files["C_hourly.csv"] = missing
    fetch_pjm(tmp_path, source.url)
    assert _held(tmp_path) == CONTENT
    assert source.requests["A_hourly.csv"] == 1


def test_a_download_that_is_cut_leaves_nothing_of_its_file(source: Source, tmp_path: Path) -> None:
    source.cut.add("B_hourly.csv")
    with pytest.raises(DataError, match=r"B_hourly\.csv: .*--mirror"):
        fetch_pjm(tmp_path, source.url)
    assert _held(tmp_path) == {"A_hourly.csv": CONTENT["A_hourly.csv"]}


def test_a_server_that_is_not_there_is_a_data_error(source: Source, tmp_path: Path) -> None:
    # Port 9, "discard", is served by nobody.
    with pytest.raises(DataError, match=r"A_hourly\.csv: download failed .*--mirror"):
        fetch_pjm(tmp_path, "http://127.0.0.1:9/")
    assert _held(tmp_path) == {}
    assert not source.requests


def test_a_folder_is_complete_when_all_names_are_there(tmp_path: Path) -> None:
    assert not is_complete(tmp_path / "gone")
    for name in PJM_FILES:
        assert not is_complete(tmp_path)
        (tmp_path / name).write_text("")
    assert is_complete(tmp_path)


def test_the_real_files_have_the_digests_of_the_registry(pjm: Path) -> None:
    assert {name: _sha256((pjm / name).read_bytes()) for name in PJM_FILES} == PJM_FILES

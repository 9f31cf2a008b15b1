"""Tests of where loads come from: the PJM files, fetched from a server of this process, and data sets by name or path."""

import hashlib
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from rnncore.errors import DataError
from rnncore.forecast import sources as sources_module
from rnncore.forecast.series import Dataset
from rnncore.forecast.sources import DATA_ENV, PJM_FILES, fetch_pjm, is_complete, open_dataset, read_dataset

CONTENT = {f"{name}_hourly.csv": f"Datetime,{name}_MW\n2018-01-01 00:00:00,1.0\n".encode() * 50 for name in "ABCD"}
DAY = "Datetime,AEP_MW\n" + "".join(f"2018-03-01 {hour:02}:00:00,{100 + hour}\n" for hour in range(24))
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
        monkeypatch.setattr(sources_module, "PJM_FILES", {name: _sha256(content) for name, content in CONTENT.items()})
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


# Which data set is opened


def test_a_file_is_a_data_set_of_one_zone_under_its_name(write_csv: Callable[..., Path]) -> None:
    dataset = open_dataset(write_csv(DAY, "my_zone.csv"))
    assert dataset.name == "my_zone"
    assert [series.name for series in dataset.series] == ["AEP"]


def test_a_folder_is_a_data_set_of_its_csv_files_in_order_of_file_name(
    write_csv: Callable[..., Path], tmp_path: Path
) -> None:
    for file, zone in (("b", "ONE"), ("c", "TWO"), ("a", "THREE")):
        write_csv(DAY.replace("AEP_MW", f"{zone}_MW"), f"mine/{file}.csv")
    write_csv("not a series", "mine/README.md")
    dataset = open_dataset(str(tmp_path / "mine"))
    assert dataset.name == "mine"
    assert [series.name for series in dataset.series] == ["THREE", "ONE", "TWO"]


def test_files_that_share_a_header_are_named_by_file_and_this_is_said(
    write_csv: Callable[..., Path], tmp_path: Path
) -> None:
    for name in ("a", "b"):
        write_csv(DAY, f"{name}.csv")
    write_csv(DAY.replace("AEP", "DOM"), "c.csv")
    dataset, readings = read_dataset(tmp_path)
    assert [series.name for series in dataset.series] == ["a", "b", "DOM"]
    assert [reading.found for reading in readings] == [
        *[("named after the file, as 'AEP' is in others too",)] * 2,
        (),
    ]


def test_two_zones_of_one_name_are_refused(write_csv: Callable[..., Path], tmp_path: Path) -> None:
    write_csv(DAY, "a.csv")
    write_csv(DAY, "a.tsv")
    with pytest.raises(DataError, match=r"two zones are called 'a'.*its own column name") as caught:
        open_dataset(tmp_path)
    assert str(caught.value).startswith(str(tmp_path))


def test_a_folder_without_files_that_are_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the folder holds no \.csv, .*\.parquet file\. Put one hourly file per zone there"):
        open_dataset(tmp_path)


def test_a_bad_file_within_a_folder_is_named(write_csv: Callable[..., Path], tmp_path: Path) -> None:
    write_csv(DAY, "a.csv")
    path = write_csv(DAY.replace("2018-03-01 01:00:00,101", "x,1"), "b.csv")
    with pytest.raises(DataError) as caught:
        open_dataset(tmp_path)
    assert str(caught.value).startswith(f"{path}, line 3: ")


def test_a_path_that_is_not_there_is_named_with_what_may_be_given(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone: no such file or folder\. Give a CSV file, a folder .*'rnncore data fetch'"):
        open_dataset(tmp_path / "gone")


@pytest.fixture
def _fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in a folder whose data/pjm holds files with the twelve names."""
    folder = tmp_path / "data" / "pjm"
    folder.mkdir(parents=True)
    for name in PJM_FILES:
        (folder / name).write_text(DAY.replace("AEP_MW", f"{name.removesuffix('_hourly.csv')}_MW"))
    monkeypatch.chdir(tmp_path)


def _synthetic_stands_in(monkeypatch: pytest.MonkeyPatch, dataset: Dataset) -> None:
    monkeypatch.setattr("rnncore.forecast.sources.synthetic_dataset", lambda: dataset)


@pytest.mark.usefixtures("_fetched")
def test_the_environment_variable_comes_first(monkeypatch: pytest.MonkeyPatch, write_csv: Callable[..., Path]) -> None:
    monkeypatch.setenv(DATA_ENV, str(write_csv(DAY, "mine.csv")))
    assert open_dataset().name == "mine"


@pytest.mark.usefixtures("_fetched")
def test_the_environment_variable_may_ask_for_synthetic_data(
    monkeypatch: pytest.MonkeyPatch, small_dataset: Dataset
) -> None:
    _synthetic_stands_in(monkeypatch, small_dataset)
    monkeypatch.setenv(DATA_ENV, "synthetic")
    assert open_dataset() is small_dataset


@pytest.mark.usefixtures("_fetched")
def test_fetched_pjm_files_come_second() -> None:
    dataset = open_dataset()
    assert dataset.name == "pjm"
    assert [f"{series.name}_hourly.csv" for series in dataset.series] == sorted(PJM_FILES)


@pytest.mark.usefixtures("_fetched")
def test_an_incomplete_fetch_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, small_dataset: Dataset) -> None:
    (tmp_path / "data" / "pjm" / "NI_hourly.csv").unlink()
    _synthetic_stands_in(monkeypatch, small_dataset)
    assert open_dataset() is small_dataset


def test_synthetic_data_come_last(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, small_dataset: Dataset) -> None:
    monkeypatch.chdir(tmp_path)
    _synthetic_stands_in(monkeypatch, small_dataset)
    assert open_dataset() is small_dataset


@pytest.mark.usefixtures("_fetched")
def test_a_location_that_is_given_wins_over_everything(
    monkeypatch: pytest.MonkeyPatch, write_csv: Callable[..., Path]
) -> None:
    monkeypatch.setenv(DATA_ENV, "synthetic")
    assert open_dataset(write_csv(DAY, "given.csv")).name == "given"


def test_a_variable_that_points_nowhere_is_an_error_and_not_passed_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(DATA_ENV, str(tmp_path / "gone"))
    with pytest.raises(DataError, match=r"gone \(from RNNCORE_DATA\): no such file or folder"):
        open_dataset()

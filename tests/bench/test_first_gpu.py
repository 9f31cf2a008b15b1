"""Tests of what is to be run first on a GPU: it goes on where it was interrupted, and names what is far from expected."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.studies import first_gpu
from bench.studies.first_gpu import EXPECTED, PROBED, Ended, Stage, page, parts, probe, run, stages, write_few_hours
from rnncore.errors import Unavailable
from rnncore.forecast.sources import open_dataset
from rnncore.forecast.windows import WindowConfig, make_windows

COUNTING = "import sys; open(sys.argv[1], 'a', encoding='utf-8').write('x'); sys.exit(int(sys.argv[2]))"


def _probed(folder: Path, *found: dict[str, object]) -> None:
    (folder / PROBED).write_text("".join(json.dumps(one) + "\n" for one in found), encoding="utf-8")


def _row(text: str, name: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith(f"| {name} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.parametrize(
    ("value", "off"), [(4.0, "1.0x"), (9.9, "2.0x"), (10.2, "**2.0x**"), (50.0, "**10.0x**"), (1.0, "**3.0x**")]
)
def test_a_figure_far_outside_of_what_is_expected_is_named(value: float, off: str, tmp_path: Path) -> None:
    assert EXPECTED["forward gru fp32 b1024"] == (3.0, 5.0)
    _probed(tmp_path, {"name": "forward gru fp32 b1024", "value": value, "kernel": "cuDNN standard", "verdict": "valid"})
    text = page(tmp_path, {"probe": Ended(0, 3.0)})
    assert _row(text, "forward gru fp32 b1024")[2:] == ["3–5", off, "cuDNN standard", "valid"]
    assert f"{int(off.startswith('*'))} of 1 figures" in text


def test_what_is_wrong_failed_or_took_too_long_is_told(tmp_path: Path) -> None:
    _probed(
        tmp_path,
        {"name": "copy", "error": "RuntimeError: made"},
        {"name": "step", "value": 1.0, "verdict": "outputs differ"},
    )
    text = page(tmp_path, {"tests": Ended(1, 2.0), "probe": Ended(None, 60.0)})
    assert "2 parts are wrong or failed" in text
    assert _row(text, "tests")[1:] == ["exit code 1", "2"]
    assert _row(text, "probe")[1:] == ["took too long", "60"]
    assert _row(text, "copy")[-1] == "RuntimeError: made"


@pytest.mark.parametrize(("name", "said"), [("emulated GPU", True), ("NVIDIA H100", False)])
def test_a_rehearsal_says_that_it_is_none_of_a_gpu(name: str, said: bool, tmp_path: Path) -> None:
    _probed(tmp_path, {"name": "machine", "gpu": {"name": name}}, {"name": "copy", "value": 1e-3})
    assert ("0 of 0 figures" in page(tmp_path, {})) is said
    assert ("No figure here is a measurement" in page(tmp_path, {})) is said


def test_a_stage_has_its_output_in_its_log_and_a_limit(tmp_path: Path) -> None:
    said = run(Stage("said", ("-c", "print('a word'); raise SystemExit(3)"), 1.0), tmp_path, 60)
    assert said.code == 3
    assert (tmp_path / "said.log").read_text(encoding="utf-8") == "a word\n"
    assert run(Stage("slow", ("-c", "import time; time.sleep(60)"), 1.0), tmp_path, 0.2).code is None


def test_stages_that_ended_well_are_not_run_again_unless_they_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = {name: tmp_path / name for name in ("well", "badly")}
    for file in counts.values():
        file.write_text("", encoding="utf-8")
    made = [Stage(name, ("-c", COUNTING, str(file), str(int(name == "badly"))), 1.0) for name, file in counts.items()]
    monkeypatch.setattr(first_gpu, "stages", lambda folder, small: made)
    for arguments, code in (([], 1), ([], 1), (["--only", "well"], 1)):
        monkeypatch.setattr(sys, "argv", ["first_gpu.py", str(tmp_path / "out"), *arguments])
        assert first_gpu.main() == code
    assert {name: file.read_text(encoding="utf-8") for name, file in counts.items()} == {"well": "xx", "badly": "xx"}
    assert "exit code 1" in (tmp_path / "out/page.md").read_text(encoding="utf-8")


def test_a_stage_that_there_is_not_is_refused_with_those_that_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["first_gpu.py", str(tmp_path / "out"), "--only", "suite"])
    with pytest.raises(SystemExit):
        first_gpu.main()
    assert "--only suite: no such stage; give one of tests, probe, suites, reproduction." in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_probe_goes_on_after_what_it_had_measured_and_tries_again_what_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[str] = []
    broken = {"second"}

    def made(small: bool) -> Iterator[tuple[str, object]]:
        for name in ("first", "second", "third"):

            def measure(name: str = name) -> dict[str, object]:
                measured.append(name)
                if name in broken:
                    raise Unavailable("no such thing. Try another.")
                return {"value": 1.0}

            yield name, measure

    monkeypatch.setattr(first_gpu, "parts", made)
    assert probe(tmp_path, small=True) == 1
    # The last line as an interruption leaves it.
    with (tmp_path / PROBED).open("a", encoding="utf-8") as file:
        file.write('{"name": "thi\n')
    broken.clear()
    assert probe(tmp_path, small=True) == 0
    assert measured == ["first", "second", "third", "second"]
    assert [one["name"] for one in first_gpu._probed(tmp_path)] == ["first", "second", "third", "second"]
    assert "0 parts are wrong or failed" in page(tmp_path, {})


def test_every_expectation_is_of_a_part_that_is_measured() -> None:
    assert {name for name, _ in parts(small=False)} >= set(EXPECTED)


def test_a_rehearsal_has_hours_enough_for_a_training_and_its_baselines(tmp_path: Path) -> None:
    write_few_hours(tmp_path / "few.csv")
    windows = make_windows(open_dataset(tmp_path / "few.csv"), WindowConfig())
    assert len(windows.train_start) >= 1024
    assert windows.test_start.min() + windows.config.lookback >= 3840


def test_the_stages_are_of_files_that_there_are(tmp_path: Path) -> None:
    named = [word for stage in stages(tmp_path, small=False) for word in stage.command if word.endswith(".py")]
    assert named
    assert all((first_gpu.REPOSITORY / word).is_file() for word in named)

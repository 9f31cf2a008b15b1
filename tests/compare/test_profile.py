"""Tests of reading profiles: the operation that grew is named with its sign and amount, in text and in JSON."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rnncore.compare.profile import OpChange, difference, explain, profile_of, signed_time
from rnncore.errors import RunFileError
from rnncore.runfile.read import read_run
from rnncore.runfile.record import Record
from rnncore.runtimes.base import KINDS
from tests.command import Command
from tests.run_files import inference, make_run, run_content

MS = 1e-3
GEMM, INPUT, COPY = "recurrent GEMM", "input GEMM", "copies and layout"
LOOP = {"aten::addmm": 40.0, "aten::copy_": 10.0, "outside ops": 5.0}
KIND = {"aten::addmm": GEMM, "aten::copy_": COPY, "outside ops": "framework overhead"}


def _profile(ops_ms: dict[str, float], wall_ms: float | None = None, **facts: Any) -> dict[str, Any]:
    """Return a profile of these operations, longest first."""
    whole_ms = sum(ops_ms.values()) if wall_ms is None else wall_ms
    ops = [
        {
            "op": name,
            "where": "host" if name == "outside ops" else "cpu",
            "shapes": "[768] [32, 256] [256, 768]" if name == "aten::addmm" else "",
            "category": KIND.get(name, "other"),
            "calls": 180.0,
            "self_s": value * MS,
        }
        for name, value in sorted(ops_ms.items(), key=lambda op: -op[1])
    ]
    shares = {name: sum(100 * op["self_s"] / MS / whole_ms for op in ops if op["category"] == name) for name in KINDS}
    return {"wall_s": whole_ms * MS, "shares_pct": shares, "ops": ops, "trace": "traces/row.json", **facts}


def _benchmark(cell: str = "gru", profile: dict[str, Any] | None = None, kernel: str = "ATen loop") -> dict[str, Any]:
    return inference(cell, "torch", 32, 50 * MS, kernel=kernel, **({"profile": profile} if profile else {}))


def _record(profile: dict[str, Any]) -> Record:
    return Record("bench/bench_infer.py::test_forecast[gru]", "inference", (1.0,), {"profile": profile})


def _change(base_ms: dict[str, float], head_ms: dict[str, float]) -> Any:
    return difference(_record(_profile(base_ms)), _record(_profile(head_ms)))


# ---------------------------------------------------------------------------------------------------------- difference


def test_the_planted_operation_stands_first_with_its_sign_and_amount() -> None:
    change = _change(LOOP, {**LOOP, "aten::addmm": 71.0, "aten::copy_": 13.0})
    assert change.change_s == pytest.approx(34 * MS)
    first, second, third = change.ops
    assert (first.op, first.where) == ("aten::addmm", "cpu")
    assert (first.base_s, first.head_s, first.change_s) == pytest.approx((40 * MS, 71 * MS, 31 * MS))
    assert (second.op, second.change_s) == ("aten::copy_", pytest.approx(3 * MS))
    assert (third.op, third.change_s) == ("outside ops", pytest.approx(0))
    assert explain(change) == "aten::addmm +31 ms of +34 ms"


def test_a_faster_run_is_explained_by_what_shrank() -> None:
    change = _change(LOOP, {**LOOP, "aten::addmm": 8.5, "aten::copy_": 10.5})
    assert explain(change) == "aten::addmm -32 ms of -31 ms"


def test_operations_that_are_new_or_gone_count_fully() -> None:
    change = _change({"aten::addmm": 40.0}, {"aten::mkldnn_rnn_layer": 12.0})
    assert [(op.op, round(op.base_s, 6), round(op.head_s, 6)) for op in change.ops] == [
        ("aten::addmm", 0.04, 0.0),
        ("aten::mkldnn_rnn_layer", 0.0, 0.012),
    ]
    assert explain(change) == "aten::addmm -40 ms of -28 ms"


def test_an_operation_that_moved_to_another_place_is_another_operation() -> None:
    base, head = _profile({"GRU": 10.0}), _profile({"GRU": 4.0})
    base["ops"][0]["where"], head["ops"][0]["where"] = "CPUExecutionProvider", "CUDAExecutionProvider"
    change = difference(_record(base), _record(head))
    assert change.ops == (
        OpChange("GRU", "CPUExecutionProvider", 10 * MS, 0.0),
        OpChange("GRU", "CUDAExecutionProvider", 0.0, 4 * MS),
    )


def test_shapes_of_one_operation_are_added_up() -> None:
    profile = _profile(LOOP)
    profile["ops"].append({**profile["ops"][0], "shapes": "[768] [2880, 256] [256, 768]", "category": INPUT})
    change = difference(_record(_profile(LOOP)), _record(profile))
    assert change.ops[0].change_s == pytest.approx(40 * MS)
    assert len(change.ops) == len(LOOP)


def test_several_operations_are_named_until_they_explain_the_change() -> None:
    base = dict.fromkeys("abcdef", 10.0)
    assert explain(_change(base, {**base, "a": 15.0, "b": 14.0, "c": 10.5})) == "a +5.0 ms, b +4.0 ms of +9.5 ms"
    many = {name: 10.0 + index for index, name in enumerate("abcdef")}
    assert explain(_change(base, many)) == "f +5.0 ms, e +4.0 ms, d +3.0 ms of +15 ms"


def test_a_change_that_another_hides_is_told_without_claiming_a_part_of_the_whole() -> None:
    change = _change(LOOP, {**LOOP, "aten::addmm": 71.0, "aten::copy_": 0.0, "outside ops": -15.0})
    assert explain(change) == "aten::addmm +31 ms, +1.0 ms in all"


def test_no_change_and_a_change_that_no_operation_explains_are_said() -> None:
    assert explain(_change(LOOP, LOOP)) == "no change"
    change = difference(_record(_profile(LOOP, wall_ms=55.0)), _record(_profile(LOOP, wall_ms=65.0)))
    assert explain(change) == "no operation explains +10 ms"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (2.5, "+2.5 s"),
        (31.2 * MS, "+31 ms"),
        (-1.44 * MS, "-1.4 ms"),
        (0.02 * MS, "+20 µs"),
        (1e-9, "+1.0 ns"),
        (-4.4e-8, "-44 ns"),
        (-1234.0, "-1,234 s"),
    ],
)
def test_a_change_of_time_has_a_sign_and_a_unit(seconds: float, text: str) -> None:
    assert signed_time(seconds) == text


def test_a_record_without_a_profile_is_named_with_the_way_to_one() -> None:
    bare = Record("bench/bench_infer.py::test_forecast[gru]", "inference", (1.0,), {})
    wording = r"bench_infer.py::test_forecast\[gru\] has no profile. Measure it with .*--rnn-profile"
    with pytest.raises(RunFileError, match=wording):
        profile_of(bare)
    with pytest.raises(RunFileError, match=wording):
        difference(_record(_profile(LOOP)), bare)


# --------------------------------------------------------------------------------------------------------- the command


@pytest.fixture
def base(tmp_path: Path) -> Path:
    benchmarks = [
        _benchmark("gru", _profile(LOOP)),
        _benchmark("lstm", _profile({"aten::mkldnn_rnn_layer": 20.0}), "oneDNN LSTM"),
        inference("gru", "onnxruntime", 32, 30 * MS),
    ]
    return make_run(tmp_path, run_content(benchmarks), "0001_base.json")


@pytest.fixture
def head(tmp_path: Path) -> Path:
    benchmarks = [_benchmark("gru", _profile({**LOOP, "aten::addmm": 71.0, "aten::copy_": 13.0}), "ATen fused cell")]
    return make_run(tmp_path, run_content(benchmarks), "0002_head.json")


def test_a_run_is_printed_with_kernels_shares_and_operations(base: Path, rnncore: Command) -> None:
    code, out, err = rnncore("profile", base)
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert lines[0] == "test_forecast[gru-torch-cpu-fp32-b32]: ATen loop"
    assert lines[1] == "55.0 ms a call: recurrent GEMM 72.7 %, copies and layout 18.2 %, framework overhead 9.1 %"
    assert lines[2] == "Trace: traces/row.json"
    assert lines[3].split() == ["Operation", "ms", "%", "times", "for", "where", "inputs"]
    assert lines[4].split(maxsplit=4) == [
        "aten::addmm",
        "40.0",
        "72.7",
        "180",
        "recurrent GEMM    cpu  [768] [32, 256] [256, 768]",
    ]
    assert "test_forecast[lstm-torch-cpu-fp32-b32]: oneDNN LSTM" in lines
    assert "onnxruntime" not in out


def test_top_limits_the_operations_and_k_the_benchmarks(base: Path, rnncore: Command) -> None:
    _, out, _ = rnncore("profile", base, "--top", 1, "-k", "GRU")
    assert "aten::addmm" in out
    assert "aten::copy_" not in out
    assert "lstm" not in out


def test_a_note_and_cut_shapes_are_shown(tmp_path: Path, rnncore: Command) -> None:
    profile = _profile(LOOP, note="Operations ran at the same time.")
    profile["ops"][0]["shapes"] = "[1] [2, 3] [4 tensors] [5]"
    _, out, _ = rnncore("profile", make_run(tmp_path, run_content([_benchmark("gru", profile)])))
    assert "framework overhead 9.1 % (Operations ran at the same time.)" in out
    assert "[1] [2, 3] [4 tensors] …" in out


def test_two_runs_name_the_operation_that_grew(base: Path, head: Path, rnncore: Command) -> None:
    code, out, _ = rnncore("profile", base, head)
    lines = out.splitlines()
    assert code == 0
    assert lines[0] == "test_forecast[gru-torch-cpu-fp32-b32]: ATen fused cell, before ATen loop"
    assert lines[1] == "55.0 ms, now 89.0 ms a call: aten::addmm +31 ms of +34 ms"
    assert lines[2].split() == ["Operation", "base", "ms", "now", "ms", "change", "where"]
    assert lines[3].split() == ["aten::addmm", "40.0", "71.0", "+31", "ms", "cpu"]
    assert lines[4].split() == ["aten::copy_", "10.0", "13.0", "+3.0", "ms", "cpu"]
    assert "lstm" not in out


def test_json_has_every_operation_of_a_run(base: Path, rnncore: Command) -> None:
    facts = json.loads(rnncore("profile", base, "--json", "--top", 1)[1])
    assert facts["run"] == str(base)
    gru, lstm = facts["benchmarks"]
    assert gru == {
        "fullname": "bench/bench_infer.py::test_forecast[gru-torch-cpu-fp32-b32]",
        "kernel": "ATen loop",
        "profile": read_run(base).records[0].facts["profile"],
    }
    assert lstm["kernel"] == "oneDNN LSTM"


def test_json_has_every_change_between_two_runs(base: Path, head: Path, rnncore: Command) -> None:
    facts = json.loads(rnncore("profile", base, head, "--json")[1])
    assert (facts["base"], facts["head"]) == (str(base), str(head))
    (gru,) = facts["benchmarks"]
    assert (gru["base_kernel"], gru["head_kernel"]) == ("ATen loop", "ATen fused cell")
    assert (gru["base_s"], gru["head_s"], gru["change_s"]) == pytest.approx((0.055, 0.089, 0.034))
    assert gru["explanation"] == "aten::addmm +31 ms of +34 ms"
    assert gru["ops"][0] == {
        "op": "aten::addmm",
        "where": "cpu",
        "base_s": pytest.approx(0.040),
        "head_s": pytest.approx(0.071),
        "change_s": pytest.approx(0.031),
    }
    assert [op["op"] for op in gru["ops"]] == ["aten::addmm", "aten::copy_", "outside ops"]


@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_a_run_without_profiles_is_refused_with_the_way_to_one(
    as_json, base: Path, tmp_path: Path, rnncore: Command
) -> None:
    bare = make_run(tmp_path, name="0003_bare.json")
    for runs in ([bare], [base, bare], [bare, base]):
        code, out, err = rnncore("profile", *runs, *as_json)
        said = " ".join(err.split())
        assert (code, out) == (2, "")
        assert "0003_bare.json: holds no profiles. Make a run that has them with" in said
        assert "'pytest bench/ --benchmark-autosave --rnn-profile'" in said


def test_runs_without_a_common_profile_and_unknown_names_are_refused(base: Path, tmp_path: Path, rnncore: Command) -> None:
    other = make_run(tmp_path, run_content([inference("gru", "torch", 1, MS, profile=_profile(LOOP))]), "0004_other.json")
    code, out, err = rnncore("profile", base, other)
    assert (code, out) == (2, "")
    assert "have no profiled benchmark in common. Give two runs of the same suites and scale." in " ".join(err.split())
    code, out, err = rnncore("profile", base, "-k", "openvino")
    assert (code, out) == (2, "")
    assert "no profiled benchmark has 'openvino' in its name. There are: test_forecast[gru-torch" in " ".join(err.split())


def test_fewer_operations_than_one_are_refused(base: Path, rnncore: Command) -> None:
    code, out, err = rnncore("profile", base, "--top", 0)
    assert (code, out) == (2, "")
    assert "--top" in err


def test_reading_profiles_leaves_torch_unloaded() -> None:
    code = "import sys, rnncore.report.profile; print([name for name in ('torch', 'onnxruntime') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

"""Tests of the cases: labels that stay, axes that fit into JSON, and the lists that the suites measure."""

import importlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Literal

import pytest

from bench import cases
from rnncore.errors import ConfigError
from rnncore.forecast.cells import CELLS
from rnncore.forecast.presets import PRESETS, preset
from rnncore.measure.options import SCALES
from rnncore.runfile.case import AXES, Case
from rnncore.runfile.recipes import OWN_SIZES
from rnncore.runfile.record import Record
from rnncore.runtimes.catalog import ways_on

SUITES = {
    "training": cases.training_cases,
    "inference": cases.inference_cases,
    "accuracy": cases.accuracy_cases,
    "preparing": cases.preparing_cases,
    "gathering": cases.gathering_cases,
}
MODEL_SUITES = ("training", "inference", "accuracy")

ARTICLE = {"recipe": "article", "hidden_size": 256, "num_layers": 2, "lookback": 90}
FAST = {"recipe": "fast", "hidden_size": 64, "num_layers": 1, "lookback": 24}

# Stored runs are found again by these names: a change here cuts every history off.
GOLDEN_LABELS = {
    "gru-torch-cpu-fp32-b1024": Case("train", "gru", **ARTICLE, batch_size=1024),
    "lstm-onnxruntime-cuda-tf32-b1": Case(
        "infer", "lstm", **ARTICLE, batch_size=1, device="cuda", runtime="onnxruntime", precision="tf32"
    ),
    "gru-torch-cpu-fp32-h64-l1-t24": Case("infer", "gru", 64, 1, 24),
    "gru-torch-cpu-fp32-b2048-fast": Case("accuracy", "gru", **FAST, batch_size=2048),
    "gru-torch-cpu-fp32-b1-fast-h32": Case("infer", "gru", **{**FAST, "hidden_size": 32}, batch_size=1),
    "gru-torch-cpu-fp32-b32-t24": Case("infer", "gru", **{**ARTICLE, "lookback": 24}, batch_size=32),
    "own-torch-cpu-fp32-b1": Case("infer", "own", lookback=90, batch_size=1, recipe="own"),
    "rnncore-cpu": Case("data", lookback=90, runtime="rnncore", precision=None),
    "torch-cuda-b64": Case("data", lookback=90, batch_size=64, device="cuda", precision=None),
    "gru-openvino-cpu-fp32-b8-2threads": Case("infer", "gru", **ARTICLE, batch_size=8, runtime="openvino", threads=2),
    "torch-cpu-fp32": Case("infer"),
    "gru-rnncore-cpu-fp32-b32-1threads-2devices": Case(
        "scaling", "gru", **ARTICLE, batch_size=32, runtime="rnncore", threads=1, devices=2
    ),
}


def _suites_and_scales() -> list[tuple[str, str]]:
    return [(suite, scale) for suite in SUITES for scale in SCALES]


@pytest.mark.parametrize("label", GOLDEN_LABELS)
def test_labels_stay_what_stored_runs_are_named_by(label: str) -> None:
    assert GOLDEN_LABELS[label].label == label


@pytest.mark.parametrize("axis", [axis for axis in AXES if axis != "phase"])
def test_each_axis_but_the_phase_shows_in_the_label(axis: str) -> None:
    usual = Case("infer", "gru", **ARTICLE, batch_size=8)
    other = {
        "cell": "lstm",
        "device": "cuda",
        "runtime": "onnxruntime",
        "precision": "tf32",
        "recipe": "best",
        "mode": "compile",
        "clock": "host",
    }.get(axis, 7)
    assert Case(**{**usual.axes, axis: other}).label != usual.label


def test_copies_from_page_locked_memory_have_a_label_of_their_own() -> None:
    case = Case("infer", "gru", **ARTICLE, batch_size=1, device="cuda", clock="pinned")
    assert case.label == "gru-torch-cuda-fp32-b1-pinned"


@pytest.mark.parametrize(
    ("precision", "products"), [("amp_bf16", "bf16"), ("amp_fp16", "fp16"), ("tf32", "tf32"), ("int8", "int8"), (None, None)]
)
def test_a_mixed_precision_is_held_against_ceilings_of_its_products(precision: str | None, products: str | None) -> None:
    assert Case("train", precision=precision).products == products
    assert Record("", "", (), {"precision": precision}).products == products


@pytest.mark.parametrize("recipe", PRESETS)
@pytest.mark.parametrize("cell", CELLS)
def test_the_sizes_that_a_label_leaves_out_are_those_of_the_preset(recipe: str, cell: Literal["gru", "lstm"]) -> None:
    made = preset(recipe, cell)
    assert OWN_SIZES[recipe] == (made.forecaster.hidden_size, made.forecaster.num_layers, made.windows.lookback)


def test_axes_are_json_scalars_under_the_names_of_the_fields() -> None:
    for case in GOLDEN_LABELS.values():
        assert tuple(case.axes) == AXES == tuple(field.name for field in fields(Case))
        assert all(value is None or type(value) in (str, int) for value in case.axes.values())
        assert Case(**json.loads(json.dumps(case.axes))) == case


def test_a_case_cannot_be_changed() -> None:
    with pytest.raises(AttributeError, match="cannot assign to field 'cell'"):
        Case("infer", "gru").cell = "lstm"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("axes", "said"),
    [
        (
            {"phase": "warm"},
            r"phase 'warm'; give one of train, infer, data, .* interleaved training, stream, serve, scaling\.",
        ),
        ({"phase": None}, "phase None; give one of"),
        ({"clock": "wall"}, r"clock 'wall'; give one of device, host, pinned, None\."),
        ({"mode": []}, r"mode \[\]; give a text, or None\."),
        ({"cell": ""}, "cell ''; give a text, or None"),
        ({"device": None}, r"device None; give a text\."),
        ({"batch_size": 0}, "batch_size 0; give a whole number above 0, or None"),
        ({"batch_size": "8"}, "batch_size '8'; give a whole number above 0, or None"),
        ({"threads": True}, "threads True; give a whole number above 0, or None"),
    ],
)
def test_an_axis_that_is_none_is_refused_with_what_it_may_be(axes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=f"^a Case has the {said}"):
        Case(**{"phase": "infer", **axes})


@pytest.mark.parametrize(("suite", "scale"), _suites_and_scales())
def test_no_two_cases_of_a_suite_share_a_label(suite: str, scale: str) -> None:
    labels = [case.label for case in SUITES[suite](scale)]
    assert labels
    assert len(set(labels)) == len(labels)


@pytest.mark.parametrize(("suite", "scale"), [pair for pair in _suites_and_scales() if pair[0] in MODEL_SUITES])
def test_both_cells_are_measured_on_both_devices_under_equal_conditions(suite: str, scale: str) -> None:
    measured = SUITES[suite](scale)
    assert {case.device for case in measured} == {"cpu", "cuda"}
    conditions = {
        cell: {tuple({**case.axes, "cell": None}.items()) for case in measured if case.cell == cell} for cell in CELLS
    }
    assert conditions["gru"] == conditions["lstm"] != set()


@pytest.mark.parametrize(("suite", "scale"), [pair for pair in _suites_and_scales() if pair[0] in MODEL_SUITES])
def test_every_listed_runtime_can_compute_in_the_listed_precision(suite: str, scale: str) -> None:
    for case in SUITES[suite](scale):
        if suite == "training":
            assert case.precision in cases.TRAINING_PRECISIONS[case.runtime, case.device]
        else:
            assert (case.runtime, case.mode, case.precision) in ways_on(case.device)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_default_inference_has_batches_of_1_32_and_1024_on_the_article_model(device: str) -> None:
    measured = [case for case in cases.inference_cases("default") if case.device == device]
    assert {case.batch_size for case in measured if case.recipe == "article"} == {1, 32, 1024}
    sizes = {(case.recipe, case.hidden_size, case.num_layers, case.lookback) for case in measured}
    assert sizes == {("article", 256, 2, 90), ("fast", 64, 1, 24)}
    assert {"torch", "onnxruntime"} <= {case.runtime for case in measured}


def test_a_larger_scale_measures_more() -> None:
    gate, quick, default, full = (len(cases.inference_cases(scale)) for scale in SCALES)
    assert gate < quick < default < full
    assert "openvino" in {case.runtime for case in cases.inference_cases("full")}


def test_the_gate_covers_every_suite_and_cell() -> None:
    measured = [
        case
        for choose in (cases.training_cases, cases.inference_cases, cases.accuracy_cases)
        for case in choose("gate")
        if case.device == "cpu"
    ]
    covered = {(case.phase, case.cell) for case in measured}
    assert covered == {(phase, cell) for phase in ("train", "infer", "accuracy") for cell in ("gru", "lstm")}
    assert cases.preparing_cases("gate")
    assert cases.gathering_cases("gate")


def test_the_full_scale_sweeps_each_axis_by_itself() -> None:
    usual = {"hidden_size": 256, "num_layers": 2, "lookback": 90, "threads": None}
    seen: dict[str, set[int | None]] = {axis: set() for axis in usual}
    for case in (case for case in cases.inference_cases("full") if case.recipe == "article"):
        other = [axis for axis in usual if getattr(case, axis) != usual[axis]]
        assert len(other) <= 1
        for axis in other:
            seen[axis].add(getattr(case, axis))
    assert seen["hidden_size"] == {32, 64, 128, 512, 1024}
    assert seen["num_layers"] == {1, 3}
    assert seen["lookback"] == {24, 48, 168, 336, 720}
    assert 1 in seen["threads"]
    batch_sizes = {case.batch_size for case in cases.inference_cases("full")}
    assert batch_sizes == {2**power for power in range(14)}


def test_quick_runs_have_the_usual_precision_alone_and_default_ones_every_but_torch_s_bf16_of_our_models() -> None:
    quick, default = (
        {(case.runtime, case.precision) for case in cases.inference_cases(scale) if case.device == "cpu"}
        for scale in ("quick", "default")
    )
    assert quick == {("torch", "fp32"), ("rnncore", "fp32"), ("onnxruntime", "fp32")}
    assert default == quick | {
        *(("rnncore", "bf16"), ("rnncore", "int8"), ("onnxruntime", "int8"), ("openvino", "fp32"), ("openvino", "bf16"))
    }


@pytest.mark.parametrize("scale", SCALES)
def test_every_case_of_a_model_names_its_recipe_in_its_sizes_or_those_of_the_sweep(scale: str) -> None:
    chosen = [one for name, one in vars(cases).items() if name.endswith("_cases")]
    models = [case for choose in chosen for case in choose(scale)]
    assert {case.recipe for case in models if case.cell} <= {*PRESETS, "own"}
    assert {case.recipe for case in models if case.cell is None} == {None}


@pytest.mark.parametrize("scale", ["quick", "default", "full"])
def test_the_models_that_are_scored_are_timed_too_on_the_usual_runtimes(scale: str) -> None:
    """Else nothing could be recommended by speed and accuracy: both must be of one model."""

    def ways(measured: list[Case]) -> set[tuple[object, ...]]:
        return {(one.cell, one.recipe, one.runtime, one.precision) for one in measured if one.device == "cpu"}

    timed = ways(cases.inference_cases(scale))
    usual = {way for way in ways(cases.accuracy_cases(scale)) if way[2] in cases.USUAL_RUNTIMES and way[3] == "fp32"}
    assert usual
    assert (ways(cases.accuracy_cases(scale)) if scale == "full" else usual) <= timed


def _suites() -> list[tuple[str, Callable[[str], list[Case]]]]:
    """Return every suite of `bench/` that runs without being asked for, and how its cases are chosen."""
    suites = []
    for path in sorted(Path(cases.__file__).parent.glob("bench_*.py")):
        module = importlib.import_module(f"bench.{path.stem}")
        for name, test in vars(module).items():
            for mark in getattr(test, "pytestmark", ()):
                if mark.name == "rnn_cases" and "only_with" not in mark.kwargs:
                    suites.append((f"{path.name}::{name}", mark.kwargs["choose"]))
    return suites


def test_a_default_run_stays_within_its_planned_seconds() -> None:
    """On a CPU, by the runtimes that the project installs: whoever adds a suite says what it costs, and pays for it."""
    assert len(_suites()) >= 8
    measured = [
        case for _, choose in _suites() for case in choose("default") if case.device == "cpu" and case.runtime != "openvino"
    ]
    assert 60 < len(measured) < 80
    assert 0.9 * cases.MAX_DEFAULT_S < cases.planned_s(measured) <= cases.MAX_DEFAULT_S


def test_the_default_grid_has_no_more_rows_than_before_the_recipes() -> None:
    """Rows on the CPU by the runtimes that run everywhere; each takes a second and some."""
    precisions = {"torch": ("fp32", "bf16"), "rnncore": ("fp32",), "onnxruntime": ("fp32", "int8")}
    counted = Counter(
        case.phase
        for _, choose in _suites()
        for case in choose("default")
        if case.device == "cpu" and (case.phase in ("train", "data") or case.precision in precisions.get(case.runtime, ()))
    )
    assert counted == {"train": 6, "infer": 24 + 12, "accuracy": 8, "stream": 8, "data": 2}
    assert counted.total() <= 72


def test_a_row_that_nobody_has_measured_has_no_planned_seconds() -> None:
    with pytest.raises(KeyError, match="serve"):
        cases.planned_s([Case("serve", "gru", batch_size=1)])


def test_quick_runs_serve_one_row_alone() -> None:
    (row,) = cases.serving_cases("quick")
    assert (row.runtime, row.batch_size) == ("rnncore", 32)
    assert Counter(case.device for case in cases.serving_cases("full")) == {"cpu": 12, "cuda": 8}


@pytest.mark.parametrize(("cpus", "devices"), [(1, {2}), (2, {2}), (3, {2}), (4, {2, 4}), (100, {2, 4, 8, 16, 32})])
def test_steps_are_taken_by_as_many_processes_as_find_a_cpu_each_and_parts_are_equal(
    cpus: int, devices: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cases, "usable_threads", lambda: cpus)
    for scale in ("quick", "default", "full"):
        measured = [case for case in cases.scaling_cases(scale) if case.device == "cpu"]
        assert {case.devices for case in measured} == devices
        assert {case.threads for case in measured} == {1}
        assert all(case.batch_size % case.devices == 0 for case in measured if case.batch_size and case.devices)
    assert cases.scaling_cases("gate") == []


def test_what_is_asked_for_and_answered_on_the_host_is_timed_with_the_copies_of_a_gpu() -> None:
    rows = [*cases.stream_cases("full"), *cases.serving_cases("full")]
    assert {(case.device, case.clock) for case in rows} == {("cpu", None), ("cuda", "host")}
    assert {case.runtime for case in cases.stream_cases("full") if case.device == "cuda"} == {"torch"}


def test_copies_of_page_locked_memory_are_rows_of_torch_at_the_full_scale_beside_the_same_with_others() -> None:
    for scale in SCALES:
        measured = cases.inference_cases(scale)
        locked = [case for case in measured if case.clock == "pinned"]
        assert bool(locked) == (scale == "full")
        assert {(case.runtime, case.mode) for case in locked} <= {("torch", None), ("torch", "graph")}
        assert {replace(case, clock="host") for case in locked} <= set(measured)


def test_mixed_precisions_are_trained_on_a_gpu_from_the_default_scale_on_and_on_a_cpu_at_the_full_one() -> None:
    found = {
        scale: {(case.device, case.precision, case.mode) for case in cases.training_cases(scale) if "amp" in case.precision}
        for scale in SCALES
    }
    on_gpu = {("cuda", precision, mode) for precision in ("amp_bf16", "amp_fp16") for mode in (None, "graph")}
    on_cpu = {("cpu", "amp_bf16", None)}
    assert found == {"gate": set(), "quick": set(), "default": on_gpu, "full": on_gpu | on_cpu}


def test_a_model_that_is_not_ours_is_timed_in_torch_s_bf16_too() -> None:
    for scale in ("default", "full"):
        assert ("torch", "bf16") in {(case.runtime, case.precision) for case in cases.own_model_cases(scale)}

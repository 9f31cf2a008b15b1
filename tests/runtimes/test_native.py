"""Tests of our forward kernel: the same numbers as float64 at every size, team and block, and refused where it is wrong."""

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rnncore.errors import ConfigError, Unavailable
from rnncore.forecast.cells import CELLS, Cell
from rnncore.forecast.model import Forecaster, ForecasterConfig, new_forecaster
from rnncore.forecast.series import Float32Array, FloatArray
from rnncore.kernels import forward as kernel_module
from rnncore.kernels import levels
from rnncore.kernels import library as compiled
from rnncore.kernels.forward import ForwardKernel, PackedNetwork, forward_kernel
from rnncore.kernels.laps import PHASES, of_given_threads
from rnncore.runtimes import native
from rnncore.runtimes.catalog import open_runtime
from rnncore.runtimes.native import call_evidence, packed_forecaster, timed_call
from rnncore.runtimes.parity import float64_forecast
from tests import reference
from tests.callers import call_at_once

TOLERANCE = 3e-6


@pytest.fixture(scope="module", autouse=True)
def _as_many_threads_as_asked() -> Iterator[None]:
    """Teams of any size on any machine: else no more threads are taken than the process has CPUs for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "usable_threads", lambda: 8)
        yield


def _model(config: ForecasterConfig, std: float = 0.4) -> Forecaster:
    model = new_forecaster(config, seed=1).eval()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        for parameter in model.parameters():
            # Biases of the weights' size: a lost or misplaced one shows.
            torch.nn.init.normal_(parameter, std=std)
    return model


def _inputs(windows: int, hours: int, features: int) -> Float32Array:
    return np.random.default_rng(windows * 100 + hours).standard_normal((windows, hours, features), dtype=np.float32)


def _forecast(model: Forecaster, inputs: Float32Array, threads: int) -> Float32Array:
    with open_runtime("rnncore", model, "cpu", "fp32", threads) as runtime:
        return runtime.predict(inputs)


@pytest.mark.parametrize("cell", CELLS)
@given(
    windows=st.integers(1, 40),
    hours=st.integers(1, 12),
    features=st.integers(1, 7),
    hidden=st.sampled_from([1, 3, 15, 16, 17, 40]),
    layers=st.integers(1, 3),
    horizon=st.sampled_from([1, 5]),
    relu=st.booleans(),
    threads=st.integers(1, 5),
)
def test_forecasts_are_those_of_torch_in_float64(
    cell: Cell, windows: int, hours: int, features: int, hidden: int, layers: int, horizon: int, relu: bool, threads: int
) -> None:
    config = ForecasterConfig(cell, features, hidden, layers, relu_head=relu, horizon=horizon)
    model, inputs = _model(config), _inputs(windows, hours, features)
    exact = float64_forecast(model, inputs)
    found = _forecast(model, inputs, threads)
    assert found.shape == exact.shape
    assert np.abs(found - exact).max() <= TOLERANCE * max(1.0, np.abs(exact).max())


@pytest.mark.parametrize("cell", CELLS)
def test_forecasts_are_those_of_the_naive_reference(cell: Cell) -> None:
    model, inputs = _model(ForecasterConfig(cell, 3, 5, 2)), _inputs(4, 6, 3)
    weights = {name: value.double().numpy() for name, value in model.state_dict().items()}
    exact = reference.forecast(weights, model.config, inputs.astype(np.float64))
    np.testing.assert_allclose(_forecast(model, inputs, 2), exact, atol=TOLERANCE)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(
    ("windows", "hours", "threads"),
    [(1, 90, 2), (2, 200, 3), (253, 3, 1), (600, 5, 2), (1000, 2, 3)],
    ids=["one window, in a team", "hours beyond a chunk", "two blocks", "blocks of two teams", "uneven teams"],
)
def test_every_way_to_share_the_work_gives_the_same(cell: Cell, windows: int, hours: int, threads: int) -> None:
    model, inputs = _model(ForecasterConfig(cell, 5, 48, 2), std=0.15), _inputs(windows, hours, 5)
    found = _forecast(model, inputs, threads)
    assert np.abs(found - float64_forecast(model, inputs)).max() <= TOLERANCE


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("value", [-200.0, -30.0, -0.7, -1e-3, 0.0, 1e-6, 0.62, 9.0, 200.0])
def test_gates_are_right_where_they_saturate_and_near_zero(cell: Cell, value: float) -> None:
    model = _model(ForecasterConfig(cell, 1, 1, 1, relu_head=False))
    for parameter in model.rnn.parameters():
        torch.nn.init.constant_(parameter, value)
    inputs = np.ones((3, 3, 1), dtype=np.float32)
    np.testing.assert_allclose(_forecast(model, inputs, 1), float64_forecast(model, inputs), rtol=2e-6, atol=2e-7)


@pytest.mark.parametrize("cell", CELLS)
def test_what_is_no_number_stays_none_and_touches_no_other_window(cell: Cell) -> None:
    model, inputs = _model(ForecasterConfig(cell, 2, 20, 2)), _inputs(30, 4, 2)
    right = _forecast(model, inputs, 2)
    inputs[7, 1, 0] = np.nan
    found = _forecast(model, inputs, 2)
    assert np.isnan(found[7]).all()
    np.testing.assert_array_equal(np.delete(found, 7, axis=0), np.delete(right, 7, axis=0))


def test_equal_calls_give_equal_bits_and_a_bound_batch_may_change_its_size() -> None:
    model = _model(ForecasterConfig("gru", 5, 32, 2))
    with open_runtime("rnncore", model, "cpu", "fp32", 2) as runtime:
        for windows in (3, 200, 0, 1):
            inputs = _inputs(windows, 10, 5)
            first, second = runtime.predict(inputs), runtime.predict(inputs)
            assert first.shape == (windows, 1)
            np.testing.assert_array_equal(first, second)


def test_windows_of_other_features_are_refused() -> None:
    model = _model(ForecasterConfig("gru", 5, 8, 1))
    with (
        open_runtime("rnncore", model, "cpu", "fp32", 1) as runtime,
        pytest.raises(ConfigError, match="the windows have 4 features; the model takes 5"),
    ):
        runtime.predict(_inputs(2, 3, 4))


# Where the time goes


def _timed(packed: PackedNetwork) -> FloatArray:
    """Return the laps of one run. Shape (threads given, phases, 2)."""
    return of_given_threads(timed_call(packed, packed.run)[2])


@pytest.mark.parametrize("cell", CELLS)
@given(
    windows=st.integers(1, 40),
    hours=st.integers(1, 12),
    hidden=st.sampled_from([1, 15, 16, 33]),
    layers=st.integers(1, 3),
    threads=st.integers(1, 5),
    has_state=st.booleans(),
)
def test_timing_the_phases_changes_no_bit_of_forecasts_and_states(
    cell: Cell, windows: int, hours: int, hidden: int, layers: int, threads: int, has_state: bool
) -> None:
    packed = packed_forecaster(_model(ForecasterConfig(cell, 3, hidden, layers)), threads)
    of_layer = (CELLS[cell].states, windows, hidden)
    inputs, found = _inputs(windows, hours, 3), []
    for run in (packed.run, lambda: _timed(packed)):
        state = np.full((layers, *of_layer), 0.25, dtype=np.float32) if has_state else None
        packed.bind(inputs, state)
        run()
        found.append((packed.output.tobytes(), b"" if state is None else state.tobytes()))
    assert found[0] == found[1]


@pytest.mark.parametrize("cell", CELLS)
@given(windows=st.integers(1, 40), hours=st.integers(1, 12), hidden=st.sampled_from([1, 16, 33]), threads=st.integers(1, 5))
def test_every_thread_accounts_for_the_whole_call(cell: Cell, windows: int, hours: int, hidden: int, threads: int) -> None:
    packed = packed_forecaster(_model(ForecasterConfig(cell, 3, hidden, 2)), threads)
    packed.bind(_inputs(windows, hours, 3))
    _, wall_s, laps = timed_call(packed, packed.run)
    assert laps.shape == (threads, len(PHASES), 2)
    assert (laps >= 0).all()
    assert (laps[laps[:, :, 1] == 0] == 0).all()
    of_threads_s = of_given_threads(laps)[:, :, 0].sum(axis=1)
    assert len(of_threads_s) >= 1
    np.testing.assert_allclose(of_threads_s, of_threads_s[0], rtol=0.01, atol=1e-6)
    assert of_threads_s[0] <= wall_s * 1.01


def _times(laps: FloatArray) -> dict[str, list[int]]:
    """Return how often each phase ran, thread by thread."""
    return {phase: laps[:, place, 1].astype(int).tolist() for place, phase in enumerate(PHASES)}


@pytest.mark.parametrize("cell", CELLS)
def test_threads_that_share_units_wait_at_a_barrier_after_each_hour_of_each_layer(cell: Cell) -> None:
    packed = packed_forecaster(_model(ForecasterConfig(cell, 5, 64, 2)), 2)
    # One window has 128 hours to a chunk.
    packed.bind(_inputs(1, 130, 5))
    laps = _timed(packed)
    if len(laps) < 2:
        pytest.skip("the system gives one thread")
    times, groups = _times(laps), 64 // forward_kernel().lanes
    assert times["input products"] == [2 * 2] * 2
    assert times["waiting at barriers"] == [2 * (130 + 2)] * 2
    assert times["recurrent products"] == times["gates"] == [2 * 130 * groups // 2] * 2
    assert times["waiting at start and end"] == [1, 1]
    assert times["dropout"] == [0, 0]


def test_a_thread_without_work_waits_through_the_whole_call() -> None:
    packed = packed_forecaster(_model(ForecasterConfig("gru", 5, 3, 1)), 3)
    packed.bind(_inputs(1, 50, 5))
    laps = _timed(packed)
    busy, *idle = laps[:, :, 0]
    assert busy[PHASES.index("gates")] > 0
    for phases_s in idle:
        assert phases_s[:-1].sum() == 0
        assert phases_s[-1] == pytest.approx(busy.sum(), rel=0.01, abs=1e-6)


def test_laps_begin_anew_with_each_call_and_end_with_it() -> None:
    packed = packed_forecaster(_model(ForecasterConfig("lstm", 5, 20, 2)), 1)
    packed.bind(_inputs(9, 7, 5))
    first = {op.name: op.calls for op in call_evidence(packed, packed.run).ops}

    def fail() -> None:
        packed.run()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        call_evidence(packed, fail)
    plain = packed._call
    assert plain is not None
    assert plain.phases is None
    assert {op.name: op.calls for op in call_evidence(packed, packed.run).ops} == first
    assert packed._call is plain
    assert plain.phases is None
    packed.run()


def test_a_trace_has_the_phases_of_each_thread_on_a_track_of_its_own(tmp_path: Path) -> None:
    packed = packed_forecaster(_model(ForecasterConfig("gru", 5, 64, 2)), 2)
    packed.bind(_inputs(1, 20, 5))
    evidence = call_evidence(packed, packed.run, tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text(encoding="utf-8"))["traceEvents"]
    names = {event["tid"]: event["args"]["name"] for event in events if event["ph"] == "M"}
    bars = [event for event in events if event["ph"] == "X"]
    assert {event["tid"] for event in bars} == set(names)
    assert names[0] == "calls"
    assert names[1] == "thread 1, sums by phase"
    assert {event["name"] for event in bars if event["tid"] == 0} == {evidence.kernel}
    assert {event["name"] for event in bars if event["tid"] > 0} == {op.name for op in evidence.ops}
    (call, *_) = (event for event in bars if event["tid"] == 0)
    inside = [event for event in bars if event["tid"] == 1 and event["ts"] < call["ts"] + call["dur"]]
    assert sum(event["dur"] for event in inside) <= call["dur"] * 1.01
    for one, other in itertools.pairwise(inside):
        assert other["ts"] == pytest.approx(one["ts"] + one["dur"])


# In bf16


def _needs_bf16() -> None:
    if forward_kernel().bf16 is None:
        pytest.skip("this CPU has no instructions for bf16")


def _rounded(model: Forecaster, inputs: Float32Array) -> np.ndarray:
    """Return forecasts in float64 with the factors of all products of layers rounded to bf16."""
    import copy

    rounded = copy.deepcopy(model).double()

    def to_bf16(values: torch.Tensor) -> torch.Tensor:
        return values.float().bfloat16().double()

    weights = dict(rounded.rnn.named_parameters())
    below = torch.from_numpy(inputs).double()
    is_lstm, hidden = model.config.cell == "lstm", model.config.hidden_size
    for layer in range(model.config.num_layers):
        w_x, w_h = (to_bf16(weights[f"weight_{name}_l{layer}"]) for name in ("ih", "hh"))
        b_x, b_h = (weights[f"bias_{name}_l{layer}"] for name in ("ih", "hh"))
        state = cell = torch.zeros(len(inputs), hidden, dtype=torch.float64)
        states = []
        for hour in range(inputs.shape[1]):
            from_inputs, from_state = to_bf16(below[:, hour]) @ w_x.T + b_x, to_bf16(state) @ w_h.T + b_h
            if is_lstm:
                i, f, g, o = (from_inputs + from_state).chunk(4, dim=1)
                cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
                state = o.sigmoid() * cell.tanh()
            else:
                (r, z, n), (r_h, z_h, n_h) = from_inputs.chunk(3, dim=1), from_state.chunk(3, dim=1)
                new = (n + (r + r_h).sigmoid() * n_h).tanh()
                state = new + (z + z_h).sigmoid() * (state - new)
            states.append(state)
        below = torch.stack(states, dim=1)
    with torch.inference_mode():
        return np.asarray(rounded.read_out(below[:, -1]))


@pytest.mark.parametrize("cell", CELLS)
@given(
    windows=st.integers(1, 40),
    hours=st.integers(1, 9),
    features=st.sampled_from([1, 5, 33]),
    hidden=st.sampled_from([1, 16, 17, 40, 64]),
    layers=st.integers(1, 3),
    threads=st.integers(1, 5),
)
def test_bf16_rounds_the_factors_of_products_and_nothing_else(
    cell: Cell, windows: int, hours: int, features: int, hidden: int, layers: int, threads: int
) -> None:
    _needs_bf16()
    model = _model(ForecasterConfig(cell, features, hidden, layers), std=0.2)
    inputs = _inputs(windows, hours, features)
    with open_runtime("rnncore", model, "cpu", "bf16", threads) as runtime:
        found = runtime.predict(inputs)
    exact = _rounded(model, inputs)
    # A state that lies beside the middle between two bf16 values may be rounded the other way: 2^-9 of it, through a weight.
    assert np.abs(found - exact).max() <= 2e-3 * max(1.0, np.abs(exact).max())
    assert np.median(np.abs(found - exact)) <= 2e-4


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("windows", "hours", "threads"), [(1, 90, 2), (300, 5, 2), (1000, 2, 3)])
def test_every_way_to_share_the_work_gives_the_same_bits_in_bf16(cell: Cell, windows: int, hours: int, threads: int) -> None:
    _needs_bf16()
    model, inputs = _model(ForecasterConfig(cell, 5, 48, 2), std=0.15), _inputs(windows, hours, 5)
    found = []
    for with_threads in (1, threads):
        with open_runtime("rnncore", model, "cpu", "bf16", with_threads) as runtime:
            found.append(runtime.predict(inputs))
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("windows", "threads"), [(1, 2), (100, 1), (300, 2)])
def test_timing_the_phases_changes_no_bit_in_bf16(cell: Cell, windows: int, threads: int) -> None:
    _needs_bf16()
    packed = packed_forecaster(_model(ForecasterConfig(cell, 5, 48, 2), std=0.15), threads, "bf16")
    packed.bind(_inputs(windows, 9, 5))
    packed.run()
    plain = packed.output.copy()
    times = _times(_timed(packed))
    np.testing.assert_array_equal(packed.output, plain)
    assert times["recurrent products"] == times["gates"]
    assert min(times["gates"]) > 0


def test_in_bf16_what_is_no_number_stays_none_and_touches_no_other_window() -> None:
    _needs_bf16()
    model, inputs = _model(ForecasterConfig("gru", 2, 20, 2)), _inputs(30, 4, 2)
    with open_runtime("rnncore", model, "cpu", "bf16", 2) as runtime:
        right = runtime.predict(inputs)
        inputs[7, 1, 0] = np.nan
        found = runtime.predict(inputs)
    assert np.isnan(found[7]).all()
    np.testing.assert_array_equal(np.delete(found, 7, axis=0), np.delete(right, 7, axis=0))


def test_bf16_without_instructions_for_it_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward_kernel(), "bf16", None)
    with (
        pytest.raises(Unavailable, match=r"has no instructions for bf16 \(AVX512-BF16\)"),
        open_runtime("rnncore", _model(ForecasterConfig("gru", 2, 4, 1)), "cpu", "bf16", 1),
    ):
        pass


# In int8

# What a forecast may be off from float64 here: each state is off by 1/254, each weight by 1/254 of the largest of its row.
INT8_ERROR = 0.05


def _needs_int8() -> None:
    if forward_kernel().int8 is None:
        pytest.skip("this CPU has no instructions for int8")


def _in_int8(model: Forecaster, inputs: Float32Array, threads: int = 1) -> Float32Array:
    with open_runtime("rnncore", model, "cpu", "int8", threads) as runtime:
        return runtime.predict(inputs)


def _product_of_bytes(states: Float32Array, weight: Float32Array) -> FloatArray:
    """Return states (B, K) times weights (units, K), both rounded to bytes, multiplied and added as whole numbers."""
    scale = np.abs(weight).max(axis=1, keepdims=True) / np.float32(127)
    product: FloatArray = (_bytes_of(states) @ np.rint(weight / scale).astype(np.int64).T) * (
        scale.T.astype(np.float64) / 127
    )
    return product


def _bytes_of(states: Float32Array) -> npt.NDArray[np.int64]:
    return np.clip(np.rint(states * np.float32(127)), -128, 127).astype(np.int64)


def _sigmoid(x: FloatArray) -> FloatArray:
    return 1 / (1 + np.exp(-x))


def _hour_in_int8(model: Forecaster, hour: Float32Array, before: Float32Array, after: Float32Array) -> FloatArray:
    """Return the states after an hour, in float64 but for what is rounded to bytes.

    Args:
        model: The forecaster.
        hour: Shape (B, F).
        before: States, and cells of an LSTM. Shape (N, states, B, H).
        after: What the kernel found, of which each layer takes the one below: a difference of the last bit, which could be
            rounded to another byte, does not go on.
    """
    weights = {name: value.detach().numpy() for name, value in model.rnn.named_parameters()}
    found = []
    for layer in range(model.config.num_layers):
        w_x, w_h, b_x, b_h = (weights[f"{name}_l{layer}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        from_inputs = b_x + (_product_of_bytes(after[layer - 1, 0], w_x) if layer else hour.astype(np.float64) @ w_x.T)
        from_state = b_h + _product_of_bytes(before[layer, 0], w_h)
        if model.config.cell == "lstm":
            i, f, g, o = np.split(from_inputs + from_state, 4, axis=1)
            cell = _sigmoid(f) * before[layer, 1] + _sigmoid(i) * np.tanh(g)
            found.append([_sigmoid(o) * np.tanh(cell), cell])
        else:
            (r, z, n), (r_h, z_h, n_h) = np.split(from_inputs, 3, axis=1), np.split(from_state, 3, axis=1)
            new, update = np.tanh(n + _sigmoid(r + r_h) * n_h), _sigmoid(z + z_h)
            found.append([(1 - update) * new + update * before[layer, 0]])
    return np.array(found)


@pytest.mark.parametrize("cell", CELLS)
@given(
    windows=st.integers(1, 40),
    features=st.sampled_from([1, 5, 33]),
    hidden=st.sampled_from([1, 3, 15, 16, 17, 40, 66]),
    layers=st.integers(1, 3),
    threads=st.integers(1, 5),
)
def test_int8_rounds_states_and_weights_to_bytes_and_nothing_else(
    cell: Cell, windows: int, features: int, hidden: int, layers: int, threads: int
) -> None:
    _needs_int8()
    model, inputs = _model(ForecasterConfig(cell, features, hidden, layers), std=0.2), _inputs(windows, 3, features)
    packed = packed_forecaster(model, threads, "int8")
    state = _inputs(layers * CELLS[cell].states, windows, hidden).reshape(layers, -1, windows, hidden) * np.float32(0.4)
    # Some lie beyond 1, as far as there are bytes; cells as far as they like.
    state[:, 0] = state[:, 0].clip(-1.0039, 1.0039)
    for hour in inputs.swapaxes(0, 1):
        before = state.copy()
        packed.bind(np.ascontiguousarray(hour[:, None]), state)
        packed.run()
        np.testing.assert_allclose(state, _hour_in_int8(model, hour, before, state), atol=TOLERANCE)
        with torch.inference_mode():
            right = model.read_out(torch.from_numpy(state[-1, 0])).numpy()
        np.testing.assert_allclose(packed.output, right, atol=TOLERANCE, rtol=TOLERANCE)


# So small that tanh gives it back.
SMALL = 2.0**-40


@pytest.mark.parametrize("cell", CELLS)
@given(
    windows=st.integers(1, 25),
    hidden=st.sampled_from([1, 2, 4, 5, 16, 17, 24]),
    layers=st.integers(1, 2),
    threads=st.integers(1, 5),
    seed=st.integers(0, 99),
    are_all_largest=st.booleans(),
)
def test_sums_of_int8_are_the_whole_numbers_of_bytes_times_bytes(
    cell: Cell, windows: int, hidden: int, layers: int, threads: int, seed: int, are_all_largest: bool
) -> None:
    """Of the top layer only the new gate counts: with weights of SMALL its tanh is the sum, of which no digit is lost."""
    _needs_int8()
    random = np.random.default_rng(seed)
    model = _model(ForecasterConfig(cell, 2, hidden, layers), std=0.4)
    top = layers - 1
    # Scales of exactly SMALL, but for rows and columns of zeros.
    bytes_of = random.integers(-127, 128, (2, hidden, hidden))
    bytes_of[:, :, 0] = 127
    bytes_of[:, random.integers(hidden)] = 0
    bytes_of[:, 1:, hidden - 1] = 0
    # On the edge between two bytes, and between.
    halves = random.integers(-254, 255, (layers, CELLS[cell].states, windows, hidden))
    state = (halves / np.float32(254)).astype(np.float32)
    if are_all_largest:
        bytes_of[:], state[:, 0] = 127, 1
    with torch.no_grad():
        # What the others give: all of the old state is forgotten, all of the new taken; reset of a GRU keeps what it scales.
        of_gates = {"gru": (200.0, -200.0, 0.0), "lstm": (200.0, -200.0, 0.0, 0.0)}[cell]
        for name, whole in (("weight_ih", bytes_of[0]), ("weight_hh", bytes_of[1])):
            weight = model.rnn.get_parameter(f"{name}_l{top}")
            weight.zero_()
            if name == "weight_hh" or top:
                weight[2 * hidden : 3 * hidden] = torch.from_numpy(whole * SMALL)
        model.rnn.get_parameter(f"bias_ih_l{top}").copy_(torch.tensor(of_gates).repeat_interleave(hidden))
        model.rnn.get_parameter(f"bias_hh_l{top}").zero_()
    before = _bytes_of(state[top, 0])
    packed = packed_forecaster(model, threads, "int8")
    packed.bind(_inputs(windows, 1, 2), state)
    packed.run()
    right = before @ bytes_of[1].T + (_bytes_of(state[top - 1, 0]) @ bytes_of[0].T if top else 0)
    found = state[top, -1].astype(np.float64) / SMALL * 127
    # tanh and two roundings are right to 5e-7, so that of up to a million no whole number is taken for another.
    assert np.abs(right).max() < 1e6
    np.testing.assert_array_equal(np.rint(found), right)


@pytest.mark.parametrize("cell", CELLS)
@given(
    windows=st.integers(1, 40),
    hours=st.integers(1, 9),
    features=st.sampled_from([1, 5, 33]),
    hidden=st.sampled_from([1, 3, 16, 17, 64]),
    layers=st.integers(1, 3),
    threads=st.integers(1, 5),
)
def test_in_int8_a_window_has_the_same_bits_alone_and_hour_by_hour(
    cell: Cell, windows: int, hours: int, features: int, hidden: int, layers: int, threads: int
) -> None:
    _needs_int8()
    model, inputs = _model(ForecasterConfig(cell, features, hidden, layers), std=0.2), _inputs(windows, hours, features)
    whole = _in_int8(model, inputs, threads)
    np.testing.assert_array_equal(_in_int8(model, inputs[-1:]), whole[-1:])
    packed = packed_forecaster(model, threads, "int8")
    state = np.zeros((layers, CELLS[cell].states, windows, hidden), dtype=np.float32)
    for hour in range(hours):
        packed.bind(np.ascontiguousarray(inputs[:, hour : hour + 1]), state)
        packed.run()
    np.testing.assert_array_equal(packed.output, whole)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(
    ("windows", "hours", "threads"),
    [(1, 90, 2), (2, 200, 3), (253, 3, 1), (600, 5, 2), (1000, 2, 3)],
    ids=["one window, in a team", "hours beyond a chunk", "two blocks", "blocks of two teams", "uneven teams"],
)
def test_every_way_to_share_the_work_gives_the_same_bits_in_int8(cell: Cell, windows: int, hours: int, threads: int) -> None:
    _needs_int8()
    model, inputs = _model(ForecasterConfig(cell, 5, 48, 2), std=0.15), _inputs(windows, hours, 5)
    found = _in_int8(model, inputs, threads)
    np.testing.assert_array_equal(_in_int8(model, inputs, 1), found)
    assert 1e-4 < np.abs(found - float64_forecast(model, inputs)).max() <= INT8_ERROR


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("windows", "threads"), [(1, 2), (100, 1), (300, 2)])
def test_timing_the_phases_changes_no_bit_in_int8(cell: Cell, windows: int, threads: int) -> None:
    _needs_int8()
    packed = packed_forecaster(_model(ForecasterConfig(cell, 5, 48, 2), std=0.15), threads, "int8")
    packed.bind(_inputs(windows, 9, 5))
    packed.run()
    plain = packed.output.copy()
    times = _times(_timed(packed))
    np.testing.assert_array_equal(packed.output, plain)
    assert times["recurrent products"] == times["gates"]
    assert min(times["input products"]) > 0
    assert min(times["gates"]) > 0


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_in_int8_what_is_no_number_stays_none_and_touches_no_other_window(cell: Cell, layers: int) -> None:
    """A byte cannot say it."""
    _needs_int8()
    model, inputs = _model(ForecasterConfig(cell, 2, 20, layers)), _inputs(30, 4, 2)
    right = _in_int8(model, inputs, 2)
    inputs[7, 1, 0] = np.nan
    found = _in_int8(model, inputs, 2)
    assert np.isnan(found[7]).all()
    np.testing.assert_array_equal(np.delete(found, 7, axis=0), np.delete(right, 7, axis=0))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("layer", [0, 1])
def test_in_int8_a_state_that_is_no_number_stays_none(cell: Cell, layer: int) -> None:
    _needs_int8()
    packed = packed_forecaster(_model(ForecasterConfig(cell, 2, 20, 2)), 1, "int8")
    state = np.zeros((2, CELLS[cell].states, 3, 20), dtype=np.float32)
    state[layer, 0, 1, 4] = np.nan
    packed.bind(_inputs(3, 4, 2), state)
    packed.run()
    assert np.isnan(packed.output).ravel().tolist() == [False, True, False]


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("name", ["weight_hh_l0", "weight_ih_l1", "weight_hh_l1"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_in_int8_a_weight_that_is_not_finite_gives_no_number(cell: Cell, name: str, value: float) -> None:
    """Rounded, it would be some byte."""
    _needs_int8()
    model = _model(ForecasterConfig(cell, 2, 20, 2))
    with torch.no_grad():
        model.rnn.get_parameter(name)[3, 5] = value
    assert np.isnan(_in_int8(model, _inputs(3, 4, 2))).all()


def test_in_int8_weights_of_zero_are_zero() -> None:
    _needs_int8()
    model, inputs = _model(ForecasterConfig("gru", 2, 20, 1)), _inputs(3, 4, 2)
    torch.nn.init.zeros_(model.rnn.weight_hh_l0)
    assert np.abs(_in_int8(model, inputs) - float64_forecast(model, inputs)).max() <= TOLERANCE


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("size", [1e-30, 1e-37, 1e-44, 1e30])
def test_in_int8_weights_of_any_size_have_their_scale(cell: Cell, size: float) -> None:
    """The smallest add nothing to a bias, and of the largest no sum is too large."""
    _needs_int8()
    model, inputs = _model(ForecasterConfig(cell, 2, 20, 2)), _inputs(3, 4, 2)
    with torch.no_grad():
        model.rnn.weight_hh_l0.mul_(size)
        model.rnn.weight_ih_l1.mul_(size)
        model.rnn.weight_hh_l1.mul_(size)
    found = _in_int8(model, inputs)
    if size < 1:
        assert np.abs(found - float64_forecast(model, inputs)).max() <= TOLERANCE
    assert np.isfinite(found).all()


@pytest.mark.parametrize("cell", CELLS)
def test_states_that_int8_has_no_bytes_for_are_refused_and_cells_are_not(cell: Cell) -> None:
    _needs_int8()
    packed = packed_forecaster(_model(ForecasterConfig(cell, 2, 20, 2)), 1, "int8")
    state = np.zeros((2, CELLS[cell].states, 3, 20), dtype=np.float32)
    state[1, 0, 2, 4], state[:, 1:] = -1.01, 30
    packed.bind(_inputs(3, 4, 2), state)
    kept = state.copy()
    with pytest.raises(ConfigError, match=r"a value of the size 1\.01; in int8 states are from -1 to 1, .* in fp32\."):
        packed.run()
    np.testing.assert_array_equal(state, kept)
    state[1, 0, 2, 4] = -1
    packed.run()
    assert np.isfinite(packed.output).all()


def test_more_units_than_sums_of_int8_have_bits_for_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    _needs_int8()
    most = kernel_module._MOST_UNITS_IN_INT8
    # The largest bytes, of a state without a sign and of a weight with one.
    assert most * 255 * 127 < 2**31 <= (most + 1) * 255 * 127
    monkeypatch.setattr(kernel_module, "_MOST_UNITS_IN_INT8", 19)
    model = _model(ForecasterConfig("gru", 2, 20, 1))
    with pytest.raises(ConfigError, match=r"hidden_size is 20; in int8 the kernel takes 1 to 19\."):
        packed_forecaster(model, 1, "int8")
    packed_forecaster(model, 1, "fp32")


def test_what_computes_int8_is_named_where_there_is_any() -> None:
    kernel = forward_kernel()
    assert ("int8 by " in kernel.name) == (kernel.int8 is not None)
    _needs_int8()
    assert f", int8 by {kernel.int8}, " in kernel.name
    model = _model(ForecasterConfig("lstm", 2, 4, 1))
    with open_runtime("rnncore", model, "cpu", "int8", 1) as runtime:
        runtime.predict(_inputs(2, 3, 2))
        assert runtime.evidence().kernel == f"rnncore LSTM, {kernel.int8}"


def test_int8_without_instructions_for_it_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward_kernel(), "int8", None)
    with (
        pytest.raises(
            Unavailable,
            match=r"has no instructions for int8 \(AVX512-VNNI, AVX-VNNI or NEON dot products\)\. Use fp32, or an",
        ),
        open_runtime("rnncore", _model(ForecasterConfig("gru", 2, 4, 1)), "cpu", "int8", 1),
    ):
        pass


# Compiling


@pytest.fixture
def compiler() -> ForwardKernel:
    """What the compiler here makes; without one the test is skipped with what is missing."""
    return forward_kernel()


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kernel_module._load.cache_clear()
    yield tmp_path
    kernel_module._load.cache_clear()


def test_a_missing_compiler_makes_the_runtime_unavailable(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(levels.LEVEL_ENV, raising=False)
    levels.require_vectors()  # else skipped, with what is missing
    monkeypatch.setenv("CC", "/nowhere/cc")
    model = _model(ForecasterConfig("gru", 2, 4, 1))
    with (
        pytest.raises(
            Unavailable,
            match=r"^no forward kernel: there is no C compiler of the name /nowhere/cc .*\. Install GCC, .*\. Or use an",
        ),
        open_runtime("rnncore", model, "cpu", "fp32", 1),
    ):
        pass
    assert list(empty_cache.rglob("*.so")) == []


@pytest.mark.parametrize(
    ("right", "wrong", "what"),
    [
        ("new + update * (before - new)", "new + update * (before + new)", "GRU in fp32"),
        ("forget * load(cell) + input", "input * load(cell) + forget", "LSTM in fp32"),
        # What C says that a byte has added is not what it adds; a scale is that of another gate.
        ("int zero_byte(void) {", "int zero_byte(void) { return 64;", "GRU in int8"),
        (
            "floats_of(sums[r][g]) * load(scales + g * LANES);\n        if",
            "floats_of(sums[r][g]) * load(scales);\n        if",
            "GRU in int8",
        ),
    ],
)
def test_a_wrong_kernel_is_found_out(
    right: str, wrong: str, what: str, compiler: ForwardKernel, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "int8" in what and compiler.int8 is None:
        pytest.skip("this CPU has no instructions for int8")
    true_compile: Any = compiled._compile

    def compile_wrongly(command: list[str], flags: str, source: str, library: Path) -> None:
        assert right in source
        true_compile(command, flags, source.replace(right, wrong), library)

    monkeypatch.setattr(compiled, "_compile", compile_wrongly)
    model = _model(ForecasterConfig("gru", 2, 4, 1))
    with (
        pytest.raises(Unavailable, match=f"its {what} gives other answers than torch's"),
        open_runtime("rnncore", model, "cpu", "fp32", 1),
    ):
        pass


@pytest.mark.skipif(compiled.platform.machine() != "x86_64", reason="compiles for older x86 CPUs")
def test_the_kernel_is_right_at_the_lower_level_that_torch_is_told_to_keep_to(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(levels.LEVEL_ENV, "avx2")
    for cell in CELLS:
        model, inputs = _model(ForecasterConfig(cell, 5, 37, 2), std=0.2), _inputs(50, 20, 5)
        packed = packed_forecaster(model, 2)
        packed.bind(inputs)
        packed.run()
        found = packed.output.copy()
        assert np.abs(found - float64_forecast(model, inputs)).max() <= TOLERANCE
        assert _timed(packed)[:, PHASES.index("gates")].min() > 0
        np.testing.assert_array_equal(packed.output, found)
    with pytest.raises(Unavailable, match=r"has no instructions for int8"):
        packed_forecaster(_model(ForecasterConfig("gru", 5, 37, 2)), 1, "int8")


# Small weights, turns, forks


@pytest.mark.parametrize("level", ["avx512", "avx2"])
@pytest.mark.skipif(compiled.platform.machine() != "x86_64", reason="only x86 CPUs have these levels")
def test_tanh_is_right_relative_to_itself(level: str, empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GRU whose only weight is that from its input to its new gate forecasts half the tanh of the input."""
    monkeypatch.setenv(levels.LEVEL_ENV, level)
    model = new_forecaster(ForecasterConfig("gru", 1, 1, 1), seed=1).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.rnn.weight_ih_l0[2] = 1.0
        model.head.weight.fill_(1.0)
    sizes = np.geomspace(1e-30, 80.0, 100_000).astype(np.float32)
    inputs = np.concatenate([sizes, -sizes])
    found = _forecast_without_relu(model, inputs)
    exact = np.tanh(inputs.astype(np.float64))
    assert np.abs(found / exact - 1).max() <= 3e-7


def _forecast_without_relu(model: Forecaster, inputs: Float32Array) -> FloatArray:
    packed = PackedNetwork(model.rnn, model.head, False, forward_kernel(), 1)
    return 2.0 * packed.forecast(inputs[:, None, None])[:, 0].astype(np.float64)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("scale", [1e-2, 1e-3])
def test_forecasts_of_small_input_weights_are_right_relative_to_themselves(cell: Cell, scale: float) -> None:
    model, inputs = _model(ForecasterConfig(cell, 5, 48, 2, relu_head=False), std=0.1), _inputs(20, 30, 5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "bias" in name:
                parameter.zero_()
            if name.startswith("rnn.weight_ih"):
                parameter.mul_(scale)
    exact = float64_forecast(model, inputs)
    assert np.abs(_forecast(model, inputs, 2) - exact).max() <= TOLERANCE * np.abs(exact).max()


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("threads", [1, 2])
def test_threads_of_python_share_a_forecaster(threads: int, precision: str) -> None:
    model = _model(ForecasterConfig("gru", 5, 64, 2), std=0.15)
    batches = [_inputs(windows, 40, 5) for windows in (1, 9)]
    with open_runtime("rnncore", model, "cpu", precision, threads) as runtime:
        right = [runtime.predict(batch) for batch in batches]
        wrong: list[int] = []

        def forecast(which: int) -> None:
            for turn in range(150):
                found = runtime.predict(batches[which])
                if found.shape != right[which].shape or not np.array_equal(found, right[which]):
                    wrong.append(turn)

        call_at_once([partial(forecast, which) for which in (0, 1)])
    assert wrong == []


def test_forecasts_are_not_overwritten_by_the_next_run_nor_a_stream_s_by_the_next_hour() -> None:
    model, inputs = _model(ForecasterConfig("gru", 5, 16, 1)), _inputs(3, 4, 5)
    with open_runtime("rnncore", model, "cpu", "fp32", 1) as runtime:
        first = runtime.predict(inputs)
        kept = first.copy()
        runtime.predict(-inputs)
    np.testing.assert_array_equal(first, kept)
    stream = native.NativeStream(model, 3)
    first = stream.step(inputs[:, 0])
    kept = first.copy()
    stream.step(-inputs[:, 1])
    np.testing.assert_array_equal(first, kept)


_FORKED = """
import os, signal, sys
import torch
from rnncore.errors import Unavailable
from rnncore.forecast.model import ForecasterConfig, new_forecaster
from rnncore.kernels.layers import FusedLayers, fused_kernels
from rnncore.runtimes.native import packed_forecaster
torch.set_num_threads(2)
model = new_forecaster(ForecasterConfig("gru", 3, 64, 2), seed=0)
inputs = torch.ones(40, 5, 3)
packed = packed_forecaster(model, 2, sys.argv[1])
layers = FusedLayers(model.rnn, fused_kernels())
right, kept = packed.forecast(inputs.numpy()), layers._states(inputs, 1)
before = kept.clone()
child = os.fork()
if child == 0:
    signal.alarm(30)
    same = abs(packed.forecast(inputs.numpy()) - right).max() < 1e-6
    layers.states(-inputs, 1).sum().backward()
    os._exit(0 if same else 3)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert torch.equal(kept, before)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_forked_process_forecasts_and_trains_and_writes_nothing_of_its_parent_s(precision: str) -> None:
    if precision not in forward_kernel().forwards:  # else skipped, with what is missing
        pytest.skip(f"this CPU has no instructions for {precision}")
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _FORKED, precision],
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr


def test_no_more_threads_are_taken_than_find_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "usable_threads", lambda: 2)
    packed = packed_forecaster(_model(ForecasterConfig("gru", 2, 4, 1)), 8)
    packed.bind(_inputs(3, 4, 2))
    assert _timed(packed).shape[0] == 2


@pytest.mark.parametrize("cell", CELLS)
def test_numbers_too_small_for_normal_ones_are_computed_with(cell: Cell) -> None:
    model = _model(ForecasterConfig(cell, 5, 20, 1, relu_head=False), std=0.2)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "bias" in name:
                parameter.zero_()
    # Below 1.2e-38; what is left of them after products is a multiple of 1.4e-45.
    inputs = np.float32(1e-39) * _inputs(11, 3, 5)
    exact = float64_forecast(model, inputs)
    assert np.abs(exact).max() > 1e-41
    assert np.abs(_forecast(model, inputs, 2) - exact).max() <= 3e-44


def test_no_thread_runs_while_another_times_its_calls() -> None:
    """What is timed belongs to whoever asked for it: the laps of others would be in it, or written when it is gone."""
    packed = packed_forecaster(_model(ForecasterConfig("gru", 2, 4, 1)), 1)
    packed.bind(_inputs(3, 4, 2))
    other = Thread(target=packed.run, daemon=True)
    with packed.timed() as laps:
        other.start()
        other.join(0.2)
        assert other.is_alive()
        packed.run()
    other.join(60)
    assert not other.is_alive()
    assert laps[0, PHASES.index("head"), 1] == 1


@pytest.mark.parametrize(("series", "hidden", "threads"), [(1, 64, 1), (2, 64, 1), (8, 64, 3), (32, 64, 4), (1, 256, 4)])
def test_a_stream_takes_no_more_threads_than_an_hour_has_work_for(
    series: int, hidden: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 64 units and 33 inputs an hour of a series has 25,344 weights: two have less than two threads are worth."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    monkeypatch.setattr(native, "usable_threads", lambda: 4)
    model = new_forecaster(ForecasterConfig("lstm", 33, hidden, 1), seed=0)
    assert native.NativeStream(model, series)._packed._threads == threads


def test_a_stream_takes_hours_of_any_type_that_is_float32() -> None:
    """Types that are equal need not be the same object: one with metadata is another."""
    model = new_forecaster(ForecasterConfig("gru", 4, 20, 1), seed=0)
    hour = np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)
    named = hour.astype(np.dtype("float32", metadata={"unit": "MW"}))
    one, other = native.NativeStream(model, 2), native.NativeStream(model, 2)
    for _ in range(2):
        np.testing.assert_array_equal(one.step(hour), other.step(named))
    with pytest.raises(ConfigError, match="the hour: >f4"):
        one.step(hour.astype(">f4"))

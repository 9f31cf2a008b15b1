"""Tests of the fused layers: equal to torch's and to float64, dropout included, and refused where they would be wrong."""

import copy
import gc
import itertools
import shutil
import subprocess
import time
import weakref
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from rnncore import files
from rnncore.errors import ConfigError, Unavailable
from rnncore.forecast.cells import CELLS, Cell
from rnncore.forecast.device import cpu_threads
from rnncore.forecast.model import ForecasterConfig, new_forecaster
from rnncore.kernels import layers as fused
from rnncore.kernels import levels, memory
from rnncore.kernels import library as compiled
from rnncore.kernels.laps import PHASES, of_given_threads
from rnncore.kernels.layers import FusedLayers, fused_kernels, timed_passes
from rnncore.kernels.library import compiled_library
from tests import reference
from tests.callers import call_at_once

KINDS: dict[str, type[nn.GRU] | type[nn.LSTM]] = {"gru": nn.GRU, "lstm": nn.LSTM}


def _module(
    cell: str, features: int, hidden: int, layers: int, dropout: float = 0.0, seed: int = 0, std: float = 0.6
) -> nn.GRU | nn.LSTM:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = KINDS[cell](features, hidden, layers, batch_first=True, dropout=dropout)
        for parameter in module.parameters():
            # Biases of torch's size, and weights large enough that gates saturate now and then.
            nn.init.normal_(parameter, std=std)
    return module


def _states_and_gradients(states: torch.Tensor, weights: torch.Tensor, *wanted: torch.Tensor) -> list[torch.Tensor]:
    return [states, *torch.autograd.grad((states * weights).sum(), wanted)]


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@given(
    batch=st.integers(1, 9),
    hours=st.integers(1, 7),
    features=st.integers(1, 5),
    hidden=st.sampled_from([1, 3, 8, 17]),
    layers=st.integers(1, 3),
    share=st.floats(0, 1),
)
def test_states_and_gradients_are_those_of_torch_in_float64(
    cell: str, batch: int, hours: int, features: int, hidden: int, layers: int, share: float
) -> None:
    last = 1 + round(share * (hours - 1))
    module = _module(cell, features, hidden, layers)
    generator = torch.Generator().manual_seed(batch * 100 + hours)
    inputs = torch.randn(batch, hours, features, generator=generator).requires_grad_()
    weights = torch.randn(batch, last, hidden, generator=generator)
    found = _states_and_gradients(
        FusedLayers(module, fused_kernels()).states(inputs, last), weights, inputs, *module.parameters()
    )
    exact, exact_inputs = KINDS[cell](features, hidden, layers, batch_first=True).double(), inputs.detach().double()
    exact.load_state_dict(module.state_dict())
    exact_inputs.requires_grad_()
    expected = _states_and_gradients(exact(exact_inputs)[0][:, -last:], weights.double(), exact_inputs, *exact.parameters())
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        assert (one - other).abs().max() <= 3e-6 * max(1.0, float(other.detach().abs().max()))


@pytest.mark.parametrize("cell", CELLS)
def test_forecasts_are_those_of_the_naive_reference(cell: Cell) -> None:
    config = ForecasterConfig(cell=cell, input_size=3, hidden_size=5, num_layers=2)
    model = new_forecaster(config, seed=1).eval()
    inputs = torch.randn(4, 6, 3, generator=torch.Generator().manual_seed(1))
    weights = {name: value.double().numpy() for name, value in model.state_dict().items()}
    # As in evaluation, without dropout.
    model.rnn.dropout = 0.0
    found = model.read_out(FusedLayers(model.rnn, fused_kernels()).states(inputs, 1)).flatten(1)
    np.testing.assert_allclose(
        found.detach().numpy(), reference.forecast(weights, config, inputs.double().numpy()), atol=2e-6
    )


# More columns and rows than a panel and a tile have, and fewer: whole vectors, a last one in part, one window, one feature.
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(
    ("batch", "features", "hidden"),
    [(1, 1, 100), (7, 50, 16), (10, 33, 49), (19, 21, 33), (37, 64, 48), (40, 2, 5), (28, 17, 96)],
)
def test_products_of_every_size_give_the_gradients_of_float64(cell: Cell, batch: int, features: int, hidden: int) -> None:
    _require_right_gradients(_module(cell, features, hidden, 2, std=0.15), batch, 4)


def _require_right_gradients(module: nn.GRU | nn.LSTM, batch: int, hours: int, error: float = 2e-6) -> None:
    """Compare all gradients of a squared sum of all states with float64, relative to the largest value of each."""
    inputs = torch.randn(batch, hours, module.input_size, generator=torch.Generator().manual_seed(8)).requires_grad_()
    states = FusedLayers(module, fused_kernels()).states(inputs, hours)
    found = torch.autograd.grad(states.square().sum(), [inputs, *module.parameters()])
    exact, exact_inputs = copy.deepcopy(module).double(), inputs.detach().double().requires_grad_()
    right = torch.autograd.grad(exact(exact_inputs)[0].square().sum(), [exact_inputs, *exact.parameters()])
    for one, other in zip(found, right, strict=True):
        assert (one - other).abs().max() <= error * other.abs().max()


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_of_many_hours_are_as_right_as_those_of_few(cell: Cell) -> None:
    module = _module(cell, 3, 16, 1, std=0.15)
    # All of one sign, so that what is added is small beside its sum.
    for parameter in module.parameters():
        parameter.data.abs_()
    inputs = torch.rand(300, 500, 3, generator=torch.Generator().manual_seed(11))
    states = FusedLayers(module, fused_kernels()).states(inputs, 500)
    found = torch.autograd.grad(states.sum(), list(module.parameters()))
    exact = copy.deepcopy(module).double()
    right = torch.autograd.grad(exact(inputs.double())[0].sum(), list(exact.parameters()))
    for one, other in zip(found, right, strict=True):
        assert (one - other).abs().max() <= 2e-6 * other.abs().max()


@pytest.mark.parametrize("value", [-200.0, -30.0, -0.7, -1e-3, 0.0, 1e-6, 0.62, 0.63, 9.0, 200.0])
def test_gates_are_right_where_they_saturate_and_near_zero(value: float) -> None:
    module = nn.GRU(1, 1, batch_first=True)
    for parameter in module.parameters():
        nn.init.constant_(parameter, value)
    inputs = torch.ones(1, 2, 1)
    found = FusedLayers(module, fused_kernels()).states(inputs, 2)
    torch.testing.assert_close(found, module.double()(inputs.double())[0].float(), rtol=2e-6, atol=1e-7)


# Blocks and threads


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_more_windows_than_a_block_holds_and_a_last_smaller_block(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "_BLOCK_GATES", 3 * 4 * 8)
    module, inputs = _module(cell, 2, 8, 2), torch.randn(13, 4, 2, generator=torch.Generator().manual_seed(2))
    found = _states_and_gradients(
        FusedLayers(module, fused_kernels()).states(inputs, 4), torch.ones(13, 4, 8), *module.parameters()
    )
    expected = _states_and_gradients(module(inputs)[0], torch.ones(13, 4, 8), *module.parameters())
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize(("batch", "threads"), [(13, 2), (13, 3), (2, 4)], ids=["two", "three", "more than windows"])
def test_threads_take_each_block_of_windows_once(
    cell: str, batch: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused, "_BLOCK_GATES", 3 * 4 * 8)
    module, inputs = _module(cell, 2, 8, 2), torch.randn(batch, 4, 2, generator=torch.Generator().manual_seed(2))
    expected = _states_and_gradients(module(inputs)[0], torch.ones(batch, 4, 8), *module.parameters())
    with cpu_threads(threads):
        found = _states_and_gradients(
            FusedLayers(module, fused_kernels()).states(inputs, 4), torch.ones(batch, 4, 8), *module.parameters()
        )
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_equal_threads_give_equal_bits(cell: Cell) -> None:
    module, inputs = _module(cell, 2, 8, 2, dropout=0.3), torch.randn(64, 5, 2, generator=torch.Generator().manual_seed(3))

    def once() -> list[torch.Tensor]:
        torch.manual_seed(7)
        return _states_and_gradients(
            FusedLayers(module, fused_kernels()).states(inputs, 5), torch.ones(64, 5, 8), *module.parameters()
        )

    assert all(torch.equal(one, other) for one, other in zip(once(), once(), strict=True))


# Where the time goes


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("threads", [1, 2])
def test_timed_passes_tell_phases_and_change_no_bit(cell: Cell, dropout: float, threads: int) -> None:
    hours, layers = 5, 2
    module, inputs = (
        _module(cell, 2, 8, layers, dropout),
        torch.randn(9, hours, 2, generator=torch.Generator().manual_seed(3)),
    )
    fused_layers = FusedLayers(module, fused_kernels())

    def once() -> list[torch.Tensor]:
        torch.manual_seed(7)
        states = fused_layers.states(inputs, hours)
        return [part.clone() for part in _states_and_gradients(states, torch.ones(9, hours, 8), *module.parameters())]

    with cpu_threads(threads):
        plain = once()
        with timed_passes() as passes:
            began_s = time.perf_counter()
            timed = once()
            wall_s = time.perf_counter() - began_s
        once()
    assert all(torch.equal(one, other) for one, other in zip(plain, timed, strict=True))
    assert {name: len(laps) for name, laps in passes.items()} == {"FusedLayer": layers, "FusedLayerBackward": layers}
    for name, of_layers in passes.items():
        drops = []
        for laps in of_layers:
            assert laps.shape == (threads, len(PHASES), 2)
            assert (laps >= 0).all()
            given = of_given_threads(laps)
            times = dict(zip(PHASES, given[:, :, 1].astype(int).T.tolist(), strict=True))
            for phase in ("input products", "recurrent products", "gates"):
                assert times[phase] == [hours] * len(given), (name, phase)
            # Weights are packed once, by all threads together.
            for phase in ("copies and layout", "waiting at barriers"):
                assert times[phase] == [1] * len(given), (name, phase)
            assert times["head"] == [0] * len(given), name
            drops.append(times["dropout"][0])
            assert given[:, :, 0].sum(axis=1) == pytest.approx(given[0, :, 0].sum(), rel=0.01, abs=1e-6)
        # Nothing is dropped below the first layer; a gradient is dropped once more on its way down.
        of_upper = 0 if not dropout else hours if name == "FusedLayer" else 2 * hours
        assert sorted(drops) == [0, of_upper]
    assert sum(of_given_threads(laps)[0, :, 0].sum() for laps in itertools.chain(*passes.values())) <= wall_s * 1.01


# Dropout


def test_dropout_drops_its_share_scales_the_rest_and_differs_between_passes() -> None:
    module = _module("gru", 1, 32, 2, dropout=0.25)
    # The second layer's input part alone: its new gate sees the sum of what is not dropped.
    for name, parameter in module.named_parameters():
        if name.endswith("_l1"):
            nn.init.zeros_(parameter)
    with torch.no_grad():
        module.weight_ih_l1[64:] = torch.eye(32)
    inputs = torch.ones(200, 1, 1)
    layers = FusedLayers(module, fused_kernels())
    torch.manual_seed(0)
    first, second = (layers.states(inputs, 1).detach().clone() for _ in range(2))
    # An update gate of one half lets half of the new gate's tanh through.
    below = module.double()
    kept = torch.atanh(2 * first.double()) / nn.GRU.forward(_lower(below), inputs.double())[0]
    dropped = kept.abs() < 1e-6
    assert float(dropped.float().mean()) == pytest.approx(0.25, abs=0.02)
    torch.testing.assert_close(kept[~dropped], torch.full_like(kept[~dropped], 1 / 0.75), rtol=1e-4, atol=0)
    by_unit, by_window = dropped.float().mean((0, 1)), dropped.float().mean((1, 2))
    assert by_unit.std() < 0.06
    assert by_window.std() < 0.12
    assert not torch.equal(first, second)


def _lower(module: nn.GRU | nn.LSTM) -> nn.GRU:
    """Return the first layer of a module by itself."""
    lower = nn.GRU(module.input_size, module.hidden_size, batch_first=True).double()
    lower.load_state_dict({name: value for name, value in module.state_dict().items() if name.endswith("_l0")})
    return lower


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_gradients_through_dropout_are_those_of_finite_differences(cell: str) -> None:
    module = _module(cell, 2, 3, 2, dropout=0.4)
    inputs, layers = torch.randn(6, 3, 2, generator=torch.Generator().manual_seed(4)), FusedLayers(module, fused_kernels())

    def loss() -> torch.Tensor:
        torch.manual_seed(5)
        return layers.states(inputs, 3).square().sum()

    gradients = torch.autograd.grad(loss(), list(module.parameters()))
    for parameter, gradient in zip(module.parameters(), gradients, strict=True):
        flat = parameter.data.view(-1)
        for place in range(0, len(flat), 5):
            before = float(flat[place])
            ends = []
            for step in (1e-2, -1e-2):
                flat[place] = before + step
                ends.append(float(loss().detach()))
            flat[place] = before
            assert float(gradient.view(-1)[place]) == pytest.approx((ends[0] - ends[1]) / 2e-2, rel=2e-2, abs=5e-3)


# In bf16


class _RoundedProduct(torch.autograd.Function):
    """a w' with the factors of all three products rounded to bf16, in float64."""

    @staticmethod
    def forward(ctx: Any, a: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(_to_bf16(a), _to_bf16(weight))
        return _to_bf16(a) @ _to_bf16(weight).T

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        a, weight = ctx.saved_tensors
        (gradient,) = map(_to_bf16, gradients)
        return gradient @ weight, gradient.T @ a


def _to_bf16(values: torch.Tensor) -> torch.Tensor:
    return values.float().bfloat16().double()


def _rounded_layer(module: nn.GRU | nn.LSTM, inputs: torch.Tensor) -> torch.Tensor:
    """Return the states of one layer in float64, with the factors of its products rounded to bf16. Shape (B, T, H)."""
    (w_x, w_h, b_x, b_h), product = module.parameters(), _RoundedProduct.apply
    state = cell = torch.zeros(len(inputs), module.hidden_size, dtype=torch.float64)
    states = []
    for hour in range(inputs.shape[1]):
        # A product for each gate: of a GRU what inputs and states give to the new gate has gradients of its own.
        parts = [
            [
                product(a, rows) + bias
                for rows, bias in zip(w.split(module.hidden_size), b.split(module.hidden_size), strict=True)
            ]
            for a, w, b in ((inputs[:, hour], w_x, b_x), (state, w_h, b_h))
        ]
        if isinstance(module, nn.LSTM):
            i, f, g, o = (one + other for one, other in zip(*parts, strict=True))
            cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
            state = o.sigmoid() * cell.tanh()
        else:
            (r, z, n), (r_h, z_h, n_h) = parts
            new = (n + (r + r_h).sigmoid() * n_h).tanh()
            state = new + (z + z_h).sigmoid() * (state - new)
        states.append(state)
    return torch.stack(states, dim=1)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(
    ("batch", "features", "hidden"), [(1, 1, 1), (7, 5, 17), (10, 33, 49), (19, 20, 32), (40, 2, 100), (28, 17, 96)]
)
def test_bf16_rounds_the_factors_of_all_products_and_nothing_else(
    cell: Cell, batch: int, features: int, hidden: int
) -> None:
    _require_bf16()
    module = _module(cell, features, hidden, 1, std=0.15)
    inputs = torch.randn(batch, 4, features, generator=torch.Generator().manual_seed(9)).requires_grad_()
    weights = torch.randn(batch, 4, hidden, generator=torch.Generator().manual_seed(10))
    found = _states_and_gradients(
        FusedLayers(module, fused_kernels(), "bf16").states(inputs, 4), weights, inputs, *module.parameters()
    )
    exact, exact_inputs = copy.deepcopy(module).double(), inputs.detach().double().requires_grad_()
    right = _states_and_gradients(_rounded_layer(exact, exact_inputs), weights.double(), exact_inputs, *exact.parameters())
    for one, other in zip(found, right, strict=True):
        # What lies beside the middle between two bf16 values may be rounded the other way.
        assert (one - other).abs().max() <= 2e-3 * other.abs().max()
        assert (one - other).abs().median() <= 1e-4 * other.abs().max()


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("threads", [1, 2])
def test_in_bf16_blocks_dropout_and_timing_are_as_in_fp32(cell: Cell, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    _require_bf16()
    monkeypatch.setattr(fused, "_BLOCK_GATES", 3 * 4 * 16)
    module, inputs = (
        _module(cell, 3, 16, 2, 0.3, std=0.15),
        torch.randn(13, 5, 3, generator=torch.Generator().manual_seed(3)),
    )

    def once(precision: str) -> list[torch.Tensor]:
        torch.manual_seed(7)
        states = FusedLayers(module, fused_kernels(), precision).states(inputs, 5)
        return [part.clone() for part in _states_and_gradients(states, torch.ones(13, 5, 16), *module.parameters())]

    with cpu_threads(threads):
        plain, again, fp32 = once("bf16"), once("bf16"), once("fp32")
        with timed_passes():
            timed = once("bf16")
    for one, other, third, near in zip(plain, again, timed, fp32, strict=True):
        assert torch.equal(one, other)
        assert torch.equal(one, third)
        assert (one - near).abs().max() <= 2e-2 * near.abs().max()
    assert not torch.equal(plain[0], fp32[0])


def _require_bf16() -> None:
    if not fused_kernels().has_bf16:
        pytest.skip("this CPU has no instructions for bf16")


def test_bf16_where_the_cpu_has_no_instructions_for_it_and_other_precisions_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kernels = fused_kernels()
    with pytest.raises(ConfigError, match="precision is 'fp16'; allowed: fp32"):
        FusedLayers(_module("gru", 2, 4, 1), kernels, "fp16")
    monkeypatch.setattr(kernels, "has_bf16", False)
    with pytest.raises(ConfigError, match=r"precision is 'bf16'; allowed: fp32\."):
        FusedLayers(_module("gru", 2, 4, 1), kernels, "bf16")


# What is refused


def test_gradients_are_those_of_the_last_pass_as_often_as_asked_and_of_an_earlier_one_refused() -> None:
    module, inputs = _module("gru", 2, 4, 1), torch.randn(3, 4, 2)
    layers = FusedLayers(module, fused_kernels())
    first = layers.states(inputs, 1).sum()
    second = layers.states(inputs, 1).sum()
    with pytest.raises(RuntimeError, match="used again; take the gradients before the next pass"):
        first.backward()
    second.backward(retain_graph=True)
    once = [parameter.grad.clone() for parameter in module.parameters() if parameter.grad is not None]
    second.backward()
    for gradient, parameter in zip(once, module.parameters(), strict=True):
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, 2 * gradient)


@pytest.fixture
def compiler() -> Path:
    """What a compiler made of the kernels; without one the test is skipped with what is missing."""
    fused_kernels()
    return compiled_library("train")


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    fused._load.cache_clear()
    yield tmp_path
    fused._load.cache_clear()


def test_the_kernels_are_compiled_once_and_kept(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fused_kernels()
    (library,) = (empty_cache / "rnncore").iterdir()
    written_ns = library.stat().st_mtime_ns
    fused._load.cache_clear()
    fused_kernels()
    assert library.stat().st_mtime_ns == written_ns


def _no_home(*_: object) -> Path:
    raise RuntimeError("Could not determine home directory.")


@pytest.mark.parametrize("home", ["file", "read-only", "none"])
def test_without_a_home_that_can_be_written_the_kernels_are_made_for_the_process(
    home: str, compiler: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "_compile", lambda command, flags, source, library: shutil.copyfile(compiler, library))
    monkeypatch.delenv("XDG_CACHE_HOME")
    (empty_cache / "file").write_text("not a folder")
    monkeypatch.setenv("HOME", str({"file": empty_cache / "file", "read-only": Path("/proc"), "none": ""}[home]))
    if home == "none":
        monkeypatch.setattr(Path, "home", _no_home)
    fused_kernels()
    assert [path.name for path in empty_cache.iterdir()] == ["file"]
    assert compiled_library("train").parent == files.process_folder()


@pytest.mark.skipif(compiled.platform.machine() != "x86_64", reason="only x86 CPUs have these levels")
def test_each_level_that_torch_may_be_told_to_keep_to_has_a_library_of_its_own(
    compiler: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "_compile", lambda command, flags, source, library: library.write_bytes(b"code"))
    libraries = set()
    cpus = {"avx2": "haswell", "avx512": "skylake-avx512", "AVX2": "haswell", "of another kind": "native"}
    for level, cpu in cpus.items():
        monkeypatch.setenv(levels.LEVEL_ENV, level)
        assert f"-march={cpu} " in compiled._flags()
        libraries.add(compiled_library("train"))
    assert len(libraries) == 3


@pytest.mark.parametrize(
    ("compiler", "why"),
    [
        (
            "/nowhere/cc",
            r"there is no C compiler of the name /nowhere/cc \(CC\)\. Install GCC, or name another compiler by CC",
        ),
        (
            "false",
            r"false -dumpfullversion -dumpversion failed with exit code 1\. Fix what it names, or name another .* by CC",
        ),
    ],
)
def test_a_compiler_that_is_missing_or_fails_is_told(
    compiler: str, why: str, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(levels.LEVEL_ENV, raising=False)
    levels.require_vectors()  # else skipped, with what is missing
    monkeypatch.setenv("CC", compiler)
    with pytest.raises(Unavailable, match=rf"^no fused kernels: {why}\. Or train with the implementation 'aten'\.$"):
        fused_kernels()
    assert list(empty_cache.rglob("*.so")) == []


def test_wrong_kernels_are_found_out(compiler: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    true_compile: Any = compiled._compile

    def compile_wrongly(command: list[str], flags: str, source: str, library: Path) -> None:
        true_compile(command, flags, source.replace("n + z * (h[j] - n)", "n + z * (h[j] + n)"), library)

    monkeypatch.setattr(compiled, "_compile", compile_wrongly)
    with pytest.raises(Unavailable, match="their GRU gives other answers than torch's"):
        fused_kernels()


@pytest.mark.skipif(compiled.platform.machine() != "x86_64", reason="compiles for older x86 CPUs")
def test_gradients_are_right_at_the_lower_level_that_torch_is_held_to(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(levels.LEVEL_ENV, "avx2")
    for cell in CELLS:
        _require_right_gradients(_module(cell, 9, 37, 2, std=0.15), 21, 6)


def test_a_system_without_huge_pages_trains_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    class Memory(memory.mmap.mmap):  # type: ignore[name-defined,misc]
        def madvise(self, *_: object) -> None:
            raise OSError(22, "Invalid argument")

    monkeypatch.setattr(memory.mmap, "mmap", Memory)
    module, inputs = _module("gru", 2, 4, 1), torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(6))
    found = FusedLayers(module, fused_kernels()).states(inputs, 4)
    torch.testing.assert_close(found, module(inputs)[0], rtol=1e-4, atol=1e-5)


def test_the_kernels_bring_no_threads_of_their_own(compiler: Path) -> None:
    needed = subprocess.run(["readelf", "-d", str(compiler)], capture_output=True, text=True, check=True).stdout
    assert "gomp" not in needed


# Copies, turns, dropout of all


def test_states_and_gradients_are_not_overwritten_by_the_next_pass() -> None:
    layers, inputs = FusedLayers(_module("gru", 2, 4, 1), fused_kernels()), torch.randn(1, 4, 2).requires_grad_()
    first = layers.states(inputs, 4)
    states = first.detach()
    (gradient,) = torch.autograd.grad(first.sum(), inputs)
    kept = states.clone(), gradient.clone()
    torch.autograd.grad((2 * layers.states(-inputs, 4)).sum(), inputs)
    torch.testing.assert_close((states, gradient), kept, rtol=0, atol=0)


def test_gradients_of_one_window_accumulate_in_the_inputs() -> None:
    layers, inputs = FusedLayers(_module("gru", 2, 4, 1), fused_kernels()), torch.randn(1, 4, 2).requires_grad_()
    (once,) = torch.autograd.grad(layers.states(inputs, 4).sum(), inputs)
    layers.states(inputs, 4).sum().backward()
    (2 * layers.states(inputs, 4)).sum().backward()
    assert inputs.grad is not None
    torch.testing.assert_close(inputs.grad, 3 * once)


@pytest.mark.parametrize("cell", CELLS)
def test_dropout_of_all_leaves_zeros_and_no_gradient_below(cell: Cell) -> None:
    module, inputs = _module(cell, 3, 4, 2), torch.randn(5, 6, 3)
    module.dropout = 1.0
    found = FusedLayers(module, fused_kernels()).states(inputs, 6)
    below, above = torch.zeros(5, 6, 4), type(module)(4, 4, batch_first=True)
    above.load_state_dict({name: getattr(module, name[:-1] + "1").detach() for name in above.state_dict()})
    torch.testing.assert_close(found, above(below)[0], rtol=1e-5, atol=1e-6)
    found.sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in module.parameters())
    assert module.weight_ih_l0.grad is not None
    assert not module.weight_ih_l0.grad.any()


def test_layers_that_were_converted_since_are_refused() -> None:
    module = _module("gru", 2, 4, 1)
    layers = FusedLayers(module, fused_kernels())
    module.double()
    with pytest.raises(ConfigError, match="weight_ih_l0: float64; the kernel takes float32"):
        layers.states(torch.randn(3, 4, 2), 1)


# Whatever is set around


def _passes(layers: FusedLayers, inputs: torch.Tensor) -> list[torch.Tensor]:
    parameters = list(layers._rnn.parameters())
    return _states_and_gradients(
        layers.states(inputs, 4), torch.ones(3, 4, 4, dtype=torch.float32, device="cpu"), *parameters
    )


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("setting", ["dtype", "device"])
def test_torch_s_defaults_change_no_bit(cell: Cell, setting: str) -> None:
    module, inputs = _module(cell, 2, 4, 2, dropout=0.3), torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(0))
    layers = FusedLayers(module, fused_kernels())
    torch.manual_seed(0)
    right = _passes(layers, inputs)
    torch.manual_seed(0)
    if setting == "dtype":
        torch.set_default_dtype(torch.float64)
        try:
            found = _passes(layers, inputs)
        finally:
            torch.set_default_dtype(torch.float32)
    else:
        with torch.device("meta"):
            found = _passes(layers, inputs)
    for one, other in zip(found, right, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("setting", ["dtype", "device", "inference"])
def test_the_kernels_are_loaded_whatever_torch_s_defaults_are(setting: str) -> None:
    path = compiled_library("train")
    kernels = fused.Kernels(path)
    if setting == "dtype":
        torch.set_default_dtype(torch.float64)
    try:
        with torch.inference_mode(setting == "inference"), torch.device("meta" if setting == "device" else "cpu"):
            assert fused.checked_kernel("train", lambda: kernels, fused._differences) is kernels
    finally:
        torch.set_default_dtype(torch.float32)


def test_passes_in_inference_mode_leave_memory_that_others_may_use() -> None:
    layers, inputs = FusedLayers(_module("lstm", 2, 4, 1), fused_kernels()), torch.ones(3, 4, 2)
    with torch.inference_mode():
        before = layers.states(inputs, 4)
    found = _passes(layers, inputs)
    assert torch.equal(found[0], before)
    assert all(gradient.any() for gradient in found[1:])


def test_gradients_of_gradients_are_refused() -> None:
    layers, inputs = FusedLayers(_module("gru", 2, 4, 1), fused_kernels()), torch.randn(3, 4, 2).requires_grad_()
    with pytest.raises(RuntimeError, match=r"gradients of gradients are asked for \(create_graph=True\)"):
        torch.autograd.grad(layers.states(inputs, 4).sum(), inputs, create_graph=True)


def test_threads_of_python_share_layers() -> None:
    """Each of two threads gets the states of its own windows; gradients of a pass that another came after are refused."""
    module = _module("lstm", 3, 16, 2, std=0.2)
    layers, batches = FusedLayers(module, fused_kernels()), [torch.randn(size, 20, 3) for size in (2, 9)]
    right = [module(batch)[0].detach() for batch in batches]
    expected = [torch.autograd.grad(module(batch)[0].sum(), list(module.parameters())) for batch in batches]
    wrong: list[str] = []

    def train(which: int) -> None:
        for _ in range(100):
            states = layers.states(batches[which], 20)
            if (states.detach() - right[which]).abs().max() > 1e-5:
                wrong.append("states")
            try:
                found = torch.autograd.grad(states.sum(), list(module.parameters()))
            except RuntimeError as error:
                if "used again; take the gradients before the next pass" not in str(error):
                    wrong.append(str(error))
                continue
            for one, other in zip(found, expected[which], strict=True):
                if (one - other).abs().max() > 1e-4 * other.abs().max():
                    wrong.append("gradients")

    call_at_once([partial(train, which) for which in (0, 1)])
    assert wrong == []


@pytest.mark.parametrize("cell", CELLS)
def test_numbers_too_small_for_normal_ones_are_computed_with(cell: Cell) -> None:
    module = _module(cell, 2, 4, 1, std=0.2)
    with torch.no_grad():
        module.bias_ih_l0.zero_()
        module.bias_hh_l0.zero_()
    # Below 1.2e-38; what is left of them after products is a multiple of 1.4e-45.
    inputs = 1e-39 * torch.randn(5, 3, 2, generator=torch.Generator().manual_seed(3))
    states = FusedLayers(module, fused_kernels()).states(inputs, 3)
    right = copy.deepcopy(module).double()(inputs.double())[0]
    assert right.abs().max() > 1e-41
    assert (states - right).abs().max() <= 3e-44


def test_what_is_no_number_stays_none_in_states_and_touches_no_other_window() -> None:
    module, inputs = _module("gru", 2, 20, 2, std=0.3), torch.randn(30, 4, 2, generator=torch.Generator().manual_seed(3))
    layers = FusedLayers(module, fused_kernels())
    right = layers.states(inputs, 4).detach()
    inputs[7, 1, 0] = float("nan")
    found = layers.states(inputs, 4).detach()
    assert torch.equal(found[7, :1], right[7, :1])
    assert found[7, 1:].isnan().all()
    others = torch.arange(30) != 7
    assert torch.equal(found[others], right[others])


def test_nothing_is_timed_by_a_thread_after_the_timing_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Laps are held as long as the kernel writes to them, whoever else holds them."""
    held: list[Any] = []
    layers = FusedLayers(_module("gru", 2, 4, 1), fused_kernels())
    true_forward = layers.kernels.forward

    def forward(call: Any) -> None:
        passes.clear()
        gc.collect()
        held.append(laps() is not None)
        true_forward(call)

    def no_laps(threads: int) -> Any:
        nonlocal laps
        made = true_no_laps(threads)
        laps = weakref.ref(made)
        return made

    laps: Any = None
    true_no_laps = fused.no_laps
    monkeypatch.setattr(fused, "no_laps", no_laps)
    monkeypatch.setattr(layers.kernels, "forward", forward)
    with timed_passes() as passes:
        layers.states(torch.ones(3, 4, 2), 1)
    assert held == [True]

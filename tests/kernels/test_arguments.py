"""Tests of what kernels are given: refused in Python where C would read or write beside it, and one struct on both sides."""

import ctypes
import re
from collections.abc import Callable
from functools import partial
from importlib import resources
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rnncore.errors import ConfigError, Unavailable
from rnncore.forecast.model import ForecasterConfig, new_forecaster
from rnncore.kernels import forward, layers
from rnncore.kernels.forward import ForwardCall, PackedNetwork, forward_kernel
from rnncore.kernels.layers import FusedLayers, LayerBackward, LayerForward, fused_kernels
from rnncore.runtimes.catalog import open_runtime

FEATURES, HIDDEN = 5, 8


def _gru(**changes: Any) -> nn.GRU:
    return nn.GRU(FEATURES, HIDDEN, **{"batch_first": True, **changes})


def _packed(rnn: nn.GRU | nn.LSTM | None = None, head: nn.Linear | None = None, **changes: Any) -> PackedNetwork:
    given: dict[str, Any] = {"relu": True, "kernel": forward_kernel(), "threads": 1, **changes}
    return PackedNetwork(rnn or _gru(), head or nn.Linear(HIDDEN, 2), **given)


def _floats(*shape: int, dtype: str = "float32") -> np.ndarray:
    return np.zeros(shape, dtype=dtype)


def _column_major(weight: torch.Tensor) -> nn.Parameter:
    return nn.Parameter(weight.detach().t().contiguous().t())


def _with_weight(module: Any, name: str) -> Any:
    setattr(module, name, _column_major(getattr(module, name)))
    return module


# The network


RNNS: dict[str, tuple[Callable[[], Any], str]] = {
    "hours first": (lambda: _gru(batch_first=False), "GRU with batch_first=False; allowed: batch_first=True"),
    "two directions": (lambda: _gru(bidirectional=True), "GRU with bidirectional=True; allowed: bidirectional=False"),
    "no biases": (lambda: _gru(bias=False), "GRU with bias=False; allowed: bias=True"),
    "projections": (
        lambda: nn.LSTM(FEATURES, HIDDEN, batch_first=True, proj_size=3),
        "LSTM with proj_size=3; allowed: proj_size=0",
    ),
    "type": (lambda: _gru().double(), "weight_ih_l0: float64; the kernel takes float32"),
    "device": (lambda: _gru(device="meta"), "weight_ih_l0: on meta; the kernel takes what is on the CPU"),
    "order": (
        lambda: _with_weight(_gru(), "weight_hh_l0"),
        "weight_hh_l0: not contiguous; the kernel takes values one after",
    ),
}


@pytest.mark.parametrize(("rnn", "why"), RNNS.values(), ids=RNNS)
@pytest.mark.parametrize("kernel", ["forward", "training"])
def test_layers_that_no_kernel_computes_are_refused(kernel: str, rnn: Callable[[], Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        _packed(rnn()) if kernel == "forward" else FusedLayers(rnn(), fused_kernels())


@pytest.mark.parametrize("kernel", ["forward", "training"])
def test_a_cell_without_a_kernel_is_unavailable_so_that_others_run_it(kernel: str) -> None:
    rnn: Any = nn.RNN(FEATURES, HIDDEN, batch_first=True)
    # Compiled first: without a compiler they are unavailable for that reason, and the test is skipped with it.
    pack = (
        partial(_packed, rnn, kernel=forward_kernel()) if kernel == "forward" else partial(FusedLayers, rnn, fused_kernels())
    )
    with pytest.raises(Unavailable, match=r"cannot run RNN; allowed: torch\.nn\.GRU, torch\.nn\.LSTM\."):
        pack()


HEADS: dict[str, tuple[Callable[[], Any], str]] = {
    "kind": (lambda: nn.Bilinear(HIDDEN, 1, 2), r"the head Bilinear; allowed: torch\.nn\.Linear"),
    "no bias": (lambda: nn.Linear(HIDDEN, 2, bias=False), "a head with bias=False; allowed: bias=True"),
    "units": (lambda: nn.Linear(HIDDEN + 1, 2), r"the head's weight: of shape \(2, 9\); the kernel takes \(2, 8\)"),
    "type": (lambda: nn.Linear(HIDDEN, 2).double(), "the head's weight: float64; the kernel takes float32"),
    "device": (lambda: nn.Linear(HIDDEN, 2, device="meta"), "the head's weight: on meta"),
    "order": (lambda: _with_weight(nn.Linear(HIDDEN, 2), "weight"), "the head's weight: not contiguous"),
}


@pytest.mark.parametrize(("head", "why"), HEADS.values(), ids=HEADS)
def test_a_head_that_the_kernel_does_not_compute_is_refused(head: Callable[[], Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        _packed(head=head())


def test_a_head_s_bias_of_another_type_is_refused() -> None:
    head = nn.Linear(HIDDEN, 2)
    head.bias = nn.Parameter(head.bias.detach().double())
    with pytest.raises(ConfigError, match="the head's bias: float64"):
        _packed(head=head)


def test_an_unknown_precision_and_no_threads_are_refused() -> None:
    with pytest.raises(ConfigError, match="precision is 'fp16'; allowed: fp32"):
        _packed(precision="fp16")
    with pytest.raises(ConfigError, match="threads is 0; give at least 1"):
        _packed(threads=0)


def test_weights_are_copied_the_head_s_too() -> None:
    rnn, head = _gru(), nn.Linear(HIDDEN, 2)
    packed, inputs = _packed(rnn, head), np.ones((2, 3, FEATURES), dtype=np.float32)
    packed.bind(inputs)
    packed.run()
    before = packed.output.copy()
    with torch.no_grad():
        for parameter in (*rnn.parameters(), *head.parameters()):
            parameter.zero_()
    packed.run()
    np.testing.assert_array_equal(packed.output, before)


# The windows and the state


WINDOWS: dict[str, tuple[np.ndarray, str]] = {
    "type": (_floats(2, 3, FEATURES, dtype="float64"), "the windows: float64; the kernel takes float32"),
    "byte order": (_floats(2, 3, FEATURES, dtype=">f4"), "the windows: >f4; the kernel takes float32"),
    "axes": (_floats(3, FEATURES), r"the windows have shape \(3, 5\); give \(windows, hours, features\)"),
    "features": (_floats(2, 3, 4), "the windows have 4 features; the model takes 5"),
    "order": (_floats(2, 3, 2 * FEATURES)[:, :, ::2], "the windows: not contiguous"),
    "no windows": (_floats(0, 3, FEATURES), "there are 0 windows of 3 hours; give at least one window of one hour"),
    "no hours": (_floats(2, 0, FEATURES), "there are 2 windows of 0 hours; give at least one window of one hour"),
}


@pytest.mark.parametrize(("inputs", "why"), WINDOWS.values(), ids=WINDOWS)
def test_windows_that_the_forward_kernel_cannot_read_are_refused(inputs: np.ndarray, why: str) -> None:
    packed = _packed()
    with pytest.raises(ConfigError, match=why):
        packed.bind(inputs)


@pytest.mark.parametrize(
    ("inputs", "why"),
    [
        (torch.zeros(2, 3, FEATURES, dtype=torch.float64), "the windows: float64; the kernel takes float32"),
        (torch.zeros(2, 3, FEATURES, device="meta"), "the windows: on meta; the kernel takes what is on the CPU"),
        (torch.zeros(3, FEATURES), r"the windows have shape \(3, 5\); give \(windows, hours, features\)"),
        (torch.zeros(2, 3, 4), "the windows have 4 features; the model takes 5"),
        (torch.zeros(0, 3, FEATURES), "there are 0 windows of 3 hours; give at least one window of one hour"),
        (torch.zeros(2, 0, FEATURES), "there are 2 windows of 0 hours; give at least one window of one hour"),
    ],
    ids=["type", "device", "axes", "features", "no windows", "no hours"],
)
def test_windows_that_the_training_kernels_cannot_read_are_refused(inputs: torch.Tensor, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        FusedLayers(_gru(), fused_kernels()).states(inputs, 1)


@pytest.mark.parametrize("last", [0, 4])
def test_states_of_hours_that_are_not_there_are_refused(last: int) -> None:
    with pytest.raises(ConfigError, match=f"states of the last {last} hours are asked for; allowed: 1 to 3"):
        FusedLayers(_gru(), fused_kernels()).states(torch.zeros(2, 3, FEATURES), last)


def test_windows_in_another_order_train_as_in_their_own() -> None:
    rnn, inputs = _gru(), torch.randn(3, 2, FEATURES, generator=torch.Generator().manual_seed(0)).transpose(0, 1)
    torch.testing.assert_close(FusedLayers(rnn, fused_kernels()).states(inputs, 3), rnn(inputs)[0], rtol=1e-5, atol=1e-6)


def _read_only(state: np.ndarray) -> np.ndarray:
    state.flags.writeable = False
    return state


STATES: dict[str, tuple[np.ndarray, str]] = {
    "type": (_floats(1, 1, 2, HIDDEN, dtype="float64"), "the state: float64; the kernel takes float32"),
    "shape": (_floats(1, 2, HIDDEN), r"the state: of shape \(1, 2, 8\); the kernel takes \(1, 1, 2, 8\)"),
    "of an LSTM": (_floats(1, 2, 2, HIDDEN), r"the state: of shape \(1, 2, 2, 8\); the kernel takes \(1, 1, 2, 8\)"),
    "order": (_floats(1, 1, HIDDEN, 2).swapaxes(2, 3), "the state: not contiguous"),
    "read-only": (_read_only(_floats(1, 1, 2, HIDDEN)), "the state: read-only; the kernel writes to it"),
}


@pytest.mark.parametrize(("state", "why"), STATES.values(), ids=STATES)
def test_a_state_that_the_kernel_cannot_keep_is_refused(state: np.ndarray, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        _packed().bind(_floats(2, 3, FEATURES), state)


def test_a_state_in_bf16_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = forward_kernel()
    for functions in (kernel.forwards, kernel.workspace_floats):
        # It is refused before any of it runs, so that a CPU without tiles does.
        monkeypatch.setitem(functions, "bf16", functions["fp32"])
    with pytest.raises(ConfigError, match=r"carries no state in bf16; allowed: fp32"):
        _packed(precision="bf16").bind(_floats(2, 3, FEATURES), _floats(1, 1, 2, HIDDEN))


def test_a_run_without_windows_is_refused() -> None:
    packed = _packed()
    with pytest.raises(ConfigError, match="no windows are bound; bind some before a run"):
        packed.run()
    with pytest.raises(ConfigError, match="no windows are bound; bind some before a run"), packed.timed():
        pass


def test_windows_that_are_refused_leave_those_that_were_bound() -> None:
    packed = _packed()
    packed.bind(np.ones((2, 3, FEATURES), dtype=np.float32))
    packed.run()
    before = packed.output.copy()
    with pytest.raises(ConfigError):
        packed.bind(_floats(0, 3, FEATURES))
    packed.run()
    np.testing.assert_array_equal(packed.output, before)


def test_the_runtime_takes_windows_in_any_order() -> None:
    model = new_forecaster(ForecasterConfig("gru", FEATURES, HIDDEN, 1), seed=0)
    inputs = np.random.default_rng(0).standard_normal((3, 2, FEATURES), dtype=np.float32)
    with open_runtime("rnncore", model, "cpu", "fp32", 1) as runtime:
        np.testing.assert_array_equal(runtime.predict(inputs.swapaxes(0, 1)), runtime.predict(inputs.swapaxes(0, 1).copy()))


def test_no_windows_of_a_wrong_shape_are_refused_as_one_is() -> None:
    model = new_forecaster(ForecasterConfig(hidden_size=HIDDEN, num_layers=1), seed=0).eval()
    with open_runtime("rnncore", model, "cpu", "fp32", 1) as runtime:
        assert runtime.predict(np.zeros((0, 3, 5), dtype=np.float32)).shape == (0, 1)
        with pytest.raises(ConfigError, match="4 features; the model takes 5"):
            runtime.predict(np.zeros((0, 3, 4), dtype=np.float32))


# The structs


C_TYPES: dict[str, Any] = {
    "int32_t": ctypes.c_int32,
    "int64_t": ctypes.c_int64,
    "uint32_t": ctypes.c_uint32,
    "float": ctypes.c_float,
}
STRUCTS = [
    ("forward.c", "call_t", ForwardCall),
    ("train.c", "layer_forward_t", LayerForward),
    ("train.c", "layer_backward_t", LayerBackward),
]


def _fields_in_c(source: str, name: str) -> list[tuple[str, Any]]:
    """Return names and types of a struct's fields, as its C source has them."""
    found = re.search(rf"typedef struct \{{([^{{}}]*)\}} {name};", source)
    assert found is not None
    fields = []
    for line in re.sub(r"/\*.*?\*/", "", found[1], flags=re.DOTALL).split(";"):
        if not line.strip():
            continue
        kind, names = line.split(maxsplit=1)
        if kind == "const":
            kind, names = names.split(maxsplit=1)
        for declared in names.split(","):
            fields.append((re.findall(r"\w+", declared)[-1], ctypes.c_void_p if "*" in declared else C_TYPES[kind]))
    return fields


@pytest.mark.parametrize(("source", "name", "struct"), STRUCTS, ids=[name for _, name, _ in STRUCTS])
def test_a_struct_has_the_same_fields_in_c_and_in_python(source: str, name: str, struct: type[ctypes.Structure]) -> None:
    text = (resources.files("rnncore.kernels") / source).read_text(encoding="utf-8")
    assert _fields_in_c(text, name) == list(struct._fields_)


@pytest.mark.parametrize(
    ("module", "name", "get"),
    [
        (forward, "ForwardCall", forward_kernel),
        (layers, "LayerForward", fused_kernels),
        (layers, "LayerBackward", fused_kernels),
    ],
)
def test_a_library_of_another_struct_is_found_out(
    module: ModuleType, name: str, get: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    get()  # else skipped, with what is missing
    struct = getattr(module, name)
    monkeypatch.setattr(module, name, type(name, (struct,), {"_fields_": (("more", ctypes.c_void_p),)}))
    module._load.cache_clear()
    size = ctypes.sizeof(struct)
    try:
        with pytest.raises(Unavailable, match=f"its struct of {size} bytes is not {name} of {size + 8} bytes"):
            get()
    finally:
        module._load.cache_clear()

"""Tests of what kernels are given: refused in Python where C would read or write beside it, and one struct on both sides."""

import ctypes
import mmap
import re
from collections.abc import Callable
from functools import partial
from importlib import resources
from types import ModuleType
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import nn

from rnncore.errors import ConfigError, Unavailable
from rnncore.forecast.model import ForecasterConfig, new_forecaster
from rnncore.kernels import forward, layers
from rnncore.kernels.forward import ForwardCall, PackedNetwork, forward_kernel
from rnncore.kernels.layers import FusedLayers, LayerBackward, LayerForward, fused_kernels
from rnncore.kernels.peak import Chain, MultiplyAdds, ReadMemory
from rnncore.runtimes.catalog import open_runtime, open_stream

FEATURES, HIDDEN = 5, 8


def _gru(**changes: Any) -> nn.GRU:
    return nn.GRU(FEATURES, HIDDEN, **{"batch_first": True, **changes})


def _packed(rnn: nn.GRU | nn.LSTM | None = None, head: nn.Linear | None = None, **changes: Any) -> PackedNetwork:
    given: dict[str, Any] = {"relu": True, "kernel": forward_kernel(), "threads": 1, **changes}
    return PackedNetwork(rnn or _gru(), head or nn.Linear(HIDDEN, 2), **given)


def _usable(precision: str) -> str:
    """Return the precision; where the CPU has no instructions for it, the test is skipped."""
    if precision not in forward_kernel().forwards:
        pytest.skip(f"this CPU has no instructions for {precision}")
    return precision


def _floats(*shape: int, dtype: str = "float32") -> np.ndarray:
    return np.zeros(shape, dtype=dtype)


def _column_major(weight: torch.Tensor) -> nn.Parameter:
    return nn.Parameter(weight.detach().t().contiguous().t())


def _with_weight(module: Any, name: str) -> Any:
    setattr(module, name, _column_major(getattr(module, name)))
    return module


def _changed(module: Any, **changes: Any) -> Any:
    for name, value in changes.items():
        setattr(module, name, value)
    return module


def _with_sparse(module: Any, name: str) -> Any:
    return _changed(module, **{name: nn.Parameter(getattr(module, name).detach().to_sparse())})


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
    "units": (
        lambda: _changed(_gru(), hidden_size=HIDDEN + 1),
        r"weight_ih_l0: of shape \(24, 5\); the kernel takes \(27, 5\)",
    ),
    "features": (lambda: _changed(_gru(), input_size=4), r"weight_ih_l0: of shape \(24, 5\); the kernel takes \(24, 4\)"),
    "another weight": (
        lambda: _changed(_gru(), weight_hh_l0=nn.Parameter(torch.zeros(3 * HIDDEN, HIDDEN - 1))),
        r"weight_hh_l0: of shape \(24, 7\); the kernel takes \(24, 8\)",
    ),
    "another bias": (
        lambda: _changed(_gru(), bias_hh_l0=nn.Parameter(torch.zeros(HIDDEN))),
        r"bias_hh_l0: of shape \(8,\); the kernel takes \(24,\)",
    ),
    "more layers": (
        lambda: _changed(_gru(), num_layers=2),
        "weight_ih_l1: missing; the kernel takes the weights of all 2 layers",
    ),
    "no layers": (lambda: _changed(_gru(), num_layers=0), "num_layers is 0; the kernel takes 1 to 268,435,456"),
    "too many units": (lambda: _changed(_gru(), hidden_size=2**28 + 1), "hidden_size is 268435457; the kernel takes 1 to"),
    "a sparse weight": (lambda: _with_sparse(_gru(), "weight_hh_l0"), "weight_hh_l0: not contiguous"),
    "no weight": (lambda: _changed(_gru(), weight_hh_l0=None), "weight_hh_l0: missing"),
}


@pytest.mark.parametrize(("rnn", "why"), RNNS.values(), ids=RNNS)
@pytest.mark.parametrize("kernel", ["fp32", "int8", "training"])
def test_layers_that_no_kernel_computes_are_refused(kernel: str, rnn: Callable[[], Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        FusedLayers(rnn(), fused_kernels()) if kernel == "training" else _packed(rnn(), precision=_usable(kernel))


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


def _beside(*shape: int) -> np.ndarray:
    """Return floats that lie a byte beside where a float may lie."""
    size = 4 * int(np.prod(shape))
    return np.zeros(size + 1, dtype=np.uint8)[1:].view(np.float32).reshape(shape)


WINDOWS: dict[str, tuple[np.ndarray, str]] = {
    "type": (_floats(2, 3, FEATURES, dtype="float64"), "the windows: float64; the kernel takes float32"),
    "byte order": (_floats(2, 3, FEATURES, dtype=">f4"), "the windows: >f4; the kernel takes float32"),
    "axes": (_floats(3, FEATURES), r"the windows have shape \(3, 5\); give \(windows, hours, features\)"),
    "features": (_floats(2, 3, 4), "the windows have 4 features; the model takes 5"),
    "order": (_floats(2, 3, 2 * FEATURES)[:, :, ::2], "the windows: not contiguous"),
    "no windows": (_floats(0, 3, FEATURES), "there are 0 windows of 3 hours; give at least one window of one hour"),
    "no hours": (_floats(2, 0, FEATURES), "there are 2 windows of 0 hours; give at least one window of one hour"),
    "backwards": (_floats(2, 3, FEATURES)[:, ::-1], "the windows: not contiguous"),
    "between addresses": (_beside(2, 3, FEATURES), "the windows: not contiguous"),
    "one hour for all": (np.broadcast_to(_floats(FEATURES), (2, 3, FEATURES)), "the windows: not contiguous"),
    "complex": (_floats(2, 3, FEATURES, dtype="complex64"), "the windows: complex64; the kernel takes float32"),
    "objects": (_floats(2, 3, FEATURES, dtype="object"), "the windows: object; the kernel takes float32"),
    "list": (cast("np.ndarray", [[[0.0] * FEATURES]]), "the windows: list; the kernel takes an array of NumPy or a tensor"),
    "tensor": (cast("np.ndarray", torch.zeros(2, 3, FEATURES)), "the windows are a tensor of torch; give an array of NumPy"),
    "too many windows": (
        np.broadcast_to(np.float32(0), (2**28 + 1, 1, FEATURES)),
        "windows is 268435457; the kernel takes 1 to 268,435,456",
    ),
    "too many hours": (
        np.broadcast_to(np.float32(0), (1, 2**32 + 3, FEATURES)),
        "hours is 4294967299; the kernel takes 1 to",
    ),
}


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize(("inputs", "why"), WINDOWS.values(), ids=WINDOWS)
def test_windows_that_the_forward_kernel_cannot_read_are_refused(inputs: np.ndarray, why: str, precision: str) -> None:
    packed = _packed(precision=_usable(precision))
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
        (torch.zeros(2, 3, FEATURES).to_sparse(), "the windows: not contiguous"),
        (torch.from_numpy(_beside(2, 3, FEATURES)), "the windows: not contiguous"),
        (_floats(2, 3, FEATURES), "the windows are of type ndarray; give a tensor of torch"),
        (torch.zeros(1, 1, FEATURES, dtype=torch.complex64), "the windows: complex64; the kernel takes float32"),
    ],
    ids=["type", "device", "axes", "features", "no windows", "no hours", "sparse", "between addresses", "array", "complex"],
)
def test_windows_that_the_training_kernels_cannot_read_are_refused(inputs: torch.Tensor, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        FusedLayers(_gru(), fused_kernels()).states(inputs, 1)


@pytest.mark.parametrize("last", [0, 4])
def test_states_of_hours_that_are_not_there_are_refused(last: int) -> None:
    with pytest.raises(ConfigError, match=f"states of the last {last} hours are asked for; allowed: 1 to 3"):
        FusedLayers(_gru(), fused_kernels()).states(torch.zeros(2, 3, FEATURES), last)


def test_windows_whose_signs_are_to_be_turned_train_as_they_are_read() -> None:
    rnn, inputs = _gru(), torch.randn(3, 2, FEATURES, generator=torch.Generator().manual_seed(0))
    turned = torch._neg_view(inputs)
    assert turned.is_neg()
    assert turned.is_contiguous()
    torch.testing.assert_close(FusedLayers(rnn, fused_kernels()).states(turned, 2), rnn(-inputs)[0], rtol=1e-5, atol=1e-6)


def test_one_hour_for_all_windows_trains_as_its_copies() -> None:
    rnn, inputs = _gru(), torch.randn(1, 1, FEATURES, generator=torch.Generator().manual_seed(0)).expand(4, 3, FEATURES)
    torch.testing.assert_close(FusedLayers(rnn, fused_kernels()).states(inputs, 3), rnn(inputs)[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dropout", [-0.1, 1.5, float("nan")])
def test_a_dropout_that_is_no_probability_is_refused(dropout: float) -> None:
    layers = FusedLayers(_changed(_gru(num_layers=2), dropout=dropout), fused_kernels())
    with pytest.raises(ConfigError, match=f"dropout is {dropout}; give a number from 0 to 1"):
        layers.states(torch.zeros(2, 3, FEATURES), 1)


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


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize(("state", "why"), STATES.values(), ids=STATES)
def test_a_state_that_the_kernel_cannot_keep_is_refused(state: np.ndarray, why: str, precision: str) -> None:
    with pytest.raises(ConfigError, match=why):
        _packed(precision=_usable(precision)).bind(_floats(2, 3, FEATURES), state)


def test_a_state_in_the_memory_of_the_windows_is_refused() -> None:
    memory = np.zeros(2 * 3 * HIDDEN, dtype=np.float32)
    packed = _packed(nn.GRU(HIDDEN, HIDDEN, batch_first=True))
    with pytest.raises(ConfigError, match="the state shares memory with the windows"):
        packed.bind(memory.reshape(2, 3, HIDDEN), memory[8 : 8 + 2 * HIDDEN].reshape(1, 1, 2, HIDDEN))


def test_a_state_in_bf16_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = forward_kernel()
    for functions in (kernel.forwards, kernel.workspace_floats):
        # It is refused before any of it runs, so that a CPU without tiles does.
        monkeypatch.setitem(functions, "bf16", functions["fp32"])
    with pytest.raises(ConfigError, match=r"carries no state in bf16; allowed: fp32, int8\."):
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


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_no_windows_of_a_wrong_shape_are_refused_as_one_is(precision: str) -> None:
    model = new_forecaster(ForecasterConfig(hidden_size=HIDDEN, num_layers=1), seed=0).eval()
    with open_runtime("rnncore", model, "cpu", _usable(precision), 1) as runtime:
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
    ("peak.c", "multiply_adds_t", MultiplyAdds),
    ("peak.c", "read_memory_t", ReadMemory),
    ("peak.c", "chain_t", Chain),
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


# What is changed after it was given


def test_a_head_that_is_replaced_later_is_not_the_one_that_was_packed() -> None:
    model = new_forecaster(ForecasterConfig("gru", FEATURES, HIDDEN, 1), seed=0).eval()
    inputs = np.ones((2, 3, FEATURES), dtype=np.float32)
    with open_runtime("rnncore", model, "cpu", "fp32", 1) as runtime:
        before = runtime.predict(inputs)
        model.head = nn.Linear(HIDDEN + 3, 7)
        np.testing.assert_array_equal(runtime.predict(inputs), before)
    with (
        pytest.raises(ConfigError, match=r"the head's weight: of shape \(7, 11\); the kernel takes \(7, 8\)"),
        open_runtime("rnncore", model, "cpu", "fp32", 1),
    ):
        pass
    model.head = nn.Linear(HIDDEN, 7)
    with open_runtime("rnncore", model, "cpu", "fp32", 1) as runtime:
        found = runtime.predict(inputs)
    with torch.inference_mode():
        np.testing.assert_allclose(found, model(torch.from_numpy(inputs)), atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"hidden_size": HIDDEN + 1}, r"weight_ih_l0: of shape \(24, 5\)"),
        ({"num_layers": 2}, "weight_ih_l1: missing"),
        ({"bidirectional": True}, "GRU with bidirectional=True"),
        ({"weight_hh_l0": nn.Parameter(torch.zeros(3 * HIDDEN, HIDDEN, dtype=torch.float16))}, "weight_hh_l0: float16"),
    ],
)
def test_layers_that_are_changed_later_are_looked_at_in_each_pass(changes: dict[str, Any], why: str) -> None:
    rnn, inputs = _gru(), torch.zeros(2, 3, FEATURES)
    layers = FusedLayers(rnn, fused_kernels())
    layers.states(inputs, 1)
    _changed(rnn, **changes)
    with pytest.raises(ConfigError, match=why):
        layers.states(inputs, 1)


@pytest.mark.parametrize("given", ["inputs", "weight_ih_l0", "weight_hh_l0"])
def test_memory_that_is_exchanged_between_the_passes_is_refused_by_the_second(given: str) -> None:
    rnn, inputs = _gru(), torch.zeros(2, 3, FEATURES, requires_grad=True)
    loss = FusedLayers(rnn, fused_kernels()).states(inputs, 3).sum()
    tensor = inputs if given == "inputs" else getattr(rnn, given)
    tensor.data = tensor.detach()[:1].clone()
    with pytest.raises(RuntimeError, match="were given other memory since; take the gradients before that"):
        loss.backward()


def test_weights_that_are_changed_in_place_between_the_passes_are_refused_by_the_second() -> None:
    rnn = _gru()
    loss = FusedLayers(rnn, fused_kernels()).states(torch.zeros(2, 3, FEATURES), 3).sum()
    with torch.no_grad():
        rnn.weight_hh_l0.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize(
    ("hour", "why"),
    [
        (_floats(FEATURES), r"the hour: of shape \(5,\); the kernel takes \(3, 5\)"),
        (_floats(1, FEATURES), r"the hour: of shape \(1, 5\); the kernel takes \(3, 5\)"),
        (_floats(3, FEATURES, dtype="float64"), "the hour: float64; the kernel takes float32"),
    ],
    ids=["one for all", "one series", "type"],
)
def test_an_hour_that_is_not_one_of_each_series_is_refused(hour: np.ndarray, why: str) -> None:
    model = new_forecaster(ForecasterConfig("gru", FEATURES, HIDDEN, 1), seed=0)
    with open_stream("rnncore", model, 3, 1) as stream, pytest.raises(ConfigError, match=why):
        stream.step(hour)


# Sizes


@pytest.fixture
def huge() -> np.ndarray:
    """Return windows of more than 2^31 values, of pages that the system does not fill: all but the last two are zeros."""
    features = 4096
    windows = 2**31 // features + 2
    try:
        # Python has a name for "do not reserve" from 3.13 on; this is Linux's number of it.
        no_reserve = getattr(mmap, "MAP_NORESERVE", 0x4000)
        memory = mmap.mmap(-1, 4 * windows * features, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | no_reserve)
    except (OSError, OverflowError, AttributeError) as error:
        pytest.skip(f"this system gives no 8 GiB of addresses ({error})")
    inputs = np.frombuffer(memory, dtype=np.float32).reshape(windows, 1, features)
    inputs[-2:] = np.random.default_rng(0).standard_normal((2, 1, features), dtype=np.float32)
    return inputs


def test_the_forward_kernel_counts_places_in_64_bits(huge: np.ndarray) -> None:
    rnn, head = nn.GRU(huge.shape[2], 1, batch_first=True), nn.Linear(1, 1)
    for parameter in rnn.parameters():
        nn.init.normal_(parameter, std=0.02)
    packed = PackedNetwork(rnn, head, False, forward_kernel(), 2)
    with torch.inference_mode():
        right = head(rnn(torch.from_numpy(huge[-3:]))[0][:, -1])
    np.testing.assert_allclose(packed.forecast(huge)[-3:], right, atol=1e-5)


def test_the_training_kernels_count_places_in_64_bits(huge: np.ndarray) -> None:
    rnn = nn.GRU(huge.shape[2], 1, batch_first=True)
    for parameter in rnn.parameters():
        nn.init.normal_(parameter, std=0.02)
    states = FusedLayers(rnn, fused_kernels()).states(torch.from_numpy(huge), 1)
    right = rnn(torch.from_numpy(huge[-3:]))[0]
    torch.testing.assert_close(states[-3:], right, rtol=0, atol=1e-5)
    # Windows of zeros give nothing to the weights of the inputs.
    found, expected = (torch.autograd.grad(of.sum(), rnn.weight_ih_l0)[0] for of in (states, right))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("lstm", [0, 1])
def test_workspaces_are_sized_in_64_bits(lstm: int) -> None:
    call = ForwardCall(threads=3, lstm=lstm, B=2**20, T=2**20, F=2**26, H=2**26, N=3, relu=0, L=1)
    for workspace_floats in forward_kernel().workspace_floats.values():
        # Of a thread what the inputs of a block of 252 windows give.
        assert workspace_floats(call) >= 3 * 252 * 2**26 * (3 + lstm)
    # And those inputs, in fp32.
    assert forward_kernel().workspace_floats["fp32"](call) >= 3 * 252 * 2**26 * (1 + 3 + lstm)
    layer = LayerForward(threads=3, B=2**20, T=2**20, F=2**26, H=2**26, block=2**10, cell=64 * lstm)
    assert fused_kernels().workspace_floats(layer) >= (3 + lstm) * 2**52 * 2

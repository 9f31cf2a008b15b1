"""The one list of sizes: which cases each suite measures at which `--rnn-scale`."""

from collections.abc import Sequence
from dataclasses import replace

from rnncore.forecast.cells import CELLS
from rnncore.forecast.device import CPU, Device, accelerator_type, default_threads, usable_threads
from rnncore.forecast.presets import preset
from rnncore.forecast.scoring import CHUNK_WINDOWS
from rnncore.runfile.case import AUTOCAST, Case, Clock
from rnncore.runfile.recipes import other_sizes
from rnncore.runtimes.catalog import OWN_RUNTIMES, Way, streams, ways_on

# The CPU, and what torch has beside it here; where it has nothing, CUDA, whose rows are skipped with the reason.
GPU = Device(accelerator_type())
DEVICES = (CPU, GPU.name)

INFERENCE_BATCH_SIZES = {
    "gate": (1, 32),
    "quick": (1, 32),
    "default": (1, 32, 1024),
    "full": (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192),
}

# Models that a user would deploy: their recipes, and the batch sizes of a lone forecast and of many; below the full scale on
# the usual runtimes alone.
DEPLOYED = {"gate": (), "quick": ("fast",), "default": ("fast",), "full": ("fast", "best")}
DEPLOYED_BATCH_SIZES = {"gate": (), "quick": (1,), "default": (1, 1024), "full": (1, 32, 1024)}

# A stream's saving shows with one series and with many; what the article's model would save is left to the full scale.
STREAMED = {"gate": ("fast",), "quick": ("fast",), "default": ("fast",), "full": ("article", "fast")}
STREAMED_BATCH_SIZES = {**INFERENCE_BATCH_SIZES, "default": (1, 1024)}

# Beside the article's model, one axis at a time, at the full scale; threads are 1, 2, 4 and so on to all.
SWEPT = {"hidden_size": (32, 64, 128, 512, 1024), "num_layers": (1, 3), "lookback": (24, 48, 168, 336, 720)}
SWEPT_BATCH_SIZE = 32

TRAINING_BATCH_SIZES = {"gate": (16,), "quick": (32,), "default": (1024,), "full": (64, 256, 1024, 4096)}

# Of all processes together; a step that is checked has as many equal parts as the most of them.
SCALING_BATCH_SIZES = {"gate": (), "quick": (32,), "default": (32, 256), "full": (32, 256, 1024)}
MOST_DEVICES = 32

# What takes the steps of several processes.
SCALING_RUNTIMES = {CPU: "rnncore", GPU.name: "torch"}

# What takes the steps: torch's layers, ours, and the article's loop.
TRAINING_PRECISIONS = {
    ("torch", CPU): ("fp32", "amp_bf16"),
    ("rnncore", CPU): ("fp32", "bf16"),
    ("article", CPU): ("fp32",),
    ("torch", GPU.name): tuple(
        one for one in ("fp32", "tf32", "amp_bf16", "amp_fp16") if one.removeprefix(AUTOCAST) in GPU.precisions
    ),
    ("article", GPU.name): ("fp32",),
}

# The scales at which layers are trained in a mixed precision: on a CPU, where ours take bf16, that is a side issue.
MIXED_SCALES = {CPU: ("full",), GPU.name: ("default", "full")}

# What is trained as a graph too.
GRAPHS = [("torch", GPU.name)] if GPU.kind.graphs else []

PEERS, PEER_BATCH_SIZE = ("neuralforecast", "darts"), 1024

# Most queries that a server answers together; 1 for one after another.
SERVED_TOGETHER = (1, 32)

# Where little time is wanted: what is installed everywhere, in its usual precision.
USUAL_RUNTIMES = ("torch", "rnncore", "onnxruntime")

# Of our own models left to the full scale, for the time of our int8: our bf16 was quicker at every batch, by 1.3 to 16 times
# on the AMD CPU of 2026-11-27 (reports/LOG.md).
LEFT_TO_FULL = (CPU, Way("torch", None, "bf16"))

# Modes of a default run; all others are measured at the full scale alone.
DEFAULT_MODES = {("torch", "graph")}

# Batch sizes of ways that take minutes for each shape, or that say enough at a few; all others have all.
FEW_BATCH_SIZES = {
    ("torch", "compile"): (1, 1024),
    ("torch", "without_cudnn"): INFERENCE_BATCH_SIZES["default"],
    ("onnxruntime", "graph"): INFERENCE_BATCH_SIZES["default"],
    ("onnxruntime", "tensorrt"): INFERENCE_BATCH_SIZES["default"],
}

# What a default run on two CPU cores takes, in seconds: each row with all that is done for it alone, by phase, recipe and
# batch size; and once what rows share. Means of the run of 2026-11-26 on an Intel Xeon with AMX (reports/LOG.md), less what
# two kinds of rows no longer do: a training row took 16.3 s with a second untimed call, an accuracy row 8.5 s when it scored
# all test hours again in each round.
ROW_S = {
    ("accuracy", "fast", CHUNK_WINDOWS): 5.5,
    ("data", None, None): 7.5,
    ("data", None, 1024): 1.2,
    ("infer", "article", 1): 1.9,
    ("infer", "article", 32): 1.6,
    ("infer", "article", 1024): 4.5,
    ("infer", "fast", 1): 1.4,
    ("infer", "fast", 1024): 1.3,
    ("stream", "fast", 1): 2.0,
    ("stream", "fast", 1024): 1.3,
    ("train", "article", 1024): 14.0,
}
SHARED_S = 17.0

# What a default run may take by that count; a suite that is added takes its seconds from another.
MAX_DEFAULT_S = 304.0


def planned_s(cases: Sequence[Case]) -> float:
    """Return how many seconds a default run of these CPU cases takes on the machine that `ROW_S` was measured on.

    Raises:
        KeyError: If nobody has measured a row of this phase, recipe and batch size.
    """
    return SHARED_S + sum(ROW_S[case.phase, case.recipe, case.batch_size] for case in cases)


def _ways_on(device: str, scale: str) -> list[Way]:
    """Return the ways of a scale; unusual ones at the full scale alone, but for graphs, which a default run has too."""
    found = ways_on(device)
    if scale == "full":
        return found
    found = [way for way in found if way.mode is None or (way.runtime, way.mode) in DEFAULT_MODES]
    if scale == "default":
        return found
    found = [way for way in found if way.mode is None]
    usual = {name: next(iter(OWN_RUNTIMES[name].precisions_on(device)), None) for name in USUAL_RUNTIMES}
    return [way for way in found if usual.get(way.runtime) == way.precision or way.runtime not in OWN_RUNTIMES]


def _ways_of_ours(device: str, scale: str) -> list[Way]:
    """Return the ways of a scale to run models of ours, which our own kernel runs too."""
    return [way for way in _ways_on(device, scale) if scale == "full" or (device, way) != LEFT_TO_FULL]


def _axes_of(recipe: str, cell: str) -> dict[str, int | str]:
    one = preset(recipe, cell)
    return {
        "recipe": recipe,
        "hidden_size": one.forecaster.hidden_size,
        "num_layers": one.forecaster.num_layers,
        "lookback": one.windows.lookback,
    }


def training_cases(scale: str) -> list[Case]:
    """One optimiser step of the article's model; in bf16 by our layers at full scale alone: nothing takes it by itself."""
    return _training_steps(scale, TRAINING_BATCH_SIZES[scale])


def _training_steps(scale: str, batch_sizes: Sequence[int]) -> list[Case]:
    return [
        Case(
            "train",
            cell,
            **_axes_of("article", cell),
            batch_size=batch_size,
            device=device,
            runtime=runtime,
            precision=precision,
            mode=mode,
        )
        for batch_size in batch_sizes
        for (runtime, device), precisions in TRAINING_PRECISIONS.items()
        # The article's loop is what others are held against, and no code of ours that could become slower.
        if runtime != "article" or scale != "gate"
        for precision in precisions
        if not precision.startswith(AUTOCAST) or scale in MIXED_SCALES[device]
        if precision != "bf16" or scale == "full"
        for mode in ((None, "graph") if (runtime, device) in GRAPHS and scale in ("default", "full") else (None,))
        for cell in CELLS
    ]


def scaling_cases(scale: str) -> list[Case]:
    """Training steps of the article's model by 2, 4 and so on processes, up to the CPUs and GPUs that there are."""
    return [
        Case(
            "scaling",
            cell,
            **_axes_of("article", cell),
            batch_size=batch_size,
            device=device,
            runtime=SCALING_RUNTIMES[device],
            threads=1 if device == CPU else None,
            devices=devices,
        )
        for device, there in ((CPU, usable_threads()), (GPU.name, GPU.count()))
        # Of one alone there are two processes all the same, which are skipped with the reason.
        for devices in (2**power for power in range(1, max(2, min(there, MOST_DEVICES).bit_length())))
        for batch_size in SCALING_BATCH_SIZES[scale]
        for cell in CELLS
    ]


def peer_cases(scale: str) -> list[Case]:
    """One optimiser step of the article's model by other libraries; at full scale, where they are installed."""
    if scale != "full":
        return []
    return [
        Case("train", cell, **_axes_of("article", cell), batch_size=PEER_BATCH_SIZE, runtime=runtime)
        for runtime in PEERS
        for cell in CELLS
    ]


def peer_inference_cases(scale: str) -> list[Case]:
    """One forward pass of the article's model by oneDNN's own primitives; at full scale, where they are installed."""
    if scale != "full":
        return []
    return [
        Case("infer", cell, **_axes_of("article", cell), batch_size=batch_size, runtime="onednn", precision=precision)
        for batch_size in INFERENCE_BATCH_SIZES["default"]
        for cell in CELLS
        for precision in ("fp32", "bf16")
    ]


def inference_cases(scale: str) -> list[Case]:
    """One forward pass: of the article's model on every runtime, and of the models that a user would deploy.

    On a GPU each is timed twice, without and with the copies of input and output; at the full scale torch's also with those
    from and to page-locked memory.
    """
    cases = _on_device_cases(scale)
    return _with_copies(cases) + (_with_locked_copies(cases) if scale == "full" else [])


def _with_locked_copies(cases: list[Case]) -> list[Case]:
    """Return the article's model in torch, at the usual batch sizes, with copies from and to page-locked memory."""
    sizes = INFERENCE_BATCH_SIZES["default"]
    return [
        replace(case, clock="pinned")
        for case in cases
        if case.clock == "device" and case.recipe == "article" and case.batch_size in sizes and not other_sizes(case.axes)
        if case.runtime == "torch" and (case.mode is None or (case.runtime, case.mode) in DEFAULT_MODES)
    ]


def _with_copies(cases: list[Case]) -> list[Case]:
    """Return cases, each that leaves out a GPU's copies a second time with them: these are what is ranked."""
    return cases + [replace(case, clock="host") for case in cases if case.clock == "device"]


def _on_device_cases(scale: str) -> list[Case]:
    article = _forward_passes(("article",), INFERENCE_BATCH_SIZES[scale], scale)
    deployed = _forward_passes(DEPLOYED[scale], DEPLOYED_BATCH_SIZES[scale], "full" if scale == "full" else "quick")
    return article + deployed + (_swept(article) if scale == "full" else [])


def _forward_passes(recipes: Sequence[str], batch_sizes: Sequence[int], runtimes_scale: str) -> list[Case]:
    return [
        Case(
            "infer",
            cell,
            **_axes_of(recipe, cell),
            batch_size=batch_size,
            device=device,
            **way._asdict(),
            clock="device" if device != CPU else None,
        )
        for recipe in recipes
        for device in DEVICES
        for batch_size in batch_sizes
        for cell in CELLS
        for way in _ways_of_ours(device, runtimes_scale)
        if batch_size in FEW_BATCH_SIZES.get((way.runtime, way.mode), (batch_size,))
    ]


def _swept(cases: list[Case]) -> list[Case]:
    """Return the cases of one batch size again, each with another value of one axis."""
    base = [case for case in cases if case.batch_size == SWEPT_BATCH_SIZE and case.mode is None]
    swept = [replace(case, **{axis: value}) for axis, values in SWEPT.items() for value in values for case in base]
    threads = [2**power for power in range(default_threads().bit_length())]
    return swept + [replace(case, threads=count) for count in threads for case in base if case.device == CPU]


def interleaved_cases(scale: str) -> list[Case]:
    """Forward passes interleaved, each runtime in a process of its own."""
    return [
        replace(case, phase="interleaved")
        for case in _on_device_cases("default" if scale == "full" else scale)
        # Its first call, in every process, takes minutes.
        if case.mode != "compile"
    ]


def interleaved_training_cases(scale: str) -> list[Case]:
    """Training steps interleaved, each training in a process of its own; at full scale of the default one's batch size."""
    batch_sizes = TRAINING_BATCH_SIZES["default" if scale == "full" else scale]
    return [replace(case, phase="interleaved training") for case in _training_steps(scale, batch_sizes)]


def own_model_cases(scale: str) -> list[Case]:
    """One forward pass of a model that is not ours, on every runtime but the kernel that knows ours alone."""
    cases = [
        Case(
            "infer",
            "own",
            lookback=preset("article", "gru").windows.lookback,
            batch_size=batch_size,
            device=device,
            **way._asdict(),
            recipe="own",
            clock="device" if device != CPU else None,
        )
        for device in DEVICES
        for batch_size in INFERENCE_BATCH_SIZES[scale]
        for way in _ways_on(device, scale)
        if way.runtime != "rnncore" and batch_size in FEW_BATCH_SIZES.get((way.runtime, way.mode), (batch_size,))
    ]
    return _with_copies(cases)


def accuracy_cases(scale: str) -> list[Case]:
    """A training of each model that a user would deploy, scored on every runtime; at full scale the article's in PyTorch."""
    cases = [
        Case(
            "accuracy",
            cell,
            **_axes_of(recipe, cell),
            batch_size=CHUNK_WINDOWS,
            device=device,
            **way._asdict(),
        )
        for recipe in DEPLOYED[scale] or ("fast",)
        for cell in CELLS
        for device in DEVICES
        for way in _ways_of_ours(device, scale)
        # The gate's inference rows have the other runtimes; compiling for the shape of every last batch takes too long.
        if (scale != "gate" or way.runtime == "torch") and way.mode != "compile"
    ]
    if scale == "full":
        # What the article's recipe reaches in the time; it is trained where it is scored.
        cases += [
            Case("accuracy", cell, **_axes_of("article", cell), batch_size=CHUNK_WINDOWS, device=device)
            for cell in CELLS
            for device in DEVICES
        ]
    return cases


def serving_cases(scale: str) -> list[Case]:
    """Queries by chance; the batch size is the most that are answered together. Each takes up to a minute: quick has one."""
    if scale in ("gate", "default"):
        return []
    rows = [
        Case(
            "serve",
            cell,
            **_axes_of("article", cell),
            batch_size=max_batch,
            device=device,
            runtime=runtime,
            clock=_whole_clock(device),
        )
        for device in DEVICES
        for cell in CELLS
        for max_batch in SERVED_TOGETHER
        for runtime in USUAL_RUNTIMES
        if OWN_RUNTIMES[runtime].precisions_on(device)
    ]
    together = [row for row in rows if row.runtime == "rnncore" and row.batch_size > 1]
    return rows if scale == "full" else together[:1]


def stream_cases(scale: str) -> list[Case]:
    """One new hour for each of B series, the state carried: our model, for accuracy too, and the article's for speed."""
    return [
        Case(
            "stream",
            cell,
            **_axes_of(recipe, cell),
            batch_size=batch_size,
            device=device,
            runtime=runtime,
            clock=_whole_clock(device),
        )
        for device in DEVICES
        for cell in CELLS
        for recipe in STREAMED[scale]
        for batch_size in STREAMED_BATCH_SIZES[scale]
        for runtime in streams(device)
    ]


def _whole_clock(device: str) -> Clock | None:
    """Return the clock of what is asked for and answered on the host: on a GPU the copies are a part of it."""
    return "host" if device != CPU else None


def preparing_cases(scale: str) -> list[Case]:
    """From files to ready windows: ours, and at full scale the article's way."""
    runtimes = ("rnncore", "article") if scale == "full" else ("rnncore",)
    return [Case("data", runtime=runtime, precision=None, **_data_axes()) for runtime in runtimes]


def gathering_cases(scale: str) -> list[Case]:
    """From ready windows to one batch."""
    return [
        Case("data", batch_size=batch_size, device=device, precision=None, **_data_axes())
        for device in DEVICES
        for batch_size in TRAINING_BATCH_SIZES[scale]
    ]


def _data_axes() -> dict[str, int]:
    return {"lookback": preset("article", "gru").windows.lookback}

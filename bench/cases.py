"""The one list of sizes: which cases each suite measures at which `--rnn-scale`."""

from rnncore.forecast.model import CELLS
from rnncore.forecast.presets import preset
from rnncore.forecast.scoring import CHUNK_WINDOWS
from rnncore.measure.case import Case
from rnncore.runtimes.catalog import PRECISIONS

DEVICES = ("cpu", "cuda")

INFERENCE_BATCH_SIZES = {
    "gate": (1, 32),
    "quick": (1, 32),
    "default": (1, 32, 1024),
    "full": (1, 8, 32, 128, 512, 1024, 2048),
}
TRAINING_BATCH_SIZES = {"gate": (16,), "quick": (32,), "default": (1024,), "full": (64, 256, 1024, 4096)}

# What takes the steps: torch's layers, ours, and the article's loop.
TRAINING_PRECISIONS = {
    ("torch", "cpu"): PRECISIONS["torch", "cpu"],
    ("rnncore", "cpu"): ("fp32",),
    ("article", "cpu"): ("fp32",),
    ("torch", "cuda"): PRECISIONS["torch", "cuda"],
    ("article", "cuda"): ("fp32",),
}

PEERS, PEER_BATCH_SIZE = ("neuralforecast", "darts"), 1024

# Runtimes of every run; the ones that are extras join where the scale is full.
USUAL_RUNTIMES = ("torch", "onnxruntime")


def _runtimes_on(device: str, scale: str) -> list[tuple[str, str]]:
    return [
        (runtime, precision)
        for (runtime, on), precisions in PRECISIONS.items()
        if on == device and (runtime in USUAL_RUNTIMES or scale == "full")
        for precision in precisions
    ]


def _article_axes(cell: str) -> dict[str, int]:
    article = preset("article", cell)
    return {
        "hidden_size": article.forecaster.hidden_size,
        "num_layers": article.forecaster.num_layers,
        "lookback": article.windows.lookback,
    }


def training_cases(scale: str) -> list[Case]:
    """One optimiser step of the article's model."""
    return [
        Case(
            "train",
            cell,
            **_article_axes(cell),
            batch_size=batch_size,
            device=device,
            runtime=runtime,
            precision=precision,
        )
        for batch_size in TRAINING_BATCH_SIZES[scale]
        for (runtime, device), precisions in TRAINING_PRECISIONS.items()
        # The article's loop is what others are held against, and no code of ours that could become slower.
        if runtime != "article" or scale != "gate"
        for precision in precisions
        for cell in CELLS
    ]


def peer_cases(scale: str) -> list[Case]:
    """One optimiser step of the article's model by other libraries; at full scale, where they are installed."""
    if scale != "full":
        return []
    return [
        Case("train", cell, **_article_axes(cell), batch_size=PEER_BATCH_SIZE, runtime=runtime)
        for runtime in PEERS
        for cell in CELLS
    ]


def inference_cases(scale: str) -> list[Case]:
    """One forward pass of the article's model on every runtime."""
    return [
        Case(
            "infer",
            cell,
            **_article_axes(cell),
            batch_size=batch_size,
            device=device,
            runtime=runtime,
            precision=precision,
        )
        for device in DEVICES
        for batch_size in INFERENCE_BATCH_SIZES[scale]
        for cell in CELLS
        for runtime, precision in _runtimes_on(device, scale)
    ]


def host_to_host_cases(scale: str) -> list[Case]:
    """The same on a GPU, with the copies of input and output; on a CPU there are none to speak of."""
    return [case for case in inference_cases(scale) if case.device == "cuda"]


def accuracy_cases(scale: str) -> list[Case]:
    """A training of the fast model, scored on every runtime; at full scale the article's too, in PyTorch."""
    cases = []
    for cell in CELLS:
        fast = preset("fast", cell)
        cases += [
            Case(
                "accuracy",
                cell,
                fast.forecaster.hidden_size,
                fast.forecaster.num_layers,
                fast.windows.lookback,
                CHUNK_WINDOWS,
                device=device,
                runtime=runtime,
                precision=precision,
            )
            for device in DEVICES
            for runtime, precision in _runtimes_on(device, scale)
            # The gate's inference rows have the other runtimes.
            if scale != "gate" or runtime == "torch"
        ]
        if scale == "full":
            # What the article's recipe reaches in the time; it is trained where it is scored.
            cases += [
                Case("accuracy", cell, **_article_axes(cell), batch_size=CHUNK_WINDOWS, device=device) for device in DEVICES
            ]
    return cases


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

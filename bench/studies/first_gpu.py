"""What to run first on a machine with a GPU: all that could not be tried without one, most telling first.

    python bench/studies/first_gpu.py [FOLDER] [--minutes 10] [--only STAGE]... [--small]

Each stage is a process with a limit and a log of its own in FOLDER (`reports/first-gpu`). What ended well is not run again:
the same command goes on after an interruption. At the end `page.md` there has what was measured beside what is expected, and
names what is off by more than 2x. The figures expected are estimates for an NVIDIA H100 SXM and the article's GRU of 90
hours; **nobody has seen them on a GPU**. `--small` is for a rehearsal: every stage, and no figure that says anything.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rnncore.forecast.device import CUDA, Device
from rnncore.runfile.case import AUTOCAST
from rnncore.runfile.record import is_emulated

REPOSITORY = Path(__file__).parents[2]

# Milliseconds of a batch of 1,024, in a usual call and as a graph; TFLOP/s of square products; TB/s of a copy.
EXPECTED = {
    "forward gru fp32 b1024": (3.0, 5.0),
    "forward gru tf32 b1024": (1.0, 1.6),
    "forward gru fp16 b1024": (0.9, 1.4),
    "forward gru bf16 b1024": (0.9, 1.4),
    "graph gru fp32 b1024": (3.0, 5.0),
    "graph gru tf32 b1024": (0.7, 1.2),
    "graph gru fp16 b1024": (0.5, 0.9),
    "graph gru bf16 b1024": (0.5, 0.9),
    "forward gru fp32 b1": (0.9, 1.4),
    "graph gru fp32 b1": (0.4, 0.7),
    "without cuDNN gru fp32 b1": (2.0, 4.0),
    "step gru fp32 b1024": (8.0, 13.0),
    "step gru tf32 b1024": (3.0, 5.0),
    "step gru amp_fp16 b1024": (2.5, 4.0),
    "step gru amp_bf16 b1024": (2.5, 4.0),
    "step as a graph gru fp32 b1024": (8.0, 12.0),
    "step as a graph gru tf32 b1024": (2.0, 3.5),
    "step as a graph gru amp_fp16 b1024": (1.5, 3.0),
    "step as a graph gru amp_bf16 b1024": (1.5, 3.0),
    "product fp32": (45.0, 55.0),
    "product tf32": (350.0, 450.0),
    "product bf16": (700.0, 850.0),
    "product fp16": (700.0, 850.0),
    "copy": (2.5, 3.3),
}

# How far a figure may be from what is expected before it is named.
FAR = 2.0

# Characters of an error that the page shows.
LONGEST_ERROR = 200

# The data of a rehearsal's reproduction.
FEW_HOURS = "few.csv"

# Where a process of the probe says how far it came.
PROBED = "probe.jsonl"


@dataclass(frozen=True)
class Stage:
    """One process.

    Attributes:
        name: Of the stage and its log.
        command: Its arguments, after Python's own.
        share: Of the minutes that it may take.
    """

    name: str
    command: tuple[str, ...]
    share: float


@dataclass(frozen=True)
class Ended:
    """How a stage ended: its exit code, None where it took too long, and its seconds."""

    code: int | None
    seconds: float


def stages(folder: Path, small: bool) -> list[Stage]:
    """Return all stages in order."""
    pytest = ("-m", "pytest", "-q", "-p", "no:cacheprovider")
    tests = ("tests/runtimes/test_base.py", "tests/forecast/test_fit.py", "-k", "on_cuda")
    saved = ("--benchmark-autosave", f"--benchmark-storage={folder / 'runs'}", "--rnn-case-timeout", "60")
    gpu = ("--rnn-device", CUDA, "--rnn-scale", "quick" if small else "default", *saved)
    suites = ("bench/bench_inference.py", "bench/bench_training.py", "bench/bench_data.py")
    few = ("-k", "gru and torch and b1 and not host", "--benchmark-max-time=0.02") if small else ()
    steps = ("--data", str(folder / FEW_HOURS), "--max-steps", "2") if small else ()
    return [
        Stage("tests", (*pytest, *tests), 0.15),
        Stage("probe", (__file__, str(folder), "--probe", *(("--small",) if small else ())), 0.35),
        Stage("suites", (*pytest, *suites, *gpu, *few), 0.35),
        Stage(
            "reproduction", ("-m", "rnncore", "reproduce", "--device", CUDA, "--out", str(folder / "article"), *steps), 1.0
        ),
    ]


def write_few_hours(path: Path) -> None:
    """Write a zone of as few hours as a training and its baselines need, for a rehearsal."""
    from datetime import datetime, timedelta

    from rnncore.files import write_text

    first = datetime(2017, 1, 1)
    rows = (f"{first + timedelta(hours=hour)},{1000 + 10 * (hour % 24)}" for hour in range(4500))
    write_text(path, "\n".join(["Datetime,A_MW", *rows, ""]))


def run(stage: Stage, folder: Path, limit_s: float) -> Ended:
    """Run a stage, with its output in the log of its name."""
    env = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"}
    began_s = time.monotonic()
    with (folder / f"{stage.name}.log").open("w", encoding="utf-8") as log:
        try:
            done = subprocess.run(
                [sys.executable, *stage.command],
                cwd=REPOSITORY,
                env=env,
                stdout=log,
                stderr=subprocess.STDOUT,
                check=False,
                timeout=limit_s,
            )
            code: int | None = done.returncode
        except subprocess.TimeoutExpired:
            code = None
    return Ended(code, time.monotonic() - began_s)


def probe(folder: Path, small: bool) -> int:
    """Measure all parts that an earlier process did not, each on a line of its own; return how many failed."""
    from rnncore.errors import RnncoreError

    known = {part["name"] for part in _probed(folder) if "error" not in part}
    failed = 0
    with (folder / PROBED).open("a", encoding="utf-8") as file:
        for name, measure in parts(small):
            if name in known:
                continue
            try:
                found = measure()
            # Each part may fail alone.
            except (RnncoreError, RuntimeError, NotImplementedError) as error:
                found, failed = (
                    {"error": f"{type(error).__name__}: {str(error).splitlines()[0][:LONGEST_ERROR]}"},
                    failed + 1,
                )
            file.write(json.dumps({"name": name, **found}) + "\n")
            file.flush()
            print(name, found, flush=True)
            Device(CUDA).empty_cache()
    return failed


def parts(small: bool) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """Yield what is measured, by name, most telling first."""
    batches, precisions = ((1, 4) if small else (1024, 1, 32)), ("fp32", "tf32", "bf16", "fp16")
    yield "machine", _machine
    yield "energy counter", _energy_steps
    for batch in batches:
        for cell in ("gru", "lstm"):
            for precision in precisions:
                for mode in (None, "graph"):
                    name = f"{mode or 'forward'} {cell} {precision} b{batch}"
                    yield name, lambda of=(cell, precision, batch, mode): _forward(*of, small=small)
    for is_locked in (False, True):
        name = f"forward gru fp32 b{batches[0]} with copies{' of page-locked memory' if is_locked else ''}"
        yield name, lambda is_locked=is_locked: _with_copies("gru", "fp32", batches[0], is_locked, small)
    yield "without cuDNN gru fp32 b1", lambda: _forward("gru", "fp32", 1, "without_cudnn", small)
    for cell in ("gru", "lstm"):
        for precision in ("fp32", "tf32", "amp_bf16", "amp_fp16"):
            for mode in (None, "graph"):
                name = f"{'step as a graph' if mode else 'step'} {cell} {precision} b{batches[0]}"
                yield name, lambda of=(cell, precision, batches[0], mode): _step(*of, small=small)
    for precision in precisions:
        yield f"product {precision}", lambda precision=precision: _product(precision, small)
    yield "copy", lambda: _copy(small)


def _machine() -> dict[str, Any]:
    from rnncore.measure.fingerprint import fingerprint

    return {"gpu": fingerprint(1)["gpu"]}


def _energy_steps() -> dict[str, Any]:
    """Return how often the counter of energy moves, in milliseconds."""
    from contextlib import closing

    from rnncore.measure.gpu import Gpu

    with closing(Gpu.open()) as gpu:
        moved, last, began_s = [], gpu.energy_j(), time.perf_counter()
        while time.perf_counter() - began_s < 1.0:
            if (now := gpu.energy_j()) != last:
                last = now
                moved.append(time.perf_counter())
    return {"moves": len(moved), "step_ms": 1e3 * (moved[-1] - moved[0]) / (len(moved) - 1) if len(moved) > 1 else None}


def _model(cell: str, small: bool) -> Any:
    from rnncore.forecast.model import ForecasterConfig, new_forecaster

    return new_forecaster(ForecasterConfig(cell=cell, hidden_size=16 if small else 256, num_layers=2, dropout=0.0), 0).eval()


def _inputs(batch: int, small: bool) -> Any:
    import numpy as np

    return np.random.default_rng(0).random((batch, 12 if small else 90, 5), dtype=np.float32)


def _median_ms(call: Callable[[], object], small: bool) -> float:
    """Return the median of calls, after others that are not counted."""
    from rnncore.measure.stopwatch import seconds_per_call, warmed_up

    warmed_up(call, 0.0, 0.01 if small else 0.2)
    return 1e3 * statistics.median(seconds_per_call(call) for _ in range(3 if small else 30))


def _forward(cell: str, precision: str, batch: int, mode: str | None, small: bool) -> dict[str, Any]:
    from rnncore.runtimes.catalog import open_runtime
    from rnncore.runtimes.parity import float64_forecast, parity

    model, inputs = _model(cell, small), _inputs(batch, small)
    with open_runtime("torch", model, CUDA, precision, 1, mode=mode) as runtime:
        outputs = runtime.predict(inputs)
        kernel = runtime.evidence().kernel
        milliseconds = _median_ms(runtime.run, small)
    found = parity(outputs[:64], float64_forecast(model, inputs[:64]), precision)
    return {"value": milliseconds, "kernel": kernel, "off": found.max_abs, "verdict": found.verdict}


def _with_copies(cell: str, precision: str, batch: int, is_locked: bool, small: bool) -> dict[str, Any]:
    from rnncore.runtimes.catalog import open_runtime

    inputs = _inputs(batch, small)
    with open_runtime("torch", _model(cell, small), CUDA, precision, 1) as runtime:
        if is_locked:
            inputs = runtime.pinned(inputs)
        return {"value": _median_ms(lambda: runtime.predict(inputs), small)}


def _step(cell: str, precision: str, batch: int, mode: str | None, small: bool) -> dict[str, Any]:
    from rnncore.forecast.device import CALLS_BEFORE_CAPTURE, cudnn_precision, resolve_device, synchronize
    from rnncore.forecast.sources import open_dataset
    from rnncore.forecast.trainer import TrainConfig, Trainer
    from rnncore.forecast.windows import WindowConfig, make_windows
    from rnncore.measure.answers import gradient_parity

    device = resolve_device(CUDA)
    windows = make_windows(open_dataset("synthetic"), WindowConfig(lookback=12 if small else 90))
    mixed = precision if precision.startswith(AUTOCAST) else "fp32"
    config = TrainConfig(batch_size=batch, implementation=mode or "aten", precision=mixed)
    trainer = Trainer(_model(cell, small), windows, config, device)
    few = Trainer(_model(cell, small), windows, replace(config, batch_size=min(64, batch)), device)
    rows = trainer.epoch_order(0)[:batch]

    def step() -> None:
        trainer.train_step(rows, 0)
        synchronize(device)

    with cudnn_precision(precision):
        # As the suite of trainings does: a replay, and in fp16 once the scale of the loss is found.
        for number in range(CALLS_BEFORE_CAPTURE + 1 if mode or mixed != "fp32" else 0):
            few.train_step(rows[:64], number)
        few.model.load_state_dict(_model(cell, small).state_dict())
        checked = gradient_parity(few, rows[:64], precision)
        return {"value": _median_ms(step, small), "off": checked.max_abs, "verdict": checked.verdict}


def _product(precision: str, small: bool) -> dict[str, Any]:
    from rnncore.measure import rates

    if small:
        rates.SQUARE_SIZES["gpu"] = (64,)
    found = rates.gemm_rate(CUDA, precision, 1)
    return {"value": None if found is None else found.per_s / 1e12}


def _copy(small: bool) -> dict[str, Any]:
    from rnncore.measure import rates

    if small:
        rates.COPIED_BYTES["gpu"] = 1 << 20
    return {"value": rates.copy_rate(CUDA).per_s / 1e12}


def _probed(folder: Path) -> list[dict[str, Any]]:
    """Return what was measured; a line that an interruption cut off is left out."""
    found = []
    if (folder / PROBED).is_file():
        for line in (folder / PROBED).read_text(encoding="utf-8").splitlines():
            try:
                found.append(json.loads(line))
            except json.JSONDecodeError:
                continue
    return found


def page(folder: Path, ended: dict[str, Ended]) -> str:
    """Return what was found, as Markdown."""
    probed = {part["name"]: part for part in _probed(folder)}
    gpu = probed.get("machine", {}).get("gpu") or {}
    name = str(gpu.get("name", "no GPU"))
    lines = [f"# First run on {name}", ""]
    if is_emulated({"gpu": gpu}):
        lines += ["**Emulated: a rehearsal. No figure here is a measurement.**", ""]
        probed = {part: {**found, "value": None} for part, found in probed.items()}
    lines += ["| stage | ended | seconds |", "| --- | --- | --: |"]
    for stage, end in ended.items():
        how = "took too long" if end.code is None else "well" if end.code == 0 else f"exit code {end.code}"
        lines.append(f"| {stage} | {how} | {end.seconds:.0f} |")
    far = [part for part in probed.values() if (_off(part) or 1.0) > FAR]
    wrong = [part for part in probed.values() if part.get("verdict", "valid") != "valid" or "error" in part]
    lines += [
        "",
        f"{len(far)} of {sum(_off(part) is not None for part in probed.values())} figures with an expectation are off ",
    ]
    lines[-1] += f"by more than {FAR:g}x; {len(wrong)} parts are wrong or failed."
    lines += ["", "| part | measured | expected | off by | kernel | answer |", "| --- | --: | --: | --: | --- | --- |"]
    for part in probed.values():
        low, high = EXPECTED.get(part["name"], (None, None))
        off, value = _off(part), part.get("value")
        cells = [
            part["name"],
            "" if value is None else f"{value:.3g}",
            "" if low is None else f"{low:g}–{high:g}",
            "" if off is None else f"**{off:.1f}x**" if off > FAR else f"{off:.1f}x",
            part.get("kernel", ""),
            part.get("error", part.get("verdict", "")),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _off(part: dict[str, Any]) -> float | None:
    """Return by which factor a figure lies outside what is expected: 1 inside, None where nothing is expected."""
    value, bounds = part.get("value"), EXPECTED.get(part["name"])
    if not value or bounds is None:
        return None
    low, high = bounds
    return max(1.0, low / value, value / high)


def main() -> int:
    """Run what is left of the stages, write the page and say by the exit code whether all ended well."""
    from rnncore.files import write_text

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=REPOSITORY / "reports/first-gpu")
    parser.add_argument("--minutes", type=float, default=10.0, help="for all stages but the reproduction, which has as many")
    parser.add_argument("--only", action="append", metavar="STAGE", help="run this stage, also if it ended well; repeatable")
    parser.add_argument("--small", action="store_true", help="for a rehearsal: sizes whose figures say nothing")
    parser.add_argument("--probe", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder = options.folder.resolve()
    names = [stage.name for stage in stages(folder, options.small)]
    unknown = sorted({*(options.only or ())} - {*names})
    if unknown:
        parser.error(f"--only {', '.join(unknown)}: no such stage; give one of {', '.join(names)}.")
    folder.mkdir(parents=True, exist_ok=True)
    if options.probe:
        return min(1, probe(folder, options.small))
    if options.small:
        write_few_hours(folder / FEW_HOURS)
    state = folder / "stages.json"
    known = json.loads(state.read_text(encoding="utf-8")) if state.is_file() else {}
    ended = {name: Ended(**end) for name, end in known.items()}
    for stage in stages(folder, options.small):
        asked = stage.name in options.only if options.only else stage.name not in ended or ended[stage.name].code != 0
        if not asked:
            continue
        print(f"{stage.name} ...", flush=True)
        ended[stage.name] = run(stage, folder, 60 * options.minutes * stage.share)
        write_text(state, json.dumps({name: asdict(end) for name, end in ended.items()}, indent=1))
        write_text(folder / "page.md", page(folder, ended))
    print(page(folder, ended))
    return 0 if all(end.code == 0 for end in ended.values()) else 1


if __name__ == "__main__":
    sys.exit(main())

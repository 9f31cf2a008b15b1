"""Runtimes interleaved, each in a process of its own, with `--rnn-interleaved`: evaluation latency, and training steps."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from bench import training_worker
from bench.cases import interleaved_cases, interleaved_training_cases
from bench.trained import recipe_of
from rnncore.errors import Unavailable
from rnncore.forecast.model import save_forecaster
from rnncore.forecast.presets import preset
from rnncore.measure import worker
from rnncore.measure.answers import forecast_facts
from rnncore.measure.interleaved import measure_interleaved
from rnncore.measure.work import forward_work, training_work
from rnncore.runfile.case import AXES, Case
from rnncore.runtimes.catalog import runtime_kinds

# What the processes import the suites from.
REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def interleaved(request, rnn_threads, rnn_dataset, windows_of, forecaster_of, source_for, right_answers, tmp_path_factory):
    """What the runtimes of equal cases did, measured when the first is asked for."""
    measured = {}

    def of(case):
        key = _but_runtime(case)
        if key not in measured:
            model, windows = forecaster_of(case), windows_of(recipe_of(case, rnn_dataset).windows)
            answers = right_answers(model, windows, case.batch_size)
            folder = tmp_path_factory.mktemp("interleaved")
            runtimes = _alike(request, case)
            save_forecaster(folder / worker.FORECASTER, model, windows.config, training={})
            save_file({worker.ARRAY: answers.inputs}, folder / worker.INPUTS)
            for other in runtimes:
                if runtime_kinds()[other.runtime].reads == "onnx":
                    (folder / worker.ONNX_FILE).write_bytes(source_for(other.runtime, model, windows.config).read_bytes())
                    break
            threads = str(case.threads or rnn_threads)
            asked = {
                _way(other): (other.runtime, other.device, other.precision, threads, *filter(None, [other.mode]))
                for other in runtimes
            }
            measured[key] = measure_interleaved(folder, asked, _seconds(request)), model, windows, answers
        return measured[key]

    return of


@pytest.fixture(scope="module")
def interleaved_training(request, rnn_threads, rnn_dataset, tmp_path_factory):
    """What the trainings of equal cases did, measured when the first is asked for."""
    measured = {}

    def of(case):
        key = _but_runtime(case)
        if key not in measured:
            folder = tmp_path_factory.mktemp("interleaved-training")
            training_worker.save_dataset(rnn_dataset, folder)
            sizes = str(case.threads or rnn_threads), str(case.batch_size)
            asked = {
                _way(other): (other.cell, other.runtime, other.device, other.precision, *sizes, *filter(None, [other.mode]))
                for other in _alike(request, case)
            }
            path = os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH"))))
            measured[key] = measure_interleaved(
                folder, asked, _seconds(request), training_worker.__name__, {"PYTHONPATH": path}
            )
        return measured[key]

    return of


def _seconds(request):
    """Return how long each is measured for."""
    return 0.0 if request.config.getoption("benchmark_disable") else float(request.config.getoption("benchmark_max_time"))


def _but_runtime(case):
    return replace(case, runtime="any", mode=None, precision=None)


def _way(case):
    return " ".join(filter(None, (case.runtime, case.mode, case.precision)))


def _alike(request, case):
    """Return the cases of this session that differ from one in nothing but who runs it and how."""
    found = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    cases = [Case(**{axis: params[axis] for axis in AXES}) for params in found if set(AXES) <= params.keys()]
    return [other for other in cases if _but_runtime(other) == _but_runtime(case)]


@pytest.mark.rnn_cases(choose=interleaved_cases, only_with="rnn_interleaved")
def test_forecast_interleaved(rnn_case, rnn_benchmark, interleaved, source_for):
    with rnn_benchmark.part("interleaved"):
        by_way, model, windows, answers = interleaved(rnn_case)
    found = by_way[_way(rnn_case)]
    if isinstance(found, Unavailable):
        raise found
    rnn_benchmark.observed(
        found.rounds_s,
        calls=found.calls,
        windows=rnn_case.batch_size,
        group=f"interleaved, batch {rnn_case.batch_size}",
        why="it ran in a process of its own",
        work=forward_work(model.config, rnn_case.lookback, rnn_case.batch_size),
    )
    rnn_benchmark.record_memory(source_for(rnn_case.runtime, model, windows.config), answers.inputs.shape)
    facts = forecast_facts(
        load_file(found.answer["output"])[worker.ARRAY][answers.checked],
        answers.float64,
        answers.torch_fp32,
        windows,
        answers.start[answers.checked],
        rnn_case.precision,
    )
    rnn_benchmark.record(kernel=found.kernel, placement=found.answer["placement"], first_call_s=found.first_call_s)
    facts["validity"] = rnn_benchmark.verdict(facts["validity"])
    rnn_benchmark.record(**facts)
    assert facts["validity"] == "valid"


@pytest.mark.rnn_cases(choose=interleaved_training_cases, only_with="rnn_interleaved")
def test_train_step_interleaved(rnn_case, rnn_benchmark, interleaved_training):
    with rnn_benchmark.part("interleaved"):
        found = interleaved_training(rnn_case)[_way(rnn_case)]
    if isinstance(found, Unavailable):
        raise found
    rnn_benchmark.observed(
        found.rounds_s,
        calls=found.calls,
        windows=rnn_case.batch_size,
        group="interleaved training",
        why="it ran in a process of its own",
        work=training_work(preset("article", rnn_case.cell).forecaster, rnn_case.lookback, rnn_case.batch_size),
    )
    if rnn_case.runtime == "article":
        rnn_benchmark.record(runtime_title="article's code")
    rnn_benchmark.record(
        **found.answer,
        kernel=found.kernel,
        first_call_s=found.first_call_s,
        smape_why="a step of training makes no forecast; see the accuracy suite",
    )
    assert found.answer["validity"] == "valid"

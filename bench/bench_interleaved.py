"""Evaluation latency of all runtimes interleaved, each in a process of its own, with `--rnn-interleaved`."""

from dataclasses import replace

import pytest
from safetensors.numpy import save_file

from bench.cases import interleaved_cases
from bench.trained import recipe_of
from rnncore.errors import Unavailable
from rnncore.forecast.model import save_forecaster
from rnncore.measure import worker
from rnncore.measure.answers import forecast_facts
from rnncore.measure.interleaved import measure_interleaved
from rnncore.measure.work import forward_work
from rnncore.runfile.case import AXES, Case
from rnncore.runtimes.catalog import runtime_kinds


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
            runtimes = [other for other in _cases_of(request.session.items) if _but_runtime(other) == key]
            save_forecaster(folder / worker.FORECASTER, model, windows.config, training={})
            save_file({worker.ARRAY: answers.inputs}, folder / worker.INPUTS)
            for other in runtimes:
                if runtime_kinds()[other.runtime].reads == "onnx":
                    (folder / worker.ONNX_FILE).write_bytes(source_for(other.runtime, model, windows.config).read_bytes())
                    break
            threads = str(case.threads or rnn_threads)
            seconds = (
                0.0
                if request.config.getoption("benchmark_disable")
                else float(request.config.getoption("benchmark_max_time"))
            )
            asked = {
                _way(other): (other.runtime, other.device, other.precision, threads, *filter(None, [other.mode]))
                for other in runtimes
            }
            measured[key] = measure_interleaved(folder, asked, seconds), model, windows, answers
        return measured[key]

    return of


def _but_runtime(case):
    return replace(case, runtime="", mode=None, precision="")


def _way(case):
    return " ".join(filter(None, (case.runtime, case.mode, case.precision)))


def _cases_of(items):
    own = [item for item in items if getattr(item, "originalname", "") == "test_forecast_interleaved"]
    return [Case(**{axis: item.callspec.params[axis] for axis in AXES}) for item in own]


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
        found.output[answers.checked],
        answers.float64,
        answers.torch_fp32,
        windows,
        answers.start[answers.checked],
        rnn_case.precision,
    )
    rnn_benchmark.record(**facts, kernel=found.kernel, first_call_s=found.first_call_s)
    assert facts["validity"] == "valid"

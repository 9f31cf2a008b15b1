"""The Server scenario: queries by chance, one window each; the highest rate whose 99th percentile keeps a bound."""

import numpy as np
import pytest

from bench.cases import serving_cases
from bench.trained import open_case, recipe_of
from rnncore.measure.answers import forecast_facts
from rnncore.measure.serving import highest_rate
from rnncore.runfile.order_statistics import calls_needed

SEED = 0


@pytest.mark.rnn_cases(choose=serving_cases)
def test_serve(
    request, rnn_case, rnn_benchmark, rnn_threads, rnn_dataset, windows_of, forecaster_of, source_for, right_answers
):
    model = forecaster_of(rnn_case)
    windows = windows_of(recipe_of(rnn_case, rnn_dataset).windows)
    answers = right_answers(model, windows, rnn_case.batch_size)
    bound_s = request.config.getoption("rnn_server_p99_ms") / 1e3
    with rnn_benchmark.part("exports"):
        source = source_for(rnn_case.runtime, model, windows.config)
    with (
        rnn_benchmark.part("serving"),
        open_case(rnn_case, source, rnn_threads) as runtime,
    ):
        # From the host and back: a query's answer is of use there alone.
        probes = highest_rate(
            lambda count: runtime.predict(answers.inputs[:count]),
            rnn_case.batch_size,
            bound_s,
            SEED,
            **({} if rnn_benchmark.enabled else {"queries": 20, "min_s": 0.0}),
        )
        output = runtime.predict(answers.inputs)[answers.checked]
        kernel = runtime.evidence().kernel
    in_time = [probe for probe in probes if probe.in_time]
    shown = in_time[-1] if in_time else probes[0]
    too_slow = f"a lone query takes longer than {1e3 * bound_s:g} ms"
    rnn_benchmark.observed(
        shown.latencies_s.tolist(), calls=1, windows=1, group="server", why="queries are timed, not calls"
    )
    rnn_benchmark.record_memory(source, answers.inputs.shape)
    facts = forecast_facts(
        output, answers.float64, answers.torch_fp32, windows, answers.start[answers.checked], rnn_case.precision
    )
    rnn_benchmark.record(
        **facts,
        kernel=kernel,
        first_call_s=None,
        first_call_s_why="queries are timed, not calls",
        served_per_s=shown.rate_per_s if in_time else None,
        windows_per_s=shown.rate_per_s if in_time else None,
        **({} if in_time else dict.fromkeys(("served_per_s_why", "windows_per_s_why"), too_slow)),
        p99_bound_s=bound_s,
        probes=[
            {
                "rate_per_s": probe.rate_per_s,
                "in_time": probe.in_time,
                "queries": len(probe.latencies_s),
                "p99_s": _p99_s(probe.latencies_s),
            }
            for probe in probes
        ],
    )
    assert facts["validity"] == "valid"


def _p99_s(latencies_s):
    """Return the 99th percentile; None of a probe that was given up before it had enough queries for one."""
    return float(np.quantile(latencies_s, 0.99, method="higher")) if len(latencies_s) >= calls_needed(99) else None

"""The data path: from files to ready windows, and from those to a batch."""

import numpy as np
import pytest
import torch

from bench.article.preprocessing import PREPARE, measure_in_fresh_process
from bench.cases import gathering_cases, preparing_cases
from rnncore.forecast.device import resolve_device, synchronize
from rnncore.forecast.series import Dataset
from rnncore.forecast.trainer import ResidentWindows
from rnncore.forecast.windows import WindowConfig
from rnncore.measure.profile import function_evidence
from rnncore.measure.work import copy_work
from rnncore.runtimes.torch import torch_evidence

# What reads a CSV file: pyarrow at once, or pandas by one of its engines.
READERS = (
    "rnncore _read_by_pyarrow",
    "pandas CParserWrapper.read",
    "pandas ArrowParserWrapper.read",
    "pandas PythonParser.read",
)


@pytest.fixture(scope="session")
def csv_folder(rnn_dataset: Dataset, tmp_path_factory):
    """The data set as one CSV file per zone."""
    folder = tmp_path_factory.mktemp("csv")
    for series in rnn_dataset.series:
        series.to_csv(folder / f"{series.name}.csv")
    return folder


@pytest.mark.rnn_cases(choose=preparing_cases)
def test_prepare(rnn_case, rnn_benchmark, csv_folder, windows_of):
    windows = windows_of(WindowConfig(lookback=rnn_case.lookback))
    expected = len(windows.train_start), len(windows.test_start)
    made = []

    def run():
        made[:] = PREPARE[rnn_case.runtime](csv_folder)

    rnn_benchmark(run, windows=sum(expected), group="data", evidence=lambda trace: function_evidence(run, READERS))
    if rnn_case.runtime == "article":
        rnn_benchmark.record(runtime_title="article's code")
    right = tuple(made) == expected
    rnn_benchmark.record(
        validity="valid" if right else f"{made} training and test windows, where {expected} are right",
        parity_max_abs_why="its windows are counted here, and compared value by value in the tests",
        smape_why="makes no forecast",
        **dict.fromkeys(
            ("bound_why", *(f"{name}_ceiling_pct_why" for name in ("gemm", "recurrent", "cache"))), "bound by reading text"
        ),
    )
    if rnn_benchmark.enabled and not rnn_benchmark.brief:
        # This process holds torch and much else; a fresh one shows what the data path needs.
        with rnn_benchmark.part("memory in a fresh process"):
            fresh = measure_in_fresh_process(rnn_case.runtime, csv_folder)
        rnn_benchmark.record(peak_rss_bytes=fresh["peak_rss_bytes"])
    assert right


@pytest.mark.rnn_cases(choose=gathering_cases)
def test_gather_batch(rnn_case, rnn_benchmark, rnn_threads, windows_of):
    device = resolve_device(rnn_case.device)
    torch.set_num_threads(rnn_case.threads or rnn_threads)
    windows = windows_of(WindowConfig(lookback=rnn_case.lookback))
    resident = ResidentWindows(windows, device)
    order = torch.randperm(len(windows.train_start), generator=torch.Generator().manual_seed(0))
    start = resident.train_start[order[: rnn_case.batch_size].to(device)]

    def run():
        inputs = resident.inputs(start)
        synchronize(device)
        return inputs

    expected = windows.inputs(start.cpu().numpy())
    rnn_benchmark(
        run,
        windows=rnn_case.batch_size,
        group="data",
        work=copy_work(expected.size),
        evidence=lambda trace: torch_evidence(run, None, device, trace),
    )
    max_abs = float(np.abs(run().cpu().numpy() - expected).max())
    rnn_benchmark.record(
        parity_max_abs=max_abs,
        validity="valid" if max_abs == 0 else f"windows differ by {max_abs:.1e} from those of NumPy",
        smape_why="makes no forecast",
    )
    assert max_abs == 0

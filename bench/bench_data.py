"""The data path: from files to ready windows, and from those to a batch."""

import pytest
import torch

from bench.cases import gathering_cases, preparing_cases
from bench.reference_preprocessing import PREPARE, measure_in_fresh_process
from rnncore.forecast.device import resolve_device, synchronize
from rnncore.forecast.series import Dataset
from rnncore.forecast.training import ResidentWindows
from rnncore.forecast.windows import WindowConfig


@pytest.fixture(scope="session")
def csv_folder(rnn_dataset: Dataset, tmp_path_factory):
    """The data set as one CSV file per zone."""
    folder = tmp_path_factory.mktemp("csv")
    for series in rnn_dataset.series:
        series.to_csv(folder / f"{series.name}.csv")
    return folder


@pytest.mark.rnn_cases(choose=preparing_cases)
def test_prepare(rnn_case, rnn_benchmark, csv_folder):
    prepare = PREPARE[rnn_case.runtime]
    train_windows, test_windows = prepare(csv_folder)
    if rnn_benchmark.enabled:
        # This process holds torch and much else; a fresh one shows what the data path needs.
        peak_rss_bytes = measure_in_fresh_process(rnn_case.runtime, csv_folder)["peak_rss_bytes"]
        rnn_benchmark.record(peak_rss_bytes=peak_rss_bytes)
    rnn_benchmark(rnn_case, lambda: prepare(csv_folder), windows=train_windows + test_windows, group="data")
    assert train_windows > test_windows > 0


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

    rnn_benchmark(rnn_case, run, windows=rnn_case.batch_size, group="data")
    assert (run().cpu().numpy() == windows.inputs(start.cpu().numpy())).all()

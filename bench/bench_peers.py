"""Other libraries on the same windows: an optimiser step, by their own data path and loop, and oneDNN's forward pass.

They are the extra `peers`. Each step is one of a training that runs in a thread of its own and waits after every step, so
that what is timed is what the library does from batch to batch: loading, forward, backward, update. The model is the
article's: two layers of 256, windows of 90 hours of five features, batches of 1,024.
"""

import threading
import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from bench.cases import peer_cases, peer_inference_cases
from bench.onednn import OneDnnRuntime
from bench.trained import recipe_of
from rnncore.errors import Unavailable
from rnncore.forecast.presets import preset
from rnncore.forecast.series import HOUR
from rnncore.forecast.windows import make_windows
from rnncore.measure.answers import forecast_facts
from rnncore.measure.memory import unknown
from rnncore.measure.work import forward_work, training_work
from rnncore.runtimes.torch import torch_evidence

CALENDAR = ("hour", "day_of_week", "month", "day_of_year")

# Never reached: the training is stopped when its steps are timed.
MANY_STEPS = 1_000_000


class SteppedTraining:
    """A library's training, a step at a time.

    Args:
        fit: Trains, with a callback of PyTorch Lightning's that is given to it.
    """

    def __init__(self, fit):
        self._go, self._done = threading.Semaphore(0), threading.Semaphore(0)
        self._stopped, self._error, self.model = False, None, None
        self._thread = threading.Thread(target=self._run, args=(fit,), daemon=True)
        self._thread.start()
        self._wait()

    def step(self):
        """Take the next step."""
        self._go.release()
        self._wait()

    def close(self):
        """End the training."""
        self._stopped = True
        self._go.release()
        self._thread.join(timeout=120)

    def after_step(self, trainer, model):
        """Wait until the next step is asked for; called by the library after each step."""
        self.model = model
        self._done.release()
        self._go.acquire()
        trainer.should_stop = self._stopped

    def _run(self, fit):
        try:
            fit(_callback(self))
        except BaseException as error:
            self._error = error
        finally:
            self._done.release()

    def _wait(self):
        self._done.acquire()
        if self._error is not None:
            raise self._error


def _callback(training):
    from pytorch_lightning.callbacks import Callback

    class AfterEachStep(Callback):
        def on_train_batch_end(self, trainer, model, *_):
            training.after_step(trainer, model)

    return AfterEachStep()


def _trainer_options(callback):
    quiet = ("enable_progress_bar", "enable_model_summary", "enable_checkpointing", "logger")
    return {"accelerator": "cpu", "callbacks": [callback], **dict.fromkeys(quiet, False)}


def hourly_frames(dataset):
    """Return zones as tables of consecutive hours with the calendar of each, as the libraries demand; gaps are filled in.

    They end before the test hours of the article's split. Hours beyond keep the scale: `y` is the load in units of its
    standard deviation before them, above its mean, which are in the table's `attrs`.
    """
    for series, tested in zip(dataset.cleaned().series, _first_tested_hours(dataset), strict=True):
        time = np.arange(series.time[0], series.time[-1] + HOUR, HOUR)
        load_mw = np.interp(time.astype(np.int64), series.time.astype(np.int64), series.load_mw)
        calendar, known = pd.DatetimeIndex(time), time < tested
        columns = {name: np.asarray(getattr(calendar, name), dtype=np.float32) for name in CALENDAR}
        mean_mw, std_mw = load_mw[known].mean(), load_mw[known].std()
        scaled = ((load_mw - mean_mw) / std_mw).astype(np.float32)
        frame = pd.DataFrame({"unique_id": series.name, "ds": calendar, "y": scaled, **columns})
        frame.attrs = {"tested": tested, "mean_mw": mean_mw, "std_mw": std_mw}
        yield frame


def _first_tested_hours(dataset):
    windows = make_windows(dataset, preset("article", "gru").windows)
    return [windows.time[windows.target_rows(windows.test_start[zone.test])[0]] for zone in windows.zones]


def _training_frames(dataset):
    return [frame[frame["ds"] < frame.attrs["tested"]] for frame in hourly_frames(dataset)]


def _neuralforecast(case, article, dataset):
    try:
        from neuralforecast import NeuralForecast
        from neuralforecast.models import GRU, LSTM
    except ImportError as error:
        raise Unavailable("neuralforecast is not installed: pip install 'rnncore[peers]'.") from error
    kind, table = {"gru": GRU, "lstm": LSTM}[case.cell], pd.concat(_training_frames(dataset))

    def fit(callback):
        model = kind(
            h=1,
            input_size=case.lookback,
            encoder_n_layers=case.num_layers,
            encoder_hidden_size=case.hidden_size,
            encoder_dropout=article.forecaster.dropout,
            decoder_layers=0,
            hist_exog_list=list(CALENDAR),
            recurrent=False,
            batch_size=len(dataset.series),
            windows_batch_size=case.batch_size,
            learning_rate=article.train.learning_rate,
            max_steps=MANY_STEPS,
            val_check_steps=MANY_STEPS,
            **_trainer_options(callback),
        )
        NeuralForecast(models=[model], freq="h").fit(table)

    return fit


def _darts(case, article, dataset):
    try:
        from darts import TimeSeries
        from darts.models import BlockRNNModel
    except ImportError as error:
        raise Unavailable("darts is not installed: pip install 'rnncore[peers]'.") from error
    frames = _training_frames(dataset)
    loads = [TimeSeries.from_dataframe(frame, "ds", "y") for frame in frames]
    calendars = [TimeSeries.from_dataframe(frame, "ds", list(CALENDAR)) for frame in frames]

    def fit(callback):
        model = BlockRNNModel(
            input_chunk_length=case.lookback,
            output_chunk_length=1,
            model=case.cell.upper(),
            hidden_dim=case.hidden_size,
            n_rnn_layers=case.num_layers,
            dropout=article.forecaster.dropout,
            batch_size=case.batch_size,
            n_epochs=MANY_STEPS,
            optimizer_kwargs={"lr": article.train.learning_rate},
            pl_trainer_kwargs=_trainer_options(callback),
        )
        model.fit(loads, past_covariates=calendars)

    return fit


PEERS = {"neuralforecast": _neuralforecast, "darts": _darts}


@pytest.mark.rnn_cases(choose=peer_cases)
def test_train_step_of_peer(rnn_case, rnn_benchmark, rnn_threads, rnn_dataset):
    torch.set_num_threads(rnn_case.threads or rnn_threads)
    article = preset("article", rnn_case.cell)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        training = SteppedTraining(PEERS[rnn_case.runtime](rnn_case, article, rnn_dataset))
        try:
            rnn_benchmark(
                training.step,
                windows=rnn_case.batch_size,
                group="training",
                work=training_work(article.forecaster, rnn_case.lookback, rnn_case.batch_size),
                evidence=lambda trace: torch_evidence(training.step, rnn_case.cell, torch.device("cpu"), trace),
            )
        finally:
            training.close()
    rnn_benchmark.record(
        validity_why="the library's gradients are its own",
        smape_why="a step of training makes no forecast; see the accuracy suite",
    )


@pytest.mark.rnn_cases(choose=peer_inference_cases)
def test_forecast_of_peer(rnn_case, rnn_benchmark, rnn_threads, rnn_dataset, windows_of, forecaster_of, right_answers):
    model, windows = forecaster_of(rnn_case), windows_of(recipe_of(rnn_case, rnn_dataset).windows)
    answers = right_answers(model, windows, rnn_case.batch_size)
    runtime = OneDnnRuntime(model, rnn_case.precision, rnn_case.threads or rnn_threads)
    try:
        runtime.bind(answers.inputs)
        rnn_benchmark(
            runtime.run,
            windows=rnn_case.batch_size,
            group=f"inference, batch {rnn_case.batch_size}",
            work=forward_work(model.config, rnn_case.lookback, rnn_case.batch_size),
            evidence=runtime.evidence,
        )
        runtime.run()
        facts = forecast_facts(
            runtime.output()[answers.checked],
            answers.float64,
            answers.torch_fp32,
            windows,
            answers.start[answers.checked],
            rnn_case.precision,
        )
    finally:
        runtime.close()
    rnn_benchmark.record(**facts, **unknown("not measured where rnncore has no runtime of it"), runtime_title="oneDNN")
    assert facts["validity"] == "valid"

"""Tests of one training by several processes: that of one, also where others go on with it or one of them dies."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from rnncore import cli
from rnncore.errors import ConfigError, ProcessError, Unavailable
from rnncore.forecast import distributed
from rnncore.forecast.distributed import ALONE, Ranks, device_of_rank, joined, ranks_of_environment

pytestmark = pytest.mark.long

BATCH = 48

# One step of each kind in each process; what it leaves are the gradients, and the loss of the batch.
ONE_STEP = """
    import sys
    from pathlib import Path

    import torch
    from safetensors.torch import save_file

    from rnncore.forecast.distributed import joined, ranks_of_environment
    from rnncore.forecast.model import ForecasterConfig, new_forecaster
    from rnncore.forecast.sources import open_dataset
    from rnncore.forecast.trainer import TrainConfig, Trainer
    from rnncore.forecast.windows import WindowConfig, make_windows

    folder = Path(sys.argv[1])
    ranks, cpu = ranks_of_environment(), torch.device("cpu")
    windows = make_windows(open_dataset(folder / "load.csv"), WindowConfig(lookback=12))
    with joined(ranks, cpu):
        for cell in ("gru", "lstm"):
            for implementation, targets in (("aten", 1), ("auto", 3)):
                config = TrainConfig({batch}, targets, clip_norm=0.05, implementation=implementation, seed=3)
                # The weights of rank 0 count.
                model = new_forecaster(ForecasterConfig(cell=cell, hidden_size=16, dropout=0.0), ranks.rank)
                trainer = Trainer(model, windows, config, cpu, ranks)
                loss = trainer.train_step(trainer.epoch_order(0)[:{batch}], 0)
                found = {{name: weight.grad.clone() for name, weight in model.named_parameters()}}
                file = f"{{ranks.count}}-{{ranks.rank}}-{{cell}}-{{implementation}}.safetensors"
                save_file({{**found, "loss": ranks.mean(loss)}}, folder / file)
    # The last trainer is still there. A thread of gloo's that outlives the training can abort the process as that ends.
    threads = [name.read_text().strip() for name in Path("/proc/self/task").glob("*/comm")]
    if any("gloo" in name for name in threads):
        raise SystemExit(f"still connected by {{threads}}")
"""

# The command, with a checkpoint after every step, in which one process dies at one of them, the first time. Each process has
# a folder of its own to work in, as those of several machines have. Rank 0 says which steps it takes at which start.
DIES = """
    import os
    import signal
    from pathlib import Path

    from rnncore import cli
    from rnncore.forecast import fit, trainer

    fit.CHECKPOINT_EVERY_S = 0.0
    take = trainer.Trainer.train_step


    def dies(self, start, step):
        starts = os.environ.get("TORCHELASTIC_RESTART_COUNT")
        if step == {step} and starts == "0" and self.ranks.rank == {rank}:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.ranks.is_first:
            print(f"start {{starts}} takes step {{step}}.", flush=True)
        return take(self, start, step)


    trainer.Trainer.train_step = dies
    own = Path(os.environ["RANK"])
    own.mkdir(exist_ok=True)
    os.chdir(own)
    cli.main()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a load of half a year."""
    made = tmp_path_factory.mktemp("distributed")
    hours = np.arange(4000)
    noise = np.random.default_rng(0).normal(size=len(hours))
    load_mw = 1000 + 200 * np.sin(hours * 2 * np.pi / 24) + 60 * np.cos(hours * 2 * np.pi / 168) + 15 * noise
    times = np.datetime64("2017-01-02T00:00:00", "s") + hours * np.timedelta64(1, "h")
    rows = [f"{str(at).replace('T', ' ')};{load:.3f}\n" for at, load in zip(times, load_mw, strict=True)]
    (made / "load.csv").write_text("Datetime;A_MW\n" + "".join(rows), encoding="utf-8")
    return made


def _run(*command: object, processes: int = 0, fails: bool = False, cwd: Path | None = None, **more: str) -> str:
    """Run Python, by torchrun where a number of processes is given; return what it printed, both streams together."""
    by = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)] if processes else []
    by += [f"--{name.replace('_', '-')}={value}" for name, value in more.items()]
    done = subprocess.run(
        [sys.executable, *by, *map(str, command)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        cwd=cwd,
        timeout=300,
        check=False,
    )
    assert (done.returncode != 0) == fails, done.stdout
    return done.stdout


def _train_here(*arguments: object) -> None:
    """Run the command inside this process, which has torch already."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["rnncore", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
    assert not stop.value.code


def _train(folder: Path, out: str, *more: object, max_steps: int = 6) -> list[object]:
    """Return the arguments of a short training, of three steps an epoch."""
    files = ["--data", folder / "load.csv", "--out", folder / f"{out}.safetensors"]
    return ["train", *files, "--lookback", 12, "--batch-size", 6, "--max-steps", max_steps, "--seed", 5, *more]


def _weights(folder: Path, out: str) -> dict[str, torch.Tensor]:
    return load_file(folder / f"{out}.safetensors")


def _require_near(found: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor], relative: float) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.linalg.norm((found[name] - value).double()) <= relative * torch.linalg.norm(value.double()), name


def test_gradients_of_a_step_are_those_of_one_process(folder: Path) -> None:
    script = folder / "one_step.py"
    script.write_text(textwrap.dedent(ONE_STEP).format(batch=BATCH), encoding="utf-8")
    _run(script, folder)
    _run(script, folder, processes=3)
    for kind in ("gru-aten", "gru-auto", "lstm-aten", "lstm-auto"):
        alone = load_file(folder / f"1-0-{kind}.safetensors")
        assert min(value.abs().max() for name, value in alone.items() if "weight" in name) > 0
        for rank in range(3):
            _require_near(load_file(folder / f"3-{rank}-{kind}.safetensors"), alone, 1e-6)


@pytest.fixture(scope="module")
def alone(folder: Path) -> dict[str, torch.Tensor]:
    """Return what one process trains, stopped half way and resumed."""
    _train_here(*_train(folder, "alone", max_steps=3))
    _train_here(*_train(folder, "alone", "--resume"))
    return _weights(folder, "alone")


def test_a_training_by_three_that_two_go_on_with_is_that_of_one(folder: Path, alone: dict[str, torch.Tensor]) -> None:
    _run("-m", "rnncore", *_train(folder, "more", max_steps=3), processes=3)
    said = _run("-m", "rnncore", *_train(folder, "more", "--resume"), processes=2)
    assert said.count("more.safetensors: GRU, 6 steps") == 1
    assert said.count("Recurrent layers by") == said.count("A: columns apart by semicolons") == 1
    # Adam divides by the size of a gradient: where that is small, rounding is not.
    _require_near(_weights(folder, "more"), alone, 1e-4)


def test_where_a_process_dies_torchrun_starts_anew_from_the_checkpoint(folder: Path) -> None:
    script = folder / "dies.py"
    script.write_text(textwrap.dedent(DIES).format(rank=0, step=3), encoding="utf-8")
    said = _run(script, *_train(folder, "died"), processes=2, max_restarts="1")
    assert "died.safetensors: GRU, 6 steps" in said
    # Without a restart the job ends, with a checkpoint that a single process goes on from.
    _run(script, *_train(folder, "ended"), processes=2, fails=True)
    assert not (folder / "ended.safetensors").exists()
    _train_here(*_train(folder, "ended", "--resume"))
    _require_near(_weights(folder, "died"), _weights(folder, "ended"), 1e-4)


def test_what_is_started_anew_goes_on_from_rank_0_s_checkpoint_which_others_need_not_see(
    folder: Path, tmp_path: Path
) -> None:
    script = tmp_path / "dies.py"
    script.write_text(textwrap.dedent(DIES).format(rank=1, step=3), encoding="utf-8")
    arguments = _train(folder, "apart")
    arguments[arguments.index("--out") + 1] = "apart.safetensors"
    said = _run(script, *arguments, processes=2, max_restarts="1", cwd=tmp_path)
    assert "start 1 takes step 2." not in said
    assert "start 1 takes step 5." in said
    assert (tmp_path / "0/apart.safetensors").exists()
    assert not list((tmp_path / "1").iterdir())


def test_what_is_started_anew_before_its_first_checkpoint_begins_again_and_not_from_an_earlier_training(
    folder: Path, tmp_path: Path
) -> None:
    script = tmp_path / "dies.py"
    script.write_text(textwrap.dedent(DIES).format(rank=1, step=0), encoding="utf-8")
    _train_here(*_train(folder, "earlier", max_steps=3))
    said = _run(script, *_train(folder, "earlier"), processes=2, max_restarts="1", cwd=tmp_path)
    assert said.count("of an earlier training will be replaced") == 1
    assert "start 1 takes step 0." in said
    assert "earlier.safetensors: GRU, 6 steps" in said


def test_a_batch_has_equal_parts_side_by_side() -> None:
    start = torch.arange(12)
    parts = [Ranks(rank, 3).part(start) for rank in range(3)]
    assert [len(part) for part in parts] == [4, 4, 4]
    assert torch.equal(torch.cat(parts), start)
    assert torch.equal(ALONE.part(start), start)


def test_a_batch_that_has_no_equal_parts_is_refused() -> None:
    Ranks(0, 3).require_equal_parts(48)
    with pytest.raises(ConfigError, match=r"batch_size is 50, which 3 processes cannot share evenly.*--batch-size 48"):
        Ranks(0, 3).require_equal_parts(50)


def test_one_process_asks_nobody() -> None:
    assert ALONE.any(True, False) == (True, False)
    assert float(ALONE.mean(torch.tensor(2.0))) == 2.0
    assert [ALONE.first_says(is_so) for is_so in (True, False)] == [True, False]


def test_without_a_place_to_meet_torchrun_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    wording = r"WORLD_SIZE is 2, but the environment does not say where .* MASTER_ADDR expected.*Start by torchrun"
    with pytest.raises(ConfigError, match=wording), joined(Ranks(0, 2), torch.device("cpu")):
        pytest.fail("nobody was met")


def test_processes_that_do_not_find_one_another_are_not_said_to_have_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*given: object, **more: object) -> None:
        raise torch.distributed.DistNetworkError("The server socket has failed to listen: connection\nmore")

    monkeypatch.setattr(torch.distributed, "rendezvous", refuses)
    wording = (
        r"^rank 1 of 2: the processes .* did not find one another \(The server socket has failed to listen: connection\)"
    )
    with pytest.raises(ProcessError, match=wording) as caught, joined(Ranks(1, 2), torch.device("cpu")):
        pytest.fail("nobody was met")
    assert "ended" not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "error", "wording"),
    [
        (
            "[gloo] Connection closed by peer [::1]:9\nat x",
            ProcessError,
            r"ended.*\(\[gloo\] Connection closed .*:9\)\. The",
        ),
        (
            "NCCL Error 2: unhandled cuda error",
            ProcessError,
            r"\(NCCL Error 2: unhandled cuda error\)\. The last checkpoint",
        ),
        ("CUDA out of memory", RuntimeError, "^CUDA out of memory$"),
    ],
)
def test_of_what_ends_a_training_its_first_line_is_said(
    said: str, error: type[Exception], wording: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distributed, "_find_one_another", lambda ranks, backend: None)
    with pytest.raises(error, match=wording), joined(Ranks(1, 2), torch.device("cpu")):
        raise RuntimeError(said)


@pytest.mark.parametrize(
    ("variables", "ranks"),
    [
        ({}, ALONE),
        ({"RANK": "1", "WORLD_SIZE": "4"}, Ranks(1, 4)),
        ({"RANK": "0", "WORLD_SIZE": "2", "TORCHELASTIC_RESTART_COUNT": "3"}, Ranks(0, 2, 3)),
        ({"RANK": "7"}, ALONE),
    ],
)
def test_the_processes_are_those_that_torchrun_names(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], ranks: Ranks
) -> None:
    monkeypatch.setattr(distributed.os, "environ", variables)
    assert ranks_of_environment() == ranks


@pytest.mark.parametrize(("rank", "count"), [("4", "4"), ("-1", "2"), ("x", "2"), ("0", "0")])
def test_numbers_that_make_no_sense_are_refused(monkeypatch: pytest.MonkeyPatch, rank: str, count: str) -> None:
    monkeypatch.setattr(distributed.os, "environ", {"RANK": rank, "WORLD_SIZE": count})
    with pytest.raises(ConfigError, match=f"RANK is '{rank}' and WORLD_SIZE '{count}'; torchrun sets them"):
        ranks_of_environment()


def test_of_several_gpus_a_process_takes_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert device_of_rank("cuda") == torch.device("cuda", 0)
    for rank in range(3):
        monkeypatch.setattr(distributed.os, "environ", {"LOCAL_RANK": str(rank)})
        assert device_of_rank("cuda") == device_of_rank("auto") == torch.device("cuda", rank)
        assert device_of_rank("cuda:1") == torch.device("cuda", 1)
        assert device_of_rank("cuda:0") == torch.device("cuda", 0)
        assert device_of_rank("cpu") == torch.device("cpu")
    monkeypatch.setattr(distributed.os, "environ", {"LOCAL_RANK": "3"})
    with pytest.raises(Unavailable, match=r"no CUDA device 3: torch sees 3\."):
        device_of_rank("cuda")

"""Tests of peak memory: that of a block and no other, and the reason where it cannot be told."""

import errno
import os
from pathlib import Path

import pytest
import torch

from rnncore.measure import memory
from rnncore.measure.memory import peak_memory, process_peak_rss_bytes

SIZE = 200_000_000


def _peak_of(size: int) -> int:
    """Return the peak of a block that holds so many bytes, all written, and lets them go before it ends."""
    with peak_memory("cpu", "torch") as facts:
        held = b"1" * size
        del held
    if facts["peak_rss_bytes"] is None:
        pytest.skip(f"no peak on this system: {facts['peak_rss_bytes_why']}")
    assert "peak_rss_bytes_why" not in facts
    assert isinstance(facts["peak_rss_bytes"], int)
    return facts["peak_rss_bytes"]


@pytest.fixture
def planted_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Plant the kernel's files: a status with a peak, and the file that resets it."""
    (tmp_path / "status").write_text("Name:\tpython\nVmPeak:\t 9000 kB\nVmHWM:\t  123456 kB\nVmRSS:\t  1000 kB\n")
    (tmp_path / "clear_refs").write_text("")
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "status")
    monkeypatch.setattr(memory, "_CLEAR_REFS", tmp_path / "clear_refs")
    return tmp_path


@pytest.fixture
def planted_cuda(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Plant torch's count of device memory; returns its peak, which a reset sets to what is held now."""
    count = {"held": 1 << 20, "peak": 1 << 33, "resets": 0}

    def reset() -> None:
        count.update(peak=count["held"], resets=count["resets"] + 1)

    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", reset)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: count["peak"])
    return count


def test_the_peak_is_that_of_the_block_and_not_of_an_earlier_one() -> None:
    small, large, after = _peak_of(0), _peak_of(SIZE), _peak_of(0)
    assert large - small > 0.9 * SIZE
    assert large - after > 0.9 * SIZE


def test_what_is_held_before_a_block_counts_as_resident_in_it() -> None:
    small = _peak_of(0)
    held = b"1" * SIZE
    assert _peak_of(0) - small > 0.9 * SIZE
    del held


def test_the_facts_come_when_the_block_has_ended(planted_kernel: Path) -> None:
    with peak_memory("cpu", "torch") as facts:
        assert facts == {}
        (planted_kernel / "status").write_text("VmHWM:\t  2000 kB\n")
    assert facts == {
        "peak_rss_bytes": 2000 * 1024,
        "peak_device_bytes": None,
        "peak_device_bytes_why": "runs on the CPU",
    }


def test_the_kernel_is_asked_once_before_the_block_to_count_anew(planted_kernel: Path) -> None:
    with peak_memory("cpu", "torch"):
        # clear_refs of proc(5): 5 resets the peak resident size.
        assert (planted_kernel / "clear_refs").read_text() == "5"
        (planted_kernel / "clear_refs").write_text("untouched")
    assert (planted_kernel / "clear_refs").read_text() == "untouched"


def test_a_block_that_fails_raises_its_own_error() -> None:
    with pytest.raises(ZeroDivisionError), peak_memory("cpu", "torch"):
        _ = 1 / 0


@pytest.mark.parametrize("runtime", ["torch", "onnxruntime"])
def test_a_system_that_cannot_reset_the_peak_has_none_and_says_why(
    runtime: str, planted_kernel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_CLEAR_REFS", planted_kernel / "nowhere" / "clear_refs")
    with peak_memory("cpu", runtime) as facts:
        pass
    assert facts == {
        "peak_rss_bytes": None,
        "peak_rss_bytes_why": f"the peak cannot be reset ({os.strerror(errno.ENOENT)})",
        "peak_device_bytes": None,
        "peak_device_bytes_why": "runs on the CPU",
    }


def test_a_kernel_that_forbids_the_reset_is_named_by_its_error(planted_kernel: Path, monkeypatch) -> None:
    def forbid(path: Path, text: str, **how: str) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "write_text", forbid)
    with peak_memory("cpu", "torch") as facts:
        pass
    assert facts["peak_rss_bytes_why"] == "the peak cannot be reset (Permission denied)"


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_runtime_that_does_not_count_its_device_memory_says_so(
    runtime: str, planted_kernel: Path, planted_cuda: dict[str, int]
) -> None:
    with peak_memory("cuda", runtime) as facts:
        pass
    assert facts["peak_device_bytes"] is None
    assert facts["peak_device_bytes_why"] == f"{runtime} does not count its device memory"
    assert facts["peak_rss_bytes"] == 123456 * 1024
    assert planted_cuda["resets"] == 0


def test_torch_counts_the_device_memory_of_the_block_alone(planted_kernel: Path, planted_cuda: dict[str, int]) -> None:
    with peak_memory("cuda", "torch") as facts:
        planted_cuda["peak"] = max(planted_cuda["peak"], 3 << 20)
    assert facts == {"peak_rss_bytes": 123456 * 1024, "peak_device_bytes": 3 << 20}
    assert planted_cuda["resets"] == 1


def test_the_process_peak_is_read_in_bytes_and_is_none_on_other_systems(planted_kernel: Path) -> None:
    assert process_peak_rss_bytes() == 123456 * 1024
    (planted_kernel / "status").unlink()
    assert process_peak_rss_bytes() is None

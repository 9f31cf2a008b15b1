"""A session of pytest on an emulated CUDA device: `python -m pytest -p tests.emulated_cuda.plugin FILE`.

Processes that it starts have no such device; where they are to have it, see `environment` in build.py.
"""

from tests.emulated_cuda.device import NAME, start_onnxruntime


def pytest_configure() -> None:
    """Let ONNX Runtime know of the device, and what is only measured to be thrown away be short."""
    start_onnxruntime()
    from rnncore.measure import energy, rates

    # A chain is calculated again by each replay.
    rates.CHAIN_STEPS = (1, 4)
    rates.SQUARE_SIZES["gpu"], rates.COPIED_BYTES["gpu"] = (64,), 1 << 20
    energy.GPU_ENERGY_S = 0.1


def pytest_report_header() -> str:
    """Say that nothing of the session is a measurement."""
    return f"{NAME}: emulated on the CPU; no time here is a measurement"

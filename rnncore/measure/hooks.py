"""Hooks that a conftest or plugin may implement to change what rnncore's benchmarks do."""

import pytest


@pytest.hookspec(firstresult=True)
def pytest_rnn_delay_pct(config: pytest.Config, fullname: str) -> float | None:
    """Make a benchmark slower by a known part, to see whether a gate finds it.

    The delay is spent after every call, in a loop that keeps the CPU busy, and belongs to the timed part. The run file
    says so under `injected_delay_pct`.

    Args:
        config: The session's configuration.
        fullname: The benchmark.

    Returns:
        Percent of each call's own time to add; None to leave the benchmark as it is.
    """

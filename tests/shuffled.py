"""Run tests in an order that SHUFFLE_SEED draws: `pytest -p tests.shuffled`.

pytest-randomly would also shuffle the sessions that tests start, wherever it is installed, and those of the suites.
"""

import os
import random

import pytest


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Shuffle the files, and the tests of each: what a file sets up is then set up once, as ever."""
    draw = random.Random(os.environ["SHUFFLE_SEED"])  # noqa: S311 (no secret)
    files = sorted({item.path for item in items})
    draw.shuffle(files)
    place = {path: index for index, path in enumerate(files)}
    draw.shuffle(items)
    items.sort(key=lambda item: place[item.path])

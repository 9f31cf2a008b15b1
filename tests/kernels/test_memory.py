"""Memory that kernels work in."""

import pytest

from rnncore.kernels import memory


def test_a_system_that_has_no_word_for_huge_pages_gives_memory_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(memory.mmap, "MADV_HUGEPAGE", raising=False)
    floats = memory.paged_floats(1000)
    assert floats.shape == (1000,)
    assert not floats.any()

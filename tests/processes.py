"""Processes that tests start, or that what they test starts."""

import time
from pathlib import Path


def state_of(pid: int) -> str | None:
    """Return what a process does, by the letter of proc(5); None where it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0]
    except OSError:
        # Also where it went after its file was opened.
        return None


def has_ended(pid: int) -> bool:
    """Say whether a process is gone, or a zombie that waits for its parent, in ten seconds from now."""
    for _ in range(100):
        if state_of(pid) in (None, "Z"):
            return True
        time.sleep(0.1)
    return False

"""Processes that tests start, or that what they test starts."""

import time
from pathlib import Path


def has_ended(pid: int) -> bool:
    """Say whether a process is gone, or a zombie that waits for its parent, in ten seconds from now."""
    for _ in range(100):
        status = Path(f"/proc/{pid}/stat")
        if not status.exists() or status.read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0] == "Z":
            return True
        time.sleep(0.1)
    return False

"""What the fixture `rnncore` gives: the command run inside this process."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple


class Done(NamedTuple):
    """How the command ended: its code, standard output and standard error."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as JSON."""
        return json.loads(self.out)

    @property
    def said(self) -> str:
        """Standard error on one line: rich wraps it."""
        return " ".join(self.err.split())


Command = Callable[..., Done]

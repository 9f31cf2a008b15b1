"""A process of its own that answers each line it reads by one line of JSON: what starts it, and what runs in it."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any, TextIO, cast

from rnncore.errors import ProcessError
from rnncore.measure.linux import end_with_parent
from rnncore.runfile.slots import PARENT


class AskedProcess:
    """A process that was started, and answers.

    Args:
        module: What it runs, by its dotted name.
        arguments: Of its command line.
        name: For messages.
        environment: Variables that it gets beside those of this process.
    """

    def __init__(
        self, module: str, arguments: Sequence[str], name: str, environment: Mapping[str, str] | None = None
    ) -> None:
        self._name = name
        # In a file: a pipe that nobody reads would fill up and stop the process.
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `close`)
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, PARENT: str(os.getpid()), **(environment or {})},
            text=True,
            encoding="utf-8",
        )

    def tell(self, line: str) -> None:
        """Write a line that the process reads.

        Raises:
            ProcessError: If it has ended.
        """
        asked = cast("IO[str]", self.process.stdin)
        try:
            asked.write(f"{line}\n")
            asked.flush()
        except BrokenPipeError:
            raise self._ended() from None

    def answer(self) -> dict[str, Any]:
        """Wait for what the process answers next.

        Raises:
            ProcessError: If it ends before it answers.
        """
        line = cast("IO[str]", self.process.stdout).readline()
        if not line:
            raise self._ended()
        return dict(json.loads(line))

    def last_words(self) -> str:
        """Return the last line that the process wrote to its standard error."""
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip().splitlines()
        return said[-1] if said else "it said nothing"

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.communicate()
        self._errors.close()

    def _ended(self) -> ProcessError:
        self.process.wait()
        return ProcessError(f"the process of {self._name} ended: {self.last_words()}")


@contextmanager
def answering() -> Iterator[TextIO]:
    """Yield standard output, in the process that answers, and let what libraries print there go to standard error.

    From then on the process ends with the one that asks, even if it is stopped.
    """
    end_with_parent()
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        yield answers


def say(answers: TextIO, **facts: Any) -> None:
    """Answer; JSON values."""
    print(json.dumps(facts), file=answers, flush=True)

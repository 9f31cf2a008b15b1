"""A clock for tests: it moves by the calls that are timed."""

CALL_S = 0.010


class Clock:
    """Stands for the machine's clock: each reading moves it on a little, as real clocks do, and each call by its length."""

    def __init__(self, reading_s: float) -> None:
        self.now_s = 0.0
        self._reading_s = reading_s

    def perf_counter(self) -> float:
        self.now_s += self._reading_s
        return self.now_s

    def call(self) -> None:
        self.now_s += CALL_S

"""How fast a run goes and when it will end."""

import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Final

WINDOW: Final = 60.0
"""Seconds that the rate is of: long enough for slow networks, short enough to follow a change."""

_STEP: Final = 1.0


class Pace:
    """Counts what is done; ``total`` inputs are to be done in this run."""

    def __init__(self, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.total, self._clock = total, clock
        self.done = 0
        self.errors: Counter[str] = Counter()
        self._marks = deque([(clock(), 0)])

    def add(self, error: str | None = None) -> None:
        """One more is done; ``error``: the code of its refusal."""
        self.done += 1
        if error is not None:
            self.errors[error] += 1
        now = self._clock()
        if now - self._marks[-1][0] >= _STEP:
            self._marks.append((now, self.done))
            while len(self._marks) > 2 and now - self._marks[1][0] >= WINDOW:
                self._marks.popleft()

    @property
    def rate(self) -> float:
        """Inputs a second over the last minute; 0 before anything is done."""
        begun, before = self._marks[0]
        seconds = self._clock() - begun
        return (self.done - before) / seconds if seconds > 0 else 0.0

    @property
    def remaining(self) -> float | None:
        """Seconds to the end at this rate, None where there is none yet."""
        rate = self.rate
        return (self.total - self.done) / rate if rate > 0 else None

    def line(self) -> str:
        """Progress in words: done, rate, time left, refusals by kind."""
        left = self.remaining
        parts = [f"{self.done:,} of {self.total:,}", f"{self.rate:.2f}/s"]
        parts.append("–" if left is None else f"{as_clock(left)} left")
        if self.errors:
            parts.append(f"{sum(self.errors.values()):,} refused: {kinds(self.errors)}")
        return ", ".join(parts)


def kinds(counts: Counter[str]) -> str:
    """Names and how often, the commonest first."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{name} {number:,}" for name, number in ordered)


def as_clock(seconds: float) -> str:
    """``1 d 02:03:04``, ``2:03:04`` or ``3:04``: to the second, as what is watched changes."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days} d {hour:02}:{minute:02}:{second:02}"
    return f"{hour}:{minute:02}:{second:02}" if hour else f"{minute}:{second:02}"

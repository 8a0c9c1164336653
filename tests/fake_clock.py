"""Time that passes only when a test says so."""

from collections.abc import Callable, Iterable


class FakeClock:
    """A clock in seconds; ``clock.taking(2, 3)`` is work of 2, then 3, then again 2 seconds."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def taking(self, *seconds: float, calls: list[str] | None = None, name: str = "") -> "Work":
        return Work(self, seconds, calls, name)


class Work:
    """Something to time; notes its calls."""

    def __init__(
        self, clock: FakeClock, seconds: Iterable[float], calls: list[str] | None, name: str
    ) -> None:
        self.clock, self.seconds, self.name = clock, list(seconds), name
        self.calls = [] if calls is None else calls
        self.count = 0

    def __call__(self) -> None:
        self.clock.now += self.seconds[self.count % len(self.seconds)]
        self.count += 1
        self.calls.append(self.name)


def ticking() -> Callable[[], float]:
    """A clock that is a second later at each look."""
    now = -1.0

    def clock() -> float:
        nonlocal now
        now += 1
        return now

    return clock

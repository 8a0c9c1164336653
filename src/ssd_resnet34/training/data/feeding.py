"""Batches while training goes on: how long each was waited for, and what ends a worker."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final, Generic, TypeVar

from ...errors import TrainingError
from .loading import Examples

WAITED: Final = 0.05
"""Share of a step's time that it may wait for its images before it counts as having waited."""

WINDOW: Final = 100
"""Steps that ``starving`` looks back on."""

SUFFERED: Final = 0.1
"""Share of steps that waited from which it is said."""

T = TypeVar("T")


def worker_ended(error: RuntimeError) -> TrainingError | None:
    """The end of a worker in words of ours; None for any other error.

    torch tells of it where batches are waited for, and by a signal in the midst of anything else.
    """
    if "DataLoader worker" not in str(error):
        return None
    return TrainingError(
        f"a process that prepares images ended by itself ({str(error).splitlines()[0]}): memory, "
        "or shared memory (/dev/shm), is short; give fewer workers or a smaller batch, and go on "
        "with --resume"
    )


class Feed(Generic[T]):
    """The batches of an iterator, with a measure of how long each was waited for.

    Also tells a worker's :class:`TrainingError` in its own words, where torch would wrap the
    worker's traceback around it, and a worker's end as such an error.

    Args:
        batches: made ahead by ``workers`` processes.
        examples: what they are made of.
        say: is told, once, when steps starve.
        clock: seconds.
    """

    def __init__(
        self,
        batches: Iterator[T],
        examples: Examples,
        *,
        workers: int,
        say: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._batches, self._examples, self._workers = batches, examples, workers
        self._say, self._clock = say, clock
        self._rounds: deque[tuple[float, float]] = deque(maxlen=WINDOW)
        self._given: float | None = None
        self._said = False

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        asked = self._clock()
        try:
            batch = next(self._batches)
        except TrainingError:
            self._examples.check()  # in the words of this process
            raise
        except RuntimeError as error:
            ended = worker_ended(error)
            if ended is None:
                raise
            raise ended from error
        now = self._clock()
        if self._given is not None:  # the first batch waits for the workers to start
            self._rounds.append((now - asked, now - self._given))
            self._tell()
        self._given = now
        return batch

    @property
    def starving(self) -> float:
        """Share of the last steps, up to 100, that waited for images over 5 % of their time."""
        if not self._rounds:
            return 0.0
        return sum(wait > WAITED * step for wait, step in self._rounds) / len(self._rounds)

    @property
    def waiting(self) -> float:
        """Share of the time of these steps that was spent waiting, 0..1."""
        total = sum(step for _, step in self._rounds)
        return sum(wait for wait, _ in self._rounds) / total if total > 0 else 0.0

    def _tell(self) -> None:
        if self._said or len(self._rounds) < WINDOW or self.starving < SUFFERED:
            return
        self._said = True
        self._say(
            f"{self.starving:.0%} of the last {WINDOW} steps waited for images, "
            f"{self.waiting:.0%} of their time, with {self._workers} worker processes; give more, "
            "or store the images smaller"
        )

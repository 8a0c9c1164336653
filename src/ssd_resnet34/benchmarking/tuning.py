"""Which threads, streams and batch make a stream fastest here, in pairs with the usual ones."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import cycle, islice
from typing import Any, Final

from ..detector import Detector
from ..runtime.tuning import Tuning, text, usual
from .runs import Contender, Entry, Run

GAIN: Final = 0.02
"""What is not faster by this share is noise: the usual ones stay."""

_REPEATS: Final = 4
"""Batches of each stream in a run: enough for the pipeline to be in its stride."""

_GPU_BATCHES: Final = (4, 8, 32, 64)


def candidates(device: str, whole_road: bool) -> list[Tuning]:
    """What is tried, the usual first.

    On a CPU as many streams as threads at most, and half the threads, since two threads of one core
    may hinder each other. On a GPU one stream fewer and more, and other batches where it has the
    whole road.
    """
    first = usual(device)
    if device == "cpu":
        counts = [2**n for n in range(1, 7) if 2**n <= first.threads]
        found = [first, *(replace(first, streams=count) for count in counts)]
        return found if first.threads == 1 else [*found, replace(first, threads=first.threads // 2)]
    if not whole_road:
        first = replace(first, batch=1)
    found = [first, *(replace(first, streams=count) for count in (1, 3))]
    if whole_road:
        found += [replace(first, batch=count) for count in _GPU_BATCHES]
    return found


def contender(detector: Detector, pictures: Sequence[bytes]) -> Contender:
    """``Detector.stream`` over encoded pictures as something to time."""
    session = detector.session
    chosen = Tuning(session.threads, session.streams, session.batch)
    count = _REPEATS * session.streams * session.batch

    def run() -> None:
        for _ in detector.stream(islice(cycle(pictures), count)):
            pass

    return Contender(
        text(chosen),
        run,
        session.engine,
        session.precision,
        streams=session.streams,
        batch=session.batch,
        repeats=_REPEATS,
    )


def entries(
    chosen: Sequence[Tuning], load: Callable[[Tuning], Detector], pictures: Sequence[bytes]
) -> list[Entry]:
    """Each of ``chosen`` as an entry; ``load`` gives its detector, which is closed afterwards."""

    @contextmanager
    def opened(one: Tuning) -> Iterator[Contender]:
        with load(one) as detector:
            yield contender(detector, pictures)

    return [Entry(text(one), lambda one=one: opened(one)) for one in chosen]  # type: ignore[misc]


@dataclass(frozen=True)
class Tuned:
    """What was measured: a run for each candidate, and the ``fastest`` of them."""

    runs: tuple[Run, ...]
    fastest: Tuning
    kept: bool
    """Whether later sessions use it."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def fastest(chosen: Sequence[Tuning], runs: Sequence[Run]) -> Tuning:
    """The candidate with the smallest ratio to the first; the first, if none gains :data:`GAIN`."""
    best, least = chosen[0], 1 - GAIN
    for one, run in zip(chosen, runs, strict=True):
        if run.ratio is not None and run.ratio.median < least:
            best, least = one, run.ratio.median
    return best

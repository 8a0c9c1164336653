"""Two ways to do one thing, timed in interleaved pairs.

A pair sees the same load of the machine, so the ratio of a pair is steadier than either time. Who
goes first alternates, since the second may find warmer caches or a hotter processor.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter, sleep
from typing import Final

import numpy as np

Clock = Callable[[], float]
"""Seconds from any start, monotonic."""

Times = Sequence[tuple[float, float]]
"""Pairs of seconds: (peer, ours)."""

ENOUGH: Final = 15
"""Least number of pairs for a ratio to be quoted."""

WARM_UPS: Final = 2

SETTLE: Final = 0.1
"""Seconds."""


@dataclass(frozen=True)
class Ratio:
    """Median and quartiles over ``pairs`` of peer / ours: below 1 the peer is faster."""

    median: float
    low: float
    high: float
    pairs: int


@dataclass(frozen=True)
class Percentiles:
    """Of ``samples`` times in seconds; linear between neighbours."""

    p50: float
    p90: float
    p99: float
    samples: int


@dataclass(frozen=True)
class Comparison:
    """Medians over ``pairs``; ``ratio`` is peer / ours, so above 1 ours is faster."""

    name: str
    ratio: float
    low: float
    high: float
    peer_ms: float
    ours_ms: float
    pairs: int

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.ratio:.3f} (quartiles {self.low:.3f}..{self.high:.3f}, "
            f"{self.peer_ms:.2f} ms / {self.ours_ms:.2f} ms, {self.pairs} pairs)"
        )


def interleave(
    peer: Callable[[], object],
    ours: Callable[[], object],
    pairs: int,
    *,
    warm_ups: int = WARM_UPS,
    clock: Clock = perf_counter,
    rest: Callable[[], object] = lambda: None,
    on_pair: Callable[[], None] = lambda: None,
) -> list[tuple[float, float]]:
    """Seconds of ``peer`` and ``ours`` in each of ``pairs``, after so many untimed rounds.

    Args:
        rest: called before each run, untimed; see :func:`settle`.
    """
    for _ in range(warm_ups):
        peer()
        ours()
    times = []
    for number in range(pairs):
        taken = []
        for one in (ours, peer) if number % 2 else (peer, ours):
            rest()
            taken.append(seconds(one, clock))
        mine, theirs = taken if number % 2 else reversed(taken)
        times.append((theirs, mine))
        on_pair()
    return times


def settle() -> None:
    """Wait until the threads of the last run sleep: ONNX Runtime's spin on for a while, on cores of
    whoever runs next."""
    sleep(SETTLE)


def seconds(function: Callable[[], object], clock: Clock = perf_counter) -> float:
    """What one call takes."""
    start = clock()
    function()
    return clock() - start


def ratio(times: Times, scale: float = 1.0) -> Ratio:
    """Of pairs of seconds, times ``scale`` (where the two do different amounts of work)."""
    ratios = sorted(scale * theirs / mine for theirs, mine in times)
    count = len(ratios)
    return Ratio(median(ratios), ratios[count // 4], ratios[(3 * count) // 4], count)


def percentiles(values: Iterable[float]) -> Percentiles:
    """The three percentiles of some seconds, at least one."""
    found = list(values)
    p50, p90, p99 = (float(value) for value in np.percentile(found, (50, 90, 99)))
    return Percentiles(p50, p90, p99, len(found))


def compare(
    name: str,
    peer: Callable[[], object],
    ours: Callable[[], object],
    pairs: int = 31,
    *,
    clock: Clock = perf_counter,
) -> Comparison:
    """Time ``peer`` and ``ours`` one after the other, ``pairs`` times after two warm-up rounds."""
    return compared(name, interleave(peer, ours, pairs, clock=clock))


def compared(name: str, times: Times) -> Comparison:
    """What pairs of seconds say of the two."""
    found = ratio(times)
    return Comparison(
        name,
        found.median,
        found.low,
        found.high,
        1e3 * median(theirs for theirs, _ in times),
        1e3 * median(mine for _, mine in times),
        found.pairs,
    )

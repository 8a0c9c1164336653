"""Where the time of a run went: its rate over time, and what an input costs, stage by stage."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .rows import Timing

STAGES: Final = ("read", "decode", "detect")

BINS: Final = 48

_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 360, 200, 38, 8, 30


@dataclass(frozen=True)
class Stage:
    """Seconds of one stage over all inputs that came so far: median, 95 % and largest."""

    name: str
    median: float
    most: float
    largest: float


@dataclass(frozen=True)
class Chart:
    """The rate as an SVG: bars (x, y, width, height), the highest rate, the seconds shown."""

    bars: Sequence[tuple[float, float, float, float]]
    highest: float
    seconds: float
    width: int = _WIDTH
    height: int = _HEIGHT
    left: int = _LEFT
    top: int = _TOP
    bottom: int = _HEIGHT - _BOTTOM


@dataclass(frozen=True, eq=False)
class Rates:
    """What the sidecars say.

    Attributes:
        inputs: rows with a timing.
        active: seconds in which anything was done: pauses between runs are left out.
        rate: inputs a second of those.
        stages: read, decode, detect.
        retried: inputs that were tried twice.
        slowest: (seconds, id) of those that took longest, longest first.
        chart: rate over time; None with fewer than two inputs.
    """

    inputs: int
    active: float
    rate: float
    stages: Sequence[Stage]
    retried: int
    slowest: Sequence[tuple[float, int]]
    chart: Chart | None


def columns(timings: Iterable[Timing]) -> NDArray[np.float64]:
    """float64 (n, 6): id, read, decode, detect (seconds), attempts, ended (Unix time)."""
    rows = [(t.id, t.read, t.decode, t.detect, t.attempts, t.ended) for t in timings]
    return np.array(rows, np.float64).reshape(-1, 6)


def rates(table: NDArray[np.float64], slowest: int = 8) -> Rates:
    """The rates of a table of :func:`columns`, float64 (rows, columns)."""
    ended = np.sort(table[:, 5])
    total = table[:, 1:4].sum(axis=1)
    gaps = np.diff(ended)
    # A pause is what is much longer than the slowest input: nobody was working.
    pause = max(60.0, 3 * float(total.max(initial=0.0)))
    worked = gaps[gaps <= pause]
    active = float(worked.sum())
    stages = []
    for n, name in enumerate(STAGES, 1):
        spent = table[table[:, n] > 0, n]
        if len(spent):
            median, most = np.percentile(spent, (50, 95))
            stages.append(Stage(name, float(median), float(most), float(spent.max())))
    order = np.argsort(-total, kind="stable")[:slowest]
    return Rates(
        inputs=len(table),
        active=active,
        rate=len(worked) / active if active > 0 else 0.0,
        stages=stages,
        retried=int((table[:, 4] > 1).sum()),
        slowest=[(float(total[n]), int(table[n, 0])) for n in order],
        chart=_chart(ended) if len(ended) > 1 and ended[-1] > ended[0] else None,
    )


def _chart(ended: NDArray[Any]) -> Chart:
    bins = min(BINS, max(1, len(ended) // 8))  # a bar is a rate only with some inputs in it
    counts, edges = np.histogram(ended, bins)
    rate = counts / (edges[1] - edges[0])
    highest = float(rate.max())
    right, bottom = _WIDTH - 8, _HEIGHT - _BOTTOM
    step = (right - _LEFT) / bins
    bars = []
    for n, value in enumerate(rate.tolist()):
        tall = (bottom - _TOP) * value / highest
        bars.append((_LEFT + n * step, bottom - tall, step * 0.85, tall))
    return Chart(bars, highest, float(ended[-1] - ended[0]))

"""Two ways to do one thing, timed in interleaved pairs."""

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median
from time import perf_counter


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
            f"{self.name}: {self.ratio:.2f} (quartiles {self.low:.2f}..{self.high:.2f}, "
            f"{self.peer_ms:.2f} ms / {self.ours_ms:.2f} ms, {self.pairs} pairs)"
        )


def compare(
    name: str, peer: Callable[[], object], ours: Callable[[], object], pairs: int = 31
) -> Comparison:
    """Time ``peer`` and ``ours`` one after the other, ``pairs`` times after two warm-up rounds.

    A pair sees the same load of the machine, so the ratio of a pair is steadier than either time;
    who goes first alternates.
    """
    for _ in range(2):
        peer()
        ours()
    times = []
    for number in range(pairs):
        if number % 2:
            mine, theirs = _seconds(ours), _seconds(peer)
        else:
            theirs, mine = _seconds(peer), _seconds(ours)
        times.append((theirs, mine))
    ratios = sorted(theirs / mine for theirs, mine in times)
    return Comparison(
        name,
        median(ratios),
        ratios[pairs // 4],
        ratios[(3 * pairs) // 4],
        1e3 * median(theirs for theirs, _ in times),
        1e3 * median(mine for _, mine in times),
        pairs,
    )


def _seconds(function: Callable[[], object]) -> float:
    start = perf_counter()
    function()
    return perf_counter() - start


def report(measure: Callable[[int], list[Comparison]], description: str) -> None:
    """The command line of a benchmark: ``--pairs N`` and ``--json``."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--pairs", type=int, default=31, help="interleaved pairs, at least 15")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    results = measure(max(arguments.pairs, 15))
    if arguments.json:
        print(json.dumps([asdict(result) for result in results]))
    else:
        print(*results, sep="\n")

"""What shows that a machine was busy while it was measured."""

from collections.abc import Sequence
from typing import Final

from .runs import Run

SAME: Final = (0.9, 1.1)
"""Where the baseline's ratio to itself may lie: it would be 1 without noise."""

SPREAD: Final = 0.2
"""How far apart the quartiles of a ratio may lie, as a share of it."""

LEAST_CPU: Final = 0.8
"""Of the CPU time of its threads, what a run gets that has the machine for itself: on two cores
0.94 and more with every engine; the rest is for more cores, which wait for one another at the ends
of layers."""


def is_wide(median: float, low: float, high: float) -> bool:
    """Whether the quartiles of a ratio lie too far apart."""
    return high - low > SPREAD * median


def doubts(runs: Sequence[Run], shares: Sequence[float]) -> list[str]:
    """Why the numbers are not to be trusted, a phrase each; none where nothing speaks against them.

    Args:
        runs: the baseline first.
        shares: of the machine's own rate, 1 for all of it.
    """
    found = []
    ratios = [(run.name, run.ratio) for run in runs if run.ratio is not None]
    if ratios and not SAME[0] <= ratios[0][1].median <= SAME[1]:
        found.append(
            f"the baseline against itself is {ratios[0][1].median:.2f}, not {SAME[0]} to {SAME[1]}"
        )
    wide = [name for name, one in ratios if is_wide(one.median, one.low, one.high)]
    if wide:
        found.append(f"the quartiles of {', '.join(wide)} are more than {100 * SPREAD:.0f} % apart")
    starved = [run for run in runs if run.cpu is not None and run.cpu < LEAST_CPU]
    if starved:
        least = min(run.cpu for run in starved if run.cpu is not None)
        found.append(
            f"{', '.join(run.name for run in starved)} got less than {100 * LEAST_CPU:.0f} % of "
            f"the CPU time of their threads, down to {100 * least:.0f} %"
        )
    if max(shares, default=0) > 1:
        found.append(f"a share of {100 * max(shares):.0f} % of the machine's own rate cannot be")
    return found

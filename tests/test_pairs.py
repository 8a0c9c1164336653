"""Interleaved pairs: who goes first, what counts, and the numbers drawn from them."""

import pytest

from fake_clock import FakeClock
from ssd_resnet34.pairs import (
    ENOUGH,
    Percentiles,
    Ratio,
    compare,
    interleave,
    percentiles,
    ratio,
)


def test_the_two_alternate_in_going_first_after_untimed_warm_ups() -> None:
    clock, calls = FakeClock(), list[str]()
    peer = clock.taking(3, calls=calls, name="peer")
    ours = clock.taking(1, calls=calls, name="ours")
    done = []
    times = interleave(peer, ours, 3, clock=clock, on_pair=lambda: done.append(len(calls)))
    assert calls[:4] == ["peer", "ours"] * 2
    assert calls[4:] == ["peer", "ours", "ours", "peer", "peer", "ours"]
    assert times == [(3, 1)] * 3
    assert done == [6, 8, 10]


def test_a_rest_before_each_run_is_not_timed() -> None:
    clock, calls = FakeClock(), list[str]()
    peer = clock.taking(3, calls=calls, name="peer")
    ours = clock.taking(1, calls=calls, name="ours")
    rest = clock.taking(50, calls=calls, name="rest")
    assert interleave(peer, ours, 2, warm_ups=0, clock=clock, rest=rest) == [(3, 1)] * 2
    assert calls == ["rest", "peer", "rest", "ours", "rest", "ours", "rest", "peer"]


def test_warm_ups_may_take_long_and_count_for_nothing() -> None:
    clock = FakeClock()
    peer, ours = clock.taking(100, 50, 2, 2, 2), clock.taking(70, 80, 4, 4, 4)
    assert interleave(peer, ours, 3, clock=clock) == [(2, 4)] * 3


def test_a_ratio_is_the_median_of_the_pairs_ratios_with_quartiles() -> None:
    times = [(float(n), 1.0) for n in (5, 1, 4, 2, 3)]
    assert ratio(times) == Ratio(3, 2, 4, 5)
    assert ratio(times, 0.5) == Ratio(1.5, 1, 2, 5)
    # Not the ratio of the medians: the load of the machine doubles, each pair's ratio stays.
    assert ratio([(1, 2), (10, 20), (3, 6)]).median == 0.5


def test_one_pair_is_its_own_median_and_quartiles() -> None:
    assert ratio([(3, 2)]) == Ratio(1.5, 1.5, 1.5, 1)


def test_percentiles_are_linear_between_neighbours() -> None:
    assert percentiles(range(101)) == Percentiles(50, 90, 99, 101)
    assert percentiles([7]) == Percentiles(7, 7, 7, 1)
    assert percentiles([2, 1]).p50 == 1.5


def test_a_comparison_above_1_says_ours_is_faster() -> None:
    clock = FakeClock()
    found = compare("a / b", clock.taking(0.004), clock.taking(0.002), ENOUGH, clock=clock)
    assert found.ratio == pytest.approx(2)
    assert found.peer_ms == pytest.approx(4)
    assert found.ours_ms == pytest.approx(2)
    assert str(found) == "a / b: 2.000 (quartiles 2.000..2.000, 4.00 ms / 2.00 ms, 15 pairs)"

"""Overlapping work: order, bounds, failures."""

import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssd_resnet34.runtime.pipeline import overlapped


@given(st.lists(st.integers(0, 3), max_size=30), st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_results_come_in_the_order_of_the_items(items: list[int], workers: int) -> None:
    def work(item: int) -> int:
        time.sleep(item / 2000)  # later items overtake
        return item

    assert list(overlapped(work, items, workers)) == items


def test_at_most_one_item_more_than_workers_is_taken_ahead() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for n in range(1000):
            taken.append(n)
            yield n

    results = overlapped(lambda n: n, items(), 2)
    for n in range(5):
        assert next(results) == n
        assert len(taken) == n + 1 + 2
    results.close()


def test_items_really_overlap() -> None:
    both = threading.Barrier(2, timeout=30)  # passes only if two are at work at a time
    assert list(overlapped(lambda n: both.wait() >= 0, range(4), 2)) == [True] * 4


def test_an_exception_comes_in_its_turn_and_ends_all() -> None:
    begun: list[int] = []

    def work(item: int) -> int:
        begun.append(item)
        if item == 2:
            raise ValueError("the third")
        return item

    results = overlapped(work, range(1000), 2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="the third"):
        next(results)
    assert len(begun) <= 2 + 3
    assert list(results) == []


def test_items_that_fail_lose_no_result_of_those_before() -> None:
    def items() -> Iterator[int]:
        yield from range(3)
        raise OSError("the folder went away")

    results = overlapped(lambda n: n, items(), 5)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(OSError, match="went away"):
        next(results)


def test_no_thread_is_left_behind() -> None:
    before = threading.active_count()
    results = overlapped(lambda n: n, range(100), 3)
    next(results)
    results.close()
    assert threading.active_count() == before
    assert list(overlapped(lambda n: n, [], 3)) == []

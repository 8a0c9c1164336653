"""Overlapping work: order, bounds, failures."""

import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssd_resnet34.runtime import pipeline
from ssd_resnet34.runtime.pipeline import ALONE, overlapped


@given(st.lists(st.integers(0, 3), max_size=30), st.integers(1, 5))
@settings(max_examples=40)
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


class Machine:
    """A clock and a network for :func:`overlapped`: time passes when told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.time = self.network = 0.0
        self.threads: list[bool] = []
        monkeypatch.setattr(pipeline, "perf_counter", lambda: self.time)

    def busy(self) -> float:
        return self.network

    def work(self, share: float) -> bool:
        """A second, of which the network has ``share``; gives whether the caller did it."""
        self.time += 1
        self.network += share
        return threading.current_thread() is threading.main_thread()


def test_items_are_done_one_by_one_while_the_network_has_nearly_all_of_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine = Machine(monkeypatch)
    taken: list[int] = []

    def shares() -> Iterator[float]:
        for n in range(10):
            taken.append(n)
            yield 0.1 if n == 0 else ALONE + 0.01  # the first pays for what is made once

    for done, alone in enumerate(overlapped(machine.work, shares(), 2, machine.busy), 1):
        assert alone
        assert len(taken) == done


@pytest.mark.parametrize("what", ["work", "items", "caller"])
def test_they_overlap_as_soon_as_anything_else_takes_its_share(
    monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    machine = Machine(monkeypatch)

    def shares() -> Iterator[float]:
        for n in range(20):
            if what == "items" and n == 4:
                machine.time += 9
            yield 0.5 if what == "work" and n == 4 else 0.99

    alone = []
    for one in overlapped(machine.work, shares(), 2, machine.busy):
        alone.append(one)
        if what == "caller" and len(alone) == 5:
            machine.time += 9
    assert alone == [True] * 5 + [False] * 15


@given(st.lists(st.floats(0, 1), max_size=12), st.integers(1, 4))
@settings(max_examples=40)
def test_the_order_stays_whenever_the_change_comes(shares: list[float], workers: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        machine = Machine(patch)

        def work(numbered: tuple[int, float]) -> int:
            machine.work(numbered[1])
            return numbered[0]

        found = list(overlapped(work, enumerate(shares), workers, machine.busy))
    assert found == list(range(len(shares)))


def test_one_by_one_too_a_failure_comes_in_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)

    def work(item: int) -> int:
        machine.work(1)
        if item == 4:
            raise ValueError("the fifth")
        return item

    results = overlapped(work, range(9), 2, machine.busy)
    assert [next(results) for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="the fifth"):
        next(results)
    assert list(results) == []

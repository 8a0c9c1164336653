"""Overlap: one item is prepared and another finished while the network runs a third."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from time import perf_counter
from typing import Final, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

ALONE: Final = 0.92
"""Where the network has this share of the time, overlap costs more than it gains: each of its
layers is cut into equal parts, one a core, and all of them wait for the core that has to do a
neighbour's decoding too. Measured on two cores (docs/speed.md)."""


def overlapped(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int,
    busy: Callable[[], float] | None = None,
) -> Generator[Result]:
    """``map(work, items)`` in order, by ``workers`` threads, reading at most so many items ahead.

    ``work`` does everything for one item; what must not run twice at a time (a network that fills
    the machine) it guards itself, as :meth:`Session.run` does. Items are taken in the caller's
    thread; if they fail, the results of those before come first. An exception of ``work`` comes up
    in its item's turn and ends the iteration; what was begun ahead is finished and dropped before
    that, as when the iterator is closed.

    ``busy`` gives the seconds for which the network has run so far, where it has the whole machine
    to itself. Items are then done in the caller's thread, one by one, for as long as the network
    has nearly all of the time: of ``work``, of the items and of the caller together.
    """
    remaining = iter(items)
    if busy is not None:
        yield from _one_by_one(work, remaining, busy)
    begun: deque[Future[Result]] = deque()
    failure: Exception | None = None
    with ThreadPoolExecutor(workers, thread_name_prefix="ssd-resnet34") as pool:
        try:
            while True:
                try:
                    item = next(remaining)
                except StopIteration:
                    break
                except Exception as error:  # of the items: what was begun comes first
                    failure = error
                    break
                begun.append(pool.submit(work, item))
                if len(begun) > workers:
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
        finally:
            for future in begun:
                future.cancel()
    if failure is not None:
        raise failure


def _one_by_one(
    work: Callable[[Item], Result], items: Iterator[Item], busy: Callable[[], float]
) -> Generator[Result]:
    """``map(work, items)`` until the network's share of the time is below :data:`ALONE`."""
    began = before = 0.0
    for number, item in enumerate(items):
        if number == 1:  # the first pays for what is made once
            began, before = perf_counter(), busy()
        yield work(item)
        if number > 1 and busy() - before < ALONE * (perf_counter() - began):
            return

"""Overlap: one item is prepared and another finished while the network runs a third."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def overlapped(
    work: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Generator[Result]:
    """``map(work, items)`` in order, by ``workers`` threads, reading at most so many items ahead.

    ``work`` does everything for one item; what must not run twice at a time (a network that fills
    the machine) it guards itself, as :meth:`Session.run` does. Items are taken in the caller's
    thread; if they fail, the results of those before come first. An exception of ``work`` comes up
    in its item's turn and ends the iteration; what was begun ahead is finished and dropped before
    that, as when the iterator is closed.
    """
    remaining = iter(items)
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

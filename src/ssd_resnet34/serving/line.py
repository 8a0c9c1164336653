"""The waiting line in front of the workers: who may enter, who is next, who must wait alone.

Pure bookkeeping, without clocks, processes or an event loop.
"""

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from .refusals import Refused
from .tasks import Task

_WEIGHT: Final = 0.2
"""Of the newest task in the mean service time: about the last ten count."""

_FIRST: Final = 64
"""Places before any service time is known."""


@dataclass(eq=False, slots=True)
class Ticket:
    """A task that was let in. ``alone``: no other task may share its worker meanwhile."""

    task: Task
    alone: bool = False
    outcome: Any = field(default=None, repr=False)
    """Whatever the owner waits with, such as a future."""


class Place:
    """A place that is kept for a request whose body is on its way."""


class Line:
    """Tickets, waiting and running, no more than can be answered within ``deadline`` seconds.

    Places that are kept count as if their tickets were there: else a burst of large bodies would be
    read before the first of them is refused.
    """

    def __init__(self, deadline: float, lanes: int) -> None:
        self._deadline = deadline
        self.lanes = lanes
        """Tasks that the workers finish at the same time: workers × streams."""
        self._waiting: deque[Ticket] = deque()
        self._running: set[Ticket] = set()
        self._kept: set[Place] = set()
        self.service: float | None = None
        """Mean seconds of a task in a worker."""

    @property
    def capacity(self) -> int:
        """Tickets inside at most: deadline ÷ service time, for each lane, at least one."""
        if self.service is None:
            return _FIRST
        return max(1, math.floor(self._deadline / max(self.service, 1e-4))) * self.lanes

    @property
    def inside(self) -> int:
        """Waiting and running."""
        return len(self._waiting) + len(self._running)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def arriving(self) -> int:
        """Places that are kept."""
        return len(self._kept)

    def __iter__(self) -> Iterator[Ticket]:
        """Everybody inside."""
        return iter((*self._waiting, *self._running))

    def check(self, more: int = 1) -> None:
        """Raises:
        Refused: there is no room for ``more`` tickets; says when there will be.
        """
        taken, capacity = self.inside + self.arriving, self.capacity
        if taken + more > capacity:
            ahead = min(taken, capacity) * (self.service or 0.1) / self.lanes
            raise Refused(
                "overloaded",
                f"no room: {taken} of {capacity} places in the queue are taken, as many as can be "
                f"answered in {self._deadline:g} s; try again later"
                if more <= capacity
                else f"a request of {more} images, and {capacity} at most can be answered in "
                f"{self._deadline:g} s; send fewer at a time",
                retry_after=max(1, math.ceil(ahead)),
            )

    def keep(self) -> Place:
        """Keep a place until it is given up.

        Raises:
            Refused: no room.
        """
        self.check()
        place = Place()
        self._kept.add(place)
        return place

    def give_up(self, place: Place) -> None:
        """The place is free again, if it was not yet."""
        self._kept.discard(place)

    def enter(self, tickets: Sequence[Ticket]) -> None:
        """Let all of them in, or none.

        Raises:
            Refused: no room.
        """
        self.check(len(tickets))
        self._waiting.extend(tickets)

    def next(self, idle: bool) -> Ticket | None:
        """The next ticket to run, for a worker that runs nothing else (``idle``) or something."""
        if not self._waiting or (self._waiting[0].alone and not idle):
            return None
        ticket = self._waiting.popleft()
        self._running.add(ticket)
        return ticket

    def leave(self, ticket: Ticket) -> bool:
        """Take a ticket out, wherever it is; whether it was still waiting."""
        self._running.discard(ticket)
        if ticket in self._waiting:
            self._waiting.remove(ticket)
            return True
        return False

    def measured(self, seconds: float) -> None:
        """A task took so long in its worker."""
        if self.service is None:
            self.service = seconds
        else:
            self.service += _WEIGHT * (seconds - self.service)


class Budget:
    """Bytes of all requests that the server holds; a request gives back what it took."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.used = 0

    def check(self, size: int) -> None:
        """Raises:
        Refused: there is no room for ``size`` bytes more.
        """
        if self.used + size > self._most:
            raise Refused(
                "overloaded",
                f"the requests in the server hold {self.used} bytes already; try again later",
                retry_after=1,
            )

    def take(self, size: int) -> None:
        """Raises:
        Refused: the server holds too much already.
        """
        self.check(size)
        self.used += size

    def give_back(self, size: int) -> None:
        self.used -= size

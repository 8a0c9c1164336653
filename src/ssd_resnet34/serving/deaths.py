"""What the death of a worker means: for the next start, and for the inputs it was working on."""

import hashlib
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

_FIRST_DELAY: Final = 0.25
_LONGEST_DELAY: Final = 10.0

_REMEMBERED: Final = 4096
"""Inputs under suspicion; the oldest is forgotten."""

_GUILTY: Final = 2
"""Deaths, after which an input is not run again."""


class Restarts:
    """How long to wait before a worker is started again; when to give up."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._in_a_row = 0
        self.count = 0

    def died(self) -> float | None:
        """Seconds to wait; None where too many ended one after the other without an answer."""
        self.count += 1
        self._in_a_row += 1
        if self._in_a_row > self._most:
            return None
        return min(_LONGEST_DELAY, _FIRST_DELAY * 2.0 ** (self._in_a_row - 1))

    def answered(self) -> None:
        """A worker did its work: whatever ended those before is over."""
        self._in_a_row = 0


class Quarantine:
    """Inputs that were in a worker when it died.

    After the first death an input is a suspect: it runs alone, so that no other is blamed with it.
    After the second it is never run again. One that comes through is forgiven.
    """

    def __init__(self) -> None:
        self._deaths: OrderedDict[bytes, int] = OrderedDict()

    def __len__(self) -> int:
        """Inputs that are not run again."""
        return sum(deaths >= _GUILTY for deaths in self._deaths.values())

    def blame(self, inputs: Iterable[bytes]) -> None:
        """A worker died over these; one that it ran twice at the same time is blamed once."""
        for key in dict.fromkeys(map(_digest, inputs)):
            self._deaths[key] = self._deaths.pop(key, 0) + 1
        while len(self._deaths) > _REMEMBERED:
            self._deaths.popitem(last=False)

    def forgive(self, data: bytes) -> None:
        """This one came through."""
        if self._deaths:
            self._deaths.pop(_digest(data), None)

    def suspects(self, data: bytes) -> bool:
        """Whether it must run alone."""
        return self._count(data) > 0

    def holds(self, data: bytes) -> bool:
        """Whether it must not run."""
        return self._count(data) >= _GUILTY

    def _count(self, data: bytes) -> int:
        # Nearly always nothing is under suspicion, and nothing need be hashed.
        return self._deaths.get(_digest(data), 0) if self._deaths else 0


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()

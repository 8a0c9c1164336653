"""Disks and stores that fail for a while: tried again, ever more slowly, until patience ends."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from ..errors import UsageError

Result = TypeVar("Result")

PERMANENT: Final = (
    FileNotFoundError,
    FileExistsError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
    ImportError,
    NotImplementedError,
    TypeError,
    ValueError,
)
"""What no repetition mends; all else (a full disk, "slow down", a lost connection) may pass."""

_PASSING: Final = (408, 429, 500, 502, 503, 504)
"""Statuses of HTTP that may be others the next time."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to try again: ``seconds`` in all, pauses from ``first`` up to ``longest`` seconds.

    Raises:
        UsageError: negative.
    """

    seconds: float = 60.0
    first: float = 0.5
    longest: float = 15.0

    def __post_init__(self) -> None:
        if not 0 <= self.seconds < float("inf") or self.first <= 0 or self.longest <= 0:
            raise UsageError(f"patience: {self.seconds} seconds; give a number from 0")


DEFAULT_PATIENCE: Final = Patience()


def patiently(
    call: Callable[[], Result],
    patience: Patience = DEFAULT_PATIENCE,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Result:
    """``call()``, tried again after a failure that may pass; the last failure comes up.

    A pause is drawn between half of its length and all of it, so that a thousand workers do not
    come back in step to the store that asked them to slow down.
    """
    end = clock() + patience.seconds
    pause = patience.first
    while True:
        try:
            return call()
        except PERMANENT:
            raise
        except Exception:
            drawn = pause * random.uniform(0.5, 1.0)
            if clock() + drawn > end:
                raise
        sleep(drawn)
        pause = min(2 * pause, patience.longest)


@contextmanager
def unmasked(files: Any) -> Iterator[None]:
    """What keeps a web server from its answer, as that: fsspec says "not found" of everything."""
    try:
        yield
    except FileNotFoundError as error:
        cause = error.__cause__
        if "http" in files.protocol and cause and getattr(cause, "status", 503) in _PASSING:
            raise cause from None
        raise

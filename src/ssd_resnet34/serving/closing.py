"""The beginning of the end: whoever waits for a client's bytes is told, and waits no longer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Closing:
    """Whether the server lets nobody else in; all in one event loop."""

    def __init__(self) -> None:
        self.begun = False
        self._waits: dict[asyncio.Timeout, float] = {}

    def begin(self) -> None:
        """From now on, and for good."""
        self.begun = True
        now = asyncio.get_running_loop().time()
        for wait, grace in self._waits.items():
            end = wait.when()
            if not wait.expired() and (end is None or end > now + grace):
                wait.reschedule(now + grace)

    @asynccontextmanager
    async def within(self, seconds: float, grace: float = 0.0) -> AsyncIterator[None]:
        """``asyncio.timeout``, but at most ``grace`` seconds once the closing has begun.

        Raises:
            TimeoutError: either of them is over.
        """
        async with asyncio.timeout(min(seconds, grace) if self.begun else seconds) as wait:
            self._waits[wait] = grace
            try:
                yield
            finally:
                del self._waits[wait]

"""Two bounded queues around a function: what was submitted, and what was made of it.

Order: with one worker, results come in the order of submission; with several, in the order of
completion. Each result is received once, with the context that was submitted with it.

Backpressure: a full input queue makes ``submit`` wait; a full output queue makes workers wait with
their finished result, and so fills the input queue. Every wait ends when a side is closed.
"""

import atexit
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from .errors import InternalError, QueueWaitTimeout, SessionClosed, SessionTerminated

CLOSE_SECONDS: Final = 60.0
"""How long closing waits for runs that have begun."""

_Item = tuple[Any, Any]
"""(Context, request); on the way out (context, result or InternalError)."""


class Pending(Exception):
    """Now it would have to wait: the queue is full, or empty."""


class Pipeline:
    """``work`` in ``workers`` threads, between two queues.

    Args:
        work: request -> result; if it raises, the ``recv`` of that request does.
        finish: called once, when both sides are closed or done and no worker is left.
        input_size, output_size: most entries of each queue, None for any number.
    """

    def __init__(
        self,
        work: Callable[[Any], Any],
        finish: Callable[[], None],
        workers: int,
        input_size: int | None,
        output_size: int | None,
    ) -> None:
        self._work, self._finish = work, finish
        self._sizes = input_size, output_size
        self._changed = threading.Condition()
        self._input: deque[_Item] = deque()
        self._output: deque[_Item] = deque()
        self._submitting = self._receiving = True
        self._alive = workers
        self._finished = threading.Event()
        self._watchers: list[Callable[[], None]] = []
        for _ in range(workers):
            # Daemons, so that a queue that nobody closed does not keep the process: see _close_all.
            threading.Thread(target=self._serve, name="furiosa.runtime", daemon=True).start()
        _OPEN.add(self)

    @property
    def submitting(self) -> bool:
        """Whether requests are accepted."""
        return self._submitting

    @property
    def receiving(self) -> bool:
        """Whether the receiving side is open."""
        return self._receiving

    def submit(self, request: Any, context: Any, *, wait: bool = True) -> None:
        """Queue a request.

        Raises:
            Pending: the queue is full, and ``wait`` is False.
            SessionClosed: a side is closed, or was while this call waited.
        """
        with self._changed:
            while True:
                if not self._submitting:
                    raise SessionClosed("the submitter is closed; create another queue")
                if self._sizes[0] is None or len(self._input) < self._sizes[0]:
                    break
                if not wait:
                    raise Pending
                self._changed.wait()
            self._input.append((context, request))
            self._tell()

    def recv(self, timeout: float | None = None, *, wait: bool = True) -> tuple[Any, Any]:
        """The next (context, result).

        Args:
            timeout: seconds, 0 for a result that is there already, None for any time.

        Raises:
            Pending: nothing is there, and ``wait`` is False.
            QueueWaitTimeout: nothing came in time.
            SessionTerminated: the submitter is closed and everything was received.
            SessionClosed: this side is closed, or was while this call waited.
            InternalError: the request failed; its ``context`` says which.
        """
        end = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while True:
                if not self._receiving:
                    raise SessionClosed("the queue is closed; create another one")
                if self._output:
                    context, result = self._output.popleft()
                    self._tell()
                    break
                if not self._alive:
                    raise SessionTerminated(
                        "the submitter is closed and all results were received; create another"
                    )
                if not wait:
                    raise Pending
                left = None if end is None else end - time.monotonic()
                if left is not None and left <= 0:
                    raise QueueWaitTimeout(f"no result within {timeout:g} s; wait longer")
                self._changed.wait(None if left is None else min(left, threading.TIMEOUT_MAX))
        if isinstance(result, InternalError):
            raise result
        return context, result

    def close_submitting(self) -> None:
        """Accept nothing more; what is queued is still worked on and can be received."""
        with self._changed:
            self._submitting = False
            self._tell()

    def close_receiving(self) -> None:
        """Stop: nothing is accepted, what is queued is dropped, runs that have begun end."""
        with self._changed:
            self._submitting = self._receiving = False
            self._input.clear()
            self._output.clear()
            self._tell()

    def join(self, timeout: float | None = None) -> bool:
        """Wait until no worker is left and ``finish`` is done; whether that came in time."""
        return self._finished.wait(timeout)

    @contextmanager
    def watched(self, changed: Callable[[], None]) -> Iterator[None]:
        """Call ``changed`` at every change, from any thread, under a lock: it must be quick."""
        with self._changed:
            self._watchers.append(changed)
        try:
            yield
        finally:
            with self._changed:
                self._watchers.remove(changed)

    def _tell(self) -> None:
        self._changed.notify_all()
        for watcher in self._watchers:
            watcher()

    def _serve(self) -> None:
        try:
            while (item := self._next()) is not None:
                context, request = item
                try:
                    result = self._work(request)
                except BaseException as error:
                    result = _failed(error, context)
                del item, request  # 17 MB, while this one waits for room
                self._put(context, result)
                del context, result
        finally:
            with self._changed:
                self._alive -= 1
                last = not self._alive
                self._tell()
            if last:
                try:
                    self._finish()
                finally:
                    self._finished.set()

    def _next(self) -> _Item | None:
        with self._changed:
            self._changed.wait_for(lambda: self._input or not self._submitting)
            if not self._input:
                return None
            item = self._input.popleft()
            self._tell()
            return item

    def _put(self, context: Any, result: Any) -> None:
        size = self._sizes[1]
        with self._changed:
            self._changed.wait_for(
                lambda: not self._receiving or size is None or len(self._output) < size
            )
            if self._receiving:
                self._output.append((context, result))
                self._tell()


def _failed(error: BaseException, context: Any) -> InternalError:
    """What ``recv`` raises for a request that failed."""
    failed = InternalError(str(error) or type(error).__name__)
    failed.context, failed.__cause__ = context, error
    return failed


_OPEN: Final[weakref.WeakSet[Pipeline]] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """A run must not go on while the interpreter is taken down around it."""
    for pipeline in list(_OPEN):
        pipeline.close_receiving()
        pipeline.join(CLOSE_SECONDS)

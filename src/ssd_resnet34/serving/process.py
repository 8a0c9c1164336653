"""A worker process as the server sees it: orders go in, reports come out, and it may end."""

import asyncio
import contextlib
import multiprocessing
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from ..processes import signals_blocked
from . import worker
from .tasks import Cancel, Order, Report, WorkerConfig

_PATIENCE = 5.0
"""Seconds that a worker has to end by itself."""


class Process(Protocol):
    """What the pool needs of a worker process; tests have one without a process."""

    def start(self) -> None: ...
    def send(self, message: Order | Cancel | None) -> None: ...
    def kill(self) -> None: ...
    def stop(self) -> None: ...


OnReport = Callable[[Report], None]
OnEnd = Callable[[str], None]
"""Gets how it ended, in words."""
Spawn = Callable[[WorkerConfig, OnReport, OnEnd], Process]


class WorkerProcess:
    """A process of its own, spawned; its pipe is read and written by two threads of this one.

    The callbacks run in the event loop that was current when it was made.
    """

    def __init__(self, config: WorkerConfig, on_report: OnReport, on_end: OnEnd) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, self._far_end = context.Pipe()
        self._process = context.Process(
            target=worker.main, args=(self._far_end, config), name="ssd-resnet34-worker"
        )
        self._on_report, self._on_end = on_report, on_end
        self._loop = asyncio.get_running_loop()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="to-worker")
        self._reader = threading.Thread(target=self._read, name="from-worker", daemon=True)
        self._reported = False
        """Until then it loads, and reads nothing."""

    def start(self) -> None:
        """Blocks for some milliseconds. Signals to the whole group are not for the worker."""
        with signals_blocked():
            self._process.start()
        self._far_end.close()  # else the end of the process would not close the pipe
        self._reader.start()

    def send(self, message: Order | Cancel | None) -> None:
        """Hand a message over, in order; None ends the worker when it has done all others."""
        with contextlib.suppress(RuntimeError):  # stopped meanwhile
            self._writer.submit(self._send, message)

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def stop(self) -> None:
        """End it, by force if need be; returns when it is gone. Blocks.

        One that still loads has nothing to lose: what it may be writing appears whole or not at
        all, and caches drop what was left half-written.
        """
        if self._reported:
            self.send(None)
            self._process.join(_PATIENCE)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._reader.join()
        self._writer.shutdown(wait=False)

    def _send(self, message: Order | Cancel | None) -> None:
        with contextlib.suppress(OSError):  # it died; the reader sees it too
            self._pipe.send(message)

    def _read(self) -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                report = self._pipe.recv()
                self._reported = True
                self._call(self._on_report, report)
        self._process.join(_PATIENCE)
        if self._process.is_alive():  # the pipe is closed, but not the process
            self._process.kill()
            self._process.join()
        self._pipe.close()
        code = self._process.exitcode or 0
        how = f"exit code {code}"
        if code < 0:
            try:
                how = signal.Signals(-code).name
            except ValueError:
                how = f"signal {-code}"
        self._call(self._on_end, how)

    def _call(self, callback: Callable[[Any], None], value: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to be told
            self._loop.call_soon_threadsafe(callback, value)

"""Worker processes that may hang, crash or swell: each takes down one input at most.

A worker that makes no progress for the time of one image, has one for longer than it and its
neighbours may take together, holds too much memory, or ends, is replaced. What it was doing is
tried once more, each input alone in a worker; the one that loses a worker again gets an error row.
"""

import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Final, Self

from ..errors import SettingsConflict, UsageError, WorkerFailed
from ..processes import signals_blocked
from ..vision.images import printable
from .rows import OUT_OF_MEMORY, TIMED_OUT, WORKER_CRASHED, Row, Timing
from .worker import Done, Job, Ready, Task, serve

START: Final = 600.0
"""Seconds for a worker to load the model: the first one may have to compile it."""

STARTS: Final = 3
"""Workers in a row that may end before they are ready."""

_TICK: Final = 0.5


@dataclass(frozen=True)
class Care:
    """What a worker may do, and how many there are.

    Attributes:
        workers: processes.
        timeout: seconds for one image.
        memory: bytes that a worker may hold (resident; watched on Linux only).

    Raises:
        UsageError: out of range.
    """

    workers: int = 1
    timeout: float = 120.0
    memory: int = 4 << 30

    def __post_init__(self) -> None:
        if not 1 <= self.workers <= 1024:
            raise UsageError(f"workers: {self.workers} is out of range; give 1..1024")
        if not 0 < self.timeout < float("inf"):
            raise UsageError(f"timeout: {self.timeout} is out of range; give seconds above 0")
        if self.memory < 1 << 20:
            raise UsageError(f"memory: {self.memory} bytes are too few; give at least a megabyte")


class _Worker:
    """One process as the pool sees it."""

    def __init__(self, job: Job, number: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(
            target=serve, args=(theirs, job), name=f"ssd-resnet34-{number}", daemon=True
        )
        with signals_blocked():  # until it has its own way, after seconds of imports
            self.process.start()
        theirs.close()  # theirs alone: its end is then the end of the pipe
        self.flying: dict[int, tuple[Task, float]] = {}
        """By id, the longest there first: each task, and when it was sent."""
        self.ready: Ready | None = None
        self.alone = False
        self.since = time.monotonic()
        self.killed_for = ""

    def send(self, task: Task) -> None:
        now = time.monotonic()
        if not self.flying:
            self.since = now
        self.flying[task.id] = task, now
        with suppress(OSError):  # it ended: its pipe says so next
            self.connection.send(task)

    def receive(self) -> Any:
        """The next message, None where the worker has ended."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            return None

    def room(self) -> int:
        if self.ready is None or self.alone:
            return 0
        return self.ready.depth - len(self.flying)

    def resident(self) -> int:
        """Bytes of memory it holds, 0 where that is not to be known."""
        try:
            pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        except (OSError, IndexError):
            return 0
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def is_late(self, now: float, timeout: float) -> bool:
        """Whether the model, or an image, takes longer than it may."""
        if self.ready is None:
            return now - self.since > START
        if not self.flying:
            return False
        # One that hangs by itself, in a store, while its neighbours go on: it may wait for each.
        _, sent = next(iter(self.flying.values()))
        return now - self.since > timeout or now - sent > timeout * self.ready.depth

    def kill(self, reason: str = "") -> None:
        self.killed_for = self.killed_for or reason
        self.process.kill()

    def close(self) -> None:
        self.connection.close()
        self.process.kill()
        self.process.join(10)


class Pool:
    """Processes that turn tasks into rows; use it as a context manager.

    Entering starts one worker and waits until it is ready; the others begin with :meth:`run`.

    Attributes:
        lost: workers that were replaced.

    Raises (entering, and :meth:`run`):
        SSDResNet34Error: the model cannot be loaded, as ``detector.load`` says it.
        WorkerFailed: workers end before they are ready.
    """

    def __init__(self, job: Job, care: Care = Care()) -> None:  # frozen
        self.job, self.care = job, care
        self.lost = 0
        self._ready: Ready | None = None
        self._numbers = count(1)
        self._workers: list[_Worker] = []
        self._failed_starts = 0
        self._measured = 0.0

    def __enter__(self) -> Self:
        try:
            while self._ready is None:
                self._hire(1)
                self._listen()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def ready(self) -> Ready:
        """What the workers run."""
        assert self._ready is not None, "a pool is used inside its with statement"
        return self._ready

    def close(self) -> None:
        """End all workers, whatever they do."""
        while self._workers:
            self._workers.pop().close()

    def run(self, tasks: Iterable[Task], ahead: int) -> Iterator[Done]:
        """The rows of all tasks, as they are done; memory does not grow with their number.

        Args:
            tasks: with ids that occur once.
            ahead: a task is not begun while one that came so many before it is unfinished.
        """
        remaining = iter(tasks)
        unfinished: dict[int, int] = {}
        suspects: deque[Task] = deque()
        begun = 0
        more = True
        while True:
            self._hire(self.care.workers)
            self._try_alone(suspects)
            while more and (worker := self._with_room(bool(suspects))) is not None:
                if begun - min(unfinished.values(), default=begun) >= ahead:
                    break
                task = next(remaining, None)
                if task is None:
                    more = False
                    break
                unfinished[task.id] = begun
                begun += 1
                worker.send(task)
            if not unfinished and not more:
                return
            done, losses = self._listen()
            for loss in losses:
                if loss.task.attempt == 1:
                    suspects.append(loss.task._replace(attempt=2))
                else:
                    done.append(self._given_up(loss))
            for one in done:
                del unfinished[one.row.id]
                yield one

    def _hire(self, wanted: int) -> None:
        while len(self._workers) < wanted:
            self._workers.append(_Worker(self.job, next(self._numbers)))

    def _with_room(self, reserve: bool) -> _Worker | None:
        """The worker with the least to do that takes more; ``reserve``: leave one to run empty."""
        free = [one for one in self._workers if one.room() > 0]
        if reserve and not any(one.alone for one in self._workers):
            emptiest = min((len(one.flying) for one in free), default=0)
            spared = next((one for one in free if len(one.flying) == emptiest), None)
            free = [one for one in free if one is not spared]
        return min(free, key=lambda one: len(one.flying), default=None)

    def _try_alone(self, suspects: deque[Task]) -> None:
        for worker in self._workers:
            if suspects and worker.ready is not None and not worker.flying:
                worker.alone = True
                worker.send(suspects.popleft())

    def _listen(self) -> tuple[list[Done], list["_Loss"]]:
        """Wait a moment for what workers say; end those that do not keep to the rules."""
        done: list[Done] = []
        losses: list[_Loss] = []
        by_connection = {one.connection: one for one in self._workers}
        for connection in wait(list(by_connection), _TICK):
            worker = by_connection[connection]  # type: ignore[index]  # wait gives what it got
            message = worker.receive()
            if message is None:
                losses += self._bury(worker)
            elif isinstance(message, Done):
                del worker.flying[message.row.id]
                worker.alone = worker.alone and bool(worker.flying)
                worker.since = time.monotonic()
                done.append(message)
            elif isinstance(message, Ready):
                self._welcome(worker, message)
            else:
                raise message
        self._watch()
        return done, losses

    def _welcome(self, worker: _Worker, ready: Ready) -> None:
        worker.ready = ready
        self._failed_starts = 0
        if self._ready is None:
            self._ready = ready
        elif ready.fingerprint != self._ready.fingerprint:
            raise SettingsConflict(
                f"the weights {ready.model} changed during the run; run again with the ones that "
                "it began with"
            )

    def _watch(self) -> None:
        now = time.monotonic()
        for worker in self._workers:
            if worker.is_late(now, self.care.timeout) and not worker.connection.poll():
                worker.kill(TIMED_OUT)
        if now - self._measured > _TICK:
            self._measured = now
            for worker in self._workers:
                if worker.flying and worker.resident() > self.care.memory:
                    worker.kill(OUT_OF_MEMORY)

    def _bury(self, worker: _Worker) -> list["_Loss"]:
        worker.close()
        self._workers.remove(worker)
        end = _ending(worker.process.exitcode)
        if worker.ready is None:
            self._failed_starts += 1
            if self._failed_starts >= STARTS:
                raise WorkerFailed(
                    f"{STARTS} workers ended before they were ready ({end}); run `ssd-resnet34 "
                    "check`, or look for a lack of memory"
                )
            return []
        self.lost += 1
        reason = worker.killed_for or WORKER_CRASHED
        return [_Loss(task, reason, end) for task, _ in worker.flying.values()]

    def _given_up(self, loss: "_Loss") -> Done:
        uri = printable(loss.task.input.uri)
        message = {
            TIMED_OUT: f"{uri}: not done in {self.care.timeout:g} s, twice; raise the time limit",
            OUT_OF_MEMORY: f"{uri}: needs more than {self.care.memory >> 20} MiB, twice; raise the "
            "memory limit",
            WORKER_CRASHED: f"{uri}: ended its worker twice ({loss.end}); look at the file",
        }[loss.reason]
        row = Row(
            loss.task.id,
            loss.task.input.uri,
            loss.task.input.size,
            None,
            self.ready.fingerprint,
            self.ready.model,
            error=loss.reason,
            message=message,
        )
        return Done(row, Timing(row.id, attempts=loss.task.attempt, ended=time.time()))


@dataclass(frozen=True)
class _Loss:
    """A task whose worker ended, and how."""

    task: Task
    reason: str
    end: str


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        with suppress(ValueError):
            return signal.Signals(-code).name
    return f"exit code {code}"

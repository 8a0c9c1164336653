"""Supervision: the line, the workers, and what happens when one of them dies.

Everything here runs in one event loop; a worker's reports and its end are callbacks.
"""

import asyncio
import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from .. import errors
from ..errors import ServerError, SSDResNet34Error
from .closing import Closing
from .deaths import Quarantine, Restarts
from .limits import ServerLimits
from .line import Line, Place, Ticket
from .process import Process, Spawn, WorkerProcess
from .refusals import Refused, shutting_down
from .tasks import (
    GIVEN_UP,
    Cancel,
    CannotStart,
    Detect,
    Done,
    Infer,
    NotDone,
    Order,
    Parse,
    Report,
    RunHeads,
    Started,
    Task,
    WorkerConfig,
)

_LOG = logging.getLogger(__name__)


@dataclass(eq=False)
class _Seat:
    """A worker's place; ``process`` is None while it waits for its next start."""

    process: Process | None = None
    ready: bool = False
    slots: int = 1
    running: dict[int, Ticket] = field(default_factory=dict)
    guards: dict[int, asyncio.TimerHandle] = field(default_factory=dict)


class Pool:
    """Workers behind a line. ``failed`` is done, with an error, when the pool gives up."""

    def __init__(
        self,
        config: WorkerConfig,
        workers: int,
        limits: ServerLimits,
        spawn: Spawn = WorkerProcess,
    ) -> None:
        self._config, self._limits, self._spawn = config, limits, spawn
        self._loop = asyncio.get_running_loop()
        self._seats = [_Seat() for _ in range(workers)]
        self._number = 0
        self._starts: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self.line = Line(limits.deadline, workers)
        self.quarantine = Quarantine()
        self.restarts = Restarts(limits.restarts)
        self.closing = Closing()
        self.facts: Started | None = None
        """What runs in the workers; None before the first of them is ready."""
        self.failed: asyncio.Future[None] = self._loop.create_future()
        self.dropped = 0
        """Tickets that left the line without having run: expired, or the client was gone."""

    @property
    def draining(self) -> bool:
        """Whether nobody else is let in."""
        return self.closing.begun

    @property
    def ready_workers(self) -> int:
        return sum(seat.ready for seat in self._seats)

    @property
    def ready(self) -> bool:
        """Whether new requests should be sent here."""
        return self.ready_workers > 0 and not self.draining

    def start(self) -> None:
        """Start every worker; ``ready`` says when the first is."""
        for seat in self._seats:
            self._start(seat, 0.0)

    def check(self, more: int = 1) -> Started:
        """What runs here, if a request may enter now.

        Raises:
            Refused: starting, shutting down, or full.
        """
        if self.draining:
            raise shutting_down()
        if self.facts is None:
            raise Refused("not_ready", "the server is starting; try again", retry_after=1)
        self.line.check(more)
        return self.facts

    @contextlib.contextmanager
    def place(self) -> Iterator[Place]:
        """A place in the line for a request whose body is on its way: :meth:`run` takes it.

        It is kept for ``arrival_seconds``, so that slow clients do not keep out the others; whose
        body takes longer must find room when it is here.

        Raises:
            Refused: full.
        """
        place = self.line.keep()
        timer = self._loop.call_later(self._limits.arrival_seconds, self.line.give_up, place)
        try:
            yield place
        finally:
            timer.cancel()
            self.line.give_up(place)

    async def run(
        self,
        tasks: Sequence[Task],
        timeout: float | None = None,
        place: Place | None = None,
        spent: float = 0.0,
    ) -> list[Done]:
        """Run the tasks of one request, all or none; leaving early takes them out of the line.

        ``timeout`` is in seconds from the request's arrival, ``spent`` of which are over, and
        cannot lengthen the server's own deadline. ``place`` is the one that was kept for this
        request.

        Raises:
            Refused: no room, a quarantined input, over the deadline, a worker that died, or what
                the worker refused.
        """
        deadline = self._limits.deadline
        seconds = deadline if timeout is None else min(timeout, deadline)
        tickets = [self._ticket(task) for task in tasks]
        if place is not None:
            self.line.give_up(place)
        self.check(len(tickets))
        self.line.enter(tickets)
        self._dispatch()
        try:
            async with asyncio.timeout(seconds - spent):
                return list(await asyncio.gather(*(ticket.outcome for ticket in tickets)))
        except TimeoutError:
            pass  # an error raised here would lead to the task that it ends, and hold itself
        finally:
            # None is left here: an error leads to this frame, and would hold itself by its ticket.
            while tickets:
                self._leave(tickets.pop())
        raise self._too_late(seconds)

    def _too_late(self, seconds: float) -> Refused:
        service, deadline = self.line.service or 0.0, self._limits.deadline
        if seconds < deadline:
            mend = "give it a longer timeout"
        elif service > deadline:
            mend = "start the server with a longer --deadline"
        else:
            mend = "send fewer at a time, or start the server with a longer --deadline"
        return Refused(
            "deadline_exceeded",
            f"not done within {seconds:g} s, and an image takes {service:.2g} s here; {mend}",
        )

    def _ticket(self, task: Task) -> Ticket:
        data = payload(task)
        if self.quarantine.holds(data):
            raise Refused(
                "quarantined",
                "this input ended a worker twice and is not run again; report it, with the input",
            )
        ticket = Ticket(task, self.quarantine.suspects(data))
        ticket.outcome = self._loop.create_future()
        return ticket

    def _leave(self, ticket: Ticket) -> None:
        """Nobody waits for the ticket any more, or it is done."""
        if not ticket.outcome.cancel() and not ticket.outcome.cancelled():
            ticket.outcome.exception()  # counts as seen: one error of a batch is enough
        for seat in self._seats:
            for number, running in seat.running.items():
                if running is ticket and seat.process is not None:
                    seat.process.send(Cancel(number))
                    return  # it keeps its place until the worker reports
        if self.line.leave(ticket):
            self.dropped += 1
            self._dispatch()

    def _dispatch(self) -> None:
        """Give waiting tickets to workers with a free slot, the least busy first."""
        while free := [seat for seat in self._seats if self._has_room(seat)]:
            seat = min(free, key=lambda seat: len(seat.running))
            ticket = self.line.next(idle=not seat.running)
            if ticket is None:
                break
            self._hand_over(ticket, seat)

    def _has_room(self, seat: _Seat) -> bool:
        shared = not any(ticket.alone for ticket in seat.running.values())
        return seat.ready and shared and len(seat.running) < seat.slots

    def _hand_over(self, ticket: Ticket, seat: _Seat) -> None:
        process = seat.process
        assert process is not None
        self._number += 1
        seat.running[self._number] = ticket
        seat.guards[self._number] = self._loop.call_later(self._limits.run_seconds, process.kill)
        process.send(Order(self._number, ticket.task))

    def _start(self, seat: _Seat, delay: float) -> None:
        task = self._loop.create_task(self._started(seat, delay))
        self._starts.add(task)
        task.add_done_callback(self._starts.discard)

    async def _started(self, seat: _Seat, delay: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), delay)
        if self._stopping.is_set():
            return
        seat.process = process = self._spawn(
            self._config,
            lambda report: self._on_report(seat, report),
            lambda how: self._on_end(seat, how),
        )
        try:
            await asyncio.to_thread(process.start)
        except (OSError, RuntimeError) as error:  # too many processes or threads, no memory
            reason = getattr(error, "strerror", None) or error
            self._on_end(seat, f"it cannot be started: {reason}")

    def _on_report(self, seat: _Seat, report: Report) -> None:
        match report:
            case Started():
                if self.facts is None and report.seconds > self._limits.deadline:
                    _LOG.warning(
                        "an image takes %.2g s here, and the deadline is %g s: requests will get "
                        "504; raise --deadline",
                        *(report.seconds, self._limits.deadline),
                    )
                seat.ready, seat.slots = True, report.slots
                self.facts = report
                self.line.lanes = report.streams * len(self._seats)
                self.line.measured(report.seconds)
                _LOG.info("worker ready: %.3f s an image", report.seconds)
            case CannotStart():
                kind = getattr(errors, report.kind, ServerError)
                self._give_up(kind(*report.lines))
                return
            case Done():
                ticket = self._finished(seat, report)
                if not isinstance(ticket.task, Parse):
                    self.line.measured(sum(report.seconds.values()))
                if not ticket.outcome.done():
                    ticket.outcome.set_result(report)
            case NotDone():
                ticket = self._finished(seat, report)
                if not ticket.outcome.done():
                    ticket.outcome.set_exception(Refused(report.code, report.message))
        self._dispatch()

    def _finished(self, seat: _Seat, report: Done | NotDone) -> Ticket:
        ticket = seat.running.pop(report.number)
        seat.guards.pop(report.number).cancel()
        self.line.leave(ticket)
        if isinstance(report, Done) or report.code != GIVEN_UP:
            self.quarantine.forgive(payload(ticket.task))
        self.restarts.answered()
        return ticket

    def _on_end(self, seat: _Seat, how: str) -> None:
        lost = list(seat.running.values())
        for guard in seat.guards.values():
            guard.cancel()
        seat.process, seat.ready = None, False
        seat.running, seat.guards = {}, {}
        if self._stopping.is_set():
            return
        self.quarantine.blame(payload(ticket.task) for ticket in lost)
        for ticket in lost:
            self.line.leave(ticket)
            if not ticket.outcome.done():
                ticket.outcome.set_exception(
                    Refused("worker_died", f"the worker ended ({how}) during this request")
                )
        delay = self.restarts.died()
        if delay is None:
            self._give_up(
                ServerError(
                    f"{self._limits.restarts + 1} workers ended one after the other, the last with "
                    f"{how}; see what they wrote above, free memory, or try another --engine"
                )
            )
            return
        _LOG.warning("a worker ended (%s); the next starts in %.2f s", how, delay)
        self._start(seat, delay)

    def _give_up(self, error: SSDResNet34Error) -> None:
        if not self.failed.done():
            self.failed.set_exception(error)
            self.failed.exception()  # whoever waits for it sees it all the same

    async def drain(self) -> None:
        """Let in nobody else, and wait for those inside as long as the limits allow."""
        self.closing.begin()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._limits.drain_seconds):
                while self.line.inside and not self.failed.done():
                    await asyncio.sleep(0.02)

    def abandon(self) -> int:
        """Answer everybody inside that the server stops; how many there were."""
        self.closing.begin()
        lost = [ticket for ticket in self.line if not ticket.outcome.done()]
        for ticket in lost:
            ticket.outcome.set_exception(Refused("not_ready", "the server was stopped"))
        return len(lost)

    async def stop(self) -> None:
        """End every worker. What still runs is lost."""
        self.closing.begin()
        self._stopping.set()
        await asyncio.gather(*self._starts)
        processes = [seat.process for seat in self._seats if seat.process is not None]
        await asyncio.gather(*(asyncio.to_thread(process.stop) for process in processes))


def payload(task: Task) -> bytes:
    """The input that a task works on: what may be to blame for a death."""
    match task:
        case Detect() | Infer():
            return task.image
        case RunHeads():
            return task.tensor
        case Parse():
            return task.body

"""The process of one run: session and LoadGen together, so that nothing lies between them.

It is a process of its own because LoadGen leaves no other way to end well: it cannot be told to
stop (a Server schedule goes on for hours), aborts the process where it cannot write, and turns an
exception into a segmentation fault; an engine may hang or be killed. All of that ends here, and the
command that waits outside says what happened.
"""

import os
import signal
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

from .. import detector as detectors
from ..detector import Detector
from ..errors import LoadGenError, SSDResNet34Error
from ..runtime import cpu
from ..runtime.engines import version_of
from ..runtime.session import Session
from . import rounds, settings
from .job import Ended, Facts, Job, Pulse, Ready
from .library import Library
from .loadgen import Test
from .road import Prepared, Road, rows
from .settings import Measured
from .system import Fault, Record, System, reason_of

STOP: Final = "stop"
"""What the process is told; the end of its pipe means the same, without a farewell."""

GRACE: Final = 5.0
"""Seconds that LoadGen has to end once all is answered."""

_PULSE: Final = 0.2

_WARM_UPS: Final = 3


class _Outbox:
    """The pipe, for several threads."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._turn = connection, threading.Lock()

    def send(self, message: Any) -> None:
        with self._turn:
            try:
                self._connection.send(message)
            except OSError:  # nobody waits any more
                os._exit(1)


def main(connection: Connection, job: Job) -> None:
    """Run ``job``: :class:`Ready`, many :class:`Pulse`, :class:`Ended`; or an error of ours."""
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, signal.SIG_IGN)  # for the command, which tells this process
    os.dup2(2, 1)  # stdout is the command's
    outbox = _Outbox(connection)
    try:
        with detectors.load(
            job.weights,
            engine=job.engine,
            device=job.device,
            precision=job.precision,
            threads=job.threads,
            score_threshold=job.score_threshold,
            nms=job.nms,
        ) as detector:
            _Run(job, detector, connection, outbox).run()
    except SSDResNet34Error as error:
        outbox.send(error)
    except BaseException as error:
        outbox.send(LoadGenError(f"the run's process failed: {reason_of(error)}; please report it"))


class _Run:
    """LoadGen on one side, a detector on the other."""

    def __init__(
        self, job: Job, detector: Detector, connection: Connection, outbox: _Outbox
    ) -> None:
        self.job, self.detector = job, detector
        self.connection, self.outbox = connection, outbox
        self.road = Road(detector)
        self.loaded = 0
        self.library: Library[Prepared] = Library(self._prepare, cpu.available_threads())
        self.system: System | None = None

    def run(self) -> None:
        job, session = self.job, self.detector.session
        self.outbox.send(Pulse(loaded=0, answered=0, open=1))  # from here on it may count as hung
        workers = session.streams + 1  # one prepares its answers while the network runs another
        measured = measure(self.road, workers, session.batch)
        chosen = rounds.get(job.round)
        layers = settings.layers(chosen, job.scenario, measured, quick=job.quick, user=job.user)
        folder = Path(job.folder)
        settings.write(layers, folder)
        test = Test(layers, folder, chosen, job.scenario, job.mode)
        extent = settings.extent(test.settings, job.scenario, job.mode, len(job.images), measured)
        self.outbox.send(
            Ready(facts(self.detector), session.contract, test.settings, measured, *extent)
        )
        system = System(self._detect, test.complete, workers, session.batch, self._on_fault)
        self.system = system
        for target in (self._listen, self._pulse):
            threading.Thread(target=target, daemon=True).start()
        test.run(system, self.library, len(job.images))
        self._end()

    def _prepare(self, index: int) -> Prepared:
        made = self.road.prepare(self.job.images[index])
        self.loaded += 1
        return made

    def _detect(self, indices: Sequence[int]) -> list[Record]:
        found = self.road.detect([self.library[index] for index in indices])
        return [rows(index, one) for index, one in zip(indices, found, strict=True)]

    def _listen(self) -> None:
        """The command's orders; its end is ours, at once."""
        assert self.system is not None
        try:
            self.connection.recv()
        except (EOFError, OSError):
            os._exit(1)
        self.system.end(Fault("stopped", "stopped"))

    def _pulse(self) -> None:
        assert self.system is not None
        while True:
            time.sleep(_PULSE)
            self.outbox.send(Pulse(self.loaded, self.system.answered, self.system.open))

    def _on_fault(self, fault: Fault) -> None:
        """LoadGen ends by itself now that all is answered; a Server schedule does not."""
        self.library.cancel()
        timer = threading.Timer(GRACE, self._end)
        timer.daemon = True
        timer.start()

    def _end(self) -> None:
        """Say how it was. After a fault the session may hang, so that nobody waits for it."""
        assert self.system is not None
        if self.system.fault is None:
            self.system.close()
        self.outbox.send(Ended(self.system.answered, self.system.fault))
        if self.system.fault is not None:
            os._exit(1)


def measure(road: Road, workers: int, batch: int) -> Measured:
    """Warm up, and time the system on a blank picture: no sample of the set is looked at."""
    blank = road.blank()
    times = []
    for _ in range(_WARM_UPS):
        began = time.perf_counter()
        road.detect([blank])
        times.append(time.perf_counter() - began)
    rounds_ = 2 * workers
    began = time.perf_counter()
    with ThreadPoolExecutor(workers) as pool:
        for done in [pool.submit(road.detect, [blank] * batch) for _ in range(rounds_)]:
            done.result()
    return Measured(min(times), rounds_ * batch / (time.perf_counter() - began))


def _hardware(session: Session) -> str:
    if session.device == "cpu":
        return cpu.model_name()
    return session.gpu or f"{session.device}, whose name {session.engine} does not tell"


def facts(detector: Detector) -> Facts:
    """What a result must say of the system."""
    session = detector.session
    return Facts(
        weights=detector.model.name,
        sha256=session.sha256,
        engine=f"{session.engine} {version_of(session.engine)}".strip(),
        precision=session.precision,
        device=session.device,
        threads=session.threads,
        streams=session.streams,
        batch=session.batch,
        summary=session.summary().splitlines()[-1],
        trained_size=detector.model.trained_size,
        hardware=_hardware(session),
    )

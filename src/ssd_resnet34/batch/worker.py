"""One worker process: a detector, fed with inputs through a pipe, that answers with rows.

It holds as many inputs at a time as overlap usefully: one is read and decoded while the network
runs another. It ends when its pipe does, so that no worker outlives a killed run.
"""

import hashlib
import io
import json
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from multiprocessing.connection import Connection
from typing import NamedTuple

from .. import __version__, detector
from ..detector import Detector, Options
from ..errors import ImageError, SSDResNet34Error, WorkerFailed
from ..processes import unblock_signals
from ..runtime.engines import version_of
from ..runtime.session import EngineLike
from ..vision.detections import Detections
from ..vision.images import Image, Limits, decode
from .gathering import Gathering
from .patience import DEFAULT_PATIENCE, Patience
from .reading import read
from .rows import INTERNAL_ERROR, OUT_OF_MEMORY, Row, Timing
from .sorting import Input


@dataclass(frozen=True)
class Job:
    """All that a worker must know.

    Attributes:
        weights, engine, device, precision, threads, options, limits: as of ``detector.load``;
            an engine that is an object must be one that can be pickled.
        patience: with stores that fail.
        root: the folder that links must not lead out of; None where they may.
    """

    weights: str | bytes = "embedded"
    engine: EngineLike = "auto"
    device: str = "cpu"
    precision: str = "auto"
    threads: int | None = None
    options: Options = field(default_factory=Options)
    limits: Limits = field(default_factory=Limits)
    patience: Patience = DEFAULT_PATIENCE
    root: str | None = None

    def load(self) -> Detector:
        """The detector of this job."""
        return detector.load(
            self.weights,
            engine=self.engine,
            device=self.device,
            precision=self.precision,
            threads=self.threads,
            limits=self.limits,
            **vars(self.options),
        )


class Task(NamedTuple):
    """One input to do: its id in the manifest, and which try this is."""

    id: int
    input: Input
    attempt: int = 1


@dataclass(frozen=True)
class Ready:
    """What a worker says when it can begin.

    Attributes:
        model: name of the model.
        fingerprint: of the facts, 16 hexadecimal digits.
        facts: all that rows depend on but the inputs.
        summary: engine, precision and threads, for people.
        depth: inputs that it takes at a time.
        trained_size: pixels of the input that the model was trained at; None where it does not say.
    """

    model: str
    fingerprint: str
    facts: str
    summary: str
    depth: int
    trained_size: int | None


@dataclass(frozen=True)
class Done:
    """One input's row, and where its time went."""

    row: Row
    timing: Timing


def describe(running: Detector) -> Ready:
    """The fingerprint of a detector, and what it is made of: code, artifact, engine, options."""
    session = running.session
    facts = {
        "package": __version__,
        "artifact": session.sha256,
        "labels": list(session.contract.labels),
        "engine": f"{session.engine} {version_of(session.engine)}".strip(),
        "precision": session.precision,
        "device": session.device,
        "options": asdict(running.options),
        "limits": asdict(running.limits),
    }
    text = json.dumps(facts, sort_keys=True, indent=1) + "\n"
    return Ready(
        model=running.model.name,
        fingerprint=hashlib.sha256(text.encode()).hexdigest()[:16],
        facts=text,
        summary=session.summary().splitlines()[-1],
        # On a GPU: a batch for each stream, one that gathers, and images that threads decode.
        depth=session.threads + (session.streams + 1) * session.batch
        if session.whole_road
        else session.streams + 1,
        trained_size=running.model.trained_size,
    )


class Detecting:
    """Inputs to rows with one detector; safe in several threads."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.detector = job.load()
        self.ready = describe(self.detector)
        session = self.detector.session
        self._gathering = (
            Gathering(self.detector, session.batch, session.streams) if session.whole_road else None
        )

    def __call__(self, task: Task) -> Done:
        """The row of an input. No exception of a single input leaves it."""
        size, digest, error, message, found = task.input.size, None, None, None, None
        marks = [time.perf_counter()]
        try:
            data = read(task.input, self.job.limits, self.job.patience, self.job.root)
            size, digest = len(data), hashlib.sha256(data).hexdigest()
            marks.append(time.perf_counter())
            image = decode(_named(data, task.input.uri), limits=self.job.limits)
            del data
            marks.append(time.perf_counter())
            found = self._find(Image(image.pixels, task.input.uri))
            marks.append(time.perf_counter())
        except ImageError as refused:
            error, message = refused.code, str(refused)
        except MemoryError:
            error, message = OUT_OF_MEMORY, f"{task.input.uri}: no memory left; run fewer workers"
        except Exception as defect:
            error = INTERNAL_ERROR
            message = f"{task.input.uri}: {type(defect).__name__}: {defect}; please report it"
        spans = [after - before for before, after in pairwise(marks)]
        row = Row(
            task.id,
            task.input.uri,
            size,
            digest,
            self.ready.fingerprint,
            self.ready.model,
            found,
            error,
            message,
        )
        times = dict(zip(("read", "decode", "detect"), spans, strict=False))
        return Done(row, Timing(task.id, **times, attempts=task.attempt, ended=time.time()))

    def _find(self, image: Image) -> Detections:
        return self.detector(image) if self._gathering is None else self._gathering(image)

    def close(self) -> None:
        """Release the network."""
        if self._gathering is not None:
            self._gathering.close()
        self.detector.close()


class _Named(io.BytesIO):
    name = ""


def _named(data: bytes, name: str) -> io.BytesIO:
    """A binary file whose refusals are told by the input's address."""
    file = _Named(data)
    file.name = name
    return file


def serve(connection: Connection, job: Job) -> None:
    """Answer tasks until the pipe ends: the main function of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the run, which ends its workers
    unblock_signals()
    try:
        detecting = Detecting(job)
    except SSDResNet34Error as error:
        _say(connection, error)
        return
    except Exception as error:
        _say(
            connection,
            WorkerFailed(f"a worker cannot load the model: {error!r}; please report it"),
        )
        return
    _say(connection, detecting.ready)
    turn = threading.Lock()

    def work(task: Task) -> None:
        done = detecting(task)
        with turn:
            _say(connection, done)

    with ThreadPoolExecutor(detecting.ready.depth, thread_name_prefix="ssd-resnet34") as pool:
        while True:
            pool.submit(work, _next(connection))


def _next(connection: Connection) -> Task:
    """The next task; the run's end is ours, at once."""
    try:
        task: Task = connection.recv()
        return task
    except (EOFError, OSError):
        os._exit(0)


def _say(connection: Connection, message: Done | Ready | SSDResNet34Error) -> None:
    try:
        connection.send(message)
    except OSError:
        os._exit(0)

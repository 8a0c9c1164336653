"""The worker process: one detector, and the tasks that the server sends through a pipe.

It ignores the signals that stop a server: the server ends it through the pipe, or kills it while it
still loads. What is not an error of this package ends the process, since nobody knows what state it
would be left in.
"""

import gc
import io
import os
import signal
import threading
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from ..contract import INPUT_SIZE
from ..detector import Detector, load
from ..errors import ImageError, SSDResNet34Error
from ..runtime.tensors import IMAGE_SHAPE
from ..vision.detections import Detections
from ..vision.draw import draw
from ..vision.images import Image, decode
from ..vision.postprocess import rules
from . import inference
from .inference import WantedOutput
from .options import Selection
from .refusals import of_error
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
    Result,
    RunHeads,
    Started,
    Task,
    WorkerConfig,
)
from .tensors import OutputTensor, encode

_PNG_LEVEL = 3
"""Of zlib: a third longer than the best, in a fifth of its time."""


def main(pipe: "Connection[Any, Any]", config: WorkerConfig) -> None:
    """Serve orders until the pipe closes. Runs in a process of its own."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):  # Windows has no SIGHUP
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    try:
        detector = load(
            config.weights,
            engine=config.engine,
            device=config.device,
            precision=config.precision,
            threads=config.threads,
            limits=config.images,
        )
    except SSDResNet34Error as error:
        with suppress(OSError):  # the server is gone
            pipe.send(CannotStart(type(error).__name__, error.lines))
        return
    with detector:
        Worker(pipe, detector).serve()
    gc.freeze()  # nothing is to be collected any more: the process ends sooner


class Cancelled(Exception):
    """Nobody waits for the task any more."""


class Stopwatch:
    """Seconds of each stage of one task; every stage begins only while somebody waits for it."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.waited = 0.0
        self.cancelled = False

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        if self.cancelled:
            raise Cancelled
        began = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - began


class Worker:
    """Runs orders in threads; one pipe in, one out."""

    def __init__(self, pipe: "Connection[Any, Any]", detector: Detector) -> None:
        self._pipe, self._detector = pipe, detector
        session = detector.session
        # As ``Detector.stream`` does: next to each run one more thread that decodes; where a
        # device has the whole road, its host only decodes.
        beside = session.threads if session.whole_road else 1
        self._slots = session.streams + beside
        self._sending = threading.Lock()
        self._network = threading.Semaphore(session.streams)
        self._running: dict[int, Stopwatch] = {}

    def serve(self) -> None:
        self._send(self._started())
        with ThreadPoolExecutor(self._slots, thread_name_prefix="task") as threads:
            while True:
                try:
                    message = self._pipe.recv()
                except (EOFError, OSError):  # the server is gone
                    break
                if message is None:
                    break
                if isinstance(message, Cancel):
                    watch = self._running.get(message.number)  # its thread may end it now
                    if watch is not None:
                        watch.cancelled = True
                    continue
                self._running[message.number] = Stopwatch()
                threads.submit(self._run, message)

    def _started(self) -> Started:
        session = self._detector.session
        blank = Image(np.zeros((INPUT_SIZE, INPUT_SIZE, 3), np.uint8))
        for _ in range(2):  # the first run pays for what is made once
            watch = Stopwatch()
            self._detect(blank, Selection(), watch)
        return Started(
            session.contract,
            self._detector.model.name,
            session.engine,
            session.precision,
            session.device,
            session.threads,
            session.streams,
            self._slots,
            sum(watch.seconds.values()),
            session.summary(),
            self._detector.model.trained_size,
        )

    def _run(self, order: Order) -> None:
        watch = self._running[order.number]
        report: Report
        try:
            result = self._perform(order.task, watch)
            report = Done(order.number, result, watch.seconds, watch.waited)
        except Cancelled:
            report = NotDone(order.number, GIVEN_UP, "nobody waits for it any more")
        except SSDResNet34Error as error:
            report = _not_done(order, error)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        del self._running[order.number]
        self._send(report)

    def _perform(self, task: Task, watch: Stopwatch) -> Result:
        match task:
            case Detect():
                return self._picture(task, watch)
            case Infer():
                found = self._detect(self._decode(task, watch), task.selection, watch)
                with watch.stage("write"):
                    return _arrays(found, task.wanted)
            case RunHeads():
                return self._heads(task, watch)
            case Parse():
                with watch.stage("decode"):
                    return inference.parse(task.body, task.length, task.max_id)

    def _picture(self, task: Detect, watch: Stopwatch) -> bytes:
        image = self._decode(task, watch)
        found = self._detect(image, task.selection, watch)
        with watch.stage("write"):
            if task.form == "json":
                return f"{found.to_json()}\n".encode()
            buffer = io.BytesIO()
            drawn = draw(image, found, score_threshold=task.selection.score_threshold)
            drawn.save(buffer, "PNG", compress_level=_PNG_LEVEL)
            return buffer.getvalue()

    def _decode(self, task: Detect | Infer, watch: Stopwatch) -> Image:
        with watch.stage("decode"):
            try:
                pixels = decode(task.image, limits=self._detector.limits).pixels
            except ImageError as error:  # it calls them "bytes"
                reason = str(error).partition(": ")[2]
                raise type(error)(f"{task.label}: {reason}") from None
            return Image(pixels, task.name if isinstance(task, Detect) else "")

    def _detect(self, image: Image, selection: Selection, watch: Stopwatch) -> Detections:
        """What ``Detector`` does, with a look at the clock and this request's selection."""
        model, session = self._detector.model, self._detector.session
        if session.whole_road:
            chosen = rules(
                selection.score_threshold, classes=selection.classes, contract=session.contract
            )
            with self._turn(watch), watch.stage("network"):
                (found,) = session.detect([image], chosen, clip=True, model=model.name)
            return found
        with watch.stage("preprocess"):
            inputs = model.preprocess(image)
        with self._turn(watch), watch.stage("network"):
            outputs = session.run(inputs)
        with watch.stage("postprocess"):
            (found,) = model.postprocess(
                outputs,
                None,
                selection.score_threshold,
                classes=selection.classes,
                clip=True,
            )
        return found

    def _heads(self, task: RunHeads, watch: Stopwatch) -> tuple[OutputTensor, ...]:
        session = self._detector.session
        with watch.stage("decode"):
            tensor = np.frombuffer(task.tensor, "<f4").reshape(1, *IMAGE_SHAPE)
        with self._turn(watch), watch.stage("network"):
            outputs = session.run(np.ascontiguousarray(tensor, np.float32))
        with watch.stage("write"):
            heads = dict(zip(session.contract.head_shapes(), outputs, strict=True))
            return tuple(
                encode(one.name, "FP32", heads[one.name], not one.binary) for one in task.wanted
            )

    @contextmanager
    def _turn(self, watch: Stopwatch) -> Iterator[None]:
        """The session makes callers wait; waiting here keeps that out of the network's time."""
        began = time.perf_counter()
        with self._network:
            watch.waited += time.perf_counter() - began
            yield

    def _send(self, report: Report) -> None:
        # Where the server is gone, the next recv ends this process.
        with self._sending, suppress(OSError):
            self._pipe.send(report)


def _not_done(order: Order, error: SSDResNet34Error) -> NotDone:
    # Not in ``_run``: an error that is a name there holds itself, and all that its task had in
    # hand, until the collector comes by.
    refused = of_error(error)
    return NotDone(order.number, refused.code.name, str(refused))


def _arrays(found: Detections, wanted: tuple[WantedOutput, ...]) -> tuple[OutputTensor, ...]:
    counts = np.array([len(found)], np.int64)
    integers = {
        "indices": found.indices,
        "category_ids": found.category_ids,
        "num_detections": counts,
    }
    floats = {"boxes": found.boxes, "scores": found.scores}
    return tuple(
        encode(one.name, "INT64", integers[one.name], not one.binary)
        if one.name in integers
        else encode(one.name, "FP32", floats[one.name], not one.binary)
        for one in wanted
    )

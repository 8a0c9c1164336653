"""The system under test: a queue, threads that empty it, and answers that never fail to come.

A sample without an answer would hang LoadGen for ever, and an exception in one of its callbacks
ends the process with a segmentation fault. So the first failure ends the run: what is open and all
that comes is answered with an empty record, at once, and the reason is kept for the report.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import SSDResNet34Error

Record = NDArray[np.float32]

NOTHING: Record = np.empty((0, 7), "<f4")
"""An image without detections, and an answer that is none."""

Complete = Callable[[Sequence[tuple[int, Record]]], None]
"""Hands answers (id of LoadGen, record) over; the records may change when it has returned."""


@dataclass(frozen=True)
class Fault:
    """Why a run is no result: it was ``stopped`` from outside, or something ``failed``."""

    kind: Literal["stopped", "failed"]
    reason: str


class System:
    """Answers samples by ``workers`` threads that take up to ``batch`` waiting ones at a time.

    Args:
        detect: indices of loaded samples -> a record each; all that the benchmark times.
        complete: hands answers to LoadGen.
        on_fault: called once, by the thread that found it.
    """

    def __init__(
        self,
        detect: Callable[[Sequence[int]], Sequence[Record]],
        complete: Complete,
        workers: int,
        batch: int,
        on_fault: Callable[[Fault], None] = lambda _: None,
    ) -> None:
        self._detect, self._complete, self._on_fault = detect, complete, on_fault
        self._batch = batch
        self._state = threading.Condition()
        self._waiting: deque[tuple[int, int]] = deque()
        self._open: set[int] = set()
        self._closed = False
        self.fault: Fault | None = None
        self.answered = 0
        self._threads = [
            threading.Thread(target=self._work, name=f"worker-{n}", daemon=True)
            for n in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def open(self) -> int:
        """Samples that wait for their answer."""
        return len(self._open)

    def issue(self, samples: Sequence[tuple[int, int]]) -> None:
        """Take samples (id of LoadGen, index); returns at once."""
        with self._state:
            if self.fault is None:
                self._open.update(number for number, _ in samples)
                self._waiting.extend(samples)
                self._state.notify(len(samples))
                return
        self._answer([(number, NOTHING) for number, _ in samples])

    def end(self, fault: Fault) -> None:
        """Answer everything that is open with nothing, and all that comes; the first reason stays.

        What a thread is still working on is answered too, since it may never end.
        """
        with self._state:
            if self.fault is not None:
                return
            self.fault = fault
            self._waiting.clear()
            left = [(number, NOTHING) for number in self._open]
            self._open.clear()
        self._answer(left)
        self._on_fault(fault)

    def close(self) -> None:
        """End the threads; they must not be at work."""
        with self._state:
            self._closed = True
            self._state.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while True:
            with self._state:
                while not self._waiting and not self._closed:
                    self._state.wait()
                if not self._waiting:
                    return
                count = min(self._batch, len(self._waiting))
                taken = [self._waiting.popleft() for _ in range(count)]
            try:
                records = self._detect([index for _, index in taken])
                made = [(number, one) for (number, _), one in zip(taken, records, strict=True)]
            except BaseException as error:
                self.end(Fault("failed", reason_of(error)))
                continue
            with self._state:  # not those that the end of the run has answered meanwhile
                answers = [(number, record) for number, record in made if number in self._open]
                self._open.difference_update(number for number, _ in answers)
                self.answered += len(answers)
            self._answer(answers)

    def _answer(self, answers: Sequence[tuple[int, Record]]) -> None:
        if not answers:
            return
        try:
            self._complete(answers)
        except BaseException as error:
            self.end(Fault("failed", reason_of(error)))


def reason_of(error: BaseException) -> str:
    """An exception in one line; an error of this package speaks for itself."""
    text = " ".join(str(error).split())
    return text if isinstance(error, SSDResNet34Error) else f"{type(error).__name__}: {text}"


def guarded(system: System, function: Callable[[Any], None]) -> Callable[[Any], None]:
    """``function`` as a callback of LoadGen: no exception leaves it, it ends the run instead."""

    def callback(argument: Any) -> None:
        try:
            function(argument)
        except BaseException as error:
            system.end(Fault("failed", reason_of(error)))

    return callback

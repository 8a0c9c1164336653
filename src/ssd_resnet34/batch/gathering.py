"""For a device that runs many images at once: calls that wait together go there together."""

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from ..vision.detections import Detections
from ..vision.images import Image

Together = Callable[[list[Image]], Sequence[Detections]]
"""Detections of each of some images, in order."""


class Gathering:
    """``gathering(image)`` from any number of threads; close it.

    Nobody is waited for: a batch is what lies there when a stream is free.

    Args:
        together: detects in some images at once; safe in several threads.
        batch: images at a time.
        streams: batches at a time.
    """

    def __init__(self, together: Together, batch: int, streams: int) -> None:
        self._together, self._batch = together, batch
        self._waiting: queue.SimpleQueue[tuple[Image, Future[Detections]] | None] = (
            queue.SimpleQueue()
        )
        self._threads = [
            threading.Thread(target=self._work, daemon=True, name=f"gathering-{n}")
            for n in range(streams)
        ]
        for thread in self._threads:
            thread.start()

    def __call__(self, image: Image) -> Detections:
        """The detections of one image; an exception is that of its batch, tried alone."""
        answer: Future[Detections] = Future()
        self._waiting.put((image, answer))
        return answer.result()

    def close(self) -> None:
        """End the threads; calls that wait are answered first."""
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while (first := self._waiting.get()) is not None:
            taken = [first]
            while len(taken) < self._batch:
                try:
                    another = self._waiting.get_nowait()
                except queue.Empty:
                    break
                if another is None:  # the end of one thread; perhaps not ours
                    self._waiting.put(None)
                    break
                taken.append(another)
            self._answer(taken)

    def _answer(self, taken: list[tuple[Image, "Future[Detections]"]]) -> None:
        try:
            found = self._together([image for image, _ in taken])
        except Exception as error:
            if len(taken) == 1:
                taken[0][1].set_exception(error)
                return
            for one in taken:  # whose fault it is shows alone
                self._answer([one])
            return
        for (_, answer), detections in zip(taken, found, strict=True):
            answer.set_result(detections)

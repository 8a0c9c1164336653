"""The newest frame of a source that does not wait: what came in between is dropped and counted."""

import threading
import time
from collections.abc import Iterator
from typing import Self

from .capture import Frame, Video


class Latest:
    """Reads a video in a thread of its own and gives the newest frame each time.

    One frame is held. A file is read at the pace of its own times, as if it were live. Use it as a
    context manager; ``dropped`` counts frames that nobody took.
    """

    def __init__(self, video: Video) -> None:
        self._video = video
        self._state = threading.Condition()
        self._frame: Frame | None = None
        self._failure: BaseException | None = None
        self._over = False
        self.dropped = 0
        self._thread = threading.Thread(target=self._read, daemon=True, name="video")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._state:
            self._over = True
            self._state.notify_all()
        self._video.stop()
        self._thread.join()

    def __iter__(self) -> Iterator[Frame]:
        """Frames until the source ends.

        Raises:
            ImageError: as iterating over the video does.
        """
        while True:
            with self._state:
                while self._frame is None and not self._over:
                    self._state.wait()
                frame, self._frame = self._frame, None
                if frame is None:
                    if self._failure is not None:
                        raise self._failure
                    return
            yield frame

    def _read(self) -> None:
        began = time.monotonic()
        try:
            for frame in self._video:
                with self._state:
                    if not self._video.live:
                        wait = began + frame.seconds - time.monotonic()
                        self._state.wait_for(lambda: self._over, timeout=max(0.0, wait))
                    if self._over:
                        return
                    if self._frame is not None:
                        self.dropped += 1
                    self._frame = frame
                    self._state.notify_all()
        except BaseException as error:
            self._failure = error
        finally:
            with self._state:
                self._over = True
                self._state.notify_all()

"""OpenCV's capture as an iterator of frames: files that end well, live sources that come back."""

import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Self

from ..errors import TooManyPixels, UnreadableFile, UnsupportedImage, UsageError
from ..vision.images import DEFAULT_LIMITS, Image, Limits, printable

# Read by OpenCV when it first opens a file: what is wrong is one error of ours.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

import cv2
import numpy as np

EXTENSIONS: Final = frozenset((
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".flv", ".wmv",
))  # fmt: skip
"""Files that are taken for videos."""

_CAMERA: Final = re.compile(r"camera:(\d{1,3})")
_STREAM: Final = re.compile(r"(rtsps?|rtmps?|udp|tcp|srt|https?)://", re.IGNORECASE)
_ACCOUNT: Final = re.compile(r"(?<=://)[^/?#]*@")

TIMEOUT: Final = 10.0
"""Seconds to wait for a network source to open, or for its next frame."""

RECONNECT: Final = 60.0
"""Seconds without a frame after which a live source is given up."""

_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 10.0
_UNKNOWN_RATE: Final = 25.0
_FASTEST: Final = 1000.0


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture of a video.

    ``number`` counts all frames of the source from 0, those that were left out too; ``seconds`` are
    from its first frame: by the clock of the file or stream, by ours where it has none.
    """

    image: Image
    number: int
    seconds: float


def is_video(source: str) -> bool:
    """Whether an argument of the command line names a video rather than an image."""
    if _CAMERA.fullmatch(source) or _STREAM.match(source):
        return True
    return os.path.splitext(source)[1].lower() in EXTENSIONS and not os.path.isdir(source)


def shown(source: str) -> str:
    """A source as it may be written down: without the account in its address."""
    return _ACCOUNT.sub("", source) if _STREAM.match(source) else source


class Video:
    """A source that is open; iterate over it once, and close it or use it as a context manager.

    Args:
        source: a file, a network address (``rtsp://…``), or ``camera:0``.
        every: give only each so-manyth frame; the first one is always given.
        reconnect: seconds without a frame after which a live source is given up.
        limits: of the pixels of a frame.
        on_note: told when a live source is lost and found, and when a file ends early.
        sleep, clock: of tests; a sleep of ours ends with :meth:`stop`.

    Raises:
        UnreadableFile: no such file, camera or answer.
        UnsupportedImage: a file that is no video, or one whose index is cut off.
        TooManyPixels: frames over the limit.
        UsageError: an argument out of range.
    """

    def __init__(
        self,
        source: str,
        *,
        every: int = 1,
        reconnect: float = RECONNECT,
        limits: Limits = DEFAULT_LIMITS,
        on_note: Callable[[str], None] = lambda _: None,
        sleep: Callable[[float], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if every < 1:
            raise UsageError(f"every: {every} is out of range; give a number from 1")
        self.source, self.name = source, printable(shown(source))
        self.every, self.reconnect = every, reconnect
        self._stopped = threading.Event()
        self._on_note, self._clock = on_note, clock
        self._sleep = self._stopped.wait if sleep is None else sleep
        self._camera = _CAMERA.fullmatch(source)
        self._times = LiveTimes()
        self._capture = self._open()
        if self._capture is None:
            raise self._refused()
        self.frames = self._count()
        """Frames that the source promises, 0 where it does not know; an estimate."""
        self.live = self._camera is not None or (
            _STREAM.match(source) is not None and not self.frames
        )
        """Whether it has no end: frames that are not taken in time are lost."""
        rate = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.rate = rate if 0 < rate <= _FASTEST else _UNKNOWN_RATE
        """Frames a second, nominal."""
        width = int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        height = int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        if width * height > limits.max_pixels:
            self.close()
            raise TooManyPixels(
                f"{self.name}: {width}x{height} is more than {limits.max_pixels} pixels a frame; "
                "scale it down first"
            )

    def __iter__(self) -> Iterator[Frame]:
        """The frames, each as it is asked for.

        A file that is cut short ends with its last whole frame. A live source that fails is opened
        again, with growing pauses.

        Raises:
            UnreadableFile: a live source is gone for good, or a file has no frame at all.
        """
        number = -1
        while self._capture is not None and not self._stopped.is_set():
            if not self._capture.grab():
                if not self.live:
                    break
                self._come_back()
                if self._capture is None:
                    break
            number += 1
            seconds = self._seconds(number)
            if number % self.every:
                continue
            found, pixels = self._capture.retrieve()
            if not found or pixels is None:
                continue  # one damaged frame; the next may be whole
            yield Frame(Image(_bgr(pixels), shown(self.source)), number, seconds)
        if self._stopped.is_set():
            return
        if number < 0:
            raise UnreadableFile(f"{self.name}: not one frame can be read; check the file")
        if not self.live and number + 1 < 0.98 * self.frames - 1:
            self._on_note(
                f"{self.name}: ends after {number + 1} frames, its header promises about "
                f"{self.frames}; it is cut short or damaged"
            )

    def stop(self) -> None:
        """End an iteration that runs in another thread: no frame is begun, no return waited for."""
        self._stopped.set()

    def close(self) -> None:
        """Release the source; a second call does nothing."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> Any:
        """An open capture, None where the source does not answer."""
        if self._camera is not None:
            capture = cv2.VideoCapture(int(self._camera[1]))
        elif not _STREAM.match(self.source) and not os.path.isfile(self.source):
            return None  # a pipe or device would be waited for
        else:
            limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, round(TIMEOUT * 1000)]
            limits += [cv2.CAP_PROP_READ_TIMEOUT_MSEC, round(TIMEOUT * 1000)]
            if _STREAM.match(self.source):
                # Each further thread of FFmpeg decodes a frame of its own, and all come so much
                # later: H.264 of a camera by 16 threads came 11 frames later than by one.
                limits += [cv2.CAP_PROP_N_THREADS, 1]
            capture = cv2.VideoCapture(self.source, cv2.CAP_FFMPEG, limits)
        if capture.isOpened():
            return capture
        capture.release()
        return None

    def _refused(self) -> UnreadableFile | UnsupportedImage:
        if self._camera is not None:
            return UnreadableFile(
                f"{self.name}: no such camera, or another program has it; try camera:0"
            )
        if _STREAM.match(self.source):
            return UnreadableFile(
                f"{self.name}: no video comes from there within {TIMEOUT:g} s; check the address"
            )
        if not os.path.isfile(self.source):
            return UnreadableFile(f"{self.name}: no such file; check the path")
        return UnsupportedImage(
            f"{self.name}: not a video that can be read, or its index is cut off; convert it"
        )

    def _count(self) -> int:
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        return int(count) if 0 < count < 2**40 else 0

    def _seconds(self, number: int) -> float:
        position = float(self._capture.get(cv2.CAP_PROP_POS_MSEC)) / 1000
        if self.live:
            return self._times(self._clock(), 0.0 if self._camera is not None else position)
        # A container without times (raw streams) gives 0 for every frame.
        return position if position > 0 or number == 0 else number / self.rate

    def _come_back(self) -> None:
        """Open a live source again and grab its first frame; None is open when stopped.

        Raises:
            UnreadableFile: it did not answer for the whole of ``reconnect``.
        """
        self._on_note(f"{self.name}: lost; opening it again for {self.reconnect:g} s")
        self.close()
        end = self._clock() + self.reconnect
        pause = _FIRST_PAUSE
        while self._capture is None:
            if self._clock() + pause > end:
                raise UnreadableFile(
                    f"{self.name}: gone for {self.reconnect:g} s; check the source, or wait longer "
                    "with --reconnect"
                )
            self._sleep(pause)
            if self._stopped.is_set():
                return
            pause = min(2 * pause, _LONGEST_PAUSE)
            self._times.connect(self._clock())
            self._capture = self._open()
            if self._capture is not None and not self._capture.grab():
                self.close()  # it answers, and gives nothing
        self._on_note(f"{self.name}: back")


class LiveTimes:
    """Seconds of the frames of a live source: by its own clock, held against ours.

    A network stream is watched for a second while it is opened, and its frames of that time come at
    once: only its own clock says when they were taken. That clock begins anew with a connection; it
    may stand still or jump, and ours then counts.
    """

    def __init__(self) -> None:
        self._began: float | None = None
        self._shift = self._last = 0.0

    def connect(self, now: float) -> None:
        """Another connection is opened: its first frame is of now."""
        self._shift = 0.0 if self._began is None else now - self._began

    def __call__(self, now: float, position: float) -> float:
        """Of a frame that is read now; ``position`` by the stream's clock, 0 where it has none."""
        if self._began is None:
            self._began, self._shift = now, -position
            return 0.0
        now -= self._began
        seconds = position + self._shift
        if not self._last < seconds < max(now, self._last) + TIMEOUT:
            seconds = max(now, self._last)
            self._shift = seconds - position
        self._last = seconds
        return seconds


def _bgr(pixels: Any) -> Any:
    """uint8 (H, W, 3): cameras may give grey."""
    if pixels.ndim == 2 or pixels.shape[2] == 1:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)
    with suppress(ValueError):
        pixels.setflags(write=True)
    return np.ascontiguousarray(pixels, np.uint8)

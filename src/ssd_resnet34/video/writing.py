"""A video file of drawn frames: it appears whole, at a constant rate, whatever the source's was."""

import contextlib
import os
import secrets
from pathlib import Path
from typing import Any, Final, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import OutputError, UsageError
from ..files import check_target, told

CODECS: Final = {".mp4": "mp4v", ".mkv": "mp4v", ".avi": "MJPG", ".webm": "VP80"}
"""Extension -> codec that OpenCV's wheels can write."""

LONGEST_GAP: Final = 5.0
"""Seconds; a longer pause of the source (a lost connection) is shown so long."""


class VideoFile:
    """A video to write; use it as a context manager, or close it.

    Frames are shown at their times: one is repeated until the next is due, and left out where two
    fall into the same moment. All have the size of the first; others are scaled to it.

    Args:
        path: one of CODECS by its extension; replaced at the end, whole or not at all. A symbolic
            link stays and its target is replaced.
        rate: frames a second of the file.

    Raises:
        UsageError: another extension.
    """

    def __init__(self, path: Path, rate: float) -> None:
        self.path, self.rate = path, rate
        codec = CODECS.get(path.suffix.lower())
        if codec is None:
            raise UsageError(f"{path}: cannot be written; use one of {', '.join(CODECS)}")
        self._codec = codec
        self._target = Path(os.path.realpath(path))  # of a link what it leads to, as for pictures
        self._temporary = self._target.with_name(f".{secrets.token_hex(8)}{path.suffix.lower()}")
        self._writer: Any = None
        self._size = (0, 0)
        self._written = 0
        self._lag = 0.0
        self._last: NDArray[np.uint8] | None = None
        self._closed = False

    def write(self, pixels: NDArray[np.uint8], seconds: float) -> None:
        """Show a frame, uint8 (H, W, 3) BGR, from ``seconds`` on (from the begin of the source).

        Raises:
            UsageError: the first frame, in a folder that cannot be written, or where a pipe or
                device is.
            OutputError: the file cannot be begun.
        """
        if self._writer is None:
            self._begin(pixels)
            self._lag = seconds
        if (pixels.shape[1], pixels.shape[0]) != self._size:
            pixels = np.asarray(cv2.resize(pixels, self._size), np.uint8)
        due = round((seconds - self._lag) * self.rate)
        if due - self._written > LONGEST_GAP * self.rate:
            cut = due - self._written - round(LONGEST_GAP * self.rate)
            self._lag += cut / self.rate
            due -= cut
        while self._last is not None and self._written < due:
            self._put(self._last)
        self._last = pixels.copy()

    def close(self) -> None:
        """Show the last frame, finish the file and move it to its place.

        Raises:
            OutputError: the file is not whole: a full disk.
        """
        if self._closed:
            return
        self._closed = True
        if self._writer is None or self._last is None:
            return
        try:
            self._put(self._last)
            self._writer.release()
            self._check_whole()
            with told(str(self.path)):
                self._temporary.replace(self._target)
        finally:
            self._temporary.unlink(missing_ok=True)

    def abort(self) -> None:
        """Remove what was written; the place keeps what it had."""
        self._closed = True
        if self._writer is not None:
            self._writer.release()
        with contextlib.suppress(OSError):
            self._temporary.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def _begin(self, pixels: NDArray[np.uint8]) -> None:
        # Most codecs halve the resolution of colours: sides are even.
        self._size = (pixels.shape[1] + pixels.shape[1] % 2, pixels.shape[0] + pixels.shape[0] % 2)
        fourcc = cv2.VideoWriter.fourcc(*self._codec)
        check_target(self.path)
        self._writer = cv2.VideoWriter(
            str(self._temporary), cv2.CAP_FFMPEG, fourcc, self.rate, self._size
        )
        if not self._writer.isOpened():
            self.abort()
            size = f"{self._size[0]}x{self._size[1]}"
            raise OutputError(
                f"{self.path}: {size} at {self.rate:g} frames a second cannot be written here; "
                "choose another extension"
            )

    def _put(self, pixels: NDArray[np.uint8]) -> None:
        self._writer.write(pixels)
        self._written += 1

    def _check_whole(self) -> None:
        """OpenCV's writer does not tell of a full disk: look at what is there."""
        capture = cv2.VideoCapture(str(self._temporary), cv2.CAP_FFMPEG)
        try:
            whole = capture.isOpened() and (
                capture.get(cv2.CAP_PROP_FRAME_COUNT) >= self._written - 1
            )
        finally:
            capture.release()
        if not whole:
            raise OutputError(
                f"{self.path}: is not whole after writing; free space or choose another place"
            )

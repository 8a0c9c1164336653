"""Small videos: by OpenCV's writer, and as Matroska with any times (EBML, RFC 8794, RFC 9559)."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray


def pictures(count: int, width: int = 64, height: int = 48) -> list[NDArray[np.uint8]]:
    """Grey frames that get brighter."""
    return [np.full((height, width, 3), 4 * n % 256, np.uint8) for n in range(count)]


def noise(count: int) -> list[NDArray[np.uint8]]:
    """Frames that no codec makes small: a share of the file is that share of the frames."""
    drawn = np.random.default_rng(0)
    return [drawn.integers(0, 256, (48, 64, 3), np.uint8) for _ in range(count)]


def constant(
    path: Path, count: int = 30, rate: float = 10.0, codec: str = "mp4v", *, noisy: bool = False
) -> Path:
    """A file of a constant rate."""
    writer = cv2.VideoWriter(
        str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*codec), rate, (64, 48)
    )
    assert writer.isOpened()
    for picture in noise(count) if noisy else pictures(count):
        writer.write(picture)
    writer.release()
    return path


def matroska(path: Path, times: Sequence[int], *, known_length: bool = True) -> Path:
    """JPEG frames at these times in milliseconds; ``known_length``: the header has a duration."""
    frames = []
    for picture in pictures(len(times)):
        done, data = cv2.imencode(".jpg", picture)
        assert done
        frames.append(data.tobytes())
    head = _element(
        0x1A45DFA3,
        _element(0x4282, b"matroska") + _element(0x4287, b"\x04") + _element(0x4285, b"\x02"),
    )
    info = _element(0x2AD7B1, (1_000_000).to_bytes(4, "big"))  # times are milliseconds
    if known_length:
        info += _element(0x4489, np.array(times[-1] + 40, ">f8").tobytes())
    track = (
        _element(0xD7, b"\x01")
        + _element(0x73C5, b"\x01")
        + _element(0x83, b"\x01")
        + _element(0x86, b"V_MJPEG")
        + _element(0xE0, _element(0xB0, b"\x40") + _element(0xBA, b"\x30"))
    )
    clusters = b"".join(
        _element(
            0x1F43B675,
            _element(0xE7, at.to_bytes(4, "big"))
            + _element(0xA3, b"\x81" + (0).to_bytes(2, "big") + b"\x80" + data),
        )
        for at, data in zip(times, frames, strict=True)
    )
    segment = _element(0x1549A966, info) + _element(0x1654AE6B, _element(0xAE, track)) + clusters
    path.write_bytes(head + _element(0x18538067, segment))
    return path


def _element(identifier: int, data: bytes) -> bytes:
    name = identifier.to_bytes((identifier.bit_length() + 7) // 8, "big")
    return name + (len(data) | 1 << 56).to_bytes(8, "big") + data

"""A camera in the network: RTSP (RFC 2326), its pictures as JPEG (RFC 2435) in the same connection.

It counts: the shade of a picture is its number, so that whoever sees one knows how old it is.
"""

import base64
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from types import TracebackType
from typing import Final, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from video_files import pictures

SHADES: Final = 64
"""Pictures after which the shades begin again."""

ACCOUNT: Final = "user:secret"

_TICKS: Final = 90_000
_FRAGMENT: Final = 256
_LOOK: Final = 0.02
_SDP: Final = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=street\r\nt=0 0\r\na=range:npt=now-\r\n"
    "m=video 0 RTP/AVP 26\r\nc=IN IP4 0.0.0.0\r\na=control:track\r\n"
)


def number_of(pixels: NDArray[np.uint8]) -> int:
    """The number of a picture, modulo SHADES."""
    return round(float(pixels.mean()) / 4) % SHADES


class Camera:
    """Sends from the moment that somebody plays; use it as a context manager.

    Args:
        rate: pictures a second.
        locked: answers only those who give ACCOUNT.

    Attributes:
        sent: number of the newest picture, counted over all connections.
        connections: how many there were.
        silent: while it is set, connections are taken, and nothing is answered or sent.
    """

    def __init__(self, rate: float = 25.0, *, locked: bool = False) -> None:
        self.rate, self.locked = rate, locked
        self.sent = -1
        self.connections = 0
        self.silent = threading.Event()
        self._pictures = [_Jpeg.of(picture) for picture in pictures(SHADES)]
        self._packets = count()
        self._gone = threading.Event()
        self._threads: list[threading.Thread] = []
        self._port = 0

    @property
    def address(self) -> str:
        """What to open, with the account where it wants one."""
        account = f"{ACCOUNT}@" if self.locked else ""
        return f"rtsp://{account}127.0.0.1:{self._port}/street"

    def come(self) -> None:
        """Listen, at the same port each time."""
        self._gone.clear()
        listening = socket.create_server(("127.0.0.1", self._port))
        self._port = listening.getsockname()[1]
        self._begin(lambda: self._listen(listening))

    def go(self) -> None:
        """Cut all connections, and refuse new ones."""
        self._gone.set()
        while self._threads:
            self._threads.pop().join()

    def __enter__(self) -> Self:
        self.come()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.go()

    def _begin(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _listen(self, listening: socket.socket) -> None:
        with listening:
            while not self._gone.is_set():
                if select.select([listening], [], [], _LOOK)[0]:
                    connection = listening.accept()[0]
                    self.connections += 1
                    self._begin(lambda connection=connection: self._serve(connection))  # type: ignore[misc]

    def _serve(self, connection: socket.socket) -> None:
        """Requests and pictures of one connection, in turns."""
        heard, due = b"", float("inf")
        with connection, suppress(OSError):
            while not self._gone.is_set():
                wait = min(_LOOK, max(0.0, due - time.monotonic()))
                if select.select([connection], [], [], wait)[0]:
                    more = connection.recv(65_536)
                    if not more:
                        return
                    heard += more
                if self.silent.is_set():
                    continue
                heard = _without_reports(heard)
                while b"\r\n\r\n" in heard:
                    request, _, heard = heard.partition(b"\r\n\r\n")
                    connection.sendall(self._answer(request.decode()))
                    if request.startswith(b"PLAY"):
                        due = time.monotonic()
                    heard = _without_reports(heard)
                if time.monotonic() >= due:
                    due += 1 / self.rate
                    self.sent += 1
                    if select.select([], [connection], [], 0)[1]:  # else nobody takes it
                        connection.sendall(self._picture(self.sent))

    def _answer(self, request: str) -> bytes:
        first, *lines = request.split("\r\n")
        method = first.split()[0]
        fields = dict(line.lower().split(": ", 1) for line in lines if "authorization" not in line)
        status, body = "200 OK", ""
        said = {"CSeq": fields["cseq"], "Session": "1"}
        right = f"Authorization: Basic {base64.b64encode(ACCOUNT.encode()).decode()}"
        if self.locked and method != "OPTIONS" and right not in lines:
            status, said["WWW-Authenticate"] = "401 Unauthorized", 'Basic realm="camera"'
        elif method == "OPTIONS":
            said["Public"] = "DESCRIBE, SETUP, PLAY"
        elif method == "DESCRIBE":
            body = _SDP
            said |= {"Content-Type": "application/sdp", "Content-Length": str(len(body))}
        elif method == "SETUP" and "/tcp" in fields["transport"]:
            said["Transport"] = "RTP/AVP/TCP;unicast;interleaved=0-1"
        elif method == "SETUP":
            status = "461 Unsupported Transport"
        head = "".join(f"{name}: {value}\r\n" for name, value in said.items())
        return f"RTSP/1.0 {status}\r\n{head}\r\n{body}".encode()

    def _picture(self, number: int) -> bytes:
        """A picture as RTP packets, each in its frame of the connection."""
        jpeg = self._pictures[number % SHADES]
        # From any number but 0 (RFC 3550 wants it drawn), which FFmpeg takes for none.
        clock = round(1000 + number * _TICKS / self.rate) % 2**32
        sent = b""
        for at in range(0, len(jpeg.scan), _FRAGMENT):
            part = jpeg.scan[at : at + _FRAGMENT]
            last = at + len(part) == len(jpeg.scan)
            order = next(self._packets) % 2**16
            packet = struct.pack(">BBHII", 2 << 6, last << 7 | 26, order, clock, 1)
            packet += struct.pack(">IBBBB", at, 1, 255, jpeg.width // 8, jpeg.height // 8)
            if at == 0:
                packet += struct.pack(">HH", 0, len(jpeg.tables)) + jpeg.tables
            packet += part
            sent += struct.pack(">BBH", ord("$"), 0, len(packet)) + packet
        return sent


def _without_reports(heard: bytes) -> bytes:
    """What was heard from its first request on: a receiver's reports come in between."""
    while heard[:1] == b"$" and len(heard) >= 4:
        end = 4 + int.from_bytes(heard[2:4], "big")
        if len(heard) < end:
            break
        heard = heard[end:]
    return heard


@dataclass(frozen=True)
class _Jpeg:
    """What RFC 2435 sends of a picture: its size, quantization tables, entropy-coded scan."""

    width: int
    height: int
    tables: bytes
    scan: bytes

    @classmethod
    def of(cls, picture: NDArray[np.uint8]) -> "_Jpeg":
        """Of type 1: 4:2:0, the standard's Huffman tables."""
        sampling = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420]
        done, encoded = cv2.imencode(".jpg", picture, sampling)
        assert done
        jpeg, at, tables, marker = encoded.tobytes(), 2, b"", 0
        while marker != 0xDA:
            marker, length = struct.unpack_from(">xBH", jpeg, at)
            segment = jpeg[at + 4 : at + 2 + length]
            if marker == 0xDB:  # a table is an identifier and 64 values
                tables += b"".join(segment[n + 1 : n + 65] for n in range(0, len(segment), 65))
            at += 2 + length
        return cls(picture.shape[1], picture.shape[0], tables, jpeg[at:-2])

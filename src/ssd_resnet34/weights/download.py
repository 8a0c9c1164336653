"""One file from the first mirror that has it: capped, checked, and in place all at once or not.

The bytes go to a temporary file beside the target, are counted and hashed while they arrive, and
replace the target only when they are right. Whatever goes wrong, nothing else is left behind.
"""

import contextlib
import hashlib
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Final, Protocol

from ..errors import DownloadFailed, OutputError, UsageError, WeightsError, WrongHash
from ..files import replacing

MAX_BYTES: Final = 512 * 1024**2
"""Cap for a file whose size is not known, bytes."""

TIMEOUT: Final = 30.0
"""Seconds without a byte after which a mirror is given up."""

GRACE: Final = 60.0
"""Seconds that a download may take however small it is."""

MIN_RATE: Final = 32 * 1024
"""Bytes a second that it must bring beyond that: the published files in 42 minutes."""

_TEMPORARY: Final = ".*.tmp"
"""The names that :func:`ssd_resnet34.files.replacing` gives to unfinished files."""

_STALE: Final = 24 * 3600.0
"""Seconds after which a temporary file of a killed process is removed."""


class Progress(Protocol):
    """What is told of a download: the bytes so far, and of how many (0: unknown)."""

    def __call__(self, done: int, total: int, /) -> None: ...


class _TooLargeError(Exception):
    pass


class _StoppedError(Exception):
    """Nobody waits for the bytes any more."""


class _WrongError(Exception):
    """The bytes are not to be kept."""


class _Sink:
    """The file object that pooch writes to: counts, hashes, and stops at the cap or when told."""

    def __init__(self, file: IO[bytes], limit: int, total: int, progress: Progress | None) -> None:
        self.file, self.limit, self.total, self.progress = file, limit, total, progress
        self.size = 0
        self.sha256 = hashlib.sha256()
        self.lock = threading.Lock()
        self.stopped = False

    def write(self, chunk: bytes) -> int:
        with self.lock:
            if self.stopped:
                raise _StoppedError
            self.size += len(chunk)
            if self.size > self.limit:
                raise _TooLargeError
            self.sha256.update(chunk)
            if self.progress:
                self.progress(self.size, self.total)
            return self.file.write(chunk)

    def stop(self) -> None:
        """Take no more bytes: after this the file can be closed."""
        with self.lock:
            self.stopped = True

    def flush(self) -> None:
        """pooch flushes after every chunk; the file is flushed once, at the end."""


def download(
    urls: Sequence[str],
    target: Path,
    sha256: str,
    size: int | None = None,
    timeout: float = TIMEOUT,
    progress: Progress | None = None,
    *,
    by_hand: str = "get it elsewhere",
) -> Path:
    """Fetch ``target`` from the first of ``urls`` that has the right bytes.

    Args:
        sha256: what the bytes must hash to, 64 hex digits.
        size: exact size in bytes if known; also the cap, else :data:`MAX_BYTES`.
        timeout: seconds to wait for a connection, and for each next byte.
        by_hand: for messages, what else the user can do.

    Raises:
        WrongHash: a mirror had other bytes, and none the right ones.
        DownloadFailed: no mirror could be reached or had the file; the reason of each.
        WeightsError: the target's folder cannot be written.
    """
    reasons: list[str] = []
    wrong = False
    for url in urls:
        with contextlib.suppress(_WrongError), _placing(target) as file:
            sink = _Sink(file, size or MAX_BYTES, size or 0, progress)
            reason = _pull(url, sink, timeout)
            found = sink.sha256.hexdigest()
            if reason is not None or found != sha256:
                raise _WrongError
        if reason is None and found == sha256:
            return target
        if reason is None:
            wrong = True
            reason = f"{sink.size:,} bytes with sha256 {found}, not {sha256}"
            if size is not None and sink.size != size:
                reason = f"{sink.size:,} bytes instead of {size:,}"
        reasons.append(f"{url}: {reason}")
    listed = "; ".join(reasons) or "no address is known"
    if wrong:
        raise WrongHash(
            f"{target.name}: {listed}; nothing was kept. The file may have been replaced at its "
            f"source, or changed on the way: {by_hand}"
        )
    raise DownloadFailed(f"{target.name}: {listed}; try again later, or {by_hand}")


def _pull(url: str, sink: _Sink, timeout: float) -> str | None:
    """The bytes of ``url`` into the sink; what went wrong, or None."""
    import requests

    # In a thread, as only that bounds the whole: a server that sends a byte now and then, were it
    # of a header, never meets the timeout, and pooch does not return in between.
    ended: list[BaseException | None] = []
    thread = threading.Thread(target=_get, args=(url, sink, timeout, ended), daemon=True)
    began = time.monotonic()
    thread.start()
    try:
        while thread.is_alive():
            thread.join(0.1)
            spent = time.monotonic() - began
            if thread.is_alive() and spent > GRACE + sink.size / MIN_RATE:
                return f"too slow: {sink.size:,} bytes in {spent:.0f} s"
    finally:
        sink.stop()
    error = ended.pop()
    match error:
        case None:
            return None
        case _TooLargeError():
            return f"more than {sink.limit:,} bytes, stopped"
        case requests.Timeout():
            return f"no answer within {timeout:g} s"
        case requests.HTTPError():
            status = "error" if error.response is None else error.response.status_code
            return f"HTTP {status}"
        case requests.RequestException():
            return f"{type(error).__name__} after {sink.size:,} bytes"
    raise error


def _get(url: str, sink: _Sink, timeout: float, ended: list[BaseException | None]) -> None:
    """One GET; how it ended is the entry it adds to ``ended``."""
    try:
        import pooch

        # Without this a server may compress, and sizes would no longer be the file's.
        headers = {"Accept-Encoding": "identity"}
        get: Any = pooch.HTTPDownloader(
            progressbar=False, chunk_size=1 << 18, timeout=(timeout, timeout), headers=headers
        )
        get(url, sink, None)
    except BaseException as error:  # whatever it is belongs to the thread that waits
        # Without its traceback, which holds this frame, hence the list, hence itself: the open
        # connection would wait for the garbage collector.
        ended.append(error.with_traceback(None))
    else:
        ended.append(None)


def place(source: Path, target: Path, sha256: str) -> Path:
    """Copy a local file to ``target`` with the same care: hashed on the way, replaced at once.

    Raises:
        WrongHash: the bytes are others.
        WeightsError: a file or folder cannot be read or written, or the file is too large.
    """
    with _placing(target) as file:
        sink = _Sink(file, MAX_BYTES, 0, None)
        try:
            for chunk in _chunks(source):
                sink.write(chunk)
        except _TooLargeError as error:
            raise WeightsError(
                f"{source}: larger than {MAX_BYTES:,} bytes; the weights of this network have 80 "
                "million"
            ) from error
        if sink.sha256.hexdigest() != sha256:
            raise WrongHash(
                f"{source}: sha256 {sink.sha256.hexdigest()}, not {sha256}; nothing was kept: get "
                "the file again"
            )
    return target


def _chunks(source: Path) -> Iterator[bytes]:
    try:
        with source.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                yield chunk
    except OSError as error:
        raise WeightsError(
            f"{source}: cannot be read ({error.strerror or error}); check the path"
        ) from error


@contextlib.contextmanager
def _placing(target: Path) -> Iterator[IO[bytes]]:
    """:func:`replacing`, its folder made and swept first, its refusals as those of a cache."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target.parent)
        with replacing(target) as file:
            yield file
    except (OSError, OutputError, UsageError) as error:
        raise WeightsError(
            f"{target}: cannot be written ({error}); free space, or set SSD_RESNET34_CACHE to "
            "another folder"
        ) from error


def _sweep(folder: Path) -> None:
    """Remove what killed processes left, once it is a day old."""
    for part in folder.glob(_TEMPORARY):
        with contextlib.suppress(OSError):  # another process removes it too
            if time.time() - part.stat().st_mtime > _STALE:
                part.unlink()

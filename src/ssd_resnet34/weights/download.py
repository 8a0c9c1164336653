"""One file from the first mirror that has it: capped, checked, and in place all at once or not.

The bytes go to a temporary file beside the target, are counted and hashed while they arrive, and
replace the target only when they are right. Whatever goes wrong, nothing else is left behind.
"""

import contextlib
import hashlib
import os
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Final, Protocol

from ..errors import DownloadFailed, WeightsError, WrongHash

MAX_BYTES: Final = 512 * 1024**2
"""Cap for a file whose size is not known, bytes."""

TIMEOUT: Final = 30.0
"""Seconds without a byte after which a mirror is given up."""

_PART: Final = ".part"
_STALE: Final = 24 * 3600.0
"""Seconds after which a temporary file of a killed process is removed."""


class Progress(Protocol):
    """What is told of a download: the bytes so far, and of how many (0: unknown)."""

    def __call__(self, done: int, total: int, /) -> None: ...


class _TooLargeError(Exception):
    pass


class _Sink:
    """The file object that pooch writes to: counts, hashes, and stops at the cap."""

    def __init__(self, file: IO[bytes], limit: int, total: int, progress: Progress | None) -> None:
        self.file, self.limit, self.total, self.progress = file, limit, total, progress
        self.size = 0
        self.sha256 = hashlib.sha256()

    def write(self, chunk: bytes) -> int:
        self.size += len(chunk)
        if self.size > self.limit:
            raise _TooLargeError
        self.sha256.update(chunk)
        if self.progress:
            self.progress(self.size, self.total)
        return self.file.write(chunk)

    def flush(self) -> None:
        """pooch flushes after every chunk; the file is flushed once, at the end."""


def download(
    urls: Sequence[str],
    target: Path,
    sha256: str,
    size: int | None = None,
    timeout: float = TIMEOUT,
    progress: Progress | None = None,
) -> Path:
    """Fetch ``target`` from the first of ``urls`` that has the right bytes.

    Args:
        sha256: what the bytes must hash to, 64 hex digits.
        size: exact size in bytes if known; also the cap, else :data:`MAX_BYTES`.
        timeout: seconds to wait for a connection, and for each next byte.

    Raises:
        WrongHash: a mirror had other bytes, and none the right ones.
        DownloadFailed: no mirror could be reached or had the file; the reason of each.
        WeightsError: the target's folder cannot be written.
    """
    reasons: list[str] = []
    wrong = False
    for url in urls:
        with _part_of(target) as part:
            with part.open("xb") as file:
                sink = _Sink(file, size or MAX_BYTES, size or 0, progress)
                reason = _pull(url, sink, timeout)
                found = sink.sha256.hexdigest()
                _to_disk(file)
            if reason is None and found == sha256:
                part.replace(target)
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
            "source, or changed on the way: get it elsewhere and `ssd-resnet34 weights import` it"
        )
    raise DownloadFailed(
        f"{target.name}: {listed}; try again later, or fetch the file by hand and "
        "`ssd-resnet34 weights import` it"
    )


def _pull(url: str, sink: _Sink, timeout: float) -> str | None:
    """The bytes of ``url`` into the sink; what went wrong, or None."""
    import pooch
    import requests

    # Without this a server may compress, and sizes would no longer be the file's.
    headers = {"Accept-Encoding": "identity"}
    get: Any = pooch.HTTPDownloader(
        progressbar=False, chunk_size=1 << 18, timeout=(timeout, timeout), headers=headers
    )
    try:
        get(url, sink, None)
    except _TooLargeError:
        return f"more than {sink.limit:,} bytes, stopped"
    except requests.Timeout:
        return f"no answer within {timeout:g} s"
    except requests.HTTPError as error:
        return f"HTTP {error.response.status_code if error.response is not None else 'error'}"
    except requests.RequestException as error:
        return f"{type(error).__name__} after {sink.size:,} bytes"
    return None


def place(source: Path, target: Path, sha256: str) -> Path:
    """Copy a local file to ``target`` with the same care: hashed on the way, replaced at once.

    Raises:
        WrongHash: the bytes are others.
        WeightsError: a file or folder cannot be read or written, or the file is too large.
    """
    with _part_of(target) as part:
        with part.open("xb") as file:
            sink = _Sink(file, MAX_BYTES, 0, None)
            try:
                with source.open("rb") as stream:
                    while chunk := stream.read(1 << 20):
                        sink.write(chunk)
            except _TooLargeError as error:
                raise WeightsError(f"{source}: larger than {MAX_BYTES:,} bytes") from error
            _to_disk(file)
        if sink.sha256.hexdigest() != sha256:
            raise WrongHash(
                f"{source}: sha256 {sink.sha256.hexdigest()}, not {sha256}; nothing was kept: get "
                "the file again"
            )
        part.replace(target)
    return target


@contextlib.contextmanager
def _part_of(target: Path) -> Iterator[Path]:
    """A path beside the target that no other process uses; its file is gone at the end."""
    part = target.with_name(f".{target.name}.{uuid.uuid4().hex}{_PART}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target.parent)
        yield part
    except OSError as error:
        raise WeightsError(
            f"{target}: cannot be written ({error.strerror or error}); free space, or set "
            "SSD_RESNET34_CACHE to another folder"
        ) from error
    finally:
        with contextlib.suppress(OSError):  # the folder itself may be the trouble
            part.unlink(missing_ok=True)


def _to_disk(file: IO[bytes]) -> None:
    """Before the rename: else a power cut could leave the name without the bytes."""
    file.flush()
    os.fsync(file.fileno())


def _sweep(folder: Path) -> None:
    """Remove what killed processes left, once it is a day old."""
    for part in folder.glob(f".*{_PART}"):
        with contextlib.suppress(OSError):  # another process removes it too
            if time.time() - part.stat().st_mtime > _STALE:
                part.unlink()

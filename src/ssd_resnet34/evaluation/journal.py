"""What a long run has done so far: JSON lines that survive a kill at any moment.

The first line holds the key (settings, model, images): a run with another key never reads it. Each
further line is one image. A line that is cut short, or not JSON, is as if it had never been
written: its image is run again.
"""

import contextlib
import hashlib
import json
import logging
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Final, Self

from ..weights.store import cache_dir

_LOG = logging.getLogger(__name__)

_SUFFIX: Final = ".jsonl"

_STALE_SECONDS: Final = 30 * 24 * 3600.0
"""Journals of runs that were never finished are removed after 30 days."""


class Journal:
    """The journal of one run; use it as a context manager.

    ``found`` is what earlier runs left: image id -> (stamp, value). :meth:`finish` removes the
    file; leaving the ``with`` in any other way keeps it. Where the file cannot be written, the log
    says so and the run goes on without.
    """

    def __init__(self, key: Mapping[str, Any], folder: Path | None = None) -> None:
        """``folder`` is by default one in this package's cache (SSD_RESNET34_CACHE)."""
        head = json.dumps({"key": key}, sort_keys=True).encode() + b"\n"
        folder = cache_dir() / "evaluations" if folder is None else folder
        self.path = folder / f"{hashlib.sha256(head).hexdigest()[:32]}{_SUFFIX}"
        self.found: dict[int, tuple[Any, Any]] = {}
        self._lock = threading.Lock()
        self._file: IO[bytes] | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            _remove_stale(folder)
            self._file = self.path.open("a+b", buffering=0)
            self._read(self._file, head)
        except OSError as error:
            self._give_up(error)

    def _read(self, file: IO[bytes], head: bytes) -> None:
        file.seek(0)
        data = file.read()
        if not data.startswith(head):  # new, or killed while its first line was written
            file.truncate(0)
            _write(file, head)
            return
        for line in data[len(head) :].split(b"\n"):
            try:
                entry = json.loads(line)
                self.found[entry["image_id"]] = (entry["stamp"], entry["value"])
            except (ValueError, KeyError, TypeError):
                continue
        if not data.endswith(b"\n"):
            _write(file, b"\n")

    def add(self, image_id: int, stamp: Any, value: Any) -> None:
        """Keep the ``value`` of an image; both come back as JSON has them.

        ``stamp`` tells later whether the image is still the same one. Safe in several threads.
        """
        entry = {"image_id": image_id, "stamp": stamp, "value": value}
        line = json.dumps(entry, allow_nan=False, separators=(",", ":")).encode() + b"\n"
        with self._lock:
            if self._file is None:
                return
            try:
                _write(self._file, line)
            except OSError as error:
                self._give_up(error)

    def finish(self) -> None:
        """The run is complete: remove the file."""
        self._close()
        with contextlib.suppress(OSError):  # a read-only folder has none
            self.path.unlink(missing_ok=True)

    def _give_up(self, error: OSError) -> None:
        self._close()
        _LOG.warning(
            "%s: cannot be written (%s), so that a killed run begins again; set "
            "SSD_RESNET34_CACHE to a writable folder",
            self.path,
            error.strerror or error,
        )

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()


def _write(file: IO[bytes], line: bytes) -> None:
    while line:  # a raw file may take a part of it
        line = line[file.write(line) :]


def _remove_stale(folder: Path) -> None:
    for path in folder.glob(f"*{_SUFFIX}"):
        with contextlib.suppress(OSError):  # another process removed it, or holds it open
            if time.time() - path.stat().st_mtime > _STALE_SECONDS:
                path.unlink()

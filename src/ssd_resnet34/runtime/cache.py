"""Files that make the second start fast: compiled networks and the facts of checked artifacts.

An entry is written to a temporary file and renamed, and carries the sha256 of its content: two
processes may write the same entry at once, and a damaged or half-written file is a miss.
"""

import contextlib
import hashlib
import json
import logging
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_LOG = logging.getLogger(__name__)

MAX_BYTES: Final = 1024**3
"""Space for all entries together, bytes; those used longest ago go first."""

_MAGIC: Final = b"ssd-resnet34 cache 1\n"
_HEADER: Final = len(_MAGIC) + hashlib.sha256().digest_size
_SUFFIX: Final = ".bin"
_STALE_SECONDS: Final = 3600.0

_UNWRITABLE: Final[set[Path]] = set()
"""Folders of which the log has said so: a start has several entries, and says it once."""


@dataclass(frozen=True, slots=True)
class Cache:
    """A folder of entries; ``limit`` bounds their bytes together."""

    folder: Path
    limit: int = MAX_BYTES

    def load(self, **key: str | int) -> bytes | None:
        """The content stored under ``key``, or None. Marks it as used now."""
        path = self._path(key)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            _LOG.warning("%s: cannot be read (%s); compiling again", path, error.strerror)
            return None
        content = data[_HEADER:]
        if data[:_HEADER] != _header(content):
            _LOG.warning("%s: damaged; compiling again", path)
            self.drop(**key)
            return None
        with contextlib.suppress(OSError):  # a read-only cache works, only its order of use stays
            os.utime(path)
        return content

    def store(self, content: bytes, **key: str | int) -> None:
        """Keep ``content`` under ``key``. Where that fails, the log says so, and work goes on."""
        path = self._path(key)
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle, name = tempfile.mkstemp(suffix=".tmp", dir=self.folder)
            temporary = Path(name)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(_header(content))
                    file.write(content)
                temporary.replace(path)
            except BaseException:  # an interrupt, too, leaves nothing behind
                temporary.unlink(missing_ok=True)
                raise
            self._prune(keep=path)
        except OSError as error:
            if self.folder not in _UNWRITABLE:
                _UNWRITABLE.add(self.folder)
                _LOG.warning(
                    "%s: cannot be written (%s), so every start compiles again; set "
                    "SSD_RESNET34_CACHE to a writable folder",
                    self.folder,
                    error.strerror or error,
                )

    def drop(self, **key: str | int) -> None:
        """Forget what is stored under ``key``."""
        with contextlib.suppress(OSError):  # absent already, or another process is reading it
            self._path(key).unlink(missing_ok=True)

    def _path(self, key: dict[str, str | int]) -> Path:
        text = json.dumps(key, sort_keys=True)
        return self.folder / f"{hashlib.sha256(text.encode()).hexdigest()}{_SUFFIX}"

    def _prune(self, keep: Path) -> None:
        entries: list[tuple[float, int, Path]] = []
        for path in self.folder.iterdir():
            try:
                status = path.stat()
            except OSError:  # another process pruned it
                continue
            if path.suffix == _SUFFIX:
                entries.append((status.st_mtime, status.st_size, path))
            elif path.suffix == ".tmp" and time.time() - status.st_mtime > _STALE_SECONDS:
                with contextlib.suppress(OSError):  # left by a killed process; the next one retries
                    path.unlink()
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if total <= self.limit:
                break
            if path != keep:
                with contextlib.suppress(OSError):  # in use on Windows: goes another time
                    path.unlink()
                    total -= size


def default() -> Cache:
    """The cache in this package's cache folder (environment variable SSD_RESNET34_CACHE)."""
    from ..weights.store import cache_dir

    return Cache(cache_dir() / "compiled")


def _header(content: bytes) -> bytes:
    return _MAGIC + hashlib.sha256(content).digest()

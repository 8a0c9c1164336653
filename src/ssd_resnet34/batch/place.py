"""Where results lie: a local folder, or a prefix of an object store. All writes are atomic.

A name is relative, ``part-000000.parquet`` or ``_run/lock``. A disk that is full and a store that
asks to slow down are tried again for as long as the place has patience.
"""

import contextlib
import io
import os
import re
import secrets
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Final, Protocol, TypeVar

from ..errors import OutputError, SSDResNet34Error, UsageError
from ..files import replacing
from .addresses import local_path, open_store, scheme_of
from .patience import DEFAULT_PATIENCE, PERMANENT, Patience, patiently

Result = TypeVar("Result")

STORES: Final = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oci", "oss", "memory")
"""Schemes whose PUT appears whole or not at all."""

_TEMPORARY: Final = re.compile(r"\.[0-9a-f]{16}\.tmp")


class Place(Protocol):
    """A folder of files that are read and written whole."""

    @property
    def readers(self) -> int:
        """Files worth reading at a time: a store answers late, but answers many."""
        ...

    @property
    def name(self) -> str:
        """As people and other programs call it."""
        ...

    def read(self, name: str) -> bytes:
        """All bytes of a file.

        Raises:
            FileNotFoundError: there is none.
            OutputError: it cannot be read, however often.
        """
        ...

    def write(self, name: str, data: bytes) -> None:
        """Replace a file whole.

        Raises:
            OutputError: it cannot be written, however often.
        """
        ...

    def upload(self, name: str, source: Path) -> None:
        """Replace a file whole by a copy of a local one, which may be larger than memory.

        Raises:
            OutputError: it cannot be written, however often.
        """
        ...

    def create(self, name: str, data: bytes) -> bool:
        """Write a file that must not be there yet; False if it is."""
        ...

    def modified(self, name: str) -> datetime | None:
        """When a file was written, in local time; None where a store does not say."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file; one that is not there is no error."""
        ...

    def names(self, folder: str = "") -> list[str]:
        """Names of the files directly in ``folder``, sorted, without the folder."""
        ...

    def sweep(self) -> None:
        """Remove what a killed writer left half-way. Only with the lock held."""
        ...


def open_place(target: str, patience: Patience = DEFAULT_PATIENCE) -> Place:
    """The place that ``target`` names; a local folder is made at the first write.

    Raises:
        UsageError: no name, a file, or a scheme that cannot write atomically.
        MissingExtra: the package for the scheme is not installed.
    """
    if not target:  # a variable that is not set would fill the current folder
        raise UsageError("the place of the results has no name; give a folder, . or a URI")
    path = local_path(target)
    if path is not None:
        if os.path.lexists(path) and not os.path.isdir(path):
            raise UsageError(f"{target}: is a file; name a folder for the results")
        return LocalPlace(Path(os.path.abspath(path)), patience)
    if scheme_of(target) not in STORES:
        raise UsageError(
            f"{target}: {scheme_of(target)} has no write that appears whole or not at all; give a "
            f"local folder or one of {', '.join(STORES)}, and copy the results from there"
        )
    files, path = open_store(target)
    return StorePlace(files, path.rstrip("/"), target.rstrip("/"), patience)


class LocalPlace:
    """A folder: temporary file, fsync, rename, fsync of the folder."""

    readers = 8

    def __init__(self, root: Path, patience: Patience = DEFAULT_PATIENCE) -> None:
        self.root, self.patience = root, patience

    @property
    def name(self) -> str:
        return str(self.root)

    def read(self, name: str) -> bytes:
        return _told(self._shown(name), (self.root / name).read_bytes, self.patience)

    def write(self, name: str, data: bytes) -> None:
        self._replace(name, lambda: io.BytesIO(data))

    def upload(self, name: str, source: Path) -> None:
        self._replace(name, lambda: source.open("rb"))

    def _replace(self, name: str, opened: Callable[[], IO[bytes]]) -> None:
        def attempt() -> None:
            self._make_folder(name)
            try:
                with opened() as source, replacing(self.root / name) as file:
                    shutil.copyfileobj(source, file, 1 << 20)
            except UsageError as error:  # a disk that went read-only is not the user's mistake
                raise OutputError(str(error)) from error

        _told(self._shown(name), attempt, self.patience)

    def create(self, name: str, data: bytes) -> bool:
        def attempt() -> bool:
            self._make_folder(name)
            path = self.root / name
            temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
            try:
                temporary.write_bytes(data)
                try:
                    os.link(temporary, path)  # with its bytes, or not at all
                except FileExistsError:
                    return False
                except OSError:  # no hard links here: exclusive, but for a moment empty
                    with contextlib.suppress(FileExistsError), path.open("xb") as file:
                        file.write(data)
                        return True
                    return False
            finally:
                temporary.unlink(missing_ok=True)
            return True

        return _told(self._shown(name), attempt, self.patience)

    def modified(self, name: str) -> datetime | None:
        def attempt() -> datetime:
            return datetime.fromtimestamp((self.root / name).stat().st_mtime).astimezone()

        return _told(self._shown(name), attempt, self.patience)

    def remove(self, name: str) -> None:
        def attempt() -> None:
            (self.root / name).unlink(missing_ok=True)

        _told(self._shown(name), attempt, self.patience)

    def names(self, folder: str = "") -> list[str]:
        def attempt() -> list[str]:
            try:
                with os.scandir(self.root / folder) as entries:
                    found = [entry.name for entry in entries if entry.is_file()]
            except FileNotFoundError:
                return []
            return sorted(name for name in found if not _TEMPORARY.fullmatch(name))

        return _told(self._shown(folder), attempt, self.patience)

    def sweep(self) -> None:
        for folder in (self.root, *self.root.glob("_*/")):
            for path in folder.glob(".*.tmp"):
                if _TEMPORARY.fullmatch(path.name):
                    path.unlink(missing_ok=True)

    def _make_folder(self, name: str) -> None:
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)

    def _shown(self, name: str) -> str:
        return str(self.root / name)


class StorePlace:
    """A prefix of an object store: one PUT of finished bytes."""

    readers = 64

    def __init__(
        self, files: Any, prefix: str, name: str, patience: Patience = DEFAULT_PATIENCE
    ) -> None:
        self.files, self.prefix, self._name, self.patience = files, prefix, name, patience

    @property
    def name(self) -> str:
        return self._name

    def read(self, name: str) -> bytes:
        return _told(
            self._shown(name), lambda: bytes(self.files.cat_file(self._path(name))), self.patience
        )

    def write(self, name: str, data: bytes) -> None:
        # Never `with open(…, "wb")`: leaving it by an exception commits the half that was written.
        _told(
            self._shown(name),
            lambda: self.files.pipe_file(self._path(name), data),
            self.patience,
        )

    def upload(self, name: str, source: Path) -> None:
        # Beyond one PUT it is a multipart upload, which appears whole when it is completed.
        _told(
            self._shown(name),
            lambda: self.files.put_file(str(source), self._path(name)),
            self.patience,
        )

    def create(self, name: str, data: bytes) -> bool:
        path = self._path(name)

        def attempt() -> bool:
            try:
                self.files.pipe_file(path, data, mode="create")
            except FileExistsError:
                # Also after an answer that was lost: then it is ours.
                return bytes(self.files.cat_file(path)) == data
            except (TypeError, ValueError, NotImplementedError):  # a store without conditions
                with contextlib.suppress(FileNotFoundError):
                    self.files.info(path)  # exists() takes a failure for "no"
                    return False
                self.files.pipe_file(path, data)
                return bytes(self.files.cat_file(path)) == data
            return True

        return _told(self._shown(name), attempt, self.patience)

    def modified(self, name: str) -> datetime | None:
        def attempt() -> datetime | None:
            try:
                found: datetime = self.files.modified(self._path(name))
            except NotImplementedError:  # a store that keeps no times; the note goes without
                return None
            return found.astimezone()

        return _told(self._shown(name), attempt, self.patience)

    def remove(self, name: str) -> None:
        def attempt() -> None:
            with contextlib.suppress(FileNotFoundError):
                self.files.rm_file(self._path(name))

        _told(self._shown(name), attempt, self.patience)

    def names(self, folder: str = "") -> list[str]:
        path = self._path(folder) if folder else self.prefix

        def attempt() -> list[str]:
            try:
                found = self.files.ls(path, detail=True, refresh=True)
            except FileNotFoundError:
                return []
            files = [str(one["name"]) for one in found if one["type"] == "file"]
            return sorted(one.rsplit("/", 1)[1] for one in files if one.rstrip("/") != path)

        return _told(self._shown(folder), attempt, self.patience)

    def sweep(self) -> None:
        pass  # a PUT that was cut short has left nothing

    def _path(self, name: str) -> str:
        return f"{self.prefix}/{name}"

    def _shown(self, name: str) -> str:
        return f"{self._name}/{name}"


def _told(shown: str, attempt: Callable[[], Result], patience: Patience) -> Result:
    """``attempt`` with patience; what it cannot outlast as an :class:`OutputError`."""
    try:
        return patiently(attempt, patience)
    except (FileNotFoundError, SSDResNet34Error):
        raise
    except Exception as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        mend = "check the place and its permission"
        if not isinstance(error, PERMANENT):
            mend = f"tried for {patience.seconds:g} s; run again when it is back"
        raise OutputError(f"{shown}: {reason}; {mend}") from error

"""Files that appear complete or not at all, and files to read that are files."""

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import IO, BinaryIO, Final

from .errors import OutputError, SSDResNet34Error, UsageError

_FOLDER_MEND: Final = "choose an existing folder that you may write to"


@contextlib.contextmanager
def replacing(path: str | PathLike[str]) -> Iterator[IO[bytes]]:
    """A new binary file that takes the place of ``path`` at the end, or vanishes on an exception.

    A symbolic link stays and its target is replaced; an existing file's permissions stay. Errors
    of writing to the file come as they are: :func:`told` makes them one of ours.

    Raises:
        UsageError: it cannot be made there, or what is there is no regular file.
        OutputError: the last of it cannot be written.
    """
    name = os.fspath(path)
    target, mode = _place(name)
    temporary = target.with_name(f".{secrets.token_hex(8)}.tmp")
    with told(name, UsageError):
        file = temporary.open("xb")
    try:
        yield file
        with told(name):
            file.flush()
            os.fsync(file.fileno())
            file.close()
            if mode is not None:
                temporary.chmod(stat.S_IMODE(mode))
            temporary.replace(target)
            _settle(target.parent)
    except BaseException:
        with contextlib.suppress(OSError):  # a full disk refuses the last block once more
            file.close()
        temporary.unlink(missing_ok=True)
        raise


def write(path: str | PathLike[str], data: bytes) -> None:
    """Make ``data`` the content of ``path``, whole or not at all, as :func:`replacing` does.

    No view of a buffer: an error would hold both in one circle, and CPython's collector may take
    them apart in the wrong order (an error out of nowhere, or a crash).

    Raises:
        UsageError: it cannot be made there, or what is there is no regular file.
        OutputError: it cannot be written whole.
    """
    with replacing(path) as file, told(os.fspath(path)):
        file.write(data)


def _settle(folder: Path) -> None:
    """The new name survives a power failure too, where the file system can promise it."""
    with contextlib.suppress(OSError):  # Windows, and some network disks, open no folder
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def told(name: str, kind: type[SSDResNet34Error] = OutputError) -> Iterator[None]:
    """The system's refusals as an error of the tree."""
    try:
        yield
    except OSError as error:
        mend = _FOLDER_MEND if kind is UsageError else "free space or choose another place"
        raise kind(f"{name!r}: cannot be written ({error.strerror or error}); {mend}") from error


def check_target(path: str | PathLike[str]) -> None:
    """Refuse, before long work, a place where :func:`replacing` could not write at its end.

    Raises:
        UsageError: no such folder, no permission, or what is there is no regular file.
    """
    name = os.fspath(path)
    folder = _place(name)[0].parent
    if not folder.is_dir():
        raise UsageError(f"{name!r}: cannot be written (no such folder); {_FOLDER_MEND}")
    if not os.access(folder, os.W_OK):
        raise UsageError(f"{name!r}: cannot be written (no permission); {_FOLDER_MEND}")


class PipeOrDevice(OSError):
    """Where a file is wanted."""


def open_regular(file: str | PathLike[str]) -> BinaryIO:
    """The bytes of a regular file. A pipe or device, which might be waited for without end, is not
    opened.

    Raises:
        IsADirectoryError: a folder.
        PipeOrDevice: that.
        OSError: missing, or no permission.
        ValueError: a NUL in the name.
    """
    # Without O_NONBLOCK, opening a pipe would wait for its writer.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(file, flags)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return open(descriptor, "rb")
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    raise PipeOrDevice(errno.EINVAL, "a pipe or device, not a file")


def _place(name: str) -> tuple[Path, int | None]:
    """Where ``name`` leads, and the mode of the regular file that is there, None without one."""
    if "\0" in name:
        raise UsageError(f"{name!r}: a file name has no NUL character; remove it")
    target = Path(os.path.realpath(name))
    mode = None
    with told(name, UsageError), contextlib.suppress(FileNotFoundError):
        mode = target.stat().st_mode
    if mode is not None and not stat.S_ISREG(mode):
        # Replacing /dev/null or a pipe by a file would break it for everybody.
        kind = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
        raise UsageError(f"{name!r}: is {kind}; name a file to write")
    return target, mode

"""The images that a command line names: files, folders, globs, ``-`` for stdin."""

import glob
import os
import sys
from collections.abc import Iterable, Iterator
from os import PathLike
from typing import Final

from ..errors import ImageError, UnreadableFile
from ..vision.images import EXTENSIONS, Image, decode
from .terminal import complain

STDIN: Final = "-"

SOME_REFUSED: Final = 3
"""Exit code of a command that did the rest."""


def expand(
    arguments: Iterable[str], leave_out: str | PathLike[str] | None = None
) -> Iterator[str | UnreadableFile]:
    """Paths in order, found as they are needed; an error in the place of what names nothing.

    A folder gives its images and those of its subfolders, by name; a pattern with ``*``, ``?`` or
    ``[`` that is no file itself gives what it matches (``**`` for any depth), by name. What lies
    in the folder ``leave_out`` is passed over in both: it is where results are written. Of a folder
    inside that one, which is named, nothing is.
    """
    results = _Outside(leave_out)
    for argument in arguments:
        if argument == STDIN or (os.path.lexists(argument) and not os.path.isdir(argument)):
            yield argument
        elif os.path.isdir(argument):
            yield from _or_error(
                _walk(argument, _searched(argument, results)),
                f"{argument}: a folder without images ({', '.join(sorted(EXTENSIONS))})",
            )
        elif glob.has_magic(argument):
            outside = _searched(argument, results)
            found = sorted(glob.iglob(argument, recursive=True))
            kept = (path for path in found if outside.has(os.path.dirname(path)))
            reason = "no file matches this pattern"
            if found and outside.left_out is not None:
                reason = "no file matches this pattern outside the folder where results are written"
            yield from _or_error(
                (path for path in kept if not os.path.isdir(path)), f"{argument}: {reason}"
            )
        else:
            yield argument  # reading it says what is wrong with it


class _Outside:
    """Which folders are not, and not inside, the one to leave out."""

    def __init__(self, left_out: str | PathLike[str] | None) -> None:
        self.left_out = None if left_out is None else os.path.realpath(left_out)

    def has(self, folder: str) -> bool:
        if self.left_out is None:
            return True
        real = os.path.realpath(folder)
        return real != self.left_out and not real.startswith(os.path.join(self.left_out, ""))


def _searched(argument: str, outside: _Outside) -> _Outside:
    """Where a folder or pattern is searched."""
    while glob.has_magic(argument) and not os.path.isdir(argument):
        argument = os.path.dirname(argument)
    above = os.path.join(argument, os.pardir)
    return outside if outside.has(above) else _Outside(None)


def _or_error(
    paths: Iterable[str | UnreadableFile], message: str
) -> Iterator[str | UnreadableFile]:
    empty = True
    for path in paths:
        empty = False
        yield path
    if empty:
        yield UnreadableFile(message)


def _walk(folder: str, outside: _Outside) -> Iterator[str | UnreadableFile]:
    failed: list[OSError] = []  # os.walk passes over folders that it cannot list
    for root, folders, files in os.walk(folder, onerror=failed.append):
        yield from _unreadable(failed)
        folders[:] = sorted(name for name in folders if outside.has(os.path.join(root, name)))
        for name in sorted(files):
            if os.path.splitext(name)[1].lower() in EXTENSIONS:
                yield os.path.join(root, name)
    yield from _unreadable(failed)


def _unreadable(failed: list[OSError]) -> Iterator[UnreadableFile]:
    while failed:
        error = failed.pop()
        yield UnreadableFile(f"{error.filename}: {error.strerror}; check its permission")


def read(source: str | UnreadableFile) -> Image:
    """The picture of what :func:`expand` gave: a path, stdin, or an error, which is raised.

    Raises:
        ImageError: it is refused.
    """
    if isinstance(source, UnreadableFile):
        raise source
    if source != STDIN:
        return decode(source)
    if sys.stdin is None:
        raise UnreadableFile("stdin: closed; give it an image, or name a file")
    return Image(decode(sys.stdin.buffer).pixels, "stdin")


def tell(refused: ImageError) -> None:
    """A line on stderr about an input that was refused, with its code."""
    complain(f"{refused} [{refused.code}]", "refused")

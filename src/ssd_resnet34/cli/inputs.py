"""The images that a command line names: files, folders, globs, ``-`` for stdin."""

import glob
import os
import sys
from collections.abc import Iterable, Iterator
from typing import Final

from ..errors import UnreadableFile
from ..vision.images import Limits

STDIN: Final = "-"

EXTENSIONS: Final = frozenset(
    [".jpg", ".jpeg", ".jpe", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"]
)
"""What a folder is searched for; a file that is named is read whatever it is called."""


def expand(arguments: Iterable[str]) -> Iterator[str | UnreadableFile]:
    """Paths in order, found as they are needed; an error in the place of what names nothing.

    A folder gives its images and those of its subfolders, by name; a pattern with ``*``, ``?`` or
    ``[`` that is no file itself gives what it matches (``**`` for any depth).
    """
    for argument in arguments:
        if argument == STDIN or (os.path.lexists(argument) and not os.path.isdir(argument)):
            yield argument
        elif os.path.isdir(argument):
            yield from _or_error(
                _walk(argument),
                f"{argument}: a folder without images ({', '.join(sorted(EXTENSIONS))})",
            )
        elif glob.has_magic(argument):
            yield from _or_error(
                (path for path in glob.iglob(argument, recursive=True) if not os.path.isdir(path)),
                f"{argument}: no file matches this pattern",
            )
        else:
            yield argument  # reading it says what is wrong with it


def _or_error(paths: Iterator[str], message: str) -> Iterator[str | UnreadableFile]:
    empty = True
    for path in paths:
        empty = False
        yield path
    if empty:
        yield UnreadableFile(message)


def _walk(folder: str) -> Iterator[str]:
    for root, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            if os.path.splitext(name)[1].lower() in EXTENSIONS:
                yield os.path.join(root, name)


def read_stdin(limits: Limits) -> bytes:
    """The image on stdin; one byte more than the limit at most, which decoding then refuses."""
    return sys.stdin.buffer.read(limits.max_bytes + 1)

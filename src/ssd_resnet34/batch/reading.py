"""The bytes of one planned input, checked to be the file that was planned."""

import os
from typing import Any, Final, NoReturn

from ..errors import (
    ChangedFile,
    ImageError,
    SSDResNet34Error,
    StoreUnavailable,
    TooManyBytes,
    UnreadableFile,
)
from ..vision.images import Limits, printable, read_bytes
from .addresses import local_path, open_store
from .patience import PERMANENT, Patience, patiently, unmasked
from .sorting import Input
from .sources import etag_of, measure

_ATTEMPTS: Final = 3
"""A single try at a store may take this part of the patience: a read that trickles is given up."""


def read(one: Input, limits: Limits, patience: Patience, root: str | None = None) -> bytes:
    """The encoded bytes.

    Args:
        one: with the size and etag of the plan; those that are None are not compared.
        limits: ``max_bytes``, checked before anything is read.
        patience: with a store that fails.
        root: a folder that links of local files must not lead out of.

    Raises:
        UnreadableFile: missing, not a file, a link out of ``root``, or no permission.
        ChangedFile: another size or etag than planned.
        TooManyBytes: over the limit.
        StoreUnavailable: the store failed until patience ended.
    """
    path = local_path(one.uri)
    if path is None:
        return _from_store(one, limits, patience)
    shown = printable(one.uri)
    if root is not None and not _inside(path, root):
        raise UnreadableFile(
            f"{shown}: a link out of the source folder; use --follow-links to read such files"
        )
    now = measure(one.uri)
    _check_unchanged(one, now.size, now.etag, shown)
    data = read_bytes(path, limits)
    _check_unchanged(one, len(data), None, shown)
    return data


def _inside(path: str, root: str) -> bool:
    real = os.path.realpath(path)
    return real.startswith(os.path.join(root, ""))


def _check_unchanged(one: Input, size: int | None, etag: str | None, shown: str) -> None:
    for what, planned, found in (("bytes", one.size, size), ("version", one.etag, etag)):
        if None not in (planned, found) and planned != found:
            raise ChangedFile(
                f"{shown}: changed since it was planned ({what} {found}, planned {planned}); "
                "plan it into another output"
            )


def _from_store(one: Input, limits: Limits, patience: Patience) -> bytes:
    shown = printable(one.uri)
    seconds = max(1.0, patience.seconds / _ATTEMPTS)

    def attempt() -> bytes:
        files, path = open_store(one.uri)  # some connect at once
        info = _call(files, "info", path, seconds)
        if info.get("type") == "directory":
            raise UnreadableFile(f"{shown}: a folder, not a file; give an image file")
        size = info.get("size")
        _check_unchanged(one, size, etag_of(info), shown)
        if size is not None and size > limits.max_bytes:
            raise TooManyBytes(
                f"{shown}: more than {limits.max_bytes} bytes; save it smaller or raise max_bytes"
            )
        data = bytes(_call(files, "cat_file", path, seconds))
        _check_unchanged(one, len(data), None, shown)
        return data

    def permanent_or_data() -> bytes | ImageError:
        try:
            return attempt()
        except ImageError as error:  # a verdict, which no repetition changes
            return error
        except SSDResNet34Error as error:
            return UnreadableFile(f"{shown}: {error}")

    try:
        outcome = patiently(permanent_or_data, patience)
    except Exception as error:  # each store has its own kinds
        _refuse(shown, error, patience)
    if isinstance(outcome, ImageError):
        raise outcome
    return outcome


def _call(files: Any, method: str, path: str, seconds: float) -> Any:
    """A call with a time limit, where the file system can be interrupted."""
    with unmasked(files):
        if not files.async_impl:
            return getattr(files, method)(path)
        from fsspec.asyn import sync

        return sync(files.loop, getattr(files, f"_{method}"), path, timeout=seconds)


def _refuse(shown: str, error: Exception, patience: Patience) -> NoReturn:
    reason = str(error) or type(error).__name__
    if isinstance(error, FileNotFoundError):
        raise UnreadableFile(f"{shown}: no such object; check the address") from error
    if isinstance(error, PERMANENT):
        raise UnreadableFile(f"{shown}: {reason}; check the address and its permission") from error
    raise StoreUnavailable(
        f"{shown}: {reason}; tried for {patience.seconds:g} s: run again with --retry-errors"
    ) from error

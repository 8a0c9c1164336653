"""The cache of fetched weights: where it is, what fills it, what is checked on every use."""

import hashlib
import os
import sys
from contextlib import AbstractContextManager, nullcontext
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from .. import files
from ..errors import DownloadFailed, UnknownWeights, UsageError, WeightsError, WrongHash
from ..spelling import did_you_mean
from . import embedded, readers
from .download import TIMEOUT, Progress, download, place
from .records import EMBEDDED, RECORDS, Record

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

CACHE_VARIABLE: Final = "SSD_RESNET34_CACHE"
OFFLINE_VARIABLE: Final = "SSD_RESNET34_OFFLINE"


def cache_dir() -> Path:
    """The folder for everything that can be made or fetched again.

    ``SSD_RESNET34_CACHE`` if set, else the platform's (``~/.cache/ssd-resnet34`` on Linux).
    """
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(os.path.expanduser(chosen))  # unlike pathlib's, leaves an unknown ~user alone
    import platformdirs

    return platformdirs.user_cache_path("ssd-resnet34")


def record(name: str) -> Record:
    """The record of that name.

    Raises:
        UnknownWeights: there is none; names the nearest.
    """
    if name in RECORDS:
        return RECORDS[name]
    raise UnknownWeights(
        f"no weights record {name!r}; {did_you_mean(name, RECORDS)}there are {', '.join(RECORDS)} "
        "(`ssd-resnet34 weights list`)"
    )


def path(name: str) -> Path:
    """Where the file of a record lies, or will lie once fetched.

    Raises:
        UnknownWeights: no such record.
    """
    found = record(name)
    if name == EMBEDDED:
        return embedded.path()
    return cache_dir() / "weights" / found.name / found.file


def known_sha256(name: str) -> str | None:
    """The record's sha256, else the one the user gave when the file was fetched or imported."""
    found = record(name)
    if found.sha256:
        return found.sha256
    try:
        return _note(name).read_text("ascii", errors="replace").strip()
    except OSError:  # no note, or a cache that is not ours to read
        return None


def is_offline(offline: bool | None = None) -> bool:
    """Whether downloads are off: the argument, else ``SSD_RESNET34_OFFLINE`` (1, true, yes, on)."""
    if offline is not None:
        return offline
    return os.environ.get(OFFLINE_VARIABLE, "").strip().lower() in ("1", "true", "yes", "on")


def fetch(
    name: str,
    *,
    sha256: str | None = None,
    offline: bool | None = None,
    progress: bool = True,
    timeout: float = TIMEOUT,
) -> Path:
    """The file of a record, downloaded unless it is there; checked either way.

    Args:
        sha256: needed where the record has none.
        offline: ``True`` never downloads; default: ``SSD_RESNET34_OFFLINE``.
        progress: a bar on stderr if that is a terminal.
        timeout: seconds to wait for a connection and for each next byte.

    Raises:
        UnknownWeights: no such record.
        WeightsError: the record has no hash and none is given.
        WrongHash: other bytes, in the cache or from every mirror.
        DownloadFailed: offline, or every mirror failed.
    """
    found = record(name)
    target = path(name)
    if name == EMBEDDED:
        return target
    wanted = _wanted(found, sha256, "fetch " + name)
    if os.path.isfile(target):  # unlike pathlib's, False where the folder is not ours to see
        _check(target, wanted, None)
        _remember(name, wanted)
        return target
    if is_offline(offline):
        raise DownloadFailed(
            f"{name} is not in {target.parent} and downloads are off; unset {OFFLINE_VARIABLE} and "
            f"the offline option, or {_by_hand(found, wanted)}"
        )
    with _bar(progress) as bar:
        report: Progress | None = None
        if bar is not None:
            task = bar.add_task(found.file, total=found.size)

            def show(done: int, total: int) -> None:
                bar.update(task, completed=done, total=total or None)

            report = show
        by_hand = _by_hand(found, wanted)
        download(found.urls, target, wanted, found.size, timeout, report, by_hand=by_hand)
    _remember(name, wanted)
    return target


def import_file(source: str | PathLike[str], name: str, sha256: str | None = None) -> Path:
    """Put a file that was got elsewhere into the cache under a record's name.

    Raises:
        UnknownWeights: no such record, or no such file.
        UsageError: the embedded weights cannot be replaced.
        WeightsError: the record has no hash and none is given; the message has the file's.
        WrongHash: the file is another one.
    """
    found, file = record(name), Path(source)
    if name == EMBEDDED:
        raise UsageError("the embedded weights are part of the package; import under another name")
    if not os.path.isfile(file):
        raise UnknownWeights(f"{file}: no such file; give the path of {found.file}")
    if found.sha256 is None and sha256 is None:
        own = _digest(file, "sha256")
        raise WeightsError(
            f"the hash of {name} is not known to this package; the sha256 of {file} is "
            f"{own}: if its source says the same, add `--sha256 {own}`"
        )
    wanted = _wanted(found, sha256, f"import {name} {file}")
    target = place(file, path(name), wanted)
    _remember(name, wanted)
    return target


def verify(file: str | PathLike[str], record: Record, sha256: str | None = None) -> str:
    """Check a file against its record: size, sha256, sha384. Returns its sha256.

    The embedded record has no hash: its file is read whole instead.

    Args:
        sha256: what to expect where the record has no hash.

    Raises:
        UnknownWeights: no such file.
        WeightsError: nothing is known to check it against.
        WrongHash: the bytes are others.
    """
    source = Path(file)
    if not os.path.isfile(source):
        raise UnknownWeights(
            f"{source}: no such file; give the path of {record.file}, which `ssd-resnet34 weights "
            f"fetch {record.name}` gets"
        )
    if record.name == EMBEDDED:
        # No hash is published for it: what can be checked is that it is whole and this network's.
        readers.read(source)
        return _digest(source, "sha256")
    if record.size is not None and source.stat().st_size != record.size:
        raise WrongHash(
            f"{source}: {source.stat().st_size:,} bytes, {record.name} has {record.size:,}; delete "
            f"it and `ssd-resnet34 weights fetch {record.name}`"
        )
    wanted = _wanted(record, sha256 or known_sha256(record.name), "verify " + record.name)
    return _check(source, wanted, record.sha384)


def _by_hand(found: Record, sha256: str) -> str:
    """What to do where this machine cannot download: the address, and the whole command."""
    source = f"from {found.urls[0]} " if found.urls else ""
    command = f"ssd-resnet34 weights import {found.name} {found.file}"
    if found.sha256 is None:
        command += f" --sha256 {sha256}"
    return f"get {found.file} {source}on another machine and run `{command}`"


def _wanted(found: Record, sha256: str | None, command: str) -> str:
    """The sha256 to demand: the record's, else the user's."""
    if sha256 is not None:
        sha256 = sha256.strip().lower()
        if len(sha256) != 64 or set(sha256) - set("0123456789abcdef"):
            raise UsageError(f"sha256 {sha256!r} is not 64 hexadecimal digits")
    if found.sha256 is not None:
        if sha256 not in (None, found.sha256):
            raise WrongHash(
                f"{found.name} has the sha256 {found.sha256}, not {sha256}; leave the hash out"
            )
        return found.sha256
    if sha256 is None:
        sha256 = known_sha256(found.name)
    if sha256 is None:
        raise WeightsError(
            f"the hash of {found.name} is not known to this package, so it must come from you: "
            f"`ssd-resnet34 weights {command} --sha256 HEX` (64 digits, from a source you trust)"
        )
    return sha256


def _check(file: Path, sha256: str, sha384: str | None) -> str:
    found = _digest(file, "sha256")
    if found != sha256 or (sha384 and _digest(file, "sha384") != sha384):
        raise WrongHash(
            f"{file}: sha256 {found}, not {sha256}: damaged or replaced; delete it and fetch it "
            "again"
        )
    return found


def _digest(file: Path, kind: Literal["sha256", "sha384"]) -> str:
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, kind).hexdigest()
    except OSError as error:
        raise WeightsError(
            f"{file}: cannot be read ({error.strerror or error}); check its permissions"
        ) from error


def _note(name: str) -> Path:
    target = path(name)
    return target.with_name(f"{target.name}.sha256")


def _remember(name: str, sha256: str) -> None:
    """Keep the user's hash beside the file, so that every later load is checked by it too."""
    if known_sha256(name) != sha256:  # a read-only cache that has it works as well
        files.write(_note(name), f"{sha256}\n".encode("ascii"))


def _bar(progress: bool) -> "AbstractContextManager[Bar | None]":
    """A progress bar on stderr, where that is a terminal."""
    if not progress or not sys.stderr.isatty():
        return nullcontext()
    from rich.console import Console
    from rich.progress import DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    return Progress(
        *Progress.get_default_columns()[:2],
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )

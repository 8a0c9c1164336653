"""What a source holds: a folder, a glob, a list, a Parquet column, one file; local or in a store.

A folder is searched for images by extension. Links to folders are not followed (they are counted),
so that a loop ends. What cannot be an image (a pipe, a device, a folder that may not be listed, a
line of a list that names nothing) is an input like others: reading it says so in its row.
"""

import glob
import io
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePosixPath
from typing import Any, Final

from ..errors import BatchError, UsageError
from ..vision.images import EXTENSIONS
from .addresses import local_path, local_uri, open_store, scheme_of
from .parquet import arrow, arrow_datasets
from .patience import DEFAULT_PATIENCE, PERMANENT, Patience, patiently, unmasked
from .sorting import Input

LISTS: Final = (".txt", ".lst", ".list")
"""Extensions of a source that is a text file with one address a line."""

PARQUET: Final = ".parquet"

LINKED_FOLDERS: Final = "links to folders not followed"
EMPTY_CELLS: Final = "empty cells left out"


@dataclass
class Search:
    """A source to go through; ``notes`` counts what was passed over on the way.

    Attributes:
        source: path, glob or URI.
        column: of a Parquet source, the column with the addresses.
        follow_links: enter linked folders, each folder once.
        leave_out: a local folder that is not searched: where the results are written.
        patience: with a store that fails while it is listed.
    """

    source: str
    column: str | None = None
    follow_links: bool = False
    leave_out: str | None = None
    patience: Patience = DEFAULT_PATIENCE
    notes: Counter[str] = field(default_factory=Counter)

    def inputs(self) -> Iterator[Input]:
        """Every input, in no particular order; a repeated address comes repeatedly.

        Raises:
            UsageError: there is no such source, or it cannot be read as what it is.
            MissingExtra: the package for it is not installed.
        """
        path = local_path(self.source)
        if path is not None:
            return self._local(path)
        return self._stored()

    @property
    def root(self) -> str | None:
        """The local folder that inputs must not lead out of by a link; None where links may."""
        path = local_path(self.source)
        if path is None or self.follow_links or not os.path.isdir(path) or self._is_parquet(path):
            return None
        return os.path.realpath(path)

    def _is_parquet(self, path: str) -> bool:
        return self.column is not None or path.rstrip("/").endswith(PARQUET)

    def _local(self, path: str) -> Iterator[Input]:
        if os.path.isdir(path) and not self._is_parquet(path):
            return self._walk(os.path.abspath(path))
        if not os.path.lexists(path):
            if glob.has_magic(path):
                return self._glob(path)
            raise UsageError(f"{self.source}: no such file or folder; name one, or quote a glob")
        folder = os.path.dirname(os.path.abspath(path))

        def resolve(line: str) -> str:
            inside = local_path(line)
            return _as_text(line) if inside is None else local_uri(os.path.join(folder, inside))

        is_list = path.lower().endswith(LISTS)
        if is_list or self._is_parquet(path):
            _refuse_pipe(path, self.source)
        if self._is_parquet(path):
            return _measured(self._column(path, None, resolve))
        if is_list:
            return _measured(_lines(lambda: open(path, "rb"), self.source, resolve))
        return iter([measure(local_uri(path))])

    def _walk(self, root: str) -> Iterator[Input]:
        left_out = None if self.leave_out is None else os.path.realpath(self.leave_out)
        entered = set()
        pending = [root]
        while pending:
            folder = pending.pop()
            if left_out is not None and os.path.realpath(folder) == left_out:
                continue
            try:
                if self.follow_links:
                    status = os.stat(folder)
                    if (status.st_dev, status.st_ino) in entered:
                        continue
                    entered.add((status.st_dev, status.st_ino))
                with os.scandir(folder) as entries:
                    yield from self._entries(entries, pending)
            except FileNotFoundError:
                continue  # it vanished since it was listed
            except OSError:  # reading this "file" tells what is wrong with the folder
                yield Input(local_uri(folder))

    def _entries(
        self, entries: Iterable["os.DirEntry[str]"], folders: list[str]
    ) -> Iterator[Input]:
        for entry in entries:
            is_folder = is_link = False
            with suppress(OSError):  # a link to itself
                is_link = entry.is_symlink()
                is_folder = entry.is_dir()
            if is_folder and is_link and not self.follow_links:
                self.notes[LINKED_FOLDERS] += 1
            elif is_folder:
                folders.append(entry.path)
            elif os.path.splitext(entry.name)[1].lower() in EXTENSIONS:
                yield _entry(entry)

    def _glob(self, pattern: str) -> Iterator[Input]:
        left_out = None if self.leave_out is None else os.path.realpath(self.leave_out) + os.sep
        for path in glob.iglob(pattern, recursive=True):
            inside = left_out is not None and os.path.realpath(path).startswith(left_out)
            if not inside and not os.path.isdir(path):
                yield measure(local_uri(path))

    def _stored(self) -> Iterator[Input]:
        try:
            files, path = open_store(self.source)
        except OSError as error:  # some connect at once
            raise UsageError(
                f"{self.source}: cannot be opened ({error}); check the address"
            ) from error
        info = self._info(files, path)
        if info is None:  # a pattern, which no name is, as among local files
            found = self._ask(lambda: files.glob(path, detail=True)).values()
            return (_object(files, one) for one in found if one["type"] == "file")
        is_file = info["type"] == "file"
        if self._is_parquet(path) or (is_file and path.lower().endswith(LISTS)):
            return self._named_in(path)
        if is_file:
            return iter([_object(files, info)])
        return self._walk_store(files, path)

    def _info(self, files: Any, path: str) -> dict[str, Any] | None:
        """What the store says of a name; None of one that is not there and may be a pattern."""

        # Not isfile() or exists(): they take a store that is down for "no".
        def look() -> dict[str, Any] | None:
            try:
                with unmasked(files):
                    found: dict[str, Any] = files.info(path)
            except FileNotFoundError:
                if glob.has_magic(path):
                    return None
                raise
            return found

        info: dict[str, Any] | None = self._ask(look)
        return info

    def _named_in(self, path: str) -> Iterator[Input]:
        """What a list or a Parquet column in a store names; its own retries apply."""
        files, _ = open_store(self.source, one_try=False)
        folder = f"{scheme_of(self.source)}://{PurePosixPath(path).parent}"

        def resolve(line: str) -> str:
            inside = local_path(line)
            if inside is not None and inside.startswith("/"):
                return local_uri(inside)
            return _as_text(line if inside is None else f"{folder}/{inside}")

        if self._is_parquet(path):
            return _measured(self._column(path, files, resolve))
        return _measured(_lines(lambda: files.open(path, "rb"), self.source, resolve))

    def _column(self, path: str, files: Any, resolve: Callable[[str], str]) -> Iterator[str]:
        """The addresses of the column, file by file; empty cells are counted."""
        pyarrow, datasets = arrow(), arrow_datasets()
        try:
            dataset = datasets.dataset(path, format="parquet", filesystem=files)
            texts = [one.name for one in dataset.schema if _is_text(one.type)]
            if self.column is None and len(texts) != 1:
                raise UsageError(
                    f"{path}: name the column with the addresses by --column; it has "
                    f"{', '.join(texts) or 'none'} of text"
                )
            chosen = texts[0] if self.column is None else self.column
            if chosen not in texts:
                raise UsageError(
                    f"{path}: no column {chosen!r} of text; there are {', '.join(texts) or 'none'}"
                )
            for batch in dataset.to_batches(columns=[chosen], batch_size=65_536):
                for cell in batch.column(0).to_pylist():
                    if cell:
                        yield resolve(cell)
                    else:
                        self.notes[EMPTY_CELLS] += 1
        except (OSError, pyarrow.ArrowException) as error:
            raise UsageError(
                f"{path}: not readable as Parquet ({error}); check the file"
            ) from error

    def _walk_store(self, files: Any, root: str) -> Iterator[Input]:
        pending = [root]
        while pending:
            folder = pending.pop()
            for one in self._ask(partial(files.ls, folder, detail=True)):
                name = str(one["name"]).rstrip("/")
                if name.strip("/") == folder.strip("/"):
                    continue  # the mark of an empty folder
                if one["type"] == "directory":
                    pending.append(name)
                elif os.path.splitext(name)[1].lower() in EXTENSIONS:
                    yield _object(files, one)

    def _ask(self, call: Callable[[], Any]) -> Any:
        try:
            return patiently(call, self.patience)
        except FileNotFoundError as error:
            raise UsageError(f"{self.source}: nothing is there; check the address") from error
        except PERMANENT as error:
            raise UsageError(
                f"{self.source}: cannot be listed ({error}); check the address and your credentials"
            ) from error
        except Exception as error:  # each store has its own kinds
            raise BatchError(
                f"{self.source}: cannot be listed ({error}); tried for "
                f"{self.patience.seconds:g} s: check your credentials, or run again when it is back"
            ) from error


def measure(uri: str) -> Input:
    """An input with what a look at a local file tells; a store is not asked for each line."""
    path = local_path(uri)
    if path is None:
        return Input(uri)
    try:
        return Input(uri, *_size_and_etag(os.stat(path)))
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return Input(uri)


def etag_of(info: Any) -> str | None:
    """What a store says about the version of an object, under the names that stores use."""
    for name in ("ETag", "etag", "content_md5", "md5Hash"):
        if info.get(name):
            return str(info[name]).strip('"')
    return None


def _size_and_etag(status: os.stat_result) -> tuple[int | None, str | None]:
    if not stat.S_ISREG(status.st_mode):
        return None, None
    return status.st_size, f"{status.st_mtime_ns:x}"


def _entry(entry: "os.DirEntry[str]") -> Input:
    try:
        return Input(local_uri(entry.path), *_size_and_etag(entry.stat()))
    except OSError:  # gone since, or a link to nothing
        return Input(local_uri(entry.path))


def _object(files: Any, info: Any) -> Input:
    size = info.get("size")
    return Input(
        files.unstrip_protocol(info["name"]), None if size is None else int(size), etag_of(info)
    )


def _measured(uris: Iterator[str]) -> Iterator[Input]:
    return map(measure, uris)


def _refuse_pipe(path: str, source: str) -> None:
    """A list or table that might be waited for without end; an image is refused when it is read."""
    if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
        raise UsageError(f"{source}: a pipe or device, not a file; save it as a file first")


def _lines(opened: Callable[[], Any], source: str, resolve: Callable[[str], str]) -> Iterator[str]:
    """The addresses of a list; empty lines and those that begin with # are none."""
    try:
        with closing(opened()) as file:
            # Surrogates stand for bytes that are not UTF-8, as in all names of files.
            text = io.TextIOWrapper(file, "utf-8", "surrogateescape", newline="\n")
            for number, line in enumerate(text):
                name = line.rstrip("\r\n")
                if number == 0:
                    name = name.removeprefix("\ufeff")  # with which Windows begins a text
                if name.strip() and not name.startswith("#"):
                    yield resolve(name)
    except OSError as error:
        raise UsageError(f"{source}: cannot be read ({error}); check its permission") from error


def _as_text(uri: str) -> str:
    """An address of a store is text: bytes that are none become U+FFFD, and its row says that
    nothing is there."""
    return uri.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _is_text(kind: Any) -> bool:
    """Whether an Arrow type is text, in any of its forms."""
    types = arrow().types
    if types.is_dictionary(kind):
        kind = kind.value_type
    views = getattr(types, "is_string_view", lambda _: False)
    return bool(types.is_string(kind) or types.is_large_string(kind) or views(kind))

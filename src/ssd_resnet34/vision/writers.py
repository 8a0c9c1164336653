"""Detections written to files: one writer for each extension.

========== ================================================= ===============
extension  form                                              images a file
========== ================================================= ===============
.json      the JSON of ``Detections.to_dict``; a list of     any
           them for a list
.jsonl     the same, one image a line                        any
.csv       one detection a row                               any
.coco.json COCO: images, annotations with scores, categories any
.txt       YOLO: class cx cy w h score, fractions            one
.xml       Pascal VOC                                        one
.png .jpg  the drawn picture                                 one
.jpeg .webp
========== ================================================= ===============

A file appears complete or not at all: it is written beside its place under a hidden temporary
name and moved there at the end.
"""

import contextlib
import csv
import io
import itertools
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from os import PathLike
from pathlib import Path
from typing import IO, Any, Final, Protocol, Self

from .. import files
from ..contract import Category
from ..errors import UsageError
from ..files import replacing, told
from .annotations import printable_utf8, voc, yolo
from .detections import Detections
from .draw import DRAWN_THRESHOLD

CSV_COLUMNS: Final = (
    "image", "width", "height", "left", "top", "right", "bottom",
    "score", "index", "category_id", "label",
)  # fmt: skip

# What a spreadsheet takes for the beginning of a formula (OWASP, "CSV Injection").
_FORMULA: Final = ("=", "+", "-", "@")
# What might end a line, or a row, for one reader or another.
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def save(
    path: str | PathLike[str],
    detections: Detections | Iterable[Detections],
    *,
    source: Any = None,
    score_threshold: float = DRAWN_THRESHOLD,
) -> None:
    """Write the detections of one image, or of several, in the form the extension names.

    An existing file is replaced. ``source`` and ``score_threshold`` are for picture extensions
    only: the image to draw on, by default the file that ``detections.image`` names, and the
    score that drawn detections exceed; all other forms hold every detection. Use
    :func:`open_writer` where the detections come one by one.

    Raises:
        UsageError: an unknown extension, several images for a form that holds one, or a place
            that cannot be written.
        ImageError: the image to draw on is refused.
        OutputError: writing failed half-way (a full disk); nothing is left behind.
    """
    extension = extension_of(path)
    if isinstance(detections, Detections):
        if extension == ".json":
            files.write(path, (detections.to_json() + "\n").encode())
            return
        many: Iterable[Detections] = (detections,)
    else:
        many = detections
    if extension in STREAM_EXTENSIONS:
        with open_writer(path) as writer:
            for each in many:
                writer.write(each)
        return
    images = list(itertools.islice(many, 2))
    if len(images) != 1:
        raise UsageError(
            f"{os.fspath(path)!r}: {extension} holds one image, {len(images) or 'no'}"
            f"{' or more' if images else ''} given; save each to its own file, or use one of "
            f"{', '.join(STREAM_EXTENSIONS)}"
        )
    if extension in IMAGE_EXTENSIONS:
        data = _picture(images[0], source, extension, score_threshold)
    else:
        data = _SINGLES[extension](images[0]).encode()
    files.write(path, data)


def open_writer(
    place: str | PathLike[str] | IO[bytes],
    extension: str | None = None,
    *,
    categories: Iterable[Category] = (),
) -> "Writer":
    """A writer for the detections of many images, in memory that does not grow with them.

    ::

        with open_writer("found.jsonl") as writer:
            for detections in detector.stream(paths):
                writer.write(detections)

    A file appears at :meth:`Writer.close`; leaving the ``with`` by an exception leaves nothing.
    ``place`` may be an open binary stream, such as ``sys.stdout.buffer``: it is flushed after
    each image, not closed, and its own errors (``BrokenPipeError``) pass through. ``extension``
    chooses the form where the name does not. ``categories`` are for COCO: those of the model's
    contract, which its readers expect also where nothing of one was found; without them it has
    those that were.

    Raises:
        UsageError: an extension that is not one of STREAM_EXTENSIONS, or a place that cannot be
            written.
    """
    if isinstance(place, (str, PathLike)):
        name = os.fspath(place)
        extension = extension or extension_of(place)
    else:
        name = str(getattr(place, "name", "stream"))
    if extension not in _STREAMS:
        raise UsageError(
            f"{name!r}: {extension or 'no extension'} does not hold many images; "
            f"use one of {', '.join(STREAM_EXTENSIONS)}"
        )
    form = _STREAMS[extension]
    if form is _Coco:
        form = partial(_Coco, categories=tuple(categories))
    return Writer(place, name, form)


def extension_of(path: str | PathLike[str]) -> str:
    """The known extension of a file name, lower case; ``.coco.json`` before ``.json``.

    Raises:
        UsageError: it has none of EXTENSIONS.
    """
    name = Path(path).name.lower()
    for extension in sorted(EXTENSIONS, key=len, reverse=True):
        if name.endswith(extension) and name != extension:
            return extension
    raise UsageError(
        f"{os.fspath(path)!r}: the extension does not name a known form; "
        f"use one of {', '.join(EXTENSIONS)}"
    )


class Writer:
    """Streams detections into one file; made by :func:`open_writer`. Not for several threads."""

    def __init__(
        self,
        place: str | PathLike[str] | IO[bytes],
        name: str,
        form: "Callable[[IO[bytes]], _Form]",
    ) -> None:
        self._name = name
        self._stream: IO[bytes] | None = None
        self._form: _Form | None
        with contextlib.ExitStack() as opening:
            if isinstance(place, (str, PathLike)):
                file = opening.enter_context(replacing(place))
            else:
                self._stream = file = place
            with self._told():
                self._form = opening.enter_context(contextlib.closing(form(file)))
            self._stack = opening.pop_all()

    def _told(self) -> contextlib.AbstractContextManager[None]:
        return told(self._name) if self._stream is None else contextlib.nullcontext()

    def write(self, detections: Detections, image_id: int | None = None) -> None:
        """Add one image. ``image_id`` is for COCO: by default 1, 2, … in order of writing.

        Raises:
            UsageError: the writer is closed.
            OutputError: writing failed; call :meth:`abort`, or leave the ``with``.
        """
        if self._form is None:
            raise UsageError(f"{self._name!r}: the writer is closed; open a new one")
        with self._told():
            self._form.write(detections, image_id)
            if self._stream is not None:
                self._stream.flush()

    def close(self) -> None:
        """Finish the file and move it to its place. A second call does nothing.

        Raises:
            OutputError: writing failed; nothing is left behind.
        """
        if self._form is None:
            return
        form, self._form = self._form, None
        with self._stack, self._told():
            form.finish()
            if self._stream is not None:
                self._stream.flush()

    def abort(self) -> None:
        """Remove what was written; the place keeps what it had. A stream just ends."""
        if self._form is not None:
            self._form = None
            with contextlib.suppress(_Stopped), self._stack:
                raise _Stopped

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()


class _Stopped(BaseException):
    """Makes the open file take its way out of an exception."""


class _Form(Protocol):
    def write(self, detections: Detections, image_id: int | None) -> None: ...
    def finish(self) -> None: ...
    def close(self) -> None: ...


class _Json:
    """A JSON array, one image a line."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._before = b"["

    def write(self, detections: Detections, image_id: int | None) -> None:
        self._file.write(self._before + b"\n" + detections.to_json().encode())
        self._before = b","

    def finish(self) -> None:
        self._file.write(b"[]\n" if self._before == b"[" else b"\n]\n")

    def close(self) -> None:
        pass


class _JsonLines:
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, detections: Detections, image_id: int | None) -> None:
        self._file.write(detections.to_json().encode() + b"\n")

    def finish(self) -> None:
        pass

    def close(self) -> None:
        pass


class _Csv:
    """One detection a row; an image without any has none. UTF-8, header first."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._rows([CSV_COLUMNS])

    def write(self, detections: Detections, image_id: int | None) -> None:
        image = _cell(detections.image)
        size = (detections.width, detections.height)
        self._rows(
            (image, *size, *one.box, one.score, one.index, one.category_id, _cell(one.label))
            for one in detections
        )

    def _rows(self, rows: Iterable[Iterable[Any]]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        self._file.write(text.getvalue().encode())

    def finish(self) -> None:
        pass

    def close(self) -> None:
        pass


class _Coco:
    """COCO's object with images, annotations (each with its score) and categories: those that are
    given and those that are found.

    ``annotations`` alone is COCO's list of results. The images wait in a second temporary file,
    because both lists grow at once and only one can be at the end of the first.
    """

    def __init__(self, file: IO[bytes], categories: Iterable[Category] = ()) -> None:
        self._file = file
        self._images = tempfile.TemporaryFile()  # noqa: SIM115 (closed by close)
        self._categories = {one.category_id: one.label for one in categories}
        self._written = 0
        self._found = 0
        self._file.write(b'{"annotations":[')

    def write(self, detections: Detections, image_id: int | None) -> None:
        self._written += 1
        image_id = self._written if image_id is None else image_id
        row = {
            "id": image_id,
            "file_name": detections.image,
            "width": detections.width,
            "height": detections.height,
        }
        self._images.write((b"," if self._written > 1 else b"") + b"\n" + _json(row))
        for result in detections.to_coco(image_id):
            self._found += 1
            _, _, width, height = result["bbox"]
            annotation = {"id": self._found, **result, "area": width * height, "iscrowd": 0}
            self._file.write((b"," if self._found > 1 else b"") + b"\n" + _json(annotation))
        self._categories.update(
            zip(detections.category_ids.tolist(), detections.labels, strict=True)
        )

    def finish(self) -> None:
        self._file.write(b'\n],\n"images":[')
        self._images.seek(0)
        while block := self._images.read(1 << 20):
            self._file.write(block)
        categories = [{"id": key, "name": name} for key, name in sorted(self._categories.items())]
        self._file.write(b'\n],\n"categories":' + _json(categories) + b"}\n")

    def close(self) -> None:
        with contextlib.suppress(OSError):  # of a full disk, on which the write has failed already
            self._images.close()


_STREAMS: Final[dict[str, Callable[[IO[bytes]], _Form]]] = {
    ".json": _Json,
    ".jsonl": _JsonLines,
    ".csv": _Csv,
    ".coco.json": _Coco,
}
_SINGLES: Final[dict[str, Callable[[Detections], str]]] = {".txt": yolo, ".xml": voc}
_PICTURES: Final = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}

STREAM_EXTENSIONS: Final = tuple(_STREAMS)
IMAGE_EXTENSIONS: Final = tuple(_PICTURES)
EXTENSIONS: Final = (*_STREAMS, *_SINGLES, *_PICTURES)
"""All that :func:`save` knows."""


def _picture(detections: Detections, source: Any, extension: str, score_threshold: float) -> bytes:
    form = _PICTURES[extension]
    buffer = io.BytesIO()
    drawn = detections.draw(source, score_threshold=score_threshold)
    try:
        drawn.save(buffer, form, **({} if form == "PNG" else {"quality": 92}))
    except (ValueError, OSError) as error:
        raise UsageError(
            f"a picture of {drawn.width}×{drawn.height} pixels cannot be a {extension} ({error}); "
            "use .png"
        ) from error
    return buffer.getvalue()


def _cell(text: str) -> str:
    """A cell that no spreadsheet runs: ' before what would begin a formula. Always one line."""
    line = _CONTROL.sub(
        lambda found: found[0].encode("unicode_escape").decode(), printable_utf8(text)
    )
    return f"'{line}" if line.startswith(_FORMULA) else line


def _json(value: Any) -> bytes:
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()

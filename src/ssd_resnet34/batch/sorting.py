"""Any number of inputs in order and each once, in bounded memory: sorted runs on disk, merged."""

import heapq
import json
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from operator import itemgetter
from typing import IO, Any, Final, NamedTuple

from ..errors import OutputError


class Input(NamedTuple):
    """One input as it was planned; size (bytes) and etag are None where the source has none."""

    uri: str
    size: int | None = None
    etag: str | None = None


RUN: Final = 100_000
"""Inputs sorted in memory at a time, about 40 MB."""

FAN: Final = 64
"""Runs that lie open at a time: more are merged into one, since a process may open 1024 files."""

_URI: Final = itemgetter(0)


class Sorting:
    """Iterates over ``inputs`` by URI (order of code points), each URI once.

    ``repeats`` counts, after that, what was left out; of equal URIs the first one stays.

    Raises (iterating):
        OutputError: the folder for temporary files is full, or there is none.
    """

    def __init__(self, inputs: Iterable[Input], run: int = RUN) -> None:
        self._inputs, self._run = inputs, run
        self.repeats = 0

    def __iter__(self) -> Iterator[Input]:
        runs: list[IO[bytes]] = []
        try:
            held: list[Input] = []
            for one in self._inputs:
                held.append(one)
                if len(held) == self._run:
                    held.sort(key=_URI)
                    runs.append(_spilled(held))
                    held.clear()
                if len(runs) == FAN:
                    merged = _spilled(_merged(runs))
                    _close(runs)
                    runs.append(merged)
            held.sort(key=_URI)
            last = None
            for uri, size, etag in _merged(runs, held):
                if uri == last:
                    self.repeats += 1
                    continue
                last = uri
                yield Input(uri, size, etag)
        finally:
            _close(runs)


def _spilled(inputs: Iterable[Any]) -> IO[bytes]:
    try:
        with ExitStack() as opened:
            file = opened.enter_context(tempfile.TemporaryFile())
            for one in inputs:
                file.write(json.dumps(one).encode() + b"\n")
            file.seek(0)
            opened.pop_all()  # closed by _close
    except OSError as error:
        raise OutputError(
            f"{tempfile.tempdir or 'temporary files'}: cannot be written "
            f"({error.strerror or error}), and inputs are sorted there; free space, or name "
            "another folder by TMPDIR"
        ) from error
    return file


def _merged(runs: list[IO[bytes]], *more: Iterable[Any]) -> Iterator[Any]:
    """By URI; of equal ones those of earlier runs first."""
    return heapq.merge(*(map(json.loads, file) for file in runs), *more, key=_URI)


def _close(runs: list[IO[bytes]]) -> None:
    while runs:
        runs.pop().close()

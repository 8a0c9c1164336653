"""``furiosa.runtime.profiler``: spans of the program and of every run, as a trace or a table."""

import itertools
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from enum import Flag, IntEnum
from os import PathLike
from types import TracebackType
from typing import IO, Any, Final, Self

from ssd_resnet34.errors import MissingExtra
from ssd_resnet34.files import replacing

__all__ = ["RecordFormat", "Resource", "profile"]

_PERCENTILES: Final = (0.9, 0.95, 0.97, 0.99, 0.999)


class Resource(Flag):
    """What is recorded. There is no NPU here: ``ALL`` is the CPU."""

    CPU = 1
    NPU = 2
    ALL = 3
    All = 3


class RecordFormat(IntEnum):
    """What a profile is written as."""

    ChromeTrace = 0
    PandasDataFrame = 1


@dataclass(frozen=True)
class Span:
    """A stretch of time of one thread, nanoseconds of a monotonic clock."""

    trace_id: int
    span_id: int
    name: str
    thread: int
    start: int
    end: int


_ACTIVE: Final[list["profile"]] = []
_LOCK: Final = threading.Lock()
_NUMBERS: Final = itertools.count(1)


def note(name: str, began: int) -> None:
    """Record a span from ``began`` (``time.perf_counter_ns``) to now, in every open profile."""
    ended = time.perf_counter_ns()
    with _LOCK:
        for one in _ACTIVE:
            one._add(name, began, ended)


class profile:  # noqa: N801  # the vendor's name
    """A context manager that records; see :meth:`record` for spans of your own.

    Args:
        resource: CPU or ALL; NPU alone has nothing to record.
        format: ``ChromeTrace`` writes JSON (chrome://tracing) when the context ends;
            ``PandasDataFrame`` gives tables, and needs pandas.
        file: text file for the trace, default stdout.

    Raises:
        ValueError: NPU alone, an unknown format, or a ``file`` for tables.
    """

    def __init__(
        self,
        resource: Resource = Resource.ALL,
        format: RecordFormat = RecordFormat.ChromeTrace,
        file: IO[str] | None = None,
    ) -> None:
        if Resource.CPU not in resource:
            raise ValueError("resource: no NPU is here to be recorded; use Resource.CPU or ALL")
        self.resource, self.format = resource, RecordFormat(format)
        if file is not None and self.format is not RecordFormat.ChromeTrace:
            raise ValueError("file: only for ChromeTrace; tables come from get_pandas_dataframe()")
        self._file = file
        self._spans: list[Span] = []
        self._trace = next(_NUMBERS)
        self._paused = False

    def __enter__(self) -> Self:
        with _LOCK:
            _ACTIVE.append(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with _LOCK, suppress(ValueError):
            _ACTIVE.remove(self)
        if self.format is RecordFormat.ChromeTrace:
            print(json.dumps(self._events()), file=self._file or sys.stdout)

    def pause(self) -> None:
        """Record nothing until :meth:`resume`."""
        self._paused = True

    def resume(self) -> None:
        """Record again."""
        self._paused = False

    @contextmanager
    def record(self, name: str = "", warm_up: bool = False) -> Iterator[None]:
        """A span of this name; with ``warm_up`` nothing inside is recorded."""
        began, paused = time.perf_counter_ns(), self._paused
        self._paused = paused or warm_up
        try:
            yield
        finally:
            self._paused = paused
            if not warm_up:
                with _LOCK:
                    self._add(name, began, time.perf_counter_ns())

    def _add(self, name: str, began: int, ended: int) -> None:
        if not self._paused:
            thread = threading.get_ident()
            self._spans.append(Span(self._trace, next(_NUMBERS), name, thread, began, ended))

    def _events(self) -> list[dict[str, Any]]:
        first = min((span.start for span in self._spans), default=0)
        return [
            {
                "name": span.name,
                "cat": "Nux",
                "ph": "X",
                "ts": (span.start - first) / 1000,
                "dur": (span.end - span.start) / 1000,
                "pid": os.getpid(),
                "tid": span.thread,
            }
            for span in self._spans
        ]

    def get_pandas_dataframe(self) -> Any:
        """All spans, times in ns: trace_id, span_id, name, thread.id, start, end, cat, dur.

        Raises:
            MissingExtra: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise MissingExtra("tables need pandas: pip install 'ssd-resnet34[pandas]'") from error
        columns = ["trace_id", "span_id", "name", "thread", "start", "end"]
        table = pd.DataFrame([asdict(span) for span in self._spans], columns=columns)
        table = table.rename(columns={"thread": "thread.id"})
        return table.assign(cat="Nux", dur=table["end"] - table["start"])

    def get_pandas_dataframe_with_filter(self, column: str, value: Any) -> Any:
        """The spans with that value in a column."""
        table = self.get_pandas_dataframe()
        return table[table[column] == value]

    def get_cpu_pandas_dataframe(self) -> Any:
        """The spans of the CPU: all."""
        return self.get_pandas_dataframe_with_filter("cat", "Nux")

    def get_npu_pandas_dataframe(self) -> Any:
        """The spans of an NPU: none."""
        return self.get_pandas_dataframe_with_filter("cat", "NPU")

    def print_npu_operators(self) -> None:
        """Says that there is no NPU."""
        print("No NPU operators: the network ran on the CPU or GPU.")

    def print_npu_executions(self) -> None:
        """Says that there is no NPU."""
        print("No NPU executions: the network ran on the CPU or GPU.")

    def print_external_operators(self) -> None:
        """Says that no operator is left to the CPU."""
        print("No external operators: the whole network runs in one engine.")

    def print_inferences(self) -> None:
        """The time of every run, ns."""
        table = self.get_pandas_dataframe_with_filter("name", "Inference")
        print(table[["trace_id", "span_id", "thread.id", "dur"]].to_string())

    def print_summary(self) -> None:
        """Number of runs and their times, ns."""
        times = self.get_pandas_dataframe_with_filter("name", "Inference")["dur"]
        print("=" * 48, "  Inference Results Summary", "=" * 48, sep="\n")
        print(f"{'Inference counts':<30}  : {len(times)}")
        if times.empty:
            return
        for name, value in (
            ("Min", times.min()),
            ("Max", times.max()),
            ("Mean", times.mean()),
            ("Median", times.median()),
        ):
            print(f"{f'{name} latency (ns)':<30}  : {int(value)}")
        for share in _PERCENTILES:
            name = f"{100 * share:.1f} percentile latency (ns)"
            print(f"{name:<30}  : {int(times.quantile(share))}")

    def export_chrome_trace(self, filename: str | PathLike[str]) -> None:
        """Write the trace as JSON, whole or not at all.

        Raises:
            ssd_resnet34.errors.UsageError, OutputError: it cannot be written.
        """
        with replacing(filename) as file:
            file.write(json.dumps(self._events()).encode())

"""What goes to people: one-line complaints, tables and objects on stdout, progress on stderr."""

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from textwrap import wrap
from typing import Any, Final, Literal

from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from ..vision.detections import Detections
from ..vision.images import printable as printable  # the commands take it from here
from ..wording import counted, span

EVERY: Final = 30.0
"""Seconds between two lines of progress where there is no terminal."""

_REFRESH: Final = 0.2

_WORTH_PLANNING: Final = 60.0
"""Seconds left from which on a line of progress says how many."""


def complain(message: str | Sequence[str], kind: str = "error") -> None:
    """One line on stderr, or the lines that are given; line breaks in them are escaped."""
    lines = [message] if isinstance(message, str) else message
    shown = "\n  ".join(printable(line) for line in lines)
    print(f"{kind}: {shown}", file=sys.stderr, flush=True)


def say(text: str, indent: str = "", hanging: str | None = None) -> None:
    """A paragraph on stdout in 80 columns, of words that can be copied.

    ``indent`` begins its first line, ``hanging`` (default: the same) all others.
    """
    others = indent if hanging is None else hanging
    for line in wrap(
        text,
        80,
        initial_indent=indent,
        subsequent_indent=others,
        break_long_words=False,
        break_on_hyphens=False,
    ):
        print(printable(line))


def show_table(
    headings: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    right: Iterable[int] = (),
    folding: int | None = None,
) -> None:
    """A table on stdout, as wide as the terminal.

    Only the column ``folding`` (default: the last) breaks into lines; names stay whole, so that
    they can be copied. Columns ``right`` are flush right.
    """
    numbers = set(right)
    folding = len(headings) - 1 if folding is None else folding
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for n, heading in enumerate(headings):
        justify: Literal["right", "left"] = "right" if n in numbers else "left"
        table.add_column(heading, justify=justify, overflow="fold", no_wrap=n != folding)
    for row in rows:
        table.add_row(*(printable(str(cell)) for cell in row))
    Console(markup=False, highlight=False).print(table)


def show_objects(found: Detections, title: str) -> None:
    """A picture's objects as lines on stdout."""
    objects = counted(len(found), "object")
    print(printable(f"{title}  {found.width}×{found.height}  {objects}"))
    for one in found:
        left, top, right, bottom = (round(v) for v in one.box)
        place = f"({left}, {top}) – ({right}, {bottom})"
        print(printable(f"  {one.score:5.2f}  {one.label:<16} {place}"))
    sys.stdout.flush()


class Ticker:
    """A progress bar to advance; see :func:`progress`."""

    def __init__(self, bar: Progress | None, task: Any = None) -> None:
        self._bar, self._task = bar, task

    def advance(self, amount: float = 1) -> None:
        """Move the bar on, where there is one."""
        if self._bar is not None:
            self._bar.advance(self._task, amount)


class Status:
    """How far a long run is, in its own words; see :func:`status`."""

    def __init__(self, bar: Progress | None, text: str, *, quiet: bool, every: float) -> None:
        self._bar, self._quiet, self._every = bar, quiet, every
        self._task: Any = None if bar is None else bar.add_task(text, total=None)
        self._last = time.monotonic()

    def is_due(self) -> bool:
        """Whether it is time to show more."""
        wait = self._every if self._bar is None else _REFRESH
        return time.monotonic() - self._last >= wait

    def show(self, text: str, done: float, total: int | None, *, always: bool = False) -> None:
        """Beside the bar; where there is none a line, if it is due, or ``always``."""
        if self._bar is not None:
            self._bar.update(self._task, description=text, completed=done, total=total)
        elif not (always or self.is_due()):
            return
        elif not self._quiet:
            complain(text, "progress")
        self._last = time.monotonic()


@contextmanager
def status(text: str, *, quiet: bool, every: float) -> Iterator[Status]:
    """A bar on stderr where that is a terminal, with words beside it, ``text`` first; else lines,
    one in ``every`` seconds."""
    if quiet or not sys.stderr.isatty():
        yield Status(None, text, quiet=quiet, every=every)
        return
    columns = (SpinnerColumn(), BarColumn(20), TextColumn("{task.description}", markup=False))
    console = Console(stderr=True, highlight=False, markup=False)
    with Progress(*columns, console=console, transient=True) as bar:
        yield Status(bar, text, quiet=quiet, every=every)


class _Lines(Ticker):
    """Lines about one piece of work: at most one in ``EVERY`` seconds, none at its end."""

    def __init__(self, title: str, total: int | None) -> None:
        super().__init__(None)
        self._title, self._total = title, total
        self._done = 0.0
        self._began = time.monotonic()
        self._status = Status(None, title, quiet=False, every=EVERY)

    def advance(self, amount: float = 1) -> None:
        """Say how far it is, and how many minutes are left, if it is time to."""
        self._done += amount
        if self._done != self._total:
            of = "done" if self._total is None else f"of {self._total:,}{self._left()}"
            self._status.show(f"{self._title}, {self._done:,.0f} {of}", self._done, self._total)

    def _left(self) -> str:
        if self._total is None or not 0 < self._done < self._total:
            return ""
        each = (time.monotonic() - self._began) / self._done
        left = each * (self._total - self._done)
        return f", about {span(left)} left" if left >= _WORTH_PLANNING else ""


@contextmanager
def progress(
    title: str, total: int | None, *, quiet: bool, at_end: bool = False
) -> Iterator[Ticker]:
    """A bar on stderr where that is a terminal and results do not scroll past it; lines where it is
    a file or a pipe.

    ``at_end``: there are no results before the bar is gone, so that they may share a terminal.
    """
    if not quiet and not sys.stderr.isatty():
        yield _Lines(title, total)
        return
    if quiet or (sys.stdout.isatty() and not at_end):
        yield Ticker(None)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield Ticker(bar, bar.add_task(title, total=total))

"""What goes to people: one-line complaints, tables and objects on stdout, progress on stderr."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from ..vision.detections import Detections
from ..vision.images import printable as printable  # the commands take it from here


def complain(message: str | Sequence[str], kind: str = "error") -> None:
    """One line on stderr, or the lines that are given; line breaks in them are escaped."""
    lines = [message] if isinstance(message, str) else message
    shown = "\n  ".join(printable(line) for line in lines)
    print(f"{kind}: {shown}", file=sys.stderr, flush=True)


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
    noun = "object" if len(found) == 1 else "objects"
    print(printable(f"{title}  {found.width}×{found.height}  {len(found)} {noun}"))
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


@contextmanager
def progress(
    title: str, total: int | None, *, quiet: bool, at_end: bool = False
) -> Iterator[Ticker]:
    """A bar on stderr where that is a terminal and results do not scroll past it.

    ``at_end``: there are no results before the bar is gone, so that they may share a terminal.
    """
    if quiet or not sys.stderr.isatty() or (sys.stdout.isatty() and not at_end):
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

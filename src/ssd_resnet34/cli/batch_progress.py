"""How a batch run shows itself on stderr: a bar on a terminal, a line a minute in a log."""

import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

from ..batch.manifest import Plan
from ..batch.pace import Pace
from ..batch.watching import Watcher
from ..batch.worker import Done, Ready
from .terminal import complain
from .weights_notes import note_size

EVERY: Final = 60.0
"""Seconds between two lines where there is no terminal."""

_REFRESH: Final = 0.2


class Shown(Watcher):
    """Progress of one run."""

    def __init__(self, *, quiet: bool, verbose: bool) -> None:
        self.quiet, self.verbose = quiet, verbose
        self.pace = Pace(0)
        self._found = 0
        self._last = time.monotonic()
        self._bar: Progress | None = None
        self._console = Console(stderr=True, highlight=False, markup=False)

    @classmethod
    @contextmanager
    def on_stderr(cls, *, quiet: bool, verbose: bool) -> Iterator[Self]:
        """Progress that is gone from the terminal at the end."""
        shown = cls(quiet=quiet, verbose=verbose)
        if quiet or not sys.stderr.isatty():
            yield shown
            return
        columns = (SpinnerColumn(), BarColumn(20), TextColumn("{task.description}", markup=False))
        with Progress(*columns, console=shown._console, transient=True) as bar:
            shown._bar = bar
            bar.add_task("planning", total=None)
            yield shown

    def note(self, text: str) -> None:
        """A line for people, unless quiet."""
        if not self.quiet:
            complain(text, "note")

    def planning(self) -> None:
        """One more input was found."""
        self._found += 1
        if self._due():
            self._show(f"planning: {self._found:,} inputs", None, 0)

    def begin(self, plan: Plan, ready: Ready, remaining: int) -> None:
        """The plan is made and the workers are ready; ``remaining`` inputs are left."""
        self.pace = Pace(remaining)
        if self.verbose:
            complain(
                f"{plan.count:,} inputs in {plan.shards:,} shards, manifest {plan.digest}", "plan"
            )
            complain(f"{ready.summary}; fingerprint {ready.fingerprint}", "model")
        note_size(ready.model, ready.trained_size, quiet=self.quiet)
        if remaining < plan.count:
            self.note(f"{plan.count - remaining:,} of {plan.count:,} inputs were done before")
        self._show(self.pace.line(), remaining, 0)

    def done(self, done: Done) -> None:
        """An input has its row."""
        self.pace.add(done.row.error)
        if done.row.error is not None and self.verbose:
            complain(f"{done.row.message} [{done.row.error}]", "refused")
        if self._due():
            self._show(self.pace.line(), self.pace.total, self.pace.done)

    def counted(self, rows: int, errors: Counter[str]) -> None:
        """``rows`` came at once, with these errors among them."""
        for code in errors.elements():
            self.pace.add(code)
        for _ in range(rows - errors.total()):
            self.pace.add()
        if self._due():
            self._show(self.pace.line(), self.pace.total, self.pace.done)

    def committed(self, shard: int) -> None:
        """A shard lies under its name."""
        if self.verbose:
            complain(f"shard {shard:,}; {self.pace.line()}", "committed")

    def _due(self) -> bool:
        now = time.monotonic()
        if now - self._last < (EVERY if self._bar is None else _REFRESH):
            return False
        self._last = now
        return True

    def _show(self, text: str, total: int | None, done: int) -> None:
        if self._bar is not None:
            (task,) = self._bar.task_ids
            self._bar.update(task, description=text, total=total, completed=done)
        elif not self.quiet and done:
            complain(text, "progress")

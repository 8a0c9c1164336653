"""How a batch run shows itself on stderr: a bar on a terminal, a line a minute in a log."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Final, Self

from ..batch.manifest import Plan
from ..batch.pace import Pace
from ..batch.watching import Watcher
from ..batch.worker import Done, Ready
from .terminal import Status, complain, status
from .weights_notes import note_size

EVERY: Final = 60.0
"""Seconds between two lines where there is no terminal."""


class Shown(Watcher):
    """Progress of one run."""

    def __init__(self, status: Status, *, quiet: bool, verbose: bool) -> None:
        self.quiet, self.verbose = quiet, verbose
        self.pace = Pace(0)
        self._found = 0
        self._begun = self._kept = False
        self._status = status

    @classmethod
    @contextmanager
    def on_stderr(cls, *, quiet: bool, verbose: bool) -> Iterator[Self]:
        """Progress that is gone from the terminal at the end."""
        with status("planning", quiet=quiet, every=EVERY) as found:
            yield cls(found, quiet=quiet, verbose=verbose)

    def note(self, text: str) -> None:
        """A line for people, unless quiet."""
        if not self.quiet:
            complain(text, "note")

    def planning(self) -> None:
        """One more input was found."""
        self._found += 1
        if self._status.is_due():
            self._status.show(f"planning: {self._found:,} inputs", 0, None)

    def known(self, plan: Plan, made: datetime | None) -> None:
        """A plan that was there is followed, whatever the source holds now."""
        when = "an earlier run" if made is None else f"{made:%Y-%m-%d %H:%M}"
        self.note(
            f"follows the plan of {when}, of {plan.count:,} inputs; files added since are not in "
            "it: name another output for them"
        )

    def begin(self, plan: Plan, ready: Ready, remaining: int) -> None:
        """The plan is made and the workers are ready; ``remaining`` inputs are left."""
        self.pace = Pace(remaining)
        self._begun, self._kept = True, remaining < plan.count
        if self.verbose:
            complain(
                f"{plan.count:,} inputs in {plan.shards:,} shards, manifest {plan.digest}", "plan"
            )
            complain(f"{ready.summary}; fingerprint {ready.fingerprint}", "model")
        note_size(ready.model, ready.trained_size, quiet=self.quiet)
        if remaining < plan.count:
            self.note(f"{plan.count - remaining:,} of {plan.count:,} inputs were done before")
        self._status.show(self.pace.line(), 0, remaining)

    def done(self, done: Done) -> None:
        """An input has its row."""
        self.pace.add(done.row.error)
        if done.row.error is not None and self.verbose:
            complain(f"{done.row.message} [{done.row.error}]", "refused")
        self._tell()

    def counted(self, rows: int, errors: Counter[str]) -> None:
        """``rows`` came at once, with these errors among them."""
        for code in errors.elements():
            self.pace.add(code)
        for _ in range(rows - errors.total()):
            self.pace.add()
        self._tell()

    def committed(self, shard: int) -> None:
        """A shard lies under its name."""
        self._kept = True
        if self.verbose:
            complain(f"shard {shard:,}; {self.pace.line()}", "committed")

    @property
    def stopped(self) -> str:
        """What a run that is stopped now leaves to the next."""
        if not self._begun:
            return "stopped before the first image: run the same command again"
        if not self._kept:
            return (
                "stopped before the first shard was complete, so nothing was committed: the same "
                "command begins again"
            )
        return "stopped; what was committed stays: run the same command again to go on"

    def _tell(self) -> None:
        if self._status.is_due():
            self._status.show(self.pace.line(), self.pace.done, self.pace.total)

"""How far ``bench`` is: a bar for each configuration on a terminal, lines elsewhere."""

import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Self

from .terminal import Ticker, complain, progress


class Shown:
    """One part of the run on stderr: it has so many turns of so many steps. A context manager.

    ``on_first`` gets the seconds to the end of the very first step.
    """

    def __init__(
        self,
        part: str,
        turns: int,
        steps: int,
        *,
        quiet: bool,
        on_first: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._part, self._turns, self._steps, self._quiet = part, turns, steps, quiet
        self._on_first: Callable[[float], None] | None = on_first
        self._stack = ExitStack()
        self._ticker = Ticker(None)
        self._turn = 0
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def begin(self, name: str) -> None:
        """The turn of ``name`` begins."""
        self._stack.close()  # the bar of the turn before
        self._turn += 1
        self._began = time.monotonic()
        count = f" {self._turn} of {self._turns}" if self._turns > 1 else ""
        text = f"{self._part}{count}: {name}"
        self._ticker = self._stack.enter_context(
            progress(text, self._steps, quiet=self._quiet, at_end=True)
        )
        if not self._quiet and not sys.stderr.isatty():
            complain(text, "progress")

    def advance(self) -> None:
        """A step is done."""
        if self._on_first is not None:
            self._on_first(time.monotonic() - self._began)
            self._on_first = None
        self._ticker.advance()

"""What a run tells to whoever watches it."""

from collections import Counter
from datetime import datetime

from .manifest import Plan
from .worker import Done, Ready


class Watcher:
    """What a run tells while it goes; every method may be overridden."""

    def note(self, text: str) -> None:
        """A line worth reading."""

    def planning(self) -> None:
        """One more input was found."""

    def known(self, plan: Plan, made: datetime | None) -> None:
        """This plan was there and is followed; when it was made, where the place says so."""

    def begin(self, plan: Plan, ready: Ready, remaining: int) -> None:
        """Workers are ready; ``remaining`` inputs have no committed row."""

    def done(self, done: Done) -> None:
        """One more input has a row."""

    def counted(self, rows: int, errors: Counter[str]) -> None:
        """So many inputs have their rows, made on another machine; codes of those refused."""

    def committed(self, shard: int) -> None:
        """A shard is safe."""

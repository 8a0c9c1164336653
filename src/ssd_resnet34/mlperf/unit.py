"""What a result is divided by: the physical cores that a session fills, or its accelerator."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from ..wording import counted
from .job import Facts
from .published import Kind


@dataclass(frozen=True)
class Unit:
    """``count`` of them; ``note`` says how they were counted where that is not certain."""

    kind: Kind
    count: int
    note: str = ""

    def __str__(self) -> str:
        return counted(self.count, self.kind)


def of(facts: Facts, root: Path = Path("/")) -> Unit:
    """The unit of a session. ``root`` holds ``sys``."""
    if facts.device != "cpu":
        return Unit("accelerator", 1)
    threads = facts.threads * facts.streams
    cores = physical_cores(root)
    if cores is None:
        return Unit("core", threads, "a thread counts as a core, since the system does not tell")
    return Unit("core", min(cores, threads))


def physical_cores(root: Path = Path("/")) -> int | None:
    """Cores behind the logical CPUs that this process may use; None where Linux does not tell."""
    if not hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return None
    siblings = set()
    for number in os.sched_getaffinity(0):
        place = root / f"sys/devices/system/cpu/cpu{number}/topology/thread_siblings_list"
        with contextlib.suppress(OSError):
            siblings.add(place.read_text().strip())
    return len(siblings) or None

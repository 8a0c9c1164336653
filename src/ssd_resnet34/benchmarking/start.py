"""Starting: ``detect`` on one image in fresh processes, with an empty cache and with its own."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

from ..errors import SessionError, SSDResNet34Error
from ..weights import store
from ..weights.records import EMBEDDED, RECORDS

RUNS: Final = 5
"""At most so many of each: a start takes seconds, and does not vary like a network's run."""


@dataclass(frozen=True)
class Start:
    """Median seconds from the call to the end, and the highest memory, megabytes (10⁶ bytes).

    ``cold`` starts with an empty cache folder, ``warm`` with the one that the cold start filled;
    the system's own file cache is warm in both. Memory is None where the system does not tell.
    """

    name: str
    cold_seconds: float | None = None
    warm_seconds: float | None = None
    cold_peak_mb: float | None = None
    warm_peak_mb: float | None = None
    runs: int = 0
    fault: str = ""


def command(
    weights: str,
    picture: str | Path,
    *,
    engine: str = "auto",
    precision: str = "auto",
    device: str = "cpu",
    threads: int | None = None,
) -> list[str]:
    """``ssd-resnet34 detect`` of one picture in this Python.

    A record's file is named by its path, since a cold start's cache folder has no downloads.
    """
    if weights in RECORDS and weights != EMBEDDED:
        weights = str(store.path(weights))
    words = [sys.executable, "-m", "ssd_resnet34", "detect", str(picture), "--quiet", "--json"]
    words += ["--weights", weights, "--engine", engine, "--precision", precision]
    words += ["--device", device]
    return words if threads is None else [*words, "--threads", str(threads)]


def measure(
    name: str, words: Sequence[str], runs: int = RUNS, *, on_run: Callable[[], None] = lambda: None
) -> Start:
    """Start the command ``runs`` times cold, each followed by once warm.

    A command that fails is a result that says so.
    """
    cold: list[dict[str, Any]] = []
    warm: list[dict[str, Any]] = []
    try:
        for _ in range(runs):
            with tempfile.TemporaryDirectory(prefix="ssd-resnet34-") as folder:
                for found in (cold, warm):
                    found.append(launched(words, folder))
                    on_run()
    except SSDResNet34Error as error:
        return Start(name, fault=str(error))
    return Start(
        name,
        median(one["seconds"] for one in cold),
        median(one["seconds"] for one in warm),
        _peak(cold),
        _peak(warm),
        runs,
    )


def launched(words: Sequence[str], cache: str) -> dict[str, Any]:
    """One run of a command with that cache folder: ``seconds``, ``peak`` (bytes or None).

    Raises:
        SessionError: it fails; says its last words.
    """
    launcher = Path(__file__).with_name("launch.py")
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(launcher), *words],
        env={**os.environ, store.CACHE_VARIABLE: cache},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SessionError(f"{words[0]} cannot be started: {_last_line(done.stderr)}")
    found: dict[str, Any] = json.loads(done.stdout)
    if found["code"]:
        raise SessionError(
            f"`{' '.join(words[2:5])} …` ended with code {found['code']}: "
            f"{_last_line(found['stderr'])}"
        )
    return found


def _peak(found: Sequence[dict[str, Any]]) -> float | None:
    peaks = [one["peak"] for one in found if one["peak"] is not None]
    return max(peaks) / 1e6 if peaks else None


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it said nothing"])[-1]

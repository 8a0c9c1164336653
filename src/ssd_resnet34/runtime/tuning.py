"""Threads, streams and batch of a stream: the usual ones, and those that were measured here."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Final

from . import cpu
from .cache import Cache
from .engines import Engine

_METHOD: Final = 1
"""Raise this when the measurement or its meaning changes: older ones then do not count."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """CPU threads of a run (on a GPU: that decode), runs at the same time, and images that a
    stream hands over at once."""

    threads: int
    streams: int
    batch: int


def usual(device: str) -> Tuning:
    """Where nothing was measured.

    On a CPU one run has all threads: a second stream gained nothing on the machines this project
    has measured (docs/speed.md). On a GPU one call uploads and selects while the network runs for
    another, 16 images at a time: a guess that wants ``bench --tune``.
    """
    threads = cpu.available_threads()
    return Tuning(threads, 1, 1) if device == "cpu" else Tuning(threads, 2, 16)


def key(engine: Engine, sha256: str, precision: str, device: str) -> dict[str, str | int]:
    """What a measurement holds for: artifact, engine and version, precision, CPU, threads, GPU."""
    name = getattr(engine, "device_name", None)
    return {
        "what": "tuning",
        "method": _METHOD,
        "sha256": sha256,
        "engine": engine.name,
        "version": str(getattr(engine, "version", "")),
        "precision": precision,
        "cpu": cpu.identity(),
        "threads": cpu.available_threads(),
        "device": device,
        "gpu": name(device) if callable(name) and device != "cpu" else "",
    }


def recall(store: Cache, key: Mapping[str, str | int]) -> Tuning | None:
    """What :func:`remember` was given for this key, or None."""
    found = store.load(**key)
    return None if found is None else Tuning(**json.loads(found))


def remember(store: Cache, key: Mapping[str, str | int], found: Tuning) -> None:
    """Keep a measurement; later sessions of the same key use it."""
    store.store(json.dumps(asdict(found)).encode(), **key)


def text(found: Tuning) -> str:
    """``threads 2, streams 1, batch 1``."""
    return ", ".join(f"{one.name} {getattr(found, one.name)}" for one in fields(found))

"""Which models and settings the rows of a place were made with: one, unless mixing is asked for."""

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from ..errors import OutputError, SettingsConflict
from .place import Place
from .worker import Ready

FOLDER: Final = "_run"
"""Holds a file for each fingerprint: what it was made of."""


def record(place: Place, ready: Ready) -> None:
    """Keep what a fingerprint stands for, before any row has it."""
    place.write(f"{FOLDER}/{ready.fingerprint}.json", ready.facts.encode())


def recorded(place: Place) -> dict[str, Mapping[str, Any]]:
    """Fingerprint -> facts of all runs in a place; what is damaged is left out."""
    found: dict[str, Mapping[str, Any]] = {}
    for name in place.names(FOLDER):
        if name.endswith(".json"):
            with suppress(FileNotFoundError, ValueError, RecursionError):
                facts = json.loads(place.read(f"{FOLDER}/{name}"))
                if isinstance(facts, dict) and _are_words(facts.get("labels")):
                    found[name.removesuffix(".json")] = facts
    return found


def _are_words(labels: Any) -> bool:
    return isinstance(labels, list) and all(isinstance(one, str) for one in labels)


def check(place: Place, ready: Ready, force: bool) -> None:
    """Refuse another model's run even before it committed anything.

    Raises:
        SettingsConflict: only other models are recorded, without ``force``.
    """
    known = recorded(place)
    if not force and known and ready.fingerprint not in known:
        raise conflict(place, next(iter(known)), ready)


def conflict(place: Place, other: str, ready: Ready) -> SettingsConflict:
    """The refusal of rows of another fingerprint, with what differs where that is known."""
    differences = "another model or threshold"
    with suppress(OutputError):
        was = _flat(recorded(place).get(other, {}))
        now = _flat(json.loads(ready.facts))
        if was:
            differences = ", ".join(
                f"{name} {_short(was.get(name))}, not {_short(value)}"
                for name, value in now.items()
                if was.get(name) != value
            )
    return SettingsConflict(
        f"{place.name}: has rows made with {differences}; use the same, name another output, or "
        "--force to mix them"
    )


def _flat(facts: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in facts.items():
        flat.update(value if isinstance(value, dict) else {name: value})
    return flat


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 24 else f"{text[:20]}…"

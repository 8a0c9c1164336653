"""What ``eval --explain`` says on the terminal and to machines: causes, and which of them fit."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from ..evaluation import page
from ..evaluation.bootstrap import CONFIDENCE, Interval
from ..evaluation.coco import UNDEFINED
from ..evaluation.explaining import FELT, SAME, Diagnosis, Effect, Explanation, Suspect
from ..wording import counted
from .terminal import say, show_table

_DETAILED: Final = 5
"""Suspects that have their explanation beside them; further ones are named."""

_NAMED: Final = 8
"""Names in a list before it says how many more there are; --json has all."""


def describe(explanation: Explanation, diagnosis: Diagnosis | None = None) -> dict[str, Any]:
    """Plain values for JSON."""
    return {
        "as_it_is": _effect(explanation.base),
        "confidence": CONFIDENCE,
        "causes": [_effect(one) for one in explanation.effects],
        "not_tried": dict(explanation.skipped),
        "diagnosis": None if diagnosis is None else _diagnosis(diagnosis),
    }


def _effect(effect: Effect) -> dict[str, Any]:
    return {
        "causes": [
            {"key": one.key, "name": one.name, "kind": one.kind, "what": one.what, "mend": one.mend}
            for one in effect.causes
        ],
        "AP": effect.ap,
        "AP50": effect.ap50,
        "interval": None if effect.interval.low == UNDEFINED else asdict(effect.interval),
        "change": effect.change,
        "change_interval": None if effect.moved is None else asdict(effect.moved),
        "images": effect.images,
    }


def _diagnosis(diagnosis: Diagnosis) -> dict[str, Any]:
    def suspect(one: Suspect) -> dict[str, Any]:
        return _effect(one.effect) | {"expected": one.expected, "distance": one.distance}

    return {
        "mine": diagnosis.mine,
        "fitting": [suspect(one) for one in diagnosis.fitting],
        "possible": [suspect(one) for one in diagnosis.possible],
        "nearest": suspect(diagnosis.nearest),
        "published": [asdict(one) for one in diagnosis.published],
    }


def show(explanation: Explanation, diagnosis: Diagnosis | None = None) -> None:
    """The table of causes, largest change first, and the verdict; 80 columns of stdout."""
    base = explanation.base
    images = counted(base.images, "image")
    print(f"AP {base.ap:.3f} as it is, {images}. One thing done differently:")
    felt = [one for one in explanation.effects if abs(one.change) >= FELT]
    rows = [
        (one.name, f"{one.ap:.3f}", page.change((0, one.change)), spread(one.moved), one.images)
        for one in sorted(felt, key=lambda one: -abs(one.change))
    ]
    if rows:
        headings = ("cause", "AP", "change", f"{100 * CONFIDENCE:g} % of it", "images")
        show_table(headings, rows, right=(1, 2, 3, 4), folding=0)
    still = [one.name for one in explanation.effects if abs(one.change) < FELT]
    _say_list("No effect here: ", still, len(still))
    if any(one.sampled for one in explanation.effects):
        say("Causes at the input are measured on a sample, against the run as it is on it.")
    for key, reason in explanation.skipped.items():
        say(f"Not tried: {key}: {' '.join(reason.split())}")  # some have lines
    if diagnosis is not None:
        _show_diagnosis(explanation, diagnosis)


def spread(interval: Interval | None) -> str:
    """The interval of a change, with its signs; – where there is none."""
    if interval is None:
        return "–"
    return " to ".join(page.change((0, edge)) for edge in (interval.low, interval.high))


def _show_diagnosis(explanation: Explanation, diagnosis: Diagnosis) -> None:
    print()
    print(f"Yours is {diagnosis.mine:.3f}, this run {explanation.base.ap:.3f}.")
    if diagnosis.fitting:
        print(f"If it is of the same images, these give it to {100 * SAME:.1f} points:")
        for one in diagnosis.fitting[:_DETAILED]:
            _show_suspect(one)
        others = [one.effect.name for one in diagnosis.fitting[_DETAILED:]]
        _say_list("also ", others, indent="  ")
    else:
        nearest = diagnosis.nearest
        say(
            f"No known cause gives it, nor the pairs that were tried. The nearest is "
            f"{nearest.effect.name}: {nearest.expected:.3f}."
        )
    if diagnosis.possible:
        points = 100 * explanation.base.interval.width / 2
        _say_list(
            f"If it is of other images: {explanation.base.images} images leave AP uncertain by "
            f"{points:.1f} points, so that it may be: ",
            [f"{one.effect.name} ({one.expected:.3f})" for one in diagnosis.possible],
        )
    if diagnosis.published:
        print("Near it in print, all of COCO val2017:")
        for known in diagnosis.published[:_DETAILED]:
            say(f"{known.ap:.4f} {known.what}: {known.differs}", "  ", "         ")


def _show_suspect(suspect: Suspect) -> None:
    print(f"  {suspect.expected:.3f} {suspect.effect.name}")
    for cause in suspect.effect.causes:
        say(cause.what, "        ")
        say(f"mend: {cause.mend}", "        ")


def _say_list(beginning: str, names: Sequence[str], most: int = _NAMED, indent: str = "") -> None:
    if names:
        more = f"; and {len(names) - most} more" if len(names) > most else ""
        say(f"{beginning}{'; '.join(names[:most])}{more}.", indent)

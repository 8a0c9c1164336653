"""Why a run is not a submission, however VALID LoadGen calls it."""

from collections.abc import Sequence
from typing import Final

from ..wording import counted
from .job import Facts, Job, Ready
from .published import Kind
from .rounds import VAL2017, Scenario, get
from .settings import departures

_REFERENCE: Final = ("mlcommons", "mlcommons-pytorch", "mlcommons-tf")
"""Records that are the benchmark's own weights."""


def objections(job: Job, ready: Ready) -> list[str]:
    """What the rules of the round would object to, a phrase each."""
    chosen, total = get(job.round), len(job.images)
    found = departures(ready.settings, chosen, job.scenario, job.mode, total)
    if total not in VAL2017:
        found.append(f"{counted(total, 'image')} instead of COCO val2017's 5,000 (or 4,952)")
    if ready.facts.weights not in _REFERENCE:
        found.append(f"the weights {ready.facts.weights}, not the reference's")
    runs = chosen.rules(job.scenario).runs
    if runs > 1 and job.mode == "performance":
        found.append(f"one run, where the round wants {runs}")
    return found


def incomparable(facts: Facts, kind: Kind, scenario: Scenario) -> Sequence[str]:
    """What keeps a result from standing beside the published ones, a sentence each."""
    notes = []
    if scenario == "Server":
        notes.append("This is the rate that was asked for, not the highest that would be VALID.")
    if facts.precision != "int8":
        notes.append(f"Published results are int8, this is {facts.precision}.")
    else:
        notes.append("The rules let int8 be calibrated on the benchmark's own list of images only.")
    if kind == "core":
        notes.append("Published CPUs are whole servers; few cores share less and clock higher.")
    notes.append("Each round had its own LoadGen; this is version 6.0.17 with the round's numbers.")
    return notes

"""A strict reader of ``user.conf``.

LoadGen's own passes over in silence what it does not understand: a missing space before ``=``, an
unknown key, a scenario in lower case, a byte order mark; it reads ``7e2`` as 7, ``-7`` as 2⁶⁴ - 7
and ``7 8`` as 8. Here each of these is an error with its line.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Final

from ..errors import UsageError
from .rounds import MODEL, SCENARIOS, Scenario

_TIMED: Final[tuple[Scenario, ...]] = ("SingleStream", "MultiStream", "Server")

KEYS: Final[Mapping[str, tuple[Scenario, ...]]] = {
    "target_qps": ("Server", "Offline"),
    "target_latency": _TIMED,
    "target_latency_percentile": _TIMED,
    "samples_per_query": ("MultiStream",),
    "min_duration": SCENARIOS,
    "max_duration": SCENARIOS,
    "min_query_count": SCENARIOS,
    "max_query_count": SCENARIOS,
    "performance_sample_count_override": SCENARIOS,
}
"""What may be set, and the scenarios in which it means something. Times are milliseconds."""

EXPECTED: Final[Mapping[Scenario, str]] = {
    "SingleStream": "target_latency",
    "MultiStream": "target_latency",
    "Server": "target_qps",
    "Offline": "target_qps",
}
"""What LoadGen must be told of a system: how long a query takes, or how many a second it does."""

_FLOATS: Final = ("target_qps", "target_latency", "target_latency_percentile")

_POSITIVE: Final = (
    "target_qps",
    "target_latency",
    "target_latency_percentile",
    "samples_per_query",
)

_LINE: Final = re.compile(r"(?P<key>\S+)(?P<before>\s*)=(?P<after>\s*)(?P<value>.*)", re.DOTALL)

_FORM: Final = "write `model.Scenario.key = value`, such as `*.Offline.target_qps = 2.0`"


@dataclass(frozen=True)
class UserConf:
    """A user's settings.

    Attributes:
        path: the file, as it was named.
        text: all of it.
        values: key -> value of the scenario it was read for, as LoadGen finds them.
        others: names of other models that have lines of their own.
    """

    path: str
    text: str
    values: Mapping[str, float]
    others: tuple[str, ...]


def read(path: str | PathLike[str], scenario: Scenario) -> UserConf:
    """The settings in a file that are for this network, and for ``scenario``.

    Raises:
        UsageError: not readable; a line that LoadGen would refuse or ignore (says which); no value
            of :data:`EXPECTED` for the scenario.
    """
    name = fspath(path)
    try:
        text = Path(name).read_bytes().decode()
    except OSError as error:
        raise UsageError(
            f"{name}: cannot be read ({error.strerror or error}); name a user.conf"
        ) from error
    except ValueError as error:  # not UTF-8; a NUL in the name
        raise UsageError(f"{name}: not a text file ({error}); name a user.conf") from error
    if text.startswith("\ufeff"):
        raise UsageError(
            f"{name}, line 1: begins with a byte order mark, which hides the line from LoadGen; "
            "save it as UTF-8 without one"
        )
    found: dict[tuple[str, str, str], tuple[int, float]] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip() and not line.strip().startswith("#"):
            where = f"{name}, line {number}"
            key, value = _entry(where, line.strip())
            if key in found:
                raise UsageError(
                    f"{where}: {'.'.join(key)} is in line {found[key][0]} already; remove one"
                )
            found[key] = number, value
    values = {}
    for setting in KEYS:
        # The order in which LoadGen looks; one of another model is never asked for.
        for model, of in ((MODEL, scenario), ("*", scenario), (MODEL, "*"), ("*", "*")):
            if (model, of, setting) in found:
                values[setting] = found[model, of, setting][1]
                break
    needed = EXPECTED[scenario]
    if needed not in values:
        raise UsageError(
            f"{name}: no {needed} for {scenario}; add a line `*.{scenario}.{needed} = …` "
            f"({'milliseconds of a query' if needed == 'target_latency' else 'samples a second'}), "
            "or leave out --user-conf to have it measured"
        )
    others = sorted({model for model, _, _ in found} - {MODEL, "*"})
    return UserConf(name, text, values, tuple(others))


def _entry(where: str, line: str) -> tuple[tuple[str, str, str], float]:
    """(model, scenario, key) and the value of one line."""
    parts = _LINE.fullmatch(line)
    if parts is None or not parts["value"]:
        raise UsageError(f"{where}: {line!r:.60} is no setting; {_FORM}")
    if not parts["before"] or not parts["after"]:
        raise UsageError(
            f"{where}: no space {'after' if parts['before'] else 'before'} `=`, so LoadGen would "
            f"not read it; {_FORM}"
        )
    names = parts["key"].split(".")
    if len(names) != 3:
        raise UsageError(f"{where}: {parts['key']} is not model.Scenario.key; {_FORM}")
    model, scenario, key = names
    if model not in (MODEL, "*"):  # of another network: its keys are not ours to judge
        return (model, scenario, key), 0.0
    if scenario not in (*SCENARIOS, "*"):
        raise UsageError(
            f"{where}: {scenario!r} is no scenario; use *, {', '.join(SCENARIOS)}, in these letters"
        )
    if key not in KEYS:
        hint = "the seeds are the round's" if key.endswith("_seed") else f"use {', '.join(KEYS)}"
        raise UsageError(f"{where}: {key} cannot be set; {hint}")
    if scenario != "*" and scenario not in KEYS[key]:
        raise UsageError(
            f"{where}: {key} means nothing in {scenario}, only in {', '.join(KEYS[key])}; remove it"
        )
    return (model, scenario, key), _value(where, key, parts["value"])


def _value(where: str, key: str, text: str) -> float:
    number, *rest = text.split()
    if rest:
        mend = "put the comment on a line of its own" if rest[0].startswith("#") else "remove it"
        raise UsageError(
            f"{where}: {' '.join(rest)!r:.40} after the value, on which LoadGen refuses or "
            f"misreads the file; {mend}"
        )
    kind = "a number" if key in _FLOATS else "a whole number"
    pattern = r"\d+(\.\d*)?|\.\d+" if key in _FLOATS else r"\d+"
    if not re.fullmatch(pattern, number, re.ASCII) or not math.isfinite(float(number)):
        raise UsageError(
            f"{where}: {key} is {number!r:.40}; give {kind} from 0 in plain digits, since LoadGen "
            "reads other forms wrongly"
        )
    value = float(number)
    if key in _POSITIVE and value == 0:
        raise UsageError(f"{where}: {key} is 0; give {kind} above 0")
    if key == "target_latency_percentile" and not value < 100:
        raise UsageError(f"{where}: {key} is {number}; give percent below 100")
    if value >= 2**63:
        raise UsageError(f"{where}: {key} is {number:.40}, beyond LoadGen's numbers; give less")
    return value

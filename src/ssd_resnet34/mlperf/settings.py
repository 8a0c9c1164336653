"""What LoadGen is told: the round's rules, what ``--quick`` relaxes, and the user's numbers.

Each layer is a file in LoadGen's own form, read by LoadGen one after the other, so that a later
one wins; what is shown is read back from LoadGen. Its embedded configuration is never used: it no
longer has this network, whose Server limit would become 10 ms.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from ..errors import LoadGenError
from ..files import told
from ..wording import counted
from .rounds import MODEL, SAMPLES, Round, Scenario, configuration
from .user_conf import UserConf

Mode = Literal["performance", "accuracy"]

ROUND_FILE: Final = "mlperf.conf"
QUICK_FILE: Final = "quick.conf"
USER_FILE: Final = "user.conf"

_FILE_ALONE: Final = 2
"""``FromConfig``'s conf_type that reads the given file and nothing else (any but 0 and 1)."""

_MILLION: Final = 1e6

_UNLIKELY: Final = 987_654_321

_ATTRIBUTES: Final[Mapping[Scenario, Mapping[str, tuple[str, float]]]] = {
    "SingleStream": {
        "target_latency": ("single_stream_expected_latency_ns", _MILLION),
        "target_latency_percentile": ("single_stream_target_latency_percentile", 0.01),
    },
    "MultiStream": {
        "target_latency": ("multi_stream_expected_latency_ns", _MILLION),
        "target_latency_percentile": ("multi_stream_target_latency_percentile", 0.01),
        "samples_per_query": ("multi_stream_samples_per_query", 1),
    },
    "Server": {
        "target_qps": ("server_target_qps", 1),
        "target_latency": ("server_target_latency_ns", _MILLION),
        "target_latency_percentile": ("server_target_latency_percentile", 0.01),
    },
    "Offline": {"target_qps": ("offline_expected_qps", 1)},
}
"""Key of a configuration file -> LoadGen's attribute, and what multiplies the key's value."""

_COMMON: Final[Mapping[str, tuple[str, float]]] = {
    "min_query_count": ("min_query_count", 1),
    "max_query_count": ("max_query_count", 1),
    "min_duration": ("min_duration_ms", 1),
    "max_duration": ("max_duration_ms", 1),
    "performance_sample_count_override": ("performance_sample_count_override", 1),
}


_UNITS: Final = {
    "min_duration": "ms",
    "max_duration": "ms",
    "target_latency": "ms",
    "target_latency_percentile": "%",
    "target_qps": "1/s",
}


@dataclass(frozen=True)
class Measured:
    """The system before the run, on a blank picture: seconds of one sample alone, samples a
    second with all threads at work."""

    latency: float
    rate: float


@dataclass(frozen=True)
class Layer:
    """A configuration file, and where its values come from, in words."""

    file: str
    origin: str
    text: str


@dataclass(frozen=True)
class Setting:
    """A value that LoadGen holds, in the units of configuration files (times: milliseconds)."""

    key: str
    value: float
    origin: str

    @property
    def unit(self) -> str:
        """Of the value; empty for a count."""
        return _UNITS.get(self.key, "")

    def to_dict(self) -> dict[str, Any]:
        """For JSON, with its unit; counts and whole milliseconds are integers."""
        value = int(self.value) if self.value == int(self.value) else self.value
        return {"key": self.key, "value": value, "unit": self.unit, "origin": self.origin}


def layers(
    chosen: Round, scenario: Scenario, measured: Measured, *, quick: bool, user: UserConf | None
) -> tuple[Layer, ...]:
    """The files that LoadGen reads, in order."""
    found = [Layer(ROUND_FILE, f"rules of {chosen.name}", configuration(chosen))]
    if quick:
        found.append(Layer(QUICK_FILE, "--quick", _relaxed(measured)))
    if user is None:
        samples = 2 if quick else 8
        part = "1.1 of" if scenario == "Offline" else "half"
        found.append(Layer(USER_FILE, f"{part} the measured", _expected(measured, samples)))
    else:
        found.append(Layer(USER_FILE, user.path, user.text))
    return tuple(found)


def _relaxed(measured: Measured) -> str:
    """As few queries as LoadGen calls sure: 64 for a 90th percentile (see the docs)."""
    limit = max(1000, round(20_000 * measured.latency))
    return f"""\
# --quick: nothing that runs with these is a result by the rules.
*.*.min_duration = 0
*.*.min_query_count = 64
*.MultiStream.target_latency_percentile = 90
*.MultiStream.samples_per_query = 2
*.Server.target_latency_percentile = 90
*.Server.target_latency = {limit}
*.Offline.min_query_count = 32
"""


def _expected(measured: Measured, samples: int) -> str:
    """Half the measured latencies, since LoadGen prepares no more queries than they make likely;
    half the rate for Server, where queries come at random; a little more than it for Offline, whose
    one query must last long enough."""
    latency, query = 500 * measured.latency, 500 * samples / measured.rate
    return f"""\
# Measured before the run: {measured.latency:.4f} s a sample alone, {measured.rate:.3f} samples/s.
*.SingleStream.target_latency = {latency:.6f}
*.MultiStream.target_latency = {query:.6f}
*.Server.target_qps = {0.5 * measured.rate:.6f}
*.Offline.target_qps = {1.1 * measured.rate:.6f}
"""


def write(found: Sequence[Layer], folder: Path) -> None:
    """Put the files there.

    Raises:
        OutputError: a full disk.
    """
    for layer in found:
        with told(str(folder / layer.file)):
            (folder / layer.file).write_bytes(layer.text.encode())


def apply(
    target: Any, found: Sequence[Layer], folder: Path, chosen: Round, scenario: Scenario
) -> tuple[Setting, ...]:
    """Have LoadGen read the files in ``folder`` into its ``TestSettings``, and set the seeds.

    Returns:
        What it then holds of all that configuration files can set.

    Raises:
        LoadGenError: it refuses a file.
    """
    attributes = {**_ATTRIBUTES[scenario], **_COMMON}
    origins = dict.fromkeys(attributes, "LoadGen")
    for layer in found:
        probe = type(target)()  # shows what the file sets, even to a value that was there already
        for name, _ in attributes.values():
            setattr(probe, name, _UNLIKELY)
        for settings in (probe, target):
            answer = settings.FromConfig(str(folder / layer.file), MODEL, scenario, _FILE_ALONE)
            if answer != 0:
                raise LoadGenError(
                    f"{folder / layer.file}: LoadGen refuses it with code {answer}; free space "
                    "there, or report it with the file"
                )
        for key, (name, _) in attributes.items():
            if getattr(probe, name) != _UNLIKELY:
                origins[key] = layer.origin
    for name, seed in chosen.seeds.items():
        setattr(target, name, seed)
    return tuple(
        Setting(key, round(getattr(target, name) / factor, 6), origins[key])
        for key, (name, factor) in attributes.items()
    )


def value_of(settings: Sequence[Setting], key: str) -> float:
    """The value of a key; 0, which is none, where the scenario does not know it."""
    return next((one.value for one in settings if one.key == key), 0.0)


def extent(
    settings: Sequence[Setting], scenario: Scenario, mode: Mode, total: int, measured: Measured
) -> tuple[int, float]:
    """How many samples a run will have and how many seconds it will take, as far as that can be
    known before it."""
    queries = int(value_of(settings, "min_query_count"))
    seconds = value_of(settings, "min_duration") / 1000
    asked = value_of(settings, "target_qps")
    each = max(1, int(value_of(settings, "samples_per_query")))
    rates = {"SingleStream": 1 / measured.latency, "Server": asked}
    rate = rates.get(scenario, measured.rate)
    if mode == "accuracy":
        samples = -(-total // each) * each
    elif scenario == "Offline":
        samples = max(queries, round(1.1 * seconds * asked))
    else:
        samples = max(queries * each, round(seconds * rate))
    return samples, samples / rate


def departures(
    settings: Sequence[Setting], chosen: Round, scenario: Scenario, mode: Mode, total: int
) -> list[str]:
    """How the settings are easier than the round's rules, a phrase each."""
    rules = chosen.rules(scenario)
    found = []
    kept = min(total, int(value_of(settings, "performance_sample_count_override")) or total)
    if kept < SAMPLES:
        found.append(f"{counted(kept, 'image')} in memory instead of {SAMPLES}")
    if mode == "accuracy":  # visits every image once, whatever the counts say
        return found
    seconds = value_of(settings, "min_duration") / 1000
    if seconds < chosen.min_duration:
        found.append(f"at least {seconds:g} s instead of {chosen.min_duration} s")
    queries = int(value_of(settings, "min_query_count"))
    if queries < rules.min_queries and not rules.early_stopping:
        what = "samples" if scenario == "Offline" else "queries"
        found.append(f"at least {queries:,} {what} instead of {rules.min_queries:,}")
    each = int(value_of(settings, "samples_per_query")) or 1
    if each != rules.samples_per_query:
        found.append(f"{each} samples a query instead of {rules.samples_per_query}")
    if scenario != "Offline":
        percentile = value_of(settings, "target_latency_percentile")
        if percentile != rules.percentile:
            found.append(f"percentile {percentile:g} instead of {rules.percentile}")
    if rules.limit is not None:
        limit = value_of(settings, "target_latency")
        if limit > rules.limit:
            found.append(f"a latency limit of {limit:g} ms instead of {rules.limit} ms")
    return found

"""LoadGen's detail log: read whole, or refused by line.

On a full disk LoadGen writes what fits and ends as if nothing had happened, so that an end of the
log must be seen before anything in it is believed.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Final

from ..errors import LoadGenError, UsageError
from .loadgen import ACCURACY, DETAIL
from .rounds import Round, Scenario
from .settings import Mode

_MARK: Final = ":::MLLOG "

_LAST: Final[Mapping[Mode, str]] = {"performance": "num_errors", "accuracy": "power_end"}
"""The key that a complete log ends with."""

_ALWAYS: Final = (
    "result_validity",
    "effective_scenario",
    "effective_performance_sample_count",
    "effective_qsl_rng_seed",
    "effective_sample_index_rng_seed",
    "effective_schedule_rng_seed",
    "effective_min_query_count",
    "effective_min_duration_ms",
    "effective_samples_per_query",
    "effective_target_latency_ns",
    "effective_target_latency_percentile",
    "early_stopping_met",
    "early_stopping_result",
    "result_query_count",
    "result_99.00_percentile_latency_ns",
    "result_mean_latency_ns",
    "sut_name",
    "power_begin",
    "power_end",
)

CHECKED: Final[Mapping[Scenario, tuple[str, ...]]] = {
    "SingleStream": (
        *_ALWAYS,
        "early_stopping_latency_ss",
        "early_stopping_latency_ms",
        "result_90.00_percentile_latency_ns",
        "result_qps_with_loadgen_overhead",
        "result_qps_without_loadgen_overhead",
    ),
    "MultiStream": (
        *_ALWAYS,
        "early_stopping_latency_ms",
        "result_99.00_percentile_per_query_latency_ns",
        "result_mean_query_latency_ns",
    ),
    "Server": (*_ALWAYS, "result_scheduled_samples_per_sec"),
    "Offline": (*_ALWAYS, "result_samples_per_second"),
}
"""What the submission checkers of v0.7 to v2.0 read from a performance run's detail log."""

PERCENTILES: Final = (50, 90, 95, 97, 99, 99.9)
"""Of latency; those that LoadGen logs."""


@dataclass(frozen=True)
class Detail:
    """A detail log: the first value of every key, as the checkers take it; errors and warnings."""

    values: Mapping[str, Any]
    errors: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Metric:
    """What a scenario is about. ``value`` is None where LoadGen has too few queries to give it, and
    ``is_slowest`` where they are just enough: the estimate then is the slowest query's latency."""

    name: str
    unit: str
    value: float | None
    is_slowest: bool = False


@dataclass(frozen=True)
class Result:
    """What LoadGen found in a performance run.

    Attributes:
        valid: its own verdict, by the settings that it was given.
        reasons: why not.
        metric: the scenario's one number.
        latencies: percentile -> milliseconds of a query (MultiStream), or of a sample.
        queries: that were run.
        early_stopping: LoadGen's words.
        errors, warnings: of the log; an error makes a submission invalid.
    """

    valid: bool
    reasons: tuple[str, ...]
    metric: Metric
    latencies: Mapping[float, float]
    queries: int
    early_stopping: str
    errors: tuple[str, ...]
    warnings: tuple[str, ...]


def read_detail(path: str | PathLike[str], mode: Mode) -> Detail:
    """A complete detail log.

    Raises:
        UsageError: not readable.
        LoadGenError: a line that is none, or no end: cut short.
    """
    name = fspath(path)
    try:
        lines = Path(name).read_text("utf-8", "replace").splitlines()
    except OSError as error:
        raise UsageError(
            f"{name}: cannot be read ({error.strerror or error}); name a run's {DETAIL}"
        ) from error
    values: dict[str, Any] = {}
    errors, warnings = [], []
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line.removeprefix(_MARK))
            key, value, about = entry["key"], entry["value"], entry["metadata"]
            bad, odd = about["is_error"], about["is_warning"]
        except (ValueError, KeyError, TypeError) as error:
            raise _cut(name, f"line {number} is none of a detail log ({error})") from error
        values.setdefault(key, value)
        if bad:
            errors.append(f"{key}: {value}")
        elif odd:
            warnings.append(f"{key}: {value}")
    if _LAST[mode] not in values:
        raise _cut(name, f"ends at line {len(lines)} without {_LAST[mode]}")
    return Detail(values, tuple(errors), tuple(warnings))


def check_accuracy(folder: Path) -> None:
    """Refuse an accuracy log without its end; its records are read by ``evaluation``.

    Raises:
        LoadGenError: it is cut short.
    """
    path = folder / ACCURACY
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 8))
        if not file.read().rstrip().endswith(b"]"):
            raise _cut(str(path), "has no end")


def _cut(name: str, what: str) -> LoadGenError:
    return LoadGenError(
        f"{name}: {what}; LoadGen says nothing of a full disk: free space and run again"
    )


def result(detail: Detail, chosen: Round, scenario: Scenario) -> Result:
    """The result of a performance run by the round's metric.

    Raises:
        LoadGenError: the log is of another scenario, or lacks what the checkers read.
    """
    values = detail.values
    missing = [key for key in CHECKED[scenario] if key not in values]
    if missing or values["effective_scenario"] != scenario:
        raise LoadGenError(
            f"the detail log is none of {scenario}: it lacks {', '.join(missing) or 'nothing'}, "
            f"its scenario is {values.get('effective_scenario')}; run again with LoadGen 6.0.17"
        )
    form = "per_query_latency_ns" if scenario == "MultiStream" else "latency_ns"
    latencies = {p: values[f"result_{p:.2f}_percentile_{form}"] / 1e6 for p in PERCENTILES}
    return Result(
        valid=values["result_validity"] == "VALID",
        reasons=tuple(_reasons(values)),
        metric=_metric(values, latencies, chosen, scenario),
        latencies=latencies,
        queries=int(values["result_query_count"]),
        early_stopping=" ".join(str(values["early_stopping_result"]).split()),
        errors=detail.errors,
        warnings=detail.warnings,
    )


def _metric(
    values: Mapping[str, Any], latencies: Mapping[float, float], chosen: Round, scenario: Scenario
) -> Metric:
    if scenario == "Offline":
        return Metric("throughput", "samples/s", float(values["result_samples_per_second"]))
    if scenario == "Server":
        return Metric(
            "scheduled rate", "queries/s", float(values["result_scheduled_samples_per_sec"])
        )
    percentile = round(100 * values["effective_target_latency_percentile"], 6)
    name = f"{percentile:g}th percentile latency"
    if not chosen.estimates:
        return Metric(name, "ms", latencies.get(percentile))
    estimated, longest = {
        "SingleStream": ("early_stopping_latency_ss", "result_max_latency_ns"),
        "MultiStream": ("early_stopping_latency_ms", "result_max_query_latency_ns"),
    }[scenario]
    estimate = values[estimated] / 1e6 or None
    is_slowest = values[estimated] == values[longest]
    return Metric(f"{name}, early stopping estimate", "ms", estimate, is_slowest)


def _reasons(values: Mapping[str, Any]) -> Sequence[str]:
    """LoadGen's conditions that were not met."""
    conditions = {
        "result_perf_constraints_met": "too many queries over the latency limit",
        "result_min_duration_met": "shorter than the least duration",
        "result_min_queries_met": "fewer queries than the least number",
        "early_stopping_met": "too few queries for early stopping to be sure",
    }
    found = [text for key, text in conditions.items() if values.get(key) is False]
    if values["result_validity"] != "VALID" and not found:
        found.append(str(values.get("result_invalid_reason", "an error in the log")))
    return found

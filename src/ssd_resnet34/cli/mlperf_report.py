"""What ``ssd-resnet34 mlperf`` says of a run, on the terminal and to machines."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from ..evaluation.coco import NAMES
from ..evaluation.page import number
from ..mlperf import plot, published, running, unit
from ..mlperf.gate import Verdict
from ..mlperf.job import Job
from ..mlperf.logs import Result
from ..mlperf.published import Row
from ..mlperf.rounds import GATE
from ..mlperf.running import Finished
from ..mlperf.settings import Setting
from ..mlperf.submission import incomparable, objections
from ..mlperf.unit import Unit
from ..wording import counted, figures
from .info import now, platform_facts
from .terminal import say, show_table

_OF_ACCURACY: Final = ("target_qps", "samples_per_query", "performance_sample_count_override")

_EXPECTED: Final = ("SingleStream", "MultiStream")
"""Where ``target_latency`` is what the system is expected to take, and not a limit."""


_SLOWEST: Final = "With so few queries LoadGen's estimate is the slowest of them"


@dataclass(frozen=True, eq=False)
class Report:
    """All there is to say of a run; ``result`` of a performance run, ``verdict`` of the other."""

    job: Job
    annotations: str
    finished: Finished
    result: Result | None
    verdict: Verdict | None
    timestamp: str = field(default_factory=now)
    """The end of the run, UTC."""

    @property
    def unit(self) -> Unit:
        """The core or accelerator that throughput is divided by."""
        return unit.of(self.finished.ready.facts)

    @property
    def rows(self) -> Sequence[Row]:
        """Published results beside this one's."""
        if self.result is None or self.result.metric.value is None:
            return ()
        kind, count = self.unit.kind, self.unit.count
        return published.compare(self.job.scenario, self.result.metric.value, kind, count)

    @property
    def objections(self) -> list[str]:
        """Why it is no submission."""
        found = objections(self.job, self.finished.ready)
        if self.result is not None and not self.result.valid:
            found.append("LoadGen calls it INVALID")
        if self.result is not None and self.result.errors:
            found.append(f"{counted(len(self.result.errors), 'error')} in the detail log")
        if self.verdict is not None and not self.verdict.passed:
            found.append(f"mAP under {100 * GATE:.1f} %, or images missing")
        return found

    @property
    def notes(self) -> Sequence[str]:
        """What keeps it from standing beside published results."""
        return [
            *incomparable(self.finished.ready.facts, self.unit.kind, self.job.scenario),
            *self._counted(),
        ]

    @property
    def good(self) -> bool:
        """VALID to LoadGen, or over the gate."""
        return (self.result is None or self.result.valid) and (
            self.verdict is None or self.verdict.passed
        )

    def _counted(self) -> list[str]:
        return [f"Cores: {self.unit.note}."] if self.unit.note else []


def describe(report: Report) -> dict[str, Any]:
    """Plain values for JSON, and for ``run.json``."""
    job, ready = report.job, report.finished.ready
    return {
        "timestamp": report.timestamp,
        "round": job.round,
        "scenario": job.scenario,
        "mode": job.mode,
        "quick": job.quick,
        "annotations": report.annotations,
        "images": len(job.images),
        "system": asdict(ready.facts),
        "unit": asdict(report.unit),
        "machine": platform_facts(),
        "nms": job.nms,
        "score_threshold": job.score_threshold,
        "measured": {
            "latency_ms": 1000 * ready.measured.latency,
            "samples_per_second": ready.measured.rate,
        },
        "settings": [one.to_dict() for one in ready.settings],
        "answered": report.finished.answered,
        "run_seconds": report.finished.seconds,
        "result": None if report.result is None else _describe_result(report.result),
        "accuracy": None if report.verdict is None else describe_verdict(report.verdict),
        "not_a_submission": report.objections,
        "published": [_describe_row(row, report) for row in report.rows],
        "notes": list(report.notes),
    }


def _describe_result(result: Result) -> dict[str, Any]:
    found = asdict(result)
    found["latencies_ms"] = {f"p{p:g}": value for p, value in found.pop("latencies").items()}
    return found


def _describe_row(row: Row, report: Report) -> dict[str, Any]:
    assert report.result is not None
    system = row.result
    return {
        "round": system.round,
        "system": system.system,
        "kind": system.kind,
        "units": system.units,
        "value": row.value,
        "each": row.each,
        "unit": report.result.metric.unit,
        "ratio": row.ratio,
    }


def describe_verdict(verdict: Verdict) -> dict[str, Any]:
    """Plain values for JSON."""
    return {
        "mAP_percent": verdict.percent,
        "gate_percent": round(100 * GATE, 3),
        "passed": verdict.passed,
        "images": verdict.images,
        "of_images": verdict.whole,
        "sha256": verdict.sha256,
        "numbers": dict(verdict.scores.numbers),
        "notes": list(verdict.notes),
    }


def save_plot(report: Report, path: Path) -> None:
    """The published results and this one's as a picture."""
    rows, result = report.rows, report.result
    assert result is not None
    assert result.metric.value is not None
    facts, count = report.finished.ready.facts, report.unit.count
    each = result.metric.value
    what = "90th percentile latency, ms (less is faster)"
    if report.job.scenario != "SingleStream":
        each /= count
        what = f"{result.metric.unit} per core or per accelerator"
    notes = [
        f"Blue: {facts.weights}, {facts.precision} in {facts.engine}.",
        f"It ran on {report.unit}: {facts.hardware}.",
    ]
    if report.objections:
        notes.append("Blue is not a submission; see run.json.")
    notes += report.notes
    name = "this run"
    if result.metric.is_slowest:
        name = f"this run, slowest of {result.queries:,} queries"
        notes.insert(0, f"{_SLOWEST}; run.json has the percentile itself.")
    title = f"SSD-ResNet34, {report.job.scenario}: {what}"
    plot.save(path, rows, (name, report.unit.kind, each), title, notes)


def setting_lines(settings: Sequence[Setting], job: Job) -> list[str]:
    """``min_duration 600 s (rules of v2.0)``, a line for each that has a part in the run."""
    lines = []
    for one in settings:
        matters = one.value > 0 or one.key == "min_duration"  # others are 0 for none
        if job.mode == "accuracy":  # every image once, whatever the counts and times are
            matters = one.key in _OF_ACCURACY and (
                one.key != "target_qps" or job.scenario == "Server"
            )
        if matters:
            origin, images = one.origin, len(job.images)
            if one.key == "performance_sample_count_override" and images < one.value:
                origin += f"; the set has {images:,}, all in memory"
            lines.append(f"{one.key} {_setting(one, job.scenario)} ({origin})")
    return lines


def _setting(one: Setting, scenario: str) -> str:
    if one.key in ("min_duration", "max_duration"):
        return f"{one.value / 1000:,.6g} s"
    if one.key == "target_latency":
        return f"{one.value:,.4g} ms{' expected' if scenario in _EXPECTED else ', the limit'}"
    if one.key == "target_qps":
        return f"{one.value:,.4g}/s"
    if one.key == "target_latency_percentile":
        return f"{one.value:g} %"
    return f"{one.value:,.10g}"


def show(report: Report, folder: Path) -> None:
    """Everything in 80 columns of stdout."""
    job, facts = report.job, report.finished.ready.facts
    machine = platform_facts()
    images = counted(len(job.images), "image")
    say(f"MLPerf {job.round} {job.scenario}, {job.mode}: {report.annotations}, {images}")
    say(
        f"{facts.weights}, {facts.precision} in {facts.engine} on {facts.device}, "
        f"{counted(facts.threads, 'thread')}, {counted(facts.streams, 'stream')}, "
        f"batch {facts.batch}"
    )
    names = dict.fromkeys((facts.hardware, machine["cpu"]["model"]))  # a GPU, and its host
    place = ", ".join((str(report.unit), *names, machine["system"]))
    say(f"{place}, ssd-resnet34 {machine['version']}")
    for line in setting_lines(report.finished.ready.settings, job):
        say(line, "  ")
    if report.result is not None:
        _show_result(report.result, job.scenario)
    if report.verdict is not None:
        show_verdict(report.verdict)
    if report.objections:
        print("NOT A SUBMISSION by the rules of", job.round)
        for line in report.objections:
            say(line, "  ")
    if report.rows:
        _show_rows(report)
    elif report.result is not None and report.result.metric.value is None:
        print("LoadGen found too few queries for a figure to compare.")
    elif report.result is not None:
        print("No published result of this scenario to compare with.")
    if report.result is not None:
        for note in report.notes:
            say(note)
    say(f"in {folder}: {_left(report)}")


def _left(report: Report) -> str:
    """What a run leaves in its folder for people."""
    names = [running.RECORD]
    if report.rows:
        names.append(f"{running.PLOT} (this run among the published ones)")
    if report.verdict is not None:
        names.append(running.ACCURACY_TEXT)
    return f"{', '.join(names)}, LoadGen's logs and the settings that it read"


def _show_result(result: Result, scenario: str) -> None:
    metric = result.metric
    value = "–" if metric.value is None else f"{figures(metric.value)} {metric.unit}"
    verdict = "VALID" if result.valid else "INVALID"
    queries = "1 query" if result.queries == 1 else f"{result.queries:,} queries"
    print(f"LoadGen, by these settings: {verdict}, {queries}")
    print(f"{metric.name}: {value}")
    if metric.is_slowest:
        say(f"{_SLOWEST}; the table has the percentile itself.", "  ")
    for line in (*result.reasons, *result.errors):
        say(line, "  ")
    show_table(
        ("latency", *(f"p{p:g}" for p in result.latencies)),
        [("ms", *(figures(value) for value in result.latencies.values()))],
        right=range(1, 1 + len(result.latencies)),
        folding=0,
    )
    if scenario == "Offline":
        say("One query has all samples: a latency is a sample's wait and its own time.")


def _show_rows(report: Report) -> None:
    assert report.result is not None
    value, kind = report.result.metric.value, report.unit.kind
    assert value is not None
    lines = [
        [
            *(row.result.round, row.result.system),
            *(figures(row.value), f"{figures(row.each)}/{row.result.kind}"),
            "–" if row.ratio is None else f"{row.ratio:.3g}",
        ]
        for row in report.rows
    ]
    ours = ["", "this run", figures(value), f"{figures(value / report.unit.count)}/{kind}", "1"]
    lines.insert(published.place(report.rows, kind), ours)
    headings = ["round", "system", report.result.metric.unit, "each", "times as fast"]
    if report.job.scenario == "SingleStream":  # a latency is of the whole
        for cells in (headings, *lines):
            del cells[3]
    show_table(headings, lines, right=range(2, len(headings)), folding=1)
    say("Times as fast: this run against that one; a core and an accelerator are not compared.")


def show_verdict(verdict: Verdict) -> None:
    """The gate, and AP by IoU and size."""
    said = "reaches" if verdict.passed else "does not pass"
    print(
        f"{verdict.percent:.3f} % {said} the gate of {100 * GATE:.1f} % "
        f"({verdict.images:,} of {counted(verdict.whole, 'image')})"
    )
    numbers = verdict.scores.numbers
    print(", ".join(f"{name} {number(numbers[name])}" for name in NAMES[:6]))

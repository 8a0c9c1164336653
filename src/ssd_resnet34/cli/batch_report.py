"""What the batch commands say on stdout: plans, ends of runs, reports; for people and machines."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..batch.manifest import Plan
from ..batch.pace import as_clock, kinds
from ..batch.place import Place
from ..batch.report import Findings
from ..batch.running import Outcome
from ..evaluation.report import Setting
from .terminal import show_table


def plan_facts(made: Plan) -> dict[str, Any]:
    """A plan in plain values."""
    return {
        "source": made.source,
        "inputs": made.count,
        "shards": made.shards,
        "shard_size": made.shard_size,
        "format": made.format,
        "manifest": made.digest,
        "notes": dict(made.notes),
    }


def show_plan(made: Plan, output: str) -> None:
    """A plan as a table."""
    rows = [(name, _said(value)) for name, value in plan_facts(made).items()]
    show_table(("plan", output), rows)


def _said(value: Any) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{number:,} {name}" for name, number in value.items()) or "–"
    return f"{value:,}" if isinstance(value, int) else str(value)


def show_outcome(outcome: Outcome, output: str, as_json: bool) -> None:
    """How a run ended, as a table or JSON."""
    summary = outcome.summary
    if as_json:
        facts = {
            "output": output,
            "resumed": outcome.resumed,
            "workers_lost": outcome.lost,
            "notes": dict(outcome.plan.notes),
            **summary.to_dict(),
        }
        print(json.dumps(facts))
        return
    rows = [
        ("inputs", f"{summary.rows:,}"),
        ("detections", f"{sum(summary.objects.values()):,}"),
        ("refused", f"{summary.refused:,}"),
    ]
    if summary.errors:
        rows.append(("refused for", kinds(summary.errors)))
    if outcome.resumed:
        rows.append(("done before", f"{outcome.resumed:,}"))
    if outcome.lost:
        rows.append(("workers replaced", f"{outcome.lost:,}"))
    rows += [(name, f"{number:,}") for name, number in outcome.plan.notes.items()]
    show_table(("batch", output), rows)


def setting(place: Place, findings: Findings, html: Path) -> Setting:
    """How the page of a run came about, and what its reader must know."""
    made = findings.plan
    facts = {"source": made.source, "results": place.name, "manifest": made.digest}
    for fingerprint, known in findings.models.items():
        shown = {name: value for name, value in known.items() if name != "labels"}
        facts[f"model {fingerprint}"] = json.dumps(shown, sort_keys=True)
    notes = [f"{number:,} {name}" for name, number in made.notes.items()]
    if findings.missing:
        told = f"{findings.missing:,} of {made.shards:,} shards have no rows yet"
        notes.append(f"The run is not complete: {told}; run it again to go on")
    command = f"ssd-resnet34 batch report {place.name} --html {html}"
    return Setting(f"Batch run over {made.source}", command, facts, notes)


def report_facts(findings: Findings) -> dict[str, Any]:
    """The report in plain values."""
    found = findings.rates
    return {
        **plan_facts(findings.plan),
        "complete": not findings.missing,
        "missing_shards": findings.missing,
        "rows": findings.summary.to_dict(),
        "rate": found.rate,
        "active_seconds": found.active,
        "retried": found.retried,
        "stages": [asdict(stage) for stage in found.stages],
        "slowest": [{"uri": uri, "seconds": seconds} for seconds, uri in findings.slow],
    }


def show_report(findings: Findings, results: str) -> None:
    """The report as a table."""
    summary, found = findings.summary, findings.rates
    rows = [
        ("inputs", f"{summary.rows:,} of {findings.plan.count:,}"),
        ("detections", f"{sum(summary.objects.values()):,}"),
        ("classes", kinds(summary.objects) or "–"),
        ("refused", kinds(summary.errors) or "none"),
        ("rate", f"{found.rate:.2f}/s in {as_clock(found.active)} of work"),
    ]
    rows += [
        (one.name, f"median {one.median:.3f} s, 95 % {one.most:.3f} s, most {one.largest:.3f} s")
        for one in found.stages
    ]
    if findings.missing:
        rows.append(("not complete", f"{findings.missing:,} of {findings.plan.shards:,} shards"))
    show_table(("batch", results), rows)

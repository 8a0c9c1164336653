"""What ``ssd-resnet34 compile`` says of an artifact: its prices, and what its layers cost."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from ..compiler.compilation import Calibrated
from ..compiler.sensitivity import LayerCost
from ..evaluation.fidelity import Fidelity, decibel
from ..evaluation.guard import Verdict
from ..model import SSDResNet34
from ..wording import counted
from .terminal import printable, show_table

_LAYERS: Final = 12
"""Layers that the table shows; the JSON has all."""


def describe(
    model: SSDResNet34,
    calibrated: Calibrated,
    verdict: Verdict,
    costs: Sequence[LayerCost],
    rival: str,
) -> dict[str, Any]:
    """Everything ``--json`` gives but what happened to the file.

    ``rival`` is the precision of the float whose time is compared.
    """
    return {
        "weights": model.name,
        "precision": "int8",
        "bytes": {"fp32": len(model.source), "int8": len(verdict.artifact)},
        "calibration": dict(calibrated.facts),
        "timed_float": rival,
        "checked": verdict.runs[-1].images > 0,
        "runs": [_run(one) for one in verdict.runs],
        "kept_float": list(verdict.kept),
        "sensitivity": [asdict(one) | {"noise": _finite(one.noise)} for one in costs],
        "failures": list(verdict.failures),
    }


def _run(found: Fidelity) -> dict[str, Any]:
    share = {"share": found.agreement.share}
    sqnr = {name: _finite(one) for name, one in found.sqnr.items()}
    return asdict(found) | {"sqnr": sqnr, "agreement": asdict(found.agreement) | share}


def _finite(value: float) -> float | None:
    """JSON has no infinity, which a head without noise or without signal has."""
    return value if math.isfinite(value) else None


def show(report: dict[str, Any]) -> None:
    """Two tables on stdout, and what was written."""
    runs, size = report["runs"], report["bytes"]
    kept = f"int8, {len(report['kept_float'])} float" if report["kept_float"] else "int8"
    names = ["int8", kept][-len(runs) :]
    fp32, int8 = (f"{size[kind] / 1e6:.1f}" for kind in ("fp32", "int8"))
    rival = report["timed_float"]
    timed = "" if rival == "fp32" else f" ({rival})"
    seconds = [f"{runs[-1]['seconds'][1]:.3f}{timed}", *(f"{r['seconds'][0]:.3f}" for r in runs)]
    rows = [
        ["megabytes", fp32, *["–"] * (len(runs) - 1), int8],
        ["seconds an image", *seconds],
        [f"time / {rival}", "1", *(f"{run['speed']:.3f}" for run in runs)],
    ]
    if report["checked"]:
        rows += _accuracy(runs)
    columns = range(1, 2 + len(runs))
    show_table((report["weights"], "fp32", *names), rows, right=columns, folding=0)
    print(printable(_basis(report)))
    if report["sensitivity"]:
        _show_costs(report["sensitivity"])
    if report["written"]:
        print(printable(f"{report['written']}: int8, {size['int8']:,} bytes"))


def _basis(report: dict[str, Any]) -> str:
    """What the numbers rest on, a line."""
    count, facts = report["runs"][-1]["images"], report["calibration"]
    judged = f"judged on {counted(count, 'image')}" if count else "timed on noise"
    seen = facts.get("calibration_images")
    known = "ranges were given" if seen is None else f"calibrated on {seen}"
    rival = report["timed_float"]
    timed = "" if rival == "fp32" else f"; float was timed in {rival}, the faster here"
    return f"{judged}, {known}{timed}"


def _accuracy(runs: Sequence[dict[str, Any]]) -> list[list[str]]:
    rows = []
    for name in ("ap", "ap50"):
        if runs[-1][name] is not None:
            values = [runs[-1][name][0], *(run[name][1] for run in runs)]
            rows.append([name.upper(), *(f"{value:.4f}" for value in values)])
    parts = [run["agreement"] for run in runs]
    shares = [f"{100 * part['share']:.1f} %" for part in parts]
    noises = [[one for one in run["sqnr"].values() if one is not None] for run in runs]
    worst = [f"{min(noise):.1f}" if noise else "–" for noise in noises]
    best = [f"{max(noise):.1f}" if noise else "–" for noise in noises]
    return [
        *rows,
        ["detections of fp32", str(parts[-1]["reference"]), *(part["matched"] for part in parts)],
        ["detections beside them", "–", *(part["found"] - part["matched"] for part in parts)],
        ["agreement", "–", *shares],
        ["largest box shift, px", "–", *(f"{part['box_shift']:.1f}" for part in parts)],
        ["largest score shift", "–", *(f"{part['score_shift']:.3f}" for part in parts)],
        ["SQNR of the worst head, dB", "–", *worst],
        ["SQNR of the best head, dB", "–", *best],
    ]


def _show_costs(costs: Sequence[dict[str, Any]]) -> None:
    total = sum(cost["noise"] or 0 for cost in costs) or math.inf
    rows = []
    for cost in costs[:_LAYERS]:
        noise, work = cost["noise"], f"{100 * cost['work']:.1f} %"
        shown = ("–", "–")  # beside a head without signal any noise is infinite
        if noise is not None:
            shown = (f"{decibel(1, noise):.1f}", f"{100 * noise / total:.1f} %")
        rows.append((cost["layer"], *shown, work))
    headings = ("alone in int8", "SQNR, dB", "of all noise", "of all work")
    show_table(headings, rows, right=(1, 2, 3), folding=0)

"""What ``ssd-resnet34 bench`` says: one document for machines, tables of it for people."""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ..benchmarking.rates import Rate
from ..benchmarking.runs import Run
from ..benchmarking.stages import Stages
from ..benchmarking.start import Start
from ..benchmarking.trust import doubts
from ..benchmarking.tuning import Tuned
from ..pairs import ENOUGH
from ..runtime.tuning import Tuning, text
from ..wording import counted, figures
from .info import platform_facts
from .terminal import say, show_table

_LISTS = ("runs", "peers", "decoders", "roads", "rates", "starts", "failed")


def describe(
    facts: dict[str, Any],
    *,
    runs: Sequence[Run],
    peers: Sequence[Run],
    stages: Stages | None,
    decoders: Sequence[Run],
    roads: Sequence[Run],
    tuned: Tuned | None,
    rates: Sequence[Rate],
    operations: int | None,
    starts: Sequence[Start],
    failed: list[dict[str, str]],
) -> dict[str, Any]:
    """Everything ``--json`` gives; parts that were not asked for are empty or None. ``failed`` goes
    in as it is: what fails later is in it, too.

    With rates, every run of a known one has its ``share`` of it, and so have the stages, end to
    end; ``operations`` of one image, two a multiplication, are what that counts.
    """
    known: dict[str, float] = {rate.precision: rate.gops for rate in rates if rate.gops}

    def share(precision: str, images_per_second: float | None) -> float | None:
        rate = known.get(precision)
        if operations is None or rate is None or images_per_second is None:
            return None
        return float(operations * images_per_second / 1e9 / rate)

    def rows(found: Sequence[Run], convolves: bool) -> list[dict[str, Any]]:
        return [
            asdict(run)
            | {"share": share(run.precision, run.images_per_second) if convolves else None}
            for run in found
        ]

    whole = None
    if stages is not None:
        whole = asdict(stages)
        whole["share"] = share(stages.precision, 1 / stages.whole.p50)
    report = {
        **facts,
        "machine": platform_facts(),
        "runs": rows(runs, True),
        "peers": rows(peers, True),
        "stages": whole,
        "decoders": rows(decoders, False),
        "roads": rows(roads, True),
        "tuning": None if tuned is None else tuned.to_dict(),
        "operations": operations,
        "rates": [asdict(rate) for rate in rates],
        "starts": [asdict(one) for one in starts],
        "failed": failed,
    }
    convolving = [*report["runs"], *report["peers"], *report["roads"], whole or {}]
    why = doubts([*runs, *peers], [row["share"] for row in convolving if row.get("share")])
    said = f"the machine was busy, and the numbers are not to be trusted: {'; '.join(why)}"
    return {**report, "warnings": [said] if why else []}


def faults(report: dict[str, Any]) -> list[str]:
    """What failed, a line each."""
    rows = [row for part in _LISTS for row in report[part]]
    rows += report["tuning"]["runs"] if report["tuning"] else []
    return [f"{row['name']}: {row['fault']}" for row in rows if row.get("fault")]


def caption(report: dict[str, Any]) -> tuple[str, list[str]]:
    """Title and notes of the plot; what speaks against its numbers is among them."""
    machine = report["machine"]
    title = f"SSD-ResNet34 1200x1200, {report['weights']}: speed of the network"
    threads, pairs = counted(report["threads"], "thread"), counted(report["pairs"], "pair")
    where = machine["cpu"]["model"] if report["device"] == "cpu" else report["device"]
    few = [few_pairs(report["pairs"])] if report["pairs"] < ENOUGH else []
    return title, [
        f"{where}, {threads}; ssd-resnet34 {machine['version']}; {pairs} each",
        f"Bars and numbers are ratios to the grey baseline, {report['baseline']}, with which each "
        "was timed in turn; the white line goes back to the worse quartile.",
        *few,
        *(f"WARNING: {warning}" for warning in report["warnings"]),
    ]


def few_pairs(pairs: int) -> str:
    """Why nobody should quote the ratios of so few."""
    return f"{counted(pairs, 'pair')}: no ratio to quote; {ENOUGH} or more make one"


def show(report: dict[str, Any]) -> None:
    """Tables on stdout."""
    machine = report["machine"]
    say(f"{machine['cpu']['model']}, {machine['system']}, Python {machine['python']}")
    versions = [f"{name} {version}" for name, version in machine["packages"].items() if version]
    say(f"ssd-resnet34 {machine['version']}, {', '.join(versions)}")
    images = counted(report["images"], "image")
    pairs = counted(report["pairs"], "pair")
    say(
        f"{report['weights']} on {report['device']}; {counted(report['threads'], 'thread')}, "
        f"{pairs}, {images}; times in ms an image"
    )
    if not sys.stdout.isatty():  # a table that is kept shall keep what stderr says, too
        for warning in report["warnings"]:
            say(f"WARNING: {warning}")
    _show_runs(
        "network",
        [*report["runs"], *report["peers"]],
        "Compare rows by their ratios: pairs timed in turn with the baseline. Times of different "
        "rows are of different moments, and compare less well.",
    )
    if report["stages"]:
        _show_stages(report["stages"])
    if report["decoders"]:
        _show_runs("postprocess", report["decoders"])
    if report["roads"]:
        _show_runs("file to detections", report["roads"])
    if report["tuning"]:
        _show_tuning(report["tuning"])
    if report["rates"]:
        _show_rates(report)
    if report["starts"]:
        _show_starts(report)


def _show_runs(title: str, rows: Sequence[dict[str, Any]], under: str = "") -> None:
    """The last column is the ratio, or the number of the note below that says why there is none.

    An engine's configurations that cannot be had for one and the same reason are one row.
    """
    table: list[tuple[str, ...]] = []
    notes: dict[str, int] = {}
    missing: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row["seconds"] is None:
            missing.setdefault(_gap(row), []).append(row["name"])
    for row in rows:
        if row["seconds"] is not None:
            times = (_ms(row["seconds"][name]) for name in ("p50", "p90", "p99"))
            rate = figures(row["images_per_second"])
            table.append((row["name"], *times, rate, _ratio(row["ratio"])))
            continue
        names = missing.pop(_gap(row), None)
        if names is None:
            continue
        note = notes.setdefault(_reason(row), len(notes) + 1)
        engine, _ = _gap(row)
        name = names[0] if len(names) == 1 else f"{engine}, {len(names)} rows"
        short = "failed" if row["fault"] else "not here"
        table.append((name, *"––––", f"{short} ({note})"))
    headings = (title, "p50", "p90", "p99", "img/s", "time / baseline")
    show_table(headings, table, right=(1, 2, 3, 4))
    if under:
        say(under)
    for reason, note in notes.items():
        say(f"({note}) {reason}")
    for row in rows:
        if row["seconds"] is not None and row["reason"] not in ("", "asked for"):
            ours = row["name"].startswith(f"{row['engine']}:")  # peers have names of their own
            chosen = ours and not row["reason"].startswith("asked for")
            lead = f"auto took {row['precision']} in " if chosen else ""
            say(f"{lead}{row['name']}: {row['reason']}")


def _gap(row: dict[str, Any]) -> tuple[str, str]:
    """Whose row has no numbers, and why."""
    return row["name"].partition(":")[0], _reason(row)


def _show_stages(found: dict[str, Any]) -> None:
    whole = found["whole"]
    rows = [
        (
            name,
            *(_ms(times[key]) for key in ("p50", "p90", "p99")),
            f"{100 * times['p50'] / whole['p50']:.1f} %",
        )
        for name, times in [*found["stages"].items(), ("all", whole)]
    ]
    print()
    say(f"stages of {found['name']}, one image after the other, and its stream:")
    show_table(("stage", "p50", "p90", "p99", "share"), rows, right=(1, 2, 3, 4))
    around, overlap = found["around"], found["overlap"]
    serial, stream = found["serial_images_per_second"], found["stream_images_per_second"]
    part = "device" if "device" in found["stages"] else "network"
    print(f"one by one {figures(serial)} images/s: {_ratio(around)} of the {part}'s time")
    print(f"stream     {figures(stream)} images/s: {_ratio(overlap)} of 1 / {part} time")


def _show_tuning(found: dict[str, Any]) -> None:
    _show_runs("stream", found["runs"])
    best = text(Tuning(**found["fastest"]))
    later = "kept for later sessions" if found["kept"] else f"not kept: {ENOUGH} pairs or more are"
    print(f"fastest: {best}; {later}")


def _show_rates(report: dict[str, Any]) -> None:
    rows = []
    for rate in report["rates"]:
        if rate["gops"] is None:
            rows.append((rate["precision"], "–", "–", "–", _reason(rate)))
            continue
        runs = [*report["runs"], *report["peers"]]
        of = [run for run in runs if run["precision"] == rate["precision"] and run["share"]]
        best = max(of, key=lambda run: float(run["share"]), default=None)
        name, share, whole = "–", "–", "–"
        if best is not None:
            name, share = best["name"], f"{100 * best['share']:.1f} %"
            if report["stages"] and report["stages"]["precision"] == rate["precision"]:
                whole = f"{100 * report['stages']['share']:.1f} %"
        rows.append((rate["precision"], f"{rate['gops']:.0f}", share, whole, name))
    headings = ("convolution", "GOPS", "network", "all stages", "reached by")
    show_table(headings, rows, right=(1, 2, 3))


def _show_starts(report: dict[str, Any]) -> None:
    networks = {
        f"{run['engine']}:{run['precision']}": run["seconds"]["p50"]
        for run in reversed(report["runs"])
        if run["seconds"]
    }
    rows = []
    for one in report["starts"]:
        if one["fault"]:
            rows.append((one["name"], "–", "–", "–", "–", _reason(one)))
            continue
        network = networks[one["name"]]
        rows.append(
            (
                one["name"],
                f"{one['cold_seconds']:.2f}",
                _megabytes(one["cold_peak_mb"]),
                f"{one['warm_seconds']:.2f}",
                _megabytes(one["warm_peak_mb"]),
                f"{one['cold_seconds'] - network:.2f} / {one['warm_seconds'] - network:.2f}",
            )
        )
    headings = ("detect, one image", "cold, s", "MB", "warm, s", "MB", "beyond the network, s")
    show_table(headings, rows, right=(1, 2, 3, 4))


def _reason(row: dict[str, Any]) -> str:
    return " ".join((row.get("unavailable") or row["fault"]).split())


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.1f}" if seconds < 1 else f"{1e3 * seconds:.0f}"


def _ratio(found: dict[str, Any]) -> str:
    digits = 3 if found["high"] < 10 else 1  # so that it fits beside long names
    median, low, high = (f"{found[key]:.{digits}f}" for key in ("median", "low", "high"))
    return f"{median} ({low}–{high})"


def _megabytes(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}"

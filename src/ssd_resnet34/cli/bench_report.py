"""What ``ssd-resnet34 bench`` says: one document for machines, tables of it for people."""

from collections.abc import Sequence
from dataclasses import asdict
from textwrap import wrap
from typing import Any

from ..benchmarking.pairs import ENOUGH
from ..benchmarking.rates import Rate
from ..benchmarking.runs import Run
from ..benchmarking.stages import Stages
from ..benchmarking.start import Start
from ..benchmarking.tuning import Tuned
from ..runtime.tuning import Tuning, text
from .info import platform_facts
from .terminal import printable, show_table

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

    def rows(found: Sequence[Run], counted: bool) -> list[dict[str, Any]]:
        return [
            asdict(run)
            | {"share": share(run.precision, run.images_per_second) if counted else None}
            for run in found
        ]

    whole = None
    if stages is not None:
        whole = asdict(stages)
        whole["share"] = share(runs[0].precision, 1 / stages.whole.p50)
    return {
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


def faults(report: dict[str, Any]) -> list[str]:
    """What failed, a line each."""
    rows = [row for part in _LISTS for row in report[part]]
    rows += report["tuning"]["runs"] if report["tuning"] else []
    return [f"{row['name']}: {row['fault']}" for row in rows if row.get("fault")]


def caption(report: dict[str, Any]) -> tuple[str, list[str]]:
    """Title and notes of the plot."""
    machine = report["machine"]
    title = f"SSD-ResNet34 1200x1200, {report['weights']}: images a second of the network"
    threads = f"{report['threads']} threads" if report["threads"] > 1 else "1 thread"
    where = machine["cpu"]["model"] if report["device"] == "cpu" else report["device"]
    return title, [
        f"{where}, {threads}; ssd-resnet34 {machine['version']}; {report['pairs']} pairs each",
        f"times are to {report['baseline']} (grey); white: what the slowest tenth loses",
    ]


def show(report: dict[str, Any]) -> None:
    """Tables on stdout."""
    machine = report["machine"]
    print(printable(f"{machine['cpu']['model']}, {machine['system']}, Python {machine['python']}"))
    versions = [f"{name} {version}" for name, version in machine["packages"].items() if version]
    for line in wrap(f"ssd-resnet34 {machine['version']}, {', '.join(versions)}", 80):
        print(printable(line))
    print(
        printable(
            f"{report['weights']} on {report['device']}; threads {report['threads']}, pairs "
            f"{report['pairs']}, images {report['images']}; times in ms an image"
        )
    )
    _show_runs("network", [*report["runs"], *report["peers"]])
    for run in report["runs"]:
        if run["reason"] not in ("", "asked for"):
            for line in wrap(f"{run['name']}: {run['reason']}", 80):
                print(printable(line))
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


def _show_runs(title: str, rows: Sequence[dict[str, Any]]) -> None:
    """The last column is the ratio, or why there is none."""
    table = []
    for row in rows:
        seconds, ratio = row["seconds"], row["ratio"]
        if seconds is None:
            table.append((row["name"], "–", "–", "–", "–", _reason(row)))
            continue
        times = (_ms(seconds[name]) for name in ("p50", "p90", "p99"))
        table.append((row["name"], *times, f"{row['images_per_second']:.3g}", _ratio(ratio)))
    headings = (title, "p50", "p90", "p99", "img/s", "time / baseline")
    show_table(headings, table, right=(1, 2, 3, 4))


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
    show_table(("stage", "p50", "p90", "p99", "share"), rows, right=(1, 2, 3, 4))
    around, overlap = found["around"], found["overlap"]
    part = "device" if "device" in found["stages"] else "network"
    print(f"one by one {found['serial']:.3g} images/s: {_ratio(around)} of the {part}'s time")
    print(f"stream     {found['stream']:.3g} images/s: {_ratio(overlap)} of 1 / {part} time")


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
            if best is report["runs"][0] and report["stages"]:
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
                f"{one['cold']:.2f}",
                _megabytes(one["cold_peak"]),
                f"{one['warm']:.2f}",
                _megabytes(one["warm_peak"]),
                f"{one['cold'] - network:.2f} / {one['warm'] - network:.2f}",
            )
        )
    headings = ("detect, one image", "cold, s", "MB", "warm, s", "MB", "beyond the network, s")
    show_table(headings, rows, right=(1, 2, 3, 4))


def _reason(row: dict[str, Any]) -> str:
    return " ".join((row.get("unavailable") or row["fault"]).split())


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.1f}" if seconds < 1 else f"{1e3 * seconds:.0f}"


def _ratio(found: dict[str, Any]) -> str:
    return f"{found['median']:.3f} ({found['low']:.3f}–{found['high']:.3f})"


def _megabytes(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}"

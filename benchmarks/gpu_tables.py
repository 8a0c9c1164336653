"""What ``benchmarks.gpu`` found, as tables on stdout."""

from typing import Any

from ssd_resnet34.cli.terminal import show_table


def show(report: dict[str, Any]) -> None:
    """Tables on stdout."""
    known = report["facts"]
    if known:
        print(f"{known['card']}; {known['operations'] / 1e9:.1f} GFLOP an image")
        print(f"torch {known['torch']}, CUDA {known['cuda']}, cuDNN {known['cudnn']}")
    rows = []
    layers = {one["precision"]: one for one in report["rates"]["convolutions"]}
    for one in report["rates"]["products"]:
        layer = layers.get(one["precision"], {})
        rates_of = [_number(found.get("gops"), 1e-3) for found in (one, layer)]
        rows.append((one["precision"], *rates_of, one["unavailable"]))
    show_table(("card", "products TFLOPS", "layer TFLOPS", ""), rows, right=(1, 2))
    show_table(
        ("agreement", "heads", "objects", "box", "score", "tolerance"),
        [
            (
                one["precision"],
                f"{one['heads']:.2g}",
                f"{one['matched']} of {one['reference']}",
                f"{one['box_shift']:.2f} px",
                f"{one['score_shift']:.3f}",
                "; ".join(one["violations"]) or "kept",
            )
            for one in report["agreement"]
        ],
        right=(1, 3, 4),
    )
    show_table(
        ("road", "batch", "p50 ms", "p90 ms", "img/s", "of peak", "network", "of layer", "MB"),
        [
            (
                one["precision"],
                one["batch"],
                f"{1e3 * one['latency']['p50']:.2f}",
                f"{1e3 * one['latency']['p90']:.2f}",
                f"{one['overlapping']:.0f}",
                _percent(one["overlapping_of_products"]),
                f"{one['network']:.0f}",
                _percent(one["network_of_convolutions"]),
                _number(one["memory"], 1e-6),
            )
            for one in report["road"]
        ],
        right=range(1, 9),
    )
    for one in report["stream"]:
        print(
            f"stream from JPEG, {one['precision']}, batch {one['batch']}: "
            f"{one['images_per_second']:.0f} images/s with {one['threads']} threads"
        )
    show_table(
        ("without", "batch", "time / all", "quartiles"),
        [
            (
                one["plan"],
                one["batch"],
                f"{one['median']:.3f}",
                f"{one['low']:.3f}–{one['high']:.3f}",
            )
            for one in report["plans"]
        ],
        right=(1, 2),
    )
    for precision, kernels in report["profile"].items():
        show_table(
            ("ms", "share", "calls", f"{precision}: kernels of a batch"),
            [
                (f"{k['ms']:.2f}", _percent(k["share"]), f"{k['calls']:.0f}", k["name"][:120])
                for k in kernels
            ],
            right=(0, 1, 2),
        )
    for one in report["failed"]:
        print(f"failed: {one['name']}: {one['fault']}")


def _number(value: float | None, scale: float) -> str:
    return "–" if value is None else f"{scale * value:.0f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"

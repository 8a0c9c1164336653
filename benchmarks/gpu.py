"""One GPU, all that is worth knowing of it: agreement, images a second, latency, shares, profile.

    python -m benchmarks.gpu --out gpu.json [--device cuda:0] [--precisions bf16,fp16,fp32]
                             [--batches 1,2,4,8,16,32,64] [--size 640x480] [--seconds 2]

It takes a minute or two a precision, with the embedded weights: they have COCO's 81 classes, so a
pass costs what the published model's costs. The headline is the part "road": images a second from
decoded pixels in host memory to ``Detections``, calls overlapping as in ``Detector.stream``. Shares
are of the card's own rates, measured in the same run.

The file is written after every part, so that a run that is stopped leaves what it has; a part that
fails is a row of "failed", and the exit code is 1.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks import SAMPLE, command_line
from benchmarks.gpu_parts import Setting, agreement, card_rates, facts, plans, profile, road, stream
from benchmarks.gpu_tables import show
from ssd_resnet34 import SSDResNet34, files, session
from ssd_resnet34.benchmarking.runs import last_line
from ssd_resnet34.cli.terminal import complain
from ssd_resnet34.errors import SSDResNet34Error
from ssd_resnet34.runtime.device.folded import folded
from ssd_resnet34.runtime.device.network import MAX_BATCH
from ssd_resnet34.runtime.device.runner import KINDS
from ssd_resnet34.vision.images import Image


def measure(setting: Setting, on_part: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Every part; ``on_part`` sees the report after each."""
    report: dict[str, Any] = {
        "facts": {},
        "rates": {"products": [], "convolutions": []},
        "agreement": [],
        "road": [],
        "plans": [],
        "stream": [],
        "profile": {},
        "failed": [],
    }

    @contextmanager
    def part(name: str) -> Iterator[None]:
        print(f"{name} …", file=sys.stderr, flush=True)
        try:
            yield
        except Exception as error:  # much may have been measured before it
            report["failed"].append({"name": name, "fault": last_line(error)})
            complain(f"{name}: {last_line(error)}")
        on_part(report)

    with part("facts"):
        report["facts"] = facts(setting)
    with part("rates"):
        report["rates"] = card_rates(setting)
    for precision in setting.precisions:
        with part(f"agreement {precision}"):
            report["agreement"].append(agreement(setting, precision))
        for batch in setting.batches:
            with part(f"road {precision} {batch}"):
                report["road"].append(shared(road(setting, precision, batch), report))
        with part(f"stream {precision}"):
            report["stream"].append(stream(setting, precision))
        with part(f"profile {precision}"):
            report["profile"][precision] = profile(setting, precision)
    for batch in setting.plan_batches:
        with part(f"plans {batch}"):
            report["plans"] += plans(setting, setting.precisions[0], batch)
    return report


def shared(row: dict[str, Any], report: dict[str, Any]) -> dict[str, Any]:
    """A row of :func:`road` with its shares of the card's rates, where these are known."""
    operations = report["facts"].get("operations")
    for kind in ("products", "convolutions"):
        known = {one["precision"]: one["gops"] for one in report["rates"][kind]}
        gops = known.get(row["precision"])
        for way in ("overlapping", "network"):
            share = operations * row[way] / 1e9 / gops if operations and gops else None
            row[f"{way}_of_{kind}"] = share
    return row


def pictures(width: int, height: int, count: int = 8) -> tuple[list[Image], list[bytes]]:
    """Parts of the sample picture, resized: decoded, and as JPEG files."""
    whole = cv2.imdecode(np.frombuffer(SAMPLE.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    assert whole is not None
    images, encoded = [], []
    for n in range(count):
        inset = n * min(whole.shape[:2]) // (4 * count)
        part = whole[inset : whole.shape[0] - inset, inset : whole.shape[1] - inset]
        pixels = np.ascontiguousarray(cv2.resize(part, (width, height)), np.uint8)
        images.append(Image(pixels))
        encoded.append(cv2.imencode(".jpg", pixels)[1].tobytes())
    return images, encoded


def write(path: Path | None, report: dict[str, Any]) -> None:
    """The report as JSON, whole or not at all."""
    if path is not None:
        files.write(path, json.dumps(report, indent=1).encode())


def setting_of(arguments: argparse.Namespace) -> Setting:
    """What the command line asks for."""
    model = SSDResNet34("embedded", "fp32")
    width, height = (int(side) for side in arguments.size.split("x"))
    images, encoded = pictures(width, height)
    return Setting(
        model=model.source,
        network=lambda: folded(model.source, model.contract),
        card=arguments.device,
        device=arguments.device,
        images=images,
        files=encoded,
        precisions=arguments.precisions.split(","),
        batches=[int(batch) for batch in arguments.batches.split(",")],
        seconds=arguments.seconds,
    )


def parsed(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, checked."""
    parser = command_line(__doc__)
    parser.add_argument("--out", type=Path, default=None, help="write JSON there")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--precisions", default="bf16,fp16,fp32")
    parser.add_argument("--batches", default="1,2,4,8,16,32,64")
    parser.add_argument("--size", default="640x480", help="width x height of the pictures")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    found = parser.parse_args(words)
    unknown = [one for one in found.precisions.split(",") if one not in KINDS]
    if unknown:
        parser.error(f"--precisions {unknown[0]}: give some of {', '.join(KINDS)}")
    sides, batches = found.size.split("x"), found.batches.split(",")
    if len(sides) != 2 or not all(side.isdigit() and 0 < int(side) <= 8192 for side in sides):
        parser.error(f"--size {found.size}: give WIDTHxHEIGHT, such as 640x480")
    if not all(one.isdigit() and 0 < int(one) <= MAX_BATCH for one in batches):
        parser.error(f"--batches {found.batches}: give numbers from 1 to {MAX_BATCH}")
    return found


def main() -> None:
    arguments = parsed()
    try:
        if arguments.out is not None:
            files.check_target(arguments.out)
        with tempfile.TemporaryDirectory() as folder:  # the artifact is of no use to others
            os.environ.setdefault("SSD_RESNET34_CACHE", folder)
            if not session.has_whole_road("torch", arguments.device):
                sys.exit(f"--device {arguments.device}: is no GPU; give cuda or cuda:1")
            report = measure(setting_of(arguments), partial(write, arguments.out))
    except SSDResNet34Error as error:
        sys.exit(str(error))
    show(report)
    sys.exit(1 if report["failed"] or any(one["violations"] for one in report["agreement"]) else 0)


if __name__ == "__main__":
    main()

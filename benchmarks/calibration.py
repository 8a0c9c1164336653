"""Every calibration method on the embedded weights: average precision on the frozen scenes.

    python -m benchmarks.calibration [--images 40] [--count 60] [--folder DIR] [--json]

Calibrates on scenes of the training stream that no run has seen, once for all methods, and runs
every artifact over the same held-out scenes. Minutes and peak memory are of the calibration pass.
"""

import argparse
import contextlib
import json
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.progress import track

import ssd_resnet34
from ssd_resnet34 import SSDResNet34
from ssd_resnet34.compiler.calibration import Statistics, calibrate
from ssd_resnet34.compiler.quantization import quantize
from ssd_resnet34.compiler.ranges import METHODS
from ssd_resnet34.evaluation import coco
from ssd_resnet34.evaluation.dataset import read
from ssd_resnet34.training.held_out import training_seed
from ssd_resnet34.training.publish import FIRST_SCENE
from ssd_resnet34.training.scenes import render_scene
from ssd_resnet34.vision.images import Image

from .held_out import scenes


def pictures(count: int) -> Iterator[Image]:
    """Scenes after those that the embedded ranges come from."""
    for number in track(range(count), "calibrate", transient=True):
        yield Image(render_scene(training_seed(FIRST_SCENE + 1000 + number)).image)


def score(artifact: bytes, folder: Path, count: int) -> dict[str, float]:
    """AP, AP50 and seconds an image of an artifact on the held-out scenes."""
    truth = read(scenes(folder, count))
    results, seconds = [], 0.0
    with ssd_resnet34.load(artifact, score_threshold=0.05) as detector:
        for number in track(range(count), detector.session.precision, transient=True):
            began = time.perf_counter()
            results += detector(folder / f"{number:03d}.jpg").to_coco(number)
            seconds += time.perf_counter() - began
    numbers = coco.score(truth, results, range(count)).numbers
    return {"AP": numbers["AP"], "AP50": numbers["AP50"], "seconds": seconds / count}


def measure(folder: Path, images: int, count: int) -> dict[str, Any]:
    """All methods, asymmetric and symmetric, and fp32."""
    source = SSDResNet34("embedded", "fp32").source
    began = time.perf_counter()
    statistics: Statistics = calibrate(source, pictures(images))
    minutes = (time.perf_counter() - began) / 60
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rows = [{"method": "fp32", **score(source, folder, count)}]
    for symmetric in (False, True):
        for method in METHODS:
            began = time.perf_counter()
            found = statistics.ranges(method, symmetric=symmetric)
            spent = time.perf_counter() - began
            made = quantize(source, found)
            name = f"{method}, symmetric" if symmetric else method
            rows.append({"method": name, "search": spent, **score(made, folder, count)})
    facts = {"images": images, "scenes": count, "minutes": minutes, "peak_mb": peak}
    return facts | {"rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = arguments.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        found = measure(folder, arguments.images, arguments.count)
    if arguments.json:
        print(json.dumps(found))
        return
    print(
        f"{found['images']} images calibrated in {found['minutes']:.1f} minutes, peak "
        f"{found['peak_mb']:.0f} MB; {found['scenes']} held-out scenes"
    )
    print(f"{'':24}{'AP':>8}{'AP50':>8}{'of fp32':>9}{'search':>9}")
    reference = found["rows"][0]["AP"]
    for row in found["rows"]:
        search = f"{row['search']:.1f} s" if "search" in row else "–"
        print(
            f"{row['method']:24}{row['AP']:8.4f}{row['AP50']:8.4f}"
            f"{100 * row['AP'] / reference:8.1f}%{search:>9}"
        )


if __name__ == "__main__":
    main()

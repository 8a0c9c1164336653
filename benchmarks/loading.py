"""How many images a step can take without waiting for them, and how fast a large COCO file opens.

    python -m benchmarks.loading DATA --format coco|voc|yolo [--size 600] [--step-ms 50]
                                 [--batch N] [--workers 2] [--steps 100]
    python -m benchmarks.loading --large-file

The first decodes and augments in this process, which gives the time of an image on one core and
from it the batch that the workers can keep up with; then it runs ``--steps`` steps that do nothing
but last, as a GPU's would, with batches of that size or of ``--batch``, made by worker processes,
and says how many of them waited. The second writes a file with the numbers and lengths of
instances_train2017.json (118,287 images, 860,001 annotations, about 450 MB, no image) into a
temporary folder and opens it in a fresh process. Times are of this machine and of now.
"""

import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

import torch

from benchmarks import command_line
from ssd_resnet34.contract import COCO_CATEGORIES
from ssd_resnet34.training.data.feeding import Feed
from ssd_resnet34.training.data.loading import Examples
from ssd_resnet34.training.data.reading import read
from ssd_resnet34.training.fitting.loading import Order, Share, micros

IMAGES, ANNOTATIONS = 118_287, 860_001


def cost(examples: Examples, count: int) -> float:
    """Processor seconds an image, decoding and augmentation, on one core."""
    for n in range(min(10, count)):
        examples.example(0, n)
    began = time.process_time()
    for n in range(count):
        examples.example(n // len(examples), n % len(examples))
    return (time.process_time() - began) / count


def waiting(
    examples: Examples, batch: int, workers: int, steps: int, seconds: float
) -> tuple[float, float]:
    """Of ``steps`` steps that each last ``seconds``, the share that waited, and that of the time.

    The feed and its processes end with this function.
    """
    order = Order(len(examples), batch, 1 + (steps + 1) * batch // len(examples), seed=0)
    # Priors of a small input: matching is the same few milliseconds wherever it is counted.
    priors = torch.rand(1000, 4) * examples.size
    batches = micros(examples, order, Share(0, 1, batch, 1), priors, 0, workers)
    feed: Feed[object] = Feed(batches, examples, workers=workers, say=print)
    for _ in islice(feed, steps + 1):
        time.sleep(seconds)
    return feed.starving, feed.waiting


def write_large(path: Path) -> None:
    """COCO annotations as long as those of train2017, without a meaning."""
    draw = random.Random(0)
    outlines = [
        [round(draw.uniform(0, 640), 2) for _ in range(2 * (6 + int(draw.expovariate(1 / 17))))]
        for _ in range(2000)
    ]
    with path.open("w") as file:
        file.write('{"images": [')
        for n in range(1, IMAGES + 1):
            entry = {
                "license": 3,
                "file_name": f"{n:012d}.jpg",
                "coco_url": f"http://images.example/train2017/{n:012d}.jpg",
                "height": 480,
                "width": 640,
                "date_captured": "2013-11-14 11:18:45",
                "flickr_url": f"http://farm9.example/{n}_c8a8bf2d0d_z.jpg",
                "id": n,
            }
            file.write(f"{', ' if n > 1 else ''}{json.dumps(entry)}")
        file.write('], "annotations": [')
        for n in range(1, ANNOTATIONS + 1):
            box = [draw.uniform(0, 500), draw.uniform(0, 400), draw.uniform(5, 139), 50.5]
            entry = {
                "segmentation": [draw.choice(outlines)],
                "area": round(box[2] * box[3], 4),
                "iscrowd": 0,
                "image_id": draw.randint(1, IMAGES),
                "bbox": [round(value, 2) for value in box],
                "category_id": draw.choice(COCO_CATEGORIES).category_id,
                "id": n,
            }
            file.write(f"{', ' if n > 1 else ''}{json.dumps(entry)}")
        categories = [{"id": one.category_id, "name": one.label} for one in COCO_CATEGORIES]
        file.write(f'], "categories": {json.dumps(categories)}}}')


def open_large(path: Path) -> None:
    """Seconds and peak memory of opening it, in this process, which should be new."""
    began, used = time.perf_counter(), time.process_time()
    found = read(path, "coco", images=path.parent)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    boxes = sum(len(sample.boxes) for sample in found.samples)
    print(
        f"{path.stat().st_size / 1e6:.0f} MB, {len(found.samples):,} images, {boxes:,} boxes: "
        f"{time.perf_counter() - began:.1f} s ({time.process_time() - used:.1f} s of one core), "
        f"peak {peak / 1e9:.2f} GB"
    )


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("data", nargs="?")
    parser.add_argument("--format", default="coco", choices=["coco", "voc", "yolo"])
    parser.add_argument("--split")
    parser.add_argument("--size", type=int, default=600)
    parser.add_argument("--step-ms", type=float, default=50)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--large-file", nargs="?", const="", metavar="PATH")
    chosen = parser.parse_args()
    if chosen.large_file == "":
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "instances_large.json"
            write_large(path)
            (path.parent / f"{1:012d}.jpg").touch()
            command = [sys.executable, "-m", "benchmarks.loading", "--large-file", str(path)]
            subprocess.run(command, check=True)
        return
    if chosen.large_file is not None:
        open_large(Path(chosen.large_file))
        return
    if chosen.data is None:
        parser.error("name the data, or --large-file")
    examples = Examples(read(chosen.data, chosen.format, split=chosen.split), chosen.size)
    seconds = cost(examples, min(200, 4 * len(examples)))
    step = chosen.step_ms / 1e3
    most = max(1, int(chosen.workers * step / seconds))
    batch = chosen.batch or max(1, int(0.8 * most))
    print(
        f"{seconds * 1e3:.1f} ms an image at {chosen.size}x{chosen.size} on one core; "
        f"{chosen.workers} workers on as many free cores keep up with {most} images a "
        f"{chosen.step_ms:g} ms step"
    )
    starving, waited = waiting(examples, batch, chosen.workers, chosen.steps, step)
    print(
        f"batch {batch}, {chosen.workers} workers, {chosen.steps} steps: {starving:.0%} of "
        f"the last steps waited, {waited:.1%} of their time"
    )


if __name__ == "__main__":
    main()

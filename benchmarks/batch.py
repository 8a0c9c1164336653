"""Batch against ``detector.stream`` on the same images: what worker processes and rows cost.

    python -m benchmarks.batch [--pairs 15] [--images 6] [--json]

Interleaved pairs, both with all threads of this process and already loaded; ours reads files,
hashes them, runs them in a worker process and commits shards. A ratio of 1 is no cost at all.
"""

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Final

import cv2
import numpy as np

import ssd_resnet34
from ssd_resnet34.batch import manifest, running, shards
from ssd_resnet34.batch.manifest import Manifest
from ssd_resnet34.batch.place import LocalPlace
from ssd_resnet34.batch.pool import Care, Pool
from ssd_resnet34.batch.sources import Search
from ssd_resnet34.batch.worker import Job
from ssd_resnet34.benchmarking.pairs import ENOUGH, Comparison, compare

SAMPLE: Final = Path(__file__).resolve().parents[1] / "samples" / "scene.png"

ENOUGH_RATE: Final = 0.95
"""Least rate of batch as a share of the stream's."""


def pictures(folder: Path, count: int) -> list[str]:
    """JPEGs of the sample picture at sizes between 640 and 1920 pixels."""
    picture = cv2.imdecode(np.frombuffer(SAMPLE.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    paths = []
    for n, width in enumerate(np.linspace(640, 1920, count).astype(int).tolist()):
        height = round(width * picture.shape[0] / picture.shape[1])
        done, data = cv2.imencode(".jpg", cv2.resize(picture, (width, height)))
        assert done
        path = folder / f"{n:03}.jpg"
        path.write_bytes(data.tobytes())
        paths.append(str(path))
    return paths


def measure(pairs: int, count: int) -> Comparison:
    """Time both on ``count`` pictures a round."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in").mkdir()
        paths = pictures(folder / "in", count)
        place = LocalPlace(folder / "out")
        plan = manifest.write(place, Search(str(folder / "in")), shard_size=count)
        found = Manifest(place, plan)
        with ssd_resnet34.load() as detector, Pool(Job(), Care(timeout=600)) as pool:

            def stream() -> None:
                assert len(list(detector.stream(paths))) == count

            def batch() -> None:
                for shard, rows, timings in running.process(found, pool, {0: ()}):
                    errors = [row.message for row in rows if row.error]
                    assert not errors, errors
                    shards.commit(place, plan, shard, rows, timings)

            return compare(f"batch, {count} images", stream, batch, pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=ENOUGH)
    parser.add_argument("--images", type=int, default=6)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = measure(max(arguments.pairs, ENOUGH), arguments.images)
    print(json.dumps(asdict(found)) if arguments.json else found)
    if found.ratio < ENOUGH_RATE:
        sys.exit(f"batch reaches {found.ratio:.2f} of the stream's rate, not {ENOUGH_RATE}")


if __name__ == "__main__":
    main()

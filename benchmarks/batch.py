"""What a batch run costs beside the network, as ratios of interleaved pairs; 1 is no cost at all.

    python -m benchmarks.batch [--part stream|ray] [--pairs 15] [--images 6] [--json]

*stream*: a batch against ``detector.stream`` on the same images, both with all threads of this
process and already loaded; ours reads files, hashes them, runs them in a worker process and commits
shards.

*ray*: the actor of a Ray cluster on this machine alone, with all threads, against a local worker
process with as many: the same pictures in two shards, given out by Ray Data and by us. A round
starts its actor anew: left out is all that comes before its first image is done, of both. What
lies between two shards is in it, and weighs more than in shards of the usual size. The cluster's
own processes run during both.
"""

import importlib.util
import json
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

import cv2
import numpy as np

import ssd_resnet34
from benchmarks import SAMPLE, command_line
from ssd_resnet34 import ray_cluster
from ssd_resnet34.batch import cluster, manifest, running, shards
from ssd_resnet34.batch.cluster import Actors
from ssd_resnet34.batch.manifest import Manifest
from ssd_resnet34.batch.place import LocalPlace
from ssd_resnet34.batch.pool import Care, Pool
from ssd_resnet34.batch.sources import Search
from ssd_resnet34.batch.worker import Job
from ssd_resnet34.pairs import ENOUGH, Comparison, compare, compared
from ssd_resnet34.runtime import cpu

LEAST: Final = {"stream": 0.95, "ray": 0.90}
"""Least rate of ours as a share of the other's."""

CARE: Final = Care(timeout=600)


def pictures(folder: Path, count: int) -> list[str]:
    """JPEGs of the sample picture at sizes between 640 and 1920 pixels."""
    picture = cv2.imdecode(np.frombuffer(SAMPLE.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    folder.mkdir()
    paths = []
    for n, width in enumerate(np.linspace(640, 1920, count).astype(int).tolist()):
        height = round(width * picture.shape[0] / picture.shape[1])
        done, data = cv2.imencode(".jpg", cv2.resize(picture, (width, height)))
        assert done
        path = folder / f"{n:03}.jpg"
        path.write_bytes(data.tobytes())
        paths.append(str(path))
    return paths


def process(found: Manifest, pool: Pool) -> None:
    """All shards, by the worker processes of a pool; committed."""
    for shard, rows, timings in running.process(found, pool, dict.fromkeys(every(found), ())):
        errors = [row.message for row in rows if row.error]
        assert not errors, errors
        shards.commit(found.place, found.plan, shard, rows, timings)


def every(found: Manifest) -> Sequence[int]:
    """Numbers of all shards."""
    return range(found.plan.shards)


def against_stream(pairs: int, count: int) -> Comparison:
    """Time both on ``count`` pictures a round."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = pictures(folder / "in", count)
        place = LocalPlace(folder / "out")
        plan = manifest.write(place, Search(str(folder / "in")), shard_size=count)
        found = Manifest(place, plan)
        with ssd_resnet34.load() as detector, Pool(Job(), CARE) as pool:

            def stream() -> None:
                assert len(list(detector.stream(paths))) == count

            return compare(f"batch, {count} images", stream, lambda: process(found, pool), pairs)


def against_local(pairs: int, count: int) -> Comparison:
    """Time both on two shards of ``count`` pictures a round."""
    # The report keeps what is printed: Ray tells of each round.
    logging.disable(logging.WARNING)
    os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_BACKEND_LOG_LEVEL="fatal")
    ray = ray_cluster.ray()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pictures(folder / "in", 2 * count)
        place = LocalPlace(folder / "out")
        plan = manifest.write(place, Search(str(folder / "in")), shard_size=count)
        found = Manifest(place, plan)
        threads = cpu.available_threads()
        job, actors = Job(threads=threads), Actors(cpus=threads)
        ray_cluster.connect(ray, "local")
        try:
            with Pool(job, CARE) as pool:

                def over_ray() -> None:
                    target = str(folder / "out")
                    rules = running.Rules()
                    lines = cluster.distribute(
                        ray, list(every(found)), target, job, CARE, rules, actors
                    )
                    assert [line["errors"] for line in lines] == ["{}"] * plan.shards

                sides: list[Callable[[], None]] = [lambda: process(found, pool), over_ray]
                times = []
                for number in range(pairs):
                    order = (0, 1) if number % 2 else (1, 0)
                    taken = {side: steady(found, sides[side]) for side in order}
                    times.append((taken[0], taken[1]))
        finally:
            ray.shutdown()
    return compared(f"Ray on one node, 2 shards of {count} images, ms an image", times)


def steady(found: Manifest, work: Callable[[], None]) -> float:
    """Seconds an image from the first one that is done to the last, by the shards' sidecars."""
    shards.remove(found.place, [shards.name_of(found.plan, one) for one in every(found)])
    work()
    ended = [one.ended for shard in every(found) for one in shards.read_timings(found.place, shard)]
    assert len(ended) == found.plan.count
    return (max(ended) - min(ended)) / (len(ended) - 1)


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--part", choices=LEAST, help="default: both")
    parser.add_argument("--pairs", type=int, default=ENOUGH)
    parser.add_argument("--images", type=int, default=6, help="a round; with Ray, a shard")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    measures = {"stream": against_stream, "ray": against_local}
    if arguments.part is None and importlib.util.find_spec("ray") is None:
        print("Ray is not installed: its part is left out", file=sys.stderr)
        del measures["ray"]
    slow = []
    for part in [arguments.part] if arguments.part else measures:
        found = measures[part](max(arguments.pairs, ENOUGH), arguments.images)
        print(json.dumps(asdict(found)) if arguments.json else found, flush=True)
        if found.ratio < LEAST[part]:
            slow.append(f"{part}: {found.ratio:.2f} of the other's rate, not {LEAST[part]}")
    if slow:
        sys.exit("\n".join(slow))


if __name__ == "__main__":
    main()

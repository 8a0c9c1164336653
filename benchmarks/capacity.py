"""How long, how much, and what breaks first: a hundred million images over a thousand workers.

    python -m benchmarks.capacity [--images 1e8] [--workers 1000] [--rate 1.7] [--bench bench.json]
                                  [--price 0.04] [--json]

Two parts. *Measured here*: what planning, a manifest and rows cost an input, and how fast rows are
written and checked. *Simulated* with these: a driver that gives shards to workers that fail, are
slow, meet images that kill them, and a store that takes time to answer; event by event. ``--rate``
is images a second of one worker; ``--bench`` takes it from ``ssd-resnet34 bench --json``.
"""

import heapq
import json
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import command_line
from ssd_resnet34.batch import manifest
from ssd_resnet34.batch.forms import PARQUET
from ssd_resnet34.batch.manifest import Manifest
from ssd_resnet34.batch.place import LocalPlace
from ssd_resnet34.batch.rows import Row
from ssd_resnet34.batch.sorting import Input
from ssd_resnet34.batch.sources import Search
from ssd_resnet34.contract import COCO
from ssd_resnet34.vision.detections import Detections

SAMPLE: Final = 50_000
"""Inputs of the measured part."""

SIZES: Final = (128, 512, 2048, 8192, 32_768)


@dataclass(frozen=True)
class Costs:
    """What one input costs, measured on this machine with one core.

    Attributes:
        planned: inputs a second, from their names to the manifest.
        manifest: bytes in the manifest.
        row: bytes of a row with seven detections, Parquet.
        written: rows a second made into a shard.
        checked: rows a second read back and compared.
        driver: bytes that the driver holds for each shard.
    """

    planned: float
    manifest: float
    row: float
    written: float
    checked: float
    driver: float


class _Listing(Search):
    """A bucket of that many objects, without the bucket."""

    def inputs(self) -> Iterator[Input]:
        drawn = np.random.default_rng(0)
        for n in range(SAMPLE):
            name = f"s3://photos-of-the-fleet/2026/11/{n // 1000:06d}/{drawn.bytes(8).hex()}.jpg"
            yield Input(name, 200_000 + n, drawn.bytes(16).hex())


def measure() -> Costs:
    """The costs, on made-up names and detections."""
    with tempfile.TemporaryDirectory() as name:
        place = LocalPlace(Path(name))
        began = time.process_time()
        plan = manifest.write(place, _Listing("s3://photos-of-the-fleet"))
        planned = SAMPLE / (time.process_time() - began)
        size = sum(path.stat().st_size for path in Path(name).rglob("*") if path.is_file())
        inputs = Manifest(place, plan).shard(0)
    rows = [_row(id, one.uri) for id, one in enumerate(inputs * 4, 1)]
    data = PARQUET.encode(rows, {})
    began = time.process_time()
    PARQUET.encode(rows, {})
    written = len(rows) / (time.process_time() - began)
    uris = [row.uri for row in rows]
    PARQUET.check(data, uris, 1)  # the first one imports
    began = time.process_time()
    PARQUET.check(data, uris, 1)
    checked = len(rows) / (time.process_time() - began)
    tracemalloc.start()
    todo = dict.fromkeys(range(100_000), ())
    driver = tracemalloc.get_traced_memory()[0] / len(todo)
    tracemalloc.stop()
    return Costs(planned, size / SAMPLE, len(data) / len(rows), written, checked, driver)


def _row(id: int, uri: str) -> Row:
    drawn = np.random.default_rng(id)
    count = int(drawn.poisson(7))
    indices = drawn.integers(1, 81, count)
    found = Detections(
        drawn.uniform(0, 1000, (count, 4)).astype(np.float32),
        drawn.uniform(0.3, 1, count).astype(np.float32),
        indices,
        np.array([COCO.categories[n - 1].category_id for n in indices], np.int64),
        tuple(COCO.categories[n - 1].label for n in indices),
        uri,
        1920,
        1080,
        "embedded",
    )
    return Row(id, uri, 200_000, drawn.bytes(32).hex(), "0123456789abcdef", "embedded", found)


@dataclass(frozen=True)
class World:
    """What is simulated; seconds, and chances.

    Attributes:
        images, workers, rate: how many, and images a second of a worker.
        lifetime: mean time until a worker's machine is lost (a spot instance: a day).
        replaced: until another takes its place.
        poison: chance that an image ends its worker process, twice.
        restart: of a worker process.
        slow: share of workers that run at a third.
        answer: of the store, to a write.
        driver_losses: moments, as shares of the ideal time, at which the driver is lost.
        readers: shards that the driver reads at a time.
        cores: of the driver.
    """

    images: int = 100_000_000
    workers: int = 1000
    rate: float = 1.7
    lifetime: float = 24 * 3600
    replaced: float = 180
    poison: float = 1e-6
    restart: float = 4
    slow: float = 0.01
    answer: float = 0.15
    driver_losses: tuple[float, ...] = (0.3, 0.7)
    readers: int = 64
    cores: int = 8


@dataclass(frozen=True)
class Outcome:
    """One simulated run.

    Attributes:
        shard, shards: inputs a shard, and how many.
        hours: from the first shard to the mark.
        waste: share of images that were run and lost.
        tail: hours from the first idle worker to the last shard.
        commits: a second: mean and most within a minute.
        files_gb: rows, gigabytes.
        driver_mb: what the driver holds.
        resume: minutes from a new driver's start to its first shard (all is checked, at half-way).
        reconcile: minutes at the end.
        lost: workers' machines.
    """

    shard: int
    shards: int
    hours: float
    waste: float
    tail: float
    commits: tuple[float, int]
    files_gb: float
    driver_mb: float
    resume: float
    reconcile: float
    lost: int


def simulate(world: World, costs: Costs, shard: int, seed: int = 0) -> Outcome:
    """Give shards to workers until all are committed.

    A worker that is lost takes its shard with it: it is given out again. While the driver is away,
    workers finish what they have and wait.
    """
    drawn = np.random.default_rng(seed)
    shards = -(-world.images // shard)
    speed = np.exp(drawn.normal(0, 0.1, world.workers))
    speed[drawn.random(world.workers) < world.slow] /= 3
    ideal = world.images / (world.workers * world.rate)

    def check_seconds(count: float) -> float:
        # The store's latency, many at a time; or the work, where that is longer.
        waiting = count * world.answer / world.readers
        return max(waiting, count * shard / (costs.checked * world.cores))

    away: list[tuple[float, float]] = []
    for share in world.driver_losses:
        begin = share * ideal
        away.append((begin, begin + 60 + check_seconds(share * shards)))
    dies = drawn.exponential(world.lifetime, world.workers)
    # (time, kind, worker): 0 a worker is free, 1 a shard is done.
    events: list[tuple[float, int, int]] = [(0.0, 0, n) for n in range(world.workers)]
    heapq.heapify(events)
    remaining, done, wasted, lost = shards, 0, 0.0, 0
    first_idle = end = 0.0
    minutes: dict[int, int] = {}
    while done < shards:
        now, kind, worker = heapq.heappop(events)
        if kind == 1:
            done += 1
            minutes[int(now // 60)] = minutes.get(int(now // 60), 0) + 1
            end = now
        blocked = next((until for begin, until in away if begin <= now < until), None)
        if blocked is not None:
            heapq.heappush(events, (blocked, 0, worker))
            continue
        if remaining == 0:
            first_idle = first_idle or now
            continue
        remaining -= 1
        poisons = int(drawn.poisson(world.poison * shard))
        work = shard / (world.rate * speed[worker]) + poisons * 2 * world.restart
        finish = now + work + shard / costs.written + world.answer
        if finish > dies[worker]:
            wasted += shard * max(0.0, dies[worker] - now) / work
            lost += 1
            remaining += 1
            back = max(now, dies[worker]) + world.replaced
            dies[worker] = back + drawn.exponential(world.lifetime)
            heapq.heappush(events, (back, 0, worker))
            # Idle workers must not miss a shard that comes back at the very end.
            continue
        heapq.heappush(events, (finish, 1, worker))
    reconcile = check_seconds(shards)
    return Outcome(
        shard=shard,
        shards=shards,
        hours=(end + reconcile) / 3600,
        waste=wasted / world.images,
        tail=(end - first_idle) / 3600 if first_idle else 0.0,
        commits=(shards / end, round(max(minutes.values()) / 60)),
        files_gb=world.images * costs.row / 1e9,
        driver_mb=(shards * costs.driver) / 1e6,
        resume=check_seconds(shards / 2) / 60,
        reconcile=reconcile / 60,
        lost=lost,
    )


def rate_of(path: Path) -> float:
    """Images a second of a stream, from ``ssd-resnet34 bench --json``."""
    report = json.loads(path.read_text())
    if not report.get("stages"):
        sys.exit(f"{path}: has no stages; run `ssd-resnet34 bench --json` without --no-stages")
    return float(report["stages"]["stream_images_per_second"])


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--images", type=float, default=World.images)
    parser.add_argument("--workers", type=int, default=World.workers)
    parser.add_argument("--rate", type=float, default=World.rate)
    parser.add_argument("--bench", type=Path)
    parser.add_argument("--price", type=float, default=0.04, help="of a worker, an hour")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rate = rate_of(arguments.bench) if arguments.bench else arguments.rate
    world = World(int(arguments.images), arguments.workers, rate)
    costs = measure()
    outcomes = [simulate(world, costs, size) for size in SIZES]
    if arguments.json:
        facts = {"world": asdict(world), "costs": asdict(costs)}
        print(json.dumps({**facts, "outcomes": [asdict(one) for one in outcomes]}))
        return
    show(world, costs, outcomes, arguments.price)


def show(world: World, costs: Costs, outcomes: list[Outcome], price: float) -> None:
    """Both parts as text, in 80 columns."""
    ideal = world.images / (world.workers * world.rate) / 3600
    print(
        f"measured, one core: {costs.planned:,.0f} inputs/s planned, {costs.manifest:.0f} B of "
        f"manifest and\n{costs.row:.0f} B of row an input, {costs.written:,.0f} rows/s written, "
        f"{costs.checked:,.0f} rows/s checked, {costs.driver:.0f} B\na shard in the driver"
    )
    print(
        f"simulated: {world.images:,} images, {world.workers:,} workers at {world.rate:g} a second;"
        f" ideal {ideal:.1f} h,\nplanned in {world.images / costs.planned / 60:.0f} min, manifest "
        f"{world.images * costs.manifest / 1e9:.1f} GB, rows {outcomes[0].files_gb:.0f} GB, cost "
        f"{ideal * world.workers * price:,.0f} at {price:g} a worker and hour"
    )
    table = Table(box=None, pad_edge=False)
    heads = "shard,files,hours,wasted,tail h,commits/s,most/s,driver MB,resume min,end min,lost"
    for head in heads.split(","):
        table.add_column(head, justify="right")
    for one in outcomes:
        table.add_row(
            f"{one.shard:,}",
            f"{one.shards:,}",
            f"{one.hours:.1f}",
            f"{one.waste:.2%}",
            f"{one.tail:.2f}",
            f"{one.commits[0]:.2f}",
            f"{one.commits[1]:,}",
            f"{one.driver_mb:.0f}",
            f"{one.resume:.0f}",
            f"{one.reconcile:.0f}",
            f"{one.lost:,}",
        )
    Console(width=100, highlight=False).print(table)


if __name__ == "__main__":
    main()

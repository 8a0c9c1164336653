"""What LoadGen and the harness add to the session's own time of a sample.

    python -m benchmarks.loadgen [--precision auto] [--engine auto] [--samples 4] [--pairs 15]

A pair is so many samples through ``Road.detect`` in a loop, and the same number through LoadGen,
queue, threads and answers, with one session; the time of LoadGen's side is its own, from its log.
In SingleStream one sample follows another, as in the loop. Offline may be faster than the loop: it
finishes one image while the network runs the next. Ratio: loop / LoadGen; 0.97 is 3 % more.
"""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

import ssd_resnet34
from benchmarks import command_line
from ssd_resnet34.evaluation.dataset import read
from ssd_resnet34.evaluation.running import find
from ssd_resnet34.mlperf import loadgen, logs, rounds, settings
from ssd_resnet34.mlperf.library import Library
from ssd_resnet34.mlperf.road import Prepared, Road, rows
from ssd_resnet34.mlperf.rounds import Scenario
from ssd_resnet34.mlperf.settings import Layer
from ssd_resnet34.mlperf.system import Record, System
from ssd_resnet34.pairs import ENOUGH, WARM_UPS, Comparison, compared, seconds

from .held_out import scenes

_TIMED: Final[tuple[Scenario, ...]] = ("SingleStream", "Offline")


class Harness:
    """LoadGen in this process, for as many samples as are asked for."""

    def __init__(self, road: Road, samples: Sequence[Prepared], workers: int, folder: Path) -> None:
        self.road, self.samples, self.workers, self.folder = road, samples, workers, folder

    def run(self, scenario: Scenario) -> float:
        """Seconds of all samples, by LoadGen's clock."""
        count = len(self.samples)
        chosen = rounds.get(rounds.LATEST)
        conf = (
            f"*.*.min_duration = 0\n*.*.min_query_count = {count}\n"
            "*.SingleStream.target_latency = 1\n*.Offline.target_qps = 1\n"
        )
        layers = [
            Layer(settings.ROUND_FILE, "round", rounds.configuration(chosen)),
            Layer(settings.USER_FILE, "benchmark", conf),
        ]
        settings.write(layers, self.folder)
        test = loadgen.Test(layers, self.folder, chosen, scenario, "performance")
        library = Library(lambda index: self.samples[index], threads=1)

        def detect(indices: Sequence[int]) -> list[Record]:
            found = self.road.detect([library[index] for index in indices])
            return [rows(index, one) for index, one in zip(indices, found, strict=True)]

        system = System(detect, test.complete, self.workers, batch=1)
        test.run(system, library, count)
        system.close()
        assert system.fault is None, system.fault
        values = logs.read_detail(self.folder / loadgen.DETAIL, "performance").values
        if scenario == "Offline":
            return float(count / values["result_samples_per_second"])
        return float(values["result_mean_latency_ns"] * count / 1e9)

    def loop(self) -> None:
        """The same samples without LoadGen."""
        for sample in self.samples:
            self.road.detect([sample])


def measure(
    precision: str, engine: str, weights: str, count: int, pairs: int, scratch: Path
) -> list[Comparison]:
    """A comparison for each scenario; who goes first alternates."""
    annotations = scenes(scratch, count)
    files = [find(scratch, image["file_name"]) for image in read(annotations).images]
    found = []
    with ssd_resnet34.load(
        weights, precision=precision, engine=engine, score_threshold=0.05
    ) as detector:
        road = Road(detector)
        samples = [road.prepare(path) for path in files]
        harness = Harness(road, samples, detector.session.streams + 1, scratch)
        for scenario in _TIMED:
            times = []
            for number in range(WARM_UPS + pairs):
                if number % 2:
                    ours, theirs = harness.run(scenario), seconds(harness.loop)
                else:
                    theirs, ours = seconds(harness.loop), harness.run(scenario)
                times.append((theirs / count, ours / count))
            name = f"{detector.session.precision} in {detector.session.engine}, {scenario}"
            found.append(compared(name, times[WARM_UPS:]))
    return found


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--weights", default="embedded")
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--pairs", type=int, default=ENOUGH)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        found = measure(
            given.precision,
            given.engine,
            given.weights,
            given.samples,
            max(given.pairs, ENOUGH),
            Path(scratch),
        )
    if given.json:
        print(json.dumps([asdict(one) for one in found]))
    else:
        print(*found, sep="\n")


if __name__ == "__main__":
    main()

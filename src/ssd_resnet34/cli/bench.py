"""``ssd-resnet34 bench``: how fast this machine is, as ratios of interleaved pairs."""

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Annotated, Any, Final

import cv2
import numpy as np
import typer

from ..benchmarking import peers, plot, rates, runs, stages, start
from ..benchmarking.pairs import ENOUGH
from ..benchmarking.rates import Rate
from ..benchmarking.runs import Configuration, Contender, Entry, Run
from ..benchmarking.stages import Stages
from ..benchmarking.start import Start
from ..detector import Detector
from ..errors import ImageError, UnreadableFile, UnsupportedPrecision, UsageError
from ..files import check_target
from ..model import SSDResNet34
from ..runtime import cpu
from ..runtime.precision import PRECISIONS
from ..vision.images import Limits
from ..vision.preprocess import ModelInput
from .bench_report import caption, describe, faults, show
from .detect import SOME_REFUSED, Threads, Weights
from .inputs import STDIN, expand, read
from .terminal import Ticker, complain, progress

EXAMPLES: Final = """Examples:

ssd-resnet34 bench

ssd-resnet34 bench --images photos/ --configs auto,onnxruntime:fp32 --rates

ssd-resnet34 bench --configs all:all --baseline onnxruntime:fp32 --plot b.png

ssd-resnet34 bench --configs openvino:int8:1+2:1+4 --no-stages --pairs 5

ssd-resnet34 bench --peers --start --json > bench.json
"""

_MADE_UP: Final = 4
"""Pictures, where none are given."""


def bench(
    images: Annotated[
        list[str] | None,
        typer.Option("--images", metavar="IMAGES", help="File, folder or glob; default: made up."),
    ] = None,
    configs: Annotated[
        str, typer.Option(metavar="CONFIGS", help="What to compare; see above.")
    ] = "auto",
    baseline: Annotated[
        str | None,
        typer.Option(metavar="CONFIG", help="Default: the first of these that works."),
    ] = None,
    weights: Weights = "embedded",
    device: Annotated[str, typer.Option(help="cpu, or cuda with the torch engine.")] = "cpu",
    threads: Threads = None,
    pairs: Annotated[
        int,
        typer.Option("--pairs", "-n", min=1, max=1000, help="Of each ratio; the run's length."),
    ] = ENOUGH,
    with_stages: Annotated[
        bool, typer.Option("--stages/--no-stages", help="Decode, preprocess, …, and a stream.")
    ] = True,
    with_peers: Annotated[
        bool, typer.Option("--peers", help="Other runtimes and decoders that are installed.")
    ] = False,
    with_rates: Annotated[
        bool, typer.Option("--rates", help="This CPU's convolution rates, and the share reached.")
    ] = False,
    with_start: Annotated[
        bool, typer.Option("--start", help="Cold and warm start, and peak memory, of detect.")
    ] = False,
    plot_to: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="Write a bar chart, PNG.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Measure the speed of the network and of all around it.

    Every configuration is timed in pairs with the baseline, the first row.

    Times are of one image. Ratios are time / baseline: 0.5 is twice as fast.

    CONFIGS are ENGINE:PRECISION:STREAMS:BATCH with commas between; the last parts may be left out.

    In a part, + joins several values, and all is every engine or every precision.

    Exit code 1 if a configuration fails; one that cannot be had here is a row that says why.
    """
    wanted = runs.parse(configs)
    chosen = None if baseline is None else _one(baseline)
    if with_rates and device != "cpu":
        raise UsageError(f"--rates measures the CPU, not {device}; leave one of the two out")
    if plot_to is not None:
        _check_plot(plot_to)
    if pairs < ENOUGH:
        complain(f"{pairs} pairs make no ratio to quote; {ENOUGH} or more do", "note")
    pictures, refused = _pictures(images, pairs)
    job = _Job(weights, device, threads, pairs, pictures, quiet)
    with job.opened(wanted, chosen) as (found, detector, contender):
        job.network(contender, [one for one in wanted if one != found], with_peers)
        if with_stages:
            job.stages(detector)
        if with_peers:
            job.peers(detector)
    if with_rates:
        job.rates()
    if with_start:
        job.starts()
    report = job.report(refused)
    if plot_to is not None:
        plot.save(plot_to, [*job.runs, *job.peer_runs], *caption(report))
    if as_json:
        print(json.dumps(report))
    else:
        show(report)
    failed = faults(report)
    for fault in failed:
        complain(fault)
    if failed:
        raise typer.Exit(1)
    if refused:
        raise typer.Exit(SOME_REFUSED)


class _Job:
    """The parts of a run, and what each found."""

    def __init__(
        self,
        weights: str,
        device: str,
        threads: int | None,
        pairs: int,
        pictures: Sequence[bytes],
        quiet: bool,
    ) -> None:
        self.weights, self.device, self.threads = weights, device, threads
        self.count, self.pictures, self.quiet = pairs, pictures, quiet
        self.runs: list[Run] = []
        self.peer_runs: list[Run] = []
        self.decoders: list[Run] = []
        self.roads: list[Run] = []
        self.measured: Stages | None = None
        self.machine_rates: list[Rate] = []
        self.started: list[Start] = []

    def opened(
        self, wanted: Sequence[Configuration], baseline: Configuration | None
    ) -> AbstractContextManager[tuple[Configuration, Detector, Contender]]:
        """The baseline, ready: the one that was named, or the first that can be had."""
        return runs.first_that_opens(wanted if baseline is None else [baseline], self._open)

    def network(
        self, baseline: Contender, others: Sequence[Configuration], with_peers: bool
    ) -> None:
        """Every configuration, and every peer, against the baseline."""
        entries = [Entry(str(one), partial(self._contender, one)) for one in others]
        if with_peers:
            model = SSDResNet34(self.weights, "fp32")
            entries += peers.networks(
                lambda: model.source,
                model.contract.num_classes,
                self._inputs(model, 1).tensor,
                self.threads,
            )
        found = self._measured("network", baseline, entries)
        self.runs, self.peer_runs = found[: 1 + len(others)], found[1 + len(others) :]

    def stages(self, detector: Detector) -> None:
        """The stages of the baseline, and its stream."""
        total = stages.network_runs(self.count, detector.session.streams)
        with self._bar("stages", total) as ticker:
            self.measured = stages.measure(
                detector, self.pictures, self.count, on_image=ticker.advance
            )

    def peers(self, detector: Detector) -> None:
        """Other decoders of the baseline's heads, and the plain way from file to detections."""
        picture = self.pictures[0]
        heads = detector.session.run(detector.model.preprocess(picture))
        self.decoders = self._measured("postprocess", *peers.decoders(detector, heads))
        model = SSDResNet34(self.weights, "fp32")
        roads = peers.roads(detector, lambda: model.source, picture, self.threads)
        self.roads = self._measured("whole road", *roads)

    def rates(self) -> None:
        """The machine's convolution rates."""
        with self._bar("rates", self.count * len(PRECISIONS)) as ticker:
            self.machine_rates = rates.measure(
                self.count, threads=self.threads, on_pair=ticker.advance
            )

    def starts(self) -> None:
        """``detect`` with each engine and precision that ran, in processes of its own."""
        kinds = list(dict.fromkeys((r.engine, r.precision) for r in self.runs if r.seconds))
        count = min(self.count, start.RUNS)
        with (
            tempfile.TemporaryDirectory(prefix="ssd-resnet34-") as folder,
            self._bar("start", 2 * count * len(kinds)) as ticker,
        ):
            picture = Path(folder) / "picture"
            picture.write_bytes(self.pictures[0])
            for engine, precision in kinds:
                words = start.command(
                    self.weights,
                    picture,
                    engine=engine,
                    precision=precision,
                    device=self.device,
                    threads=self.threads,
                )
                name = f"{engine}:{precision}"
                self.started.append(start.measure(name, words, count, on_run=ticker.advance))

    def report(self, refused: int) -> dict[str, Any]:
        """Everything that was found, for people and machines."""
        return describe(
            facts={
                "weights": SSDResNet34(self.weights).name,
                "device": self.device,
                "threads": self.threads or cpu.available_threads(),
                "pairs": self.count,
                "images": len(self.pictures),
                "refused_images": refused,
                "baseline": self.runs[0].name,
            },
            runs=self.runs,
            peers=self.peer_runs,
            stages=self.measured,
            decoders=self.decoders,
            roads=self.roads,
            rates=self.machine_rates,
            operations=self._operations() if self.machine_rates else None,
            starts=self.started,
        )

    def _measured(self, title: str, ours: Contender, entries: Sequence[Entry]) -> list[Run]:
        with self._bar(title, self.count * (1 + len(entries))) as ticker:
            return list(runs.measure(ours, entries, self.count, on_pair=ticker.advance))

    def _open(
        self, configuration: Configuration
    ) -> AbstractContextManager[tuple[Detector, Contender]]:
        def inputs(detector: Detector, count: int) -> ModelInput:
            return self._inputs(detector.model, count)

        return runs.opened(
            configuration, self.weights, inputs, device=self.device, threads=self.threads
        )

    @contextmanager
    def _contender(self, configuration: Configuration) -> Iterator[Contender]:
        with self._open(configuration) as (_, contender):
            yield contender

    def _inputs(self, model: SSDResNet34, count: int) -> ModelInput:
        return model.preprocess(list(islice(cycle(self.pictures), count)))

    def _operations(self) -> int | None:
        """Of one image; None for weights that hold no float network to count in."""
        try:
            return rates.work(SSDResNet34(self.weights, "fp32").source)
        except UnsupportedPrecision:
            return None

    def _bar(self, title: str, total: int) -> AbstractContextManager[Ticker]:
        return progress(title, total, quiet=self.quiet, at_end=True)


def _one(text: str) -> Configuration:
    found = runs.parse(text)
    if len(found) != 1:
        raise UsageError(f"--baseline {text}: is {len(found)} configurations; give one")
    return found[0]


def _check_plot(target: Path) -> None:
    if target.suffix.lower() != ".png":
        raise UsageError(f"--plot {target}: the plot is a PNG; name a file that ends in .png")
    check_target(target)


def _pictures(images: list[str] | None, most: int) -> tuple[list[bytes], int]:
    """The first ``most`` encoded images that decode, and how many others were refused."""
    if not images:
        return [_made_up(n) for n in range(min(most, _MADE_UP))], 0
    found: list[bytes] = []
    refused = 0
    for path in expand(images):
        if len(found) == most:
            break
        try:
            if isinstance(path, ImageError):
                raise path
            if path == STDIN:
                raise UsageError("--images -: is for detect; name files, folders or globs")
            read(path, Limits())
            found.append(Path(path).read_bytes())
        except ImageError as error:
            refused += 1
            complain(f"{error} [{error.code}]", "refused")
    if not found:
        raise UnreadableFile("--images: none of them can be read; give others, or leave it out")
    return found, refused


def _made_up(number: int) -> bytes:
    """A JPEG file of 1280×720 with shapes and grain, so that decoding has something to do."""
    rng = np.random.default_rng(number)
    coarse = rng.integers(0, 256, (9, 16, 3), np.uint8)
    pixels = cv2.resize(coarse, (1280, 720), interpolation=cv2.INTER_CUBIC)
    grain = rng.normal(0, 10, pixels.shape)
    _, data = cv2.imencode(".jpg", np.clip(pixels + grain, 0, 255).astype(np.uint8))
    return data.tobytes()

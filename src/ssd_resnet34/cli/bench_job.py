"""The parts of a ``bench`` run; one that fails leaves what the others found."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from ..benchmarking import device_rates, peers, rates, runs, stages, start, tuning
from ..benchmarking.pairs import ENOUGH
from ..benchmarking.rates import Rate
from ..benchmarking.runs import Configuration, Contender, Entry, Run, last_line
from ..benchmarking.stages import Stages
from ..benchmarking.start import Start
from ..benchmarking.tuning import Tuned
from ..detector import Detector, load
from ..errors import SSDResNet34Error, UnsupportedPrecision
from ..model import SSDResNet34
from ..runtime import cpu
from ..runtime.precision import PRECISIONS
from ..runtime.tuning import Tuning
from ..vision.images import Image, decode
from .bench_report import describe
from .terminal import Ticker, progress


class Job:
    """What is measured with what, and the results so far."""

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
        self.baseline = ""
        self.runs: list[Run] = []
        """Configurations that were timed, the baseline first; then the peers."""
        self.configurations = 0
        self.measured: Stages | None = None
        self.decoders: list[Run] = []
        self.roads: list[Run] = []
        self.tuned: Tuned | None = None
        self.machine_rates: list[Rate] = []
        self.operations: int | None = None
        self.started: list[Start] = []
        self.failed: list[dict[str, str]] = []

    def fail(self, part: str, fault: str) -> None:
        """Note that a part failed."""
        self.failed.append({"name": part, "fault": fault})

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Whatever goes wrong inside is noted as a fault, and the run goes on."""
        try:
            yield
        except SSDResNet34Error as error:
            self.fail(name, str(error))
        except Exception as error:  # a fault of ours or of a package: hours may have gone before it
            self.fail(name, f"{last_line(error)}; report it")

    def opened(
        self, wanted: Sequence[Configuration], baseline: Configuration | None
    ) -> AbstractContextManager[tuple[Configuration, Detector, Contender]]:
        """The baseline, ready: the one that was named, or the first that can be had."""
        return runs.first_that_opens(wanted if baseline is None else [baseline], self._open)

    def network(
        self, baseline: Contender, others: Sequence[Configuration], with_peers: bool
    ) -> None:
        """Every configuration, and every peer, against the baseline.

        Raises:
            SSDResNet34Error: the baseline itself fails; then there is nothing to compare.
        """
        self.baseline, self.configurations = baseline.name, 1 + len(others)
        entries = [Entry(str(one), partial(self._contender, one)) for one in others]
        if with_peers:
            with self.part("peers"):
                entries += self._peers()
        self._measure("network", baseline, entries, self.runs)

    def stages(self, detector: Detector) -> None:
        """The stages of the baseline, and its stream."""
        total = stages.network_runs(self.count, detector.session.streams * detector.session.batch)
        with self.part("stages"), self._bar("stages", total) as ticker:
            self.measured = stages.measure(
                detector, self.pictures, self.count, on_image=ticker.advance
            )

    def peers(self, detector: Detector) -> None:
        """Other decoders of the baseline's heads, and the plain way from file to detections."""
        with self.part("peers"):
            picture = self.pictures[0]
            heads = detector.session.run(detector.model.preprocess(picture))
            self._measure("postprocess", *peers.decoders(detector, heads), self.decoders)
            model = SSDResNet34(self.weights, "fp32")
            ours, others = peers.roads(detector, lambda: model.source, picture, self.threads)
            self._measure("whole road", ours, others, self.roads)

    def tune(self, detector: Detector) -> None:
        """Streams of the baseline's engine and precision, with other threads, streams, batches."""
        session = detector.session
        chosen = tuning.candidates(self.device, session.whole_road)
        found: list[Run] = []

        def opened(one: Tuning) -> Detector:
            return load(
                self.weights,
                engine=session.engine,
                device=self.device,
                precision=session.precision,
                threads=one.threads,
                streams=one.streams,
                batch=one.batch if session.whole_road else None,
            )

        with self.part("tune"), opened(chosen[0]) as usual:
            ours = tuning.contender(usual, self.pictures)
            self._measure("tune", ours, tuning.entries(chosen[1:], opened, self.pictures), found)
            best, kept = tuning.fastest(chosen, found), self.count >= ENOUGH
            if kept:
                session.remember(best)
            self.tuned = Tuned(tuple(found), best, kept)

    def rates(self) -> None:
        """The convolution rates of the processor, or of the GPU with PyTorch."""
        with self.part("rates"), self._bar("rates", self.count * len(PRECISIONS)) as ticker:
            if self.device == "cpu":
                self.machine_rates = rates.measure(
                    self.count, threads=self.threads, on_pair=ticker.advance
                )
            else:
                card = self.device.replace("tensorrt", "cuda")  # the same one, by its torch name
                self.machine_rates = device_rates.measure(card, self.count, on_pair=ticker.advance)
            self.operations = self._operations()

    def starts(self) -> None:
        """``detect`` with each engine and precision that ran, in processes of its own."""
        configured = self.runs[: self.configurations]
        kinds = list(dict.fromkeys((r.engine, r.precision) for r in configured if r.seconds))
        count = min(self.count, start.RUNS)
        with (
            self.part("start"),
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
                "baseline": self.baseline,
            },
            runs=self.runs[: self.configurations],
            peers=self.runs[self.configurations :],
            stages=self.measured,
            decoders=self.decoders,
            roads=self.roads,
            tuned=self.tuned,
            rates=self.machine_rates,
            operations=self.operations,
            starts=self.started,
            failed=self.failed,
        )

    def _measure(
        self, title: str, ours: Contender, entries: Sequence[Entry], into: list[Run]
    ) -> None:
        """Each run is kept as it comes: what follows may fail, or be interrupted."""
        with self._bar(title, self.count * (1 + len(entries))) as ticker:
            for run in runs.measure(ours, entries, self.count, on_pair=ticker.advance):
                into.append(run)

    def _peers(self) -> list[Entry]:
        model = SSDResNet34(self.weights, "fp32")
        image = model.preprocess(self.pictures[0]).tensor
        source = lambda: model.source  # noqa: E731
        return peers.networks(source, model.contract.num_classes, image, self.threads)

    def _open(
        self, configuration: Configuration
    ) -> AbstractContextManager[tuple[Detector, Contender]]:
        return runs.opened(
            configuration, self.weights, self._images, device=self.device, threads=self.threads
        )

    @contextmanager
    def _contender(self, configuration: Configuration) -> Iterator[Contender]:
        with self._open(configuration) as (_, contender):
            yield contender

    def _images(self, count: int) -> list[Image]:
        return [decode(picture) for picture in islice(cycle(self.pictures), count)]

    def _operations(self) -> int | None:
        """Of one image; None for weights that hold no float network to count in."""
        try:
            return rates.work(SSDResNet34(self.weights, "fp32").source)
        except UnsupportedPrecision:
            return None

    def _bar(self, title: str, total: int) -> AbstractContextManager[Ticker]:
        return progress(title, total, quiet=self.quiet, at_end=True)

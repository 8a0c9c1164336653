"""The parts of a ``bench`` run; one that fails leaves what the others found."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from ..benchmarking import device_rates, peers, rates, runs, stages, start, tuning
from ..benchmarking.rates import Rate
from ..benchmarking.runs import Configuration, Contender, Entry, Run, last_line
from ..benchmarking.stages import Stages
from ..benchmarking.start import Start
from ..benchmarking.tuning import GAIN, Tuned
from ..detector import Detector, load
from ..errors import SSDResNet34Error, UnsupportedPrecision
from ..model import SSDResNet34
from ..pairs import ENOUGH, WARM_UPS, settle
from ..runtime import cpu
from ..runtime.precision import PRECISIONS
from ..runtime.tuning import Tuning
from ..vision.images import Image, decode
from ..wording import span
from .bench_progress import Shown
from .bench_report import describe
from .info import now
from .terminal import complain


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
        self.began = now()
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
        self,
        baseline: Contender,
        others: Sequence[Configuration],
        *,
        with_peers: bool,
        with_stages: bool,
    ) -> None:
        """Every configuration, and every peer, against the baseline.

        ``with_stages``: they will follow, so their time is estimated as well.

        Raises:
            SSDResNet34Error: the baseline itself fails; then there is nothing to compare.
        """
        self.baseline, self.configurations = baseline.name, 1 + len(others)
        entries = [
            Entry(str(one), partial(self._contender, one), runs.is_expected(one, self.device))
            for one in others
        ]
        if with_peers:
            with self.part("peers"):
                entries += self._peers()

        def estimate(seconds: float) -> None:
            pair = seconds / (1 + WARM_UPS)
            rows = 1 + sum(entry.expected for entry in entries)
            network = rows * (self.count + WARM_UPS) * pair
            alone = stages.network_runs(self.count, baseline.images) * pair / 2 / baseline.images
            if not self.quiet:
                complain(
                    f"{span(network)} for the network, were all as fast as {baseline.name}"
                    f"{f', {span(alone)} for its stages' if with_stages else ''}; other parts, if "
                    "any, come on top",
                    "about",
                )

        self._measure("network", baseline, entries, self.runs, on_first=estimate)

    @contextmanager
    def fastest(self, detector: Detector) -> Iterator[Detector]:
        """The configuration with the smallest ratio to the baseline, open; ``detector``, which is
        the baseline's, where none gains more than noise."""
        ratios = {
            Configuration(run.engine, run.precision, run.streams, run.batch): run.ratio.median
            for run in self.runs[1 : self.configurations]
            if run.ratio is not None
        }
        best = min(ratios, key=ratios.__getitem__, default=None)
        with ExitStack() as stack:
            if best is not None and ratios[best] < 1 - GAIN:
                try:
                    detector, _ = stack.enter_context(self._open(best))
                except SSDResNet34Error as error:  # it ran a moment ago
                    self.fail(str(best), str(error))
            yield detector

    def stages(self, detector: Detector) -> None:
        """The stages of one image after the other, and a stream."""
        session = detector.session
        total = stages.network_runs(self.count, session.streams * session.batch)
        with self.part("stages"), Shown("stages", 1, total, quiet=self.quiet) as shown:
            shown.begin(stages.name(detector))
            self.measured = stages.measure(
                detector, self.pictures, self.count, on_image=shown.advance
            )

    def peers(self, detector: Detector) -> None:
        """Other decoders of these heads, and the plain way from file to detections."""
        with self.part("peers"):
            picture = self.pictures[0]
            heads = detector.session.run(detector.model.preprocess(picture))
            self._measure(
                "postprocess", *peers.decoders(detector, heads), self.decoders, rest=lambda: None
            )
            model = SSDResNet34(self.weights, "fp32")
            ours, others = peers.roads(detector, lambda: model.source, picture, self.threads)
            self._measure("whole road", ours, others, self.roads)

    def tune(self, detector: Detector) -> None:
        """Streams of this engine and precision, with other threads, streams, batches."""
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
        steps = self.count * len(PRECISIONS)
        with self.part("rates"), Shown("rates", 1, steps, quiet=self.quiet) as shown:
            shown.begin("the machine's own convolutions")
            if self.device == "cpu":
                self.machine_rates = rates.measure(
                    self.count, threads=self.threads, on_pair=shown.advance
                )
            else:
                card = self.device.replace("tensorrt", "cuda")  # the same one, by its torch name
                self.machine_rates = device_rates.measure(card, self.count, on_pair=shown.advance)
            self.operations = self._operations()

    def starts(self) -> None:
        """``detect`` with each engine and precision that ran, in processes of its own."""
        configured = self.runs[: self.configurations]
        kinds = list(dict.fromkeys((r.engine, r.precision) for r in configured if r.seconds))
        count = min(self.count, start.RUNS)
        with (
            self.part("start"),
            tempfile.TemporaryDirectory(prefix="ssd-resnet34-") as folder,
            Shown("start", len(kinds), 2 * count, quiet=self.quiet) as shown,
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
                shown.begin(name)
                self.started.append(start.measure(name, words, count, on_run=shown.advance))

    def report(self, refused: int) -> dict[str, Any]:
        """Everything that was found, for people and machines."""
        return describe(
            facts={
                "timestamp": self.began,
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
        self,
        part: str,
        ours: Contender,
        entries: Sequence[Entry],
        into: list[Run],
        on_first: Callable[[float], None] = lambda _: None,
        rest: Callable[[], object] = settle,
    ) -> None:
        """Each run is kept as it comes: what follows may fail, or be interrupted."""
        turns = 1 + len(entries)
        with Shown(part, turns, self.count, quiet=self.quiet, on_first=on_first) as shown:
            for run in runs.measure(
                ours, entries, self.count, rest=rest, on_begin=shown.begin, on_pair=shown.advance
            ):
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

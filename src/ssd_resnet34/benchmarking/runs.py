"""Engines × precisions × streams × batch, each in interleaved pairs with one baseline."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import product
from time import perf_counter, process_time
from typing import Any, Final

from ..detector import Detector, load
from ..errors import (
    EngineUnavailable,
    MissingExtra,
    SessionError,
    SSDResNet34Error,
    UnsupportedPrecision,
    UsageError,
)
from ..pairs import Clock, Percentiles, Ratio, interleave, percentiles, ratio, seconds
from ..runtime import cpu
from ..runtime.engines import find, names
from ..runtime.precision import PRECISIONS, check_name
from ..runtime.session import MAX_BATCH, MAX_STREAMS, has_whole_road
from ..vision.images import Image
from ..vision.postprocess import rules

ALL: Final = "all"

_FORM: Final = "engine:precision:streams:batch"


@dataclass(frozen=True, slots=True)
class Configuration:
    """How the network runs: ``streams`` batches of ``batch`` images at the same time."""

    engine: str = "auto"
    precision: str = "auto"
    streams: int = 1
    batch: int = 1

    def __str__(self) -> str:
        return f"{self.engine}:{self.precision}:{self.streams}:{self.batch}"


def parse(text: str) -> list[Configuration]:
    """The configurations of a command line, in order, each once.

    ``engine[:precision[:streams[:batch]]]``, several after commas. Each part may hold several
    values with ``+`` between them, or be ``all`` (engines, precisions): their product is meant.
    ``openvino+onnxruntime:int8+fp32`` is four configurations.

    Raises:
        UsageError: names what is wrong.
    """
    found: dict[Configuration, None] = {}
    for word in (word.strip() for word in text.split(",")):
        parts = [part.split("+") for part in word.split(":")]
        if not word or len(parts) > 4 or any(not value for part in parts for value in part):
            raise UsageError(f"configuration {word!r}: give {_FORM}, such as openvino:int8:1:1")
        chosen: list[list[Any]] = [["auto"], ["auto"], [1], [1]]
        chosen[0] = _engines(parts[0])
        if len(parts) > 1:
            chosen[1] = list(PRECISIONS) if parts[1] == [ALL] else parts[1]
            for precision in chosen[1]:
                check_name(precision)
        if len(parts) > 2:
            chosen[2] = [_count("streams", value, MAX_STREAMS) for value in parts[2]]
        if len(parts) > 3:
            chosen[3] = [_count("batch", value, MAX_BATCH) for value in parts[3]]
        found |= {Configuration(*values): None for values in product(*chosen)}
    return list(found)


def _engines(given: list[str]) -> list[str]:
    if given == [ALL]:
        return names()
    unknown = [name for name in given if name not in ("auto", *names())]
    if unknown:
        raise UsageError(f"engine {unknown[0]!r} is unknown; use all, auto, {', '.join(names())}")
    return given


def _count(name: str, value: str, most: int) -> int:
    if not (value.isascii() and value.isdigit()) or not 1 <= int(value) <= most:
        raise UsageError(f"{name} {value!r}: give a number from 1 to {most} ({_FORM})")
    return int(value)


@dataclass(frozen=True)
class Contender:
    """Something ready to be timed; ``run`` does ``images`` images: ``repeats`` of each stream's
    batches."""

    name: str
    run: Callable[[], object]
    engine: str = ""
    precision: str = ""
    reason: str = ""
    """Why this precision, or what a peer is."""
    streams: int = 1
    batch: int = 1
    repeats: int = 1
    threads: int = 0
    """Threads of the CPU that all of a run keeps busy; 0 where that is not known."""

    @property
    def images(self) -> int:
        """Images of one run."""
        return self.streams * self.batch * self.repeats


@dataclass(frozen=True)
class Entry:
    """A contender that is opened when its turn comes, and closed before the next one's."""

    name: str
    open: Callable[[], AbstractContextManager[Contender]]
    expected: bool = True
    """Whether it will run, as far as can be told before it is opened: for estimates of time."""


@dataclass(frozen=True)
class Run:
    """What was measured of a contender.

    ``seconds`` and ``ratio`` (to the baseline, below 1 is faster) are of one image. ``cpu`` is what
    the runs got of the time of their threads: CPU seconds of this process / (seconds × threads);
    None where the threads are not known. A contender that cannot be had here says so in
    ``unavailable``, one that failed in ``fault``; both then have no numbers.
    """

    name: str
    engine: str = ""
    precision: str = ""
    reason: str = ""
    streams: int = 1
    batch: int = 1
    seconds: Percentiles | None = None
    images_per_second: float | None = None
    ratio: Ratio | None = None
    cpu: float | None = None
    unavailable: str = ""
    fault: str = ""


@contextmanager
def opened(
    configuration: Configuration,
    weights: str,
    pictures: Callable[[int], list[Image]],
    *,
    device: str = "cpu",
    threads: int | None = None,
) -> Iterator[tuple[Detector, Contender]]:
    """A detector of that configuration, and its network as a contender; where the device has the
    whole road, that road from decoded pixels to boxes.

    Args:
        pictures: gives so many decoded images.

    Raises:
        SSDResNet34Error: as :func:`ssd_resnet34.load`.
    """
    streams, batch = configuration.streams, configuration.batch
    with ExitStack() as stack:
        with told(str(configuration), "choose another configuration"):
            detector = stack.enter_context(
                load(
                    weights,
                    engine=configuration.engine,
                    device=device,
                    precision=configuration.precision,
                    threads=threads,
                    streams=streams,
                    batch=batch if has_whole_road(configuration.engine, device) else None,
                )
            )
            run_one = _bare(detector, pictures(batch))
        session, reason = detector.session, detector.session.reason
        if session.whole_road:
            reason += "; pixels to boxes on the device"
        pool = stack.enter_context(ThreadPoolExecutor(streams))

        def run() -> object:
            if streams == 1:
                return run_one()
            return [one.result() for one in [pool.submit(run_one) for _ in range(streams)]]

        named = Configuration(session.engine, session.precision, streams, batch)
        yield (
            detector,
            Contender(
                str(named),
                run,
                session.engine,
                session.precision,
                reason,
                streams,
                batch,
                threads=kept_busy(session.threads) if device == "cpu" else 0,
            ),
        )


def kept_busy(threads: int | None) -> int:
    """How many of ``threads`` (None: as many as there may be) have CPU time of their own here."""
    available = cpu.available_threads()
    return min(threads or available, available)


def is_expected(configuration: Configuration, device: str) -> bool:
    """Whether the engine says that it runs that precision on ``device``; it may still refuse the
    artifact."""
    engine, precision = configuration.engine, configuration.precision
    if engine == "auto":
        return True
    try:
        with told(engine, "leave it out"):
            table = find(engine).precisions(device)
    except SSDResNet34Error:
        return False
    return precision == "auto" or table.get(precision) == ""


def measure(
    baseline: Contender,
    entries: Sequence[Entry],
    pairs: int,
    *,
    clock: Clock = perf_counter,
    cpu_clock: Clock = process_time,
    rest: Callable[[], object] = lambda: None,
    on_begin: Callable[[str], None] = lambda _: None,
    on_pair: Callable[[], None] = lambda: None,
) -> Iterator[Run]:
    """The baseline against itself (what noise does to a ratio), then each entry against it.

    A contender that cannot be had, or fails, is a row that says so; so is one that Ctrl-C cuts
    short, which then ends the rest. ``on_begin`` gets the name of
    each when its turn comes, ``rest`` is called before each run, untimed.

    Raises:
        SSDResNet34Error: the baseline itself fails.
    """
    on_begin(baseline.name)
    with told(baseline.name, "choose another baseline"):
        run = _against(baseline, baseline, pairs, clock, cpu_clock, rest, on_pair)
    yield run
    for entry in entries:
        on_begin(entry.name)
        try:
            with told(entry.name, "leave it out"), entry.open() as contender:
                run = _against(contender, baseline, pairs, clock, cpu_clock, rest, on_pair)
            yield run
        except (EngineUnavailable, UnsupportedPrecision, MissingExtra) as error:
            yield Run(entry.name, unavailable=str(error))
        except SSDResNet34Error as error:
            yield Run(entry.name, fault=str(error))
        except KeyboardInterrupt:
            yield Run(entry.name, fault="interrupted before all of its pairs were done")
            raise


def _bare(detector: Detector, images: list[Image]) -> Callable[[], object]:
    """One run of a batch, with all that is made before it left out."""
    session = detector.session
    if session.whole_road:
        return partial(session.detect, images, rules(contract=session.contract))
    return partial(session.run, detector.model.preprocess(images))


@contextmanager
def told(name: str, mend: str) -> Iterator[None]:
    """Whatever engines and packages of others raise, as an error of the tree: a row, not the end.

    Raises:
        SessionError: in place of an error that is none of ours.
    """
    try:
        yield
    except SSDResNet34Error:
        raise
    except Exception as error:  # there is no telling what kinds
        raise SessionError(f"{name} failed: {last_line(error)}; {mend}") from error


def last_line(error: Exception) -> str:
    """The kind of an error and the last line of what it says."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[-1]}" if lines else type(error).__name__


def _against(
    contender: Contender,
    baseline: Contender,
    pairs: int,
    clock: Clock,
    cpu_clock: Clock,
    rest: Callable[[], object],
    on_pair: Callable[[], None],
) -> Run:
    used: list[float] = []

    def run() -> None:
        used.append(seconds(contender.run, cpu_clock))

    times = interleave(run, baseline.run, pairs, clock=clock, rest=rest, on_pair=on_pair)
    allowed = contender.threads * sum(own for own, _ in times)
    found = percentiles(own / contender.images for own, _ in times)
    return Run(
        contender.name,
        contender.engine,
        contender.precision,
        contender.reason,
        contender.streams,
        contender.batch,
        found,
        1 / found.p50,
        ratio(times, baseline.images / contender.images),
        sum(used[-pairs:]) / allowed if allowed else None,  # without the warm-ups
    )


@contextmanager
def first_that_opens(
    configurations: Sequence[Configuration],
    open_one: Callable[[Configuration], AbstractContextManager[tuple[Detector, Contender]]],
) -> Iterator[tuple[Configuration, Detector, Contender]]:
    """The first configuration that can be had here, open.

    Raises:
        SessionError: none can; the reason of the first.
    """
    reasons: list[SessionError] = []
    with ExitStack() as stack:
        for configuration in configurations:
            try:
                detector, contender = stack.enter_context(open_one(configuration))
            except SessionError as error:
                reasons.append(error)
                continue
            yield configuration, detector, contender
            return
    raise reasons[0]

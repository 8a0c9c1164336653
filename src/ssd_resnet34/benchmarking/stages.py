"""Where the time of an image goes: decoding, preprocessing, network, postprocessing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from time import perf_counter
from typing import Final

from ..detector import Detector
from ..pairs import Clock, Percentiles, Ratio, percentiles, ratio
from ..vision.images import decode
from ..vision.postprocess import rules
from .runs import Configuration

STAGES: Final = ("decode", "preprocess", "network", "postprocess")

ON_DEVICE: Final = ("decode", "device")
"""Of a session that has the whole road: there the other three are one."""

BLOCK: Final = 2
"""Images one by one that a pair takes."""

STREAMED: Final = 8
"""Images for each place of the stream's batches that a pair takes: so many that the beginning and
the end, where stages cannot overlap, are of little weight."""


@dataclass(frozen=True)
class Stages:
    """Seconds of an image, encoded bytes to detections, and images a second.

    Attributes:
        name, precision: the configuration.
        stages: each of :data:`STAGES`, or of :data:`ON_DEVICE`, one image after another.
        whole: their sum.
        around: whole / network (or device) of the same image: 1 were there nothing else.
        serial_images_per_second: one after another.
        stream_images_per_second: of a ``Detector.stream`` over :data:`STREAMED` images for each
            place of its batches, from its beginning to its end.
        overlap: stream throughput × network (or device) time, in pairs of neighbouring blocks: 1
            where all other stages vanish behind it; more where a stream's batches are faster.
    """

    name: str
    precision: str
    stages: dict[str, Percentiles]
    whole: Percentiles
    around: Ratio
    serial_images_per_second: float
    stream_images_per_second: float
    overlap: Ratio


def name(detector: Detector) -> str:
    """The configuration that a detector runs."""
    session = detector.session
    return str(Configuration(session.engine, session.precision, session.streams, session.batch))


def network_runs(pairs: int, at_once: int = 1) -> int:
    """Images that :func:`measure` runs, for a progress bar; ``at_once``: streams × batch."""
    return pairs * (BLOCK + at_once * STREAMED) + 1


def measure(
    detector: Detector,
    pictures: Sequence[bytes],
    pairs: int,
    *,
    clock: Clock = perf_counter,
    on_image: Callable[[], None] = lambda: None,
) -> Stages:
    """Time the stages and the stream in turn, over the pictures again and again.

    Args:
        detector: the model, session and options to measure.
        pictures: encoded images, at least one, that decoding accepts.
        pairs: blocks of each of the two: of the stages :data:`BLOCK` images, of the stream
            :data:`STREAMED` for each place of its batches.

    Raises:
        ImageError, SessionError: a picture is refused, the engine fails.
    """
    endless = cycle(pictures)
    names = ON_DEVICE if detector.session.whole_road else STAGES
    network = names.index("device" if detector.session.whole_road else "network")
    at_once = detector.session.streams * detector.session.batch
    _one(detector, next(endless), clock)  # the first image pays for what is made once
    on_image()
    samples: list[tuple[float, ...]] = []
    gaps: list[float] = []
    times: list[tuple[float, float]] = []

    def stages() -> float:
        found = []
        for picture in islice(endless, BLOCK):
            found.append(_one(detector, picture, clock))
            on_image()
        samples.extend(found)
        return sum(sample[network] for sample in found) / BLOCK

    def stream() -> float:
        # As a whole: results come in order, while any of the first images may have the network
        # first, so that the time between two of them says little.
        count, began = at_once * STREAMED, clock()
        for _ in detector.stream(islice(endless, count)):
            ended = clock()
            on_image()
        gaps.append((ended - began) / count)
        return gaps[-1]

    for number in range(pairs):
        if number % 2:
            gap, alone = stream(), stages()
        else:
            alone, gap = stages(), stream()
        times.append((alone, gap))
    whole = [sum(sample) for sample in samples]
    networks = [sample[network] for sample in samples]
    return Stages(
        name(detector),
        detector.session.precision,
        {name: percentiles(sample[n] for sample in samples) for n, name in enumerate(names)},
        percentiles(whole),
        ratio(list(zip(whole, networks, strict=True))),
        1 / percentiles(whole).p50,
        1 / percentiles(gaps).p50,
        ratio(times),
    )


def _one(detector: Detector, picture: bytes, clock: Clock) -> tuple[float, ...]:
    """Seconds of each stage of one image: what ``Detector`` does, with a look at the clock."""
    began = clock()
    image = decode(picture, limits=detector.limits)
    decoded = clock()
    if detector.session.whole_road:
        chosen = rules(**vars(detector.options), contract=detector.session.contract)
        detector.session.detect([image], chosen, clip=True)
        return decoded - began, clock() - decoded
    inputs = detector.model.preprocess(image)
    ready = clock()
    outputs = detector.session.run(inputs)
    ran = clock()
    detector.model.postprocess(outputs, None, **vars(detector.options), clip=True)
    return decoded - began, ready - decoded, ran - ready, clock() - ran

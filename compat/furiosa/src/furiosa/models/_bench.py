"""``furiosa-models bench``: one pass over some images, in the vendor's three blocks."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from time import perf_counter
from typing import Final

from furiosa.models.vision import SSDResNet34
from furiosa.runtime.sync import Runner
from ssd_resnet34.errors import ImageError
from ssd_resnet34.pairs import percentiles

_RULE: Final = "-" * 70

_WARNING: Final = """\
WARN: the benchmark results may depend on the number of input samples,
sizes of the images, and a machine where this benchmark is running."""

STAGES: Final = ("Preprocess", "Inference", "Postprocess")

_UNITS: Final = (("sec", 1.0), ("ms", 1e3), ("us", 1e6), ("ns", 1e9))


@dataclass
class Times:
    """Seconds of each of :data:`STAGES` for each image, and what was refused."""

    samples: list[tuple[float, float, float]] = field(default_factory=list)
    refused: list[ImageError] = field(default_factory=list)


def measure(
    model: SSDResNet34,
    runner: Runner,
    paths: Iterable[str | ImageError],
    on_image: Callable[[], None] = lambda: None,
    clock: Callable[[], float] = perf_counter,
) -> Times:
    """Run the model's own functions over the images, one after the other.

    The first image is run once before, untimed, since it pays for what is made once.
    """
    times = Times()
    for path in paths:
        try:
            if isinstance(path, ImageError):
                raise path
            if not times.samples:
                _one(model, runner, path, clock)
            times.samples.append(_one(model, runner, path, clock))
        except ImageError as error:
            times.refused.append(error)
        on_image()
    return times


def _one(
    model: SSDResNet34, runner: Runner, path: str, clock: Callable[[], float]
) -> tuple[float, float, float]:
    began = clock()
    inputs = model.preprocess(path)
    ready = clock()
    outputs = runner.run(inputs.tensor)
    ran = clock()
    model.postprocess(outputs, inputs.contexts)
    return ready - began, ran - ready, clock() - ran


def opening(samples: int) -> str:
    """What is printed first."""
    return f"Run benchmark on {samples} input samples ...\n{_barred(_WARNING)}"


def report(times: Times) -> str:
    """The three blocks; at least one image was timed."""
    return "\n\n".join(
        _block(title, [sum(sample[first:last]) for sample in times.samples])
        for title, first, last in (
            (" -> ".join(STAGES), 0, 3),
            (" -> ".join(STAGES[1:]), 1, 3),
            (STAGES[1], 1, 2),
        )
    )


def details(times: Times) -> Iterator[str]:
    """Percentiles of each stage."""
    for n, name in enumerate(STAGES):
        found = percentiles(sample[n] for sample in times.samples)
        yield f"{name}: " + ", ".join(
            f"{label} {_with_unit(value)}"
            for label, value in (("p50", found.p50), ("p90", found.p90), ("p99", found.p99))
        )


def _block(title: str, seconds: list[float]) -> str:
    total = sum(seconds)
    return "\n".join(
        (
            _barred(title),
            f"Total elapsed time: {_with_unit(total)}",
            f"QPS: {len(seconds) / total:.5f}",
            f"Avg. elapsed time / sample: {_with_unit(total / len(seconds))}",
        )
    )


def _barred(text: str) -> str:
    return f"{_RULE}\n{text}\n{_RULE}"


def _with_unit(seconds: float) -> str:
    unit, scale = next((pair for pair in _UNITS if seconds * pair[1] >= 1), _UNITS[-1])
    return f"{seconds * scale:.5f} {unit}"

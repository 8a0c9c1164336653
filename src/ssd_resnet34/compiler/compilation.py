"""From weights and images to a deployable artifact: calibrate, find ranges, quantize."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any

from ..errors import UsageError
from .calibration import Statistics, calibrate
from .quantization import GIVEN, Ranges, named_layers, quantize
from .ranges import DEFAULT_PERCENTAGE, Method, check_method


@dataclass(frozen=True)
class Calibrated:
    """Activation ranges, what the metadata of an artifact says of them, and the statistics that
    they come from, None where they were given."""

    ranges: Ranges
    facts: Mapping[str, str]
    statistics: Statistics | None = None


@dataclass(frozen=True)
class Compiled:
    """An int8 artifact, the ranges in it, and the statistics these come from, if calibrated."""

    artifact: bytes
    ranges: Ranges
    statistics: Statistics | None


def find_ranges(
    source: bytes,
    images: Iterable[Any],
    *,
    method: Method = "min-max",
    symmetric: bool = False,
    percentage: float = DEFAULT_PERCENTAGE,
    statistics: str | PathLike[str] | None = None,
    **calibration: Any,
) -> Calibrated:
    """The ranges of an fp32 artifact's activations on images.

    Args:
        source: canonical fp32 ONNX, such as ``SSDResNet34(weights, "fp32").source``.
        images: what to calibrate on; anything :func:`~.calibration.calibrate` takes.
        method, symmetric, percentage: see :func:`~.ranges.find_range`.
        statistics: file that the pass is kept in and resumed from.
        calibration: ``threads``, ``limits``, ``on_image`` of :func:`~.calibration.calibrate`.

    Raises:
        UsageError: an unknown method; ``source`` is int8.
        CalibrationError: no image, or all refused; statistics of another network or other images.
    """
    check_method(method, percentage)
    seen = calibrate(source, images, path=statistics, **calibration)
    found = seen.ranges(method, symmetric=symmetric, percentage=percentage)
    words = [method, "symmetric" if symmetric else "asymmetric"]
    if method == "percentile":
        words.append(f"{percentage:g} %")
    facts = {
        "calibration": ", ".join(words),
        "calibration_images": str(len(seen.images)),
        "calibration_images_sha256": seen.images_sha256,
    }
    return Calibrated(found, facts, seen)


def compile_int8(
    source: bytes,
    images: Iterable[Any] | None = None,
    *,
    ranges: Ranges | None = None,
    keep_float: Collection[str] = (),
    **options: Any,
) -> Compiled:
    """The int8 artifact of an fp32 artifact, from calibration images or from known ranges.

    Args:
        source: canonical fp32 ONNX, such as ``SSDResNet34(weights, "fp32").source``.
        images: what to calibrate on; anything :func:`~.calibration.calibrate` takes.
        ranges: instead of images: tensor -> (lowest, highest).
        keep_float: layers that stay float, as for :func:`~.quantization.named_layers`.
        options: with images, those of :func:`find_ranges`.

    Returns:
        The artifact names its source, method, images (a digest) and tools in its metadata. The
        same arguments and tools give the same bytes.

    Raises:
        UsageError: images and ranges, or neither; ranges and options; an unknown method or layer.
        CalibrationError: no image, or all refused; statistics or ranges of another network.
    """
    if (images is None) == (ranges is None):
        raise UsageError("give calibration images or ranges, one of the two")
    if ranges is not None:
        if options:
            raise UsageError(f"{', '.join(options)}: only with calibration images; leave it out")
        found = Calibrated(ranges, GIVEN)
    else:
        assert images is not None
        named_layers(source, keep_float)  # refused now, not after hours of calibration
        found = find_ranges(source, images, **options)
    made = quantize(source, found.ranges, keep_float=keep_float, facts=found.facts)
    return Compiled(made, found.ranges, found.statistics)

"""One call from weights to a deployable artifact: calibrate, find ranges, quantize."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from os import PathLike
from typing import Any

from ..errors import UsageError
from .calibration import Statistics, calibrate
from .quantization import Ranges, check_layers, quantize
from .ranges import DEFAULT_PERCENTAGE, Method, check_method


@dataclass(frozen=True)
class Compiled:
    """An int8 artifact, the ranges in it, and the statistics these come from, if calibrated."""

    artifact: bytes
    ranges: Ranges
    statistics: Statistics | None


def compile_int8(
    source: bytes,
    images: Iterable[Any] | None = None,
    *,
    ranges: Ranges | None = None,
    method: Method = "min-max",
    symmetric: bool = False,
    percentage: float = DEFAULT_PERCENTAGE,
    keep_float: Collection[str] = (),
    statistics: str | PathLike[str] | None = None,
    **calibration: Any,
) -> Compiled:
    """The int8 artifact of an fp32 artifact, from calibration images or from known ranges.

    Args:
        source: canonical fp32 ONNX, such as ``SSDResNet34(weights).source``.
        images: what to calibrate on; anything :func:`~.calibration.calibrate` takes.
        ranges: instead of images: tensor -> (lowest, highest).
        method, symmetric, percentage: see :func:`~.ranges.find_range`.
        keep_float: layers that stay float, names of :func:`~.quantization.layers`.
        statistics: file that the pass is kept in and resumed from.
        calibration: ``threads``, ``limits``, ``on_image`` of :func:`~.calibration.calibrate`.

    Returns:
        The artifact names its source, method, images (a digest) and tools in its metadata. The
        same arguments and tools give the same bytes.

    Raises:
        UsageError: images and ranges, or neither; an unknown method or layer.
        CalibrationError: all images refused, statistics or ranges of another network.
    """
    if (images is None) == (ranges is None):
        raise UsageError("give calibration images or ranges, one of the two")
    if ranges is not None:
        facts = {"calibration": "ranges given"}
        made = quantize(source, ranges, keep_float=keep_float, facts=facts)
        return Compiled(made, ranges, None)
    assert images is not None
    check_method(method, percentage)
    check_layers(source, keep_float)  # now, not after hours of calibration
    seen = calibrate(source, images, path=statistics, **calibration)
    found = seen.ranges(method, symmetric=symmetric, percentage=percentage)
    made = quantize(
        source,
        found,
        keep_float=keep_float,
        facts=facts_of(seen, method, symmetric=symmetric, percentage=percentage),
    )
    return Compiled(made, found, seen)


def facts_of(
    statistics: Statistics, method: Method, *, symmetric: bool, percentage: float
) -> dict[str, str]:
    """What the metadata says of a calibration."""
    words = [method, "symmetric" if symmetric else "asymmetric"]
    if method == "percentile":
        words.append(f"{percentage:g} %")
    return {
        "calibration": ", ".join(words),
        "calibration_images": str(len(statistics.images)),
        "calibration_images_sha256": statistics.images_sha256,
    }

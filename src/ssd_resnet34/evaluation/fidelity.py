"""What rounding costs: a compiled artifact against its fp32 source, on the same images."""

import math
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from os import path as paths
from typing import Any, Final

import numpy as np

from ..errors import ImageError
from ..model import SSDResNet34
from ..runtime.session import Session
from ..vision.images import Image, decode
from .agreement import NOTHING, Agreement, compare
from .coco import score
from .dataset import Dataset

SHOWN: Final = 0.3
"""Least score of the detections that are matched: what ``detect`` shows."""

COUNTED: Final = 0.05
"""Least score of those that average precision counts."""


@dataclass(frozen=True)
class Fidelity:
    """How near the candidate comes to fp32.

    ``sqnr`` is head -> signal over noise power in decibel, over all images; ``speed`` the median
    over the images of candidate time / reference time; ``ap`` and ``ap50`` (fp32, candidate), None
    without annotations.
    """

    images: int
    sqnr: dict[str, float]
    agreement: Agreement
    speed: float
    seconds: tuple[float, float]
    ap: tuple[float, float] | None = None
    ap50: tuple[float, float] | None = None

    @property
    def kept(self) -> float | None:
        """AP50 of the candidate over that of fp32; None without annotations, 1 if both are 0."""
        if self.ap50 is None:
            return None
        return self.ap50[1] / self.ap50[0] if self.ap50[0] > 0 else 1.0


def measure(
    model: SSDResNet34,
    reference: Session,
    candidate: Session,
    images: Iterable[Any],
    *,
    rival: Session | None = None,
    truth: Dataset | None = None,
    on_image: Callable[[ImageError | None], None] = lambda _: None,
) -> Fidelity:
    """Run both over the images; refused ones are reported and left out.

    Args:
        model: for preprocessing, postprocessing and names.
        reference: the fp32 session that accuracy is compared with.
        candidate: the session to judge.
        images: as for :func:`~ssd_resnet34.compiler.calibration.calibrate`.
        rival: the session that the speed is compared with; default: ``reference``.
        truth: annotations by file name; images that they do not name count for all but AP.
    """
    signal: dict[str, float] = {}
    noise: dict[str, float] = {}
    agreement = NOTHING
    times: list[tuple[float, float]] = []
    results: tuple[list[Any], list[Any]] = ([], [])
    ids: list[int] = []
    named = {} if truth is None else truth.ids_by_name()
    for item in images:
        try:
            if isinstance(item, ImageError):
                raise item
            image = item if isinstance(item, Image) else decode(item)
        except ImageError as error:
            on_image(error)
            continue
        inputs = model.preprocess(image)
        heads = []
        seconds = []
        runs = (reference, candidate) if rival is None else (reference, candidate, rival)
        if not times:
            for session in runs:
                session.run(inputs)  # the first run of each warms caches up
        for session in runs:
            began = time.perf_counter()
            heads.append(session.run(inputs))
            seconds.append(time.perf_counter() - began)
        times.append((seconds[1], seconds[-1] if rival is not None else seconds[0]))
        for name, wanted, found in zip(model.contract.head_shapes(), *heads[:2], strict=True):
            signal[name] = signal.get(name, 0.0) + float(np.square(wanted, dtype=np.float64).sum())
            rest = float(np.square(found - wanted, dtype=np.float64).sum())
            noise[name] = noise.get(name, 0.0) + rest
        known = named.get(paths.basename(image.name))
        found_by = []
        for session_heads, kept in zip(heads[:2], results, strict=True):
            (found_all,) = model.postprocess(session_heads, score_threshold=COUNTED)
            found_by.append(found_all[found_all.scores > SHOWN])
            if known is not None:
                kept.extend(found_all.to_coco(known))
        agreement = agreement + compare(*found_by)
        if known is not None:
            ids.append(known)
        on_image(None)
    scores = [score(truth, found, ids).numbers for found in results] if truth and ids else None
    return Fidelity(
        len(times),
        {name: decibel(signal[name], noise[name]) for name in signal},
        agreement,
        statistics.median(a / b for a, b in times) if times else math.nan,
        (
            statistics.median(a for a, _ in times) if times else math.nan,
            statistics.median(b for _, b in times) if times else math.nan,
        ),
        None if scores is None else (scores[0]["AP"], scores[1]["AP"]),
        None if scores is None else (scores[0]["AP50"], scores[1]["AP50"]),
    )


def decibel(signal: float, noise: float) -> float:
    """10 log10(signal / noise) of two powers; infinite without noise."""
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal > 0 else -math.inf

"""What rounding costs: compiled artifacts against their fp32 source, on the same images."""

import math
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from os import path as paths
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..compiler.calibration import readable
from ..contract import Contract
from ..detector import DEFAULT_SCORE_THRESHOLD
from ..errors import ImageError, UsageError
from ..model import SSDResNet34
from ..pairs import Ratio, interleave, ratio
from ..runtime.session import Outputs, Session
from ..vision.detections import Detections
from ..vision.preprocess import ModelInput
from .agreement import NOTHING, Agreement, compare
from .coco import UNDEFINED, score
from .dataset import Dataset, scored_categories

HEADS_KEPT: Final = 50
"""Images whose fp32 heads are kept to compare others with, 5 MB each; further ones have a part in
all but ``sqnr``."""

PAIRS: Final = 5
"""Least number of pairs of runs, candidate and float in turn, for a verdict on the speed."""


@dataclass(frozen=True)
class Fidelity:
    """How near a candidate comes to fp32.

    ``images`` is how many were judged; ``sqnr`` head -> signal over noise power in decibel, over
    the first ``HEADS_KEPT`` of them; ``speed`` the median over ``pairs`` of runs of candidate time
    / float time, ``spread`` its quartiles, ``seconds`` the medians of both; ``ap`` and ``ap50``
    (fp32, candidate), None without annotations.
    """

    images: int
    sqnr: dict[str, float]
    agreement: Agreement
    speed: float
    seconds: tuple[float, float]
    spread: tuple[float, float]
    pairs: int
    ap: tuple[float, float] | None = None
    ap50: tuple[float, float] | None = None


@dataclass(frozen=True, eq=False)
class _Seen:
    """What float made of an image; ``seconds`` are those of the float that is fastest."""

    found: Detections
    heads: Outputs | None
    seconds: float


class Reference:
    """fp32, and the ``rival`` that the speed is compared with, over the images that judge.

    Each runs once an image, beside the first candidate; what they found and how long they took is
    kept for the candidates that follow. A later one's ``speed`` is thus against times of another
    moment, and :meth:`beside` times it anew.
    """

    def __init__(self, model: SSDResNet34, fp32: Session, rival: Session | None = None) -> None:
        """``model`` is for preprocessing, postprocessing and names; ``rival`` is ``fp32`` where
        none is given."""
        self.model = model
        self._fp32, self._rival = fp32, rival or fp32
        self._seen: list[_Seen] = []

    def see(self, number: int, inputs: ModelInput) -> _Seen:
        """What float makes of the image that is the ``number``-th of those that can be read."""
        if number == len(self._seen):
            if not self._seen:
                self._warm_up(inputs)
            heads, seconds = _timed(self._fp32, inputs)
            if self._rival is not self._fp32:
                _, seconds = _timed(self._rival, inputs)
            kept = heads if number < HEADS_KEPT else None
            self._seen.append(_Seen(_detections(self.model, heads), kept, seconds))
        return self._seen[number]

    def beside(
        self,
        candidate: Session,
        image: Any,
        found: Fidelity,
        on_pair: Callable[[], None] = lambda: None,
    ) -> Fidelity:
        """``found`` with the time of ``PAIRS`` interleaved pairs of runs over an image."""
        inputs = self.model.preprocess(image)
        times = interleave(
            partial(candidate.run, inputs),
            partial(self._rival.run, inputs),
            PAIRS,
            warm_ups=1,
            clock=time.perf_counter,
            on_pair=on_pair,
        )
        return replace(found, **_speed(times))

    def _warm_up(self, inputs: ModelInput) -> None:
        for session in {id(one): one for one in (self._fp32, self._rival)}.values():
            session.run(inputs)  # the first run fills caches


def measure(
    reference: Reference,
    candidate: Session,
    images: Iterable[Any],
    *,
    truth: Dataset | None = None,
    on_image: Callable[[ImageError | None], None] = lambda _: None,
) -> Fidelity:
    """Run a candidate over the images; refused ones are reported and left out.

    Args:
        reference: float over the same images; give the same one for the next candidate.
        candidate: the session to judge.
        images: as for :func:`~ssd_resnet34.compiler.calibration.calibrate`.
        truth: annotations by file name; images that they do not name, or that were there before,
            count for all but AP.

    Raises:
        UsageError: the annotations name none of the images, have no object in them, or have other
            categories than the model.
    """
    model = reference.model
    signal: dict[str, float] = {}
    noise: dict[str, float] = {}
    agreement = NOTHING
    times: list[tuple[float, float]] = []
    results: tuple[list[Any], list[Any]] = ([], [])
    ids: list[int] = []
    named = {} if truth is None else truth.ids_by_name()
    categories = () if truth is None else scored_categories(truth, model.contract)[0]
    for number, image in enumerate(readable(images, on_image)):
        inputs = model.preprocess(image)
        wanted = reference.see(number, inputs)
        if not times:
            candidate.run(inputs)  # warms up
        heads, seconds = _timed(candidate, inputs)
        times.append((seconds, wanted.seconds))
        if wanted.heads is not None:
            names = model.contract.head_shapes()
            for name, head, exact in zip(names, heads, wanted.heads, strict=True):
                signal[name] = signal.get(name, 0.0) + _power(exact)
                noise[name] = noise.get(name, 0.0) + _power(head - exact)
        found = _detections(model, heads)
        shown = [one[one.scores > DEFAULT_SCORE_THRESHOLD] for one in (wanted.found, found)]
        agreement = agreement + compare(*shown)
        known = named.get(paths.basename(image.name))
        if known is not None and known not in ids:  # what is found twice is wrong once
            ids.append(known)
            for one, entries in zip((wanted.found, found), results, strict=True):
                entries.extend(one.to_coco(known))
    ap, ap50 = _precision(truth, results, ids, categories) if truth and times else (None, None)
    return Fidelity(
        len(times),
        {name: decibel(signal[name], noise[name]) for name in signal},
        agreement,
        ap=ap,
        ap50=ap50,
        **_speed(times),
    )


def check_truth(truth: Dataset, contract: Contract, names: Iterable[str]) -> None:
    """Refuse annotations that have nothing to say of images so called, before any of them is run.

    Raises:
        UsageError: as :func:`measure`.
    """
    categories = set(scored_categories(truth, contract)[0])
    known = truth.ids_by_name()
    ids = {known.get(paths.basename(name)) for name in names}
    if not any(
        one["image_id"] in ids
        and one["category_id"] in categories
        and not (one["iscrowd"] or one["ignore"])
        for one in truth.annotations
    ):
        raise _says_nothing(truth)


def decibel(signal: float, noise: float) -> float:
    """10 log10(signal / noise) of two powers; infinite without noise."""
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal > 0 else -math.inf


def _power(values: NDArray[np.float32]) -> float:
    return float(np.square(values, dtype=np.float64).sum())


def _timed(session: Session, inputs: ModelInput) -> tuple[Outputs, float]:
    began = time.perf_counter()
    heads = session.run(inputs)
    return heads, time.perf_counter() - began


def _detections(model: SSDResNet34, heads: Outputs) -> Detections:
    """All that average precision counts, which is more than ``detect`` shows."""
    (found,) = model.postprocess(heads)
    return found


def _median(values: Sequence[float]) -> float:
    return statistics.median(values) if values else math.nan


def _speed(times: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """What :class:`Fidelity` says of pairs of seconds (candidate, float)."""
    found = ratio(times) if times else Ratio(math.nan, math.nan, math.nan, 0)
    return {
        "speed": found.median,
        "seconds": (_median([a for a, _ in times]), _median([b for _, b in times])),
        "spread": (found.low, found.high),
        "pairs": found.pairs,
    }


def _precision(
    truth: Dataset,
    results: tuple[list[Any], list[Any]],
    ids: Sequence[int],
    categories: Sequence[int],
) -> tuple[tuple[float, float], tuple[float, float]]:
    """AP and AP50 of both lists of results."""
    if ids:
        reference, found = (score(truth, one, ids, categories).numbers for one in results)
        if reference["AP"] != UNDEFINED:
            return (reference["AP"], found["AP"]), (reference["AP50"], found["AP50"])
    raise _says_nothing(truth)


def _says_nothing(truth: Dataset) -> UsageError:
    return UsageError(
        f"{truth.path}: has no object in the images that judge, so they have no average precision; "
        "give images that it names, with objects in them (--check)"
    )

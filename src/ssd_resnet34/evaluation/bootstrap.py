"""How far AP moves from one set of images to another of the same kind: a bootstrap over images.

Each replicate draws as many images as there are, with replacement, and AP is computed again. The
matches of an image with its truths do not depend on the other images, so that they are made once
(:class:`~ssd_resnet34.evaluation.coco.Table`) and a replicate only weighs them: an image drawn
twice counts twice (Efron and Tibshirani, An Introduction to the Bootstrap, 1993).

AP of a resampled set is a little higher than AP of the set: it has fewer different images, so a
more ragged curve, and precision is the best one *at or beyond* a recall. That shift is none of the
spread: the interval has the width of the replicates' percentiles and stands on the measured value.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from .coco import IOUS, RECALLS, UNDEFINED, Evaluation, Table

REPLICATES: Final = 1000

CONFIDENCE: Final = 0.95
"""Share of the replicates inside an interval."""

FEW: Final = 30
"""From so many images on the replicates differ enough to tell how far AP moves."""

_SEED: Final = 0x5EED
"""The same file gives the same interval."""

_CHUNK: Final = 1 << 21
"""Numbers in one array: memory stays near 100 MB however many detections there are."""


@dataclass(frozen=True)
class Interval:
    """From ``low`` to ``high`` by ``CONFIDENCE``; both ``UNDEFINED`` where a number has no truths,
    and where there is one image, whose replicates are all the same."""

    low: float
    high: float

    @property
    def width(self) -> float:
        """Highest minus lowest value."""
        return self.high - self.low


def intervals(
    evaluation: Evaluation, *, replicates: int = REPLICATES, seed: int = _SEED
) -> dict[str, Interval]:
    """The intervals of ``AP`` and ``AP50``, by these names, 0..1."""
    values = resample(evaluation.tables, _weights(len(evaluation.image_ids), replicates, seed))
    measured = evaluation.scores.numbers
    found = {}
    for name, column in _columns(values).items():
        defined = column[column > UNDEFINED]
        alone = len(evaluation.image_ids) == 1
        if alone or measured[name] == UNDEFINED or not defined.size:
            found[name] = Interval(UNDEFINED, UNDEFINED)
            continue
        low, high = _around(measured[name], defined)
        found[name] = Interval(max(0.0, low), min(1.0, high))
    return found


def difference_intervals(
    a: Evaluation, b: Evaluation, *, replicates: int = REPLICATES, seed: int = _SEED
) -> dict[str, Interval]:
    """The intervals of ``AP`` and ``AP50`` of ``b`` minus those of ``a``, by these names, -1..1.

    Both are weighed alike, image by image, so that what is hard for both does not widen the
    interval. One that holds 0 says that the difference may be chance. A number that is undefined
    has none, and none is there for one image.

    Raises:
        UsageError: they were not scored on the same images.
    """
    if a.image_ids != b.image_ids:
        raise UsageError("the two runs were scored on different images; score both on the same")
    weights = _weights(len(a.image_ids), replicates, seed)
    columns = [_columns(resample(one.tables, weights)) for one in (a, b)]
    found: dict[str, Interval] = {}
    if len(a.image_ids) == 1:
        return found
    for name, first in columns[0].items():
        second = columns[1][name]
        numbers = [one.scores.numbers[name] for one in (a, b)]
        defined = (first > UNDEFINED) & (second > UNDEFINED)
        if UNDEFINED not in numbers and defined.any():
            moved = (second - first)[defined]
            found[name] = Interval(*_around(numbers[1] - numbers[0], moved))
    return found


def doubts(images: int) -> list[str]:
    """What to say beside the intervals of so few images, nothing where they are enough."""
    if images == 1:
        return ["no interval: one image does not tell how another one would score"]
    if images < FEW:
        return [f"an interval of only {images} images says little; a few hundred are better"]
    return []


def _weights(images: int, replicates: int, seed: int) -> NDArray[np.int64]:
    rng = np.random.default_rng(seed)
    return rng.multinomial(images, np.full(images, 1 / images), replicates)


def _columns(values: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    return {"AP": values.mean(axis=1), "AP50": values[:, 0]}


def _around(measured: float, replicates: NDArray[np.float64]) -> tuple[float, float]:
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(replicates, [tail, 100 - tail]) - replicates.mean() + measured
    return float(low), float(high)


def resample(tables: Mapping[int, Table], weights: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """AP at each of ``IOUS`` of samples in which image i occurs ``weights[b, i]`` times.

    Args:
        tables: by category.
        weights: int (b, images).

    Returns:
        float64 (b, 10), mean over the categories that have truths in the sample, ``UNDEFINED``
        where none has. With weights of 1 that is what pycocotools computes.
    """
    total = np.zeros((len(weights), len(IOUS)))
    defined = np.zeros(len(weights), np.int64)
    for table in tables.values():
        truths = weights @ table.truths
        defined += truths > 0
        rows = max(1, _CHUNK // max(1, len(table.image)))
        for start in range(0, len(weights), rows):
            part = slice(start, start + rows)
            total[part] += _precision(table, weights[part], truths[part])
    share = total / np.maximum(defined, 1)[:, None]
    return np.where(defined[:, None] > 0, share, UNDEFINED)


def _precision(
    table: Table, weights: NDArray[np.integer[Any]], truths: NDArray[np.int64]
) -> NDArray[np.float64]:
    """(b, 10): precision of one category, mean over ``RECALLS``; 0 where it has no truths."""
    counts = weights.astype(np.int32)[:, table.image]  # (b, n): how often each detection occurs
    seen = _sums(counts)
    found = np.zeros((len(weights), len(IOUS)))
    most = np.maximum(truths, 1)[:, None]
    for t in range(len(IOUS)):
        # Recall rises only where a truth is found, so that only these places matter.
        places = np.flatnonzero(table.found[t] & ~table.ignored[t])
        if not places.size:
            continue
        aside = np.flatnonzero(table.ignored[t])
        ignored = _sums(counts[:, aside])[:, np.searchsorted(aside, places)]
        hits = np.cumsum(counts[:, places], axis=1)
        # As in pycocotools: the best precision at this recall or beyond; hits over hits and misses,
        # with a spacing that keeps 0 / 0 away.
        precision = hits / (seen[:, places + 1] - ignored + np.spacing(1))
        best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        reached = np.searchsorted(RECALLS, hits / most, side="right")
        gained = np.diff(reached, axis=1, prepend=0)
        found[:, t] = (best * gained).sum(axis=1) / len(RECALLS)
    return np.where(truths[:, None] > 0, found, 0)


def _sums(counts: NDArray[np.int32]) -> NDArray[np.int32]:
    """(b, n + 1): of the first 0, 1, … n columns."""
    sums = np.zeros((counts.shape[0], counts.shape[1] + 1), np.int32)
    np.cumsum(counts, axis=1, out=sums[:, 1:])
    return sums

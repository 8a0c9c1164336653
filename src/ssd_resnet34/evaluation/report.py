"""What an evaluation found, for people: one HTML file."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np

from .. import files
from ..errors import UsageError
from . import page
from .bootstrap import CONFIDENCE, Interval
from .coco import NAMES, SIZES, UNDEFINED, Evaluation, Scores
from .confusion import (
    COUNTED,
    Confusion,
    Verdict,
    best_threshold,
    confusion,
    judge,
    outcome,
)
from .dataset import Dataset
from .figures import Plot, mean_curve, recall_plot, shade
from .gallery import Gallery, Picture

MEANINGS: Final = dict(
    zip(
        NAMES,
        (
            "average precision, mean over IoU 0.50 to 0.95 and all classes",
            "average precision at IoU 0.50",
            "average precision at IoU 0.75",
            "AP of small objects, under 32² pixels",
            "AP of medium objects, from 32² to 96² pixels",
            "AP of large objects, over 96² pixels",
            "average recall with the best detection of a class an image",
            "average recall with the best 10",
            "average recall with the best 100",
            "average recall of small objects",
            "average recall of medium objects",
            "average recall of large objects",
        ),
        strict=True,
    )
)
"""What each of the twelve numbers is."""

CURVES: Final = 5
"""Classes with a curve of their own: as many as there are colours that are told apart."""

_MATRIX: Final = 12
"""Classes of the confusion matrix: more are too wide to read."""

_ROWS: Final = 12
"""Rows of the table of confused classes, and of that of missed and invented."""

_IMAGES: Final = 6
"""Best images that are shown, and as many worst ones."""

_EVENTS: Final = 12
"""Lines in words for each of them."""

_EDGES: Final = (32**2, 96**2)
"""Areas in pixels between small, medium and large."""


@dataclass(frozen=True)
class Setting:
    """How the numbers came about.

    Attributes:
        title: what was evaluated on what.
        command: the command line that makes the report again.
        facts: name -> value, such as versions, processor, weights and options; shown as text.
        notes: sentences that a reader must know: images left out, annotations filled in.
    """

    title: str
    command: str
    facts: Mapping[str, Any]
    notes: Sequence[str] = ()


def write(
    path: str | PathLike[str],
    dataset: Dataset,
    results: Sequence[Mapping[str, Any]],
    evaluation: Evaluation,
    setting: Setting,
    *,
    folder: Path | None,
    intervals: Mapping[str, Interval] | None = None,
    curves: Sequence[str] = (),
    threshold: float = COUNTED,
) -> None:
    """Write the report as one HTML file that opens without network.

    Args:
        path: the file; replaced whole or not at all.
        dataset: the truth.
        results: the COCO results that ``evaluation`` is of, in the same order.
        evaluation: their scores.
        setting: how they came about.
        folder: where the image files are; what is missing or refused is told of in words.
        intervals: by name of the number.
        curves: labels of the classes with a curve of their own, at most ``CURVES``; default: those
            with the most objects.
        threshold: score that a detection must exceed to be drawn, and counted among what was found,
            confused or invented. The twelve numbers and the curves count all results.

    Raises:
        UsageError: an unknown class in ``curves``, or too many; ``path`` cannot be written.
        OutputError: the disk is full.
        MissingExtra: jinja2 is not installed.
    """
    verdicts = judge(dataset, results, evaluation.matches, threshold)
    table = confusion(dataset, results, verdicts, evaluation.category_ids)
    gallery = Gallery(dataset, folder)
    shown = [one for one in verdicts if one.right or one.mistakes]
    worst = sorted((one for one in shown if one.mistakes), key=lambda v: (v.f1, -v.mistakes))
    worst = worst[:_IMAGES]
    taken = {one.image_id for one in worst}
    best = sorted(
        (one for one in shown if one.right and one.image_id not in taken),
        key=lambda v: (-v.f1, -len(v.right)),
    )
    scenes = [
        [_scene(verdict, dataset, results, gallery, evaluation) for verdict in part]
        for part in (best[:_IMAGES], worst)
    ]
    scores = evaluation.scores
    data = page.render(
        "report.html",
        setting=setting,
        threshold=threshold,
        scores=scores,
        meanings=MEANINGS,
        intervals={n: one for n, one in (intervals or {}).items() if one.low != UNDEFINED},
        confidence=CONFIDENCE,
        outcome=outcome(verdicts),
        choice=best_threshold(results, evaluation.matches),
        plot=_plot(scores, curves),
        classes=_by_ap(scores),
        sizes=_sizes(dataset, evaluation),
        size_names=SIZES,
        taken=_taken(table),
        alone=_alone(table),
        matrix=_matrix(table),
        best=scenes[0],
        worst=scenes[1],
    )
    files.write(path, data)


def _plot(scores: Scores, wanted: Sequence[str]) -> Plot:
    scored = {one.label: one for one in scores.classes.values()}
    unknown = [label for label in wanted if label not in scored]
    if unknown:
        raise UsageError(f"curves: {unknown[0]!r} was not scored; give some of {', '.join(scored)}")
    if len(wanted) > CURVES:
        raise UsageError(f"curves: {len(wanted)} classes; give at most {CURVES}")
    chosen = [scored[label] for label in wanted] or sorted(
        scored.values(), key=lambda one: -one.truths
    )[:CURVES]
    curves = [
        (f"{one.label}, AP50 {one.ap50:.3f}", one.precision)
        for one in chosen
        if one.ap50 > UNDEFINED
    ]
    mean = mean_curve([one.precision for one in scores.classes.values()])
    if mean is None or len(scores.classes) == 1:
        return recall_plot(curves, first=1)
    return recall_plot([(f"mean of all classes, AP50 {mean.mean():.3f}", mean), *curves])


def _by_ap(scores: Scores) -> list[Any]:
    """Best first; those without an object last."""
    return sorted(scores.classes.values(), key=lambda one: (-one.ap, one.label))


@dataclass(frozen=True)
class Bucket:
    """The objects of one size: AP, and AR with 100 detections."""

    name: str
    range: str
    objects: int
    ap: float
    ar: float


def _sizes(dataset: Dataset, evaluation: Evaluation) -> list[Bucket]:
    images, categories = set(evaluation.image_ids), set(evaluation.category_ids)
    areas = [
        one["area"]
        for one in dataset.annotations
        if one["image_id"] in images
        and one["category_id"] in categories
        and not (one["iscrowd"] or one["ignore"])
    ]
    counts = np.bincount(np.searchsorted(_EDGES, areas, "right"), minlength=len(SIZES))
    ranges = ("under 32² pixels", "32² to 96² pixels", "over 96² pixels")
    numbers = evaluation.scores.numbers
    return [
        Bucket(name, span, int(count), numbers[f"AP{name[0]}"], numbers[f"AR{name[0]}"])
        for name, span, count in zip(SIZES, ranges, counts, strict=True)
    ]


@dataclass(frozen=True)
class Taken:
    """``count`` objects, ``share`` 0..1 of those of the class ``truth``."""

    truth: str
    found: str
    count: int
    share: float


def _taken(table: Confusion) -> list[Taken]:
    totals = table.counts.sum(axis=1)
    return [
        Taken(table.labels[i], table.labels[j], count, count / int(totals[i]))
        for i, j, count in table.confused()[:_ROWS]
    ]


@dataclass(frozen=True)
class Alone:
    """Objects that were missed, ``share`` 0..1 of all of the class, None without any object; and
    detections that are of none. A misplaced one is both."""

    label: str
    missed: int
    share: float | None
    invented: int


def _alone(table: Confusion) -> list[Alone]:
    totals = table.counts.sum(axis=1)
    return [
        Alone(table.labels[k], missed, missed / int(totals[k]) if totals[k] else None, invented)
        for k, missed, invented in table.alone()[:_ROWS]
    ]


BACKGROUND: Final = "background"


@dataclass(frozen=True)
class Cell:
    """``shade`` 0..10 by the share of its row; ``kind``: right, wrong or none."""

    count: int
    shade: int
    kind: str


@dataclass(frozen=True)
class Matrix:
    """``names`` of rows and columns, the last one background; ``whole``: no classes left out."""

    names: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    whole: bool


def _matrix(table: Confusion) -> Matrix:
    small = table.reduced(_MATRIX)
    whole = small is table
    names = (*small.labels, BACKGROUND)
    totals = small.counts.sum(axis=1)
    mixed = len(names) - 1 if whole else len(names) - 2  # among the others, right is not known

    def cell(i: int, j: int) -> Cell:
        count = int(small.counts[i, j])
        kind = "wrong" if i != j else "right" if i < mixed else "none"
        return Cell(count, shade(count / max(1, int(totals[i]))), kind)

    places = range(len(names))
    return Matrix(names, tuple(tuple(cell(i, j) for j in places) for i in places), whole)


@dataclass(frozen=True)
class Scene:
    """One image: its pictures, and in words what went wrong, at most a dozen lines."""

    name: str
    verdict: Verdict
    pictures: Sequence[Picture]
    reason: str
    events: Sequence[str]
    more: int


def _scene(
    verdict: Verdict,
    dataset: Dataset,
    results: Sequence[Mapping[str, Any]],
    gallery: Gallery,
    evaluation: Evaluation,
) -> Scene:
    truth = gallery.truth(verdict.image_id, evaluation.category_ids)
    positions = [one for one, _ in verdict.right + verdict.confused + verdict.misplaced]
    positions += verdict.repeated + verdict.invented + verdict.ignored
    found = sorted((results[one] for one in positions), key=lambda one: -float(one["score"]))
    pictures, reason = gallery.pictures(verdict.image_id, {"Truth": truth, "Detections": found})
    events = _events(verdict, results, {one["id"]: one for one in truth}, dataset.labels())
    return Scene(
        PurePosixPath(gallery.images[verdict.image_id]["file_name"]).name,
        verdict,
        pictures,
        reason,
        events[:_EVENTS],
        max(0, len(events) - _EVENTS),
    )


def _events(
    verdict: Verdict,
    results: Sequence[Mapping[str, Any]],
    truths: Mapping[int, Mapping[str, Any]],
    labels: Mapping[int, str],
) -> list[str]:
    def label(entry: Mapping[str, Any]) -> str:
        return labels[entry["category_id"]]

    def found(number: int) -> str:
        return f"{label(results[number])} {results[number]['score']:.2f}"

    def together(places: Sequence[int], what: str) -> list[str]:
        scores: dict[str, list[float]] = {}
        for r in places:
            scores.setdefault(label(results[r]), []).append(results[r]["score"])
        return [
            f"{_times(name, len(of))} {'up to ' if len(of) > 1 else ''}{max(of):.2f} {what}"
            for name, of in scores.items()
        ]

    missed = Counter(label(truths[t]) for t in verdict.missed)
    return [
        *(f"{label(truths[t])} taken for {found(r)}" for r, t in verdict.confused),
        *together([r for r, _ in verdict.misplaced], "misplaced"),
        *(f"{_times(name, count)} missed" for name, count in missed.items()),
        *together(verdict.repeated, "once more"),
        *together(verdict.invented, "where none is"),
    ]


def _times(label: str, count: int) -> str:
    return label if count == 1 else f"{count} × {label}"

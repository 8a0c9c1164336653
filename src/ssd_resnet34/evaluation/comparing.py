"""Where two runs over the same images differ: numbers, classes, and detections one by one."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from .agreement import NOTHING, Agreement, one_to_one, pairwise_iou
from .coco import UNDEFINED, ClassScores, Evaluation, Match
from .confusion import COUNTED, corners
from .dataset import Dataset

SHIFT: Final = 0.1
"""Least difference of two scores that is told of. int8 moves most scores by a few hundredths."""

Kind = Literal["only_a", "only_b", "class", "score"]
KINDS: Final[tuple[Kind, ...]] = ("only_a", "only_b", "class", "score")
Judgement = Literal["right", "wrong", "ignored", "unjudged"]
Judgements = tuple[Judgement | None, Judgement | None]
"""In the one run and in the other; None where it has no detection."""


@dataclass(frozen=True, eq=False)
class Side:
    """One of the two runs: COCO results, and their evaluation in the same order."""

    name: str
    results: Sequence[Mapping[str, Any]]
    evaluation: Evaluation


@dataclass(frozen=True)
class Finding:
    """A detection of one run.

    ``result`` is its position in the run's results; ``box`` is left, top, right, bottom in pixels;
    ``judgement`` is COCO's at IoU 0.5: ignored on a crowd or an object to ignore, unjudged beyond
    the 100 best of its class in the image.
    """

    result: int
    label: str
    score: float
    box: tuple[float, float, float, float]
    judgement: Judgement


@dataclass(frozen=True)
class Difference:
    """One object or place in which the runs differ.

    ``only_a``, ``only_b``: the other run has no detection there. ``class``: both have one on the
    same place, of two classes. ``score``: the same class on the same place, but the scores differ;
    one of them may be below the threshold.
    """

    kind: Kind
    a: Finding | None
    b: Finding | None

    @property
    def judgements(self) -> Judgements:
        """What each run made of the object; None where one has no detection of it."""
        a, b = (None if one is None else one.judgement for one in (self.a, self.b))
        return a, b

    @property
    def amount(self) -> float:
        """0..1: the score that only one run gives, or by how much the scores differ."""
        scores = [one.score for one in (self.a, self.b) if one is not None]
        return max(scores) if self.kind != "score" else abs(scores[0] - scores[1])


@dataclass(frozen=True)
class ImageDifferences:
    """One image, largest difference first."""

    image_id: int
    file_name: str
    differences: tuple[Difference, ...]

    @property
    def amount(self) -> float:
        """Sum over its differences, by which images are ordered."""
        return sum(one.amount for one in self.differences)


@dataclass(frozen=True)
class Closeness:
    """``objects`` that both runs found above the threshold, and the mean IoU 0..1 of the box of
    each run with the truth, ``UNDEFINED`` without any: what AP sees and no list of detections
    shows."""

    objects: int
    a: float
    b: float


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two runs on the same images and categories.

    Attributes:
        a, b: the runs.
        threshold: score that a detection of one of them must exceed to be compared.
        shift: least difference of two scores that counts.
        agreement: of the detections above the threshold, ``a`` as the reference.
        closeness: of their boxes to the truth.
        images: those with a difference, the most different first.
    """

    a: Side
    b: Side
    threshold: float
    shift: float
    agreement: Agreement
    closeness: Closeness
    images: tuple[ImageDifferences, ...]

    @property
    def numbers(self) -> dict[str, tuple[float, float]]:
        """The twelve, of ``a`` and ``b``."""
        first, second = (side.evaluation.scores.numbers for side in (self.a, self.b))
        return {name: (first[name], second[name]) for name in first}

    @property
    def classes(self) -> list[tuple[ClassScores, ClassScores]]:
        """Scores of each class that has objects, the largest difference of AP first."""
        first, second = (side.evaluation.scores.classes for side in (self.a, self.b))
        pairs = [(first[k], second[k]) for k in first if first[k].ap != UNDEFINED]
        return sorted(pairs, key=lambda pair: (-abs(pair[1].ap - pair[0].ap), pair[0].label))

    def counts(self) -> dict[Kind, Counter[Judgements]]:
        """How many differences of each kind, by what they are in ``a`` and in ``b``."""
        counts: dict[Kind, Counter[Judgements]] = {kind: Counter() for kind in KINDS}
        for image in self.images:
            for one in image.differences:
                counts[one.kind][one.judgements] += 1
        return counts


def compare(
    dataset: Dataset, a: Side, b: Side, *, threshold: float = COUNTED, shift: float = SHIFT
) -> Comparison:
    """Compare two runs, detection by detection.

    Detections above the threshold are paired one to one at IoU 0.5 or more: first within a class,
    as :func:`~ssd_resnet34.evaluation.agreement.match` does, then what is left over whatever its
    class. What still has no partner may have one of its class below the threshold in the other run:
    then it did not vanish, its score fell.

    Raises:
        UsageError: the runs were not scored on the same images and categories.
    """
    for what in ("image_ids", "category_ids"):
        first, second = (set(getattr(side.evaluation, what)) for side in (a, b))
        if first != second:
            kind = "images" if what == "image_ids" else "categories"
            raise UsageError(
                f"{a.name} and {b.name}: scored on other {kind} ({len(first)} and {len(second)}, "
                f"{len(first & second)} in common); score both on the same ones"
            )
    sides = tuple(_Sorted(side, dataset.labels()) for side in (a, b))
    truths = {one["id"]: one["bbox"] for one in dataset.annotations}
    agreement = NOTHING
    images = []
    ious: list[tuple[float, float]] = []
    for image in dataset.images:
        if image["id"] not in sides[0].positions and image["id"] not in sides[1].positions:
            continue
        rows = [side.positions.get(image["id"], []) for side in sides]
        agrees, same, differences = _compared(sides, rows, threshold, shift)
        agreement = agreement + agrees
        ious += _overlaps(sides, same, truths)
        if differences:
            images.append(ImageDifferences(image["id"], image["file_name"], tuple(differences)))
    images.sort(key=lambda one: -one.amount)
    means = np.mean(ious, axis=0).tolist() if ious else [UNDEFINED] * 2
    closeness = Closeness(len(ious), *means)
    return Comparison(a, b, threshold, shift, agreement, closeness, tuple(images))


class _Sorted:
    """The results of a run by image, with what each of them is."""

    def __init__(self, side: Side, labels: Mapping[int, str]) -> None:
        images, categories = set(side.evaluation.image_ids), set(side.evaluation.category_ids)
        self.results, self._labels = side.results, labels
        self.positions: defaultdict[int, list[int]] = defaultdict(list)
        for n, one in enumerate(side.results):
            if one["image_id"] in images and one["category_id"] in categories:
                self.positions[one["image_id"]].append(n)
        self.matches = {
            match.result: match
            for found in side.evaluation.matches.values()
            for match in found.results
        }

    def finding(self, position: int) -> Finding:
        one = self.results[position]
        left, top, width, height = one["bbox"]
        return Finding(
            position,
            self._labels[one["category_id"]],
            one["score"],
            (left, top, left + width, top + height),
            _judgement(self.matches.get(position)),
        )


def _judgement(match: Match | None) -> Judgement:
    if match is None:
        return "unjudged"
    return "ignored" if match.ignored else "right" if match.right else "wrong"


def _compared(
    sides: Sequence[_Sorted], rows: Sequence[list[int]], threshold: float, shift: float
) -> tuple[Agreement, list[tuple[int, int]], list[Difference]]:
    """The agreement in one image, the pairs of results behind it, and the differences."""
    found = [[side.results[n] for n in part] for side, part in zip(sides, rows, strict=True)]
    boxes = [corners([one["bbox"] for one in part]) for part in found]
    scores = [np.array([one["score"] for one in part], np.float64) for part in found]
    classes = [np.array([one["category_id"] for one in part], np.int64) for part in found]
    shown = [values > threshold for values in scores]
    overlaps = pairwise_iou(*boxes)
    alike = classes[0][:, None] == classes[1][None]
    both = shown[0][:, None] & shown[1][None]
    either = shown[0][:, None] | shown[1][None]
    free = [np.ones(len(part), bool) for part in found]

    def paired(allowed: NDArray[np.bool_]) -> list[tuple[int, int]]:
        allowed = allowed & free[0][:, None] & free[1][None]
        pairs = one_to_one(np.where(allowed, overlaps, -1))
        for i, j in pairs:
            free[0][i] = free[1][j] = False
        return pairs

    same = paired(both & alike)
    other = paired(both & ~alike)
    faded = paired(either & alike)  # one of the two is below the threshold

    def difference(kind: Kind, i: int | None, j: int | None) -> Difference:
        a = None if i is None else sides[0].finding(rows[0][i])
        b = None if j is None else sides[1].finding(rows[1][j])
        return Difference(kind, a, b)

    moved = [(i, j) for i, j in same + faded if abs(scores[0][i] - scores[1][j]) > shift]
    differences = [
        *(difference("class", i, j) for i, j in other),
        *(difference("score", i, j) for i, j in moved),
        *(difference("only_a", int(i), None) for i in np.flatnonzero(free[0] & shown[0])),
        *(difference("only_b", None, int(j)) for j in np.flatnonzero(free[1] & shown[1])),
    ]
    agreement = Agreement(
        int(shown[0].sum()),
        int(shown[1].sum()),
        len(same),
        max((float(np.abs(boxes[0][i] - boxes[1][j]).max()) for i, j in same), default=0.0),
        max((abs(float(scores[0][i] - scores[1][j])) for i, j in same), default=0.0),
    )
    pairs = [(rows[0][i], rows[1][j]) for i, j in same]
    return agreement, pairs, sorted(differences, key=lambda one: -one.amount)


def _overlaps(
    sides: Sequence[_Sorted],
    pairs: Sequence[tuple[int, int]],
    truths: Mapping[int, Sequence[float]],
) -> list[tuple[float, float]]:
    """IoU with the truth, of both results of each pair that found the same object."""
    kept: tuple[list[int], list[int]] = ([], [])
    objects = []
    for pair in pairs:
        matches = [side.matches.get(n) for side, n in zip(sides, pair, strict=True)]
        found = {one.annotation if one is not None and one.right else None for one in matches}
        if len(found) == 1 and (annotation := found.pop()) is not None:
            objects.append(truths[annotation])
            for positions, position in zip(kept, pair, strict=True):
                positions.append(position)
    boxes = corners(objects)
    ious = []
    for side, positions in zip(sides, kept, strict=True):
        own = corners([side.results[n]["bbox"] for n in positions])
        ious.append(np.diagonal(pairwise_iou(own, boxes)).tolist())
    return list(zip(*ious, strict=True))


def describe(comparison: Comparison) -> dict[str, Any]:
    """All of it as plain values for JSON; numbers that are undefined are None."""

    def pair(a: float, b: float) -> dict[str, float | None]:
        if UNDEFINED in (a, b):
            return {
                "a": None if a == UNDEFINED else a,
                "b": None if b == UNDEFINED else b,
                "difference": None,
            }
        return {"a": a, "b": b, "difference": b - a}

    counts = comparison.counts()
    return {
        "a": comparison.a.name,
        "b": comparison.b.name,
        "score_threshold": comparison.threshold,
        "score_shift": comparison.shift,
        "images": comparison.a.evaluation.scores.images,
        "numbers": {name: pair(*values) for name, values in comparison.numbers.items()},
        "classes": {
            first.label: {
                "objects": first.truths,
                "AP": pair(first.ap, second.ap),
                "AP50": pair(first.ap50, second.ap50),
            }
            for first, second in comparison.classes
        },
        "agreement": asdict(comparison.agreement) | {"share": comparison.agreement.share},
        "closeness": {
            "objects": comparison.closeness.objects,
            "IoU": pair(comparison.closeness.a, comparison.closeness.b),
        },
        "counts": {kind: sum(found.values()) for kind, found in counts.items()},
        "differences": [asdict(image) for image in comparison.images],
    }

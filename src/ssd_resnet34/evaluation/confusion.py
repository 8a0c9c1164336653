"""What became of every object and every detection, and which class was taken for which."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..detector import DEFAULT_SCORE_THRESHOLD
from .agreement import MATCH_IOU, one_to_one, pairwise_iou
from .coco import ImageMatches
from .dataset import Dataset

COUNTED: Final = DEFAULT_SCORE_THRESHOLD
"""Score that a detection must exceed to be judged, unless the caller says otherwise: what
``detect`` shows. Average precision goes on to 0.05, where most detections are wrong."""


MISPLACED: Final = 0.1
"""IoU from which a box of the right class is a misplaced one, as in TIDE (Bolya et al. 2020): with
less it is none of that object."""


@dataclass(frozen=True)
class Verdict:
    """One image. A result is named by its position in the list of results, a truth by the id of its
    annotation; each is in one field.

    Attributes:
        image_id: the image's.
        right: (result, truth) of the same class, as COCO matches at IoU 0.5.
        confused: (result, truth) of two classes: IoU 0.5 or more, and neither found its own.
        misplaced: (result, truth) of the same class: IoU 0.1 to 0.5, and neither found another.
        missed: truths that nothing found.
        repeated: results of the class of an object at IoU 0.5 that another result found.
        invented: results where no truth is.
        ignored: results on a crowd or an object to ignore, neither right nor wrong.
    """

    image_id: int
    right: tuple[tuple[int, int], ...] = ()
    confused: tuple[tuple[int, int], ...] = ()
    misplaced: tuple[tuple[int, int], ...] = ()
    missed: tuple[int, ...] = ()
    repeated: tuple[int, ...] = ()
    invented: tuple[int, ...] = ()
    ignored: tuple[int, ...] = ()

    @property
    def mistakes(self) -> int:
        """A confusion is one mistake, and so is a misplaced box."""
        pairs, alone = (self.confused, self.misplaced), (self.missed, self.repeated, self.invented)
        return sum(map(len, (*pairs, *alone)))

    @property
    def f1(self) -> float:
        """2 · right / (objects + detections), 0..1; 1 where there is neither."""
        right = 2 * len(self.right)
        pairs = len(self.confused) + len(self.misplaced)
        both = right + 2 * pairs + sum(map(len, (self.missed, self.repeated, self.invented)))
        return right / both if both else 1.0


def judge(
    dataset: Dataset,
    results: Sequence[Mapping[str, Any]],
    matches: Mapping[int, ImageMatches],
    threshold: float = COUNTED,
) -> list[Verdict]:
    """A verdict for each image of ``matches``, on the results with a score above ``threshold``.

    Right is what COCO's matching of the same ``results`` at IoU 0.5 says. It goes by descending
    score, so what a result finds does not depend on those below it, and the threshold can be
    applied afterwards. What is left over is paired whatever its class, best IoU first; then
    boxes of the right class that are off.
    """
    truths = {one["id"]: one for one in dataset.annotations}
    return [
        _judged(image_id, found, results, truths, threshold) for image_id, found in matches.items()
    ]


def _judged(
    image_id: int,
    matches: ImageMatches,
    results: Sequence[Mapping[str, Any]],
    truths: Mapping[int, Mapping[str, Any]],
    threshold: float,
) -> Verdict:
    right: list[tuple[int, int]] = []
    wrong: list[int] = []
    ignored: list[int] = []
    missed = list(matches.missed)
    for match in matches.results:
        counts = results[match.result]["score"] > threshold
        if match.right and match.annotation is not None:
            if counts:
                right.append((match.result, match.annotation))
            else:
                missed.append(match.annotation)
        elif counts:
            (ignored if match.ignored else wrong).append(match.result)

    def overlaps(ours: Sequence[int], theirs: Sequence[int]) -> NDArray[np.float64]:
        return pairwise_iou(
            corners([results[one]["bbox"] for one in ours]),
            corners([truths[one]["bbox"] for one in theirs]),
        )

    def of_one_class(ours: Sequence[int], theirs: Sequence[int]) -> NDArray[np.float64]:
        mine = np.array([results[one]["category_id"] for one in ours], np.int64)
        wanted = np.array([truths[one]["category_id"] for one in theirs], np.int64)
        return np.where(mine[:, None] == wanted, overlaps(ours, theirs), 0.0)

    confused = [(wrong[i], missed[j]) for i, j in one_to_one(overlaps(wrong, missed))]
    wrong, missed = _without(wrong, missed, confused)
    again = (of_one_class(wrong, [truth for _, truth in right]) >= MATCH_IOU).any(axis=1)
    repeated = [wrong[i] for i in np.flatnonzero(again)]
    wrong = [wrong[i] for i in np.flatnonzero(~again)]
    pairs = one_to_one(of_one_class(wrong, missed), MISPLACED)
    misplaced = [(wrong[i], missed[j]) for i, j in pairs]
    wrong, missed = _without(wrong, missed, misplaced)
    return Verdict(
        image_id,
        right=tuple(right),
        confused=tuple(confused),
        misplaced=tuple(misplaced),
        missed=tuple(missed),
        repeated=tuple(repeated),
        invented=tuple(wrong),
        ignored=tuple(ignored),
    )


def _without(
    results: Sequence[int], truths: Sequence[int], pairs: Sequence[tuple[int, int]]
) -> tuple[list[int], list[int]]:
    """What is in none of the pairs."""
    ours, theirs = {one for one, _ in pairs}, {one for _, one in pairs}
    return [one for one in results if one not in ours], [one for one in truths if one not in theirs]


def corners(boxes: Sequence[Sequence[float]]) -> NDArray[np.float32]:
    """COCO's left, top, width, height as left, top, right, bottom: (n, 4)."""
    values = np.asarray(boxes, np.float64).reshape(-1, 4)
    return np.hstack((values[:, :2], values[:, :2] + values[:, 2:])).astype(np.float32)


@dataclass(frozen=True)
class Outcome:
    """All verdicts added up: how many objects, and detections, of each kind."""

    objects: int
    right: int
    confused: int
    misplaced: int
    missed: int
    repeated: int
    invented: int
    ignored: int


def outcome(verdicts: Sequence[Verdict]) -> Outcome:
    """What became of all objects and detections."""
    kinds = ("right", "confused", "misplaced", "missed", "repeated", "invented", "ignored")
    counts = {kind: sum(len(getattr(one, kind)) for one in verdicts) for kind in kinds}
    objects = sum(counts[kind] for kind in ("right", "confused", "misplaced", "missed"))
    return Outcome(objects, **counts)


@dataclass(frozen=True)
class Choice:
    """``threshold``: scores over it are kept; ``precision``, ``recall`` and their ``f1`` then, over
    all classes, 0..1."""

    threshold: float
    precision: float
    recall: float
    f1: float


def best_threshold(
    results: Sequence[Mapping[str, Any]], matches: Mapping[int, ImageMatches]
) -> Choice | None:
    """The score threshold with the highest F1 at IoU 0.5, in the middle of the gap between two
    scores; None where nothing is right."""
    counted = [one for found in matches.values() for one in found.results if not one.ignored]
    counted.sort(key=lambda one: -results[one.result]["score"])
    right = np.cumsum([one.right for one in counted])
    if not counted or not right[-1]:
        return None
    objects = int(right[-1]) + sum(len(found.missed) for found in matches.values())
    scores = np.array([results[one.result]["score"] for one in counted])
    kept = np.arange(1, len(counted) + 1)
    f1 = np.where(np.append(scores[1:] < scores[:-1], True), 2 * right / (kept + objects), 0.0)
    n = int(f1.argmax())
    below = scores[n + 1] if n + 1 < len(scores) else 0.0
    return Choice(
        float((scores[n] + below) / 2),
        float(right[n] / kept[n]),
        float(right[n] / objects),
        float(f1[n]),
    )


@dataclass(frozen=True, eq=False)
class Confusion:
    """``counts[i, j]``: objects of ``labels[i]`` that were taken for ``labels[j]``.

    int64 (n + 1, n + 1) for n labels; the last row is background (a detection where nothing is),
    the last column background too (an object that was not found). A misplaced box is both, and a
    repeated one is the former.
    """

    labels: tuple[str, ...]
    counts: NDArray[np.int64]

    def confused(self) -> list[tuple[int, int, int]]:
        """(truth, taken for, how often) between two classes, the commonest first."""
        wrong = self.counts[:-1, :-1].copy()
        np.fill_diagonal(wrong, 0)
        order = np.argsort(-wrong, axis=None, kind="stable")[: np.count_nonzero(wrong)]
        rows, columns = (part.tolist() for part in np.unravel_index(order, wrong.shape))
        return [(i, j, int(wrong[i, j])) for i, j in zip(rows, columns, strict=True)]

    def alone(self) -> list[tuple[int, int, int]]:
        """(class, missed, invented), the classes with the most of both first."""
        missed, invented = self.counts[:-1, -1], self.counts[-1, :-1]
        order = np.argsort(-(missed + invented), kind="stable")
        return [
            (int(k), int(missed[k]), int(invented[k])) for k in order if missed[k] + invented[k]
        ]

    def reduced(self, most: int) -> "Confusion":
        """The ``most`` classes with the most mistakes, the rest added up as ``other classes``.

        A table of 80 classes is too wide to read. Among the other classes, right and confused
        are no longer told apart.
        """
        n = len(self.labels)
        if n <= most:
            return self
        wrong = self.counts.copy()
        np.fill_diagonal(wrong, 0)
        each = wrong.sum(axis=0)[:n] + wrong.sum(axis=1)[:n]
        kept = sorted(np.argsort(-each, kind="stable")[:most].tolist())
        place = np.full(n + 1, most)  # the other classes
        place[kept] = np.arange(most)
        place[n] = most + 1
        counts = np.zeros((most + 2, most + 2), np.int64)
        np.add.at(counts, (place[:, None], place[None]), self.counts)
        return Confusion((*(self.labels[k] for k in kept), OTHERS), counts)


OTHERS: Final = "other classes"


def confusion(
    dataset: Dataset,
    results: Sequence[Mapping[str, Any]],
    verdicts: Sequence[Verdict],
    category_ids: Sequence[int],
) -> Confusion:
    """All verdicts added up, by the classes ``category_ids``."""
    place = {category: n for n, category in enumerate(category_ids)}
    nothing = len(place)
    truths = {one["id"]: place.get(one["category_id"], nothing) for one in dataset.annotations}
    pairs: Counter[tuple[int, int]] = Counter()
    for verdict in verdicts:
        for result, truth in verdict.right + verdict.confused:
            pairs[truths[truth], place[results[result]["category_id"]]] += 1
        for truth in (*verdict.missed, *(truth for _, truth in verdict.misplaced)):
            pairs[truths[truth], nothing] += 1
        off = (*verdict.repeated, *(result for result, _ in verdict.misplaced))
        for result in (*verdict.invented, *off):
            pairs[nothing, place[results[result]["category_id"]]] += 1
    counts = np.zeros((nothing + 1, nothing + 1), np.int64)
    for (i, j), count in pairs.items():
        counts[i, j] = count
    labels = dataset.labels()
    return Confusion(tuple(labels[category] for category in category_ids), counts)

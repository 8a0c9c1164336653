"""Average precision by pycocotools (extra ``[eval]``), with ``ignore`` honoured."""

import contextlib
import io
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..errors import MissingExtra
from .dataset import Dataset

NAMES: Final = (
    "AP",
    "AP50",
    "AP75",
    "APs",
    "APm",
    "APl",
    "AR1",
    "AR10",
    "AR100",
    "ARs",
    "ARm",
    "ARl",
)
"""The twelve numbers of pycocotools' summary, in its order."""

IOUS: Final = np.linspace(0.5, 0.95, 10)
"""The thresholds that AP is the mean over; pycocotools' own."""

RECALLS: Final = np.linspace(0, 1, 101)
"""Where precision is sampled; pycocotools' own."""

SIZES: Final = ("small", "medium", "large")
"""Areas under 32², from 32² to 96², and over 96² pixels."""

UNDEFINED: Final = -1.0
"""In the place of a number that has no truth to be measured by; pycocotools' own."""

_SILENCE: Final = threading.Lock()
"""pycocotools prints; stdout is of the process, and threads that overlap would lose it."""


@dataclass(frozen=True, eq=False)
class ClassScores:
    """One category: numbers 0..1, ``UNDEFINED`` without truths of that kind.

    ``truths`` counts the annotations that matter (no crowds, none to ignore). ``precision`` is
    float64 (101,): the best precision at IoU 0.5 that is had at each of ``RECALLS`` or beyond.
    ``sizes`` is AP by the name of ``SIZES``.
    """

    label: str
    ap: float
    ap50: float
    ar: float
    truths: int
    precision: NDArray[np.float64]
    sizes: dict[str, float]


@dataclass(frozen=True, eq=False)
class Scores:
    """``numbers``: the twelve by ``NAMES``, 0..1 or ``UNDEFINED``; ``classes``: by category id, in
    ascending order; ``images``: how many were scored."""

    numbers: dict[str, float]
    classes: dict[int, ClassScores]
    images: int


@dataclass(frozen=True, slots=True)
class Match:
    """One result at IoU 0.5.

    ``result`` is its position in the list of results, ``annotation`` the id of the truth that it
    found or None, ``ignored`` that it counts neither as right nor as wrong (a crowd, an object
    to ignore).
    """

    result: int
    annotation: int | None
    ignored: bool

    @property
    def right(self) -> bool:
        """Whether it is a detection of an object that counts."""
        return self.annotation is not None and not self.ignored


@dataclass(frozen=True, slots=True)
class ImageMatches:
    """The results of an image, best score first, at most 100 a category as AP counts them; and the
    ids of the annotations that none of them found, without those to ignore."""

    results: tuple[Match, ...]
    missed: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Table:
    """The matches of one category over all images, all sizes: what AP is computed from.

    Detections are best score first, in pycocotools' order. ``image`` int (n,): positions in
    ``Evaluation.image_ids``; ``found``, ``ignored`` bool (10, n): by IoU threshold, whether a truth
    was found, and whether the detection does not count; ``truths`` int (images,): how many there
    are in each image.
    """

    image: NDArray[np.intp]
    found: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    truths: NDArray[np.int64]


class Evaluation:
    """What :func:`evaluate` found; each view of it is computed when it is asked for."""

    def __init__(self, dataset: Dataset, evaluation: Any) -> None:
        self._dataset = dataset
        self._evaluation = evaluation
        self.image_ids: tuple[int, ...] = tuple(int(v) for v in evaluation.params.imgIds)
        """Ids of the images that were scored, ascending."""
        self.category_ids: tuple[int, ...] = tuple(int(v) for v in evaluation.params.catIds)
        """Ids of the categories that were scored, ascending."""

    @cached_property
    def scores(self) -> Scores:
        """pycocotools' twelve numbers, and those of each class, from 0 to 1."""
        numbers = map(float, self._evaluation.stats)
        labels = self._dataset.labels()
        precision = self._evaluation.eval["precision"][..., -1]  # IoU, recall, category, area
        recall = self._evaluation.eval["recall"][..., -1]  # IoU, category, area
        classes = {}
        for k, category in enumerate(self.category_ids):
            ap, *sizes = (_mean(precision[:, :, k, area]) for area in range(4))
            classes[category] = ClassScores(
                label=labels[category],
                ap=ap,
                ap50=_mean(precision[0, :, k, 0]),
                ar=_mean(recall[:, k, 0]),
                truths=sum(int((one["gtIgnore"] == 0).sum()) for one in self._of(k)),
                precision=precision[0, :, k, 0],
                sizes=dict(zip(SIZES, sizes, strict=True)),
            )
        named = dict(zip(NAMES, numbers, strict=True))
        return Scores(named, classes, len(self.image_ids))

    @cached_property
    def matches(self) -> dict[int, ImageMatches]:
        """By image id; every scored image is there."""
        results: dict[int, list[tuple[float, Match]]] = {image: [] for image in self.image_ids}
        missed: dict[int, list[int]] = {image: [] for image in self.image_ids}
        ids = [one["id"] for one in self._dataset.annotations]
        for k in range(len(self.category_ids)):
            for one in self._of(k):
                image = int(one["image_id"])
                rows = zip(
                    one["dtIds"],
                    one["dtScores"],
                    one["dtMatches"][0].astype(int).tolist(),
                    one["dtIgnore"][0].tolist(),
                    strict=True,
                )
                for number, score, annotation, ignored in rows:
                    truth = ids[annotation - 1] if annotation else None
                    results[image].append((score, Match(number - 1, truth, bool(ignored))))
                unmatched = (one["gtMatches"][0] == 0) & (np.asarray(one["gtIgnore"]) == 0)
                missed[image] += [ids[one["gtIds"][n] - 1] for n in np.flatnonzero(unmatched)]
        return {
            image: ImageMatches(
                tuple(match for _, match in sorted(found, key=lambda row: -row[0])),
                tuple(missed[image]),
            )
            for image, found in results.items()
        }

    @cached_property
    def tables(self) -> dict[int, Table]:
        """By category id."""
        position = {image: n for n, image in enumerate(self.image_ids)}
        tables = {}
        for k, category in enumerate(self.category_ids):
            truths = np.zeros(len(position), np.int64)
            image, scores, found, ignored = [], [], [], []
            for one in self._of(k):
                place = position[int(one["image_id"])]
                truths[place] = (one["gtIgnore"] == 0).sum()
                image.append(np.full(len(one["dtIds"]), place))
                scores.append(np.array(one["dtScores"], float))
                found.append(one["dtMatches"] > 0)
                ignored.append(np.asarray(one["dtIgnore"], bool))
            order = np.argsort(-_joined(scores, 0, float), kind="mergesort")
            tables[category] = Table(
                _joined(image, 0, np.intp)[order],
                _joined(found, 1, bool)[:, order],
                _joined(ignored, 1, bool)[:, order],
                truths,
            )
        return tables

    def _of(self, k: int) -> Iterator[dict[str, Any]]:
        """pycocotools' table of each image with truths or results of category ``k``, all sizes."""
        images = len(self.image_ids)
        areas = len(self._evaluation.params.areaRng)
        first = k * areas * images
        for one in self._evaluation.evalImgs[first : first + images]:
            if one is not None:
                yield one


def check_installed() -> None:
    """Tell now what :func:`evaluate` would tell after hours of a network.

    Raises:
        MissingExtra: pycocotools is not installed.
    """
    try:
        import pycocotools.coco
        import pycocotools.cocoeval  # noqa: F401  # the import is the check
    except ImportError as error:
        raise MissingExtra(
            "average precision needs pycocotools: pip install 'ssd-resnet34[eval]'"
        ) from error


def evaluate(
    dataset: Dataset,
    results: Sequence[Mapping[str, Any]],
    image_ids: Iterable[int] | None = None,
    category_ids: Iterable[int] | None = None,
) -> Evaluation:
    """Match results with truths by the rules of COCO's boxes: IoU 0.5 to 0.95, 100 an image.

    Args:
        dataset: the truth. Annotations with ``ignore`` are treated as pycocotools treats those of
            another size: a detection of one counts neither as right nor as wrong.
        results: COCO results: ``image_id``, ``category_id``, ``bbox`` (left, top, width, height),
            ``score``. Those of other images or categories do not count.
        image_ids: the images that count; default: all.
        category_ids: the categories that count; default: all. Those without any truth have no
            part in AP.

    Raises:
        MissingExtra: pycocotools is not installed.
    """
    check_installed()
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    class Honouring(COCOeval):  # type: ignore[misc]  # has no types
        """COCOeval whose preparation keeps ``ignore`` instead of replacing it by ``iscrowd``."""

        def _prepare(self) -> None:
            super()._prepare()
            for truths in self._gts.values():
                for truth in truths:
                    truth["ignore"] = truth["iscrowd"] or truth["set_aside"]

    # Ids from 1: pycocotools takes a match with an annotation of id 0 for none.
    truths = [
        {**one, "id": number, "set_aside": one["ignore"]}
        for number, one in enumerate(dataset.annotations, 1)
    ]
    found = [
        {
            "image_id": one["image_id"],
            "category_id": one["category_id"],
            "bbox": one["bbox"],
            "score": one["score"],
            "area": one["bbox"][2] * one["bbox"][3],
            "id": number,
            "iscrowd": 0,
        }
        for number, one in enumerate(results, 1)
    ]
    with _SILENCE, contextlib.redirect_stdout(io.StringIO()):
        evaluation = Honouring(
            _indexed(COCO(), dataset, truths), _indexed(COCO(), dataset, found), "bbox"
        )
        evaluation.params.imgIds = sorted(dataset.ids() if image_ids is None else set(image_ids))
        if category_ids is not None:
            evaluation.params.catIds = sorted(set(category_ids))
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return Evaluation(dataset, evaluation)


def score(
    dataset: Dataset,
    results: Sequence[Mapping[str, Any]],
    image_ids: Iterable[int] | None = None,
    category_ids: Iterable[int] | None = None,
) -> Scores:
    """The twelve numbers, and those of each category; arguments as for :func:`evaluate`."""
    return evaluate(dataset, results, image_ids, category_ids).scores


def _indexed(coco: Any, dataset: Dataset, annotations: list[dict[str, Any]]) -> Any:
    """pycocotools' index; ``loadRes``, the usual way, refuses an empty list of results."""
    coco.dataset = {
        "images": list(dataset.images),
        "categories": list(dataset.categories),
        "annotations": annotations,
    }
    coco.createIndex()
    return coco


def _mean(values: NDArray[np.float64]) -> float:
    """Over what is defined, as pycocotools' summary has it."""
    defined = values[values > UNDEFINED]
    return float(defined.mean()) if defined.size else UNDEFINED


def _joined(parts: Sequence[NDArray[Any]], axis: int, dtype: Any) -> NDArray[Any]:
    if not parts:
        return np.empty((len(IOUS), 0) if axis else 0, dtype)
    return np.concatenate(parts, axis=axis)

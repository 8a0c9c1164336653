"""Average precision against plain pycocotools: the same numbers, and what honouring ignore costs.

    python -m benchmarks.scoring [--pairs 15] [--json]       ratios > 1: ours is faster

100,000 random predictions on 1,000 random images with 80 categories, crowds and empty images among
them. Plain: index, ``loadRes``, ``evaluate``, ``accumulate``, ``summarize``. Fails where a number
differs by more than 1e-12. Processor time; about half a minute a pair.
"""

import contextlib
import io
from time import process_time
from typing import Any

import numpy as np

from benchmarks.pairs import report
from ssd_resnet34.evaluation.coco import score
from ssd_resnet34.evaluation.dataset import Dataset
from ssd_resnet34.pairs import Comparison, compare

IMAGES, PREDICTIONS = 1000, 100_000

TRUTHS_PER_IMAGE = 7.3
"""As many as in COCO val2017."""


def made_up(
    image_count: int, predictions: int, categories: int = 80, seed: int = 0
) -> tuple[Dataset, list[dict[str, Any]]]:
    """A data set, one box in fifty a crowd, and predictions, 40 % of them near a truth."""
    rng = np.random.default_rng(seed)
    truths = round(TRUTHS_PER_IMAGE * image_count)

    def boxes(count: int) -> np.ndarray[Any, np.dtype[np.float64]]:
        return np.hstack([rng.uniform(0, 400, (count, 2)), rng.uniform(4, 240, (count, 2))])

    places = rng.integers(1, image_count, truths)  # the last image stays empty
    kinds = rng.integers(1, categories + 1, truths)
    crowds = rng.random(truths) < 0.02
    truth = boxes(truths)
    annotations = tuple(
        {
            "id": n + 1,
            "image_id": int(places[n]),
            "category_id": int(kinds[n]),
            "bbox": truth[n].tolist(),
            "area": float(truth[n, 2] * truth[n, 3]),
            "iscrowd": int(crowds[n]),
            "ignore": 0,
        }
        for n in range(truths)
    )
    near = rng.integers(truths, size=int(0.4 * predictions))
    rest = predictions - len(near)
    shifted = truth[near] + rng.normal(0, 0.05, (len(near), 4)) * np.tile(truth[near, 2:], 2)
    found = np.vstack([np.maximum(shifted, 0.1), boxes(rest)])
    images = np.concatenate([places[near], rng.integers(1, image_count + 1, rest)]).tolist()
    labels = np.concatenate([kinds[near], rng.integers(1, categories + 1, rest)]).tolist()
    results = [
        {"image_id": image, "category_id": label, "bbox": box, "score": score}
        for image, label, box, score in zip(
            images, labels, found.tolist(), rng.random(predictions).tolist(), strict=True
        )
    ]
    entries = tuple(
        {"id": n, "file_name": f"{n}.jpg", "width": 640, "height": 640}
        for n in range(1, image_count + 1)
    )
    names = tuple({"id": n, "name": str(n)} for n in range(1, categories + 1))
    return Dataset("made up", entries, annotations, names), results


def plain(dataset: Dataset, results: list[dict[str, Any]]) -> list[float]:
    """The twelve numbers of pycocotools as it comes."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": list(dataset.images),
            "categories": list(dataset.categories),
            "annotations": [dict(one) for one in dataset.annotations],
        }
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes([dict(one) for one in results]), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return list(map(float, evaluation.stats))


def measure(pairs: int) -> list[Comparison]:
    """One comparison; the numbers are compared first."""
    dataset, results = made_up(IMAGES, PREDICTIONS)
    ours = score(dataset, results).numbers
    theirs = plain(dataset, results)
    worst = max(abs(a - b) for a, b in zip(ours.values(), theirs, strict=True))
    if worst > 1e-12:
        raise SystemExit(f"a number differs by {worst:g}: {ours} and {theirs}")
    return [
        compare(
            f"{PREDICTIONS:,} predictions, plain pycocotools / ours (numbers within {worst:g})",
            lambda: plain(dataset, results),
            lambda: score(dataset, results),
            pairs,
            clock=process_time,  # one thread, no waiting: steadier on a busy machine
        )
    ]


if __name__ == "__main__":
    report(measure, __doc__)

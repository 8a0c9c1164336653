"""COCO annotations made up in memory, and results that nearly fit them."""

import contextlib
import copy
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ssd_resnet34.evaluation.dataset import Dataset, read

CATEGORIES = {1: "person", 3: "car", 18: "dog"}
"""Ids and names that are COCO's, and what the fake network finds."""


def document(
    images: int = 3,
    boxes: Sequence[tuple[int, int, Sequence[float]]] = ((1, 1, (10, 10, 40, 30)),),
    categories: dict[int, str] = CATEGORIES,
    width: int = 640,
    height: int = 480,
) -> dict[str, Any]:
    """Images 1, 2, … named ``000001.jpg``; ``boxes`` are image id, category id, bbox."""
    return {
        "images": [
            {"id": n, "file_name": f"{n:06d}.jpg", "width": width, "height": height}
            for n in range(1, images + 1)
        ],
        "annotations": [
            {
                "id": n,
                "image_id": image,
                "category_id": category,
                "bbox": list(box),
                "area": box[2] * box[3],
                "iscrowd": 0,
            }
            for n, (image, category, box) in enumerate(boxes, 1)
        ],
        "categories": [{"id": key, "name": name} for key, name in categories.items()],
    }


def written(folder: Path, content: Any, name: str = "instances.json") -> Path:
    """The file that holds ``content`` as JSON, or as it is where it is text."""
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def dataset(folder: Path, **options: Any) -> Dataset:
    """:func:`document` read back."""
    return read(written(folder, document(**options)))


def random_document(
    seed: int, images: int = 20, truths: int = 120, crowds: float = 0.1, categories: int = 4
) -> dict[str, Any]:
    """Boxes of all sizes; some are crowds, and some images have none."""
    rng = np.random.default_rng(seed)
    boxes = []
    for _ in range(truths):
        size = rng.uniform(4, 250, 2)
        corner = rng.uniform(0, 350, 2)
        place = int(rng.integers(1, images)) if images > 1 else 1  # the last image stays empty
        boxes.append((place, int(rng.integers(1, categories + 1)), [*corner, *size]))
    made = document(images, boxes, {n: f"class {n}" for n in range(1, categories + 1)})
    for one in made["annotations"]:
        one["iscrowd"] = int(rng.random() < crowds)
    return made


def random_results(document: dict[str, Any], seed: int, count: int) -> list[dict[str, Any]]:
    """Shifted, sometimes mislabelled copies of the truth, and boxes from nowhere."""
    rng = np.random.default_rng(seed)
    images = [one["id"] for one in document["images"]]
    categories = [one["id"] for one in document["categories"]]
    results = []
    for _ in range(count):
        one = {
            "image_id": int(rng.choice(images)),
            "category_id": int(rng.choice(categories)),
            "bbox": [*rng.uniform(0, 350, 2).tolist(), *rng.uniform(4, 250, 2).tolist()],
        }
        if rng.random() < 0.6:
            truth = document["annotations"][int(rng.integers(len(document["annotations"])))]
            shift = rng.normal(0, 0.08, 4) * ([*truth["bbox"][2:]] * 2)
            box = np.maximum(np.add(truth["bbox"], shift), 0.5)
            one |= {"image_id": truth["image_id"], "bbox": box.tolist()}
            if rng.random() < 0.8:
                one["category_id"] = truth["category_id"]
        results.append(one | {"score": float(rng.random())})
    return results


def plain_pycocotools(
    document: dict[str, Any], results: list[dict[str, Any]], image_ids: Sequence[int] | None = None
) -> Any:
    """pycocotools as it comes: its evaluation object after ``summarize``."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = copy.deepcopy(document)
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(copy.deepcopy(results)), "bbox")
        if image_ids is not None:
            evaluation.params.imgIds = list(image_ids)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation

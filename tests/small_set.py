"""A data set built by hand, with drawn pictures: what each detection is, is known beforehand."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from ssd_resnet34.evaluation.dataset import Dataset

CAT, DOG, KITE = 3, 5, 9
"""Category ids with gaps: positions in a list are not ids."""

LABELS = ("cat", "dog", "kite")
SIZE = 200


def square(place: int, side: int = 40) -> list[float]:
    """left, top, width, height of the place 0..15, row by row; no two overlap."""
    return [50.0 * (place % 4), 50.0 * (place // 4), float(side), float(side)]


def truth(number: int, image: int, category: int, place: int, **more: Any) -> dict[str, Any]:
    box = square(place)
    flags = {"iscrowd": 0, "ignore": 0} | more
    ids = {"id": number, "image_id": image, "category_id": category}
    return ids | {"bbox": box, "area": box[2] * box[3]} | flags


def found(image: int, category: int, place: int, score: float) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "bbox": square(place), "score": score}


def data_set(
    annotations: Sequence[dict[str, Any]],
    names: Sequence[str] = ("one.png", "two.png"),
    labels: Sequence[str] = LABELS,
) -> Dataset:
    """Images 1, 2, … of 200×200 pixels, categories 3, 5 and 9."""
    return Dataset(
        "truth.json",
        tuple(
            {"id": n, "file_name": name, "width": SIZE, "height": SIZE}
            for n, name in enumerate(names, 1)
        ),
        tuple(annotations),
        tuple(
            {"id": number, "name": name}
            for number, name in zip((CAT, DOG, KITE), labels, strict=False)
        ),
    )


def draw_images(folder: Path, dataset: Dataset) -> Path:
    """A coloured rectangle for every annotation."""
    for image in dataset.images:
        picture = Image.new("RGB", (image["width"], image["height"]), (90, 140, 90))
        pen = ImageDraw.Draw(picture)
        for one in dataset.annotations:
            if one["image_id"] == image["id"]:
                left, top, width, height = one["bbox"]
                colour = tuple(int(v) for v in np.random.default_rng(one["id"]).integers(0, 255, 3))
                pen.rectangle((left, top, left + width, top + height), colour)
        picture.save(folder / image["file_name"].rsplit("/", 1)[-1])
    return folder

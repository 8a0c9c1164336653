"""One small data set written in every form that can be read: coloured rectangles on grey."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import cv2
import numpy as np
import yaml

LABELS = ("anvil", "bell", "cork")
COLOURS = ((20, 20, 230), (20, 230, 20), (230, 20, 20))
"""BGR of each label's rectangles."""

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Picture:
    """``objects``: number of a label, and left, top, right, bottom in pixels."""

    name: str
    size: tuple[int, int]
    objects: tuple[tuple[int, Box], ...]


PICTURES = (
    Picture("a.jpg", (128, 96), ((0, (10, 20, 50, 60)), (2, (70, 8, 120, 90)))),
    Picture("b.png", (80, 100), ((1, (0, 0, 40, 50)),)),
    Picture("c.jpg", (64, 64), ()),
)


def paint(folder: Path, pictures: Sequence[Picture] = PICTURES) -> None:
    """The images of ``pictures`` in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for picture in pictures:
        width, height = picture.size
        image = np.full((height, width, 3), 128, np.uint8)
        for label, (left, top, right, bottom) in picture.objects:
            image[top:bottom, left:right] = COLOURS[label]
        done, data = cv2.imencode(Path(picture.name).suffix, image)
        assert done
        (folder / picture.name).write_bytes(data.tobytes())


def document(
    pictures: Sequence[Picture] = PICTURES, labels: Sequence[str] = LABELS
) -> dict[str, Any]:
    """COCO's annotations of ``pictures``."""
    return {
        "images": [
            {"id": n, "file_name": one.name, "width": one.size[0], "height": one.size[1]}
            for n, one in enumerate(pictures, 1)
        ],
        "annotations": [
            {
                "id": 100 * n + k,
                "image_id": n,
                "category_id": label + 1,
                "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
                "segmentation": [[box[0], box[1], box[2], box[1], box[2], box[3]]],
                "iscrowd": 0,
            }
            for n, one in enumerate(pictures, 1)
            for k, (label, box) in enumerate(one.objects)
        ],
        "categories": [{"id": n, "name": label} for n, label in enumerate(labels, 1)],
    }


def write_coco(root: Path, pictures: Sequence[Picture] = PICTURES, split: str = "train") -> Path:
    paint(root / split, pictures)
    (root / "annotations").mkdir(exist_ok=True)
    file = root / "annotations" / f"instances_{split}.json"
    file.write_text(json.dumps(document(pictures)))
    return root


def xml(picture: Picture, labels: Sequence[str] = LABELS, more: str = "") -> str:
    """VOC's annotation; ``more`` goes into each object."""
    objects = "".join(
        f"<object><name>{escape(labels[label])}</name><bndbox><xmin>{left + 1}</xmin>"
        f"<ymin>{top + 1}</ymin><xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox>{more}</object>"
        for label, (left, top, right, bottom) in picture.objects
    )
    width, height = picture.size
    return (
        f"<annotation><filename>{picture.name}</filename><size><width>{width}</width>"
        f"<height>{height}</height><depth>3</depth></size>{objects}</annotation>"
    )


def write_voc(root: Path, pictures: Sequence[Picture] = PICTURES, split: str = "train") -> Path:
    paint(root / "JPEGImages", pictures)
    (root / "Annotations").mkdir(exist_ok=True)
    (root / "ImageSets" / "Main").mkdir(parents=True, exist_ok=True)
    for picture in pictures:
        (root / "Annotations" / f"{Path(picture.name).stem}.xml").write_text(xml(picture))
    names = "".join(f"{Path(picture.name).stem}\n" for picture in pictures)
    (root / "ImageSets" / "Main" / f"{split}.txt").write_text(names)
    return root


def write_yolo(root: Path, pictures: Sequence[Picture] = PICTURES, split: str = "train") -> Path:
    paint(root / "images" / split, pictures)
    (root / "labels" / split).mkdir(parents=True, exist_ok=True)
    for picture in pictures:
        width, height = picture.size
        lines = "".join(
            f"{label} {(box[0] + box[2]) / 2 / width:.9f} {(box[1] + box[3]) / 2 / height:.9f} "
            f"{(box[2] - box[0]) / width:.9f} {(box[3] - box[1]) / height:.9f}\n"
            for label, box in picture.objects
        )
        if lines:
            (root / "labels" / split / f"{Path(picture.name).stem}.txt").write_text(lines)
    settings = {"names": dict(enumerate(LABELS)), split: f"images/{split}"}
    (root / "data.yaml").write_text(yaml.safe_dump(settings))
    return root

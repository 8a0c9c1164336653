"""How images become a number, as data: every step that people do differently from one another.

The steps up to the heads are in :mod:`~ssd_resnet34.evaluation.altered`, those from the heads to
``Detections`` are arguments of ``postprocess``, and those from ``Detections`` to COCO results are
here, in :func:`rewritten`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from ..contract import INPUT_SIZE, Contract
from ..vision.detections import Detections
from .running import Settings

Resizing = Literal["opencv", "opencv-uint8", "pillow", "letterbox"]
Scaling = Literal["normalised", "fractions", "bytes"]
Boxes = Literal[
    "pixels", "corners", "centres", "swapped", "square", "fractions", "whole", "inclusive"
]
Classes = Literal["category_id", "index", "zero-based", "before", "after"]

NO_CLASS: Final = -1
"""In the place of a category id that does not exist."""


@dataclass(frozen=True)
class Recipe(Settings):
    """One way from images to average precision; the defaults are this package's.

    Attributes:
        resize: what makes an image 1200×1200; all but ``"opencv"`` round to 8 bits, and
            ``"letterbox"`` keeps the aspect and pads, without a way back for the boxes.
        colour: the order of the channels that the network sees.
        scaling: of the pixels: by the contract's mean and std, to 0..1 alone, or not at all.
        precision: of the network.
        priors: those of the contract's lineage, or of the other one.
        clip: boxes are cut at the border of the image.
        boxes: what stands in a result's ``bbox``; see :data:`_REWRITTEN`.
        classes: what stands in a result's ``category_id``; see :func:`class_ids`.
        images: all, or those with an annotation.
    """

    resize: Resizing = "opencv"
    colour: Literal["rgb", "bgr"] = "rgb"
    scaling: Scaling = "normalised"
    precision: str = "fp32"
    priors: Literal["own", "other"] = "own"
    clip: bool = False
    boxes: Boxes = "pixels"
    classes: Classes = "category_id"
    images: Literal["all", "annotated"] = "all"


REFERENCE: Final = Recipe()
"""The reference's fp32 model on all images, boxes and IoU as they are defined."""


def settings(recipe: Recipe) -> Settings:
    """The arguments of ``postprocess``."""
    return Settings(**{one.name: getattr(recipe, one.name) for one in fields(Settings)})


def decoded_as(recipe: Recipe, contract: Contract) -> Contract:
    """The contract whose priors the recipe decodes with."""
    if recipe.priors == "own":
        return contract
    return replace(
        contract, lineage="pytorch" if contract.lineage == "tensorflow" else "tensorflow"
    )


def selection(recipe: Recipe, base: Recipe) -> Recipe:
    """What must be selected from the heads so that ``recipe`` can be had by :func:`cut`.

    A higher threshold and a lower number an image need no selection of their own: NMS goes from
    the best box down, so that what is left out at the end never decided about what stays.
    """
    return Recipe(
        score_threshold=min(recipe.score_threshold, base.score_threshold),
        iou_threshold=recipe.iou_threshold,
        pre_nms_top_k=recipe.pre_nms_top_k,
        top_k=max(recipe.top_k, base.top_k),
        nms=recipe.nms,
        priors=recipe.priors,
    )


def cut(detections: Detections, recipe: Recipe) -> Detections:
    """Those that the recipe's own threshold and number leave."""
    lowest = np.float32(recipe.score_threshold)
    return detections[detections.scores > lowest][: recipe.top_k]


def rewritten(detections: Detections, recipe: Recipe, contract: Contract) -> Detections:
    """``detections`` with the boxes and category ids that the recipe writes.

    Boxes are such that ``to_coco`` gives the recipe's ``bbox``.
    """
    if recipe.clip:
        detections = detections.clip()
    if recipe.boxes != "pixels":
        size = np.array((detections.width, detections.height) * 2, np.float32)
        boxes = _REWRITTEN[recipe.boxes](detections.boxes, size).astype(np.float32)
        detections = replace(detections, boxes=boxes)
    if recipe.classes != "category_id":
        ids = class_ids(recipe.classes, contract)[detections.indices]
        detections = replace(detections, category_ids=ids)
    return detections


def class_ids(classes: Classes, contract: Contract) -> NDArray[np.int64]:
    """What the recipe calls the class of each model index; int64 (classes + 1,), 0 is background.

    ``category_id``: the contract's. ``index``: the model's index. ``zero-based``: one less, as
    code without a background counts. ``before``, ``after``: the category id of the class before
    or after, as a table with one background too many or too few gives; ``NO_CLASS`` at the end.
    """
    ids = np.array([NO_CLASS, *(one.category_id for one in contract.categories)])
    numbers = np.arange(len(ids))
    if classes == "index":
        return numbers
    if classes == "zero-based":
        return numbers - 1
    if classes == "before":
        return np.concatenate([[NO_CLASS], ids[:-1]])
    if classes == "after":
        return np.concatenate([[NO_CLASS], ids[2:], [NO_CLASS]])
    return ids


_Floats = NDArray[np.float32]


def _corners(boxes: _Floats, _: _Floats) -> _Floats:
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def _centres(boxes: _Floats, _: _Floats) -> _Floats:
    half = (boxes[:, 2:] - boxes[:, :2]) / 2
    return boxes + np.tile(half, 2)


_REWRITTEN: Final[Mapping[Boxes, Callable[[_Floats, _Floats], _Floats]]] = {
    "corners": _corners,  # right, bottom in the place of width, height
    "centres": _centres,  # the centre in the place of left, top
    "swapped": lambda boxes, _: boxes[:, [1, 0, 3, 2]],  # y before x
    "square": lambda boxes, size: boxes / size * INPUT_SIZE,  # pixels of the network's input
    "fractions": lambda boxes, size: boxes / size,
    "whole": lambda boxes, _: np.trunc(boxes),
    "inclusive": lambda boxes, _: boxes + np.array([0, 0, 1, 1], np.float32),  # right − left + 1
}

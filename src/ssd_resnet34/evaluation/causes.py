"""Why two people get different average precision from the same weights: the known causes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from ..contract import NUM_PRIORS
from ..runtime.precision import PRECISIONS
from .recipe import Recipe

Kind = Literal["heads", "input"]


@dataclass(frozen=True, eq=False)
class Cause:
    """One thing that is done differently.

    Attributes:
        key: its name for machines.
        name: its name for people, at most 26 characters.
        what: what happens, a line.
        mend: what to change in one's code, a line.
        kind: ``"heads"`` where the network's outputs stay as they are, so that any number of
            causes share one run of the network; ``"input"`` where it has to run again.
        changes: fields of a :class:`Recipe`, and what they become.
    """

    key: str
    name: str
    what: str
    mend: str
    kind: Kind
    changes: Mapping[str, Any]


def applied(causes: Iterable[Cause], base: Recipe) -> Recipe:
    """The recipe of ``base`` with all ``causes`` in it."""
    for cause in causes:
        base = replace(base, **cause.changes)
    return base


def causes_of(base: Recipe, kind: Kind) -> tuple[Cause, ...]:
    """The causes that a number made by ``base`` does not have in it already."""
    return tuple(one for one in CAUSES if one.kind == kind and applied([one], base) != base)


def compatible(one: Cause, other: Cause) -> bool:
    """Whether both can be there at once: they change different things."""
    return not set(one.changes) & set(other.changes)


def _threshold(value: float) -> Cause:
    what = "what is less certain is thrown away, and with it the end of the precision curve"
    mend = "keep every score over 0.05 for AP; a higher threshold is for showing boxes"
    if value < Recipe.score_threshold:
        what = "more uncertain boxes are kept than by the reference's 0.05"
        mend = "throw away scores of 0.05 and less"
    elif value == Recipe.score_threshold:
        what, mend = "as the reference has it", "nothing: it is this run that has another threshold"
    changes = {"score_threshold": value}
    return Cause(f"threshold-{value:g}", f"score threshold {value:g}", what, mend, "heads", changes)


CAUSES: Final = (
    Cause(
        "iou-without-clamp",
        "IoU without a clamp",
        "two boxes apart in both axes have a positive product of negative overlaps: one is deleted",
        "clamp width and height of the intersection at 0 before they are multiplied",
        "heads",
        {"nms": "mlperf"},
    ),
    Cause(
        "iou-with-clamp",
        "IoU as it is defined",
        "the overlap is clamped at 0; this run repeats the public reference, which does not",
        "nothing: run this one with --nms exact",
        "heads",
        {"nms": "exact"},
    ),
    Cause(
        "nms-0.45",
        "NMS at IoU 0.45",
        "other SSD codes already delete from 0.45 on",
        "delete from an IoU of 0.5 on",
        "heads",
        {"iou_threshold": 0.45},
    ),
    *map(_threshold, (0.01, 0.05, 0.3, 0.5)),
    Cause(
        "before-nms-100",
        "100 a class before NMS",
        "of a class with many boxes over the threshold the weaker ones never reach NMS",
        "let the best 200 of each class into NMS",
        "heads",
        {"pre_nms_top_k": 100},
    ),
    Cause(
        "before-nms-all",
        "no cut before NMS",
        "every box over the threshold enters NMS, not the best 200 of each class",
        "let the best 200 of each class into NMS",
        "heads",
        {"pre_nms_top_k": NUM_PRIORS},
    ),
    Cause(
        "top-100",
        "100 boxes an image",
        "AP counts 100 boxes of an image and class, not 100 of an image",
        "keep the best 200 of an image",
        "heads",
        {"top_k": 100},
    ),
    Cause(
        "top-200",
        "200 boxes an image",
        "as the reference has it",
        "nothing: it is this run that has another number",
        "heads",
        {"top_k": 200},
    ),
    Cause(
        "other-priors",
        "priors of other lineage",
        "PyTorch and TensorFlow graphs have other centres on two levels, other sizes on the last",
        "decode with the priors of the lineage that the weights are of",
        "heads",
        {"priors": "other"},
    ),
    Cause(
        "contiguous-ids",
        "contiguous ids as COCO's",
        "the model's index 1..80 stands in category_id, whose ids are 1..90 with gaps",
        "write category_id = sorted COCO ids [index − 1]",
        "heads",
        {"classes": "index"},
    ),
    Cause(
        "contiguous-from-0",
        "ids counted from 0",
        "the index without background, 0..79, stands in category_id",
        "write category_id = sorted COCO ids [index − 1], with the background as index 0",
        "heads",
        {"classes": "zero-based"},
    ),
    Cause(
        "class-before",
        "class one too low",
        "a table of names or ids with the background in it, and an index without",
        "index 1 is person: look up [index − 1] in a table of 80, [index] in one of 81",
        "heads",
        {"classes": "before"},
    ),
    Cause(
        "class-after",
        "class one too high",
        "a table of names or ids without the background, and an index with it",
        "index 1 is person: look up [index − 1] in a table of 80, [index] in one of 81",
        "heads",
        {"classes": "after"},
    ),
    Cause(
        "corners-as-size",
        "corners for width, height",
        "bbox holds left, top, right, bottom",
        "write left, top, right − left, bottom − top",
        "heads",
        {"boxes": "corners"},
    ),
    Cause(
        "centre-as-corner",
        "centre for left, top",
        "bbox holds the centre and the size",
        "write centre − size / 2 in the place of the centre",
        "heads",
        {"boxes": "centres"},
    ),
    Cause(
        "x-y-swapped",
        "x and y swapped",
        "boxes of the TensorFlow graphs and of MLPerf logs are ymin, xmin, ymax, xmax",
        "exchange them: COCO's bbox begins with x",
        "heads",
        {"boxes": "swapped"},
    ),
    Cause(
        "pixels-of-1200",
        "boxes in pixels of 1200",
        "boxes are of the network's input, not of the image",
        "multiply by width / 1200 and height / 1200 of the image",
        "heads",
        {"boxes": "square"},
    ),
    Cause(
        "fractions",
        "boxes from 0 to 1",
        "boxes are fractions of the image",
        "multiply by width and height of the image",
        "heads",
        {"boxes": "fractions"},
    ),
    Cause(
        "whole-pixels",
        "boxes in whole pixels",
        "int() of the corners; small objects lose most",
        "leave the boxes floats",
        "heads",
        {"boxes": "whole"},
    ),
    Cause(
        "plus-one",
        "width = right − left + 1",
        "VOC counted pixels, COCO measures edges",
        "leave the 1 out",
        "heads",
        {"boxes": "inclusive"},
    ),
    Cause(
        "clipped",
        "boxes clipped to the image",
        "what reaches over the border is cut off; often a gain",
        "leave them as they are to repeat published numbers",
        "heads",
        {"clip": True},
    ),
    Cause(
        "annotated-images",
        "images with objects only",
        "images without any object, 48 of COCO's 5000, have no part, nor what is found in them",
        "run all images, or say that it was 4952",
        "heads",
        {"images": "annotated"},
    ),
    Cause(
        "all-images",
        "all images",
        "what is found in images without any object counts as wrong",
        "run the images with objects only, to repeat the reference's PyTorch profile",
        "heads",
        {"images": "all"},
    ),
    Cause(
        "resize-opencv",
        "OpenCV resize in float",
        "the reference's rule; this run has another",
        "nothing: run this one with --resize opencv",
        "input",
        {"resize": "opencv"},
    ),
    Cause(
        "resize-uint8",
        "OpenCV resize in 8 bits",
        "the resized pixels are rounded to whole numbers",
        "convert to float32 before the resize",
        "input",
        {"resize": "opencv-uint8"},
    ),
    Cause(
        "resize-pillow",
        "Pillow resize",
        "8 bits, and it averages what it shrinks, where OpenCV samples",
        "resize float32 with cv2.INTER_LINEAR",
        "input",
        {"resize": "pillow"},
    ),
    Cause(
        "letterbox",
        "aspect kept, not undone",
        "the image is padded to a square, and boxes are scaled as if it had been stretched",
        "stretch to 1200×1200, or take the padding off the boxes (other numbers, too)",
        "input",
        {"resize": "letterbox"},
    ),
    Cause(
        "bgr",
        "BGR for RGB",
        "OpenCV's order of channels reaches the network",
        "reverse the channels of what cv2.imread gives",
        "input",
        {"colour": "bgr"},
    ),
    Cause(
        "no-mean-std",
        "no mean and std",
        "pixels are 0..1 and no more",
        "subtract mean, then divide by std, both of ImageNet, RGB",
        "input",
        {"scaling": "fractions"},
    ),
    Cause(
        "no-scaling",
        "pixels from 0 to 255",
        "the bytes reach the network as they are",
        "divide by 255, subtract mean, divide by std",
        "input",
        {"scaling": "bytes"},
    ),
    *(
        Cause(
            precision,
            precision,
            f"the network runs in {precision}",
            "say the precision with the number",
            "input",
            {"precision": precision},
        )
        for precision in PRECISIONS
    ),
)
"""All of them, in the order of the steps that they change."""

BY_KEY: Final[Mapping[str, Cause]] = {one.key: one for one in CAUSES}

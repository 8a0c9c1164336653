"""Decoding and selection as ONNX nodes behind the twelve heads.

The rules are those of :func:`ssd_resnet34.vision.postprocess.postprocess` in its ``exact`` mode, in
float32. Only the names of the heads matter, so that fp32 and int8 (QDQ) artifacts are treated
alike. All operators mean the same from opset 13 on.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from ..contract import LEVELS, NUM_PRIORS, SCALE_WH, SCALE_XY, Contract
from ..errors import UsageError
from ..vision.postprocess import DEFAULT_SCORE_THRESHOLD, rules
from ..vision.priors import priors
from ..vision.selection import MAX_EXPONENT
from .nodes import Nodes

if TYPE_CHECKING:
    import onnx

SPLIT_OUTPUTS: Final = ("logits", "offsets")

DETECTION_OUTPUTS: Final = ("boxes", "scores", "indices", "category_ids", "num_detections")

_MAX_COORDINATE: Final = 1e18
"""In sides of the image; the area of such a box is still finite in float32."""

_DROPPED: Final = -1.0
"""Score of what is no detection: below every threshold."""

_END: Final = 2**63 - 1
"""How a Slice says "to the end"; negated, "to the beginning"."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What a detection is; these become constants of the graph.

    ``score_threshold``, 0..1, is exceeded strictly. A box goes when its IoU with a better one of
    its class reaches ``iou_threshold``, above 0 and up to 1. The best ``pre_nms_top_k`` of a class
    enter NMS; the best ``top_k`` of the image stay.

    Raises:
        UsageError: a value out of its range.
    """

    score_threshold: float = DEFAULT_SCORE_THRESHOLD
    iou_threshold: float = 0.5
    pre_nms_top_k: int = 200
    top_k: int = 200

    def __post_init__(self) -> None:
        rules(self.score_threshold, self.iou_threshold, self.pre_nms_top_k, self.top_k)
        if self.iou_threshold == 0:
            # The operator drops what is above its threshold, and no threshold is below 0.
            raise UsageError(
                "iou_threshold: 0 would drop boxes that do not touch, which the NonMaxSuppression "
                "of ONNX cannot; give a number above 0"
            )

    @property
    def candidates(self) -> int:
        """Boxes of a class that enter NMS: ``pre_nms_top_k``, or all where there are fewer."""
        return min(self.pre_nms_top_k, NUM_PRIORS)

    def rows(self, contract: Contract) -> int:
        """Rows of the outputs: ``top_k``, or as many as there can be where that is less."""
        return min(self.top_k, len(contract.categories) * self.candidates)


def join_heads(model: "onnx.ModelProto", contract: Contract) -> None:
    """Replace the twelve outputs by ``logits`` and ``offsets``, in place.

    ``logits`` is float32 [N, classes, 15130], background first; ``offsets`` float32 [N, 4, 15130],
    dx, dy, dw, dh. Both have the contract's order of priors: level, anchor, y, x.

    Raises:
        ArtifactError: the graph has other tensors of these names.
    """
    nodes = Nodes(model)
    _join(nodes, contract, *SPLIT_OUTPUTS)
    nodes.append()
    logits, offsets = SPLIT_OUTPUTS
    shapes = {logits: (contract.num_classes, NUM_PRIORS), offsets: (4, NUM_PRIORS)}
    _set_outputs(model, {name: ("FLOAT", shape) for name, shape in shapes.items()})


def append_selection(model: "onnx.ModelProto", contract: Contract, selection: Selection) -> None:
    """Replace the twelve outputs by detections, in place.

    With K = ``selection.rows(contract)``: ``boxes`` float32 [N, K, 4] left, top, right, bottom as
    fractions of the image (0..1), not clipped to it; ``scores`` float32 [N, K], descending;
    ``indices`` int64 [N, K], the model's 1, 2, …; ``category_ids`` int64 [N, K], the data set's;
    ``num_detections`` int64 [N]. Rows from ``num_detections`` on are zero.

    Equal scores come as from ``postprocess``: the higher index first, then the lower prior. Heads
    that are not finite, which ``postprocess`` refuses, cannot be refused here.

    Args:
        model: has tensors ``cls_0..cls_5, loc_0..loc_5``, whatever makes them.
        contract: gives the classes, the categories and the rule of the priors.

    Raises:
        ArtifactError: the graph has other tensors of the names needed.
    """
    nodes = Nodes(model)
    logits, offsets = _join(nodes, contract)
    decoded = _decode(nodes, contract, offsets)
    boxes, scores = _best_of_each_class(nodes, contract, selection, logits, decoded)
    kept = suppress(nodes, contract, selection, boxes, scores)
    _best_of_the_image(nodes, contract, selection, boxes, kept)
    nodes.append()
    rows = selection.rows(contract)
    kinds: dict[str, tuple[str, tuple[int, ...]]] = {
        "boxes": ("FLOAT", (rows, 4)),
        "scores": ("FLOAT", (rows,)),
        "indices": ("INT64", (rows,)),
        "category_ids": ("INT64", (rows,)),
        "num_detections": ("INT64", ()),
    }
    _set_outputs(model, {name: kinds[name] for name in DETECTION_OUTPUTS})


def _set_outputs(model: "onnx.ModelProto", outputs: dict[str, tuple[str, tuple[int, ...]]]) -> None:
    from onnx import TensorProto, helper

    del model.graph.output[:]
    for name, (kind, shape) in outputs.items():
        element = TensorProto.DataType.Value(kind)
        value = helper.make_tensor_value_info(name, element, ["N", *shape])
        model.graph.output.append(value)


def _join(nodes: Nodes, contract: Contract, logits: str = "", offsets: str = "") -> tuple[str, str]:
    """The heads as [N, classes, 15130] and [N, 4, 15130], under these names."""
    joined = []
    for kind, depth, output in (("cls", contract.num_classes, logits), ("loc", 4, offsets)):
        shape = nodes.ints(f"{kind}.shape", [0, depth, -1])  # 0 keeps the batch
        levels = [
            nodes.node("Reshape", [f"{kind}_{k}", shape], f"{kind}_{k}.flat")
            for k in range(len(LEVELS))
        ]
        joined.append(nodes.node("Concat", levels, kind, output=output, axis=2))
    return joined[0], joined[1]


def _decode(nodes: Nodes, contract: Contract, offsets: str) -> str:
    """Offsets [N, 4, 15130] -> left, top, right, bottom [N, 15130, 4], fractions of the image.

    centre = 0.1 · d · prior size + prior centre; size = exp(0.2 · d) · prior size.
    """
    table = priors(contract).astype(np.float64).T[None]  # [1, 4, 15130]
    centres, sizes = table[:, :2], table[:, 2:]

    def halves(name: str, first: int) -> str:
        rows = nodes.ints(f"{name}.rows", [first, first + 1])
        return nodes.node("Gather", [offsets, rows], name, axis=1)

    def clip(tensor: str, name: str, most: float) -> str:
        ends = [nodes.floats(f"{name}.{end}", at) for end, at in (("min", -most), ("max", most))]
        return nodes.node("Clip", [tensor, *ends], name)

    steps = nodes.floats("steps", SCALE_XY * sizes)
    shift = nodes.node("Mul", [halves("dxdy", 0), steps], "shift")
    centre = nodes.node("Add", [shift, nodes.floats("prior_centres", centres)], "centre")
    scale = nodes.floats("scale_wh", SCALE_WH)
    exponent = nodes.node("Mul", [halves("dwdh", 2), scale], "exponent")
    growth = nodes.node("Exp", [clip(exponent, "exponent.clipped", MAX_EXPONENT)], "growth")
    half = nodes.node("Mul", [growth, nodes.floats("prior_halves", sizes / 2)], "half")
    low = nodes.node("Sub", [centre, half], "left_top")
    high = nodes.node("Add", [centre, half], "right_bottom")
    corners = nodes.node("Concat", [low, high], "corners", axis=1)
    finite = clip(corners, "corners.clipped", _MAX_COORDINATE)
    return nodes.node("Transpose", [finite], "decoded", perm=[0, 2, 1])


def _best_of_each_class(
    nodes: Nodes, contract: Contract, selection: Selection, logits: str, decoded: str
) -> tuple[str, str]:
    """The k best of each of C classes: boxes [N, C·k, 4]; scores [N, C, k], dropped where they are
    not above the threshold."""
    depth, count = len(contract.categories), selection.candidates
    probabilities = nodes.node("Softmax", [logits], "softmax", axis=1)
    # Without background; and the last prior first: among equals TopK takes the lower position,
    # the rule is the higher prior.
    ends = {"starts": [1, -1], "ends": [_END, -_END], "axes": [1, 2], "steps": [1, -1]}
    slices = [nodes.ints(f"objects.{name}", values) for name, values in ends.items()]
    objects = nodes.node("Slice", [probabilities, *slices], "objects")
    best, positions = nodes.top(objects, count, "best", axis=2)
    last = nodes.ints("last_prior", NUM_PRIORS - 1)
    rows = nodes.node("Sub", [last, positions], "best.priors")
    shape = nodes.ints("best.shape", [0, depth * count, 1])
    rows = nodes.node("Reshape", [rows, shape], "best.rows")
    boxes = nodes.node("GatherND", [decoded, rows], "best.boxes", batch_dims=1)
    threshold = nodes.floats("score_threshold", selection.score_threshold)
    above = nodes.node("Greater", [best, threshold], "best.above")
    dropped = nodes.floats("dropped", _DROPPED)
    return boxes, nodes.node("Where", [above, best, dropped], "best.scores")


def suppress(
    nodes: Nodes, contract: Contract, selection: Selection, boxes: str, scores: str
) -> str:
    """Scores [N, C·k] of the boxes that NMS keeps, dropped for the others.

    Every class of every image is a batch of one class to the operator, with boxes of its own.
    """
    depth, count = len(contract.categories), selection.candidates
    each = nodes.node(
        "Reshape", [boxes, nodes.ints("nms.boxes.shape", [-1, count, 4])], "nms.boxes"
    )
    shape = nodes.ints("nms.scores.shape", [-1, 1, count])
    alone = nodes.node("Reshape", [scores, shape], "nms.scores")
    # The operator drops what is above its threshold, the rule what reaches it.
    below = np.nextafter(np.float32(selection.iou_threshold), np.float32(0))
    limits = [
        nodes.ints("nms.most", [count]),
        nodes.floats("nms.iou_threshold", [below]),
        nodes.floats("nms.score_threshold", [selection.score_threshold]),
    ]
    kept = nodes.node("NonMaxSuppression", [each, alone, *limits], "nms")  # [M, 3]
    batch = nodes.node("Gather", [kept, nodes.ints("nms.batch", 0)], "nms.batches", axis=1)
    place = nodes.node("Gather", [kept, nodes.ints("nms.box", 2)], "nms.places", axis=1)
    start = nodes.node("Mul", [batch, nodes.ints("nms.stride", count)], "nms.starts")
    rows = nodes.node("Add", [start, place], "nms.rows")
    flat = nodes.node("Reshape", [scores, nodes.ints("nms.flat.shape", [-1])], "nms.flat")
    values = nodes.node("Gather", [flat, rows], "nms.kept", axis=0)
    nothing = nodes.node("Mul", [flat, nodes.floats("zero", 0)], "nms.zeros")
    nothing = nodes.node("Add", [nothing, nodes.floats("nms.dropped", _DROPPED)], "nms.nothing")
    kept = nodes.node("ScatterElements", [nothing, rows, values], "nms.all", axis=0)
    shape = nodes.ints("nms.image.shape", [-1, depth * count])
    return nodes.node("Reshape", [kept, shape], "nms.image")


def _best_of_the_image(
    nodes: Nodes, contract: Contract, selection: Selection, boxes: str, kept: str
) -> None:
    """The five outputs, from boxes [N, C·k, 4] and scores [N, C·k]."""
    count, rows = selection.candidates, selection.rows(contract)
    # The last class first, and in a class the lowest prior: so TopK orders equals by the rule.
    ends = {"starts": [-1], "ends": [-_END], "axes": [1], "steps": [-1]}
    slices = [nodes.ints(f"backwards.{name}", values) for name, values in ends.items()]
    backwards = nodes.node("Slice", [kept, *slices], "backwards")
    scores, positions = nodes.top(backwards, rows, "top", axis=1)
    last = nodes.ints("last_place", len(contract.categories) * count - 1)
    places = nodes.node("Sub", [last, positions], "top.places")
    classes = nodes.node("Div", [places, nodes.ints("class_stride", count)], "top.classes")
    indices = nodes.node("Add", [classes, nodes.ints("one", 1)], "top.indices")
    table = nodes.ints("category_ids", [one.category_id for one in contract.categories])
    categories = nodes.node("Gather", [table, classes], "top.categories", axis=0)
    deep = nodes.node("Unsqueeze", [places, nodes.ints("depth_axis", [2])], "top.rows")
    chosen = nodes.node("GatherND", [boxes, deep], "top.boxes", batch_dims=1)
    found = nodes.node("Greater", [scores, nodes.floats("no_score", 0)], "found")
    deep = nodes.node("Unsqueeze", [found, nodes.ints("found.axis", [2])], "found.rows")
    blank, none = nodes.floats("blank", 0), nodes.ints("none", 0)
    nodes.node("Where", [deep, chosen, blank], "boxes", output="boxes")
    nodes.node("Where", [found, scores, blank], "scores", output="scores")
    nodes.node("Where", [found, indices, none], "indices", output="indices")
    nodes.node("Where", [found, categories, none], "categories", output="category_ids")
    number = nodes.node("Cast", [found], "found.number", to=7)  # INT64
    axis = nodes.ints("row_axis", [1])
    nodes.node("ReduceSum", [number, axis], "count", output="num_detections", keepdims=0)

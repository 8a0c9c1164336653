"""The twelve heads -> :class:`~ssd_resnet34.vision.detections.Detections`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Final, get_args

import numpy as np
from numpy.typing import NDArray

from ..contract import COCO, HEAD_NAMES, INPUT_SIZE, LEVELS, Contract
from ..errors import HeadsError, UsageError
from .detections import Detections
from .finite import unfinite
from .labels import resolve
from .preprocess import ImageContext
from .priors import priors
from .selection import Candidates, Nms, select

Heads = Sequence[NDArray[Any]] | Mapping[str, NDArray[Any]]
Context = ImageContext | Mapping[str, Any] | tuple[int, int]

DEFAULT_SCORE_THRESHOLD: Final = 0.05

_MAX_SIDE: Final = 1 << 26
"""Longest side of an image, pixels: up to here any box and its size are finite in float32."""


@dataclass(frozen=True, eq=False)
class Rules:
    """Checked selection arguments; ``thresholds`` is float32, one a class, background first."""

    thresholds: NDArray[np.float32]
    iou_threshold: float
    pre_nms_top_k: int
    top_k: int
    nms: Nms


def rules(
    score_threshold: float | Mapping[str | int, float] = DEFAULT_SCORE_THRESHOLD,
    iou_threshold: float = 0.5,
    pre_nms_top_k: int = 200,
    top_k: int = 200,
    nms: Nms = "exact",
    classes: Iterable[str | int] | None = None,
    *,
    contract: Contract = COCO,
) -> Rules:
    """The selection arguments of :func:`postprocess`, checked before there are any heads.

    Raises:
        UsageError: an argument out of range, or an unknown class.
    """
    if nms not in get_args(Nms):
        raise UsageError(f"nms: {nms!r} is unknown; give 'exact' or 'mlperf'")
    return Rules(
        _thresholds(score_threshold, classes, contract),
        _fraction("iou_threshold", iou_threshold),
        _count("pre_nms_top_k", pre_nms_top_k),
        _count("top_k", top_k),
        nms,
    )


def postprocess(
    outputs: Heads,
    contexts: Sequence[Context] | None = None,
    score_threshold: float | Mapping[str | int, float] = DEFAULT_SCORE_THRESHOLD,
    iou_threshold: float = 0.5,
    pre_nms_top_k: int = 200,
    top_k: int = 200,
    nms: Nms = "exact",
    classes: Iterable[str | int] | None = None,
    *,
    contract: Contract = COCO,
    clip: bool = False,
    model: str = "",
) -> list[Detections]:
    """Detections of each image of a batch, best first.

    Softmax over all classes, background dropped, score > threshold, per class the best
    ``pre_nms_top_k``, greedy NMS that drops IoU ≥ ``iou_threshold``, then the best ``top_k`` of
    the image. Source of the rules: the reference decoder in MLPerf Inference.

    Args:
        outputs: the twelve heads cls_0..cls_5, loc_0..loc_5, floats, NCHW (shapes: see
            :meth:`Contract.head_shapes`), in this order or as a mapping by name. With three
            categories class and box heads have the same shapes: another order goes unnoticed.
        contexts: one an image: :class:`ImageContext`, ``{"width": …, "height": …}`` or
            ``(width, height)``, pixels of the displayed original. Default: those the outputs
            carry (``outputs.contexts``); without any, boxes are in pixels of 1200×1200.
        score_threshold: 0..1, exceeded strictly; or a mapping label or index -> threshold, where
            classes that are not listed have 0.05.
        iou_threshold: 0..1.
        pre_nms_top_k: from 1.
        top_k: from 1.
        nms: ``"exact"``, or ``"mlperf"``, which repeats the public reference's IoU without a
            clamp at 0, to reproduce published numbers.
        classes: labels or indices to keep, None for all.
        contract: number of classes, labels, and the lineage of the priors.
        clip: cut the boxes at the border of the image.
        model: name of the model, noted in the result.

    Returns:
        N :class:`Detections`; boxes float32 left, top, right, bottom in pixels. Equal scores are
        ordered by index, higher first, then by prior.

    Raises:
        HeadsError: not the twelve heads of the contract, NaN or infinity among them, or contexts
            of another batch size.
        UsageError: an argument out of range.
    """
    chosen = rules(
        score_threshold, iou_threshold, pre_nms_top_k, top_k, nms, classes, contract=contract
    )
    heads = _checked_heads(outputs, contract)
    if contexts is None:
        contexts = getattr(outputs, "contexts", None)
    places = _checked_contexts(contexts, len(heads[0]))
    table = priors(contract)
    results = []
    for number, place in enumerate(places):
        one = [head[number] for head in heads]
        cls, loc = one[: len(LEVELS)], one[len(LEVELS) :]
        found = select(
            cls,
            loc,
            table,
            chosen.thresholds,
            chosen.iou_threshold,
            chosen.pre_nms_top_k,
            chosen.top_k,
            chosen.nms,
        )
        results.append(as_detections(found, place, contract, clip, model))
    return results


def as_detections(
    found: Candidates, place: ImageContext, contract: Contract, clip: bool, model: str
) -> Detections:
    """The chosen boxes of one image, in its pixels and with the contract's labels."""
    boxes = found.boxes.clip(0, 1) if clip else found.boxes
    boxes = boxes * (place.width, place.height, place.width, place.height)
    chosen = [contract.categories[index - 1] for index in found.classes.tolist()]
    return Detections(
        boxes=boxes.astype(np.float32),
        scores=found.scores,
        indices=found.classes,
        category_ids=np.array([category.category_id for category in chosen], np.int64),
        labels=tuple(category.label for category in chosen),
        image=place.name,
        width=place.width,
        height=place.height,
        model=model,
    )


def _checked_heads(outputs: Heads, contract: Contract) -> list[NDArray[np.float32]]:
    """The twelve heads as finite C-contiguous float32 of the contract's shapes."""
    if isinstance(outputs, Mapping):
        missing = [name for name in HEAD_NAMES if name not in outputs]
        if missing:
            raise HeadsError(
                f"outputs: no {', '.join(missing)} among {', '.join(map(str, outputs))}; "
                f"give {HEAD_NAMES[0]} … {HEAD_NAMES[-1]}"
            )
        outputs = [outputs[name] for name in HEAD_NAMES]
    try:
        heads = [np.asarray(output) for output in outputs]
    # No list, lists of different lengths, and tensors that have no numpy form as they are.
    except (TypeError, ValueError, RuntimeError) as error:
        raise HeadsError(
            f"outputs: no list of arrays ({error}); give twelve numpy arrays, cls_0..cls_5, then "
            "loc_0..loc_5"
        ) from error
    if len(heads) != len(HEAD_NAMES):
        raise HeadsError(
            f"outputs: {len(heads)} arrays where {len(HEAD_NAMES)} are needed; "
            "give cls_0..cls_5, then loc_0..loc_5"
        )
    _check_shapes(heads, contract)
    return [_finite_floats(name, head) for name, head in zip(HEAD_NAMES, heads, strict=True)]


def _check_shapes(heads: list[NDArray[Any]], contract: Contract) -> None:
    batch = heads[0].shape[0] if heads[0].ndim else 0
    wanted = [(batch, *shape) for shape in contract.head_shapes().values()]
    shapes = [head.shape for head in heads]
    if shapes == wanted and batch > 0:
        return
    if sorted(shapes) == sorted(wanted) and batch > 0:
        raise HeadsError(
            "outputs: the right heads in the wrong order; give cls_0..cls_5, then loc_0..loc_5, "
            "or a mapping by name"
        )
    without_batch = [shape[1:] for shape in wanted]
    if shapes == without_batch:
        raise HeadsError("outputs: the batch axis is missing; add it with head[None]")
    name, shape, want = next(
        ((n, s, w) for n, s, w in zip(HEAD_NAMES, shapes, wanted, strict=True) if s != w),
        (HEAD_NAMES[0], shapes[0], wanted[0]),
    )
    raise HeadsError(
        f"outputs: {name} has shape {list(shape)} where {['N', *want[1:]]} is needed for "
        f"{contract.num_classes} classes; give raw NCHW heads of this model and its contract"
    )


def _finite_floats(name: str, head: NDArray[Any]) -> NDArray[np.float32]:
    if head.dtype.kind != "f":
        raise HeadsError(f"outputs: {name} has dtype {head.dtype}; give float32")
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused below
        floats = np.ascontiguousarray(head, np.float32)
    bad = unfinite(floats)
    if bad:
        raise HeadsError(
            f"outputs: {name} has NaN or infinity at {bad} of {floats.size} places; "
            "check the weights, the precision and the input tensor"
        )
    return floats


def _checked_contexts(contexts: Sequence[Context] | None, batch: int) -> list[ImageContext]:
    if contexts is None:
        return [ImageContext(INPUT_SIZE, INPUT_SIZE)] * batch
    if isinstance(contexts, (ImageContext, Mapping)):
        raise HeadsError("contexts: one alone; give a list with one entry an image")
    if not isinstance(contexts, Iterable):
        raise UsageError(
            f"contexts: a {type(contexts).__name__}; give a list with one entry an image"
        )
    contexts = list(contexts)
    if len(contexts) != batch:
        raise HeadsError(
            f"contexts: {len(contexts)} for a batch of {batch}; give one an image, those that "
            "preprocess returned with this batch"
        )
    return [_as_context(context) for context in contexts]


def _as_context(context: Context) -> ImageContext:
    try:
        if isinstance(context, ImageContext):
            width, height, name = context.width, context.height, context.name
        elif isinstance(context, Mapping):
            width, height = context["width"], context["height"]
            name = str(context.get("name", ""))
        else:
            (width, height), name = context, ""
        sides = int(width), int(height)
        if sides != (width, height) or not all(1 <= side <= _MAX_SIDE for side in sides):
            raise ValueError
    except (KeyError, TypeError, ValueError, OverflowError):  # the last: int(inf)
        raise UsageError(
            f"contexts: {context!r} is no image size; give ImageContext(width, height) or "
            f"{{'width': …, 'height': …}} in whole pixels from 1 to {_MAX_SIDE}"
        ) from None
    return ImageContext(*sides, name)


def _thresholds(
    score_threshold: float | Mapping[str | int, float],
    classes: Iterable[str | int] | None,
    contract: Contract,
) -> NDArray[np.float32]:
    """One threshold a class, background first; inf for the classes that are left out."""
    if isinstance(score_threshold, Mapping):
        values = np.full(contract.num_classes, DEFAULT_SCORE_THRESHOLD, np.float32)
        for name, value in score_threshold.items():
            values[resolve([name], contract)] = _fraction(f"score_threshold[{name!r}]", value)
    else:
        value = _fraction("score_threshold", score_threshold)
        values = np.full(contract.num_classes, value, np.float32)
    if classes is not None:
        keep = np.zeros(contract.num_classes, bool)
        keep[list(resolve(classes, contract))] = True
        values[~keep] = np.inf
    return values


def _fraction(name: str, value: object) -> float:
    # Compared before it is a float, which an int of 400 digits cannot become.
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= value <= 1:  # type: ignore[operator]  # no Real.__ge__
        raise UsageError(f"{name}: {value} is out of range; give 0..1")
    return float(value)


def _count(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < 1:
        raise UsageError(f"{name}: {value!r} is out of range; give an int from 1")
    return int(value)

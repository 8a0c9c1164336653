"""The reference decoder's names: ``dboxes_R34_coco``, ``DefaultBoxes``, ``Encoder``.

Arrays are numpy's where the vendor has torch tensors; tensors of torch are accepted.
"""

from collections.abc import Sequence
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from ssd_resnet34.contract import INPUT_SIZE, LEVELS, OFFSETS, SCALE_WH, SCALE_XY, SCALES
from ssd_resnet34.errors import HeadsError
from ssd_resnet34.vision.postprocess import postprocess
from ssd_resnet34.vision.priors import priors

_FEATURES: Final = [[level.size, level.size] for level in LEVELS]
_STEPS: Final = [[INPUT_SIZE // level.size] * 2 for level in LEVELS]
_RATIOS: Final = [list(level.ratios) for level in LEVELS]
_STRIDES: Final = (3, 3, 2, 2, 2, 2)


class DefaultBoxes:
    """The 15130 priors of this model; ``boxes()`` gives float32 (15130, 4), fractions.

    The arguments are those of the reference, checked against this model's layout: there is no
    other one here.

    Raises:
        ValueError: another layout.
    """

    def __init__(
        self,
        fig_size: Sequence[int],
        feat_size: Sequence[Sequence[int]],
        steps: Sequence[Sequence[int]],
        scales: Sequence[Sequence[int]],
        aspect_ratios: Sequence[Sequence[int]],
        scale_xy: float = SCALE_XY,
        scale_wh: float = SCALE_WH,
    ) -> None:
        size = [INPUT_SIZE] * 2
        wanted: dict[str, tuple[Any, Any]] = {
            "fig_size": (list(fig_size), size),
            "feat_size": ([list(one) for one in feat_size], _FEATURES),
            "steps": (
                [list(one) for one in steps],
                [[INPUT_SIZE // s for s in f] for f in _FEATURES],
            ),
            "scales": ([list(one) for one in scales], [[scale] * 2 for scale in SCALES]),
            "aspect_ratios": ([list(one) for one in aspect_ratios], _RATIOS),
            "scale_xy": (scale_xy, SCALE_XY),
            "scale_wh": (scale_wh, SCALE_WH),
        }
        for name, (given, ours) in wanted.items():
            if given != ours:
                raise ValueError(f"{name}: {given} is not this model's layout, which has {ours}")

    @property
    def scale_xy(self) -> float:
        """Variance of the centres."""
        return SCALE_XY

    @property
    def scale_wh(self) -> float:
        """Variance of the sizes."""
        return SCALE_WH

    def __call__(self, order: Literal["ltrb", "xywh"] = "ltrb") -> NDArray[np.float32]:
        """``ltrb``: left, top, right, bottom; ``xywh``: centre, width, height.

        Raises:
            ValueError: another order.
        """
        boxes = priors().copy()
        if order == "ltrb":
            centres, halves = boxes[:, :2], boxes[:, 2:] / 2
            return np.concatenate([centres - halves, centres + halves], axis=1)
        if order != "xywh":
            raise ValueError(f"order: {order!r} is unknown; give 'ltrb' or 'xywh'")
        return boxes


def dboxes_R34_coco(  # noqa: N802  # the reference's name
    figsize: Sequence[int], strides: Sequence[int]
) -> DefaultBoxes:
    """The priors for ``figsize`` (1200, 1200) and ``strides`` (3, 3, 2, 2, 2, 2).

    Raises:
        ValueError: others.
    """
    if tuple(strides) != _STRIDES:
        raise ValueError(f"strides: {tuple(strides)} is not this model's layout, {_STRIDES}")
    scales = [[scale, scale] for scale in SCALES]
    return DefaultBoxes(figsize, _FEATURES, _STEPS, scales, _RATIOS)


class Encoder:
    """Decodes concatenated heads with the rules of the reference: an IoU that is not clamped."""

    def __init__(self, dboxes: DefaultBoxes) -> None:
        self.dboxes = dboxes("ltrb")
        self.dboxes_xywh = dboxes("xywh")[None]
        self.nboxes = len(self.dboxes)
        self.scale_xy, self.scale_wh = dboxes.scale_xy, dboxes.scale_wh

    def decode_batch(
        self, bboxes_in: Any, scores_in: Any, criteria: float = 0.50, max_output: int = 200
    ) -> list[list[NDArray[Any]]]:
        """Boxes, labels and scores, a list of arrays each, one an image, worst first.

        Args:
            bboxes_in: offsets [N, 4, 15130]. scores_in: logits [N, 81, 15130].
            criteria: IoU from which on a box is dropped.
            max_output: detections of an image.

        Returns:
            Boxes float32 (n, 4) left, top, right, bottom, fractions; labels int64; scores float32.

        Raises:
            ValueError: other shapes.
        """
        offsets, logits = np.asarray(bboxes_in), np.asarray(scores_in)
        heads = [*_heads(logits), *_heads(offsets)]
        try:
            found = postprocess(
                heads,
                [(1, 1)] * len(logits),
                iou_threshold=criteria,
                top_k=max_output,
                nms="mlperf",
            )
        except HeadsError as error:
            raise ValueError(str(error)) from None
        return [
            [one.boxes[::-1] for one in found],
            [one.indices[::-1] for one in found],
            [one.scores[::-1] for one in found],
        ]


def _heads(joined: NDArray[Any]) -> list[NDArray[Any]]:
    """The six heads that were concatenated to [N, depth, 15130]."""
    if joined.ndim != 3 or joined.shape[2] != OFFSETS[-1] + LEVELS[-1].priors:
        raise ValueError(f"shape {joined.shape} is not [N, depth, 15130]; join the heads on axis 2")
    return [
        joined[:, :, offset : offset + level.priors].reshape(
            len(joined), -1, level.size, level.size
        )
        for level, offset in zip(LEVELS, OFFSETS, strict=True)
    ]

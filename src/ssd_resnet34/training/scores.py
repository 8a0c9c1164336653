"""Scores that mean something at the usual threshold: one bias for the background logit.

Hard-negative mining shows the network one background prior in hundreds, so that its scores come out
too high and false alarms pass the threshold of ``detect``. Adding a constant to the background
logit of every prior lowers all scores alike; the constant is the one with the best F1 on scenes of
the training stream. Average precision, which looks at the order of scores, hardly changes.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..contract import COCO, LEVELS
from ..detector import DEFAULT_SCORE_THRESHOLD
from ..evaluation.agreement import match
from ..vision.detections import Detections
from ..vision.postprocess import postprocess

BIASES: Final = tuple(np.arange(-1, 5.01, 0.25).tolist())
"""Those that are tried, in units of the logit."""

State = Mapping[str, NDArray[Any]]


def with_bias(state: State, bias: float) -> dict[str, NDArray[Any]]:
    """The weights with ``bias`` added to the background logits."""
    made = dict(state)
    for k, level in enumerate(LEVELS):
        key = f"conf.{k}.bias"
        made[key] = state[key].copy()
        made[key][: level.anchors] += np.float32(bias)  # channel = class · anchors + anchor
    return made


def best_bias(
    scenes: Iterable[tuple[Sequence[NDArray[np.float32]], Detections]],
) -> tuple[float, dict[float, float]]:
    """The bias with the best F1 at the threshold of ``detect``, and the F1 of each that was tried.

    Args:
        scenes: heads of one image each, and what is in it, in pixels of 1200×1200.
    """
    hits = dict.fromkeys(BIASES, 0)
    found = dict.fromkeys(BIASES, 0)
    wanted = 0
    for heads, truth in scenes:
        wanted += len(truth)
        for bias in BIASES:
            shifted = [head.copy() for head in heads[: len(LEVELS)]]
            for head, level in zip(shifted, LEVELS, strict=True):
                head[:, : level.anchors] += np.float32(bias)
            (seen,) = postprocess(
                [*shifted, *heads[len(LEVELS) :]],
                score_threshold=DEFAULT_SCORE_THRESHOLD,
                contract=COCO,
            )
            hits[bias] += len(match(truth, seen))
            found[bias] += len(seen)
    scores = {bias: 2 * hits[bias] / max(found[bias] + wanted, 1) for bias in BIASES}
    return max(scores, key=lambda bias: scores[bias]), scores

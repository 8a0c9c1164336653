"""The contract's recipes word by word, as one writes them first: what speed is compared with."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..contract import INPUT_SIZE, LEVELS, SCALE_WH, SCALE_XY, Contract
from ..vision.priors import priors


def preprocess(pixels: NDArray[np.uint8], contract: Contract) -> NDArray[np.float32]:
    """BGR uint8 (H, W, 3) -> float32 (1, 3, 1200, 1200), RGB, normalised."""
    image = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB).astype(np.float32)
    large = cv2.resize(image, (INPUT_SIZE, INPUT_SIZE), interpolation=cv2.INTER_LINEAR)
    mean, std = np.array(contract.mean, np.float32), np.array(contract.std, np.float32)
    normalised = (large / np.float32(255) - mean) / std
    return np.ascontiguousarray(normalised.transpose(2, 0, 1)[None], np.float32)


def postprocess(
    heads: Sequence[NDArray[Any]],
    contract: Contract,
    score_threshold: float = 0.05,
    iou_threshold: float = 0.5,
    top_k: int = 200,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Heads of one image -> boxes (n, 4), fractions of it, scores (n,) and indices (n,).

    Softmax over everything, then a loop over the classes with greedy NMS, in numpy.
    """
    count = len(LEVELS)
    logits = np.concatenate(
        [head.reshape(contract.num_classes, -1) for head in heads[:count]], axis=1
    )
    offsets = np.concatenate([head.reshape(4, -1) for head in heads[count:]], axis=1).T
    exponents = np.exp(logits - logits.max(axis=0))
    scores = exponents / exponents.sum(axis=0)
    table = priors(contract)
    centre = SCALE_XY * offsets[:, :2] * table[:, 2:] + table[:, :2]
    size = np.exp(SCALE_WH * offsets[:, 2:]) * table[:, 2:]
    boxes = np.concatenate([centre - size / 2, centre + size / 2], axis=1)
    kept_boxes, kept_scores, kept_classes = [], [], []
    for index in range(1, contract.num_classes):
        above = np.flatnonzero(scores[index] > score_threshold)
        order = above[np.argsort(-scores[index][above], kind="stable")][:top_k]
        while len(order):
            best, order = order[0], order[1:]
            kept_boxes.append(boxes[best])
            kept_scores.append(scores[index, best])
            kept_classes.append(index)
            order = order[_iou(boxes[best], boxes[order]) < iou_threshold]
    best_first = np.argsort(-np.array(kept_scores), kind="stable")[:top_k]
    return (
        np.array(kept_boxes, np.float32).reshape(-1, 4)[best_first],
        np.array(kept_scores, np.float32)[best_first],
        np.array(kept_classes, np.int64)[best_first],
    )


def _iou(box: NDArray[Any], others: NDArray[Any]) -> NDArray[Any]:
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    overlap = np.clip(high - low, 0, None).prod(axis=1)
    areas = (others[:, 2:] - others[:, :2]).prod(axis=1)
    found: NDArray[Any] = overlap / ((box[2:] - box[:2]).prod() + areas - overlap)
    return found

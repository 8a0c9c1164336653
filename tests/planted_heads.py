"""Heads that decode to chosen boxes: the encoder that training has, for a handful of objects."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssd_resnet34.contract import COCO, LEVELS, OFFSETS, SCALE_WH, SCALE_XY, Contract
from ssd_resnet34.runtime.session import Outputs
from ssd_resnet34.vision.preprocess import ImageContext
from ssd_resnet34.vision.priors import priors

BACKGROUND = 20.0
NOTHING = -50.0
"""Logits: of the background where nothing is; of the other classes where something is."""


@dataclass(frozen=True)
class Thing:
    """An object: ``box`` left, top, right, bottom as fractions of the image, class ``index``,
    ``score``, and the ``prior`` that holds it (default: the most similar one that is free)."""

    box: tuple[float, float, float, float]
    index: int = 1
    score: float = 0.9
    prior: int | None = None


def planted(
    things: Sequence[Thing],
    size: tuple[int, int] = (400, 400),
    contract: Contract = COCO,
    name: str = "",
) -> Outputs:
    """Heads [1, C, F, F] of an image of ``size`` in which ``things`` are, and no more: each has
    its box by the contract's priors and its score, to float32."""
    table = priors(contract).astype(np.float64)
    logits = np.zeros((contract.num_classes, len(table)), np.float32)
    logits[0] = BACKGROUND
    offsets = np.zeros((4, len(table)), np.float32)
    taken: list[int] = []
    for thing in things:
        left, top, right, bottom = thing.box
        box = np.array([(left + right) / 2, (top + bottom) / 2, right - left, bottom - top])
        row = _free(table, box, taken) if thing.prior is None else thing.prior
        assert row not in taken
        taken.append(row)
        offsets[:2, row] = (box[:2] - table[row, :2]) / (SCALE_XY * table[row, 2:])
        offsets[2:, row] = np.log(box[2:] / table[row, 2:]) / SCALE_WH
        logits[:, row] = NOTHING
        logits[0, row] = 0
        logits[thing.index, row] = np.log(thing.score / (1 - thing.score))
    heads = [*_split(logits), *_split(offsets)]
    return Outputs(heads, (ImageContext(*size, name),))


def _free(table: NDArray[np.float64], box: NDArray[np.float64], taken: Sequence[int]) -> int:
    cost = np.abs(np.log(box[2:] / table[:, 2:])).sum(axis=1)
    cost += (np.abs(box[:2] - table[:, :2]) / table[:, 2:]).sum(axis=1)
    cost[list(taken)] = np.inf
    return int(cost.argmin())


def _split(values: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """[depth, 15130] as six heads [1, depth · A, F, F]."""
    heads = []
    for level, offset in zip(LEVELS, OFFSETS, strict=True):
        part = values[:, offset : offset + level.priors]
        heads.append(np.ascontiguousarray(part).reshape(1, -1, level.size, level.size))
    return heads

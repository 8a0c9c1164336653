"""The default boxes every offset is relative to.

Source of the rule: the reference implementation of SSD-ResNet34 in MLPerf Inference; the order
and the values are those of its table, bit for bit.
"""

from functools import lru_cache
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from ..contract import COCO, INPUT_SIZE, LEVELS, SCALES, Contract, Level, Lineage


def priors(contract: Contract = COCO) -> NDArray[np.float32]:
    """The default boxes of ``contract``'s lineage.

    Returns:
        float32 (15130, 4), read-only and shared between calls: cx, cy, w, h as fractions of the
        image, in the order level, anchor, y, x.

    The PyTorch lineage has centres (i + .5) / F and clamps all four values to [0, 1]; the
    TensorFlow lineage has centres (i + .5) · step / 1200 and does not clamp.
    """
    return _table(contract.lineage)


def anchor_sizes(level: int) -> list[tuple[float, float]]:
    """Width and height of each anchor of level 0..5, fractions of the image, not clamped.

    With s1, s2 the scales of this level and the next: s1², (√(s1·s2))², then for each ratio a
    of the level (s1·√a, s1/√a) and its swap.
    """
    side, following = (SCALES[level + k] / INPUT_SIZE for k in (0, 1))
    middle = sqrt(side * following)
    sizes = [(side, side), (middle, middle)]
    for ratio in LEVELS[level].ratios:
        wide, narrow = side * sqrt(ratio), side / sqrt(ratio)
        sizes += [(wide, narrow), (narrow, wide)]
    return sizes


@lru_cache
def _table(lineage: Lineage) -> NDArray[np.float32]:
    blocks = [_level_table(k, level, lineage) for k, level in enumerate(LEVELS)]
    table = np.concatenate(blocks)
    if lineage == "pytorch":
        table = table.clip(0, 1)
    result = table.astype(np.float32)  # rounded once, as the reference's bits are
    result.setflags(write=False)
    return result


def _level_table(index: int, level: Level, lineage: Lineage) -> NDArray[np.float64]:
    cells = np.arange(level.size) + 0.5
    centres = (
        cells / level.size if lineage == "pytorch" else cells * level.tensorflow_step / INPUT_SIZE
    )
    table = np.empty((level.anchors, level.size, level.size, 4))
    table[..., 0] = centres  # x runs fastest
    table[..., 1] = centres[:, None]
    table[..., 2:] = np.array(anchor_sizes(index))[:, None, None]
    return table.reshape(-1, 4)

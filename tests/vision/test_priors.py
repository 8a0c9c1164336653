"""Claims about the default boxes."""

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ssd_resnet34.contract import (
    COCO,
    COCO_TENSORFLOW,
    LEVELS,
    NUM_PRIORS,
    OFFSETS,
    SCALES,
    Category,
    Contract,
)
from ssd_resnet34.vision.priors import anchor_sizes, priors


def test_priors_equal_the_reference_bit_for_bit(golden_npz: Callable[[str], Any]) -> None:
    assert priors().tobytes() == golden_npz("priors.npy").tobytes()


def test_priors_have_the_published_digest() -> None:
    digest = hashlib.sha256(priors().tobytes()).hexdigest()
    assert digest == "dc9348bd6b7d3c1df85354909ca223c707592db0631430e4aea61adf50a91e58"


def test_the_table_is_shared_and_cannot_be_written() -> None:
    table = priors()
    assert table.shape == (NUM_PRIORS, 4)
    assert table.dtype == np.float32
    assert priors(Contract((Category(1, "cell"),))) is table
    with pytest.raises(ValueError, match="read-only"):
        table[0] = 0


def test_tensorflow_centres_follow_their_own_steps_and_nothing_is_clamped() -> None:
    table = priors(COCO_TENSORFLOW)
    for level, offset, step in zip(LEVELS, OFFSETS, (24, 48, 92, 171, 400, 400), strict=True):
        for anchor in range(level.anchors):
            for y, x in ((0, 0), (0, level.size - 1), (level.size - 1, 1)):
                row = offset + (anchor * level.size + y) * level.size + x
                wanted = [(x + 0.5) * step / 1200, (y + 0.5) * step / 1200]
                np.testing.assert_allclose(table[row, :2], wanted, rtol=1e-7)
    assert table[:, 2:].max() > 1
    small = (priors(COCO)[:, 2:] < 1).all(axis=1)
    assert np.array_equal(table[small, 2:], priors(COCO)[small, 2:])


def test_every_level_has_a_square_of_its_scale_first() -> None:
    for k, level in enumerate(LEVELS):
        sizes = anchor_sizes(k)
        assert len(sizes) == level.anchors
        assert sizes[0] == (SCALES[k] / 1200, SCALES[k] / 1200)
        areas = [width * height for width, height in sizes]
        np.testing.assert_allclose(areas[2:], areas[0])

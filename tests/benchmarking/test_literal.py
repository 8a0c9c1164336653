"""The literal recipes say the same as the fast ones: only then is a ratio worth something."""

from types import ModuleType

import numpy as np
import pytest

from fake_network import constant_heads
from ssd_resnet34.benchmarking import literal
from ssd_resnet34.contract import COCO
from ssd_resnet34.vision.postprocess import postprocess
from ssd_resnet34.vision.preprocess import preprocess


def test_literal_preprocessing_gives_the_same_tensor() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8)
    wanted = preprocess(pixels, colour="bgr").tensor
    np.testing.assert_allclose(literal.preprocess(pixels, COCO), wanted, rtol=0, atol=2e-5)


def test_literal_postprocessing_finds_the_same_objects() -> None:
    heads = constant_heads()
    (wanted,) = postprocess(heads, [(1, 1)])
    boxes, scores, indices = literal.postprocess(heads, COCO)
    assert sorted(indices) == sorted(wanted.indices)
    np.testing.assert_allclose(scores, wanted.scores, atol=1e-5)
    assert len(boxes) == 3


def test_nothing_found_is_no_error() -> None:
    boxes, scores, indices = literal.postprocess(constant_heads(detections=()), COCO)
    assert boxes.shape == (0, 4)
    assert len(scores) == len(indices) == 0


@pytest.mark.parametrize("case", ["typical", "crowded"])
def test_it_agrees_on_the_golden_scenes(golden: ModuleType, case: str) -> None:
    heads = golden.case(case)
    (wanted,) = postprocess(heads, [(1, 1)])
    boxes, scores, indices = literal.postprocess(heads, COCO)
    np.testing.assert_array_equal(indices, wanted.indices)
    np.testing.assert_allclose(scores, wanted.scores, rtol=0, atol=1e-5)
    np.testing.assert_allclose(boxes, wanted.boxes, rtol=1e-4, atol=1e-4)

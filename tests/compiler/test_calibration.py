"""Activation ranges, against numpy's own minima and maxima."""

import numpy as np
import pytest

from quantized import assert_ranges, every_tensor
from small_network import pictures, small_onnx
from ssd_resnet34.compiler.calibration import min_max
from ssd_resnet34.compiler.quantization import activations
from ssd_resnet34.errors import UsageError


def test_ranges_are_the_minima_and_maxima_of_every_tensor_over_all_images() -> None:
    source, images = small_onnx(), pictures(3)
    found = min_max(source, iter(images), threads=1)
    assert list(found) == activations(source)
    assert_ranges(found, [every_tensor(source, image) for image in images])


def test_a_batch_counts_as_its_images() -> None:
    source, images = small_onnx(), pictures(2)
    one_by_one = min_max(source, images)
    at_once = min_max(source, [np.concatenate(images)])
    for name, pair in one_by_one.items():
        assert at_once[name] == pytest.approx(pair, rel=1e-5, abs=1e-6)


def test_no_images_are_refused() -> None:
    with pytest.raises(UsageError, match="no calibration images"):
        min_max(small_onnx(), [])


def test_the_model_given_is_not_changed() -> None:
    source = small_onnx()
    min_max(source, pictures(1))
    assert source == small_onnx()

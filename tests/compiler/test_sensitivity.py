"""What each layer costs, on a network small enough to count by hand."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from quantized import every_tensor, numpy_ranges
from small_network import pictures, run, small_onnx
from ssd_resnet34 import artifact
from ssd_resnet34.compiler.quantization import Ranges, layers, only_layer
from ssd_resnet34.compiler.sensitivity import (
    LayerCost,
    layer_costs,
    multiplications,
    noise_to_signal,
)
from ssd_resnet34.contract import COCO

IMAGES = pictures(2)


Weights = dict[str, NDArray[np.float32]]


def changed(source: bytes, change: Callable[[Weights], None]) -> bytes:
    """The network with other weights."""
    model = artifact.load(source)
    stored = {t.name: numpy_helper.to_array(t).copy() for t in model.graph.initializer}
    change(stored)
    for tensor in model.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(stored[tensor.name], tensor.name))
    return artifact.serialize(model)


@pytest.fixture(scope="module")
def source() -> bytes:
    return small_onnx()


@pytest.fixture(scope="module")
def ranges(source: bytes) -> Ranges:
    return numpy_ranges(source, IMAGES)


@pytest.fixture(scope="module")
def costs(source: bytes, ranges: Ranges) -> list[LayerCost]:
    return layer_costs(source, ranges, IMAGES)


def test_every_layer_is_listed_once_the_noisiest_first(
    source: bytes, costs: list[LayerCost]
) -> None:
    assert sorted(cost.layer for cost in costs) == sorted(layers(source))
    noises = [cost.noise for cost in costs]
    assert noises == sorted(noises, reverse=True)
    assert all(0 < noise < 0.01 for noise in noises)


def test_noise_is_the_mean_over_heads_and_images_of_noise_to_signal_power(
    source: bytes, ranges: Ranges, costs: list[LayerCost]
) -> None:
    for layer in ("stem", "block.add", "loc_3"):
        data = only_layer(source, ranges, layer)
        ratios = []
        for image in IMAGES:
            values = every_tensor(data, image)  # without any fusing: in float, as the file says
            heads = zip(COCO.head_shapes(), run("onnxruntime", source, image), strict=True)
            for head, wanted in heads:
                difference = values[head].astype(np.float64) - wanted
                ratios.append((difference**2).sum() / (wanted.astype(np.float64) ** 2).sum())
        found = next(cost.noise for cost in costs if cost.layer == layer)
        assert found == pytest.approx(np.mean(ratios), rel=0.02)


def test_multiplications_are_those_counted_by_hand(source: bytes, costs: list[LayerCost]) -> None:
    classes, maps = 3, (50, 25, 13, 7, 3, 3)
    # output channels · input channels · kernel · output size
    wanted = {
        "stem": 8 * 3 * 9 * 50**2,
        "block.conv1": 8 * 8 * 9 * 50**2,
        "block.conv2": 8 * 8 * 9 * 50**2,
        "last": 8 * 8 * 1 * 3**2,
    }
    for n, (side, anchors) in enumerate(zip(maps, (4, 6, 6, 6, 4, 4), strict=True)):
        wanted[f"cls_{n}"] = classes * anchors * 8 * side**2
        wanted[f"loc_{n}"] = 4 * anchors * 8 * side**2
    found = multiplications(source)
    assert found == wanted
    assert [*list(found)[:3], "block.add", *list(found)[3:]] == layers(source)
    total = sum(wanted.values())
    for cost in costs:
        assert cost.work == pytest.approx(wanted.get(cost.layer, 0) / total)
    assert sum(cost.work for cost in costs) == pytest.approx(1)


def test_a_layer_that_one_huge_weight_robs_of_its_levels_comes_first(source: bytes) -> None:
    """A weight in every output channel of ``block.conv1`` is blown up, so that the other weights
    round to nothing. It reads a channel that is silent: in float it does not matter."""

    def blow_up(stored: Weights) -> None:
        stored["stem.weight"][0] = stored["stem.bias"][0] = 0
        stored["block.conv1.weight"][:, 0, 0, 0] = 300

    blown = changed(source, blow_up)
    found = layer_costs(blown, numpy_ranges(blown, IMAGES), IMAGES[:1])
    assert found[0].layer == "block.conv1"
    assert found[0].noise > 5 * found[1].noise


def test_a_layer_of_zeros_makes_no_noise() -> None:
    source = small_onnx(identity=True)
    found = layer_costs(source, numpy_ranges(source, IMAGES), IMAGES[:1])
    silent = {cost.layer: cost.noise for cost in found if cost.layer.startswith("block.")}
    assert silent["block.conv2"] == 0
    assert found[-1].layer in silent


def test_a_head_of_zeros_is_no_division_by_zero(source: bytes) -> None:
    def silence(stored: Weights) -> None:
        stored["cls_1.weight"][:] = stored["cls_1.bias"][:] = 0

    dead = changed(source, silence)
    found = layer_costs(dead, numpy_ranges(dead, IMAGES), IMAGES[:1])
    assert all(np.isfinite(cost.noise) for cost in found)


def test_noise_to_signal_of_nothing() -> None:
    zeros, ones = np.zeros(3, np.float32), np.ones(3, np.float32)
    assert noise_to_signal(zeros, zeros) == 0
    assert noise_to_signal(ones, zeros) == np.inf
    assert noise_to_signal(3 * ones, ones) == 4


def test_every_layer_is_told_when_it_is_done(source: bytes, ranges: Ranges) -> None:
    ticks: list[None] = []
    layer_costs(source, ranges, IMAGES[:1], threads=1, on_layer=lambda: ticks.append(None))
    assert len(ticks) == len(layers(source))

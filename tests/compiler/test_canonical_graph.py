"""The real network through calibration and quantization, with five blocks that are identities.

The embedded weights have such blocks: their convolutions are all zero, so their ranges are empty.
"""

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from quantized import assert_ranges, check_types, every_tensor, relative_error
from small_network import run
from ssd_resnet34 import artifact
from ssd_resnet34.compiler.calibration import Observer
from ssd_resnet34.compiler.histogram import Histogram
from ssd_resnet34.compiler.quantization import activations, quantize
from ssd_resnet34.compiler.ranges import find_range
from ssd_resnet34.contract import COCO
from ssd_resnet34.network.builder import build
from ssd_resnet34.runtime import cpu

IDENTITIES = ("layer1.4.2", "layer1.5.3", "layer2.0.3", "layer2.0.4", "layer2.0.5")

Prepared = tuple[bytes, dict[str, tuple[float, float]], dict[str, NDArray[Any]]]


@pytest.fixture(scope="module")
def image(lookalikes: ModuleType) -> NDArray[np.float32]:
    made: NDArray[np.float32] = lookalikes.network_input()
    return made


@pytest.fixture(scope="module")
def prepared(golden: ModuleType, image: NDArray[np.float32]) -> Prepared:
    """Source, its ranges on one image, and the fp32 heads of that image."""
    state = golden.state_dict(7)
    for key in IDENTITIES:
        for leaf in ("weight", "bias"):
            state[f"model.{key}.bn2.{leaf}"] = np.zeros_like(state[f"model.{key}.bn2.{leaf}"])
            state[f"model.{key}.bn2.running_mean"][:] = 0
    source = artifact.serialize(build(state, COCO))
    histograms: dict[str, Histogram] = {}
    Observer(source, cpu.available_threads()).observe(image, histograms)
    ranges = {name: find_range(one, "min-max") for name, one in histograms.items()}
    values = every_tensor(source, image)
    assert_ranges(ranges, [values])  # here, so that the 1.5 GB of tensors can go at once
    return source, ranges, {name: values[name] for name in COCO.head_shapes()}


def test_every_tensor_has_the_range_that_numpy_finds(prepared: Prepared) -> None:
    source, ranges, _ = prepared
    assert list(ranges) == activations(source)
    assert not [name for name in ranges if f"{name}.relu" in ranges]  # the two are rounded as one
    assert ranges["model.layer2.0.5.conv2"] == (0, 0)


def test_the_int8_artifact_is_whole_and_its_heads_are_close_to_fp32_in_both_engines(
    prepared: Prepared, image: NDArray[np.float32]
) -> None:
    source, ranges, heads = prepared
    data = quantize(source, ranges)
    check_types(data)
    assert artifact.contract_of(data) == COCO
    assert len(data) < len(source) / 3.5
    for engine in ("onnxruntime", "openvino"):
        found = run(engine, data, image)
        assert all(np.isfinite(head).all() for head in found)
        error = relative_error(found, list(heads.values()))
        print(f"{engine}: relative error of int8 heads {error:.4f}")
        assert error < 0.1

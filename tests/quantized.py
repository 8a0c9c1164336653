"""Looking into float and int8 graphs: all their tensors, and their types."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper

from ssd_resnet34 import artifact
from ssd_resnet34.compiler.quantization import activations


def relative_error(found: list[NDArray[np.float32]], wanted: list[NDArray[np.float32]]) -> float:
    """Largest root mean square error of a head, in units of the head's own spread."""
    return max(
        float(np.sqrt(np.mean((a - b) ** 2)) / b.std()) for a, b in zip(found, wanted, strict=True)
    )


def every_tensor(source: bytes, image: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """The values of all tensors: the graph with every one of them as an output."""
    model = artifact.load(source)
    known = {value.name for value in model.graph.output}
    names = [name for node in model.graph.node for name in node.output]
    for name in names:
        if name not in known:
            model.graph.output.append(helper.make_empty_tensor_value_info(name))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    data = artifact.serialize(model)
    session = onnxruntime.InferenceSession(data, options, ["CPUExecutionProvider"])
    values = session.run(names, {"image": image})
    return {"image": image} | dict(zip(names, values, strict=True))


def numpy_ranges(
    source: bytes, images: Iterable[NDArray[np.float32]]
) -> dict[str, tuple[float, float]]:
    """The minimum and maximum over the images of every tensor that a quantizer asks for."""
    runs = [every_tensor(source, image) for image in images]
    return {
        name: (
            min(float(run[name].min()) for run in runs),
            max(float(run[name].max()) for run in runs),
        )
        for name in activations(source)
    }


def assert_ranges(
    found: dict[str, tuple[float, float]], values: list[dict[str, NDArray[Any]]]
) -> None:
    """``found`` spans what the tensors of the same names hold, in the same order, and zero."""
    assert list(found) == [name for name in values[0] if name in found]
    for name, (low, high) in found.items():
        lowest = min(0.0, *(float(run[name].min()) for run in values))
        highest = max(0.0, *(float(run[name].max()) for run in values))
        assert low == pytest.approx(lowest, rel=1e-4, abs=1e-5), name
        assert high == pytest.approx(highest, rel=1e-4, abs=1e-5), name


class Graph:
    """Who makes which tensor, and the stored arrays."""

    def __init__(self, model: ModelProto) -> None:
        self.model = model
        self.makers = {name: node for node in model.graph.node for name in node.output}
        self.stored = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}

    def convolutions(self) -> list[NodeProto]:
        return [node for node in self.model.graph.node if node.op_type == "Conv"]

    def check_rounded(self, name: str) -> None:
        """The tensor comes from uint8 with one scale."""
        maker, (scale, zero) = self.dequantized(name)
        assert self.makers[maker.input[0]].op_type == "QuantizeLinear"
        assert zero.dtype == np.uint8
        assert scale.shape == zero.shape == ()
        assert np.isfinite(scale)
        assert scale > 0

    def dequantized(self, name: str) -> tuple[NodeProto, list[NDArray[Any]]]:
        """The DequantizeLinear that makes a tensor, and its stored inputs."""
        node = self.makers[name]
        assert node.op_type == "DequantizeLinear"
        return node, [self.stored[x] for x in node.input if x in self.stored]


def check_types(data: bytes) -> None:
    """Weights int8 with a scale a channel, activations uint8 with one scale, heads float."""
    graph = Graph(artifact.load(data))
    assert graph.convolutions()
    for node in graph.convolutions():
        _, (weight, scale, zero) = graph.dequantized(node.input[1])
        assert weight.dtype == zero.dtype == np.int8
        assert scale.shape == zero.shape == (weight.shape[0],)
        assert not zero.any()
        assert np.isfinite(scale).all()
        assert (scale > 0).all()
        graph.check_rounded(node.input[0])
        _, (bias, scale, _) = graph.dequantized(node.input[2])
        assert bias.dtype == np.int32
        assert np.isfinite(scale).all()
    for node in graph.model.graph.node:
        if node.op_type == "Add":
            for name in node.input:
                graph.check_rounded(name)
    for value in graph.model.graph.output:
        assert graph.makers[value.name].op_type == "Conv"

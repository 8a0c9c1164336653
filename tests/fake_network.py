"""A network with the right input and outputs that costs milliseconds instead of seconds.

``fake_onnx`` gives an artifact for OpenVINO and ONNX Runtime; ``fake_heads`` the same numbers in
numpy. The heads hold the objects they are told to hold, and depend a little on the image, so that
results of different images can be told apart.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ssd_resnet34 import artifact
from ssd_resnet34.contract import COCO, INPUT_NAME, INPUT_SIZE, LEVELS, Contract

BACKGROUND = 10.0
OBJECT = 16.0
"""Logits: an object has probability e^16 / (e^16 + e^10 + …) = 0.9975."""

Planted = tuple[int, int]
"""Prior number (0..15129) and class index (1..80): an object whose box is that prior."""

DETECTIONS: Sequence[Planted] = ((9000, 1), (12000, 3), (14000, 17))


def constant_heads(
    contract: Contract = COCO, detections: Sequence[Planted] = DETECTIONS
) -> list[NDArray[np.float32]]:
    """Heads [1, channels, size, size] for a black image: background, and the planted objects."""
    heads = []
    offset = 0
    planted = list(detections)
    for level in LEVELS:
        logits = np.zeros((contract.num_classes, level.anchors * level.size**2), np.float32)
        logits[0] = BACKGROUND
        for prior, index in planted:
            if offset <= prior < offset + logits.shape[1]:
                logits[index, prior - offset] = OBJECT
        heads.append(logits.reshape(1, -1, level.size, level.size))
        offset += level.priors
    for level in LEVELS:
        heads.append(np.zeros((1, 4 * level.anchors, level.size, level.size), np.float32))
    return heads


def brightness(tensor: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean of every 600th pixel of each image [N, 1, 1, 1]: what the heads depend on."""
    picked = tensor[:, :, ::600, ::600]
    light: NDArray[np.float32] = picked.mean((1, 2, 3), dtype=np.float32, keepdims=True)
    return light


def fake_heads(
    tensor: NDArray[np.float32],
    contract: Contract = COCO,
    detections: Sequence[Planted] = DETECTIONS,
) -> list[NDArray[np.float32]]:
    """What the fake network gives: class logits raised by the brightness, the same for all."""
    light = brightness(tensor)
    heads = constant_heads(contract, detections)
    return [head + light if n < len(LEVELS) else head + 0 * light for n, head in enumerate(heads)]


@cache
def fake_onnx(
    contract: Contract = COCO,
    detections: Sequence[Planted] = DETECTIONS,
    precision: Literal["fp32", "int8"] = "fp32",
    shapes: Literal["right", "wrong"] = "right",
) -> bytes:
    """An artifact whose heads are those of :func:`fake_heads`; ``shapes="wrong"`` breaks one.

    ``precision="int8"`` puts a QuantizeLinear/DequantizeLinear pair on the brightness.
    """
    from onnx import TensorProto, helper, numpy_helper

    nodes = []
    weights = []

    def constant(name: str, value: Any, kind: type[np.generic]) -> str:
        weights.append(numpy_helper.from_array(np.asarray(value, kind), name))
        return name

    def node(op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    bounds: Mapping[str, list[int]] = {
        "starts": [0, 0],
        "ends": [INPUT_SIZE, INPUT_SIZE],
        "axes": [2, 3],
        "steps": [600, 600],
    }
    ints = [constant(name, value, np.int64) for name, value in bounds.items()]
    picked = node("Slice", [INPUT_NAME, *ints], "picked")
    light = node("ReduceMean", [picked], "light", axes=[1, 2, 3], keepdims=1)
    if precision == "int8":
        scale = constant("scale", 0.03, np.float32)
        zero = constant("zero", 128, np.uint8)
        light = node("QuantizeLinear", [light, scale, zero], "light.quantized")
        light = node("DequantizeLinear", [light, scale, zero], "light.dequantized")
    dark = node("Mul", [light, constant("nothing", 0.0, np.float32)], "dark")
    named = zip(contract.head_shapes(), constant_heads(contract, detections), strict=True)
    outputs = []
    for n, (name, head) in enumerate(named):
        if shapes == "wrong" and n == 0:
            head = head[:, :-1]
        base = constant(f"{name}.constant", head, np.float32)
        node("Add", [base, light if n < len(LEVELS) else dark], name)
        shape = ["N", *head.shape[1:]]
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    image = helper.make_tensor_value_info(
        INPUT_NAME, TensorProto.FLOAT, ["N", 3, INPUT_SIZE, INPUT_SIZE]
    )
    model = helper.make_model(
        helper.make_graph(nodes, "fake", [image], outputs, weights),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    artifact.embed(model, contract, {"producer": "fake network"})
    return artifact.serialize(model)

"""A convolutional network with the contract's input and heads that costs milliseconds.

Unlike ``fake_network`` it has what a quantizer looks for: convolutions, ReLU, pooling, and a
residual block, which may be one of the trainer's identities: all zero.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssd_resnet34 import artifact
from ssd_resnet34.contract import INPUT_NAME, LEVELS, Category, Contract
from ssd_resnet34.network.builder import interface

CONTRACT = Contract((Category(1, "cat"), Category(18, "dog")))

ZERO_BLOCK = ("block.conv1.relu", "block.conv2")
"""Tensors that are 0 everywhere where the block is an identity."""


def small_onnx(*, identity: bool = False, seed: int = 0, contract: Contract = CONTRACT) -> bytes:
    """The fp32 artifact: a strided stem, a residual block, five poolings, twelve heads."""
    from onnx import helper, numpy_helper

    rng = np.random.default_rng(seed)
    nodes, weights = [], []

    def constant(name: str, value: NDArray[Any]) -> str:
        weights.append(numpy_helper.from_array(value.astype(np.float32), name))
        return name

    def node(kind: str, name: str, inputs: list[str], **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def conv(
        x: str, name: str, shape: tuple[int, int, int, int], stride: int = 1, zero: bool = False
    ) -> str:
        scale = 0.0 if zero else (shape[1] * shape[2] ** 2) ** -0.5
        kernel = constant(f"{name}.weight", scale * rng.standard_normal(shape))
        bias = constant(f"{name}.bias", 0.1 * rng.standard_normal(shape[0]) * (not zero))
        side = shape[2]
        pads = [side // 2 if stride == 1 else 0] * 4
        return node(
            "Conv",
            name,
            [x, kernel, bias],
            kernel_shape=[side] * 2,
            strides=[stride] * 2,
            pads=pads,
            dilations=[1, 1],
            group=1,
        )

    def relu(x: str) -> str:
        return node("Relu", f"{x}.relu", [x])

    x = relu(conv(INPUT_NAME, "stem", (8, 3, 3, 3), stride=24))  # 50×50
    y = relu(conv(x, "block.conv1", (8, 8, 3, 3), zero=identity))
    y = conv(y, "block.conv2", (8, 8, 3, 3), zero=identity)
    x = relu(node("Add", "block.add", [y, x]))
    maps = [x]
    for n, side in enumerate((2, 1, 1, 3)):  # 25, 13, 7, 3
        window: dict[str, Any] = {"kernel_shape": [side] * 2, "strides": [2, 2], "pads": [0] * 4}
        maps.append(node("MaxPool", f"pool.{n}", [maps[-1]], **window))
    maps.append(relu(conv(maps[-1], "last", (8, 8, 1, 1))))
    for head, depth in (("cls", contract.num_classes), ("loc", 4)):
        for n, level in enumerate(LEVELS):
            conv(maps[n], f"{head}_{n}", (depth * level.anchors, 8, 1, 1))
    image, outputs = interface(contract)
    model = helper.make_model(
        helper.make_graph(nodes, "small", [image], outputs, weights),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    artifact.embed(model, contract, {"producer": "small network"})
    return artifact.serialize(model)


def pictures(count: int, seed: int = 0) -> list[NDArray[np.float32]]:
    """Inputs float32 [1, 3, 1200, 1200] of different contrast, as far as pixels go."""
    rng = np.random.default_rng(seed)
    made = []
    for n in range(count):
        coarse = rng.standard_normal((1, 3, 50, 50)).astype(np.float32) * (0.5 + n)
        made.append(np.clip(coarse, -1.8, 2.2).repeat(24, 2).repeat(24, 3))
    return made


def run(engine: str, data: bytes, image: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """The twelve heads; OpenVINO in fp32, or in int8 where the artifact is."""
    if engine == "onnxruntime":
        import onnxruntime

        session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        return list(session.run(None, {INPUT_NAME: image}))
    import openvino

    core = openvino.Core()
    hint = {"INFERENCE_PRECISION_HINT": "f32"}
    results = core.compile_model(core.read_model(data), "CPU", hint)([image])
    return [np.array(results[n]) for n in range(12)]

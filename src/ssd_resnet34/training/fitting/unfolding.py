"""From an ONNX graph of this network back to a state dict, to train on from it.

Published files have names of their own and batch-norm folded into its convolution. The layers are
found by following the graph from the image, as :mod:`...network.builder` would lay it.
"""

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from ...contract import HEAD_NAMES, INPUT_NAME, LEVELS
from ...errors import WeightsError
from ...network.layout import BN_EPSILON, EXTRA_BLOCKS, STAGES

if TYPE_CHECKING:
    import onnx

State = dict[str, NDArray[Any]]

_KNOWN: Final = frozenset({"Conv", "Relu", "Add", "MaxPool"})


def unfolded(model: "onnx.ModelProto", name: str) -> State:
    """The 218 keys of a float graph that is cut at its heads.

    A batch-norm that was folded away comes back as one that adds the bias and does nothing else
    (mean 0, variance 1 − ε, weight 1), so that the network gives the same numbers. Its statistics
    are not the data's: training must leave them frozen.

    Raises:
        WeightsError: quantized, or other layers than this network's; names the first.
    """
    return _Walk(model, name).state()


class _Walk:
    def __init__(self, model: "onnx.ModelProto", name: str) -> None:
        from onnx import numpy_helper

        self.name = name
        self.stored = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        self.readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in model.graph.node:
            if node.op_type not in _KNOWN:
                raise self.refusal(f"an operator {node.op_type}")
            for value in node.input:
                self.readers[value].append(node)
        self.makers = {value: node for node in model.graph.node for value in node.output}
        self.found: State = {}

    def refusal(self, what: str) -> WeightsError:
        return WeightsError(
            f"{self.name}: {what} where SSD-ResNet34 of the PyTorch lineage, in float, is needed "
            "to train on from; give a checkpoint or safetensors, --init embedded or --init none"
        )

    def state(self) -> State:
        x = self.after(self.conv(INPUT_NAME, "model.layer1.0", 7, "model.layer1.1"), "Relu")
        x = self.after(x, "MaxPool")
        for stage in STAGES:
            for n in range(stage.blocks):
                key = f"{stage.key}.{n}"
                y = self.after(self.conv(x, f"{key}.conv1", 3, f"{key}.bn1"), "Relu")
                y = self.conv(y, f"{key}.conv2", 3, f"{key}.bn2")
                if len(self.of(x, "Conv")) > 1:
                    self.conv(x, f"{key}.downsample.0", 1, f"{key}.downsample.1")
                x = self.after(self.after(y, "Add"), "Relu")
        for n in range(len(EXTRA_BLOCKS)):
            x = self.after(self.conv(x, f"additional_blocks.{n}.0", 1), "Relu")
            x = self.after(self.conv(x, f"additional_blocks.{n}.2", 3), "Relu")
        for k, head in enumerate(HEAD_NAMES):
            kind = "conf" if k < len(LEVELS) else "loc"
            self.keep(self.made(head), f"{kind}.{k % len(LEVELS)}", "")
        return self.found

    def of(self, value: str, kind: str) -> "list[onnx.NodeProto]":
        return [node for node in self.readers[value] if node.op_type == kind]

    def after(self, value: str, kind: str) -> str:
        nodes = self.of(value, kind)
        if len(nodes) != 1:
            raise self.refusal(f"{len(nodes)} operators {kind} after {value!r}")
        return str(nodes[0].output[0])

    def made(self, value: str) -> "onnx.NodeProto":
        node: onnx.NodeProto | None = self.makers.get(value)
        if node is None or node.op_type != "Conv":
            raise self.refusal(f"no convolution that makes {value!r}")
        return node

    def conv(self, x: str, key: str, kernel: int, norm: str = "") -> str:
        """The convolution of this kernel that reads ``x`` and is no head; returns its output."""
        nodes = [
            node
            for node in self.of(x, "Conv")
            if node.output[0] not in HEAD_NAMES
            and self.constant(node.input[1], key).shape[-1:] == (kernel,)
        ]
        if len(nodes) != 1:
            raise self.refusal(f"{len(nodes)} convolutions {kernel}×{kernel} for {key}")
        self.keep(nodes[0], key, norm)
        return str(nodes[0].output[0])

    def constant(self, value: str, key: str) -> NDArray[Any]:
        if value not in self.stored:
            raise self.refusal(f"{key} with weights that are computed")
        return self.stored[value]

    def keep(self, node: "onnx.NodeProto", key: str, norm: str) -> None:
        weight = self.constant(node.input[1], key).astype(np.float32)
        bias = np.zeros(len(weight), np.float32)
        if len(node.input) > 2:
            bias = self.constant(node.input[2], key).astype(np.float32)
        self.found[f"{key}.weight"] = weight
        if not norm:
            self.found[f"{key}.bias"] = bias
            return
        self.found[f"{norm}.weight"] = np.ones_like(bias)
        self.found[f"{norm}.bias"] = bias
        self.found[f"{norm}.running_mean"] = np.zeros_like(bias)
        self.found[f"{norm}.running_var"] = np.full_like(bias, 1 - BN_EPSILON)
        self.found[f"{norm}.num_batches_tracked"] = np.zeros((), np.int64)

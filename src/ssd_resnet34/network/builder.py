"""The canonical ONNX file, built from numpy weights without torch.

Batch-norm is folded into its convolution, the batch axis is dynamic, names are the checkpoint
keys. The same weights and contract give the same bytes.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from .. import artifact
from ..contract import INPUT_NAME, INPUT_SIZE, Contract
from ..errors import WeightsError
from .layout import BN_EPSILON, EXTRA_BLOCKS, HEAD_STRIDE, STAGES, parameter_shapes

if TYPE_CHECKING:
    import onnx

OPSET: Final = 17
"""Both engines know it, and ORT's QDQ quantizer may quantize per channel (opset 13 and later)."""

IR_VERSION: Final = 8
"""The one that came with opset 17."""

PRODUCER: Final = "ssd-resnet34 builder 1"
"""Raise the number when the same weights come to give other bytes: caches depend on it."""

COUNTER: Final = ".num_batches_tracked"
"""Suffix of the 29 entries that only training reads; they may be absent."""

_SHOWN = 5


def build(state: Mapping[str, NDArray[Any]], contract: Contract) -> "onnx.ModelProto":
    """The network as an ONNX model: ``image`` [N, 3, 1200, 1200] to the twelve heads, float32.

    Args:
        state: checkpoint key -> array, the 218 official keys (``num_batches_tracked`` may be
            absent). float16, float32 or float64.
        contract: gives the number of classes; stored in the metadata.

    Batch-norm is folded in float64: w' = w·γ/√(σ²+1e-5), b' = β − μ·γ/√(σ²+1e-5).

    Raises:
        WeightsError: a key is missing or unknown, a shape or type is wrong, a value not finite.
    """
    import onnx
    from onnx import helper

    check_state(state, contract.num_classes)
    image, outputs = interface(contract)
    model = helper.make_model(
        helper.make_graph([], "ssd_resnet34", [image], outputs),
        opset_imports=[onnx.OperatorSetIdProto(version=OPSET)],
        ir_version=IR_VERSION,
        producer_name="ssd-resnet34",
    )
    graph = _Graph(state, model.graph)
    levels = graph.features()
    for kind, head in (("conf", "cls"), ("loc", "loc")):
        for n, x in enumerate(levels):
            graph.conv(x, f"{kind}.{n}", HEAD_STRIDE, 1, output=f"{head}_{n}")
    artifact.embed(model, contract, {"producer": PRODUCER})
    return model


def interface(contract: Contract) -> "tuple[onnx.ValueInfoProto, list[onnx.ValueInfoProto]]":
    """The graph input ``image`` and the twelve outputs of a contract, batch axis ``N``."""
    from onnx import TensorProto, helper

    def value(name: str, *axes: int) -> "onnx.ValueInfoProto":
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *axes])

    outputs = [value(name, *shape) for name, shape in contract.head_shapes().items()]
    return value(INPUT_NAME, 3, INPUT_SIZE, INPUT_SIZE), outputs


def check_state(state: Mapping[str, NDArray[Any]], num_classes: int, name: str = "weights") -> None:
    """Refuse a state dict that is not this network's, naming every kind of difference.

    Raises:
        WeightsError: missing or unknown keys, wrong shapes or types, NaN or infinity, a negative
            variance.
    """
    wanted = parameter_shapes(num_classes)
    missing = [key for key in wanted if key not in state and not key.endswith(COUNTER)]
    extra = [key for key in state if key not in wanted]
    problems = []
    if missing:
        problems.append(f"missing {_listed(missing)}")
    if extra:
        problems.append(f"unknown {_listed(extra)}")
    known = [(key, state[key]) for key in wanted if key in state]
    problems += [
        f"{key} has shape {list(value.shape)}, not {list(wanted[key])}"
        for key, value in known
        if value.shape != wanted[key]
    ][:_SHOWN]
    values = [(key, value) for key, value in known if not key.endswith(COUNTER)]
    problems += [
        f"{key} is {value.dtype}, not a float" for key, value in values if value.dtype.kind != "f"
    ][:_SHOWN]
    if problems:
        raise WeightsError(
            f"{name}: not the {len(wanted)} entries of SSD-ResNet34 with {num_classes} classes: "
            f"{'; '.join(problems)}; give a checkpoint of this network"
        )
    broken = [key for key, value in values if not np.isfinite(value).all()]
    if broken:
        raise WeightsError(
            f"{name}: NaN or infinity in {_listed(broken)}; give a checkpoint whose training did "
            "not diverge"
        )
    negative = [k for k, value in values if k.endswith("running_var") and (value < 0).any()]
    if negative:
        raise WeightsError(f"{name}: negative variance in {_listed(negative)}; the file is damaged")


def _listed(keys: Iterable[str]) -> str:
    found = list(keys)
    rest = len(found) - _SHOWN
    return ", ".join(found[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


class _Graph:
    """Adds nodes and initializers to a model's own graph: one put together first and then made a
    model of is copied twice, 80 MB each time."""

    def __init__(self, state: Mapping[str, NDArray[Any]], graph: "onnx.GraphProto") -> None:
        self.state, self.graph = state, graph

    def node(
        self, kind: str, name: str, inputs: list[str], output: str = "", **attributes: Any
    ) -> str:
        from onnx import helper

        output = output or name
        self.graph.node.append(helper.make_node(kind, inputs, [output], name=name, **attributes))
        return output

    def weight(self, name: str, value: NDArray[Any]) -> str:
        from onnx import numpy_helper

        single = np.ascontiguousarray(value, np.float32)
        self.graph.initializer.append(numpy_helper.from_array(single, name))
        return name

    def conv(
        self, x: str, key: str, stride: int = 1, padding: int = 0, norm: str = "", output: str = ""
    ) -> str:
        weight = self.state[f"{key}.weight"].astype(np.float64)
        if norm:
            gamma, beta, mean, variance = (
                self.state[f"{norm}.{leaf}"].astype(np.float64)
                for leaf in ("weight", "bias", "running_mean", "running_var")
            )
            gain = gamma / np.sqrt(variance + BN_EPSILON)
            weight, bias = weight * gain[:, None, None, None], beta - mean * gain
        else:
            bias = self.state[f"{key}.bias"].astype(np.float64)
        if max(np.abs(weight).max(), np.abs(bias).max()) > np.finfo(np.float32).max:
            raise WeightsError(
                f"{key}: folding {norm or 'it'} overflows float32; the checkpoint is damaged"
            )
        inputs = [x, self.weight(f"{key}.weight", weight), self.weight(f"{key}.bias", bias)]
        return self.node(
            "Conv",
            key,
            inputs,
            output,
            kernel_shape=list(weight.shape[2:]),
            strides=[stride] * 2,
            pads=[padding] * 4,
            dilations=[1, 1],
            group=1,
        )

    def relu(self, x: str) -> str:
        return self.node("Relu", f"{x}.relu", [x])

    def features(self) -> list[str]:
        """The six maps that the heads look at: 150², 75², 38², 19², 9², 7²."""
        x = self.relu(self.conv(INPUT_NAME, "model.layer1.0", 2, 3, "model.layer1.1"))
        window: dict[str, Any] = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4}
        x = self.node("MaxPool", "model.layer1.3", [x], **window)
        for stage in STAGES:
            for n in range(stage.blocks):
                key, stride = f"{stage.key}.{n}", stage.stride if n == 0 else 1
                y = self.relu(self.conv(x, f"{key}.conv1", stride, 1, f"{key}.bn1"))
                y = self.conv(y, f"{key}.conv2", 1, 1, f"{key}.bn2")
                if f"{key}.downsample.0.weight" in self.state:
                    x = self.conv(x, f"{key}.downsample.0", stride, 0, f"{key}.downsample.1")
                x = self.relu(self.node("Add", f"{key}.add", [y, x]))
        maps = [x]
        for n, block in enumerate(EXTRA_BLOCKS):
            x = self.relu(self.conv(x, f"additional_blocks.{n}.0"))
            x = self.relu(self.conv(x, f"additional_blocks.{n}.2", block.stride, block.padding))
            maps.append(x)
        return maps

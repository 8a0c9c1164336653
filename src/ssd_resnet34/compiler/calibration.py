"""Activation ranges: the smallest and largest value of every tensor over a stream of images."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from .. import artifact
from ..contract import INPUT_NAME
from ..errors import UsageError
from .quantization import activations

_LOW, _HIGH = ".lowest", ".highest"


def min_max(
    source: bytes, inputs: Iterable[NDArray[np.float32]], *, threads: int = 0
) -> dict[str, tuple[float, float]]:
    """Ranges of every activation of an fp32 artifact, as :func:`quantization.quantize` wants them.

    The minima and maxima are computed inside the graph, so memory does not grow with the tensors.

    Args:
        source: canonical fp32 ONNX.
        inputs: float32 [N, 3, 1200, 1200] tensors, one run each.
        threads: of ONNX Runtime; 0 for all.

    Raises:
        UsageError: no inputs.
    """
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper

    model: onnx.ModelProto = artifact.load(source)
    names = activations(source)
    for name in names:
        for suffix, kind in ((_LOW, "ReduceMin"), (_HIGH, "ReduceMax")):
            model.graph.node.append(helper.make_node(kind, [name], [f"{name}{suffix}"], keepdims=0))
            output = helper.make_tensor_value_info(f"{name}{suffix}", TensorProto.FLOAT, [])
            model.graph.output.append(output)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        artifact.serialize(model), options, providers=["CPUExecutionProvider"]
    )
    wanted = [f"{name}{suffix}" for suffix in (_LOW, _HIGH) for name in names]
    low = np.full(len(names), np.inf)
    high = np.full(len(names), -np.inf)
    seen = 0
    for tensor in inputs:
        values = np.array(session.run(wanted, {INPUT_NAME: tensor}), np.float64)
        low = np.minimum(low, values[: len(names)])
        high = np.maximum(high, values[len(names) :])
        seen += 1
    if not seen:
        raise UsageError("no calibration images; give at least one, a few dozen are better")
    return {name: (float(a), float(b)) for name, a, b in zip(names, low, high, strict=True)}

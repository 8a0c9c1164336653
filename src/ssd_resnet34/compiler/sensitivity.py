"""What each layer costs: the noise at the heads when it alone is int8, what it reads rounded too.

Rounding errors of different layers are nearly independent, so their noise powers add up: the
layers at the top of this list are the ones to keep in float. The price is their share of the
multiplications; a sum has none, but some engines compute in float what it adds up.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..contract import INPUT_NAME, INPUT_SIZE
from ..runtime import cpu
from .quantization import Ranges, layers, load, only_layer


@dataclass(frozen=True)
class LayerCost:
    """``noise`` is noise over signal power, a mean over heads and images; ``work`` the layer's
    share of the network's multiplications, 0..1."""

    layer: str
    noise: float
    work: float


def layer_costs(
    source: bytes,
    ranges: Ranges,
    inputs: Sequence[NDArray[np.float32]],
    *,
    threads: int | None = None,
    on_layer: Callable[[], None] = lambda: None,
) -> list[LayerCost]:
    """Every layer's cost, the noisiest first.

    Args:
        source: canonical fp32 ONNX.
        ranges: for all :func:`~.quantization.activations`.
        inputs: float32 [N, 3, 1200, 1200]; one or two images are enough to rank the layers.

    Takes 4 to 8 s a layer and image on two cores.
    """
    wanted = list(_heads(source, inputs, threads))
    work = multiplications(source)
    total = sum(work.values())
    costs = []
    for layer in layers(source):
        found = _heads(only_layer(source, ranges, layer), inputs, threads)
        noises = [
            noise_to_signal(head, reference)
            for heads, references in zip(found, wanted, strict=True)
            for head, reference in zip(heads, references, strict=True)
        ]
        costs.append(LayerCost(layer, float(np.mean(noises)), work.get(layer, 0) / total))
        on_layer()
    return sorted(costs, key=lambda cost: -cost.noise)


def noise_to_signal(found: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
    """Power of the difference over that of ``wanted``, of one shape; 0 where they are equal."""
    noise = float(np.square(found - wanted, dtype=np.float64).sum())
    signal = float(np.square(wanted, dtype=np.float64).sum())
    if noise == 0:
        return 0.0
    return noise / signal if signal else float("inf")


def _heads(
    model: bytes, inputs: Sequence[NDArray[np.float32]], threads: int | None
) -> Iterator[list[NDArray[Any]]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or cpu.available_threads()
    options.log_severity_level = 3
    # What the file says, rounded values in float arithmetic: the integer kernels of CPUs without
    # 8-bit dot products saturate, and their noise would be taken for the layer's.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    opened = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    for tensor in inputs:
        yield list(opened.run(None, {INPUT_NAME: tensor}))


def multiplications(source: bytes) -> dict[str, int]:
    """Multiplications of every convolution for one 1200×1200 image, by name."""
    import onnx

    model = load(source)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    assert model.graph.input[0].type.tensor_type.shape.dim[2].dim_value == INPUT_SIZE
    inferred = onnx.shape_inference.infer_shapes(model)
    shapes = {
        value.name: [axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in (*inferred.graph.value_info, *inferred.graph.output)
    }
    kernels = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    return {
        node.name: int(np.prod(kernels[node.input[1]]) * np.prod(shapes[node.output[0]][2:]))
        for node in model.graph.node
        if node.op_type == "Conv"
    }

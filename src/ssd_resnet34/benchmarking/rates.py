"""The processor's own convolution rates, and the share of them that the network reaches.

Most of the network's work is its 3×3 convolutions of 256 channels on 150×150 maps. A chain of such
layers is timed against a chain of one: what the others add is the bare layer, without the way of
its input and output through memory.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ..compiler.sensitivity import multiplications
from ..errors import SessionError, SSDResNet34Error, UnsupportedPrecision
from ..pairs import Clock, Times, interleave, percentiles
from ..runtime import cpu
from ..runtime.engines import find, openvino
from ..runtime.precision import PRECISIONS, Precision

if TYPE_CHECKING:
    import onnx

CHANNELS: Final = 256
SIDE: Final = 150
LAYERS: Final = 5


@dataclass(frozen=True)
class Rate:
    """Billions of operations a second (a multiplication and its addition are two).

    ``gops`` is None where it cannot be measured, and ``unavailable`` says why.
    """

    precision: Precision
    gops: float | None = None
    pairs: int = 0
    unavailable: str = ""


def work(source: bytes) -> int:
    """Operations of one image, two a multiplication; ``source`` is an fp32 artifact."""
    return 2 * sum(multiplications(source).values())


def layer_work(channels: int = CHANNELS, side: int = SIDE) -> int:
    """Operations of one layer of the chain."""
    return 2 * channels * channels * 9 * side * side


def measure(
    pairs: int,
    *,
    threads: int | None = None,
    channels: int = CHANNELS,
    side: int = SIDE,
    clock: Clock = perf_counter,
    on_pair: Callable[[], None] = lambda: None,
) -> list[Rate]:
    """The rate of each precision with OpenVINO, the fastest engine on CPUs.

    Args:
        pairs: of a long and a short chain.
        channels, side: of the layer; smaller ones for tests.

    A precision that cannot be measured is a rate that says why.
    """
    image = np.random.default_rng(0).random((1, channels, side, side), np.float32)

    def rate(precision: Precision) -> float:
        long, short = (
            partial(compiled(chain(count, precision, channels, side), precision, threads), image)
            for count in (LAYERS, 1)
        )
        operations = (LAYERS - 1) * layer_work(channels, side)
        return operations / added(interleave(long, short, pairs, clock=clock, on_pair=on_pair))

    return of_each_precision("openvino", "cpu", rate, pairs)


def of_each_precision(
    engine: str, device: str, rate: Callable[[Precision], float], pairs: int
) -> list[Rate]:
    """What ``rate`` measures of each precision, operations a second; or why it cannot."""
    found = []
    for precision in PRECISIONS:
        try:
            reason = find(engine).precisions(device).get(precision, f"{engine} has no such one")
            if reason:
                raise UnsupportedPrecision(reason)
            found.append(Rate(precision, rate(precision) / 1e9, pairs))
        except SSDResNet34Error as error:
            found.append(Rate(precision, unavailable=str(error)))
    return found


def added(times: Times) -> float:
    """Seconds of the layers that the first of each pair, a long chain, has beyond the second.

    Raises:
        SessionError: the machine is too busy to tell.
    """
    found = percentiles(longer - shorter for longer, shorter in times).p50
    if found <= 0:
        raise SessionError("the machine is too busy to measure it; try again when idle")
    return found


def chain(layers: int, precision: Precision, channels: int, side: int) -> bytes:
    """ONNX of so many convolutions with ReLU; int8 as QDQ with uint8 activations, like ours."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    nodes: list[onnx.NodeProto] = []
    stored: list[onnx.TensorProto] = []

    def constant(name: str, value: Any) -> str:
        stored.append(numpy_helper.from_array(value, name))
        return name

    def node(kind: str, name: str, inputs: list[str], **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def rounded(x: str) -> str:
        if precision != "int8":
            return x
        scale = constant(f"{x}.scale", np.float32(1 / 64))
        zero = constant(f"{x}.zero", np.uint8(0))
        whole = node("QuantizeLinear", f"{x}.whole", [x, scale, zero])
        return node("DequantizeLinear", f"{x}.rounded", [whole, scale, zero])

    def kernel(name: str) -> str:
        spread = (2 / (9 * channels)) ** 0.5  # keeps the activations' size from layer to layer
        value = spread * rng.standard_normal((channels, channels, 3, 3), np.float32)
        if precision != "int8":
            return constant(name, value)
        scales = np.abs(value).max((1, 2, 3)) / np.float32(127)
        whole = np.rint(value / scales[:, None, None, None]).astype(np.int8)
        inputs = [
            constant(f"{name}.whole", whole),
            constant(f"{name}.scales", scales),
            constant(f"{name}.zeros", np.zeros(channels, np.int8)),
        ]
        return node("DequantizeLinear", name, inputs, axis=0)

    x = rounded("x")
    for number in range(layers):
        inputs = [x, kernel(f"kernel.{number}")]
        y = node("Conv", f"conv.{number}", inputs, kernel_shape=[3, 3], pads=[1] * 4)
        x = rounded(node("Relu", f"relu.{number}", [y]))
    shape = [1, channels, side, side]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "chain",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(x, TensorProto.FLOAT, shape)],
            stored,
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    data: bytes = model.SerializeToString()
    return data


def compiled(data: bytes, precision: Precision, threads: int | None = None) -> Callable[[Any], Any]:
    """``run(x)`` of a chain in OpenVINO.

    Raises:
        EngineUnavailable: OpenVINO is not installed.
        SessionError: it refuses the chain.
    """
    core = openvino.shared_core()
    settings = openvino.config(precision, threads or cpu.available_threads(), 1)
    try:
        request = core.compile_model(core.read_model(data), "CPU", settings).create_infer_request()
    except RuntimeError as error:
        raise SessionError(f"openvino refuses the layer: {error}; report it") from error
    return partial(request.infer, share_inputs=True, share_outputs=True)

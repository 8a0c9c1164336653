"""int8 artifacts: ONNX Runtime's quantizer, fed with our ranges.

Weights are int8 per output channel, activations uint8 per tensor: with unsigned activations ONNX
Runtime and OpenVINO both run the file with 8-bit dot products, with signed ones ONNX Runtime does
not.
"""

import hashlib
import logging
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from .. import artifact
from ..errors import CalibrationError, UsageError

if TYPE_CHECKING:
    import onnx

Ranges = Mapping[str, tuple[float, float]]

TOOLS: Final = ("onnxruntime", "onnx", "numpy")
"""What the bytes of an int8 artifact depend on besides its source and ranges."""

METHOD: Final = "qdq-uint8-int8-per-channel-1"
"""Raise the number when the same source and ranges come to give other bytes."""


def quantize(
    source: bytes,
    ranges: Ranges,
    *,
    keep_float: Collection[str] = (),
    facts: Mapping[str, str] | None = None,
) -> bytes:
    """The int8 (QDQ) artifact of an fp32 artifact.

    Args:
        source: canonical fp32 ONNX with its contract.
        ranges: tensor name -> (lowest, highest) activation, for all :func:`activations`.
        keep_float: names of :func:`layers` that are not rounded.
        facts: more entries for the metadata, such as where the ranges come from.

    Returns:
        ONNX bytes with the same input, outputs and contract; the same arguments and tools give the
        same bytes. 1.5 s and 250 MB for this network.

    Raises:
        UsageError: ``source`` is int8 already, or no such layer to keep.
        CalibrationError: tensors have no range, named.
        ArtifactError: ``source`` is not an artifact.
    """
    model = artifact.load(source)
    if artifact.precision_of(model) != "fp32":
        raise UsageError("the artifact is int8 already; quantize the fp32 one it was made from")
    contract = artifact.contract_of(model)
    names = _activations(model)
    missing = [name for name in names if name not in ranges]
    if missing:
        raise CalibrationError(
            f"no range for {len(missing)} of {len(names)} tensors ({', '.join(missing[:3])}, …); "
            "calibrate this very model: ranges do not carry over to another graph"
        )
    ranges = {name: ranges[name] for name in names}
    _check_layers(model, keep_float)
    result = _rounded(model, ranges, exclude=sorted(set(keep_float)))
    artifact.embed(
        result,
        contract,
        {
            "precision": "int8",
            "method": METHOD,
            "source_sha256": hashlib.sha256(source).hexdigest(),
            "ranges_sha256": digest(ranges),
            "tools": tools(),
            "keep_float": " ".join(sorted(set(keep_float))),
            **(facts or {}),
        },
    )
    artifact.check_heads(result, contract)
    return artifact.serialize(result)


def only_layer(source: bytes, ranges: Ranges, layer: str) -> bytes:
    """The artifact with a single layer of :func:`layers` in int8, to hear the noise it makes."""
    model = artifact.load(source)
    contract = artifact.contract_of(model)
    result = _rounded(model, ranges, only=[layer])
    artifact.embed(result, contract, {"precision": "int8", "only_layer": layer})
    return artifact.serialize(result)


def _rounded(
    model: "onnx.ModelProto",
    ranges: Ranges,
    *,
    exclude: Sequence[str] = (),
    only: Sequence[str] = (),
) -> "onnx.ModelProto":
    """The model with QDQ pairs around its nodes, but for ``exclude``, or around ``only`` these."""
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType
    from onnxruntime.quantization.calibrate import TensorData, TensorsData, save_tensors_data
    from onnxruntime.quantization.quantize import quantize_static

    table = TensorsData(
        CalibrationMethod.MinMax,
        {
            name: TensorData(lowest=np.float32(low), highest=np.float32(high))
            for name, (low, high) in _with_relu_inputs(model, ranges).items()
        },
    )
    with tempfile.TemporaryDirectory(prefix="ssd-resnet34-") as folder, _quiet():
        cache, written = Path(folder) / "ranges.json", Path(folder) / "int8.onnx"
        save_tensors_data(table, cache)
        quantize_static(
            model,
            written,
            None,
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            calibration_cache_path=cache,
            nodes_to_exclude=list(exclude),
            nodes_to_quantize=list(only),
        )
        return artifact.load(written)


def activations(source: bytes) -> list[str]:
    """Names of the tensors that int8 rounds and that need a range, in graph order.

    The input and every node's output, but for what only a ReLU reads: the two are rounded as one.
    """
    return _activations(artifact.load(source))


def _activations(model: "onnx.ModelProto") -> list[str]:
    readers: dict[str, list[str]] = {value.name: ["output"] for value in model.graph.output}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node.op_type)
    made = [node.output[0] for node in model.graph.node]
    return [name for name in (model.graph.input[0].name, *made) if readers.get(name) != ["Relu"]]


def layers(source: bytes) -> list[str]:
    """Names of the convolutions, in graph order: what int8 rounds, and may be told to keep."""
    return _layers(artifact.load(source))


def _layers(model: "onnx.ModelProto") -> list[str]:
    return [node.name for node in model.graph.node if node.op_type == "Conv"]


def check_layers(source: bytes, names: Collection[str]) -> None:
    """Refuse names that are not :func:`layers`.

    Raises:
        UsageError: names them.
    """
    _check_layers(artifact.load(source), names)


def _check_layers(model: "onnx.ModelProto", names: Collection[str]) -> None:
    unknown = sorted(set(names) - set(_layers(model)))
    if unknown:
        raise UsageError(
            f"no layer {', '.join(unknown[:3])} to keep in float; the layers are the convolutions: "
            f"{', '.join(_layers(model)[:3])}, …"
        )


def tools() -> str:
    """Names and versions of :data:`TOOLS`, as in the metadata."""
    return ", ".join(f"{name} {metadata.version(name)}" for name in TOOLS)


def _with_relu_inputs(model: "onnx.ModelProto", ranges: Ranges) -> Ranges:
    """The quantizer looks up a range for what only a ReLU reads, and then does not use it."""
    relus = [node for node in model.graph.node if node.op_type == "Relu"]
    return {node.input[0]: ranges[node.output[0]] for node in relus} | dict(ranges)


def digest(ranges: Ranges) -> str:
    """SHA-256 over names and float32 values, in name order."""
    text = "".join(
        f"{name} {np.float32(low)!r} {np.float32(high)!r}\n"
        for name, (low, high) in sorted(ranges.items())
    )
    return hashlib.sha256(text.encode()).hexdigest()


@contextmanager
def _quiet() -> Iterator[None]:
    """The quantizer advises on the root logger to pre-process models: ours are folded already."""
    logger, level = logging.getLogger(), logging.getLogger().level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)

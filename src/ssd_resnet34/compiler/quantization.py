"""int8 artifacts: ONNX Runtime's quantizer, fed with our ranges.

Weights are int8 per output channel, activations uint8 per tensor: with unsigned activations ONNX
Runtime and OpenVINO both run the file with 8-bit dot products, with signed ones ONNX Runtime does
not.
"""

import hashlib
import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from .. import artifact
from ..errors import UsageError

if TYPE_CHECKING:
    import onnx

Ranges = Mapping[str, tuple[float, float]]

METHOD: Final = "qdq-uint8-int8-per-channel-1"
"""Raise the number when the same source and ranges come to give other bytes."""


def quantize(source: bytes, ranges: Ranges) -> bytes:
    """The int8 (QDQ) artifact of an fp32 artifact.

    Args:
        source: canonical fp32 ONNX with its contract.
        ranges: tensor name -> (lowest, highest) activation, for every tensor that a convolution,
            ReLU, pooling or addition reads or writes.

    Returns:
        ONNX bytes with the same input, outputs and contract; the same arguments give the same
        bytes. 1.5 s and 250 MB for this network.

    Raises:
        UsageError: ``source`` is int8 already, or tensors have no range, named.
        ArtifactError: ``source`` is not an artifact.
    """
    model = artifact.load(source)
    if artifact.precision_of(model) != "fp32":
        raise UsageError("the artifact is int8 already; quantize the fp32 one it was made from")
    contract = artifact.contract_of(model)
    missing = [name for name in _activations(model) if name not in ranges]
    if missing:
        raise UsageError(
            f"no range for {len(missing)} tensors ({', '.join(missing[:3])}, …); "
            "calibrate this very model: ranges do not carry over to another graph"
        )
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType
    from onnxruntime.quantization.calibrate import TensorData, TensorsData, save_tensors_data
    from onnxruntime.quantization.quantize import quantize_static

    table = TensorsData(
        CalibrationMethod.MinMax,
        {
            name: TensorData(lowest=np.float32(low), highest=np.float32(high))
            for name, (low, high) in ranges.items()
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
        )
        result = artifact.load(written)
    artifact.embed(
        result,
        contract,
        {
            "precision": "int8",
            "method": METHOD,
            "source_sha256": hashlib.sha256(source).hexdigest(),
            "ranges_sha256": digest(ranges),
        },
    )
    artifact.check_heads(result, contract)
    return artifact.serialize(result)


def activations(source: bytes) -> list[str]:
    """Names of the tensors that need a range, in graph order: the input and every node's output."""
    return _activations(artifact.load(source))


def _activations(model: "onnx.ModelProto") -> list[str]:
    return [model.graph.input[0].name] + [node.output[0] for node in model.graph.node]


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

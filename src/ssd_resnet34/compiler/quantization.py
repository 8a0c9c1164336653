"""int8 artifacts: ONNX Runtime's quantizer, fed with our ranges.

Weights are int8 per output channel, activations uint8 per tensor: with unsigned activations ONNX
Runtime and OpenVINO both run the file with 8-bit dot products, with signed ones ONNX Runtime does
not.

Layers are the convolutions and the sums of the residual blocks. A tensor is rounded where a layer
reads it, and nowhere else: no layer reads the twelve heads, so they leave as floats (256 levels
over logits from -136 to 11 are steps of 0.6). ReLU passes on what it gets; pooling and padding move
rounded values where a layer reads what they make.
"""

import hashlib
import logging
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from .. import artifact
from ..contract import INPUT_NAME, Contract
from ..errors import CalibrationError, UsageError
from ..files import told
from ..runtime.engines import version_of
from ..weights.ranges import check as check_ranges

if TYPE_CHECKING:
    import onnx

Ranges = Mapping[str, tuple[float, float]]

TOOLS: Final = ("onnxruntime", "onnx", "numpy")
"""What the bytes of an int8 artifact depend on besides its source and ranges."""

METHOD: Final = "qdq-uint8-int8-per-channel-3"
"""Raise the number when the same source and ranges come to give other bytes."""

_LAYERS: Final = ("Conv", "Add")
_MOVING: Final = ("MaxPool", "Pad", "Transpose")

GIVEN: Final[Mapping[str, str]] = {"calibration": "ranges given"}
"""What the metadata says of ranges without a history."""


def quantize(
    source: bytes,
    ranges: Ranges,
    *,
    keep_float: Collection[str] = (),
    facts: Mapping[str, str] = GIVEN,
) -> bytes:
    """The int8 (QDQ) artifact of an fp32 artifact.

    Args:
        source: canonical fp32 ONNX with its contract.
        ranges: tensor name -> (lowest, highest) activation, for all :func:`activations`; those of
            other tensors are not used.
        keep_float: layers that are not rounded, as for :func:`named_layers`.
        facts: entries for the metadata that say where the ranges come from.

    Returns:
        ONNX bytes with the same input, outputs and contract; the same arguments and tools give the
        same bytes. 1 s and 200 MB for this network.

    Raises:
        UsageError: ``source`` is int8 already, no such layer to keep, or no layer left to round.
        CalibrationError: a range that is none, or tensors have no range; named.
        ArtifactError: ``source`` is not an artifact.
        OutputError: no place for temporary files, or no room there: 110 MB for this network.
    """
    made_of = hashlib.sha256(source).hexdigest()
    model = load(source)
    del source  # 80 MB, where the caller has let go of it too
    if artifact.precision_of(model) != "fp32":
        raise UsageError("the artifact is int8 already; quantize the fp32 one it was made from")
    contract = artifact.contract_of(model)
    kept = _named(model, keep_float)
    if len(kept) == len(_layers(model)):
        raise UsageError(
            "no layer is left for int8; keep fewer of them in float, or use the fp32 artifact"
        )
    ranges = _needed(model, ranges)
    _, idle = _rounded_reads(model, kept)
    with _in_a_file(model) as given:
        del model  # 80 MB again
        result = _rounded(given, contract, ranges, exclude=[*kept, *idle])
    artifact.embed(
        result,
        contract,
        {
            "precision": "int8",
            "method": METHOD,
            "source_sha256": made_of,
            "ranges_sha256": digest(ranges),
            "tools": tools(),
            "keep_float": " ".join(kept),
            **facts,
        },
    )
    artifact.check_heads(result, contract)
    return artifact.serialize(result)


def only_layer(source: bytes, ranges: Ranges, layer: str) -> bytes:
    """The artifact with a single layer of :func:`layers` in int8, to hear the noise it makes."""
    model = load(source)
    contract = artifact.contract_of(model)
    ranges = _needed(model, ranges)
    with _in_a_file(model) as given:
        result = _rounded(given, contract, ranges, only=[layer])
    artifact.embed(result, contract, {"precision": "int8", "only_layer": layer})
    return artifact.serialize(result)


@contextmanager
def _in_a_file(model: "onnx.ModelProto") -> Iterator[Path]:
    """A file of the model, alone in a folder until the end; ``model`` itself is used up.

    The quantizer would copy an object twice, 80 MB each time.
    """
    import onnx

    with told("temporary files (TMPDIR)"):
        place = tempfile.gettempdir()
    with told(place), tempfile.TemporaryDirectory(prefix="ssd-resnet34-") as folder:
        path = Path(folder) / "fp32.onnx"
        onnx.save_model(model, path, save_as_external_data=True)
        del model  # the caller may have let go of it, too
        yield path


def _rounded(
    given: Path,
    contract: Contract,
    ranges: Ranges,
    *,
    exclude: Sequence[str] = (),
    only: Sequence[str] = (),
) -> "onnx.ModelProto":
    """The model of :func:`_in_a_file` with QDQ pairs in front of its layers: ``only`` these, or all
    but ``exclude``."""
    ranges = dict(ranges) | {INPUT_NAME: _image_range(contract)}
    cache, written = given.with_name("ranges.json"), given.with_name("int8.onnx")
    with _quiet():
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
        save_tensors_data(table, cache)
        quantize_static(
            given,
            written,
            None,
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            calibration_cache_path=cache,
            op_types_to_quantize=[*_LAYERS, *_MOVING],
            nodes_to_exclude=list(exclude),
            nodes_to_quantize=list(only),
            extra_options={
                "OpTypesToExcludeOutputQuantization": list(_LAYERS),
                "ForceQuantizeNoInputCheck": True,  # what moves values rounds them first
            },
        )
    return artifact.load(written)


def load(source: bytes) -> "onnx.ModelProto":
    """The model, with a name for every node: that of its output where the file has none.

    Raises:
        ArtifactError, UnsafeWeights: as :func:`ssd_resnet34.artifact.load`.
    """
    model = artifact.load(source)
    for node in model.graph.node:
        node.name = node.name or node.output[0]
    return model


def _image_range(contract: Contract) -> tuple[float, float]:
    """That of all normalised pixels, and as much again above, which no pixel has.

    So the image is levels 0 to 128, and 128 · 127 + 128 · 127 fits 16 bits: CPUs without 8-bit dot
    products (AVX2) add up pairs of products there, and saturate. With 255 levels they did in bright
    and even areas, in ONNX Runtime and OpenVINO alike: the worst head of the embedded weights had
    19 dB of signal over noise, and has 32 dB this way. Later layers see few large values side by
    side.
    """
    low = min(-mean / std for mean, std in zip(contract.mean, contract.std, strict=True))
    high = max((1 - mean) / std for mean, std in zip(contract.mean, contract.std, strict=True))
    return low, low + 2 * (high - low)


def activations(source: bytes) -> list[str]:
    """Names of the tensors that int8 rounds and that need a range, in graph order: what the
    :func:`layers` read, but for the image, whose range is known."""
    return _activations(load(source))


def _activations(model: "onnx.ModelProto") -> list[str]:
    read, _ = _rounded_reads(model)
    made = (name for node in model.graph.node for name in node.output)
    return [name for name in made if name in read]


def _rounded_reads(
    model: "onnx.ModelProto", kept: Collection[str] = ()
) -> tuple[set[str], list[str]]:
    """What is read by layers but for the ``kept`` ones, and by the nodes that move it to them; and
    the names of such nodes that move nothing to a rounded layer."""
    read: set[str] = set()
    idle = []
    for node in reversed(model.graph.node):
        if node.op_type in _LAYERS and node.name not in kept:
            read.update(node.input)
        elif node.op_type in _MOVING and node.output[0] in read:
            read.add(node.input[0])
        elif node.op_type in _MOVING:
            idle.append(node.name)
    return read, idle


def _needed(model: "onnx.ModelProto", ranges: Ranges) -> Ranges:
    """The checked ranges of :func:`activations`."""
    names = _activations(model)
    found = check_ranges(ranges)
    missing = [name for name in names if name not in found]
    if missing:
        raise CalibrationError(
            f"no range for {len(missing)} of {len(names)} tensors ({', '.join(missing[:3])}, …); "
            "calibrate this very model: ranges do not carry over to another graph"
        )
    return {name: found[name] for name in names}


def layers(source: bytes) -> list[str]:
    """Names of what int8 rounds, in graph order: the convolutions, and the sums of the residual
    blocks."""
    return _layers(load(source))


def _layers(model: "onnx.ModelProto") -> list[str]:
    return [node.name for node in model.graph.node if node.op_type in _LAYERS]


def named_layers(source: bytes, words: Collection[str]) -> list[str]:
    """The :func:`layers` that ``words`` name, sorted: a word is a layer, or the beginning of some
    up to a dot. ``model.layer1.4.0`` is a residual block: two convolutions and their sum.

    Raises:
        UsageError: a word names nothing.
    """
    return _named(load(source), words)


def _named(model: "onnx.ModelProto", words: Collection[str]) -> list[str]:
    names = _layers(model)
    found = set()
    for word in words:
        these = {name for name in names if name == word or name.startswith(f"{word}.")}
        if not these:
            raise UsageError(
                f"no layer {word!r} to keep in float; the layers are the convolutions and the sums "
                f"of the residual blocks: {', '.join(names[:3])}, …, {names[-1]}"
            )
        found |= these
    return sorted(found)


def tools() -> str:
    """Names and versions of :data:`TOOLS`, as in the metadata."""
    return ", ".join(f"{name} {version_of(name)}" for name in TOOLS)


def digest(ranges: Ranges) -> str:
    """SHA-256 over names and float32 values, in name order."""
    text = "".join(
        f"{name} {np.float32(low)!r} {np.float32(high)!r}\n"
        for name, (low, high) in sorted(ranges.items())
    )
    return hashlib.sha256(text.encode()).hexdigest()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the quantizer's advice on the root logger to pre-process models: ours are folded.

    Such a call also gives a handler to a program that has not set its logging up yet, and the
    ``basicConfig`` of that program then does nothing. Threads may overlap here.
    """

    def by_others(record: logging.LogRecord) -> bool:
        return "onnxruntime" not in Path(record.pathname).parts

    root, handler = logging.getLogger(), logging.NullHandler()
    root.addFilter(by_others)
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.removeFilter(by_others)

"""ONNX artifacts: reading them safely, their metadata and contract, the check of their heads.

An artifact is an ONNX model with input ``image`` and the twelve outputs of the contract, and its
:class:`~ssd_resnet34.contract.Contract` as JSON in ``metadata_props`` under
``ssd_resnet34.contract``. Nothing here runs a network or needs an engine.
"""

import io
import json
import os
from collections.abc import Iterator, Mapping
from math import prod
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from .contract import INPUT_NAME, INPUT_SIZE, SCHEMA, Contract
from .errors import ArtifactError, UnsafeWeights
from .files import open_regular

if TYPE_CHECKING:  # onnx costs 60 ms and 25 MB: loaded where it is used
    import onnx

NAMESPACE: Final = "ssd_resnet34."
"""Prefix of this package's keys in ``metadata_props``."""

MAX_BYTES: Final = 512 * 1024**2
"""Largest model file that is read, bytes; the published ones have 20 to 85 million."""

TRAINING: Final = "training"
"""Key, after the prefix, of JSON with ``size`` (the input's side in pixels that the model was
trained and scored at), ``init``, ``epochs``, ``epoch`` (the one kept) and ``AP``. No date: equal
runs of ``train`` give equal files."""

_GRAPH: Final = 7
_INITIALIZERS: Final = 5
"""Numbers of ``ModelProto.graph`` and of ``GraphProto.initializer``."""

_MAX_AXES: Final = 16

_NOT_COUNTED: Final = frozenset({14, 15, *range(21, 32)})
"""TensorProto types that are not one entry a number: complex, and those under a byte."""

_QUANTIZED_OPS: Final = frozenset(
    {"QuantizeLinear", "DequantizeLinear", "QLinearConv", "ConvInteger", "QLinearAdd"}
)


def load(source: bytes | str | PathLike[str], name: str = "the model") -> "onnx.ModelProto":
    """The model in ``source`` (a path, or the file's bytes), checked: whole and self-contained.

    ``name`` stands for bytes in messages; a path speaks for itself.

    Raises:
        ArtifactError: not readable, too large, truncated, or not an ONNX model.
        UnsafeWeights: a tensor is stored outside the file (external data), in the graph, in a
            subgraph or in a function; found before any engine sees the model.
    """
    import onnx
    from google.protobuf.message import DecodeError

    data, name = bytes_of(source, name)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise ArtifactError(
            f"{name}: not an ONNX model, or cut short ({len(data):,} bytes); fetch or export it "
            "again"
        ) from error
    if model.ir_version < 3 or not model.opset_import or not model.graph.node:
        raise ArtifactError(
            f"{name}: not an ONNX model, or cut short (no graph, opset or version in its "
            f"{len(data):,} bytes); fetch or export it again"
        )
    for tensor in _tensors(model):
        _check_tensor(tensor, name)
    if model.functions:
        # Functions that call one another twice, forty deep, are 2^40 nodes in any engine.
        raise ArtifactError(
            f"{name}: has local functions ({model.functions[0].name!r}, …), which are not read; "
            "inline them (onnx.inliner.inline_local_functions) and save it again"
        )
    return model


def bytes_of(source: bytes | str | PathLike[str], name: str = "the model") -> tuple[bytes, str]:
    """The bytes of a model, and its name for messages: of a path the path, else ``name``.

    Raises:
        ArtifactError: a path that is no file or cannot be read; empty, or too large.
    """
    if isinstance(source, bytes):
        data = source
        size = len(data)
    else:
        name = str(Path(source))
        try:
            with open_regular(source) as file:
                size = os.fstat(file.fileno()).st_size
                data = b"" if size > MAX_BYTES else file.read()
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            reason = error.strerror if isinstance(error, OSError) else error
            raise ArtifactError(
                f"{name}: cannot be read ({reason}); give the path of an ONNX file"
            ) from error
    if size > MAX_BYTES:
        raise ArtifactError(
            f"{name}: {size:,} bytes, the limit is {MAX_BYTES:,}; this network has 80 million"
        )
    if not data:
        raise ArtifactError(f"{name}: empty, not an ONNX model; fetch or export it again")
    return data, name


def serialize(model: "onnx.ModelProto") -> bytes:
    """The model's bytes; the same model gives the same bytes.

    Piece by piece, in the order of ``SerializeToString``: asked for the whole, protobuf's encoder
    holds 300 MB for a file of 80, doubling buffers that it frees at the end. Fields of a model or a
    graph that this version of ONNX does not know are left out.
    """
    out = io.BytesIO()
    out.writelines(_pieces(model, (_GRAPH, _INITIALIZERS)))
    return out.getvalue()


def _pieces(message: Any, inner: tuple[int, ...]) -> Iterator[bytes]:
    """A message's fields in the order of their numbers.

    ``inner`` is the way to those that hold most bytes: a field's number, one inside it, … A length
    comes before what it counts, which is therefore made twice: cheaper than held.
    """
    from google.protobuf.message import Message

    for field, value in message.ListFields():
        single = isinstance(value, Message | int | float | str | bytes)
        if field.number == inner[0]:
            for item in (value,) if single else value:
                yield _varint(field.number << 3 | 2)
                if len(inner) > 1:
                    yield _varint(sum(map(len, _pieces(item, inner[1:]))))
                    yield from _pieces(item, inner[1:])
                else:
                    data = item.SerializeToString(deterministic=True)
                    yield _varint(len(data))
                    yield data
            continue
        part = type(message)()
        if not single:
            getattr(part, field.name).extend(value)
        elif isinstance(value, Message):
            getattr(part, field.name).CopyFrom(value)
        else:
            setattr(part, field.name, value)
        yield part.SerializeToString(deterministic=True)


def _varint(number: int) -> bytes:
    """Protobuf's form of a length: seven bits a byte, the last without the eighth."""
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*found, number))


def embed(model: "onnx.ModelProto", contract: Contract, extra: Mapping[str, str]) -> None:
    """Write ``contract``, its schema and ``extra`` into the model's metadata, in place.

    Keys of ``extra`` come without the ``ssd_resnet34.`` prefix. Other metadata stays; the entries
    end up sorted by key, so that the bytes do not depend on the order of calls.
    """
    entries = {prop.key: prop.value for prop in model.metadata_props}
    entries |= {f"{NAMESPACE}{key}": value for key, value in extra.items()}
    entries[f"{NAMESPACE}contract"] = contract.to_json()
    entries[f"{NAMESPACE}schema"] = str(SCHEMA)
    del model.metadata_props[:]
    for key, value in sorted(entries.items()):
        model.metadata_props.add(key=key, value=value)


def metadata(model: "onnx.ModelProto | bytes") -> dict[str, str]:
    """This package's metadata entries, prefix removed: ``contract``, ``schema``, ``producer``, …

    Raises:
        ArtifactError, UnsafeWeights: as :func:`load`, for bytes.
    """
    proto = load(model) if isinstance(model, bytes) else model
    return {
        prop.key.removeprefix(NAMESPACE): prop.value
        for prop in proto.metadata_props
        if prop.key.startswith(NAMESPACE)
    }


def trained_size(model: "onnx.ModelProto | bytes") -> int | None:
    """Side in pixels of the input that the model was trained at; None where the file does not say.

    Raises:
        ArtifactError, UnsafeWeights: as :func:`load`, for bytes.
    """
    try:
        facts = json.loads(metadata(model).get(TRAINING, "null"))
    except (ValueError, RecursionError):  # anybody may have written the file
        return None
    size = facts.get("size") if isinstance(facts, dict) else None
    return size if isinstance(size, int) and not isinstance(size, bool) else None


def contract_of(model: "onnx.ModelProto | bytes") -> Contract:
    """The contract in the model's metadata.

    Raises:
        ArtifactError: there is none; the model was not made by this package.
        ContractError: there is one that this version cannot read.
    """
    text = metadata(model).get("contract")
    if text is None:
        raise ArtifactError(
            f"the model has no {NAMESPACE}contract metadata: it is not an artifact of this "
            "package; load the file as weights: SSDResNet34(FILE).source is one"
        )
    return Contract.from_json(text)


def precision_of(model: "onnx.ModelProto") -> Literal["fp32", "int8"]:
    """``int8`` if the graph has quantized operators, else ``fp32``."""
    quantized = any(node.op_type in _QUANTIZED_OPS for node in model.graph.node)
    return "int8" if quantized else "fp32"


def inputs_of(model: "onnx.ModelProto") -> "list[onnx.ValueInfoProto]":
    """What a caller must give: old files list their weights among the inputs, too."""
    stored = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in stored]


def check_heads(model: "onnx.ModelProto", contract: Contract) -> None:
    """Refuse a model whose input or outputs are not the contract's, in name, order, type or shape.

    The input is ``image`` float32 [N, 3, 1200, 1200], the outputs ``cls_0..cls_5, loc_0..loc_5``
    float32 [N, channels, size, size] with any batch, fixed or not.

    Raises:
        ArtifactError: the first difference, named.
    """
    inputs, outputs = inputs_of(model), list(model.graph.output)
    want_inputs = {INPUT_NAME: (3, INPUT_SIZE, INPUT_SIZE)}
    for values, wanted, what in (
        (inputs, want_inputs, "input"),
        (outputs, contract.head_shapes(), "output"),
    ):
        names = [value.name for value in values]
        if names != list(wanted):
            raise ArtifactError(
                f"the model's {what}s are {', '.join(names) or 'none'}; the contract says "
                f"{', '.join(wanted)}; {_heads_mend(model)}"
            )
        for value in values:
            _check_value(value, wanted[value.name], what, model)


def _heads_mend(model: "onnx.ModelProto") -> str:
    if "export" in metadata(model):
        return "this file is an export for other runtimes: open the artifact it was made from"
    return "for a published graph, load it as weights (it is cut at its heads)"


def _check_value(
    value: "onnx.ValueInfoProto", wanted: tuple[int, ...], what: str, model: "onnx.ModelProto"
) -> None:
    tensor = value.type.tensor_type
    # A dynamic axis has no dim_value, which protobuf reads as 0.
    shape = tuple(axis.dim_value for axis in tensor.shape.dim)
    if tensor.elem_type != 1 or len(shape) != 4 or shape[1:] != wanted:  # 1 = FLOAT
        axes = ", ".join(str(axis.dim_value or axis.dim_param or "?") for axis in tensor.shape.dim)
        raise ArtifactError(
            f"{what} {value.name} has element type {tensor.elem_type} and shape [{axes}]; the "
            f"contract says float32 [N, {', '.join(map(str, wanted))}]: wrong number of classes, "
            f"or another network; {_heads_mend(model)}"
        )


def _tensors(message: Any) -> Iterator[Any]:
    """Every TensorProto inside a message, however deep: attributes, subgraphs, functions.

    By reflection, so that no place where a tensor may hide is forgotten.
    """
    from google.protobuf.message import Message

    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for item in (value,) if isinstance(value, Message) else value:
            if field.message_type.name == "TensorProto":
                yield item
            else:
                yield from _tensors(item)


def _check_tensor(tensor: "onnx.TensorProto", name: str) -> None:
    import onnx

    if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
        fields = {entry.key: entry.value for entry in tensor.external_data}
        raise UnsafeWeights(
            f"{name}: tensor {tensor.name!r} is stored outside the file, at "
            f"{fields.get('location', '?')!r}; external data is refused: save the model as one "
            "file (onnx.save with save_as_external_data=False)"
        )
    if len(tensor.dims) > _MAX_AXES or any(size < 0 for size in tensor.dims):
        shown = f"{list(tensor.dims[:_MAX_AXES])}{' …' if len(tensor.dims) > _MAX_AXES else ''}"
        raise ArtifactError(
            f"{name}: tensor {tensor.name!r} has the shape {shown}; fetch or export the file again"
        )
    try:
        width = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        entries = onnx.helper.tensor_dtype_to_field(tensor.data_type)
    except (KeyError, ValueError, TypeError) as error:
        raise ArtifactError(
            f"{name}: tensor {tensor.name!r} has the unknown type {tensor.data_type}; fetch or "
            "export the file again"
        ) from error
    # Types under a byte are packed, complex ones are pairs; no float or int8 network has them.
    if tensor.data_type in _NOT_COUNTED:
        return
    held, needed, what = len(getattr(tensor, entries)), prod(tensor.dims), "values"
    if tensor.HasField("raw_data"):
        held, needed, what = len(tensor.raw_data), width * needed, "bytes"
    if held != needed:
        raise ArtifactError(
            f"{name}: tensor {tensor.name!r} holds {held:,} {what}, its shape "
            f"{list(tensor.dims)} needs {needed:,}; fetch or export the file again"
        )

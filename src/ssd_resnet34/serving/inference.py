"""Requests and answers of the Open Inference Protocol v2 over HTTP, as bytes.

The body is JSON, or JSON and binary tensors behind it (the binary tensor extension), or the raw
bytes of the one input. Source: kserve/open-inference-protocol ``inference_rest.md`` and the binary
data extension of Triton.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ..errors import EmptyInput, ImageError, UnsupportedImage
from ..vision.header import FORMATS, read_header
from .refusals import Refused, bad_request
from .tensors import (
    OutputTensor,
    read_elements,
    read_floats,
    read_text_elements,
    read_text_floats,
)

HEADER_LENGTH: Final = "inference-header-content-length"
"""HTTP header: bytes of the JSON in front of binary tensors; 0 for a raw body."""

MAX_TENSORS: Final = 64
"""Inputs of a request, and entries of its other lists but the values themselves."""

_MAX_DIMENSIONS: Final = 8
MAX_PARTS: Final = 1 << 17
"""Lists, objects, fields and quotes of the JSON: a list of Python's takes thirty times the two
bytes that stand for it. A batch of eight tensors in nested lists has 28,833 lists."""

_MAX_SIDE: Final = 1 << 31
_MAX_TIMEOUT: Final = 1 << 63
"""Of gRPC's integers; above 10³⁰⁸ a division would overflow."""


@dataclass(frozen=True, slots=True)
class InputTensor:
    """An input: ``elements`` of BYTES, or one entry with the little-endian bytes of all values."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    elements: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class WantedOutput:
    """An output that is asked for, and whether in binary."""

    name: str
    binary: bool


@dataclass(frozen=True, slots=True)
class InferRequest:
    """``outputs`` None means all, ``binary`` then says how. ``timeout`` is in seconds."""

    id: str | None
    inputs: tuple[InputTensor, ...]
    outputs: tuple[WantedOutput, ...] | None
    binary: bool
    parameters: Mapping[str, str | int | float | bool]
    timeout: float | None


def header_length(values: Sequence[str], size: int) -> int | None:
    """The value of the header ``Inference-Header-Content-Length``, None where it is absent.

    ``values`` are those of all headers of this name; ``size`` is the length of the body.

    Raises:
        Refused: given twice, not a number, or longer than the body.
    """
    if not values:
        return None
    if len(values) > 1:
        raise bad_request("the header Inference-Header-Content-Length is there twice")
    text = values[0].strip()
    if not (text.isascii() and text.isdigit()) or len(text) > 12 or int(text) > size:
        raise bad_request(
            f"the header Inference-Header-Content-Length says {text[:20]!r}; give 0..{size}, the "
            "bytes of the JSON"
        )
    return int(text)


def refuse_image(body: bytes) -> None:
    """What people send first.

    Raises:
        Refused: the body begins like an image.
    """
    try:
        read_header(body[:64], "", FORMATS, 1)
    except (UnsupportedImage, EmptyInput):
        return
    except ImageError:  # cut off here, or of more than one pixel
        pass
    raise bad_request(
        "the body looks like an image, and JSON is expected; for model ssd-resnet34 send with it "
        "the header Inference-Header-Content-Length: 0, or POST it to /detect"
    )


def raw(data: bytes, name: str, datatype: str, shape: tuple[int, ...]) -> InferRequest:
    """The request whose body is the one input's bytes, a batch of one, answered in binary.

    Raises:
        Refused: an empty body, or one that does not fill ``shape``.
    """
    if not data:
        raise bad_request("the body is empty; send the bytes of the input")
    if datatype != "BYTES":
        read_floats(name, data, math.prod(shape))
    return InferRequest(None, (InputTensor(name, datatype, shape, (data,)),), None, True, {}, None)


def parse(body: bytes, length: int | None, max_id: int) -> InferRequest:
    """A JSON body, with binary tensors behind the first ``length`` bytes where that is given.

    Raises:
        Refused: anything that is not this protocol.
    """
    text = body if length is None else memoryview(body)[:length]
    blobs = memoryview(body)[len(text) :]
    top = _object(_load(bytes(text)), "the body")
    parameters = _parameters(top, "the request")
    inputs = _list(top, "inputs", "the request")
    if not inputs:
        raise bad_request("the request has no inputs")
    read: list[InputTensor] = []
    position = 0
    for entry in inputs:
        tensor, used = _input(_object(entry, "an input"), blobs[position:])
        if tensor.name in {one.name for one in read}:
            raise bad_request(f"input {tensor.name!r} is there twice")
        read.append(tensor)
        position += used
    if position != len(blobs):
        raise bad_request(f"{len(blobs) - position} bytes behind the last tensor belong to none")
    binary = _flag(parameters, "binary_data_output", "the request", False)
    return InferRequest(
        _id(top, max_id),
        tuple(read),
        _outputs(top, binary),
        binary,
        parameters,
        timeout_of(parameters),
    )


def answer(
    model: str, version: str, id: str | None, outputs: Sequence[OutputTensor]
) -> tuple[bytes, int | None]:
    """The body of a 200, and the length of its JSON where binary tensors follow it."""
    head: dict[str, Any] = {"model_name": model, "model_version": version}
    if id is not None:
        head["id"] = id
    entries = []
    for one in outputs:
        entry: dict[str, Any] = {
            "name": one.name,
            "datatype": one.datatype,
            "shape": list(one.shape),
        }
        if not one.text:
            entry["parameters"] = {"binary_data_size": len(one.data)}
        text = json.dumps(entry, separators=(",", ":")).encode()
        entries.append(text[:-1] + b',"data":[' + one.data + b"]}" if one.text else text)
    start = json.dumps(head, separators=(",", ":")).encode()
    header = start[:-1] + b',"outputs":[' + b",".join(entries) + b"]}"
    blobs = [one.data for one in outputs if not one.text]
    return b"".join((header, *blobs)), len(header) if blobs else None


def timeout_of(parameters: Mapping[str, Any]) -> float | None:
    """Seconds of ``parameters.timeout``, which is in microseconds; None without one.

    Raises:
        Refused: not a whole number of 63 bits. (0 is what clients send for "none".)
    """
    value = parameters.get("timeout", 0)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _MAX_TIMEOUT:
        raise bad_request(f"parameters.timeout is {value!r:.40}; give whole microseconds from 0")
    return value / 1e6 if value else None


def _input(entry: dict[str, Any], blobs: memoryview) -> tuple[InputTensor, int]:
    """The input, and how many bytes of ``blobs`` are its."""
    name = _string(entry, "name", "an input")
    where = f"input {name!r:.80}"
    datatype = _string(entry, "datatype", where)
    shape = _shape(entry, where)
    parameters = _parameters(entry, where)
    size = parameters.get("binary_data_size")
    if (size is None) == ("data" not in entry):
        raise bad_request(f"{where}: give either data or parameters.binary_data_size")
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 0):
        raise bad_request(f"{where}: binary_data_size is {size!r:.40}; give a number of bytes")
    count = math.prod(shape)
    elements: tuple[bytes, ...]
    if size is not None:
        if size > len(blobs):
            raise bad_request(
                f"{where}: binary_data_size is {size}, but {len(blobs)} bytes are left"
            )
        blob = blobs[:size]
        elements = read_elements(name, blob, count) if datatype == "BYTES" else (bytes(blob),)
        return InputTensor(name, datatype, shape, elements), size
    if datatype == "BYTES":
        encoding = parameters.get("content_type", "")
        if encoding not in ("", "base64", "str"):
            raise bad_request(f"{where}: content_type is {encoding!r:.40}; give 'base64' or 'str'")
        elements = read_text_elements(name, entry["data"], count, str(encoding))
    elif datatype == "FP32":
        elements = (read_text_floats(name, entry["data"], count),)
    else:
        raise bad_request(f"{where}: datatype {datatype!r:.40} is no input of any model here")
    return InputTensor(name, datatype, shape, elements), 0


def _outputs(top: dict[str, Any], binary: bool) -> tuple[WantedOutput, ...] | None:
    if not top.get("outputs"):
        if top.get("outputs", []) != []:
            raise bad_request("outputs is not a list")
        return None
    wanted: dict[str, WantedOutput] = {}
    for entry in (_object(one, "an output") for one in _list(top, "outputs", "the request")):
        name = _string(entry, "name", "an output")
        where = f"output {name!r:.80}"
        flag = _flag(_parameters(entry, where), "binary_data", where, binary)
        wanted.setdefault(name, WantedOutput(name, flag))
    return tuple(wanted.values())


def _shape(entry: dict[str, Any], where: str) -> tuple[int, ...]:
    shape = _list(entry, "shape", where)
    if len(shape) > _MAX_DIMENSIONS:
        raise bad_request(f"{where}: {len(shape)} dimensions")
    for side in shape:
        if isinstance(side, bool) or not isinstance(side, int) or not 1 <= side < _MAX_SIDE:
            raise bad_request(f"{where}: {side!r:.40} in the shape; give whole numbers from 1")
    return tuple(shape)


def _id(top: dict[str, Any], max_id: int) -> str | None:
    if top.get("id") is None:
        return None
    found = _string(top, "id", "the request")
    if len(found) > max_id:
        raise bad_request(f"the id has {len(found)} characters; at most {max_id}")
    return found


def _parameters(entry: dict[str, Any], where: str) -> dict[str, str | int | float | bool]:
    found = entry.get("parameters")
    if found is None:
        return {}
    for name, value in _object(found, f"parameters of {where}").items():
        if not isinstance(value, str | int | float | bool):
            raise bad_request(f"parameter {name!r:.80} of {where} is no string, number or boolean")
    return dict(found)


def _flag(parameters: Mapping[str, Any], name: str, where: str, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise bad_request(f"parameter {name} of {where} is {value!r:.40}; give true or false")
    return value


def _string(entry: dict[str, Any], name: str, where: str) -> str:
    value = entry.get(name)
    if not isinstance(value, str):
        raise _other(value, name, where, "a string")
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which no answer could carry
        raise bad_request(f"{name} of {where} is not Unicode") from None
    return value


def _list(entry: dict[str, Any], name: str, where: str) -> list[Any]:
    value = entry.get(name)
    if not isinstance(value, list):
        raise _other(value, name, where, "a list")
    if len(value) > MAX_TENSORS:
        raise bad_request(f"{name} of {where} has {len(value)} entries")
    return value


def _other(value: Any, name: str, where: str, wanted: str) -> Refused:
    if value is None:
        return bad_request(f"{where} has no {name!r}; give it, {wanted}")
    return bad_request(f"{name!r} of {where} is {type(value).__name__}; give {wanted}")


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise bad_request(f"{where} is {type(value).__name__}, not a JSON object")
    return value


def _load(text: bytes) -> Any:
    """JSON, strictly: UTF-8, each key once, no NaN, and no more parts than a request can have."""
    if sum(map(text.count, (b"[", b"{", b":", b'"'))) > MAX_PARTS:
        raise bad_request(f"the JSON has more than {MAX_PARTS} lists, fields and strings")
    try:
        return json.loads(
            text.decode("utf-8-sig"), object_pairs_hook=_unique, parse_constant=_constant
        )
    except UnicodeDecodeError as error:
        raise bad_request(
            f"the body is not JSON (byte {error.start} is not UTF-8); with the raw bytes of an "
            "input, send the header Inference-Header-Content-Length: 0"
        ) from None
    except (ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else str(error)
        raise bad_request(f"the JSON cannot be read: {reason:.200}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice in one object")
    return found


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON; send such values in binary")

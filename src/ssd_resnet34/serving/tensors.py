"""Values of the Open Inference Protocol: binary and JSON, to bytes and back.

Only the datatypes of this server's models are read and written: BYTES and FP32 in, FP32 and INT64
out. Binary values are little endian; an element of BYTES is a uint32 length and its bytes.
"""

import base64
import binascii
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from .refusals import Refused, bad_request

Datatype = Literal["BYTES", "FP32", "INT64"]

DTYPES: Final[dict[str, str]] = {"FP32": "<f4", "INT64": "<i8"}
"""Fixed-width datatype -> numpy's."""


MAX_ELEMENTS: Final = 4096
"""Of a BYTES tensor: more images than any batch, and each is an object of Python's."""


@dataclass(frozen=True, slots=True)
class OutputTensor:
    """An output as it is sent: ``data`` is little-endian binary, or JSON text where ``text``.

    JSON text is the elements alone, row-major, without brackets, so that batches join with commas.
    """

    name: str
    datatype: Datatype
    shape: tuple[int, ...]
    data: bytes
    text: bool


def encode(name: str, datatype: Datatype, array: NDArray[Any], text: bool) -> OutputTensor:
    """``array`` as an output, JSON text or binary.

    Raises:
        Refused: NaN or infinity, which JSON has not.
    """
    values = np.ascontiguousarray(array, DTYPES[datatype])
    if not text:
        return OutputTensor(name, datatype, values.shape, values.tobytes(), False)
    try:
        flat = json.dumps(values.reshape(-1).tolist(), allow_nan=False, separators=(",", ":"))
    except ValueError:
        raise bad_request(
            f"{name}: NaN or infinity, which JSON cannot say; ask for binary output"
        ) from None
    return OutputTensor(name, datatype, values.shape, flat[1:-1].encode(), True)


def join(parts: Sequence[OutputTensor]) -> OutputTensor:
    """Outputs of several images as one: concatenated along the first axis."""
    first = parts[0]
    if len(parts) == 1:
        return first
    separator = b"," if first.text else b""
    shape = (sum(part.shape[0] for part in parts), *first.shape[1:])
    data = separator.join(part.data for part in parts if part.data)
    return OutputTensor(first.name, first.datatype, shape, data, first.text)


def read_elements(name: str, blob: bytes | memoryview, count: int) -> tuple[bytes, ...]:
    """The ``count`` elements of a binary BYTES tensor.

    Raises:
        Refused: lengths that do not fill the blob exactly, or another number of elements.
    """
    if count > MAX_ELEMENTS:
        raise _bad(name, f"the shape says {count} elements; at most {MAX_ELEMENTS} are read")
    view = memoryview(blob)
    found: list[bytes] = []
    position = 0
    while position < len(view):
        start = position + 4
        if start > len(view):
            raise _bad(name, "the blob ends inside the length of an element")
        length = int.from_bytes(view[position:start], "little")
        position = start + length
        if position > len(view):
            raise _bad(name, f"element {len(found)} says {length} bytes and the blob has fewer")
        if len(found) == count:
            raise _bad(name, f"more elements than the shape says ({count})")
        found.append(bytes(view[start:position]))
    if len(found) != count:
        raise _bad(name, f"{len(found)} elements where the shape says {count}")
    return tuple(found)


def read_text_elements(name: str, data: Any, count: int, encoding: str) -> tuple[bytes, ...]:
    """The ``count`` elements of a BYTES tensor in JSON: strings, base64 where ``encoding`` says so.

    Raises:
        Refused: not strings, another number of them, or text that is not base64.
    """
    found: list[bytes] = []
    for value in _flat(name, data):
        if not isinstance(value, str):
            raise _bad(name, f"{type(value).__name__} where BYTES needs strings")
        if encoding == "base64":
            try:
                found.append(base64.b64decode(value, validate=True))
            except (binascii.Error, ValueError):
                raise _bad(name, f"element {len(found)} is not base64") from None
        else:
            found.append(value.encode("utf-8", "surrogatepass"))
    if len(found) != count:
        raise _bad(name, f"{len(found)} elements where the shape says {count}")
    return tuple(found)


def read_floats(name: str, blob: bytes | memoryview, count: int) -> bytes:
    """The bytes of a binary FP32 tensor of ``count`` elements.

    Raises:
        Refused: another number of bytes.
    """
    if len(blob) != 4 * count:
        raise _bad(name, f"{len(blob)} bytes where the shape needs {4 * count}")
    return bytes(blob)


def read_text_floats(name: str, data: Any, count: int) -> bytes:
    """An FP32 tensor in JSON, nested or flat, as little-endian bytes.

    Raises:
        Refused: not numbers, out of range for FP32, or another number of them.
    """
    kinds: set[type] = set()
    runs: list[list[Any]] = []
    for run in _runs(name, data):
        kinds.update(map(type, run))
        runs.append(run)
    if not kinds <= {int, float}:
        odd = next(kind.__name__ for kind in kinds if kind not in (int, float))
        raise _bad(name, f"{odd} where FP32 needs numbers")
    found = sum(map(len, runs))
    if found != count:
        raise _bad(name, f"{found} elements where the shape says {count}")
    values = np.empty(count, "<f4")
    position = 0
    with np.errstate(over="ignore"):  # what overflows is refused below
        for run in runs:
            try:
                values[position : position + len(run)] = run
            except OverflowError:
                raise _bad(name, "a number out of the range of FP32") from None
            position += len(run)
    if not np.isfinite(values).all():
        raise _bad(name, "a number out of the range of FP32")
    return values.tobytes()


def _flat(name: str, data: Any) -> Iterable[Any]:
    for run in _runs(name, data):
        yield from run


def _runs(name: str, data: Any) -> Iterator[list[Any]]:
    """The innermost lists of nested lists, in order, without recursion."""
    if not isinstance(data, list):
        raise _bad(name, f"data is {type(data).__name__}, not a list")
    pending = [data]
    while pending:
        top = pending.pop()
        nested = sum(isinstance(one, list) for one in top)
        if not nested:
            yield top
        elif nested == len(top):
            pending.extend(reversed(top))
        else:
            raise _bad(name, "data mixes lists and values")


def _bad(name: str, what: str) -> Refused:
    return bad_request(f"input {name!r:.80}: {what}; send what its metadata says")

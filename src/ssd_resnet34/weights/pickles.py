"""PyTorch files read without torch and without running anything from them.

A pickle is a program. This reader runs it in a restricted unpickler: the few names that tensors
need become rebuilders of our own, classes of networks become inert shells that only hold their
attributes, and any other name is refused. Tensors come out as numpy arrays.

Two formats: the zip of torch 1.6 and later, and the legacy stream before it.
"""

import io
import pickle
import struct
import zipfile
from collections import deque
from collections.abc import Iterator
from math import prod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..errors import WeightsError
from .standins import Names, Order, Shell, Tensor, run

LEGACY_MAGIC: Final = 0x1950A86A20F9469CFC6C
ZIP_MAGIC: Final = b"PK\x03\x04"
PICKLE_MAGIC: Final = b"\x80"

_MAX_FILES: Final = 10_000
"""Files in a zip; torch writes one a storage, 218 here."""

_MAX_ENTRIES: Final = 100_000
"""Entries looked at in search of state dicts; checkpoints with their training state have 2,000."""

_MAX_KEY: Final = 512
"""Longest name of a parameter with all its prefixes; longer ones are not followed."""

_DAMAGE: Final = (
    pickle.UnpicklingError,
    ValueError,  # genops: unknown opcode, cut short
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    AttributeError,
    struct.error,
    zipfile.BadZipFile,
    OverflowError,
    RecursionError,
    NotImplementedError,  # zipfile: an unknown compression
    RuntimeError,  # zipfile: encrypted
)
"""What pickle and zipfile raise on bytes that are not what they seem."""


def read_pickle(data: bytes, file: str) -> Any:
    """The object in a PyTorch file, tensors as numpy arrays, networks as :class:`Shell` trees.

    Args:
        data: the file's bytes; ``file`` is its name for messages.

    Raises:
        UnsafeWeights: it names something that is not on the list; names it.
        WeightsError: damaged, cut short, or of an unknown format.
    """
    try:
        if data.startswith(ZIP_MAGIC):
            found, order = _read_zip(data, file)
        else:
            found, order = _read_legacy(data, file)
        # Twice, as bfloat16 becomes float32, and some more for tensors that share a storage.
        return _materialise(found, order, 4 * len(data))
    except WeightsError:
        raise
    except _DAMAGE as error:
        raise WeightsError(
            f"{file}: not a whole PyTorch file, cut short or damaged ({error}); fetch it again"
        ) from error


def _read_zip(data: bytes, file: str) -> tuple[Any, Order]:
    if data.count(b"PK\x01\x02") > _MAX_FILES:  # zipfile would take 600 bytes for each 46
        raise pickle.UnpicklingError(f"a zip of more than {_MAX_FILES:,} files")
    archive = zipfile.ZipFile(io.BytesIO(data))
    entries = {info.filename: info for info in archive.infolist()}
    # torch stores without compression; anything else could unpack to any size.
    for info in entries.values():
        if info.compress_type != zipfile.ZIP_STORED:
            raise pickle.UnpicklingError(f"{info.filename} is compressed, torch's are not")
    if sum(max(info.file_size, info.compress_size) for info in entries.values()) > len(data):
        raise pickle.UnpicklingError("files that overlap in the zip")
    programs = [name for name in entries if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(programs) != 1:
        raise pickle.UnpicklingError("a zip without one data.pkl, not made by torch.save")
    folder = programs[0].removesuffix("data.pkl")
    stored = archive.read(f"{folder}byteorder") if f"{folder}byteorder" in entries else b"little"
    names = Names(file)
    found = run(io.BytesIO(archive.read(programs[0])), names)
    for key, storage in names.storages.items():
        storage.data = archive.read(f"{folder}data/{key}")
    return found, ">" if stored == b"big" else "<"


def _read_legacy(data: bytes, file: str) -> tuple[Any, Order]:
    stream, names = io.BytesIO(data), Names(file)
    # Any pickle comes here, torch's or not: what it names is refused before what it is not.
    if run(stream, names) != LEGACY_MAGIC:
        raise pickle.UnpicklingError("a pickle, but not one of torch.save")
    if run(stream, names) != 1001:
        raise pickle.UnpicklingError("an unknown version of torch's format")
    system = run(stream, names)
    little = not isinstance(system, dict) or system.get("little_endian", True)
    order: Order = "<" if little else ">"
    found = run(stream, names)
    for key in run(stream, names):
        (count,) = struct.unpack(f"{order}q", stream.read(8))
        storage = names.storages[key]
        size = count * storage.width
        if count < 0 or size > len(data) - stream.tell():
            raise EOFError(f"storage {key} ends after the file")
        storage.count, storage.data = count, stream.read(size)
    return found, order


def _array(tensor: Tensor, order: Order) -> NDArray[Any]:
    """The tensor's numbers; bfloat16 as float32."""
    storage = tensor.storage
    root = storage.root or storage
    if root.data is None:
        raise EOFError(f"storage {root.key} is missing")
    brief = storage.dtype == "bf16"
    dtype = np.dtype("u2" if brief else storage.dtype).newbyteorder(order)
    flat = np.frombuffer(root.data, dtype)
    first = storage.offset + tensor.offset
    if min((first, *tensor.shape, *tensor.strides)) < 0:  # would reach in front of the storage
        raise EOFError(f"a tensor of shape {list(tensor.shape)} begins before its storage")
    last = first + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.strides, strict=True))
    if 0 in tensor.shape:
        return np.zeros(tensor.shape, np.float32 if brief else dtype)
    # A stride of 0 could make a huge tensor of one number.
    if last >= len(flat) or int(np.prod(tensor.shape, dtype=object)) > len(flat):
        raise EOFError(f"a tensor of shape {list(tensor.shape)} ends after its storage")
    strides = tuple(step * dtype.itemsize for step in tensor.strides)
    window = np.lib.stride_tricks.as_strided(flat[first:], tensor.shape, strides, writeable=False)
    if brief:
        return (window.astype("u4") << 16).view(np.float32)
    return np.array(window, dtype.newbyteorder("="), order="C")


def _materialise(found: Any, order: Order, budget: int) -> Any:
    """Replace every :class:`Tensor` in dicts, lists and shells by its array, in place.

    ``budget`` bounds the arrays' bytes: any number of tensors may share a storage.
    """
    seen: set[int] = set()
    arrays: dict[int, NDArray[Any]] = {}

    def value(item: Any) -> Any:
        nonlocal budget
        if not isinstance(item, Tensor):
            pending.append(item)
            return item
        if id(item) not in arrays:
            budget -= prod(item.shape) * (item.storage.root or item.storage).width
            if budget < 0:
                raise pickle.UnpicklingError("tensors of more bytes than the file can hold")
            arrays[id(item)] = _array(item, order)
        return arrays[id(item)]

    pending: list[Any] = []
    found = value(found)
    while pending:  # not recursive: a pickle may nest a million deep
        item = pending.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, Shell):
            item = item.__dict__
        if isinstance(item, dict):
            for key, entry in list(dict.items(item)):  # an OrderedDict may carry its own "items"
                item[key] = value(entry)
        elif isinstance(item, list):
            item[:] = [value(entry) for entry in item]
        elif isinstance(item, (tuple, set)):
            pending.extend(entry for entry in item if not isinstance(entry, Tensor))
    return found


def state_dicts(
    found: Any, file: str = "the weights", limit: int = 6
) -> Iterator[tuple[str, dict[str, NDArray[Any]]]]:
    """Every state dict in an unpickled object with the way to it: dicts of arrays, modules.

    Arrays have the shapes and dtype of the file.

    Raises:
        WeightsError: more entries than any checkpoint has.
    """
    pending: deque[tuple[str, Any, int]] = deque([("", found, 0)])
    seen: set[int] = set()
    entries = 0
    while pending:
        way, item, depth = pending.popleft()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, Shell) and "_modules" in item.__dict__:
            flat = _flatten(item)
            entries += len(flat) + 1
            yield way, flat
        elif isinstance(item, dict):
            entries += len(item) + 1
            arrays = {k: v for k, v in _named(item, "") if isinstance(v, np.ndarray)}
            if arrays:
                yield way, arrays
            if depth < limit:
                pending += [
                    (key, entry, depth + 1)
                    for key, entry in _named(item, f"{way}." if way else "")
                    if isinstance(entry, (dict, Shell))
                ]
        if entries > _MAX_ENTRIES:
            raise WeightsError(
                f"{file}: more than {_MAX_ENTRIES:,} entries; save the state dict alone"
            )


def _named(entries: object, prefix: str) -> Iterator[tuple[str, Any]]:
    """The entries of a dict whose keys are text, with their prefix."""
    for key, entry in dict.items(entries) if isinstance(entries, dict) else ():
        if isinstance(key, str) and len(prefix) + len(key) <= _MAX_KEY:
            yield f"{prefix}{key}", entry


def _flatten(module: Shell, limit: int = 32) -> dict[str, NDArray[Any]]:
    """The state dict of a pickled module, in torch's order: parameters, buffers, children."""
    pending: list[tuple[str, Shell, int]] = [("", module, 0)]
    seen: set[int] = set()
    found: dict[str, NDArray[Any]] = {}
    while pending:
        prefix, shell, depth = pending.pop()
        if id(shell) in seen or depth > limit:
            continue
        seen.add(id(shell))
        for group in ("_parameters", "_buffers"):
            members = _named(shell.__dict__.get(group), prefix)
            found |= {key: entry for key, entry in members if isinstance(entry, np.ndarray)}
        children = [
            (f"{key}.", child, depth + 1)
            for key, child in _named(shell.__dict__.get("_modules"), prefix)
            if isinstance(child, Shell)
        ]
        pending += reversed(children)
    return found

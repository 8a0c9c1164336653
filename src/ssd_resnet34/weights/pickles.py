"""PyTorch files read without torch and without running anything from them.

A pickle is a program. This reader runs it in a restricted unpickler: the few names that tensors
need become rebuilders of our own, classes of networks become inert shells that only hold their
attributes, and any other name is refused. Tensors come out as numpy arrays.

Two formats: the zip of torch 1.6 and later, and the legacy stream before it.
"""

import io
import pickle
import pickletools
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import UnsafeWeights, WeightsError

Order = Literal["<", ">"]

LEGACY_MAGIC: Final = 0x1950A86A20F9469CFC6C
ZIP_MAGIC: Final = b"PK\x03\x04"
PICKLE_MAGIC: Final = b"\x80"

MAX_PROGRAM: Final = 16 * 1024**2
"""Largest pickle program in front of the tensors, bytes; checkpoints have 0.1 to 0.5 million."""

_DTYPES: Final = {
    "DoubleStorage": "f8",
    "FloatStorage": "f4",
    "HalfStorage": "f2",
    "BFloat16Storage": "bf16",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "b1",
}

# Modules whose classes a pickled network names. They become shells: none of their code exists
# here, let alone runs.
_SHELL_MODULES: Final = (
    "torch.nn.modules.",
    "torch.nn.parallel.",
    "models.",
    "torchvision.models.",
)
_SHELLS: Final = frozenset(
    {
        ("torch.nn.backends.thnn", "_get_thnn_function_backend"),
        ("torch", "device"),
        ("torch", "Size"),
        ("argparse", "Namespace"),
    }
)


class Shell:
    """Stands for an object of a class that is not loaded; keeps its attributes."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        del args, kwargs

    def __setstate__(self, state: object) -> None:
        if isinstance(state, dict):
            self.__dict__.update({k: v for k, v in state.items() if isinstance(k, str)})


@dataclass(eq=False, slots=True)
class _Storage:
    """A block of numbers: its bytes come after the program (legacy) or lie in the zip."""

    dtype: str
    key: str
    count: int
    data: bytes | None = None
    root: "_Storage | None" = None
    offset: int = 0

    @property
    def width(self) -> int:
        return 2 if self.dtype == "bf16" else int(self.dtype[1:])


@dataclass(frozen=True, eq=False, slots=True)
class Tensor:
    """A tensor not yet read: a window on a storage."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _StorageType:
    dtype: str


class _Maker:
    """A callable for the unpickler whose attributes a pickle cannot set."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., object]) -> None:
        self._make = make

    def __call__(self, *args: object) -> object:
        return self._make(*args)

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("a pickle may not change the reader")


def _integers(values: object, what: str) -> tuple[int, ...]:
    if not isinstance(values, (tuple, list)) or not all(
        type(v) is int and 0 <= v < 2**40 for v in values
    ):
        raise pickle.UnpicklingError(f"a tensor with the {what} {values!r}")
    return tuple(values)


def _rebuild_tensor(storage: object, offset: object, shape: object, strides: object) -> Tensor:
    sizes, steps = _integers(shape, "shape"), _integers(strides, "strides")
    (start,) = _integers((offset,), "offset")
    if not isinstance(storage, _Storage) or len(sizes) != len(steps):
        raise pickle.UnpicklingError("a tensor without storage")
    return Tensor(storage, start, sizes, steps)


def _rebuild_tensor_v2(
    storage: object, offset: object, shape: object, strides: object, *_: object
) -> Tensor:
    return _rebuild_tensor(storage, offset, shape, strides)


def _rebuild_parameter(data: object, *_: object) -> object:
    return data


_MAKERS: Final[Mapping[tuple[str, str], Callable[..., object]]] = {
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _rebuild_parameter,
    ("collections", "OrderedDict"): OrderedDict,
    ("builtins", "set"): set,
    ("__builtin__", "set"): set,
}


@dataclass
class _Names:
    """What the names in a pickle stand for; fresh shells for every file."""

    file: str
    storages: dict[str, _Storage] = field(default_factory=dict)
    shells: dict[str, type[Shell]] = field(default_factory=dict)

    def find(self, module: str, name: str) -> object:
        if (module, name) in _MAKERS:
            return _Maker(_MAKERS[module, name])
        if module in ("torch", "torch.cuda") and name in _DTYPES:
            return _StorageType(_DTYPES[name])
        if (module, name) in _SHELLS or module.startswith(_SHELL_MODULES):
            # A dotted name would reach an attribute; here it is only a label.
            return self.shells.setdefault(f"{module}.{name}", type(name, (Shell,), {}))
        raise UnsafeWeights(
            f"{self.file}: the pickle names {module}.{name}, which weights have no use for: it may "
            "run code and was not loaded; use a safetensors file, or one from a source you trust"
        )

    def persistent(self, entry: object) -> object:
        """A storage (or, in legacy files, a class with its source text, which is ignored)."""
        if isinstance(entry, tuple) and len(entry) >= 2 and entry[0] == "module":
            return entry[1]
        if not isinstance(entry, tuple) or len(entry) < 5 or entry[0] != "storage":
            raise pickle.UnpicklingError("an unknown kind of storage")
        kind, key, count = entry[1], entry[2], entry[4]
        if not isinstance(kind, _StorageType) or not isinstance(key, str):
            raise pickle.UnpicklingError("a storage of an unknown type")
        (size,) = _integers((count,), "storage size")
        root = self.storages.setdefault(key, _Storage(kind.dtype, key, size))
        if root.dtype != kind.dtype:
            raise pickle.UnpicklingError(f"storage {key!r} with two types")
        view = entry[5] if len(entry) > 5 else None
        if view is None:
            return root
        if not isinstance(view, tuple) or len(view) != 3:
            raise pickle.UnpicklingError("an unknown kind of storage view")
        offset, window = _integers(view[1:], "storage view")
        return _Storage(kind.dtype, key, window, root=root, offset=offset)


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO, names: _Names) -> None:
        super().__init__(stream, encoding="utf-8")
        self.names = names

    def find_class(self, module: str, name: str) -> Any:
        return self.names.find(module, name)

    def persistent_load(self, pid: Any) -> Any:
        return self.names.persistent(pid)


def _run(stream: io.BytesIO, names: _Names) -> Any:
    """Run one pickle program from the stream, after a look at its opcodes."""
    start = stream.tell()
    for count, (opcode, argument, position) in enumerate(pickletools.genops(stream)):
        # A memo index far beyond the number of operations makes the unpickler reserve gigabytes.
        if "PUT" in opcode.name and isinstance(argument, int) and argument > count + 1:
            raise pickle.UnpicklingError(f"memo index {argument}")
        if position is not None and position - start > MAX_PROGRAM:
            raise pickle.UnpicklingError(f"a program of more than {MAX_PROGRAM:,} bytes")
    stream.seek(start)
    return _Unpickler(stream, names).load()


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
            return _materialise(*_read_zip(data, file))
        return _materialise(*_read_legacy(data, file))
    except WeightsError:
        raise
    except _DAMAGE as error:
        raise WeightsError(
            f"{file}: not a whole PyTorch file, cut short or damaged ({error}); fetch it again"
        ) from error


def _read_zip(data: bytes, file: str) -> tuple[Any, Order]:
    archive = zipfile.ZipFile(io.BytesIO(data))
    entries = {info.filename: info for info in archive.infolist()}
    # torch stores without compression; anything else could unpack to any size.
    for info in entries.values():
        if info.compress_type != zipfile.ZIP_STORED:
            raise pickle.UnpicklingError(f"{info.filename} is compressed, torch's are not")
    programs = [name for name in entries if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(programs) != 1:
        raise pickle.UnpicklingError("a zip without one data.pkl, not made by torch.save")
    folder = programs[0].removesuffix("data.pkl")
    stored = archive.read(f"{folder}byteorder") if f"{folder}byteorder" in entries else b"little"
    names = _Names(file)
    found = _run(io.BytesIO(archive.read(programs[0])), names)
    for key, storage in names.storages.items():
        storage.data = archive.read(f"{folder}data/{key}")
    return found, ">" if stored == b"big" else "<"


def _read_legacy(data: bytes, file: str) -> tuple[Any, Order]:
    stream, names = io.BytesIO(data), _Names(file)
    # Any pickle comes here, torch's or not: what it names is refused before what it is not.
    if _run(stream, names) != LEGACY_MAGIC:
        raise pickle.UnpicklingError("a pickle, but not one of torch.save")
    if _run(stream, names) != 1001:
        raise pickle.UnpicklingError("an unknown version of torch's format")
    system = _run(stream, names)
    little = not isinstance(system, dict) or system.get("little_endian", True)
    order: Order = "<" if little else ">"
    found = _run(stream, names)
    for key in _run(stream, names):
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


def _materialise(found: Any, order: Order) -> Any:
    """Replace every :class:`Tensor` in dicts, lists and shells by its array, in place."""
    seen: set[int] = set()
    arrays: dict[int, NDArray[Any]] = {}

    def value(item: Any) -> Any:
        if not isinstance(item, Tensor):
            pending.append(item)
            return item
        if id(item) not in arrays:
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
            for key, entry in list(item.items()):
                item[key] = value(entry)
        elif isinstance(item, list):
            item[:] = [value(entry) for entry in item]
        elif isinstance(item, (tuple, set)):
            pending.extend(entry for entry in item if not isinstance(entry, Tensor))
    return found


def state_dicts(found: Any, limit: int = 6) -> Iterator[tuple[str, dict[str, NDArray[Any]]]]:
    """Every state dict in an unpickled object with the way to it: dicts of arrays, modules."""
    pending: list[tuple[str, Any, int]] = [("", found, 0)]
    seen: set[int] = set()
    while pending:
        way, item, depth = pending.pop(0)
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, Shell) and "_modules" in item.__dict__:
            yield way, dict(_flatten(item))
        elif isinstance(item, dict):
            arrays = {k: v for k, v in item.items() if isinstance(k, str) and _is_array(v)}
            if arrays:
                yield way, arrays
            if depth < limit:
                pending += [
                    (f"{way}.{key}" if way else str(key), entry, depth + 1)
                    for key, entry in item.items()
                    if isinstance(entry, (dict, Shell))
                ]


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray)


def _flatten(module: Shell, limit: int = 32) -> Iterator[tuple[str, NDArray[Any]]]:
    """The state dict of a pickled module, in torch's order: parameters, buffers, children."""
    pending: list[tuple[str, Shell, int]] = [("", module, 0)]
    seen: set[int] = set()
    while pending:
        prefix, shell, depth = pending.pop(0)
        if id(shell) in seen or depth > limit:
            continue
        seen.add(id(shell))
        for group in ("_parameters", "_buffers"):
            members = shell.__dict__.get(group)
            for key, entry in members.items() if isinstance(members, dict) else ():
                if _is_array(entry):
                    yield f"{prefix}{key}", entry
        children = shell.__dict__.get("_modules")
        named = children.items() if isinstance(children, dict) else ()
        pending[:0] = [
            (f"{prefix}{key}.", child, depth + 1)
            for key, child in named
            if isinstance(child, Shell)
        ]

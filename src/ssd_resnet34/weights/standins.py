"""What the names in a pickle stand for here: our rebuilders of tensors, inert shells, or a refusal.

The restricted unpickler of :mod:`.pickles`: nothing that a file names is ever imported or called.
"""

import io
import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from ..errors import UnsafeWeights
from .programs import check_program

Order = Literal["<", ">"]

_MAX_AXES: Final = 16

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


def _sealed(self: object, state: object) -> None:
    """``__setstate__`` of what a pickle gets into its hands: else BUILD could set attributes."""
    raise pickle.UnpicklingError("a pickle may not change the reader")


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

    __setstate__ = _sealed

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

    __setstate__ = _sealed


@dataclass(frozen=True, slots=True)
class _StorageType:
    dtype: str

    __setstate__ = _sealed


class _Maker:
    """A callable for the unpickler whose attributes a pickle cannot set."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., object]) -> None:
        self._make = make

    def __call__(self, *args: object) -> object:
        return self._make(*args)

    __setstate__ = _sealed


def _integers(values: object, what: str) -> tuple[int, ...]:
    if (
        not isinstance(values, (tuple, list))
        or len(values) > _MAX_AXES
        or not all(type(v) is int and 0 <= v < 2**40 for v in values)
    ):
        # Not shown: the text of lists that hold one another may have no end.
        raise pickle.UnpicklingError(f"a tensor with a {what} that is no row of small numbers")
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
class Names:
    """What the names in a pickle stand for; fresh shells for every file."""

    file: str
    storages: dict[str, _Storage] = field(default_factory=dict)
    shells: dict[str, type[Shell]] = field(default_factory=dict)

    def find(self, module: str, name: str) -> object:
        """What stands in for a name of a pickle; never the named thing itself.

        Raises:
            UnsafeWeights: it is on no list.
        """
        if (module, name) in _MAKERS:
            return _Maker(_MAKERS[module, name])
        if module in ("torch", "torch.cuda") and name in _DTYPES:
            return _StorageType(_DTYPES[name])
        if (module, name) in _SHELLS or module.startswith(_SHELL_MODULES):
            # A dotted name would reach an attribute; here it is only a label.
            label = f"{module}.{name}"
            if label not in self.shells:
                self.shells[label] = type(name, (Shell,), {})
            return self.shells[label]
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
    def __init__(self, stream: io.BytesIO, names: Names) -> None:
        super().__init__(stream, encoding="utf-8")
        self.names = names

    def find_class(self, module: str, name: str) -> Any:
        return self.names.find(module, name)

    def persistent_load(self, pid: Any) -> Any:
        return self.names.persistent(pid)


def run(stream: io.BytesIO, names: Names) -> Any:
    """Run one pickle program from the stream, after a look at its operations."""
    check_program(stream)
    return _Unpickler(stream, names).load()

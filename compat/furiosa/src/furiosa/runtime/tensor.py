"""Tensors as sessions of 0.7–0.9 have them, and the descriptions of every release."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import EnumType, IntEnum
from math import prod
from typing import Any, Final, Self, SupportsIndex, cast, overload

import numpy as np
from numpy.typing import NDArray

from ssd_resnet34.runtime.tensors import Outputs

from .errors import UnsupportedTensorType, WrongShape, WrongType

__all__ = [
    "Axis",
    "DataType",
    "Tensor",
    "TensorArray",
    "TensorDesc",
    "numpy_dtype",
    "rand",
    "zeros",
]


class Axis(IntEnum):
    """What an axis of a tensor is."""

    WIDTH = 0
    HEIGHT = 1
    CHANNEL = 2
    BATCH = 3
    WIDTH_OUTER = 4
    HEIGHT_OUTER = 5
    CHANNEL_OUTER = 6
    BATCH_OUTER = 7
    UNKNOWN = 8

    def __repr__(self) -> str:
        return ("W", "H", "C", "N", "Wo", "Ho", "Co", "No", "?")[self]


class _OfArrays(EnumType):
    """Takes arrays where the enumeration takes their dtype; its own look-up would compare them."""

    def __call__(cls, value: Any, *args: Any, **options: Any) -> Any:
        if isinstance(value, np.ndarray | np.generic):
            value = value.dtype
        return super().__call__(value, *args, **options)


class DataType(IntEnum, metaclass=_OfArrays):
    """Type of an element; ``DataType(x)`` also for a numpy dtype or array."""

    FLOAT32 = 0
    UINT8 = 1
    INT8 = 2
    INT32 = 3
    INT64 = 4
    BFLOAT16 = 5
    FLOAT16 = 6
    INT16 = 7

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        try:
            dtype = np.dtype(cast(Any, value))
        except TypeError:
            return None
        return next((one for one in cls if one.name == dtype.name.upper()), None)

    def __repr__(self) -> str:
        return self.name

    @property
    def numpy(self) -> np.dtype[Any]:
        """numpy's dtype.

        Raises:
            ValueError: numpy has none (BFLOAT16).
        """
        if self is DataType.BFLOAT16:
            raise ValueError("numpy has no BFLOAT16; use FLOAT32")
        return np.dtype(self.name.lower())

    @property
    def numpy_dtype(self) -> type[np.generic]:
        """numpy's scalar type, such as ``numpy.float32``; errors of :attr:`numpy`."""
        return self.numpy.type


_NCHW: Final = (Axis.BATCH, Axis.CHANNEL, Axis.HEIGHT, Axis.WIDTH)


@dataclass(frozen=True, repr=False)
class TensorDesc:
    """An input or output; NCHW, with the batch of its session as first dimension."""

    name: str
    shape: tuple[int, ...]
    dtype: DataType

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    def dim(self, idx: int) -> int:
        """Size of a dimension."""
        return self.shape[idx]

    def axis(self, idx: int) -> Axis:
        """What a dimension is."""
        return _NCHW[idx]

    def stride(self, idx: int) -> int:
        """Distance of neighbours along a dimension, in elements."""
        return prod(self.shape[range(self.ndim)[idx] + 1 :])

    @property
    def size(self) -> int:
        """Bytes."""
        return self.length * self.dtype.numpy.itemsize

    @property
    def length(self) -> int:
        """Elements."""
        return prod(self.shape)

    @property
    def format(self) -> str:
        """``NCHW``."""
        return "".join(map(repr, _NCHW))

    @property
    def numpy_dtype(self) -> type[np.generic]:
        """numpy's scalar type."""
        return self.dtype.numpy_dtype

    @property
    def quantization_parameter(self) -> None:
        """None: heads are floats, and pixels are normalised channel by channel, not by one scale
        and zero point."""
        return None

    def __repr__(self) -> str:
        return (
            f'TensorDesc(name="{self.name}", shape={self.shape}, dtype={self.dtype!r}, '
            f"format={self.format}, size={self.size}, len={self.length})"
        )


class Tensor:
    """An array with its description; numpy functions take it as one."""

    __hash__ = None  # type: ignore[assignment]  # equality is by content

    def __init__(self, desc: TensorDesc, array: NDArray[Any]) -> None:
        self.desc, self._array = desc, array

    @property
    def shape(self) -> tuple[int, ...]:
        """As of the array."""
        return self._array.shape

    @property
    def dtype(self) -> DataType:
        """Type of an element."""
        return self.desc.dtype

    @property
    def numpy_dtype(self) -> type[np.generic]:
        """numpy's scalar type."""
        return self.desc.numpy_dtype

    def copy_from(self, data: NDArray[Any] | np.generic) -> None:
        """Replace the contents.

        Raises:
            UnsupportedTensorType: no array.
            InvalidInput: another shape or dtype.
        """
        if not isinstance(data, np.ndarray | np.generic):
            raise UnsupportedTensorType(f"a {type(data).__name__}; give a numpy array")
        if data.dtype != self._array.dtype:
            raise WrongType(
                f"{self.desc.name}: {data.dtype}, where the tensor is {self._array.dtype}; give "
                "the array to run() or submit() itself, which take both uint8 and float32"
            )
        if data.shape != self.shape:
            raise WrongShape(f"{self.desc.name}: shape {data.shape} is not {self.shape}")
        self._array[...] = data

    def view(self) -> NDArray[Any]:
        """The array itself."""
        return self._array

    def numpy(self) -> NDArray[Any]:
        """A copy of the array."""
        return self._array.copy()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self._array, dtype, copy=copy)

    def __len__(self) -> int:
        return len(self._array)

    def __getitem__(self, key: Any) -> Any:
        return self._array[key]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tensor) and np.array_equal(self._array, other._array)

    def __repr__(self) -> str:
        return f'Tensor(name="{self.desc.name}", shape={self.shape}, dtype={self.dtype!r})'


class TensorArray(list[Tensor]):
    """Tensors in the order of their session. ``contexts`` are those of the images, where the
    input was what ``preprocess`` gave."""

    def __init__(self, tensors: Iterable[Tensor] = (), contexts: Sequence[Any] | None = None):
        super().__init__(tensors)
        self.contexts = contexts

    @overload
    def __setitem__(self, key: SupportsIndex, data: Any, /) -> None: ...
    @overload
    def __setitem__(self, key: slice, data: Iterable[Any], /) -> None: ...
    def __setitem__(self, key: SupportsIndex | slice, data: Any, /) -> None:
        """Copy an array into a tensor.

        Raises:
            TypeError: a slice.
            UnsupportedTensorType, InvalidInput: as :meth:`Tensor.copy_from`.
        """
        if isinstance(key, slice):
            raise TypeError("a TensorArray takes one array at a time, not a slice")
        self[key].copy_from(data.view() if isinstance(data, Tensor) else data)

    def is_empty(self) -> bool:
        """Whether there is no tensor."""
        return not self

    def view(self) -> Outputs:
        """The arrays themselves."""
        return Outputs((tensor.view() for tensor in self), self.contexts)

    def numpy(self) -> Outputs:
        """Copies of the arrays: a list, which carries the contexts on."""
        return Outputs((tensor.numpy() for tensor in self), self.contexts)


def allocate(descs: Iterable[TensorDesc]) -> TensorArray:
    """Tensors of zeros."""
    return TensorArray(Tensor(desc, zeros(desc)) for desc in descs)


def numpy_dtype(value: Any) -> Any:
    """numpy's type of an array, tensor, description or DataType.

    Raises:
        TypeError: none of these.
    """
    if isinstance(value, np.ndarray | np.generic):
        return value.dtype
    if isinstance(value, Tensor | TensorDesc | DataType):
        return value.numpy_dtype
    raise TypeError(f"a {type(value).__name__} has no numpy dtype; give a tensor or an array")


def zeros(tensor: TensorDesc) -> NDArray[Any]:
    """An array of zeros. (The vendor's of 0.7 was one of random numbers.)"""
    return np.zeros(tensor.shape, tensor.dtype.numpy)


def rand(tensor: TensorDesc) -> NDArray[Any]:
    """Random numbers: floats in 0..1, or integers over all of their range."""
    random = np.random.default_rng()
    if tensor.dtype.numpy.kind == "f":
        return random.random(tensor.shape, np.float32).astype(tensor.dtype.numpy)
    limits = np.iinfo(tensor.dtype.numpy)
    return random.integers(limits.min, limits.max, tensor.shape, tensor.dtype.numpy, endpoint=True)

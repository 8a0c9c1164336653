"""What goes into a session and what comes out: the accepted inputs, ``Outputs``, ``TensorDesc``."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, Self, SupportsIndex, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ..contract import INPUT_NAME, INPUT_SIZE, Contract
from ..errors import InvalidInput
from ..vision.finite import unfinite

Array = NDArray[np.float32]

IMAGE_SHAPE: Final = (3, INPUT_SIZE, INPUT_SIZE)
"""Shape of one image in the input tensor: RGB planes of 1200×1200."""

_EXPECTED: Final = f"a float32 array [N, {', '.join(map(str, IMAGE_SHAPE))}]"
_MEND: Final = "make it with preprocess(image), which gives exactly that"


@dataclass(frozen=True, slots=True)
class TensorDesc:
    """An input or output of a session.

    ``shape`` is for a batch of one; axis 0 takes any number of images. ``dtype`` is a numpy name.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"

    @property
    def length(self) -> int:
        """Elements of one image."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def size(self) -> int:
        """Bytes of one image."""
        return self.length * np.dtype(self.dtype).itemsize

    def __str__(self) -> str:
        return (
            f'TensorDesc(name="{self.name}", shape={self.shape}, dtype={self.dtype.upper()}, '
            f"format=NCHW, size={self.size}, len={self.length})"
        )


def input_descs() -> list[TensorDesc]:
    """The one input: ``image``, float32 [1, 3, 1200, 1200]; the same for every contract."""
    return [TensorDesc(INPUT_NAME, (1, *IMAGE_SHAPE))]


def output_descs(contract: Contract) -> list[TensorDesc]:
    """The twelve heads in order, float32 [1, channels, size, size]."""
    return [TensorDesc(name, (1, *shape)) for name, shape in contract.head_shapes().items()]


class Outputs(list[Array]):
    """The twelve heads, a list of float32 arrays [N, channels, size, size] in contract order.

    ``contexts`` are those of the preprocessed input (sizes of the original images), or None where
    the input was a bare array.
    """

    contexts: tuple[Any, ...] | None

    def __init__(self, heads: Iterable[Array] = (), contexts: Iterable[Any] | None = None) -> None:
        super().__init__(heads)
        self.contexts = None if contexts is None else tuple(contexts)

    def numpy(self) -> Self:
        """The arrays themselves: they are numpy already, and carry their contexts along."""
        return self

    def copy(self) -> "Outputs":
        """A new list of the same arrays with the same contexts."""
        return Outputs(self, self.contexts)

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        return Outputs, (list(self), self.contexts)


@runtime_checkable
class _Preprocessed(Protocol):
    """Shape of ``ModelInput``; structural, so that any preprocessor's result is accepted."""

    @property
    def tensor(self) -> Array: ...

    @property
    def contexts(self) -> Sequence[Any]: ...


def read_inputs(inputs: Any) -> tuple[Array, tuple[Any, ...] | None]:
    """The batch and its contexts from anything ``Session.run`` accepts.

    Accepted: a ``ModelInput``; one float32 array [N, 3, 1200, 1200]; a list or tuple of one such
    array; a (tensor, contexts) pair; a list of ``ModelInput`` or pairs, which become one batch.

    Returns:
        A C-contiguous float32 array [N, 3, 1200, 1200] (the given one where it is that already)
        and the contexts, one an image, or None where only arrays were given.

    Raises:
        InvalidInput: another type, number, shape or dtype, NaN or infinity; says what was expected
            and found.
    """
    parts = list(_parts(inputs))
    if len(parts) == 1:
        return parts[0]
    if any(contexts is None for _, contexts in parts):
        raise InvalidInput(
            f"expected one input, {_EXPECTED}; found {len(parts)} arrays; for a batch join them "
            "along the first axis (numpy.concatenate)"
        )
    joined = [context for _, contexts in parts for context in contexts or ()]
    return np.concatenate([tensor for tensor, _ in parts]), tuple(joined)


def _parts(inputs: Any) -> Iterator[tuple[Array, tuple[Any, ...] | None]]:
    if isinstance(inputs, np.ndarray):
        yield _checked(inputs), None
    elif isinstance(inputs, _Preprocessed):
        yield _with_contexts(inputs.tensor, inputs.contexts)
    elif _is_pair(inputs):
        yield _with_contexts(*inputs)
    elif isinstance(inputs, list | tuple):
        if not inputs:
            raise InvalidInput(f"expected {_EXPECTED}; found an empty {type(inputs).__name__}")
        for item in inputs:
            if isinstance(item, np.ndarray | _Preprocessed) or _is_pair(item):
                yield from _parts(item)
            else:
                raise InvalidInput(_wrong_type(item, f" inside a {type(inputs).__name__}"))
    else:
        raise InvalidInput(_wrong_type(inputs))


def _is_pair(value: Any) -> bool:
    """Whether this is (tensor, contexts), not a tuple of two arrays."""
    return (
        isinstance(value, tuple)
        and len(value) == 2
        and isinstance(value[0], np.ndarray)
        and isinstance(value[1], list | tuple)
    )


def _wrong_type(value: Any, where: str = "") -> str:
    kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    mend = "call .numpy() on it first" if hasattr(value, "numpy") else _MEND
    return f"expected {_EXPECTED}; found {kind}{where}; {mend}"


def _with_contexts(tensor: Any, contexts: Sequence[Any]) -> tuple[Array, tuple[Any, ...]]:
    if not isinstance(tensor, np.ndarray):
        raise InvalidInput(_wrong_type(tensor))
    batch = _checked(tensor)
    if len(contexts) != len(batch):
        raise InvalidInput(
            f"expected one context an image; found {len(contexts)} for a batch of {len(batch)}; "
            "pass on what preprocess returned"
        )
    return batch, tuple(contexts)


def _checked(array: NDArray[Any]) -> Array:
    found = f"{array.dtype} {list(array.shape)}"
    if array.dtype != np.float32:
        mend = _MEND
        if array.dtype.kind == "f":
            mend = f"convert it with .astype(numpy.float32), or {_MEND}"
        elif array.dtype == np.uint8:
            mend = f"pixels must be normalised first: {_MEND}"
        raise InvalidInput(f"{INPUT_NAME}: expected {_EXPECTED}; found {found}; {mend}")
    if array.ndim != 4 or array.shape[1:] != IMAGE_SHAPE or not len(array):
        mend = _MEND
        if array.shape == IMAGE_SHAPE:
            mend = "add the batch axis: image[numpy.newaxis]"
        elif array.ndim in (3, 4) and array.shape[-3:] == (*IMAGE_SHAPE[1:], 3):
            mend = f"channels come first here: {_MEND}"
        raise InvalidInput(f"{INPUT_NAME}: expected {_EXPECTED}; found {found}; {mend}")
    tensor = np.ascontiguousarray(array)
    bad = unfinite(tensor)  # one engine answers a NaN with NaN, another with no detections
    if bad:
        raise InvalidInput(
            f"{INPUT_NAME}: expected {_EXPECTED}, finite; found NaN or infinity at {bad} of "
            f"{tensor.size} places; {_MEND}"
        )
    return tensor


def in_parts(tensor: Array, run: Callable[[Array], list[Array]], most: int = 1) -> list[Array]:
    """Heads of float32 [N, 3, 1200, 1200] from a function for ``most`` images at a time, or fewer.

    One, for CPUs: a forward pass is 433 GFLOP and fills a CPU alone, so that batching gains nothing
    there and costs memory for every image.
    """
    results = [run(tensor[n : n + most]) for n in range(0, len(tensor), most)]
    if len(results) == 1:
        return results[0]
    return [np.concatenate(head) for head in zip(*results, strict=True)]

"""The fields of :class:`Detections` checked and brought to their dtype."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError


def floats(name: str, values: Any) -> NDArray[np.float32]:
    """Values as float32, of any shape.

    Raises:
        UsageError: no regular array of numbers, NaN, or values beyond float32.
    """
    array = as_array(name, values)
    if array.dtype != np.float32:
        if array.size and array.dtype.kind not in "fiu":
            raise UsageError(f"{name}: dtype {array.dtype}, need float32; convert it")
        with np.errstate(over="ignore"):  # what overflows is infinite and refused below
            array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise UsageError(f"{name}: NaN or infinity; remove those detections first")
    return array


def integers(name: str, values: Any) -> NDArray[np.int64]:
    """Values as int64, of any shape.

    Raises:
        UsageError: no regular array of whole numbers.
    """
    array = as_array(name, values)
    if array.dtype != np.int64:
        if array.size and array.dtype.kind not in "iu":
            raise UsageError(f"{name}: dtype {array.dtype}, need int64; convert it")
        if array.dtype == np.uint64 and (array > np.iinfo(np.int64).max).any():
            raise UsageError(f"{name}: {array.max()} does not fit int64; number them anew")
        array = array.astype(np.int64)
    return array


def as_array(name: str, values: Any) -> NDArray[Any]:
    """Values as an array of their own dtype and shape.

    Raises:
        UsageError: rows of different lengths.
    """
    try:
        return np.asarray(values)
    except ValueError as error:
        raise UsageError(f"{name}: rows of different lengths; give a regular array") from error


def as_labels(labels: Any) -> tuple[str, ...]:
    """Labels as a tuple.

    Raises:
        UsageError: one string, or nothing that can be iterated over.
    """
    if isinstance(labels, (str, bytes)):
        raise UsageError("labels: one string; give a tuple with the label of each detection")
    try:
        return tuple(labels)
    except TypeError as error:
        raise UsageError(f"labels: {type(labels).__name__}; give a tuple of str") from error

"""Activation ranges as a file: YAML, ``tensor: [min, max]``, as vendors' quantizers have it."""

import re
import reprlib
from collections.abc import Mapping
from numbers import Real
from os import PathLike
from pathlib import Path
from typing import Any, Final

import numpy as np

from .. import files
from ..errors import CalibrationError

Range = tuple[float, float]

MAX_BYTES: Final = 4 * 1024**2
"""Largest file that is read, bytes; this network's ranges take 4 to 12 thousand."""

_MEND: Final = (
    "give `tensor: [min, max]` for every tensor, as `ssd-resnet34 compile --save-ranges` writes it"
)

_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+")
"""A number with an exponent (YAML 1.2, section 10.3.2)."""

_BEYOND: Final = 2.0**128 - 2.0**103
"""The least number that float32 rounds to infinity."""

_SHOWN: Final = reprlib.Repr()
"""Short text of any value: aliases make a small file one of endless depth."""

_SHOWN.maxlevel = 2


def read(path: str | PathLike[str]) -> dict[str, Range]:
    """The ranges in a file.

    Raises:
        CalibrationError: not readable, not YAML, or not {tensor: [min, max]} with finite
            min <= max; the first offending tensor is named.
    """
    import yaml

    file = Path(path)
    try:
        if file.exists() and not file.is_file():
            raise CalibrationError(f"{file}: not a file; {_MEND}")
        size = file.stat().st_size
        if size > MAX_BYTES:
            raise CalibrationError(f"{file}: {size:,} bytes, the limit is {MAX_BYTES:,}; {_MEND}")
        entries = yaml.load(file.read_bytes(), _loader(yaml))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise CalibrationError(f"{file}: no activation ranges ({reason}); {_MEND}") from error
    if isinstance(entries, dict):
        for name, value in entries.items():
            if isinstance(value, list) and len(value) == 2:
                entries[name] = [_number(end) for end in value]
    return check(entries, str(file))


def check(ranges: Any, where: str = "ranges") -> dict[str, Range]:
    """The same ranges, from a file or a program, as pairs of Python floats.

    Args:
        ranges: tensor -> (lowest, highest), numbers of Python or numpy.
        where: what messages begin with.

    Raises:
        CalibrationError: not a mapping, or empty; or an entry that is not two numbers with finite
            float32 min <= max: the first such tensor is named.
    """
    if not isinstance(ranges, Mapping) or not ranges:
        raise CalibrationError(f"{where}: no activation ranges (not a mapping, or empty); {_MEND}")
    return {str(name): _range(value, f"{where}: {name}") for name, value in ranges.items()}


def write(path: str | PathLike[str], ranges: Mapping[str, Range]) -> None:
    """Write ranges, in the order given, whole or not at all; float32 values survive unchanged.

    Raises:
        CalibrationError: an entry that :func:`read` would refuse.
        UsageError, OutputError: it cannot be written.
    """
    import yaml

    pairs = check(ranges)
    entries = {name: [_shortest(low), _shortest(high)] for name, (low, high) in pairs.items()}
    text = yaml.safe_dump(entries, sort_keys=False, default_flow_style=None, width=1000)
    files.write(path, text.encode())


def _shortest(value: float) -> float:
    return float(str(np.float32(value)))


def _loader(yaml: Any) -> Any:
    """The safe one, without merge keys (``<<``): they can grow a small file beyond all memory."""
    base = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same, ten times faster
    return type("Loader", (base,), {"flatten_mapping": lambda *_: None})


def _number(end: Any) -> Any:
    """An end of a range: 1e-05 is text to YAML 1.1, which the package reads, and a number to YAML
    1.2 and JSON, which others write."""
    return float(end) if isinstance(end, str) and _FLOAT.fullmatch(end) else end


def _range(value: Any, where: str) -> Range:
    pair = isinstance(value, list | tuple) and len(value) == 2
    if not pair or not all(map(_is_number, value)):
        raise CalibrationError(
            f"{where}: {_SHOWN.repr(value)} is not [min, max]; write two numbers"
        )
    low, high = (end.item() if isinstance(end, np.generic) else end for end in value)
    if not (-_BEYOND < low <= high < _BEYOND):  # not so for a NaN
        raise CalibrationError(
            f"{where}: {_SHOWN.repr(value)} is no range; min <= max, both finite float32, are "
            "needed: calibrate again"
        )
    return float(low), float(high)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)  # numpy's numbers are Real

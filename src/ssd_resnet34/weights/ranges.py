"""Activation ranges as a file: YAML, ``tensor: [min, max]``, as vendors' quantizers have it."""

import reprlib
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Final

import numpy as np

from ..errors import CalibrationError
from ..files import replacing, told

Range = tuple[float, float]

MAX_BYTES: Final = 4 * 1024**2
"""Largest file that is read, bytes; this network's ranges take 4 to 12 thousand."""

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
    mend = "give a file of `tensor: [min, max]` lines, as `ssd-resnet34 compile --save-ranges` does"
    try:
        if file.exists() and not file.is_file():
            raise CalibrationError(f"{file}: not a file; {mend}")
        size = file.stat().st_size
        if size > MAX_BYTES:
            raise CalibrationError(f"{file}: {size:,} bytes, the limit is {MAX_BYTES:,}; {mend}")
        entries = yaml.load(file.read_bytes(), _loader(yaml))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise CalibrationError(f"{file}: no activation ranges ({reason}); {mend}") from error
    if not isinstance(entries, dict) or not entries:
        raise CalibrationError(f"{file}: no activation ranges (not a mapping); {mend}")
    return {str(name): _range(value, f"{file}: {name}") for name, value in entries.items()}


def write(path: str | PathLike[str], ranges: Mapping[str, Range]) -> None:
    """Write ranges, in the order given, whole or not at all; float32 values survive unchanged.

    Raises:
        UsageError, OutputError: it cannot be written.
    """
    import yaml

    entries = {name: [_shortest(low), _shortest(high)] for name, (low, high) in ranges.items()}
    text = yaml.safe_dump(entries, sort_keys=False, default_flow_style=None, width=1000)
    with replacing(path) as file, told(str(path)):
        file.write(text.encode())


def _shortest(value: float) -> float:
    return float(str(np.float32(value)))


def _loader(yaml: Any) -> Any:
    """The safe one, without merge keys (``<<``): they can grow a small file beyond all memory."""
    base = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same, ten times faster
    return type("Loader", (base,), {"flatten_mapping": lambda *_: None})


def _range(value: Any, where: str) -> Range:
    numbers = isinstance(value, list | tuple) and len(value) == 2
    if not numbers or not all(type(end) in (int, float) for end in value):
        raise CalibrationError(
            f"{where}: {_SHOWN.repr(value)} is not [min, max]; write two numbers"
        )
    low, high = value
    if not (-_BEYOND < low <= high < _BEYOND):  # not so for a NaN
        raise CalibrationError(
            f"{where}: {_SHOWN.repr(value)} is no range; min <= max, both finite float32, are "
            "needed: calibrate again"
        )
    return float(low), float(high)

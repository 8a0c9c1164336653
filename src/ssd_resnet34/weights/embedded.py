"""The weights inside the package: one fp16 safetensors file and its activation ranges."""

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..contract import Contract
from ..errors import WeightsError
from ..files import replacing, told
from ..network.builder import COUNTER, check_state
from ..network.layout import parameter_shapes
from . import readers
from .ranges import read as read_ranges
from .records import EMBEDDED, RECORDS
from .safetensors_head import METADATA, encoded

RANGES_FILE: Final = "ranges.yaml"


def folder() -> Path:
    """Where the embedded files lie."""
    return Path(str(resources.files(__package__))) / "embedded"


def path() -> Path:
    """The embedded weights, fp16 safetensors.

    Raises:
        WeightsError: this installation has none.
    """
    found = folder() / RECORDS[EMBEDDED].file
    if not found.is_file():
        raise WeightsError(
            f"{found}: this installation has no embedded weights; reinstall ssd-resnet34, or name "
            "others (`ssd-resnet34 weights list`)"
        )
    return found


def state() -> dict[str, NDArray[Any]]:
    """The 218 official keys, float32 (``num_batches_tracked`` int64 zeros).

    Raises:
        WeightsError: missing or damaged.
    """
    found = readers.read(path()).state
    if found is None:
        raise WeightsError(f"{path()}: not a state dict; reinstall ssd-resnet34")
    return dict(found)


def contract() -> Contract:
    """The contract the embedded weights were trained with.

    Raises:
        WeightsError: missing or damaged.
    """
    # The header alone: the arrays are 40 MB, and a warm start needs none of them.
    from safetensors import SafetensorError, safe_open

    file = path()
    try:
        with safe_open(file, "np") as opened:
            text = (opened.metadata() or {}).get(readers.CONTRACT_KEY)
    except SafetensorError as error:
        raise WeightsError(f"{file}: damaged ({error}); reinstall ssd-resnet34") from error
    if text is None:
        raise WeightsError(f"{file}: no contract in its metadata; reinstall ssd-resnet34")
    return Contract.from_json(text)


def ranges() -> dict[str, tuple[float, float]]:
    """Tensor of the canonical ONNX -> its range, for the int8 artifact.

    Raises:
        CalibrationError: missing or damaged.
    """
    return read_ranges(folder() / RANGES_FILE)


def export(
    weights: Mapping[str, NDArray[Any]],
    contract: Contract,
    target: Path,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write a float state dict as the fp16 safetensors of this package.

    Kernels become float16; vectors (biases, batch-norm) stay float32, 0.1 % of the bytes and the
    part that fp16 would hurt. ``num_batches_tracked`` is left out. The same weights, contract and
    ``metadata`` give the same bytes.

    Args:
        weights: checkpoint key -> array, the 218 official keys.
        metadata: more entries for the file's metadata, such as the training run.

    Raises:
        WeightsError: not this network's weights, or values beyond fp16 (65504).
        UsageError, OutputError: ``target`` cannot be written; what was there stays.
    """
    check_state(weights, contract.num_classes, "the weights to export")
    arrays: dict[str, NDArray[Any]] = {}
    for key in parameter_shapes(contract.num_classes):
        if key.endswith(COUNTER):
            continue
        value = np.asarray(weights[key])
        if value.ndim > 1 and np.abs(value).max() > np.finfo(np.float16).max:
            raise WeightsError(f"{key}: values up to {np.abs(value).max():g} do not fit fp16")
        dtype = "<f2" if value.ndim > 1 else "<f4"
        arrays[key] = np.ascontiguousarray(value, dtype)
    entries = dict(metadata or {}) | {readers.CONTRACT_KEY: contract.to_json(), "format": "np"}
    header: dict[str, Any] = {METADATA: entries}
    at = 0
    for key, value in arrays.items():
        name = "F16" if value.dtype == np.float16 else "F32"
        header[key] = {
            "dtype": name,
            "shape": list(value.shape),
            "data_offsets": [at, at + value.nbytes],
        }
        at += value.nbytes
    with replacing(target) as file, told(str(target)):
        file.write(encoded(header))
        for value in arrays.values():
            file.write(value.tobytes())
    return target

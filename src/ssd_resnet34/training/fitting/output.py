"""What a run leaves behind: weights that every command takes for ``--weights``."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray
from torch import Tensor

from ... import files
from ... import weights as weights_files
from ...contract import Contract
from ...network.builder import check_state
from ...weights import readers
from ...weights.safetensors_head import encoded

WEIGHTS: Final = "model.safetensors"
GRAPH: Final = "model.onnx"


def arrays_of(state: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
    """A module's state dict as numpy arrays."""
    return {key: value.detach().cpu().contiguous().numpy() for key, value in state.items()}


def write_weights(
    state: Mapping[str, Tensor],
    contract: Contract,
    path: Path,
    training: Mapping[str, Any] | None = None,
) -> None:
    """The 218 keys as float32 safetensors, with contract and ``training`` in its metadata.

    The same arguments give the same bytes.

    Args:
        training: facts of the run, plain values; see :data:`ssd_resnet34.artifact.TRAINING`.

    Raises:
        WeightsError: NaN or infinity in the weights.
        UsageError, OutputError: ``path`` cannot be written; what was there stays.
    """
    from safetensors.numpy import save

    arrays = arrays_of(state)
    check_state(arrays, contract.num_classes, str(path))
    entries = {readers.CONTRACT_KEY: contract.to_json(), "format": "np"}
    if training is not None:
        entries[readers.TRAINING_KEY] = json.dumps(training, sort_keys=True)
    files.write(path, _ordered(save(arrays, entries)))


def _ordered(data: bytes) -> bytes:
    """A safetensors file with its metadata in order, which its writer leaves to chance."""
    end = 8 + int.from_bytes(data[:8], "little")
    return encoded(json.loads(data[8:end])) + data[end:]


def write_graph(weights: Path, path: Path) -> None:
    """The fp32 ONNX that every command makes of a safetensors file, with its metadata.

    Raises:
        WeightsError: the file is not whole.
        UsageError, OutputError: ``path`` cannot be written; what was there stays.
    """
    files.write(path, weights_files.load(weights))

"""What a run leaves behind: weights that every command takes for ``--weights``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray
from torch import Tensor

from ... import artifact, files
from ...contract import Contract
from ...network.builder import build, check_state
from ...weights import readers

WEIGHTS: Final = "model.safetensors"
GRAPH: Final = "model.onnx"


def arrays_of(state: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
    """A module's state dict as numpy arrays."""
    return {key: value.detach().cpu().contiguous().numpy() for key, value in state.items()}


def write_weights(state: Mapping[str, Tensor], contract: Contract, path: Path) -> None:
    """The 218 keys as float32 safetensors, with the contract in its metadata.

    Raises:
        WeightsError: NaN or infinity in the weights.
        UsageError, OutputError: ``path`` cannot be written; what was there stays.
    """
    from safetensors.numpy import save

    arrays = arrays_of(state)
    check_state(arrays, contract.num_classes, str(path))
    entries = {readers.CONTRACT_KEY: contract.to_json(), "format": "np"}
    files.write(path, save(arrays, entries))


def write_graph(weights: Path, path: Path) -> None:
    """The fp32 ONNX of a safetensors file that :func:`write_weights` wrote.

    Raises:
        WeightsError: the file is not whole.
        UsageError, OutputError: ``path`` cannot be written; what was there stays.
    """
    found = readers.read(weights)
    assert found.state is not None  # a safetensors file
    files.write(path, artifact.serialize(build(found.state, found.contract)))

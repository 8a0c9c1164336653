"""Weights: the records, their download and check, and reading any file into the canonical ONNX."""

import os
from os import PathLike
from pathlib import Path

from .. import artifact
from ..contract import Contract
from ..network import builder
from . import readers, store
from .records import RECORDS

__all__ = ["RECORDS", "check_name", "load"]


def load(
    weights: str | PathLike[str] | bytes,
    contract: Contract | None = None,
    *,
    offline: bool | None = None,
) -> bytes:
    """The canonical ONNX of a record, a file, or a file's bytes; the same in, the same bytes out.

    A state dict is built into a graph, a published graph is cut at its heads, an artifact of this
    package comes back as it is. The result has input ``image`` [N, 3, 1200, 1200], the twelve
    heads as outputs, and the contract, the source's kind, its sha256 and what ``train`` wrote of
    its run in its metadata. It is fp32 unless the published graph is int8.

    Args:
        weights: a record's name (fetched if it is not in the cache), a path, or bytes.
        contract: what the classes are; default: the file's own, else COCO.
        offline: see :func:`ssd_resnet34.weights.store.fetch`.

    Raises:
        UnknownWeights: neither a record nor a file.
        WeightsError, ArtifactError: as :func:`ssd_resnet34.weights.readers.read` and ``fetch``.
    """
    if isinstance(weights, str) and weights in RECORDS:
        weights = store.fetch(weights, offline=offline)
    check_name(weights)
    data, name = readers.bytes_of(weights)
    read = readers.read(data, contract, name)
    if read.kind == "artifact":
        return data
    del data  # 40 MB that the graph needs
    if read.state is not None:
        model = builder.build(read.state, read.contract)
    else:
        assert read.model is not None  # one of the two is set
        model = read.model
    source = {"source_kind": read.kind, "source_sha256": read.sha256}
    if read.training is not None:
        source[artifact.TRAINING] = read.training
    artifact.embed(model, read.contract, source)
    del read  # 80 MB that the bytes to come need
    return artifact.serialize(model)


def check_name(weights: str | PathLike[str] | bytes) -> None:
    """Refuse a name that is neither a record nor a file; reads and fetches nothing.

    Paths are not names: whether there is such a file is seen where it is read.

    Raises:
        UnknownWeights: names the nearest record.
    """
    if isinstance(weights, str) and not os.path.exists(weights) and _is_name(weights):
        store.record(weights)


def _is_name(text: str) -> bool:
    """Whether a string looks like a record's name rather than a path."""
    return not Path(text).suffix and len(Path(text).parts) <= 1

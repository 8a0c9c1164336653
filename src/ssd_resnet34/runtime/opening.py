"""From whatever names a model to its checked bytes, contract and precision."""

import hashlib
import json
from dataclasses import dataclass
from os import PathLike
from typing import Any, Final

from .. import artifact
from ..contract import Contract
from ..errors import UsageError
from .cache import Cache
from .precision import ArtifactPrecision

_CHECKS: Final = 2
"""Raise this when the checks of an artifact become stricter: older verdicts then do not count."""


@dataclass(frozen=True, slots=True)
class OpenedArtifact:
    """An artifact whose checks passed; ``sha256`` of its bytes in hexadecimal."""

    data: bytes
    sha256: str
    contract: Contract
    precision: ArtifactPrecision


def open_artifact(model: Any, cache: Cache) -> OpenedArtifact:
    """Read and check an artifact, or recall that exactly these bytes passed the checks before.

    Recalling saves the import of onnx and the parsing of the graph (0.2 s of a start).

    Args:
        model: the artifact's bytes, its path, or an object with ``.enf`` (``SSDResNet34``).
        cache: where verdicts are kept.

    Raises:
        UsageError: none of these types.
        ArtifactError: not readable, not an ONNX model, not this network.
        UnsafeWeights: external data.
        ContractError: a contract that this version cannot read.
    """
    data = _bytes_of(model)
    digest = hashlib.sha256(data).hexdigest()
    key: dict[str, str | int] = {"what": "checked artifact", "sha256": digest, "checks": _CHECKS}
    known = cache.load(**key)
    if known is not None:
        facts = json.loads(known)
        contract = Contract.from_json(facts["contract"])
        return OpenedArtifact(data, digest, contract, facts["precision"])
    proto = artifact.load(data)
    contract = artifact.contract_of(proto)
    artifact.check_heads(proto, contract)
    precision = artifact.precision_of(proto)
    facts = {"contract": contract.to_json(), "precision": precision}
    cache.store(json.dumps(facts).encode(), **key)
    return OpenedArtifact(data, digest, contract, precision)


def _bytes_of(model: Any) -> bytes:
    if hasattr(model, "enf"):
        model = model.enf
    if isinstance(model, bytearray | memoryview):
        model = bytes(model)
    if isinstance(model, bytes | str | PathLike):
        return artifact.bytes_of(model)[0]
    raise UsageError(
        f"model: expected an artifact's bytes, its path, or an SSDResNet34; found "
        f"{type(model).__name__}"
    )

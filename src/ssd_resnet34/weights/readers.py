"""Any weights file to arrays or a cut graph: ONNX, safetensors, PyTorch in four forms.

The kind is told by the bytes, never by the name. Nothing from a file is executed.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from .. import artifact
from ..contract import COCO, LEVELS, Contract
from ..errors import ArtifactError, UnknownWeights, WeightsError
from ..network.builder import COUNTER, check_state
from ..network.layout import parameter_shapes
from . import pickles

if TYPE_CHECKING:
    import onnx

State = dict[str, NDArray[Any]]
Kind = Literal["safetensors", "pytorch", "graph", "artifact"]

CONTRACT_KEY: Final = f"{artifact.NAMESPACE}contract"
"""Key of the contract's JSON in a safetensors file's metadata."""

TRAINING_KEY: Final = f"{artifact.NAMESPACE}{artifact.TRAINING}"
"""Key there of what ``train`` says of its run."""

_FIRST = "model.layer1.0.weight"
_PREFERRED: Final = ("model", "state_dict", "model_state_dict", "")


@dataclass(frozen=True, eq=False)
class ReadWeights:
    """What a file holds: a state dict, or a graph with the contract's heads.

    ``state`` (kinds ``safetensors`` and ``pytorch``) has the 218 official keys in checkpoint order,
    float32, ``num_batches_tracked`` int64. ``model`` (``graph``: cut at its heads; ``artifact``:
    made by this package) is ONNX. Exactly one of them is set. ``sha256`` is the file's;
    ``training`` is what a safetensors file says of its run, as it stands there
    (:data:`ssd_resnet34.artifact.TRAINING`).
    """

    kind: Kind
    contract: Contract
    sha256: str
    state: Mapping[str, NDArray[Any]] | None = None
    model: "onnx.ModelProto | None" = None
    training: str | None = None


def read(
    source: bytes | str | PathLike[str],
    contract: Contract | None = None,
    name: str = "the weights",
) -> ReadWeights:
    """Read any weights file.

    Args:
        source: a path, or the file's bytes.
        contract: what the classes are; default: the file's own, else COCO.
        name: stands for bytes in messages; a path speaks for itself.

    Raises:
        UnknownWeights: no such file.
        UnsafeWeights: it would run code or read other files; names what.
        WeightsError: damaged, of an unknown kind, or not the weights of this network (names the
            keys and shapes), or with other classes than COCO and no contract.
        ArtifactError: an ONNX graph that is cut short or another network.
    """
    data, name = bytes_of(source, name)
    digest = hashlib.sha256(data).hexdigest()
    # First, as the length that a safetensors file begins with may look like any other magic.
    if _is_safetensors(data):
        state, metadata = read_safetensors(data, name)
        text = metadata.get(CONTRACT_KEY)
        own = None if text is None else Contract.from_json(text)
        found = _from_state("safetensors", _stripped(state), contract, own, digest, name)
        return replace(found, training=metadata.get(TRAINING_KEY))
    if data.startswith((pickles.ZIP_MAGIC, pickles.PICKLE_MAGIC)):
        unpickled = pickles.read_pickle(data, name)
        if isinstance(unpickled, dict) and {"recipe", "progress", "average"} <= unpickled.keys():
            raise WeightsError(
                f"{name}: a checkpoint of training, which --resume goes on from; the weights are "
                "in model.safetensors beside it"
            )
        state = _pick(list(pickles.state_dicts(unpickled, name)), name)
        return _from_state("pytorch", state, contract, None, digest, name)
    if data.startswith(b"\x08"):  # field 1 of ModelProto, ir_version
        return _from_onnx(data, contract, digest, name)
    start = data[:16].lstrip()
    guess = (
        "; it looks like a web page, an error message of the server?" if start[:1] == b"<" else ""
    )
    raise WeightsError(
        f"{name}: neither ONNX, safetensors nor a PyTorch file (begins with {data[:8]!r}){guess}; "
        "give a weights file, or fetch it again"
    )


def read_safetensors(data: bytes, name: str) -> tuple[State, dict[str, str]]:
    """Arrays (bfloat16 as float32) and metadata of a safetensors file.

    Raises:
        WeightsError: damaged, cut short, or with a type that weights do not have.
    """
    import safetensors

    try:
        entries = safetensors.deserialize(data)  # type: ignore[no-untyped-call]  # its stub
    except safetensors.SafetensorError as error:
        raise WeightsError(
            f"{name}: not a whole safetensors file, cut short or damaged ({error}); fetch it again"
        ) from error
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])  # deserialize has checked it
    state: State = {}
    for key, entry in entries:
        kind = _SAFETENSORS_DTYPES.get(str(entry["dtype"]))
        if kind is None:
            raise WeightsError(
                f"{name}: {key} has the type {entry['dtype']}; weights are floating point"
            )
        shape = tuple(entry["shape"])
        flat = np.frombuffer(entry["data"], "<u2" if kind == "bf16" else kind).reshape(shape)
        state[key] = (flat.astype("u4") << 16).view(np.float32) if kind == "bf16" else flat
    return state, dict(header.get("__metadata__", {}))


_SAFETENSORS_DTYPES: Final = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "bf16",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "|i1",
    "U8": "|u1",
    "BOOL": "|b1",
}


def bytes_of(source: bytes | str | PathLike[str], name: str = "the weights") -> tuple[bytes, str]:
    """The file's bytes and its name for messages.

    Raises:
        UnknownWeights: no such file.
        WeightsError: empty, too large, or not readable.
    """
    if isinstance(source, bytes):
        data = source
    else:
        path = Path(source)
        name = str(path)
        try:
            if path.is_file() and path.stat().st_size > artifact.MAX_BYTES:
                raise WeightsError(
                    f"{name}: {path.stat().st_size:,} bytes, the limit is "
                    f"{artifact.MAX_BYTES:,}; the weights of this network have 80 million"
                )
            if path.exists() and not path.is_file():
                trained = path / "model.onnx"
                mend = trained if trained.is_file() else "the path of a weights file"
                raise UnknownWeights(f"{name}: not a file; give {mend}")
            data = path.read_bytes()
        except FileNotFoundError as error:
            raise UnknownWeights(
                f"{name}: no such file, and no weights record of that name; "
                "`ssd-resnet34 weights list` shows the records"
            ) from error
        except UnknownWeights:  # a ValueError, too
            raise
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise WeightsError(f"{name}: cannot be read ({reason}); check the path") from error
    if len(data) > artifact.MAX_BYTES:
        raise WeightsError(f"{name}: {len(data):,} bytes, the limit is {artifact.MAX_BYTES:,}")
    if not data:
        raise WeightsError(f"{name}: empty; fetch it again")
    return data, name


def _is_safetensors(data: bytes) -> bool:
    return len(data) > 9 and data[8:9] == b"{" and int.from_bytes(data[:8], "little") < 2**27


def _pick(found: list[tuple[str, State]], name: str) -> State:
    """The one state dict of this network among all that a pickle holds, prefixes removed."""
    states = {way: stripped for way, state in found if _FIRST in (stripped := _stripped(state))}
    if not states:
        seen = max((state for _, state in found), key=len, default={})
        shown = ", ".join(list(seen)[:4]) or "none"
        raise WeightsError(
            f"{name}: no weights of SSD-ResNet34 inside; its {len(seen)} tensors are called "
            f"{shown}{', …' if len(seen) > 4 else ''}; this network's begin with {_FIRST}"
        )
    if len(states) == 1:
        return next(iter(states.values()))
    for way in _PREFERRED:
        if way in states:
            return states[way]
    raise WeightsError(
        f"{name}: {len(states)} sets of weights inside ({', '.join(states)}), and none is called "
        "'model' or 'state_dict'; save the one you mean in a file of its own"
    )


def _stripped(state: State) -> State:
    """The state without a prefix that wrappers put in front of every key, such as ``module.``."""
    if _FIRST in state:
        return state
    prefix = next((key.removesuffix(_FIRST) for key in state if key.endswith(f".{_FIRST}")), "")
    return {key.removeprefix(prefix): value for key, value in state.items()}


def _classes(state: State) -> int | None:
    """Classes of the softmax that most of the class heads agree on, background included."""
    votes: Counter[int] = Counter()
    for n, level in enumerate(LEVELS):
        for leaf in ("weight", "bias"):
            value = state.get(f"conf.{n}.{leaf}")
            if value is not None and value.ndim and value.shape[0] % level.anchors == 0:
                votes[value.shape[0] // level.anchors] += 1
    return votes.most_common(1)[0][0] if votes else None


def _from_state(
    kind: Kind,
    state: State,
    contract: Contract | None,
    own: Contract | None,
    digest: str,
    name: str,
) -> ReadWeights:
    given = contract or own
    classes = _classes(state)
    wanted = given or COCO
    if classes is not None and classes != wanted.num_classes and _fits(state, classes):
        if given is None:
            raise WeightsError(
                f"{name}: the weights have {classes} classes (background included), COCO has "
                f"{COCO.num_classes}; give the contract they were trained with (its categories) to "
                "ssd_resnet34.weights.load, whose result is an artifact that has it"
            )
        raise WeightsError(
            f"{name}: the weights have {classes} classes (background included), the contract "
            f"{wanted.num_classes}; give the contract they were trained with"
        )
    check_state(state, wanted.num_classes, name)
    full: State = {}
    for key, shape in parameter_shapes(wanted.num_classes).items():
        if key.endswith(COUNTER):
            full[key] = np.array(state.get(key, 0), np.int64).reshape(shape)
        else:
            full[key] = np.ascontiguousarray(state[key], np.float32)
    return ReadWeights(kind, wanted, digest, state=full)


def _fits(state: State, classes: int) -> bool:
    """Whether every class head has this number of classes: then it is the contract that differs."""
    shapes = parameter_shapes(classes)
    keys = [key for key in shapes if key.startswith("conf.")]
    return all(key in state and state[key].shape == shapes[key] for key in keys)


def _from_onnx(data: bytes, contract: Contract | None, digest: str, name: str) -> ReadWeights:
    from ..network.cut import cut

    model = artifact.load(data, name)
    if "contract" in artifact.metadata(model):
        own = artifact.contract_of(model)
        # The lineage is the graph's in any case; whatever else differs would be ignored silently.
        if contract is not None and replace(contract, lineage=own.lineage) != own:
            raise WeightsError(
                f"{name}: the artifact has its own contract ({own.num_classes} classes), other "
                f"than the one given ({contract.num_classes}); leave the contract out"
            )
        artifact.check_heads(model, own)
        return ReadWeights("artifact", own, digest, model=model)
    try:
        result = cut(model, contract or COCO)
    except ArtifactError as error:
        raise ArtifactError(f"{name}: {error}") from error
    return ReadWeights("graph", artifact.contract_of(result.model), digest, model=result.model)

"""An artifact as other compilers want it: another opset, a fixed batch, bytes as input, and the
heads as two tensors or decoded to detections."""

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import numpy as np

from .. import artifact
from ..contract import INPUT_NAME, Contract
from ..errors import ArtifactError, UsageError
from . import decoding
from .decoding import Selection
from .nodes import Nodes

if TYPE_CHECKING:
    import onnx

Form = Literal["raw-heads", "split-heads", "end-to-end"]

OPSETS: Final = (13, 21)
"""First and last opset on offer: 13 is the first with a scale per channel, which int8 artifacts
have; 21 the last that every ONNX Runtime this package allows can run."""

MAX_BATCH: Final = 1024

KEY: Final = "export"
"""Metadata entry that says what an export is: the JSON of :class:`Export` and its source."""

_SAME_SINCE: Final = {
    **dict.fromkeys(("Add", "BatchNormalization", "Concat", "Constant", "Conv", "Identity"), 8),
    **dict.fromkeys(("GlobalAveragePool", "MaxPool", "Mul", "Relu", "Reshape", "Transpose"), 8),
    **dict.fromkeys(("DequantizeLinear", "QLinearConv", "QuantizeLinear"), 10),
    **{"Cast": 9, "Clip": 11, "Pad": 11, "Slice": 10},
}
"""Operators of detectors of this kind, and the opset from which on, up to OPSETS[1], their nodes
mean the same: later versions only add types and attributes, which the checker finds."""


@dataclass(frozen=True, slots=True)
class Export:
    """What an exported file is like.

    Attributes:
        form: outputs: ``raw-heads``, the twelve of the contract; ``split-heads``, ``logits`` and
            ``offsets``; ``end-to-end``, detections. See :mod:`ssd_resnet34.compiler.decoding`.
        batch: images a run, fixed, 1 to 1024; None leaves the axis dynamic.
        opset: 13 to 21; None keeps the artifact's.
        uint8_input: ``image`` is uint8 [N, 3, 1200, 1200], RGB, 0..255, and the graph normalises
            it; else float32, normalised.
        selection: what a detection is; only in the form ``end-to-end``.

    Raises:
        UsageError: a value out of its range.
    """

    form: Form = "raw-heads"
    batch: int | None = None
    opset: int | None = None
    uint8_input: bool = False
    selection: Selection = field(default_factory=Selection)

    def __post_init__(self) -> None:
        if self.form not in get_args(Form):
            raise UsageError(f"form: {self.form!r} is unknown; give {', '.join(get_args(Form))}")
        if self.batch is not None and not 1 <= self.batch <= MAX_BATCH:
            raise UsageError(f"batch: {self.batch} is out of range; give 1 to {MAX_BATCH}")
        if self.opset is not None and not OPSETS[0] <= self.opset <= OPSETS[1]:
            raise UsageError(
                f"opset: {self.opset} is out of range; give {OPSETS[0]} (the first with a scale "
                f"per channel) to {OPSETS[1]}"
            )
        if self.form != "end-to-end" and self.selection != Selection():
            raise UsageError(
                f"selection: {self.form} have no selection; give it to postprocess, or export "
                "end-to-end"
            )


def export(source: bytes, wanted: Export) -> bytes:
    """The artifact ``source`` as ``wanted``; the same arguments give the same bytes.

    Args:
        source: an artifact, fp32 or int8: ``SSDResNet34.source`` or ``.enf``.

    Returns:
        ONNX bytes with the contract, and under ``ssd_resnet34.export`` what was made of it.

    Raises:
        ArtifactError: ``source`` is no artifact with the twelve heads, but for instance an export
            of another form.
        UsageError: its operators do not exist in that opset, named.
    """
    model = artifact.load(source)
    contract = artifact.contract_of(model)
    _refuse_exports(model)
    artifact.check_heads(model, contract)
    _set_opset(model, wanted)
    if wanted.uint8_input:
        _normalise_input(model, contract)
    if wanted.form == "split-heads":
        decoding.join_heads(model, contract)
    elif wanted.form == "end-to-end":
        decoding.append_selection(model, contract, wanted.selection)
    made = replace(wanted, batch=_set_batch(model, wanted.batch))
    facts = _facts(made) | {"artifact_sha256": hashlib.sha256(source).hexdigest()}
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    artifact.embed(model, contract, {KEY: text})
    _check(model, wanted)
    return artifact.serialize(model)


def _facts(made: Export) -> dict[str, Any]:
    facts = asdict(made)
    selection = facts.pop("selection")
    return facts | selection if made.form == "end-to-end" else facts


def described(model: "onnx.ModelProto | bytes") -> Export:
    """What an exported file is like, from its metadata.

    Raises:
        ArtifactError: it is no export of this package.
    """
    text = artifact.metadata(model).get(KEY)
    try:
        facts = dict(json.loads(text or ""))
        facts.pop("artifact_sha256")
        ends = {name: facts.pop(name) for name in Selection.__slots__ if name in facts}
        return Export(**facts, selection=Selection(**ends))
    except (ValueError, TypeError, KeyError, RecursionError) as error:  # the last: "[[[…"
        raise ArtifactError(
            f"no {artifact.NAMESPACE}{KEY} metadata that can be read: the file is not an export of "
            "this package; make one with `ssd-resnet34 export`"
        ) from error


def _refuse_exports(model: "onnx.ModelProto") -> None:
    """Exports that are no artifacts; one with raw heads and float input is an artifact again."""
    if KEY not in artifact.metadata(model):
        return
    made = described(model)
    if made.form != "raw-heads" or made.uint8_input:
        what = made.form + (" with uint8 input" if made.uint8_input else "")
        raise ArtifactError(
            f"the file is an export already ({what}); export the artifact or the weights that it "
            "was made from"
        )


def _set_opset(model: "onnx.ModelProto", wanted: Export) -> None:
    """Label the model with the wanted opset, if its nodes mean the same there."""
    from onnx import helper

    imports = [item for item in model.opset_import if item.domain in ("", "ai.onnx")]
    if not imports:
        raise ArtifactError("the artifact imports no ONNX operators; export it again")
    own = imports[0].version
    if wanted.opset is None or wanted.opset == own:
        if wanted.form == "end-to-end" and own < OPSETS[0]:
            raise UsageError(
                f"opset: the artifact has {own}, and end-to-end needs {OPSETS[0]} to {OPSETS[1]}; "
                f"give --opset {OPSETS[0]}"
            )
        return
    lowest = min(own, wanted.opset)
    kinds = {node.op_type for node in model.graph.node if node.domain in ("", "ai.onnx")}
    unknown = sorted(kind for kind in kinds if _SAME_SINCE.get(kind, lowest + 1) > lowest)
    if unknown or own > OPSETS[1]:
        raise UsageError(
            f"opset: the artifact's opset {own} cannot become {wanted.opset}, as "
            f"{', '.join(unknown) or 'newer operators'} may mean something else there; leave "
            "--opset out to keep its own"
        )
    imports[0].version = wanted.opset
    model.ir_version = helper.find_min_ir_version_for([imports[0]])


def _normalise_input(model: "onnx.ModelProto", contract: Contract) -> None:
    """Make ``image`` uint8: (x/255 − mean) / std as one product and one sum, in the graph."""
    from onnx import TensorProto

    nodes = Nodes(model)
    mean, std = (np.array(values).reshape(1, 3, 1, 1) for values in (contract.mean, contract.std))
    floats = nodes.node("Cast", [INPUT_NAME], "image.float", to=TensorProto.FLOAT)
    scaled = nodes.node("Mul", [floats, nodes.floats("scale", 1 / (255 * std))], "image.scaled")
    shift = nodes.floats("image.shift", -mean / std)
    normalised = nodes.node("Add", [scaled, shift], "image.normalised")
    for node in model.graph.node:
        inputs = [normalised if name == INPUT_NAME else name for name in node.input]
        del node.input[:]
        node.input.extend(inputs)
    nodes.prepend()
    for value in model.graph.input:
        if value.name == INPUT_NAME:
            value.type.tensor_type.elem_type = TensorProto.UINT8


def _set_batch(model: "onnx.ModelProto", batch: int | None) -> int | None:
    """Fix the batch, where one is wanted or the artifact has one; gives it."""
    (image,) = (value for value in model.graph.input if value.name == INPUT_NAME)
    fixed: int = batch or image.type.tensor_type.shape.dim[0].dim_value
    if not fixed:
        return None
    for value in (image, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = fixed
    del model.graph.value_info[:]  # they may speak of another batch, and can be inferred
    return fixed


def _check(model: "onnx.ModelProto", wanted: Export) -> None:
    """Every node against its operator's definition in the model's opset, every type and shape."""
    import onnx

    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        reason = str(error).strip().splitlines()[0]
        if wanted.opset is None:
            raise ArtifactError(
                f"the artifact does not make a valid ONNX file ({reason}); compile it again"
            ) from error
        raise UsageError(
            f"opset: the artifact is not valid ONNX in opset {wanted.opset} ({reason}); leave "
            "--opset out to keep its own"
        ) from error

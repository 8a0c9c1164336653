"""Cutting a published graph at its twelve head convolutions.

What comes out is a graph with the contract's input and outputs, whatever stood behind the heads
(decoding, softmax, NMS, loops) and however the file was exported. The network itself is read from
the file, not re-implemented: exports of the TensorFlow lineage differ among themselves.
"""

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from .. import artifact
from ..contract import COCO, INPUT_NAME, INPUT_SIZE, Contract, Lineage
from ..errors import ArtifactError
from .builder import IR_VERSION, OPSET, interface
from .graph import GraphIndex, attribute
from .heads import Reading, find_heads, read_heads
from .trace import Head, Layout

if TYPE_CHECKING:
    import onnx

PRODUCER: Final = "ssd-resnet34 cut 1"
"""Raise the number when the same file comes to give other bytes: caches depend on it."""

_SAME_SINCE_OPSET_8: Final = frozenset(
    {"Conv", "BatchNormalization", "Relu", "MaxPool", "Add", "Constant", "Identity", "Transpose"}
    | {"QuantizeLinear", "DequantizeLinear", "QLinearConv", "GlobalAveragePool", "Concat"}
)
"""Operators whose old nodes mean the same in opset 17: such graphs are raised to it."""

_IMAGE: Final = "\0image"
"""The image while names are sorted out; no tensor of a file can have this name."""

_BEFORE_THE_NETWORK: Final = frozenset({"Conv", "Pad", "QuantizeLinear", "Transpose"})


@dataclass(frozen=True)
class Cut:
    """A cut graph and what was found out about it.

    ``model`` has input ``image`` [N, 3, 1200, 1200] and outputs ``cls_0..loc_5`` as the contract in
    its metadata says; ``layout`` is the order the heads had in the file.
    """

    model: "onnx.ModelProto"
    lineage: Lineage
    layout: Layout


def cut(model: "onnx.ModelProto", contract: Contract = COCO) -> Cut:
    """Cut ``model`` at its heads.

    Heads are recognised by output channels and map size, ordered by depth, and cut after their
    bias or output DequantizeLinear. The batch axis is made dynamic, channels-last input is made
    channels-first, anchor-major heads are made class-major, batch-norm is folded.

    Args:
        contract: gives the number of classes; its lineage is replaced by the graph's.

    Raises:
        ArtifactError: another network, or one whose heads cannot be understood; says what is there.
    """
    try:
        index = GraphIndex(model)
        heads = find_heads(index, contract)
        image = _image_tensors(index)
        reading = read_heads(index, heads)
        surgery = _Surgery(index, image, heads, reading)
        lineage: Lineage = reading.lineage
        result = surgery.assemble(replace(contract, lineage=lineage))
        _check_batch(result)
    # Attributes, shapes and tensors of another kind than their operator has; the protobuf format
    # allows any, anywhere.
    except (ValueError, TypeError, LookupError, ArithmeticError, RecursionError) as error:
        raise ArtifactError(
            f"the graph is not valid ONNX ({type(error).__name__}: {error}); export it again"
        ) from error
    return Cut(result, lineage, reading.layout)


def _image_tensors(index: GraphIndex) -> set[str]:
    """The tensors that hold the image in NCHW: the input, or what its Transpose makes of it."""
    name = index.image.name
    shape = index.shapes.get(name, ())
    size = (INPUT_SIZE, INPUT_SIZE)
    readers = index.readers(name)
    kinds = ", ".join(sorted({node.op_type for node in readers})) or "nothing"
    if index.image.type.tensor_type.elem_type != 1:  # FLOAT
        raise ArtifactError(f"input {name!r} is not float32; give an export with a float input")
    images = {name}
    if shape[1:] == (*size, 3):
        if any(n.op_type != "Transpose" or attribute(n, "perm") != [0, 3, 1, 2] for n in readers):
            raise ArtifactError(
                f"input {name!r} is channels-last and read by {kinds}, not by one Transpose to "
                "NCHW; give a channels-first export"
            )
        images = {node.output[0] for node in readers}
        readers = [reader for image in images for reader in index.readers(image)]
    elif shape[1:] != (3, *size):
        axes = ", ".join(str(axis or "?") for axis in shape)
        raise ArtifactError(
            f"input {name!r} has shape [{axes}], not [N, 3, {INPUT_SIZE}, {INPUT_SIZE}]"
        )
    foreign = sorted({node.op_type for node in readers} - _BEFORE_THE_NETWORK)
    if foreign:
        raise ArtifactError(
            f"the graph preprocesses its image ({', '.join(foreign)} reads it); this package "
            "normalises the image itself: give an export that takes the normalised image"
        )
    return images


class _Surgery:
    """The part of the graph in front of the heads, copied and changed."""

    def __init__(
        self, index: GraphIndex, images: set[str], heads: list[Head], reading: Reading
    ) -> None:
        self.index, self.images, self.heads, self.reading = index, images, heads, reading
        self.alias = dict.fromkeys(images, _IMAGE) | reading.bias_adds
        self.added: dict[str, NDArray[Any]] = {}
        self.ends = {head.name: self.end(head) for head in heads}
        self.kept = self.ancestors()
        self.nodes = {n: self.copy(n) for n in self.kept}
        self.uses = Counter(name for node in self.nodes.values() for name in node.input)

    def end(self, head: Head) -> str:
        """The float tensor behind a head: its convolution's, or the last DequantizeLinear's."""
        name = head.tensor
        added = [out for out, tensor in self.reading.bias_adds.items() if tensor == name]
        readers = self.index.readers(added[0] if added else name)
        for kind in ("QuantizeLinear", "DequantizeLinear"):
            node = next((node for node in readers if node.op_type == kind), None)
            if node:
                name = node.output[0]
                readers = self.index.readers(name)
        return name

    def ancestors(self) -> list[int]:
        """The nodes that the heads depend on, in order."""
        wanted = set(self.ends.values())
        kept = []
        for n in reversed(range(len(self.index.nodes))):
            node = self.index.nodes[n]
            made = [name for name in node.output if name in wanted]
            if not made or any(name in self.images for name in made):
                continue
            if any(item.HasField("g") or item.graphs for item in node.attribute):
                raise ArtifactError(
                    f"node {node.name or made[0]!r} ({node.op_type}) in front of the heads has "
                    "control flow; this network has none: give another export"
                )
            wanted.update(self.reading.bias_adds.get(name, name) for name in node.input)
            kept.append(n)
        return kept[::-1]

    def copy(self, n: int) -> "onnx.NodeProto":
        import onnx

        node = onnx.NodeProto()
        node.CopyFrom(self.index.nodes[n])
        del node.input[:]
        node.input.extend(self.alias.get(name, name) for name in self.index.nodes[n].input)
        return node

    def fresh(self, name: str) -> str:
        """A tensor name that nothing has yet."""
        taken = (self.index.producer, self.index.stored, self.added)
        while not name or any(name in names for names in taken):
            name += "_"
        return name

    def parameters(
        self, node: "onnx.NodeProto"
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """Weight and bias (zeros where there is none) of a float convolution, if constant."""
        values = [self.value(name) for name in node.input[1:] if name]
        if node.op_type != "Conv" or not values or any(value is None for value in values):
            return None
        weight, *rest = (np.asarray(value, np.float64) for value in values)
        return weight, rest[0] if rest else np.zeros(len(weight))

    def value(self, name: str) -> NDArray[Any] | None:
        return self.added[name] if name in self.added else self.index.constant(name)

    def rewrite(
        self, node: "onnx.NodeProto", weight: NDArray[np.float64], bias: NDArray[np.float64]
    ) -> None:
        names = []
        for value, leaf in ((weight, "weight"), (bias, "bias")):
            # Keep a readable name: the weight's own, with the leaf it is.
            stem = node.input[1].removesuffix(".weight").removesuffix("_")
            name = self.fresh(f"{stem}.{leaf}")
            self.added[name] = value.astype(np.float32)
            names.append(name)
        del node.input[1:]
        node.input.extend(names)

    def fold_batch_norms(self) -> None:
        """Move each BatchNormalization into the convolution in front of it, in float64."""
        makers = {node.output[0]: node for node in self.nodes.values()}
        for n in self.kept:
            norm = self.nodes[n]
            if norm.op_type != "BatchNormalization" or attribute(norm, "training_mode", 0):
                continue
            conv = makers.get(norm.input[0])
            if conv is None or self.uses[norm.input[0]] != 1:
                continue
            found = self.parameters(conv)
            leaves = [self.value(name) for name in norm.input[1:]]
            if found is None or any(leaf is None for leaf in leaves):
                continue
            gamma, beta, mean, variance = (np.asarray(leaf, np.float64) for leaf in leaves)
            with np.errstate(all="ignore"):  # assemble refuses what is not finite
                gain = gamma / np.sqrt(variance + attribute(norm, "epsilon", 1e-5))
            weight, bias = found
            self.rewrite(conv, weight * gain[:, None, None, None], beta + (bias - mean) * gain)
            conv.output[0] = norm.output[0]
            del self.nodes[n]

    def settle_heads(self) -> None:
        """Give the heads their bias, and the contract's channel order."""
        for head in self.heads:
            node = self.nodes[head.node]
            order = self.reading.permutation(head)
            bias = self.reading.biases.get(head.name)
            moved = (order != np.arange(head.channels)).any()
            if bias is None and not moved:
                continue
            found = self.parameters(node)
            if found is None:
                raise ArtifactError(
                    f"head {head.name} (node {node.name or head.tensor!r}, {node.op_type}) needs "
                    "its channels reordered, and its weights are not constant floats: give a "
                    "float export"
                )
            weight, present = found
            present = present if bias is None else bias.astype(np.float64)
            self.rewrite(node, weight[order], present[order])

    def assemble(self, contract: Contract) -> "onnx.ModelProto":
        import onnx
        from onnx import helper, numpy_helper

        self.fold_batch_norms()
        self.settle_heads()
        nodes = list(self.nodes.values())
        names = self.final_names(nodes)
        used = dict.fromkeys(name for node in nodes for name in node.input)
        for node in nodes:
            for side in (node.input, node.output):
                renamed = [names.get(name, name) for name in side]
                del side[:]
                side.extend(renamed)
        weights = []
        for name in used:
            if name in self.added:
                weights.append(numpy_helper.from_array(self.added[name], names.get(name, name)))
            elif name in self.index.stored:
                tensor = onnx.TensorProto()
                tensor.CopyFrom(self.index.stored[name])
                tensor.name = names.get(name, name)
                weights.append(tensor)
        for tensor in weights:
            value = numpy_helper.to_array(tensor)
            if value.dtype.kind == "f" and not np.isfinite(value).all():
                raise ArtifactError(
                    f"NaN or infinity in {tensor.name}; give an export of weights whose training "
                    "did not diverge"
                )
        image, outputs = interface(contract)
        graph = helper.make_graph(nodes, "ssd_resnet34", [image], outputs, weights)
        ir_version, opsets = self.versions(nodes)
        model = helper.make_model(
            graph, ir_version=ir_version, opset_imports=opsets, producer_name="ssd-resnet34"
        )
        artifact.embed(model, contract, {"producer": PRODUCER})
        return model

    def final_names(self, nodes: list["onnx.NodeProto"]) -> dict[str, str]:
        """Tensor -> its name in the result: the contract's for image and heads, which others
        that have such a name must give up."""
        names = {end: name for name, end in self.ends.items()} | {_IMAGE: INPUT_NAME}
        reserved = set(names.values())
        for node in nodes:
            for name in (*node.input, *node.output):
                if name in reserved and name not in names:
                    names[name] = self.fresh(f"{name}_in_source")
        return names

    def versions(
        self, nodes: list["onnx.NodeProto"]
    ) -> tuple[int, list["onnx.OperatorSetIdProto"]]:
        """IR version and opsets: those of the builder where the operators allow it."""
        import onnx

        opsets = {item.domain: item.version for item in self.index.model.opset_import}
        opset = opsets.get("", opsets.get("ai.onnx", 0))
        domains = {node.domain for node in nodes} - {"", "ai.onnx"}
        others = [
            onnx.OperatorSetIdProto(domain=d, version=opsets.get(d, 1)) for d in sorted(domains)
        ]
        ir_version = self.index.model.ir_version
        if 8 <= opset < OPSET and {node.op_type for node in nodes} <= _SAME_SINCE_OPSET_8:
            opset, ir_version = OPSET, IR_VERSION
        return ir_version, [onnx.OperatorSetIdProto(version=opset), *others]


def _check_batch(model: "onnx.ModelProto") -> None:
    """Refuse a graph that has the batch fixed inside it, or heads of another shape."""
    import onnx

    open_ended = onnx.ModelProto()
    open_ended.CopyFrom(model)
    for value in open_ended.graph.output:
        value.type.tensor_type.ClearField("shape")
    try:
        inferred = onnx.shape_inference.infer_shapes(open_ended, strict_mode=True)
    except (onnx.shape_inference.InferenceError, ValueError) as error:
        raise ArtifactError(
            f"the graph in front of the heads does not hold together: {error}"
        ) from error
    for value in inferred.graph.output:
        axes = value.type.tensor_type.shape.dim
        if not axes or axes[0].dim_param != "N":
            raise ArtifactError(
                f"the batch of {value.name} is fixed inside the graph and cannot be made dynamic; "
                "export it without reshaping in front of the heads"
            )

"""A read-only index of a published ONNX graph: who makes a tensor, who reads it, its shape."""

from collections import defaultdict
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ArtifactError

if TYPE_CHECKING:
    import onnx

MAX_NODES = 100_000
"""More than any published detector has (the largest: 7,000); bounds the time of a hostile file."""


_MOST_INTEGERS = 4096
"""Longest list of integers followed; a shape has a few, a gather's indices hundreds."""


class GraphIndex:
    """The graph of ``model``, for following tensors forward and backward.

    ``shapes`` holds what ONNX shape inference finds with a batch of one; unknown axes are ``None``.

    Raises:
        ArtifactError: not one image input, nodes out of order, or shapes that contradict.
    """

    def __init__(self, model: "onnx.ModelProto") -> None:
        self.model = model
        self.nodes = list(model.graph.node)
        if len(self.nodes) > MAX_NODES:
            raise ArtifactError(f"{len(self.nodes):,} nodes; no graph of this network has so many")
        self.stored = {tensor.name: tensor for tensor in model.graph.initializer}
        self.producer: dict[str, int] = {}
        self.consumers: dict[str, list[int]] = defaultdict(list)
        known = set(self.stored) | {value.name for value in model.graph.input}
        for n, node in enumerate(self.nodes):
            for name in node.input:
                if name and name not in known:
                    raise ArtifactError(
                        f"node {node.name or n!r} ({node.op_type}) reads {name!r} before any node "
                        "makes it: the graph is damaged; export it again"
                    )
                self.consumers[name].append(n)
            for name in node.output:
                if name in self.producer:
                    raise ArtifactError(f"two nodes make the tensor {name!r}: damaged graph")
                if name:
                    self.producer[name] = n
                    known.add(name)

    @cached_property
    def image(self) -> "onnx.ValueInfoProto":
        """The one input: graph inputs that are not initializers."""
        inputs = [value for value in self.model.graph.input if value.name not in self.stored]
        if len(inputs) != 1:
            names = ", ".join(value.name for value in inputs) or "none"
            raise ArtifactError(f"the graph has the inputs {names}; this network has one, an image")
        found: onnx.ValueInfoProto = inputs[0]
        return found

    @cached_property
    def shapes(self) -> dict[str, tuple[int | None, ...]]:
        """Tensor name -> shape, the image's batch being 1."""
        import onnx

        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        for value in model.graph.input:
            axes = value.type.tensor_type.shape.dim
            if value.name == self.image.name and len(axes) == 4:
                axes[0].dim_value = 1
        # Shapes that the file claims must not stand in for those that follow from its nodes.
        del model.graph.value_info[:]
        try:
            model = onnx.shape_inference.infer_shapes(model, data_prop=True)
        except (onnx.shape_inference.InferenceError, ValueError) as error:
            reason = str(error).strip().splitlines()[-1] if str(error).strip() else "unknown"
            raise ArtifactError(f"the graph's shapes contradict: {reason}") from error
        found = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
        shapes: dict[str, tuple[int | None, ...]] = dict(found)
        for value in (*model.graph.input, *model.graph.value_info, *model.graph.output):
            tensor = value.type.tensor_type
            if tensor.HasField("shape"):
                shapes[value.name] = tuple(
                    axis.dim_value if axis.HasField("dim_value") else None
                    for axis in tensor.shape.dim
                )
        return shapes

    @cached_property
    def depth(self) -> list[int]:
        """Longest way from an input to each node, in nodes."""
        depths: list[int] = []
        for node in self.nodes:
            before = (depths[self.producer[n]] for n in node.input if n in self.producer)
            depths.append(1 + max(before, default=0))
        return depths

    def constant(self, name: str) -> NDArray[Any] | None:
        """The value of an initializer or a Constant node's output, or None."""
        from onnx import numpy_helper

        while name in self.producer and self.nodes[self.producer[name]].op_type == "Identity":
            name = self.nodes[self.producer[name]].input[0]  # ends, as nodes are in order
        if name in self.stored:
            return numpy_helper.to_array(self.stored[name])
        at = self.producer.get(name)
        if at is None:
            return None
        node = self.nodes[at]
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.name == "value":
                    return numpy_helper.to_array(attribute.t)
        return None

    def readers(self, name: str) -> list["onnx.NodeProto"]:
        """The nodes that read a tensor, in graph order."""
        return [self.nodes[n] for n in self.consumers.get(name, ())]

    @cached_property
    def outputs(self) -> frozenset[str]:
        """Names of the graph's outputs."""
        return frozenset(value.name for value in self.model.graph.output)

    @cached_property
    def integers_known(self) -> dict[str, NDArray[np.int64] | None]:
        """What :func:`integers` found so far: a node may be asked for any number of times."""
        return {}


def attribute(node: "onnx.NodeProto", name: str, default: Any = None) -> Any:
    """The value of a node's attribute, or the default."""
    from onnx import helper

    for item in node.attribute:
        if item.name == name:
            return helper.get_attribute_value(item)  # ValueError: of no known type
    return default


def integers(index: GraphIndex, name: str, limit: int = 12) -> NDArray[np.int64] | None:
    """The integers of a constant, or of a shape computed with the image's batch being 1.

    Exporters write ``view(x.size(0), 81, -1)`` as Shape, Gather, Unsqueeze and Concat nodes; these
    are followed ``limit`` nodes deep. None where the value is not known.
    """
    if name not in index.integers_known:
        found = _integers(index, name, limit)
        index.integers_known[name] = found
    return index.integers_known[name]


def _integers(index: GraphIndex, name: str, limit: int) -> NDArray[np.int64] | None:
    value = index.constant(name)
    if value is not None:
        small = value.dtype.kind in "iuf" and value.size < _MOST_INTEGERS
        return value.astype(np.int64) if small else None
    at = index.producer.get(name)
    if at is None or limit == 0:
        return None
    node = index.nodes[at]
    if node.op_type == "Shape":
        shape = index.shapes.get(node.input[0])
        if shape is None or None in shape:
            return None
        return np.array(shape, np.int64)
    if node.op_type not in ("Gather", "Unsqueeze", "Squeeze", "Concat", "Cast"):
        return None
    parts = [integers(index, part, limit - 1) for part in node.input]
    values = [part for part in parts if part is not None]
    if len(values) != len(parts) or sum(part.size for part in values) > _MOST_INTEGERS:
        return None
    try:
        if node.op_type == "Gather":
            # Of one axis, as shapes are: then the result is no larger than the indices.
            return np.take(values[0].reshape(-1), values[1]) if values[0].ndim < 2 else None
        if node.op_type == "Concat":
            return np.concatenate(values, attribute(node, "axis"))
        if node.op_type == "Cast":
            return values[0]
        # One element whichever way: a scalar becomes a row of one, or the reverse.
        return values[0].reshape(-1) if node.op_type == "Unsqueeze" else values[0].reshape(())
    except (ValueError, IndexError, TypeError):
        return None

"""Nodes and constants that are added to a finished graph, in front of it or behind it."""

from typing import TYPE_CHECKING, Any

import numpy as np

from ..artifact import NAMESPACE
from ..errors import ArtifactError

if TYPE_CHECKING:
    import onnx


class Nodes:
    """Nodes under construction for the graph of ``model``; :meth:`append` or :meth:`prepend` ends.

    Names are given without the prefix ``ssd_resnet34.`` that keeps them apart from the graph's;
    what comes back is the full name, to be used as an input.
    """

    def __init__(self, model: "onnx.ModelProto") -> None:
        self._graph = model.graph
        self._nodes: list[onnx.NodeProto] = []
        self._taken = {value.name for value in model.graph.input}
        self._taken |= {tensor.name for tensor in model.graph.initializer}
        self._taken |= {name for node in model.graph.node for name in node.output}

    def floats(self, name: str, value: Any) -> str:
        """Store a float32 tensor."""
        return self._constant(name, np.array(value, np.float32))

    def ints(self, name: str, value: Any) -> str:
        """Store an int64 tensor."""
        return self._constant(name, np.array(value, np.int64))

    def node(
        self, kind: str, inputs: list[str], name: str, *, output: str = "", **attributes: Any
    ) -> str:
        """Add a node with one output, called as the node or, without prefix, ``output``."""
        return self._node(kind, inputs, name, [output or f"{NAMESPACE}{name}"], attributes)

    def top(self, tensor: str, count: int, name: str, axis: int) -> tuple[str, str]:
        """The ``count`` largest along an axis, descending, and their positions (int64).

        Among equals the lower position comes first, as the operator promises.
        """
        outputs = [f"{NAMESPACE}{name}", f"{NAMESPACE}{name}.positions"]
        self._node(
            "TopK", [tensor, self.ints(f"{name}.count", [count])], name, outputs, {"axis": axis}
        )
        return outputs[0], outputs[1]

    def append(self) -> None:
        """Put the nodes behind those of the graph."""
        self._graph.node.extend(self._nodes)

    def prepend(self) -> None:
        """Put the nodes in front of those of the graph."""
        others = list(self._graph.node)
        del self._graph.node[:]
        self._graph.node.extend([*self._nodes, *others])

    def _constant(self, name: str, value: "np.typing.NDArray[Any]") -> str:
        from onnx import numpy_helper

        full = self._take(f"{NAMESPACE}{name}")
        self._graph.initializer.append(numpy_helper.from_array(value, full))
        return full

    def _node(
        self,
        kind: str,
        inputs: list[str],
        name: str,
        outputs: list[str],
        attributes: dict[str, Any],
    ) -> str:
        from onnx import helper

        for output in outputs:
            self._take(output)
        full = f"{NAMESPACE}{name}"
        self._nodes.append(helper.make_node(kind, inputs, outputs, name=full, **attributes))
        return outputs[0]

    def _take(self, name: str) -> str:
        if name in self._taken:
            raise ArtifactError(
                f"the artifact's graph has a tensor {name!r} already, a name that the export "
                "needs; rename it there"
            )
        self._taken.add(name)
        return name

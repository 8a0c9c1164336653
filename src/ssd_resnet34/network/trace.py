"""Following the elements of the heads through a published graph.

Every element of every head gets a number; the arrays of numbers go through the graph's transposes,
reshapes and slices as the heads themselves would. Where a number ends up says what its channel
means; products and sums with constants on the way are the prior tables and the biases.
"""

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from ..contract import LEVELS
from .graph import GraphIndex, attribute, integers

if TYPE_CHECKING:
    import onnx

Layout = Literal["class-major", "anchor-major"]
Codes = NDArray[np.int32]

_MOST_TRACED: Final = 64
"""Elements followed behind the heads, in heads' elements; published graphs need 15. Bounds the
memory and time of a hostile file: every tensor followed counts, whether it is a copy or not."""


@dataclass(frozen=True, slots=True)
class Head:
    """A head convolution: ``node`` is its number in the graph, ``start`` its first element."""

    kind: Literal["cls", "loc"]
    level: int
    node: int
    tensor: str
    channels: int
    start: int

    @property
    def name(self) -> str:
        """Its name in the contract, such as ``cls_0``."""
        return f"{self.kind}_{self.level}"

    @property
    def depth(self) -> int:
        """Values a prior: classes, or 4 coordinates."""
        return self.channels // LEVELS[self.level].anchors

    @property
    def elements(self) -> int:
        """Values of one image: channels times cells."""
        return self.channels * LEVELS[self.level].size ** 2

    def codes(self) -> Codes:
        """The head's values numbered from ``start``: int32 [1, channels, F, F]."""
        size = LEVELS[self.level].size
        codes = np.arange(self.start, self.start + self.elements, dtype=np.int32)
        return codes.reshape(1, self.channels, size, size)


class Trace:
    """Numbers the heads' elements and follows them forward, node by node."""

    def __init__(self, index: GraphIndex, heads: list[Head]) -> None:
        self.index, self.heads = index, heads
        self.most = sum(head.elements for head in heads)
        """Elements of the largest tensor followed: all heads together."""
        self.budget = _MOST_TRACED * self.most
        self.codes: dict[str, Codes] = {head.tensor: head.codes() for head in heads}
        self.source: dict[str, Head] = {head.tensor: head for head in heads}
        self.exponential: set[str] = set()
        self.layouts: dict[str, Layout | None] = {}
        self.biases: dict[str, NDArray[np.float32]] = {}
        self.bias_adds: dict[str, str] = {}
        self.tables: list[tuple[str, bool, Codes, NDArray[np.float64]]] = []
        """(Mul or Add, behind an Exp, codes, values) of each product or sum with a table."""

    def run(self) -> None:
        """Follow every code through the graph, as far as the budget goes."""
        for node in self.index.nodes:
            traced = [name for name in node.input if name in self.codes]
            if not traced or self.budget < 0:
                continue
            try:
                results = self.step(node)
            except (ValueError, IndexError, TypeError, KeyError):
                continue  # an operation with arguments of another kind: not followed further
            source = self.source.get(traced[0])
            for name, codes in zip(node.output, results, strict=False):
                self.budget -= codes.size + 1
                if source and node.op_type != "Concat" and self.recognise(source, codes):
                    continue
                self.codes[name] = codes
                if source and node.op_type != "Concat":
                    self.source[name] = source
                if node.op_type == "Exp" or any(name in self.exponential for name in traced):
                    self.exponential.add(name)

    def step(self, node: "onnx.NodeProto") -> list[Codes]:
        """The outputs' codes of a node that moves or scales elements; [] for any other."""
        kind, index = node.op_type, self.index
        if kind == "Concat":
            parts = [self.codes[n] for n in node.input]
            self.bound(sum(part.size for part in parts))
            return [np.concatenate(parts, attribute(node, "axis"))]
        if kind in ("Mul", "Add", "Sub", "Div"):
            return self.arithmetic(node)
        x = self.codes[node.input[0]]
        if kind in ("Identity", "Cast", "QuantizeLinear", "DequantizeLinear", "Exp"):
            return [x]
        if kind == "Transpose":
            return [x.transpose(attribute(node, "perm"))]
        if kind == "Flatten":
            axis = attribute(node, "axis", 1)
            return [x.reshape(int(np.prod(x.shape[:axis])), -1)]
        values = [integers(index, name) for name in node.input[1:]]
        if kind == "Reshape" and values[0] is not None:
            shape = [x.shape[n] if v == 0 else int(v) for n, v in enumerate(values[0].reshape(-1))]
            return [x.reshape(shape)]
        if kind == "Gather" and values[0] is not None:
            axis = attribute(node, "axis", 0)
            self.bound(x.size // max(x.shape[axis], 1) * values[0].size)
            return [np.take(x, values[0], axis)]
        if kind in ("Squeeze", "Unsqueeze"):
            axes = attribute(node, "axes") or [int(v) for v in np.ravel(values[0])]  # type: ignore[arg-type]  # None raises TypeError, caught in run
            return [np.squeeze(x, tuple(axes)) if kind == "Squeeze" else np.expand_dims(x, axes)]
        if kind == "Slice":
            return [_sliced(node, x, values)]
        if kind == "Split":
            axis = attribute(node, "axis", 0)
            sizes = attribute(node, "split") or (values[0] if values else None)
            if sizes is None:
                return list(np.split(x, len(node.output), axis))
            return list(np.split(x, np.cumsum(sizes)[:-1], axis))
        return []

    def bound(self, size: int) -> None:
        """Refuse to follow what is larger than all heads together, before it is made."""
        if size > self.most:
            raise ValueError(f"{size} elements")

    def arithmetic(self, node: "onnx.NodeProto") -> list[Codes]:
        """Follow a traced operand; note the constant one if it is a bias or a table."""
        name, other = node.input if node.input[0] in self.codes else list(node.input)[::-1]
        value = self.index.constant(other)
        if value is None:
            return []
        codes = self.codes[name]
        if value.size > 1:
            self.bound(prod(np.broadcast_shapes(value.shape, codes.shape)))
            values, codes = np.broadcast_arrays(value.astype(np.float64), codes)
            source = self.source.get(name)
            if source and node.op_type == "Add" and value.size == source.channels:
                self.bias(source, node, codes, values)
            elif node.op_type in ("Mul", "Add") and value.size >= LEVELS[-1].priors:
                behind = name in self.exponential
                self.tables.append((node.op_type, behind, codes, values))
        return [codes]

    def bias(
        self, head: Head, node: "onnx.NodeProto", codes: Codes, values: NDArray[np.float64]
    ) -> None:
        """Note the bias that an addition gives to each channel of a head, float32 (channels,)."""
        if len(self.index.nodes[head.node].input) > 2 or head.name in self.biases:
            return
        channel = (codes.reshape(-1) - head.start) // LEVELS[head.level].size ** 2
        bias = np.zeros(head.channels, np.float32)
        bias[channel] = values.reshape(-1)
        if (bias[channel] == values.reshape(-1).astype(np.float32)).all():  # one value a channel
            self.biases[head.name] = bias
            self.bias_adds[node.output[0]] = head.tensor

    def recognise(self, head: Head, codes: Codes) -> bool:
        """Note the layout once the head lies as priors × depth; True to stop following it."""
        if head.name in self.layouts:
            return head.kind == "cls"
        level = LEVELS[head.level]
        if sorted(codes.shape) != sorted((1, head.depth, level.priors)) or codes.ndim != 3:
            return False
        axis = codes.shape.index(head.depth)
        rows = np.moveaxis(codes, axis, -1).reshape(level.priors, head.depth) - head.start
        cell, channel = rows % level.size**2, rows // level.size**2
        depth = np.arange(head.depth)
        layout: Layout | None = None
        if (cell == cell[:, :1]).all():
            if (channel == depth * level.anchors + channel[:, :1]).all():
                layout = "class-major"
            elif (channel == depth + channel[:, :1]).all():
                layout = "anchor-major"
        self.layouts[head.name] = layout
        return head.kind == "cls"


def _sliced(node: "onnx.NodeProto", x: Codes, values: list[NDArray[np.int64] | None]) -> Codes:
    if values:
        starts, ends, *rest = values
        axes = rest[0] if rest else None
        steps = rest[1] if len(rest) > 1 else None
    else:
        starts, ends = (np.array(attribute(node, key)) for key in ("starts", "ends"))
        axes, steps = attribute(node, "axes"), None
    if starts is None or ends is None:
        raise ValueError("a slice with computed ends")
    if axes is None:
        axes = np.arange(len(starts))
    if steps is None:
        steps = np.ones(len(starts), np.int64)
    window: list[Any] = [slice(None)] * x.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        window[int(axis)] = slice(int(start), int(end), int(step))
    part: Codes = x[tuple(window)]
    return part

"""Finding the twelve heads of a published graph, and reading their channel order and lineage.

Names mean nothing here: a head is a convolution with the contract's channels on the contract's
map. What its channels mean is read from what the graph does behind it (:mod:`.trace`).
"""

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from ..contract import INPUT_SIZE, LEVELS, NUM_PRIORS, Contract, Lineage
from ..errors import ArtifactError
from .graph import GraphIndex, attribute
from .trace import Codes, Head, Layout, Trace

CONVOLUTIONS: Final = ("Conv", "QLinearConv")


@dataclass(frozen=True, slots=True)
class Reading:
    """What follows from the graph behind the heads.

    ``order`` gives the source coordinate of dx, dy, dw and dh; ``biases`` the bias of each head
    whose convolution has none, and ``bias_adds`` the outputs of the Add nodes that held them.
    """

    layout: Layout
    order: tuple[int, int, int, int]
    lineage: Lineage
    biases: dict[str, NDArray[np.float32]]
    bias_adds: dict[str, str]

    def permutation(self, head: Head) -> NDArray[np.int64]:
        """Old channel of each channel of the contract's order (class·A + anchor)."""
        anchors = LEVELS[head.level].anchors
        depth = np.array(self.order) if head.kind == "loc" else np.arange(head.depth)
        anchor = np.arange(anchors)
        if self.layout == "class-major":
            return (depth[:, None] * anchors + anchor).reshape(-1)
        return (anchor * head.depth + depth[:, None]).reshape(-1)


def find_heads(index: GraphIndex, contract: Contract) -> list[Head]:
    """The twelve heads in the contract's order.

    Raises:
        ArtifactError: there are none, or others; says what was found instead.
    """
    shapes = contract.head_shapes()
    if contract.num_classes == 4:
        raise ArtifactError(
            "with 3 categories the class and box heads have the same shapes, so a foreign graph's "
            "heads cannot be told apart; give a checkpoint of the model instead"
        )
    found: dict[tuple[int, int, int], list[int]] = {shape: [] for shape in shapes.values()}
    for n, node in enumerate(index.nodes):
        shape = index.shapes.get(node.output[0], ()) if node.op_type in CONVOLUTIONS else ()
        if len(shape) == 4 and shape[1:] in found:
            found[shape[1:]].append(n)  # type: ignore[index]  # the test above says it is a key
    heads, start = [], 0
    wanted = list(shapes.values())
    for (name, shape), position in zip(
        shapes.items(), (wanted[:n].count(s) for n, s in enumerate(wanted)), strict=True
    ):
        nodes = sorted(found[shape], key=lambda n: index.depth[n])
        depths = [index.depth[n] for n in nodes]
        if len(nodes) != wanted.count(shape) or len(set(depths)) != len(depths):
            raise ArtifactError(_refusal(index, contract))
        node = nodes[position]
        kind: Literal["cls", "loc"] = "cls" if name.startswith("cls") else "loc"
        tensor = index.nodes[node].output[0]
        heads.append(Head(kind, int(name[-1]), node, tensor, shape[0], start))
        start += heads[-1].elements
    return heads


def _refusal(index: GraphIndex, contract: Contract) -> str:
    """What the graph has instead of the twelve heads."""
    feeds: set[str] = set()  # tensors that some later convolution depends on
    last = []
    for node in reversed(index.nodes):
        behind = any(name in feeds for name in node.output)
        if node.op_type in CONVOLUTIONS and not behind:
            last.append(index.shapes.get(node.output[0], ()))
        if node.op_type in CONVOLUTIONS or behind:
            feeds.update(node.input)
    maps = [f"{s[1]} channels on {s[2]}x{s[3]}" for s in reversed(last) if len(s) == 4]
    axes = "x".join(str(n or "?") for n in index.shapes.get(index.image.name, ()))
    outputs = ", ".join(value.name for value in index.model.graph.output)
    ours = ", ".join(f"{size.size}x{size.size}" for size in LEVELS)
    if len(maps) > 1:
        shown = "; ".join(maps[:12]) + (f" and {len(maps) - 12} more" if len(maps) > 12 else "")
        what = f"{len(maps)} head convolutions, but of other sizes: {shown}"
    else:
        what = f"no heads (last convolution: {maps[0] if maps else 'none'})"
    return (
        f"another network: image {axes}, outputs {outputs}; it has {what}. SSD-ResNet34 has twelve "
        f"on maps {ours} for {contract.num_classes} classes and a {INPUT_SIZE}x{INPUT_SIZE} image; "
        "give one of its files"
    )


def read_heads(index: GraphIndex, heads: list[Head]) -> Reading:
    """Channel order, coordinate order and lineage, from what the graph does with the heads.

    Raises:
        ArtifactError: the order cannot be known from the graph, or a head has no bias.
    """
    trace = Trace(index, heads)
    trace.run()
    lineage = _lineage(index, heads, trace)
    layout = _layout(index, heads, trace, lineage)
    order = _coordinates(heads, trace, layout)
    if order is None and layout == "anchor-major":
        raise ArtifactError(
            "the box heads are anchor-major, and what the graph does with them does not show the "
            "order of their coordinates (dx dy dw dh or dy dx dh dw): refused rather than guessed; "
            "give the checkpoint or another export"
        )
    for head in heads:
        node = index.nodes[head.node]
        if node.op_type == "Conv" and len(node.input) < 3 and head.name not in trace.biases:
            raise ArtifactError(
                f"head {head.name} (node {node.name or head.tensor!r}) has no bias, in the "
                "convolution or in an Add behind it; give another export"
            )
    return Reading(layout, order or (0, 1, 2, 3), lineage, trace.biases, trace.bias_adds)


def _layout(index: GraphIndex, heads: list[Head], trace: Trace, lineage: Lineage) -> Layout:
    found = {head.name: trace.layouts.get(head.name) for head in heads}
    if not trace.layouts and lineage == "pytorch":
        ends = {
            head.name
            for head in heads
            for name, source in trace.source.items()
            if source == head and name in index.outputs and trace.codes[name].ndim == 4
        }
        if len(ends) == len(heads):  # raw heads, as the contract has them
            return "class-major"
    layouts = set(found.values())
    if layouts == {"class-major"}:
        return "class-major"
    if layouts == {"anchor-major"}:
        return "anchor-major"
    unknown = next((name for name, layout in found.items() if layout is None), "cls_0")
    raise ArtifactError(
        f"the order of the channels of head {unknown} (class-major or anchor-major) cannot be read "
        "from the graph behind it: refused rather than guessed; give the checkpoint or another "
        "export"
    )


def _loc_elements(heads: list[Head], codes: Codes, layout: Layout) -> tuple[NDArray[Any], ...]:
    """(level, coordinate, anchor) of each code of the box heads; level -1 for others."""
    level = np.full(codes.size, -1)
    coordinate, anchor = np.zeros_like(level), np.zeros_like(level)
    flat = codes.reshape(-1)
    for head in heads:
        inside = (flat >= head.start) & (flat < head.start + head.elements)
        if head.kind != "loc" or not inside.any():
            continue
        size, anchors = LEVELS[head.level].size, LEVELS[head.level].anchors
        channel = (flat[inside] - head.start) // size**2
        level[inside] = head.level
        by = anchors if layout == "class-major" else 4
        first, second = channel // by, channel % by
        coordinate[inside], anchor[inside] = (
            (first, second) if layout == "class-major" else (second, first)
        )
    return level, coordinate, anchor


def _coordinates(
    heads: list[Head], trace: Trace, layout: Layout
) -> tuple[int, int, int, int] | None:
    """Source coordinate of dx, dy, dw, dh, from the prior sizes that each is multiplied by.

    A width is behind an Exp for dw and not for dx; priors of anchor 2 are wide, of anchor 3 tall.
    """
    roles: dict[tuple[bool, bool], set[int]] = {}
    for kind, behind, codes, values in trace.tables:
        if kind != "Mul":
            continue
        level, coordinate, anchor = _loc_elements(heads, codes, layout)
        flat = values.reshape(-1)
        for n in range(4):
            wide = flat[(level == 0) & (coordinate == n) & (anchor == 2)]
            tall = flat[(level == 0) & (coordinate == n) & (anchor == 3)]
            if wide.size and tall.size and wide.mean() != tall.mean():
                roles.setdefault((behind, bool(wide.mean() > tall.mean())), set()).add(n)
    wanted = [(False, True), (False, False), (True, True), (True, False)]
    sources = [roles.get(role, set()) for role in wanted]
    if any(len(source) != 1 for source in sources):
        return None
    a, b, c, d = (source.pop() for source in sources)
    return (a, b, c, d) if {a, b, c, d} == {0, 1, 2, 3} else None


def _lineage(index: GraphIndex, heads: list[Head], trace: Trace) -> Lineage:
    """From the prior centres in the graph; without them from its maps and padding.

    The TensorFlow lineage has other centres on level 2 ((i + 0.5)·92/1200 instead of /13), a 7×7
    map instead of 9×9 under level 4, and pads as SAME does (more at the end than at the start).

    Raises:
        ArtifactError: neither shows.
    """
    cells = np.arange(LEVELS[2].size) + 0.5
    centres: dict[Lineage, NDArray[np.float64]] = {
        "pytorch": cells / LEVELS[2].size,
        "tensorflow": cells * LEVELS[2].tensorflow_step / INPUT_SIZE,
    }
    head = next(head for head in heads if head.name == "loc_2")
    for kind, behind, codes, values in trace.tables:
        inside = (codes >= head.start) & (codes < head.start + head.elements)
        if kind != "Add" or behind or not inside.any() or values.size < NUM_PRIORS:
            continue
        seen = np.unique(np.round(values[inside], 6))
        for lineage, expected in centres.items():
            if seen.shape == expected.shape and np.allclose(seen, expected, rtol=0, atol=2e-5):
                return lineage
    under = index.shapes.get(index.nodes[next(h for h in heads if h.level == 4).node].input[0], ())
    first = next(node for node in index.nodes if node.op_type in CONVOLUTIONS)
    pads = list(attribute(first, "pads", [0, 0, 0, 0]))
    same = attribute(first, "auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID")
    if tuple(under[2:]) == (7, 7) or same or pads[:2] != pads[2:]:
        return "tensorflow"
    if tuple(under[2:]) == (9, 9) and pads == [3, 3, 3, 3]:
        return "pytorch"
    raise ArtifactError(
        "the lineage (PyTorch or TensorFlow, whose priors differ) cannot be read from the graph: "
        f"it holds no priors, pads its first convolution by {pads} and has a map of "
        f"{'x'.join(map(str, under[2:]))} under level 4; refused rather than guessed, give another "
        "export"
    )

"""Convolution, bias, residual and ReLU as one kernel, where that is faster.

PyTorch runs the four one after another: the last three each read and write a whole map, which on a
GPU takes a good part of the convolution's own time. cuDNN has one kernel for all of them. It is not
always the faster one (7×7 kernels, channels last, were reported 17 times slower), so each layer is
tried both ways on its own input.
"""

import operator
from collections.abc import Callable
from time import perf_counter

import torch
from torch import Tensor, fx, nn

Clock = Callable[[], float]

_TRIALS = 5


class ConvReLU(nn.Module):
    """relu(conv(x) + bias + added), ``added`` being the shortcut of a residual block.

    ``fused``: by one cuDNN kernel; else by one kernel for each step.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv
        self.fused = False

    def forward(self, x: Tensor, added: Tensor | None = None) -> Tensor:
        """The convolution of [N, C, H, W], plus ``added`` of its result's shape, then ReLU."""
        if self.fused:
            return one_kernel(self.conv, x, added)
        return separate(self.conv, x, added)


def one_kernel(conv: nn.Conv2d, x: Tensor, added: Tensor | None) -> Tensor:
    """By cuDNN; x [N, C, H, W] on a CUDA device.

    Raises:
        RuntimeError: cuDNN has no such kernel.
    """
    layout = (conv.stride, conv.padding, conv.dilation, conv.groups)
    y: Tensor
    if added is None:
        y = torch.cudnn_convolution_relu(x, conv.weight, conv.bias, *layout)  # type: ignore[arg-type]
    else:
        y = torch.cudnn_convolution_add_relu(x, conv.weight, added, 1.0, conv.bias, *layout)  # type: ignore[arg-type]
    return y


def separate(conv: nn.Conv2d, x: Tensor, added: Tensor | None) -> Tensor:
    """The same by a kernel for each step, in place after the convolution: [N, C, H, W]."""
    y: Tensor = conv(x)
    if added is not None:
        y += added
    return y.relu_()


def joined(network: nn.Module) -> fx.GraphModule:
    """The same network with every convolution that a ReLU follows, with or without a sum between
    them, as one :class:`ConvReLU`; identities are gone. Parameters are shared, not copied.
    """
    traced = fx.symbolic_trace(network)
    graph = traced.graph
    for node in list(graph.nodes):
        if isinstance(_module(traced, node), nn.Identity):
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
    for node in list(graph.nodes):
        is_relu = node.target is torch.relu or isinstance(_module(traced, node), nn.ReLU)
        if not is_relu:
            continue
        before, added = node.args[0], None
        if before.target in (operator.add, torch.add) and len(before.users) == 1:
            # The sum's first part is the block's own convolution, the second its shortcut.
            before, added = before.args
        conv = _module(traced, before)
        if not isinstance(conv, nn.Conv2d) or len(before.users) != 1:
            continue
        name = f"joined_{before.name}"
        traced.add_submodule(name, ConvReLU(conv))
        with graph.inserting_before(node):
            inputs = (before.args[0],) if added is None else (before.args[0], added)
            node.replace_all_uses_with(graph.call_module(name, inputs))
        graph.erase_node(node)
    graph.eliminate_dead_code()
    traced.delete_all_unused_submodules()
    graph.lint()
    traced.recompile()
    return traced


def choose(network: nn.Module, batch: Tensor, clock: Clock = perf_counter) -> tuple[int, int]:
    """Run ``batch`` [N, C, H, W] through the network, trying each :class:`ConvReLU` both ways.

    The one kernel is taken where it exists, gives the same numbers (to the rounding of the
    tensors' precision) and is faster.

    Returns:
        How many layers run as one kernel now, and how many could.
    """
    layers = [module for module in network.modules() if isinstance(module, ConvReLU)]

    def try_both(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, ConvReLU)
        x, added = inputs[0], inputs[1] if len(inputs) > 1 else None
        layer.fused = _one_kernel_is_better(layer.conv, x, added, clock)

    hooks = [layer.register_forward_pre_hook(try_both) for layer in layers]
    try:
        network(batch)
    finally:
        for hook in hooks:
            hook.remove()
    return sum(layer.fused for layer in layers), len(layers)


def _one_kernel_is_better(conv: nn.Conv2d, x: Tensor, added: Tensor | None, clock: Clock) -> bool:
    plain = separate(conv, x, added)
    try:
        fused = one_kernel(conv, x, added)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:  # no such kernel for this layer, precision or device
        return False
    # The halves round after each step; fp32 kernels sum in different orders.
    rounding = max(4 * torch.finfo(plain.dtype).eps, 2e-5)
    allowed = rounding * max(1.0, float(plain.abs().max()))
    if not float((fused - plain).abs().max()) <= allowed:  # not "greater": a NaN is wrong too
        return False
    del plain, fused

    def seconds(way: Callable[[nn.Conv2d, Tensor, Tensor | None], Tensor]) -> float:
        _wait(x)
        began = clock()
        for _ in range(_TRIALS):
            way(conv, x, added)
        _wait(x)
        return clock() - began

    return seconds(one_kernel) < seconds(separate)


def _wait(x: Tensor) -> None:
    if x.is_cuda:
        torch.cuda.synchronize(x.device)


def _module(traced: fx.GraphModule, node: object) -> nn.Module | None:
    """The module that a node calls."""
    if isinstance(node, fx.Node) and node.op == "call_module":
        return traced.get_submodule(str(node.target))
    return None

"""A float artifact's weights in the torch module, batch-norm folded away."""

import torch
from onnx import numpy_helper
from torch import nn

from ... import artifact
from ...contract import Contract
from ...errors import SessionError, UnsupportedPrecision
from ...network.module import SSDResNet34Module

_OPS = frozenset({"Conv", "Relu", "Add", "MaxPool"})


def folded(model: bytes, contract: Contract) -> nn.Module:
    """The network of a float artifact in evaluation mode, float32, on the CPU.

    Its convolutions have the folded biases and each batch-norm is an identity.

    Raises:
        UnsupportedPrecision: the artifact is not one of this package's builder: a published graph
            has names and operators of its own.
        SessionError: the artifact's weights do not fit the architecture.
    """
    graph = artifact.load(model).graph
    with torch.device("meta"):
        network = SSDResNet34Module(contract.num_classes)
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(parent, name, nn.Identity())
            elif isinstance(child, nn.Conv2d) and child.bias is None:
                # The folded convolution has a bias; its values come with the weights below.
                child.register_parameter("bias", nn.Parameter(torch.empty(child.out_channels)))
    wanted = network.state_dict()
    found = {tensor.name: tensor for tensor in graph.initializer}
    kinds = {node.op_type for node in graph.node}
    if found.keys() != wanted.keys() or not kinds <= _OPS:
        raise UnsupportedPrecision(
            "engine torch runs only float artifacts built by this package from a checkpoint; this "
            "one is a published graph with names or operators of its own: use engine='openvino' or "
            "'onnxruntime'"
        )
    # Copies: numpy_helper gives read-only views of the file, and torch wants its own memory.
    state = {
        name: torch.from_numpy(numpy_helper.to_array(tensor).copy())
        for name, tensor in found.items()
    }
    try:
        network.load_state_dict(state, assign=True)
    except RuntimeError as error:
        raise SessionError(
            f"engine torch cannot load the artifact: {error}; compile the artifact again"
        ) from error
    return network.eval()

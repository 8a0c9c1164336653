"""PyTorch (extra ``[torch]``): the artifact's weights in the torch module, on CPU or CUDA.

It runs float artifacts that this package's builder made: their weights are named by checkpoint
keys, and the architecture is known. A published graph cut at its heads is another program.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ... import artifact
from ...errors import EngineUnavailable, SessionError, UnsupportedPrecision
from .. import cpu
from ..tensors import Array, image_by_image
from . import CompileRequest, import_engine, version_of

if TYPE_CHECKING:
    from torch import nn

_CUDA_BATCH: Final = 8
"""Images in one pass on a GPU; more gain nothing and need memory."""

_OPS: Final = frozenset({"Conv", "Relu", "Add", "MaxPool"})


class TorchEngine:
    """Engine ``torch``."""

    name = "torch"

    @property
    def version(self) -> str:
        return version_of("torch")

    def precisions(self, device: str) -> Mapping[str, str]:
        """fp32, and bf16 where the device has it."""
        torch = import_engine("torch", "ssd-resnet34[torch]")
        int8 = "it runs float artifacts only; openvino and onnxruntime run int8"
        if device == "cpu":
            capable = {"avx512_bf16", "amx_bf16", "bf16"} & cpu.features()
            reason = "" if capable else "this CPU has no bfloat16 instructions"
        elif device.partition(":")[0] == "cuda":
            _check_cuda(torch, device)
            capable = torch.cuda.get_device_capability(device) >= (8, 0)
            reason = "" if capable else "this GPU has no bfloat16 (it needs capability 8.0)"
        else:
            raise EngineUnavailable(
                f"engine torch does not run on device {device!r}; use 'cpu', 'cuda' or 'cuda:1'"
            )
        return {"fp32": "", "bf16": reason, "int8": int8}

    def compile(self, model: bytes, request: CompileRequest) -> "TorchRunner":
        """Load the artifact's folded weights into the module.

        Raises:
            UnsupportedPrecision: the artifact is not one of the canonical builder's.
        """
        return TorchRunner(_folded_module(model, request), request)


def _check_cuda(torch: Any, device: str) -> None:
    if not torch.cuda.is_available():
        built = "it sees no usable GPU" if torch.version.cuda else "it is a CPU-only build"
        raise EngineUnavailable(
            f"engine torch cannot use {device}: {built}; use device='cpu', or install a CUDA build "
            "of torch and a driver for it"
        )
    number = int(device.partition(":")[2] or 0)
    if number >= torch.cuda.device_count():
        raise EngineUnavailable(
            f"engine torch cannot use {device}: there are {torch.cuda.device_count()} GPUs, "
            "numbered from 0"
        )


def _folded_module(model: bytes, request: CompileRequest) -> "nn.Module":
    """The network with every batch-norm removed and the artifact's weights, on its device."""
    import torch
    from onnx import numpy_helper
    from torch import nn

    from ...network.module import SSDResNet34Module

    graph = artifact.load(model).graph
    with torch.device("meta"):
        network = SSDResNet34Module(request.contract.num_classes)
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
    kind = torch.bfloat16 if request.precision == "bf16" else torch.float32
    network.eval().to(request.device, kind)
    # nn.Module.to takes memory_format, its type stub does not say so.
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


class TorchRunner:
    """The module in evaluation mode, channels last (1.2 times faster on CPUs)."""

    def __init__(self, network: "nn.Module", request: CompileRequest) -> None:
        self._network: nn.Module | None = network
        self._request = request

    def run(self, tensor: Array) -> list[Array]:
        if self._request.device == "cpu":
            return image_by_image(tensor, self._run)
        parts = [self._run(tensor[n : n + _CUDA_BATCH]) for n in range(0, len(tensor), _CUDA_BATCH)]
        if len(parts) == 1:
            return parts[0]
        return [np.concatenate(head) for head in zip(*parts, strict=True)]

    def _run(self, images: Array) -> list[Array]:
        import torch

        network = self._network
        assert network is not None  # the session never runs a closed runner
        kind = torch.bfloat16 if self._request.precision == "bf16" else torch.float32
        # A read-only array would make torch warn; it is never written to here.
        source = images if images.flags.writeable else images.copy()
        with _settings(self._request), torch.inference_mode():
            try:
                batch = torch.from_numpy(source).to(self._request.device, kind)
                heads = network(batch.to(memory_format=torch.channels_last))
                return [np.ascontiguousarray(head.float().cpu().numpy()) for head in heads]
            except RuntimeError as error:  # out of memory, a lost device
                raise SessionError(
                    f"engine torch failed on {self._request.device}: {error}"
                ) from error

    def close(self) -> None:
        self._network = None


@contextlib.contextmanager
def _settings(request: CompileRequest) -> Iterator[None]:
    """The session's threads, and true float32: TF32 would round the heads to 10 bits.

    Both are settings of the whole process: they are put back.
    """
    import torch

    before = torch.get_num_threads()
    if before != request.threads:
        torch.set_num_threads(request.threads)
    try:
        # flags() would switch off cuDNN itself, whose absence costs most of a GPU's speed.
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            yield
    finally:
        if before != request.threads:
            torch.set_num_threads(before)

"""PyTorch (extra ``[torch]``): the artifact's weights in the torch module, on CPU or CUDA.

It runs float artifacts that this package's builder made: their weights are named by checkpoint
keys, and the architecture is known. A published graph cut at its heads is another program.

On CUDA it offers the whole road, from pixels to boxes: see :mod:`ssd_resnet34.runtime.device`.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import EngineUnavailable, SessionError
from .. import cpu
from ..precision import HALF_ON_GPUS
from ..tensors import Array, in_parts
from . import CompileRequest, Runner, import_engine, version_of

if TYPE_CHECKING:
    from torch import nn


class TorchEngine:
    """Engine ``torch``."""

    name = "torch"

    @property
    def version(self) -> str:
        """Version of its package, "" where it is not installed."""
        return version_of("torch")

    def precisions(self, device: str) -> Mapping[str, str]:
        """fp32; bf16 where the device has it; fp16 on a GPU."""
        torch = import_engine("torch", "ssd-resnet34[torch]")
        int8 = "it runs float artifacts only; openvino and onnxruntime run int8"
        half = ""
        if device == "cpu":
            capable = {"avx512_bf16", "amx_bf16", "bf16"} & cpu.features()
            reason = "" if capable else "this CPU has no bfloat16 instructions"
            half = HALF_ON_GPUS
        elif device.partition(":")[0] == "cuda":
            _check_cuda(torch, device)
            capable = torch.cuda.get_device_capability(device) >= (8, 0)
            reason = "" if capable else "this GPU has no bfloat16 (it needs capability 8.0)"
        else:
            raise EngineUnavailable(
                f"engine torch does not run on device {device!r}; use 'cpu', 'cuda' or 'cuda:1'"
            )
        return {"fp32": "", "bf16": reason, "fp16": half, "int8": int8}

    def whole_road(self, device: str) -> bool:
        """On a GPU, from pixels to boxes."""
        return device != "cpu"

    def device_name(self, device: str) -> str:
        """The GPU's own name, "" for a CPU."""
        torch = import_engine("torch", "ssd-resnet34[torch]")
        return "" if device == "cpu" else str(torch.cuda.get_device_name(device))

    def compile(self, model: bytes, request: CompileRequest) -> Runner:
        """Load the artifact's folded weights into the module.

        Raises:
            UnsupportedPrecision: the artifact is not one of the canonical builder's.
            SessionError: the device has no room for it.
        """
        from ..device.folded import folded

        network = folded(model, request.contract)
        if request.device == "cpu":
            return TorchRunner(network, request)
        from ..device.runner import DeviceRunner

        return DeviceRunner(
            network, request.contract, request.device, request.precision, request.streams
        )


def _check_cuda(torch: Any, device: str) -> None:
    if not torch.cuda.is_available():
        built = "it sees no usable GPU" if torch.version.cuda else "it is a CPU-only build"
        raise EngineUnavailable(
            f"engine torch cannot use {device}: {built}; use device cpu, or install a CUDA build "
            "of torch and a driver for it"
        )
    number = int(device.partition(":")[2] or 0)
    if number >= torch.cuda.device_count():
        raise EngineUnavailable(
            f"engine torch cannot use {device}: there are {torch.cuda.device_count()} GPUs, "
            "numbered from 0"
        )


class TorchRunner:
    """The module on the CPU, channels last (1.2 times faster)."""

    def __init__(self, network: "nn.Module", request: CompileRequest) -> None:
        import torch

        self._kind = torch.bfloat16 if request.precision == "bf16" else torch.float32
        # nn.Module.to takes memory_format, its type stub does not say so.
        self._network: nn.Module | None = network.to(self._kind).to(
            memory_format=torch.channels_last  # type: ignore[call-overload]
        )
        self._request = request

    def run(self, tensor: Array) -> list[Array]:
        return in_parts(tensor, self._run)

    def _run(self, image: Array) -> list[Array]:
        import torch

        network = self._network
        assert network is not None  # the session never runs a closed runner
        # A read-only array would make torch warn; it is never written to here.
        source = image if image.flags.writeable else image.copy()
        with _threads(self._request.threads), torch.inference_mode():
            try:
                batch = torch.from_numpy(source).to(self._kind)
                heads = network(batch.to(memory_format=torch.channels_last))
                return [np.ascontiguousarray(head.float().numpy()) for head in heads]
            except RuntimeError as error:  # out of memory
                raise SessionError(
                    f"engine torch failed on the CPU: {error}; free memory, or try another engine"
                ) from error

    def close(self) -> None:
        self._network = None


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    """The session's threads: a setting of the whole process, which is put back."""
    import torch

    before = torch.get_num_threads()
    if before != count:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        if before != count:
            torch.set_num_threads(before)

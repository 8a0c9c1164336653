"""What a session runs on a torch device: heads of tensors, or boxes of pixels."""

import contextlib
import queue
from collections.abc import Iterator, Sequence
from contextlib import nullcontext

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...contract import Contract
from ...errors import SessionError
from ...vision.postprocess import Rules, postprocess
from ...vision.priors import priors
from ...vision.selection import Candidates
from ...wording import counted
from ..precision import Precision
from ..tensors import Array, in_parts
from .network import MAX_BATCH, DeviceNetwork, Plan
from .pixels import Preprocessor
from .selection import MAX_GROUPS, select

KINDS: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


class DeviceRunner:
    """A network with both of its ends on one device.

    Args:
        network: the folded module.
        contract: classes, lineage, mean and std.
        device: a torch device, such as ``cuda:1``.
        precision: fp32, bf16 or fp16.
        streams: calls at the same time; each has a CUDA stream of its own, so that one uploads and
            selects while the network runs for another.
        plan: what is done for speed.
    """

    def __init__(
        self,
        network: nn.Module,
        contract: Contract,
        device: str,
        precision: Precision,
        streams: int = 1,
        plan: Plan = Plan(),  # noqa: B008  # frozen
    ) -> None:
        self._contract, self._precision = contract, precision
        self._device = torch.device(device)
        self._most = max(1, min(MAX_BATCH, MAX_GROUPS // contract.num_classes))
        self._lanes: queue.SimpleQueue[torch.cuda.Stream | None] = queue.SimpleQueue()
        kind = KINDS[precision]
        with self._faults(1):
            self.network: DeviceNetwork | None = DeviceNetwork(
                network, contract.num_classes, self._device, kind, plan
            )
            self._preprocess = Preprocessor(contract, self._device, kind)
            self._priors = torch.from_numpy(priors(contract).copy()).to(self._device).double()
            for _ in range(streams):
                self._lanes.put(_stream(self._device))
            if self._device.type == "cuda":
                # The weights were moved on the default stream, for which the lanes do not wait.
                torch.cuda.synchronize(self._device)

    def run(self, tensor: Array) -> list[Array]:
        """Heads of float32 [N, 3, 1200, 1200]: twelve float32 arrays in contract order."""
        return in_parts(tensor, self._run, self._most)

    def _run(self, part: Array) -> list[Array]:
        with self._faults(len(part)), self._lane():
            # A read-only array would make torch warn; it is never written to here.
            source = torch.from_numpy(part if part.flags.writeable else part.copy())
            # Two steps, or the CPU would do the rounding.
            return self._heads(source.to(self._device).to(KINDS[self._precision]))

    def detect(self, images: Sequence[NDArray[np.uint8]], rules: Rules) -> list[Candidates]:
        """The chosen boxes of each image: BGR uint8 (H, W, 3), of any sizes.

        Raises:
            HeadsError: NaN or infinity among the heads.
            SessionError: out of memory, a lost device.
        """
        found: list[Candidates] = []
        for start in range(0, len(images), self._most):
            part = images[start : start + self._most]
            with self._faults(len(part)), self._lane():
                found += self._detect(part, rules)
        return found

    def close(self) -> None:
        self.network = None
        if self._device.type == "cuda":
            torch.cuda.empty_cache()  # else it stays with this process, out of others' reach

    def _detect(self, images: Sequence[NDArray[np.uint8]], rules: Rules) -> list[Candidates]:
        network = self.network
        assert network is not None  # the session never runs a closed runner
        batch = self._preprocess(images)
        found = network(batch)
        if not found.finite.item():
            self._refuse(batch)
        return select(found.logits, found.offsets, self._priors, rules)

    def _heads(self, batch: Tensor) -> list[Array]:
        network = self.network
        assert network is not None
        found = network(batch.contiguous(memory_format=torch.channels_last), with_heads=True)
        return [np.ascontiguousarray(head.float().cpu().numpy()) for head in found.heads]

    def _refuse(self, batch: Tensor) -> None:
        """Say where the heads are not finite, as the postprocessing on the host does."""
        postprocess(self._heads(batch), contract=self._contract)
        raise SessionError(
            f"engine torch gave NaN or infinity on {self._device} and, asked again, did not; check "
            "the device's memory"
        )

    @contextlib.contextmanager
    def _lane(self) -> Iterator[None]:
        """A CUDA stream that no other call uses meanwhile."""
        stream = self._lanes.get()
        try:
            with nullcontext() if stream is None else torch.cuda.stream(stream):
                yield
        finally:
            self._lanes.put(stream)

    @contextlib.contextmanager
    def _faults(self, images: int) -> Iterator[None]:
        """Torch's errors as one of ours, with the mend."""
        try:
            with torch.inference_mode():
                yield
        except torch.OutOfMemoryError as error:
            raise SessionError(
                f"engine torch: {self._device} is out of memory for {counted(images, 'image')} in "
                f"{self._precision}; give fewer at a time (batch=), fewer streams, a precision of "
                "half the size (bf16, fp16), or end what else is using the device"
            ) from error
        except RuntimeError as error:  # a lost device, a kernel that is not there
            raise SessionError(
                f"engine torch failed on {self._device}: {_first_line(error)}; try device cpu, "
                "and report it if that works"
            ) from error


def _stream(device: torch.device) -> torch.cuda.Stream | None:
    if device.type != "cuda":
        return None
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

"""The network on a torch device: a pass over a batch, captured as a CUDA graph where it repeats."""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

import torch
from torch import Tensor, nn

from . import fusion
from .selection import finite, flattened

_LOG = logging.getLogger(__name__)

MAX_BATCH: Final = 64
"""Images of one pass: enough to fill any GPU, and 3 GB of the largest map in half precision."""

CAPTURED: Final = (1, 2, 4, 8, 16, 32, 64)
"""Batch sizes that may be captured. Others run kernel by kernel: from a few images on a pass takes
longer than its launches, and every graph has its own input and output in memory."""

_WARM_UPS: Final = 3

# Flags of cuDNN belong to the process: they are set, used and put back by one thread at a time.
_flags_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done for speed on a CUDA device; ``benchmarks.gpu`` measures what each is worth.

    Attributes:
        fused: convolution, bias, residual and ReLU as one kernel where that is faster.
        autotuned: cuDNN tries its algorithms for each layer, and does not guess.
        captured: a pass is one CUDA graph, not a hundred launches.
    """

    fused: bool = True
    autotuned: bool = True
    captured: bool = True


@dataclass(frozen=True, eq=False)
class Pass:
    """What a pass gives, on the device.

    Attributes:
        heads: the twelve raw heads, NCHW, in the network's precision; none where not asked for.
        logits: float32 [N, 15130, classes].
        offsets: float32 [N, 15130, 4].
        finite: whether there is no NaN or infinity among them, one bool.
    """

    heads: list[Tensor]
    logits: Tensor
    offsets: Tensor
    finite: Tensor

    def copy(self, with_heads: bool) -> "Pass":
        """The same numbers in memory of their own."""
        heads = [head.clone() for head in self.heads] if with_heads else []
        return Pass(heads, self.logits.clone(), self.offsets.clone(), self.finite.clone())

    def tensors(self) -> list[Tensor]:
        """All of them."""
        return [*self.heads, self.logits, self.offsets, self.finite]


Forward = Callable[[Tensor], Pass]


class Graph(Protocol):
    """A captured pass over batches of one size; gives the same memory each time."""

    def __call__(self, batch: Tensor, /) -> Pass: ...


class CUDAGraph:
    """A pass as one CUDA graph; ``pool`` is memory that graphs share: one runs at a time."""

    def __init__(self, forward: Forward, batch: Tensor, pool: object) -> None:
        self._batch = batch.clone()
        for _ in range(_WARM_UPS):
            forward(self._batch)
        self._graph = torch.cuda.CUDAGraph()
        # thread_local: another thread may be uploading the next batch meanwhile.
        with torch.cuda.graph(
            self._graph,
            pool=pool,  # type: ignore[arg-type]
            stream=torch.cuda.current_stream(batch.device),
            capture_error_mode="thread_local",
        ):
            self._pass = forward(self._batch)

    def __call__(self, batch: Tensor) -> Pass:
        self._batch.copy_(batch)
        self._graph.replay()
        return self._pass


class DeviceNetwork:
    """The network in one precision on one device, safe from several threads.

    Args:
        network: the folded module; float32, on any device.
        num_classes: background included.
        device: where it runs.
        kind: float32, float16 or bfloat16.
        plan: what is done for speed.
        capture: makes a graph of a pass; for tests.
    """

    def __init__(
        self,
        network: nn.Module,
        num_classes: int,
        device: torch.device,
        kind: torch.dtype,
        plan: Plan = Plan(),  # frozen
        capture: Callable[[Forward, Tensor, object], Graph] | None = None,
    ) -> None:
        self.device, self.kind, self.plan = device, kind, plan
        # nn.Module.to takes memory_format, its type stub does not say so.
        moved = network.to(device, kind).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._network: nn.Module = fusion.joined(moved) if plan.fused else moved
        self._num_classes = num_classes
        self._lock = threading.Lock()
        self._seen: set[int] = set()
        self._graphs: dict[int, Graph] = {}
        self._capture = capture
        self._cramped = False
        self._stream: torch.cuda.Stream | None = None
        self._pool: object = None
        self.joined: tuple[int, int] | None = None
        """Layers that run as one kernel and those that could; None until a size is captured."""
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            self._pool = torch.cuda.graph_pool_handle()
            self._capture = capture or CUDAGraph

    def __call__(self, batch: Tensor, *, with_heads: bool = False) -> Pass:
        """Logits and offsets of ``batch`` [N, 3, 1200, 1200], channels last, in this precision;
        N ≤ :data:`MAX_BATCH`. And the heads as they are, if asked for.

        On a CUDA device it returns at once: the numbers are there for whatever the caller's stream
        does next.
        """
        with self._lock, torch.inference_mode():
            if self._stream is None:
                return self._run(batch, with_heads)
            caller = torch.cuda.current_stream(self.device)
            self._stream.wait_stream(caller)
            with torch.cuda.stream(self._stream):
                found = self._run(batch, with_heads)
            caller.wait_stream(self._stream)
            # Memory is given back in the order of its own stream; these cross to another.
            batch.record_stream(self._stream)
            for tensor in found.tensors():
                tensor.record_stream(caller)
            return found

    @property
    def captured(self) -> list[int]:
        """Batch sizes that are captured, ascending."""
        return sorted(self._graphs)

    def _run(self, batch: Tensor, with_heads: bool) -> Pass:
        """A graph of this size from its second use on; a single image pays for no capture."""
        size = len(batch)
        again = size in self._seen
        if again and size not in self._graphs:
            self._optimise(batch)
        graph = self._graphs.get(size)
        if graph is not None:
            return graph(batch).copy(with_heads)  # the next replay overwrites it
        if size in CAPTURED:
            self._seen.add(size)
        with _flags(again and self.plan.autotuned):
            return self._forward(batch)

    def _optimise(self, batch: Tensor) -> None:
        if self._capture is None or self._cramped:
            return
        try:
            with _flags(self.plan.autotuned):
                if self.plan.fused and self.joined is None:
                    self.joined = fusion.choose(self._network, batch)
                    _LOG.info("%d of %d layers run as one kernel with their ReLU", *self.joined)
                if self.plan.captured:
                    self._graphs[len(batch)] = self._capture(self._forward, batch, self._pool)
        except torch.OutOfMemoryError:
            # A pass fits, or we would not be here; it goes on, launched kernel by kernel.
            self._cramped = True
            _LOG.warning(
                "%s: no memory to capture a batch of %d; small batches will be slower",
                self.device,
                len(batch),
            )

    def _forward(self, batch: Tensor) -> Pass:
        heads: list[Tensor] = self._network(batch)
        logits, offsets = flattened(heads, self._num_classes)
        return Pass(heads, logits, offsets, finite(logits, offsets))


@contextlib.contextmanager
def _flags(autotuned: bool) -> Iterator[None]:
    """True float32: TF32 would round the heads to 10 bits. And cuDNN on, whatever its default."""
    with (
        _flags_lock,
        torch.backends.cudnn.flags(enabled=True, benchmark=autotuned, allow_tf32=False),
    ):
        yield

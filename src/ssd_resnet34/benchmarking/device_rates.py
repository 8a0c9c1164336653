"""A GPU's own rates of arithmetic, measured with PyTorch: the network's main layer, and products of
large matrices, which is what is quoted as a card's peak."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Final

from ..errors import SessionError
from ..pairs import Clock, interleave, percentiles, seconds
from ..runtime.precision import Precision
from .rates import CHANNELS, LAYERS, SIDE, Rate, added, layer_work, of_each_precision

if TYPE_CHECKING:
    import torch

BATCH: Final = 16
"""Images of the convolved batch: enough to fill a card."""

MATRIX: Final = 8192
"""Rows and columns of the multiplied matrices."""


def measure(
    device: str,
    pairs: int,
    *,
    batch: int = BATCH,
    channels: int = CHANNELS,
    side: int = SIDE,
    clock: Clock = perf_counter,
    on_pair: Callable[[], None] = lambda: None,
) -> list[Rate]:
    """The convolution rate of each precision: cuDNN, its algorithms tried, channels last.

    As on a CPU a chain of layers is timed against a chain of one, and what the others add is the
    layer; the input is random, since products of zeros are faster.

    Args:
        device: ``cuda``, ``cuda:1``.
        pairs: of a long and a short chain.
        batch, channels, side: of the layer; smaller ones for tests.

    A precision that cannot be measured is a rate that says why.
    """

    def rate(precision: Precision) -> float:
        long, short = (
            convolutions(device, precision, count, batch, channels, side) for count in (LAYERS, 1)
        )
        operations = batch * (LAYERS - 1) * layer_work(channels, side)
        return operations / added(interleave(long, short, pairs, clock=clock, on_pair=on_pair))

    return of_each_precision("torch", device, rate, pairs)


def products(
    device: str, pairs: int, *, size: int = MATRIX, clock: Clock = perf_counter
) -> list[Rate]:
    """The rate of products of ``size`` × ``size`` random matrices in each precision: the median."""

    def rate(precision: Precision) -> float:
        multiply = product(device, precision, size)
        multiply()
        times = [seconds(multiply, clock) for _ in range(pairs)]
        return 2 * size**3 / percentiles(times).p50

    return of_each_precision("torch", device, rate, pairs)


def convolutions(
    device: str, precision: Precision, layers: int, batch: int, channels: int, side: int
) -> Callable[[], None]:
    """One run of so many 3×3 convolutions, one after the other, to its end."""
    import torch
    from torch.nn import functional

    kind = _kind(precision)
    spread = (2 / (9 * channels)) ** 0.5  # keeps the activations' size from layer to layer

    def random(*shape: int) -> "torch.Tensor":
        return torch.randn(*shape, device=device).to(kind, memory_format=torch.channels_last)

    with _told(device):
        kernels = [spread * random(channels, channels, 3, 3) for _ in range(layers)]
        image = random(batch, channels, side, side)

    def run() -> None:
        x = image
        # TF32 is another precision than fp32, and a rate of its own.
        with (
            _told(device),
            torch.inference_mode(),
            torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False),
        ):
            for kernel in kernels:
                x = functional.conv2d(x, kernel, padding=1)
            wait(device)

    return run


def product(device: str, precision: Precision, size: int) -> Callable[[], None]:
    """One product of two matrices, to its end."""
    import torch

    kind = _kind(precision)
    with _told(device):
        a, b = (torch.randn(size, size, device=device).to(kind) for _ in range(2))

    def run() -> None:
        with _told(device), torch.inference_mode():
            torch.mm(a, b)
            wait(device)

    return run


def wait(device: str) -> None:
    """Until all that was begun on the device is done."""
    import torch

    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def _kind(precision: Precision) -> "torch.dtype":
    from ..runtime.device.runner import KINDS

    return KINDS[precision]


@contextmanager
def _told(device: str) -> Iterator[None]:
    """What torch raises, as an error of the tree."""
    try:
        yield
    except RuntimeError as error:  # out of memory, a lost device
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise SessionError(f"{device}: {first}; end what else is using it") from error

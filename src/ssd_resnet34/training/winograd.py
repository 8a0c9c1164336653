"""3×3 convolutions of a CPU training step with a quarter of the multiplications.

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2015), F(4×4, 3×3): an output
tile of 4×4 is a 6×6 element-wise product between transformed input and transformed kernel, which
over many channels and tiles is 36 matrix products. Both gradients have the same form. PyTorch's
own CPU convolutions multiply directly, and without AVX-512 their weight gradient is far from the
machine's matrix rate. The transforms are sums of few terms, bound by memory: ``torch.compile``
makes one pass of each.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

_TILE: Final = 4
_WINDOW: Final = 6

_Vector = Sequence[Tensor]


def _of_input(d: _Vector) -> _Vector:
    a, b, c, e, f, g = d
    return (
        4 * a - 5 * c + f,
        f + e - 4 * (c + b),
        f - e - 4 * (c - b),
        f - c + 2 * (e - b),
        f - c - 2 * (e - b),
        4 * b - 5 * e + g,
    )


def _of_output(d: _Vector) -> _Vector:
    a, b, c, e, f, g = d
    return (
        a + (b + c) + (e + f),
        (b - c) + 2 * (e - f),
        (b + c) + 4 * (e + f),
        (b - c) + 8 * (e - f) + g,
    )


def _of_gradient(d: _Vector) -> _Vector:
    """The transpose of :func:`_of_output`."""
    a, b, c, e = d
    even, odd = a + c, b + e
    far, near = a + 4 * c, 2 * b + 8 * e
    return (a, even + odd, even - odd, far + near, far - near, e)


def _both_ways(one: Callable[[_Vector], _Vector], grid: Sequence[_Vector]) -> list[_Vector]:
    """Apply a transform to the rows of a grid of tensors, then to its columns."""
    rows = [one(row) for row in grid]
    columns = [one(column) for column in zip(*rows, strict=True)]
    return list(zip(*columns, strict=True))


def _to_tiles(x: Tensor, size: int, one: Callable[[_Vector], _Vector]) -> Tensor:
    """[N, H, W, C], H = 4·down + size - 4 -> [36, N·down·across, C]: transformed squares."""
    down, across = ((length - size) // _TILE + 1 for length in x.shape[1:3])
    grid = [
        [
            x[:, i : i + _TILE * (down - 1) + 1 : _TILE, j : j + _TILE * (across - 1) + 1 : _TILE]
            for j in range(size)
        ]
        for i in range(size)
    ]
    return torch.stack([t for row in _both_ways(one, grid) for t in row]).flatten(1, 3)


def _input_tiles(x: Tensor) -> Tensor:
    return _to_tiles(x, _WINDOW, _of_input)


def _gradient_tiles(x: Tensor) -> Tensor:
    return _to_tiles(x, _TILE, _of_gradient)


def _from_tiles(products: Tensor, n: int, down: int, across: int) -> Tensor:
    """[36, N·down·across, K] -> [N, 4·down, 4·across, K]."""
    squares = products.view(_WINDOW, _WINDOW, n, down, across, -1)
    grid = _both_ways(_of_output, [list(row) for row in squares])
    rows = torch.stack([torch.stack(list(row), 3) for row in grid], 2)
    return rows.reshape(n, _TILE * down, _TILE * across, -1)


@cache
def _fused(transform: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The transform in one pass over memory; the compiler is loaded when it is needed."""
    return torch.compile(transform, dynamic=False)


_KERNEL: Final = torch.tensor(
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ]
)
_KERNEL_2D: Final = torch.kron(_KERNEL, _KERNEL)


def _kernels(weight: Tensor) -> Tensor:
    """[K, C, 3, 3] -> [36, C, K]."""
    outputs, channels = weight.shape[:2]
    flat = weight.permute(2, 3, 1, 0).reshape(9, channels * outputs)
    return (_KERNEL_2D @ flat).view(-1, channels, outputs)


def _tile_counts(x: Tensor) -> tuple[int, int]:
    return -(-x.shape[2] // _TILE), -(-x.shape[3] // _TILE)


def _padded(x: Tensor, margin: int) -> Tensor:
    """[N, C, H, W] -> [N, 4·down + 2·margin, 4·across + 2·margin, C]."""
    down, across = _tile_counts(x)
    after = _TILE * across + margin - x.shape[3], _TILE * down + margin - x.shape[2]
    rows = x.permute(0, 2, 3, 1)
    return functional.pad(rows, (0, 0, margin, after[0], margin, after[1])).contiguous()


def _convolved(inputs: Tensor, kernels: Tensor, like: Tensor) -> Tensor:
    """Transformed inputs [36, tiles, C] and kernels [36, C, K] -> [N, K, H, W], channels last."""
    whole = _fused(_from_tiles)(torch.bmm(inputs, kernels), len(like), *_tile_counts(like))
    return whole[:, : like.shape[2], : like.shape[3]].contiguous().permute(0, 3, 1, 2)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        inputs = _fused(_input_tiles)(_padded(x.detach(), 1))
        ctx.save_for_backward(inputs, weight)
        return _convolved(inputs, _kernels(weight), x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        (gradient,) = gradients
        inputs, weight = ctx.saved_tensors
        of_input = of_weight = None
        if ctx.needs_input_grad[0]:
            mirrored = weight.flip(2, 3).transpose(0, 1)
            of_input = _convolved(
                _fused(_input_tiles)(_padded(gradient, 1)), _kernels(mirrored), gradient
            )
        if ctx.needs_input_grad[1]:
            products = torch.bmm(
                inputs.transpose(1, 2), _fused(_gradient_tiles)(_padded(gradient, 0))
            )
            outputs, channels = weight.shape[:2]
            flat = _KERNEL_2D.T @ products.flatten(1)
            of_weight = flat.view(3, 3, channels, outputs).permute(3, 2, 0, 1)
        return of_input, of_weight


def convolve(x: Tensor, weight: Tensor) -> Tensor:
    """``conv2d(x, weight, padding=1)`` for 3×3 kernels and stride 1.

    Args:
        x: [N, C, H, W] float32, best channels last.
        weight: [K, C, 3, 3] float32.

    Returns:
        [N, K, H, W] float32, channels last; about 1e-5 of its largest value off the direct sum.
    """
    result: Tensor = _Convolution.apply(x, weight)  # type: ignore[no-untyped-call]
    return result


class _Winograd(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return convolve(x, self.weight)


def use(module: nn.Module) -> int:
    """Let the 3×3 convolutions of stride 1 without bias in ``module`` run by :func:`convolve`.

    Parameters and their names stay; how many there were is returned.
    """
    count = 0
    for layer in module.modules():
        if (
            type(layer) is nn.Conv2d
            and (layer.kernel_size, layer.stride, layer.padding) == ((3, 3), (1, 1), (1, 1))
            and layer.bias is None
        ):
            layer.__class__ = _Winograd
            count += 1
    return count

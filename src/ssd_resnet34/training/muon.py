"""Muon: momentum whose every update is made a (scaled) orthogonal matrix.

Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024), for the kernels of
the backbone. The scale, 0.2 · √(longer side), is Liu et al., "Muon is Scalable for LLM Training"
(2025), section 2.2: with it learning rates mean what they mean for AdamW. ``torch.optim.Muon``
takes matrices only and iterates in bfloat16, which CPUs without its instructions emulate.
"""

from collections.abc import Iterable
from typing import Final

import torch
from torch import Tensor, nn

MOMENTUM: Final = 0.95
_QUINTIC: Final = (3.4445, -4.7750, 2.0315)
_ITERATIONS: Final = 5


def orthogonalised(matrix: Tensor) -> Tensor:
    """Singular values of a float32 matrix moved to about 1 (0.7..1.2), by Newton–Schulz."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    a, b, c = _QUINTIC
    for _ in range(_ITERATIONS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    result: Tensor = x.T if tall else x
    return result


class Muon(torch.optim.Optimizer):
    """For convolution kernels [K, C, h, w], taken as [K, C·h·w] matrices."""

    def __init__(
        self, kernels: Iterable[nn.Parameter], lr: float, weight_decay: float = 1e-3
    ) -> None:
        super().__init__(kernels, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # ours has no use for it
        """One update; ``closure`` is there for the interface alone."""
        for group in self.param_groups:
            for kernel in group["params"]:
                if kernel.grad is None:
                    continue
                momentum = self.state[kernel].setdefault("momentum", torch.zeros_like(kernel))
                momentum.lerp_(kernel.grad, 1 - MOMENTUM)
                flat = kernel.grad.lerp(momentum, MOMENTUM).flatten(1)
                update = orthogonalised(flat).view_as(kernel)
                kernel.mul_(1 - group["lr"] * group["weight_decay"])
                kernel.add_(update, alpha=-group["lr"] * 0.2 * max(flat.shape) ** 0.5)

"""The exponential moving average of a module's weights."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Average:
    """Averages of every floating-point entry of a state dict; counters are copied.

    The decay of update n (from 1) is the smaller of ``decay`` and (1 + n) / (10 + n).
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.state = {key: value.detach().clone() for key, value in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Move towards the weights of ``module`` as they are now."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for key, value in module.state_dict().items():
            kept = self.state[key]
            if kept.is_floating_point():
                kept.lerp_(value.detach().to(kept.dtype), 1 - decay)
            else:
                kept.copy_(value)

    def load(self, state: Mapping[str, Tensor], updates: int) -> None:
        """What a checkpoint kept.

        Raises:
            KeyError, RuntimeError: of another module.
        """
        for key, kept in self.state.items():
            kept.copy_(state[key])
        self.updates = updates

"""The first weights of a network that is trained from nothing."""

from typing import Final

import torch
from torch import Tensor, nn

from ..contract import LEVELS
from ..network.module import SSDResNet34Module

_BACKGROUND: Final = 6.0
"""Logit of background where the others are near 0: 0.83 of 81 classes from the first step."""


def initialise(module: SSDResNet34Module, seed: int) -> None:
    """He initialisation; heads near zero with a background prior, so that the loss starts low."""
    torch.manual_seed(seed)
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    for head in (*module.loc, *module.conf):
        assert isinstance(head, nn.Conv2d)
        nn.init.normal_(head.weight, std=0.01)
    for head, level in zip(module.conf, LEVELS, strict=True):
        assert isinstance(head.bias, Tensor)
        with torch.no_grad():
            head.bias[: level.anchors] = _BACKGROUND

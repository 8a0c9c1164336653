"""Batches of pixels as the network is trained on them."""

import torch
from torch import Tensor

from ..contract import COCO, Contract


def normalised(images: Tensor, contract: Contract = COCO) -> Tensor:
    """uint8 [N, s, s, 3] BGR -> float32 [N, 3, s, s] RGB, normalised, channels last in memory."""
    rgb = images.flip(3).permute(0, 3, 1, 2).float() / 255
    mean = torch.tensor(contract.mean, device=images.device).view(1, 3, 1, 1)
    std = torch.tensor(contract.std, device=images.device).view(1, 3, 1, 1)
    return ((rgb - mean) / std).contiguous(memory_format=torch.channels_last)

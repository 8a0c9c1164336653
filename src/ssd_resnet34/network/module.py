"""The network as a torch module (extra ``[torch]``); the 218 official keys load strictly."""

import torch
from torch import Tensor, nn

from ..contract import LEVELS
from .layout import (
    BN_EPSILON,
    EXTRA_BLOCKS,
    FEATURE_CHANNELS,
    HEAD_STRIDE,
    STAGES,
    STEM_CHANNELS,
    Stage,
)


class BasicBlock(nn.Module):
    """ResNet's two 3×3 convolutions with a shortcut."""

    def __init__(self, into: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(into, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels, BN_EPSILON)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels, BN_EPSILON)
        self.downsample: nn.Module | None = None
        if into != channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(into, channels, 1, stride, bias=False),
                nn.BatchNorm2d(channels, BN_EPSILON),
            )

    def forward(self, x: Tensor) -> Tensor:
        """float [N, C, H, W] to [N, C', H/stride, W/stride]."""
        shortcut = x if self.downsample is None else self.downsample(x)
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + shortcut)


def _stage(into: int, stage: Stage) -> nn.Sequential:
    strides = [stage.stride] + [1] * (stage.blocks - 1)
    widths = [into] + [stage.channels] * (stage.blocks - 1)
    return nn.Sequential(
        *(
            BasicBlock(width, stage.channels, stride)
            for width, stride in zip(widths, strides, strict=True)
        )
    )


class Backbone(nn.Module):
    """ResNet-34 up to conv4_x, whose stride is 1. [N, 3, 1200, 1200] -> [N, 256, 150, 150]."""

    def __init__(self) -> None:
        super().__init__()
        first, second, third = STAGES
        self.layer1 = nn.Sequential(
            nn.Conv2d(3, STEM_CHANNELS, 7, 2, 3, bias=False),
            nn.BatchNorm2d(STEM_CHANNELS, BN_EPSILON),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
            _stage(STEM_CHANNELS, first),
            _stage(first.channels, second),
        )
        self.layer2 = nn.Sequential(_stage(second.channels, third))

    def forward(self, x: Tensor) -> Tensor:
        """float [N, 3, 1200, 1200] to the features [N, 256, 150, 150]."""
        y: Tensor = self.layer2(self.layer1(x))
        return y


class SSDResNet34Module(nn.Module):
    """The whole network: image tensor in, twelve raw heads out.

    Args:
        num_classes: classes of the softmax, background included (81 for COCO).

    ``forward`` takes float32 [N, 3, 1200, 1200] (RGB, normalised) and returns a list of twelve
    tensors [N, classes·A | 4·A, F, F] in the contract's order (cls_0..cls_5, loc_0..loc_5).
    Training may feed other sizes; the maps shrink with them.
    """

    def __init__(self, num_classes: int = 81) -> None:
        super().__init__()
        self.model = Backbone()
        self.additional_blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(into, block.middle, 1),
                nn.ReLU(),
                nn.Conv2d(block.middle, block.channels, 3, block.stride, block.padding),
                nn.ReLU(),
            )
            for into, block in zip(FEATURE_CHANNELS, EXTRA_BLOCKS, strict=False)
        )
        self.loc = nn.ModuleList(self._heads(4))
        self.conf = nn.ModuleList(self._heads(num_classes))

    @staticmethod
    def _heads(depth: int) -> list[nn.Module]:
        return [
            nn.Conv2d(channels, depth * level.anchors, 3, HEAD_STRIDE, 1)
            for level, channels in zip(LEVELS, FEATURE_CHANNELS, strict=True)
        ]

    def forward(self, image: Tensor) -> list[Tensor]:
        """float [N, 3, 1200, 1200], RGB, normalised, to the twelve heads in contract order."""
        return self.heads(self.model(image))

    def heads(self, features: Tensor) -> list[Tensor]:
        """The twelve heads of backbone ``features`` [N, 256, 150, 150].

        They are computed in fp32 under autocast too: two per cent of the work, logits are not
        rounded, and oneDNN's bf16 gradient of a strided kernel whose map is 1×1 (inputs under 769
        pixels) holds memory that nobody wrote.
        """
        maps = [features]
        for block in self.additional_blocks:
            maps.append(block(maps[-1]))
        device = next(self.parameters()).device.type  # features have none while fx traces them
        if torch.is_autocast_enabled(device):
            with torch.autocast(device, enabled=False):
                return self._heads_of([x.float() for x in maps])
        return self._heads_of(maps)

    def _heads_of(self, maps: list[Tensor]) -> list[Tensor]:
        return [
            head(x) for heads in (self.conf, self.loc) for head, x in zip(heads, maps, strict=True)
        ]

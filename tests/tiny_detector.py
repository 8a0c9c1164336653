"""A detector and images that cost milliseconds: what the training loop is tried on."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ssd_resnet34.contract import LEVELS, Category, Contract
from ssd_resnet34.training.data.example import Example

SIZE = 385
MAPS = (17, 9, 5, 3, 1, 1)
CONTRACT = Contract((Category(1, "cat"), Category(2, "dog")))


class TinyDetector(nn.Module):
    """Twelve heads of float32 [N, 3, 385, 385]; ``model`` is its backbone. One colour gives NaN."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.model = nn.Sequential(
            nn.Conv2d(3, 8, 3, 24, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU()
        )
        depths = (CONTRACT.num_classes, 4)
        self.conf, self.loc = (
            nn.ModuleList(nn.Conv2d(8, depth * level.anchors, 1) for level in LEVELS)
            for depth in depths
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        x = self.model(image)
        x = (
            x
            + torch.where(image.amax((2, 3)).eq(image.amin((2, 3))).all(1), torch.nan, 0)[
                :, None, None, None
            ]
        )
        maps = [functional.adaptive_avg_pool2d(x, side) for side in MAPS]
        return [
            head(y) for heads in (self.conf, self.loc) for head, y in zip(heads, maps, strict=True)
        ]


class TinyExamples:
    """Noise with boxes, another one for each epoch and number."""

    def __init__(self, count: int = 6) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def example(self, epoch: int, number: int) -> Example:
        rng = np.random.default_rng([epoch, number])
        corner = rng.uniform(0, 250, (number % 4, 2))
        extent = rng.uniform(40, 130, corner.shape)
        boxes = np.concatenate([corner, corner + extent], 1).astype(np.float32)
        return Example(
            image=rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8),
            boxes=boxes,
            indices=rng.integers(1, 3, len(boxes)),
            ignored=np.zeros((0, 4), np.float32),
            unknown=frozenset({2}) if number % 3 == 0 else frozenset(),
            source=Path(f"{epoch}-{number}.png"),
        )

"""Pixels -> the network's input on a torch device.

The formula is that of :mod:`ssd_resnet34.vision.preprocess`: bilinear with half-pixel centres on
floats, borders repeated, no averaging of what shrinks; then (x/255 − mean)/std, RGB, planes. Resize
and normalisation commute, so the smaller of the two images is normalised.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ...contract import INPUT_SIZE, Contract


class Preprocessor:
    """Fills batches of one contract on one device.

    Args:
        contract: gives mean and std.
        device: where the batches lie.
        kind: float32, float16 or bfloat16, the batch's. For float32 it computes in float64, as
            OpenCV does for positions: PyTorch computes them in the precision of the data, and
            float32 is 5e-4 off in an image of 2000 pixels. The halves round coarser than that.
    """

    def __init__(self, contract: Contract, device: torch.device, kind: torch.dtype) -> None:
        self.device, self.kind = device, kind
        self._exact = torch.float64 if kind == torch.float32 else torch.float32
        mean, std = np.array(contract.mean), np.array(contract.std)
        self._scale = self._planes(1 / 255 / std)
        self._shift = self._planes(-mean / std)

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> Tensor:
        """BGR uint8 (H, W, 3), of any sizes -> [N, 3, 1200, 1200], channels last in memory."""
        shape = (len(images), 3, INPUT_SIZE, INPUT_SIZE)
        batch = torch.empty(
            shape, dtype=self.kind, device=self.device, memory_format=torch.channels_last
        )
        for place, pixels in zip(batch, images, strict=True):
            self._fill(place, pixels)
        return batch

    def _fill(self, place: Tensor, pixels: NDArray[np.uint8]) -> None:
        # A read-only array would make torch warn; it is never written to here.
        source = pixels if pixels.flags.writeable else pixels.copy()
        uploaded = torch.from_numpy(source).to(self.device, non_blocking=True)
        planes = uploaded.flip(2).permute(2, 0, 1)[None]
        planes = planes.to(self._exact, memory_format=torch.contiguous_format)
        large = pixels.shape[0] * pixels.shape[1] > INPUT_SIZE**2
        if not large:
            planes = torch.addcmul(self._shift, planes, self._scale)
        planes = functional.interpolate(
            planes, (INPUT_SIZE, INPUT_SIZE), mode="bilinear", align_corners=False
        )
        if large:
            planes = torch.addcmul(self._shift, planes, self._scale)
        place.copy_(planes[0])

    def _planes(self, values: NDArray[Any]) -> Tensor:
        return torch.as_tensor(values, dtype=self._exact).reshape(1, 3, 1, 1).to(self.device)

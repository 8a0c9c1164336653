"""Decoded images -> the network's input tensor.

Source of the formula: the reference preprocessing of SSD-ResNet34 in MLPerf Inference: float32
first, then bilinear to 1200×1200 without keeping the aspect, then (x/255 − mean) / std, RGB,
channels first.

Resizing and normalisation are both linear in the pixels and their weights sum to 1, so they
commute: a small image is normalised by a table of 256 values a channel and each plane is resized
straight into the tensor.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from ..contract import COCO, INPUT_SIZE, Contract
from ..errors import UsageError
from .images import DEFAULT_LIMITS, Colour, Image, Limits, Source, decode

# Above this many pixels, and where rows are skipped at all, bands are faster than whole planes.
_LARGE: Final = 4_000_000

# Output rows a band: few enough for their pixels to stay in the cache.
_BAND: Final = 40


@dataclass(frozen=True, slots=True)
class ImageContext:
    """What the boxes of one input refer to: size of the displayed original in pixels, its name."""

    width: int
    height: int
    name: str = ""


class ModelInput(NamedTuple):
    """A network input; unpacks as ``tensor, contexts``.

    ``tensor`` is float32 (N, 3, 1200, 1200), C-contiguous, RGB, normalised; ``contexts`` has one
    entry an image.
    """

    tensor: NDArray[np.float32]
    contexts: tuple[ImageContext, ...]


def preprocess(
    images: "Source | Image | Iterable[Source | Image]",
    contract: Contract = COCO,
    *,
    colour: Colour | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> ModelInput:
    """One image, or a list, tuple, iterator or NHWC stack of images, as a network input.

    Args:
        images: anything :func:`~ssd_resnet34.vision.images.decode` takes, or its result.
        contract: gives mean and std.
        colour: order of the channels of numpy arrays, ``"rgb"`` or ``"bgr"``.
        limits: of the encoded images.

    Raises:
        ImageError: an image was refused (its subclasses say why).
        UsageError: no image at all, or an argument that is not an image.
    """
    sources = _as_list(images)
    if not sources:
        raise UsageError("images: the list is empty; give at least one image")
    tensor = np.empty((len(sources), 3, INPUT_SIZE, INPUT_SIZE), np.float32)
    contexts = []
    for source, planes in zip(sources, tensor, strict=True):
        image = (
            source if isinstance(source, Image) else decode(source, colour=colour, limits=limits)
        )
        _fill(planes, image.pixels, contract)
        contexts.append(ImageContext(image.width, image.height, image.name))
    return ModelInput(tensor, tuple(contexts))


def _as_list(images: "Source | Image | Iterable[Source | Image]") -> "list[Source | Image]":
    if isinstance(images, np.ndarray):
        return list(images) if images.ndim == 4 else [images]
    is_file = hasattr(images, "read")  # a file is an iterator too, of its lines
    if isinstance(images, (list, tuple, Iterator)) and not is_file:
        return list(images)
    return [images]  # type: ignore[list-item]  # decode refuses what is no image


def _fill(planes: NDArray[np.float32], pixels: NDArray[np.uint8], contract: Contract) -> None:
    """Write BGR uint8 (H, W, 3) ``pixels`` into RGB float32 (3, 1200, 1200) ``planes``."""
    height, width = pixels.shape[:2]
    if height * width > _LARGE and height > 1.5 * INPUT_SIZE:
        _fill_by_bands(planes, pixels, contract)
        return
    table = _table(contract.mean, contract.std)
    for channel, plane in enumerate(planes):
        small = cv2.LUT(cv2.extractChannel(pixels, 2 - channel), table[channel])
        cv2.resize(small, (INPUT_SIZE, INPUT_SIZE), dst=plane, interpolation=cv2.INTER_LINEAR)


def _fill_by_bands(
    planes: NDArray[np.float32], pixels: NDArray[np.uint8], contract: Contract
) -> None:
    """The same for a large image: only the rows that bilinear sampling touches become floats."""
    height = pixels.shape[0]
    position = (np.arange(INPUT_SIZE) + 0.5) * (height / INPUT_SIZE) - 0.5
    upper = np.floor(position).astype(np.intp)  # never below 0: the image shrinks
    pairs = np.stack([upper, np.minimum(upper + 1, height - 1)], axis=1)
    weights = (position - upper).astype(np.float32)[:, None, None]
    scale = np.float32(1 / 255) / np.array(contract.std, np.float32)
    shift = np.array(contract.mean, np.float32) / np.array(contract.std, np.float32)
    for start in range(0, INPUT_SIZE, _BAND):
        band = slice(start, start + _BAND)
        touched = pixels[pairs[band].ravel()].astype(np.float32)
        narrow = cv2.resize(touched, (INPUT_SIZE, len(touched)), interpolation=cv2.INTER_LINEAR)
        above, below = narrow.reshape(-1, 2, INPUT_SIZE, 3).swapaxes(0, 1)
        below -= above
        below *= weights[band]
        above += below
        for channel, plane in enumerate(planes):
            np.multiply(above[..., 2 - channel], scale[channel], out=plane[band])
            plane[band] -= shift[channel]


@lru_cache
def _table(mean: tuple[float, ...], std: tuple[float, ...]) -> NDArray[np.float32]:
    """(3, 256): the normalised value of every byte, a row each for R, G, B."""
    values = np.arange(256) / 255
    table = (values - np.array(mean)[:, None]) / np.array(std)[:, None]
    return np.asarray(table, np.float32)

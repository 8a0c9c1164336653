"""The network as other people run it: another resize, order of channels, scale or precision."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from ..contract import INPUT_SIZE, Contract
from ..runtime.session import Outputs, Session
from ..vision.images import Image, decode
from ..vision.preprocess import ImageContext, ModelInput, preprocess
from .recipe import Recipe, Scaling
from .running import Entry, Network, resized_by_pillow

_PADDING: Final = (114, 114, 114)
"""The grey that letterboxes have since YOLOv3."""


class Altered:
    """The heads that a network gives for images prepared by a recipe.

    ``session`` runs the network where the recipe has another precision; it is the caller's to
    close. Boxes are always decoded as if the image had been stretched.
    """

    def __init__(self, network: Network, recipe: Recipe, session: Session | None = None) -> None:
        self.network, self.recipe = network, recipe
        self.session = session or network.session

    @property
    def contract(self) -> Contract:
        return self.network.contract

    @property
    def name(self) -> str:
        """The unaltered network's name."""
        return self.network.name

    @property
    def what(self) -> str:
        return f"{self.network.name}, {self.session.precision} in {self.session.engine}"

    @property
    def key(self) -> Mapping[str, Any]:
        recipe = self.recipe
        return {
            **self.network.key,
            "artifact": self.session.sha256,
            "precision": self.session.precision,
            "resize": recipe.resize,
            "colour": recipe.colour,
            "scaling": recipe.scaling,
        }

    @property
    def workers(self) -> int:
        return self.session.streams + 1

    def find(self, entry: Entry) -> Path:
        """The file of an image.

        Raises:
            UnreadableFile: there is none.
        """
        return self.network.find(entry)

    def read(self, entry: Entry, path: Path) -> Outputs:
        """The heads of an image [1, C, F, F], with its context.

        Raises:
            ImageError: the file is refused.
        """
        image = decode(path, limits=self.network.limits)
        context = ImageContext(image.width, image.height, image.name)
        contract = scaled(self.contract, self.recipe.scaling)
        tensor, _ = preprocess(prepared(image, self.recipe), contract)
        return self.session.run(ModelInput(tensor, (context,)))


def prepared(image: Image, recipe: Recipe) -> Image:
    """The pixels that the recipe gives to ``preprocess``: BGR uint8, resized where it says so."""
    if recipe.resize == "pillow":
        image = resized_by_pillow(image)
    elif recipe.resize == "opencv-uint8":
        image = stretched(image, INPUT_SIZE, INPUT_SIZE)
    elif recipe.resize == "letterbox":
        image = _letterboxed(image)
    if recipe.colour == "bgr":
        image = Image(np.ascontiguousarray(image.pixels[..., ::-1]), image.name)
    return image


def scaled(contract: Contract, scaling: Scaling) -> Contract:
    """``contract`` with the mean and std that amount to ``scaling``."""
    if scaling == "normalised":
        return contract
    std = 1.0 if scaling == "fractions" else 1 / 255
    return replace(contract, mean=(0.0,) * 3, std=(std,) * 3)


def stretched(image: Image, width: int, height: int) -> Image:
    """The image in another size in pixels, bilinear, in 8 bits."""
    pixels = cv2.resize(image.pixels, (width, height), interpolation=cv2.INTER_LINEAR)
    return Image(np.asarray(pixels, np.uint8), image.name)


def _letterboxed(image: Image) -> Image:
    """The longer side 1200, the rest grey, the picture in the middle; in 8 bits, as is usual."""
    factor = INPUT_SIZE / max(image.width, image.height)
    width, height = (max(1, round(side * factor)) for side in (image.width, image.height))
    left, top = (INPUT_SIZE - width) // 2, (INPUT_SIZE - height) // 2
    square = np.full((INPUT_SIZE, INPUT_SIZE, 3), _PADDING, np.uint8)
    square[top : top + height, left : left + width] = stretched(image, width, height).pixels
    return Image(square, image.name)

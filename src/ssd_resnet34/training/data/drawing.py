"""A data set drawn: what augmentation makes of it, and its boxes as they were read."""

from collections.abc import Sequence
from contextlib import suppress
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from ...contract import Contract
from ...errors import ImageError
from ...vision.detections import Detections
from ...vision.draw import draw, save_png
from ...vision.images import DEFAULT_LIMITS, Limits
from .augmentation import Augmentation
from .example import DataSet, Example, Sample
from .loading import Examples, decoded

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

TILE: Final = 480
"""Largest side of an example in a drawing, pixels."""

GAP: Final = 4
"""Pixels between two examples of a drawing."""

BOXES: Final = "boxes.png"
"""The drawing without augmentation."""


def drawn(examples: Sequence[Example], contract: Contract, columns: int = 4) -> "PILImage":
    """Examples side by side as the network gets them, with their boxes; ignored regions are called
    so. PIL mode RGB."""
    return _sheet([_tile(example, contract) for example in examples], columns)


def _sheet(tiles: Sequence["PILImage"], columns: int) -> "PILImage":
    """Tiles of one size on white, :data:`GAP` pixels apart."""
    from PIL import Image

    width, height = tiles[0].width + GAP, tiles[0].height + GAP
    rows = -(-len(tiles) // columns)
    size = (min(columns, len(tiles)) * width - GAP, rows * height - GAP)
    sheet = Image.new("RGB", size, "white")
    for n, tile in enumerate(tiles):
        sheet.paste(tile, (n % columns * width, n // columns * height))
    return sheet


def _tile(example: Example, contract: Contract) -> "PILImage":
    size = len(example.image)
    side = min(size, TILE)
    image = np.asarray(
        cv2.resize(example.image, (side, side), interpolation=cv2.INTER_AREA), np.uint8
    )
    assert example.ignored_indices is not None  # an example of a data set
    ignored = np.arange(len(example.indices) + len(example.ignored)) >= len(example.indices)
    return _boxed(
        image,
        np.concatenate([example.boxes, example.ignored]),
        np.concatenate([example.indices, example.ignored_indices]),
        ignored,
        (size, size),
        contract,
    )


def _boxed(
    image: NDArray[np.uint8],
    boxes: NDArray[np.float32],
    indices: NDArray[np.int64],
    ignored: NDArray[np.bool_],
    size: tuple[int, int],
    contract: Contract,
) -> "PILImage":
    """``image`` (BGR) with boxes in pixels of an image of ``size``, ignored ones called so."""
    colours = np.where(ignored, contract.num_classes, indices)
    labels = [
        f"{contract.labels[n - 1]} (ignored)" if left else contract.labels[n - 1]
        for n, left in zip(indices.tolist(), ignored.tolist(), strict=True)
    ]
    found = Detections(
        boxes,
        np.ones(len(boxes), np.float32),
        colours,
        colours,
        tuple(labels),
        width=size[0],
        height=size[1],
    )
    return draw(image, found, colour="bgr", show_scores=False)


def annotated(samples: Sequence[Sample], contract: Contract, limits: Limits) -> "PILImage":
    """Pictures as they are in their files, fitted into squares, with the boxes as they are read.

    Raises:
        ImageError: a file is refused.
    """
    from PIL import Image

    tiles = []
    for sample in samples:
        pixels = decoded(sample, limits).pixels
        share = TILE / max(sample.size)
        width, height = (max(1, round(side * share)) for side in sample.size)
        way = cv2.INTER_AREA if share < 1 else cv2.INTER_LINEAR
        image = np.asarray(cv2.resize(pixels, (width, height), interpolation=way), np.uint8)
        tile = Image.new("RGB", (TILE, TILE), "white")
        found = _boxed(image, sample.boxes, sample.indices, sample.ignored, sample.size, contract)
        tile.paste(found, ((TILE - width) // 2, (TILE - height) // 2))
        tiles.append(tile)
    return _sheet(tiles, 4)


def write_drawings(
    data_set: DataSet,
    folder: str | PathLike[str],
    *,
    size: int,
    sheets: int = 2,
    seed: int = 0,
    augmentation: Augmentation | None = Augmentation(),  # noqa: B008 - frozen
    limits: Limits = DEFAULT_LIMITS,
) -> list[Path]:
    """``batch-1.png``, …: eight augmented examples each, spread over the data set; and
    ``boxes.png``: eight pictures as they are in their files, with the boxes as they were read.

    Raises:
        TrainingError: not one image can be read.
        UsageError, OutputError: the folder cannot be written to.
    """
    examples = Examples(
        data_set, size, seed=seed, augmentation=augmentation, limits=limits, refused_share=1
    )
    numbers = np.linspace(0, len(examples), 8 * sheets, endpoint=False).astype(int).tolist()
    made = []
    for sheet in range(sheets):
        # An epoch each: a small set shows an image more than once, and never the same way.
        batch = [examples.example(epoch, n) for epoch, n in enumerate(numbers[sheet::sheets])]
        path = Path(folder) / f"batch-{sheet + 1}.png"
        made.append(_saved(drawn(batch, data_set.contract), path))
    samples = _readable(data_set, numbers[::sheets], limits)
    made.append(_saved(annotated(samples, data_set.contract, limits), Path(folder) / BOXES))
    return made


def _readable(data_set: DataSet, numbers: Sequence[int], limits: Limits) -> list[Sample]:
    """These samples without those that are refused; another one where all of them are."""
    found: list[Sample] = []
    rest = range(len(data_set.samples))
    for number in dict.fromkeys((*numbers, *rest)):
        if found and number not in numbers:
            break
        with suppress(ImageError):
            decoded(data_set.samples[number], limits)
            found.append(data_set.samples[number])
    return found


def _saved(image: "PILImage", path: Path) -> Path:
    save_png(image, path)
    return path

"""What a data set holds, and what one image of it teaches: the seam of data and training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...contract import Contract


@dataclass(frozen=True, slots=True)
class Sample:
    """One image of a data set, still in its file.

    Attributes:
        path: where the image lies.
        size: width, height of the displayed image, pixels, as the annotations state them.
        boxes: (n, 4) float32 left, top, right, bottom, pixels of the displayed image.
        indices: (n,) int64 model indices, 1-based.
        ignored: (n,) bool: a crowd or a difficult object, neither to be found nor background.
        unknown: model indices whose objects this image's source does not label.
        image_id: the image's id in a COCO file; None elsewhere.
    """

    path: Path
    size: tuple[int, int]
    boxes: NDArray[np.float32]
    indices: NDArray[np.int64]
    ignored: NDArray[np.bool_]
    unknown: frozenset[int] = frozenset()
    image_id: int | None = None


@dataclass(frozen=True)
class DataSet:
    """Samples, the classes their indices name, and what was left out, a sentence each.

    ``category_ids``: label -> id in the COCO file that it was read from; empty elsewhere.
    """

    contract: Contract
    samples: Sequence[Sample]
    warnings: tuple[str, ...] = ()
    category_ids: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Example:
    """An augmented image of the network's input size, ready to be matched with priors.

    Attributes:
        image: (s, s, 3) uint8 BGR.
        boxes: (n, 4) float32 left, top, right, bottom, pixels of ``image``.
        indices: (n,) int64 model indices, 1-based.
        ignored: (m, 4) float32 regions that are neither object nor background.
        unknown: model indices that a prior of the background may take for granted or not: no
            evidence either way.
        source: the file it came from: a loss that turns NaN names it.
        ignored_indices: (m,) int64 model indices of what lies in ``ignored``, for drawings.
    """

    image: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    indices: NDArray[np.int64]
    ignored: NDArray[np.float32]
    unknown: frozenset[int]
    source: Path
    ignored_indices: NDArray[np.int64] | None = None

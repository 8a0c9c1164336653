"""What the trainer looks at: patches of one object, crops at native scale, whole scenes.

A crop has the object sizes and sharpness of the 1200×1200 layout at an eighth of its cost. Batch
``step`` depends on the seed and the step alone, so a resumed run sees what an uninterrupted one
would have seen.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import IterableDataset

from ..contract import COCO, INPUT_SIZE
from .held_out import TRAINING_STREAM, training_seed
from .multibox import Target, match
from .parks import park_scene
from .scenes import NAMES, Scene, render_scene

CROP_STREAM: Final = TRAINING_STREAM + 1
CROWD: Final = (26, 40)
"""Objects of a scene that windows are cut from: the more of them, the more a step teaches."""

CROWD_SIDES: Final = (24, 330)
"""Longest sides of those objects, pixels: what a window can hold whole."""

WHOLE_CROWDS: Final = 1_000_000
"""Number of the first crowded scene that is shown whole."""

STUDIED: Final = (
    *NAMES,
    *("kite",) * 4,
    *("bus",) * 3,
    *("umbrella",) * 2,
    *("boat", "bench", "tv", "car"),
)
"""Categories of ``mixed`` and ``parks``: the weakest more often."""

SHARED: Final = 4
"""Scenes that the windows of one batch come from; the next batch replaces one of them."""

LEAST_VISIBLE: Final = 0.4
"""Share of an object's box that must lie in a crop for the object to be taught; less is ignored."""

PATCH_LEAST: Final = 44
"""Longest side of an object that is worth a patch, pixels; smaller ones have no detail."""

_NO_BOXES: Final = np.zeros((0, 4), np.float32)

Kind = Literal["patches", "crops", "scenes", "mixed", "parks"]


@dataclass(frozen=True)
class Example:
    """``image`` uint8 (s, s, 3) BGR; ``boxes`` (n, 4) ltrb pixels; ``indices`` (n,) model indices;
    ``ignored`` (m, 4) regions that are neither object nor background."""

    image: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    indices: NDArray[np.int64]
    ignored: NDArray[np.float32]


def whole(scene: Scene) -> Example:
    """The scene as it is."""
    index = {label: i for i, label in enumerate(COCO.labels, 1)}
    indices = np.array([index[label] for label in scene.labels], np.int64)
    return Example(scene.image, scene.boxes, indices, _NO_BOXES)


def crop(example: Example, left: int, top: int, size: int) -> Example:
    """A ``size``×``size`` window; boxes are clipped to it, those mostly outside ignored."""
    origin = np.array([left, top, left, top], np.float32)
    boxes = np.clip(example.boxes - origin, 0, size)
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    full = np.prod(example.boxes[:, 2:] - example.boxes[:, :2], axis=1)
    share = areas / np.maximum(full, 1)
    kept, partial = share >= LEAST_VISIBLE, (share > 0) & (share < LEAST_VISIBLE)
    image = np.ascontiguousarray(example.image[top : top + size, left : left + size])
    return Example(image, boxes[kept], example.indices[kept], boxes[partial])


@lru_cache(maxsize=2 * SHARED)
def crowd(seed: int, number: int, names: Sequence[str] = NAMES) -> Example:
    """A whole scene with many small and middling objects, to cut windows and patches from."""
    scene = render_scene((CROP_STREAM, seed, number), objects=CROWD, sides=CROWD_SIDES, names=names)
    return whole(scene)


def crop_batch(seed: int, step: int, count: int, size: int) -> list[Example]:
    """Windows at native scale, each around some object."""
    rng = np.random.Generator(np.random.PCG64([CROP_STREAM, seed, step]))
    batch = []
    for n in range(count):
        scene = crowd(seed, step + n % SHARED)
        box = scene.boxes[rng.integers(len(scene.boxes))]
        corner = []
        for low, high in ((box[0], box[2]), (box[1], box[3])):
            first, last = max(0, int(high) - size), min(int(low), INPUT_SIZE - size)
            corner.append(int(rng.integers(min(first, last), max(first, last) + 1)))
        batch.append(crop(scene, corner[0], corner[1], size))
    return batch


def patch_batch(seed: int, step: int, count: int, size: int) -> list[Example]:
    """Single objects brought to one size, to be named, not located."""
    rng = np.random.Generator(np.random.PCG64([CROP_STREAM, seed, step, 1]))
    batch = []
    for n in range(count):
        scene = crowd(seed, step + n % SHARED)
        sides = (scene.boxes[:, 2:] - scene.boxes[:, :2]).max(axis=1)
        chosen = int(rng.choice(np.flatnonzero(sides >= min(PATCH_LEAST, sides.max()))))
        half = float(sides[chosen] * rng.uniform(0.55, 0.75))
        centre = (scene.boxes[chosen, :2] + scene.boxes[chosen, 2:]) / 2
        centre = centre + rng.uniform(-0.1, 0.1, 2) * sides[chosen]
        scale = size / (2 * half)
        matrix = np.array(
            [[scale, 0, size / 2 - scale * centre[0]], [0, scale, size / 2 - scale * centre[1]]]
        )
        patch = cv2.warpAffine(
            scene.image, matrix, (size, size), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE
        )
        index = scene.indices[chosen : chosen + 1]
        batch.append(Example(np.asarray(patch, np.uint8), _NO_BOXES, index, _NO_BOXES))
    return batch


def scene_batch(seed: int, step: int, count: int, names: Sequence[str] = NAMES) -> list[Example]:
    """Whole 1200×1200 scenes."""
    numbers = range(step * count, (step + 1) * count)
    return [whole(render_scene((*training_seed(n), seed), names=names)) for n in numbers]


def park_batch(seed: int, step: int, count: int, names: Sequence[str] = NAMES) -> list[Example]:
    """Whole landscapes in the manner of the sample picture."""
    return [whole(park_scene(seed, step * count + n, names)) for n in range(count)]


def crowd_batch(seed: int, step: int, count: int, names: Sequence[str] = NAMES) -> list[Example]:
    """Whole crowded scenes, other ones than those that windows are cut from."""
    return [crowd(seed, WHOLE_CROWDS + step * count + n, names) for n in range(count)]


def odd_park_batch(seed: int, step: int, count: int, names: Sequence[str]) -> list[Example]:
    """Landscapes with what is rare and mistaken: the foil kite, striped as an umbrella is."""
    return park_batch(seed, step, count, (*names, *("foil kite",) * 5))


_WHOLE: Final = {
    "scenes": (park_batch, scene_batch, scene_batch, scene_batch),
    "mixed": (park_batch, crowd_batch, scene_batch, crowd_batch),
    "parks": (odd_park_batch, scene_batch, odd_park_batch, crowd_batch),
}
"""What four steps on whole images show, by kind."""


@dataclass(frozen=True)
class Batch:
    """``images`` uint8 [N, s, s, 3] BGR and what each of them teaches."""

    step: int
    images: Tensor
    targets: list[Target]


class Batches(IterableDataset[Batch]):
    """Batches ``first``, ``first + 1``, … without end; meant for one background worker."""

    def __init__(
        self, kind: Kind, priors: Tensor, *, seed: int, first: int, count: int, size: int
    ) -> None:
        self.kind, self.priors = kind, priors
        self.seed, self.first, self.count, self.size = seed, first, count, size

    def __iter__(self) -> Iterator[Batch]:
        step = self.first
        names = STUDIED if self.kind in ("mixed", "parks") else NAMES
        while True:
            if self.kind == "patches":
                examples = patch_batch(self.seed, step, self.count, self.size)
            elif self.kind == "crops":
                examples = crop_batch(self.seed, step, self.count, self.size)
            else:
                make = _WHOLE[self.kind][step % 4]
                examples = make(self.seed, step, self.count, names)
            targets = [
                Target(torch.from_numpy(example.indices), torch.zeros(1, 4))
                if self.kind == "patches"
                else match(
                    self.priors,
                    torch.from_numpy(example.boxes),
                    torch.from_numpy(example.indices),
                    torch.from_numpy(example.ignored),
                )
                for example in examples
            ]
            images = torch.from_numpy(np.stack([example.image for example in examples]))
            yield Batch(step, images, targets)
            step += 1

"""What is wrong with a data set, said before any time is spent on it; and what augmentation makes
of it, drawn."""

import hashlib
import io
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np

from ... import files
from ...contract import INPUT_SIZE, Contract
from ...errors import ImageError, UsageError
from ...evaluation.dataset import some
from ...runtime.cpu import available_threads
from ...vision.detections import Detections
from ...vision.draw import draw
from ...vision.images import DEFAULT_LIMITS, Limits
from .augmentation import LEAST_SIDE, Augmentation
from .example import DataSet, Example, Sample
from .loading import REFUSED_SHARE, Examples, decoded

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

LOOKED_AT: Final = 2000
"""Images that are decoded, evenly spread over a larger set: some ten seconds where they are
of COCO's size."""

FEW: Final = 20
"""Boxes of a class below which it is named: too few to learn from, or to score by."""

TILE: Final = 480
"""Largest side of an example in a drawing, pixels."""

_HEAD: Final = 4096


@dataclass(frozen=True)
class Findings:
    """What :func:`check` found.

    Attributes:
        images: of the data set; ``background`` of them have no box, ``looked_at`` were decoded.
        boxes: that are taught; ``ignored`` ones are not, crowds and difficult ones.
        classes: label -> boxes taught, in the order of the contract.
        problems: a sentence each, with what is done about it.
        stops: training with this set would stop, or could not begin.
    """

    images: int
    background: int
    looked_at: int
    boxes: int
    ignored: int
    classes: dict[str, int]
    problems: tuple[str, ...]
    stops: bool

    def lines(self) -> list[str]:
        """For people: the numbers, then the problems."""
        counts = [f"{label} {number:,}" for label, number in self.classes.items()]
        return [
            f"{self.images:,} images ({self.background:,} without a box), {self.boxes:,} boxes, "
            f"{self.ignored:,} more ignored",
            f"{self.looked_at:,} images decoded",
            f"{len(counts)} classes: {', '.join(counts)}",
            *self.problems,
        ]

    def to_dict(self) -> dict[str, Any]:
        """The attributes as JSON has them."""
        return {**vars(self), "problems": list(self.problems)}


def check(
    data_set: DataSet,
    validation: DataSet | None = None,
    *,
    size: int = INPUT_SIZE,
    most: int = LOOKED_AT,
    limits: Limits = DEFAULT_LIMITS,
    progress: Callable[[], None] = lambda: None,
) -> Findings:
    """Look for everything that a run would stumble over, or learn wrongly from.

    Args:
        validation: what the model is chosen by; its problems are told too.
        size: side of the network's input, pixels.
        most: images of each set that are decoded.
        progress: called after each of them.

    Raises:
        UsageError: ``most`` or ``size`` below 1.
    """
    for name, value in (("most", most), ("size", size)):
        if value < 1:
            raise UsageError(f"{name}: {value}; give at least 1")
    problems = list(data_set.warnings)
    looked_at, damage, stops = _damage(data_set, most, limits, progress)
    problems += damage
    problems += _small(data_set, size)
    counts = _counts(data_set)
    rare = [f"{label} {number}" for label, number in counts.items() if 0 < number < FEW]
    if rare:
        problems.append(
            f"classes with fewer than {FEW} boxes, which are hardly learnt: {some(rare)}"
        )
    if validation is not None:
        problems += [f"validation: {text}" for text in validation.warnings]
        _, damage, _ = _damage(validation, most, limits, progress)
        problems += [f"validation: {text}" for text in damage]
        if validation.contract.labels != data_set.contract.labels:
            stops = True
            problems.append("validation: its classes are not those of the data set; give both one")
    problems += _twice(data_set, validation)
    ignored = sum(int(sample.ignored.sum()) for sample in data_set.samples)
    return Findings(
        len(data_set.samples),
        sum(len(sample.boxes) == 0 for sample in data_set.samples),
        looked_at,
        sum(counts.values()),
        ignored,
        counts,
        tuple(problems),
        stops,
    )


def _counts(data_set: DataSet) -> dict[str, int]:
    total = np.zeros(data_set.contract.num_classes, np.int64)
    for sample in data_set.samples:
        np.add.at(total, sample.indices[~sample.ignored], 1)
    return dict(zip(data_set.contract.labels, total[1:].tolist(), strict=True))


def _damage(
    data_set: DataSet, most: int, limits: Limits, progress: Callable[[], None]
) -> tuple[int, list[str], bool]:
    """Images decoded, sentences on those refused, and whether they are too many to train."""
    samples = data_set.samples
    numbers = np.unique(np.linspace(0, len(samples) - 1, min(most, len(samples))).astype(int))

    def refusal(number: int) -> tuple[Sample, str] | None:
        sample = samples[number]
        try:
            decoded(sample, limits)
        except ImageError as error:
            return sample, error.code
        return None

    refused = []
    with ThreadPoolExecutor(available_threads()) as pool:
        for one in pool.map(refusal, numbers.tolist()):
            progress()
            if one is not None:
                refused.append(one)
    sentences = []
    if len(numbers) < len(samples):
        sentences.append(
            f"{len(numbers):,} of {len(samples):,} images were decoded, evenly spread: the others "
            "may hold surprises"
        )
    codes = Counter(code for _, code in refused)
    for code, count in codes.most_common():
        named = some([str(sample.path) for sample, found in refused if found == code])
        sentences.append(
            f"{count:,} of {len(numbers):,} images are refused as {code}, and the next one is "
            f"shown instead: {named}"
        )
    stops = len(refused) > max(1, int(REFUSED_SHARE * len(numbers)))
    if stops:
        sentences.append(
            f"{len(refused) / len(numbers):.0%} of the images are refused: training stops at "
            f"{REFUSED_SHARE:.0%}"
        )
    return len(numbers), sentences, stops


def _small(data_set: DataSet, size: int) -> list[str]:
    """On boxes that become too small for any prior where the image is shown whole."""
    least = LEAST_SIDE * size
    small = total = 0
    for sample in data_set.samples:
        scale = size / np.array(sample.size, np.float64)
        sides = (sample.boxes[:, 2:] - sample.boxes[:, :2])[~sample.ignored] * scale
        small += int((sides < least).any(axis=1).sum())
        total += len(sides)
    if not small:
        return []
    return [
        f"{small:,} of {total:,} boxes are under {least:.3g} pixels of the input's {size} and are "
        "ignored: cut the images into pieces, or train at a larger size"
    ]


def _twice(data_set: DataSet, validation: DataSet | None) -> list[str]:
    """On files that are the same to the byte, in one set or in both."""
    own = [sample.path for sample in data_set.samples]
    other = [] if validation is None else [sample.path for sample in validation.samples]
    within, across = [], []
    for group in same_files([*own, *other]):
        mine = [n for n in group if n < len(own)]
        if len(mine) > 1:
            within.append(" = ".join(str(own[n]) for n in mine[:3]))
        if mine and len(mine) < len(group):
            theirs = next(n for n in group if n >= len(own)) - len(own)
            across.append(f"{own[mine[0]]} = {other[theirs]}")
    made = []
    if within:
        made.append(f"the same file more than once, shown as often: {some(within)}")
    if across:
        made.append(
            "images of the validation are trained on, which makes its scores too good; take them "
            f"out of one of the sets: {some(across)}"
        )
    return made


def same_files(paths: Sequence[Path]) -> list[list[int]]:
    """Positions of files with the same bytes, in groups. An empty file, or one that cannot be read,
    is the same as none.

    Only what agrees in its length, and then in its beginning, is read to the end.
    """
    groups: list[list[int]] = [list(range(len(paths)))]
    for key in (_length, _beginning, _all):
        groups = [part for group in groups for part in _divided(group, paths, key) if len(part) > 1]
    return groups


def _divided(
    group: Iterable[int], paths: Sequence[Path], key: Callable[[Path], object]
) -> Iterator[list[int]]:
    parts: defaultdict[object, list[int]] = defaultdict(list)
    for n in group:
        try:
            parts[key(paths[n])].append(n)
        except (OSError, ValueError):
            continue
    yield from parts.values()


def _length(path: Path) -> int:
    if not os.path.isfile(path):  # a pipe would wait for its writer
        raise OSError
    if not (length := os.path.getsize(path)):
        raise OSError  # refused as such, and the same as nothing
    return length


def _beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD)


def _all(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


# ---------------------------------------------------------------- drawings


def drawn(examples: Sequence[Example], contract: Contract, columns: int = 4) -> "PILImage":
    """Examples side by side as the network gets them, with their boxes; ignored regions are called
    so. PIL mode RGB."""
    from PIL import Image

    tiles = [_tile(example, contract) for example in examples]
    side = tiles[0].width
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (min(columns, len(tiles)) * side, rows * side))
    for n, tile in enumerate(tiles):
        sheet.paste(tile, (n % columns * side, n // columns * side))
    return sheet


def _tile(example: Example, contract: Contract) -> "PILImage":
    size = len(example.image)
    side = min(size, TILE)
    image = cv2.resize(example.image, (side, side), interpolation=cv2.INTER_AREA)
    regions = len(example.ignored)
    indices = [*example.indices.tolist(), *[contract.num_classes] * regions]
    labels = [contract.labels[n - 1] for n in example.indices.tolist()]
    found = Detections(
        np.concatenate([example.boxes, example.ignored]),
        np.ones(len(indices), np.float32),
        np.array(indices, np.int64),
        np.array(indices, np.int64),
        (*labels, *["ignored"] * regions),
        width=size,
        height=size,
    )
    return draw(image, found, colour="bgr", show_scores=False)


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
    """``batch-1.png``, …: eight augmented examples each, spread over the data set.

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
        buffer = io.BytesIO()
        drawn(batch, data_set.contract).save(buffer, "PNG")
        path = Path(folder) / f"batch-{sheet + 1}.png"
        files.write(path, buffer.getbuffer())
        made.append(path)
    return made

"""What is wrong with a data set, said before any time is spent on it."""

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from ...contract import INPUT_SIZE
from ...errors import ImageError, UsageError
from ...evaluation.dataset import some
from ...runtime.cpu import available_threads
from ...vision.images import DEFAULT_LIMITS, Limits
from ...wording import counted
from .augmentation import LEAST_SIDE
from .example import DataSet
from .loading import REFUSED_SHARE, decoded

LOOKED_AT: Final = 2000
"""Images that are decoded, evenly spread over a larger set: some ten seconds where they are
of COCO's size."""

FEW: Final = 20
"""Boxes of a class below which it is named: too few to learn from, or to score by."""

_HEAD: Final = 4096


@dataclass(frozen=True)
class Counts:
    """What is in a data set.

    Attributes:
        images: of the data set; ``background`` of them have no box, ``looked_at`` were to be
            decoded, ``refused`` of those could not be.
        boxes: that are taught; ``ignored`` ones are not, crowds and difficult ones.
        classes: label -> boxes taught, in the order of the contract.
    """

    images: int
    background: int
    looked_at: int
    refused: int
    boxes: int
    ignored: int
    classes: dict[str, int]

    def lines(self) -> list[str]:
        """For people."""
        counts = [f"{label} {number:,}" for label, number in self.classes.items()]
        decoded = f"{self.looked_at - self.refused:,} of {self.looked_at:,} images decoded"
        return [
            f"{counted(self.images, 'image')} ({self.background:,} without a box), "
            f"{self.boxes:,} boxes, {self.ignored:,} more ignored",
            decoded if self.refused else f"{counted(self.looked_at, 'image')} decoded",
            f"{len(counts)} classes: {', '.join(counts)}",
        ]


@dataclass(frozen=True)
class Findings:
    """What :func:`check` found.

    Attributes:
        data: of the data set.
        validation: of the validation set, None where there is none.
        problems: a sentence each, with what is done about it.
        stops: training with these sets would stop, or could not begin.
    """

    data: Counts
    validation: Counts | None
    problems: tuple[str, ...]
    stops: bool

    @property
    def refused(self) -> int:
        """Images of both sets that could not be decoded."""
        return self.data.refused + (self.validation.refused if self.validation else 0)

    def lines(self) -> list[str]:
        """For people: the numbers, then the problems."""
        judged = ["none, so no scores"] if self.validation is None else self.validation.lines()
        return [*self.data.lines(), *(f"validation: {text}" for text in judged), *self.problems]

    def to_dict(self) -> dict[str, Any]:
        """The numbers of the data set, and ``validation``, ``problems``, ``stops``."""
        return {
            **vars(self.data),
            "validation": None if self.validation is None else dict(vars(self.validation)),
            "problems": list(self.problems),
            "stops": self.stops,
        }


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
    looked_at, refused, damage, stops = _damage(data_set, most, limits, progress)
    problems += damage
    problems += _small(data_set, size)
    counts = _counts(data_set, looked_at, refused)
    judged: Counts | None = None
    rare = [f"{label} {number}" for label, number in counts.classes.items() if 0 < number < FEW]
    if rare:
        problems.append(
            f"classes with fewer than {FEW} boxes, which are hardly learnt: {some(rare)}"
        )
    if validation is not None:
        problems += [f"validation: {text}" for text in validation.warnings]
        looked_at, refused, damage, _ = _damage(
            validation, most, limits, progress, "which has no part in the scores"
        )
        problems += [f"validation: {text}" for text in damage]
        judged = _counts(validation, looked_at, refused)
        if (reason := unscored(validation, limits)) is not None:
            stops = True
            problems.append(f"validation: {reason}")
        if validation.contract.labels != data_set.contract.labels:
            stops = True
            problems.append("validation: its classes are not those of the data set; give both one")
    problems += _twice(data_set, validation)
    return Findings(counts, judged, tuple(problems), stops)


def unscored(validation: DataSet, limits: Limits = DEFAULT_LIMITS) -> str | None:
    """Why nothing could be scored on a validation set; None as soon as one image with an object
    that counts can be decoded."""
    first = None
    for sample in validation.samples:
        if sample.ignored.all():  # also where there is none
            continue
        try:
            decoded(sample, limits)
        except ImageError as error:
            first = first or error
            continue
        return None
    told = f" ({first})" if first else ""
    return f"not one image with an object can be read, so there would be no scores{told}"


def _counts(data_set: DataSet, looked_at: int, refused: int) -> Counts:
    total = np.zeros(data_set.contract.num_classes, np.int64)
    for sample in data_set.samples:
        np.add.at(total, sample.indices[~sample.ignored], 1)
    classes = dict(zip(data_set.contract.labels, total[1:].tolist(), strict=True))
    return Counts(
        len(data_set.samples),
        sum(len(sample.boxes) == 0 for sample in data_set.samples),
        looked_at,
        refused,
        sum(classes.values()),
        sum(int(sample.ignored.sum()) for sample in data_set.samples),
        classes,
    )


def _damage(
    data_set: DataSet,
    most: int,
    limits: Limits,
    progress: Callable[[], None],
    instead: str | None = None,
) -> tuple[int, int, list[str], bool]:
    """Images looked at and refused, sentences on these, and whether they are too many to train.

    ``instead``: what becomes of a refused image; by default what training does.
    """
    samples = data_set.samples
    numbers = np.unique(np.linspace(0, len(samples) - 1, min(most, len(samples))).astype(int))

    def refusal(number: int) -> tuple[Path, str, str] | None:
        """Path, code and words: the error itself holds the picture."""
        path = samples[number].path
        try:
            decoded(samples[number], limits)
        except ImageError as error:
            return path, error.code, str(error)
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
    for code, count in Counter(found for _, found, _ in refused).most_common():
        paths, reasons = zip(*[(p, why) for p, found, why in refused if found == code], strict=True)
        named = "" if count == 1 else f"{some(paths)}. The first: "
        sentences.append(
            f"{count:,} of {len(numbers):,} images {'is' if count == 1 else 'are'} refused as "
            f"{code}, {instead or 'and the next one is shown instead'}: {named}{reasons[0]}"
        )
    stops = len(refused) > max(1, int(REFUSED_SHARE * len(numbers)))
    if stops and instead is None:
        sentences.append(
            f"{len(refused) / len(numbers):.0%} of the images are refused: training stops at "
            f"{REFUSED_SHARE:.0%}; repair them, or take them out of the data set"
        )
    return len(numbers), len(refused), sentences, stops


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
        f"{small:,} of {total:,} boxes {'is' if small == 1 else 'are'} under {least:.3g} pixels of "
        f"the input's {size} and {'is' if small == 1 else 'are'} ignored: cut the images into "
        "pieces, or train at a larger size"
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

"""Boxes as a file has them -> samples: what every format shares.

Nothing is repaired in silence. A box without a place (NaN, no area, wholly outside) is left out
and counted; one that reaches over the border is cut off there.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...contract import COCO, Category, Contract
from ...errors import ContractError, UsageError
from ...evaluation.dataset import some
from ...vision.labels import resolve
from .example import DataSet, Sample

Unknown: TypeAlias = "Iterable[str] | Literal['unlabelled']"
"""Labels whose objects a source does not label; ``"unlabelled"``: all those without a box."""


@dataclass(frozen=True)
class Names:
    """What messages call the arguments of a reader: as Python has them, or a command.

    ``unlabelled`` declares all classes without a box unknown; None where that means nothing, as in
    a validation set, whose scores are over the classes that it has.
    """

    images: str = "images=FOLDER"
    split: str = "split=NAME"
    unlabelled: str | None = 'unknown="unlabelled"'


PYTHON: Final = Names()

SLACK: Final = 1.0
"""Pixels that a box may reach over the border before it is spoken of: files round."""

ENOUGH: Final = 20
"""Boxes below which it means nothing that most of them do not fit."""


@dataclass(frozen=True)
class Found:
    """What a reader found: n images, and the m boxes of all of them in one row.

    Attributes:
        name: the file or folder, which every message begins with.
        paths: n files of images.
        sizes: (n, 2) int64 width, height, pixels.
        owners: (m,) int64 position of the box's image.
        boxes: (m, 4) float64 left, top, right, bottom, pixels, as they stand in the file.
        indices: (m,) int64 model indices, 1-based.
        ignored: (m,) bool.
        place: where a box stands, in words, by its position.
        warnings: what the reader itself left out.
        boxes_are: what the form's boxes are, said where most of these do not fit in their images.
    """

    name: str
    paths: Sequence[Path]
    sizes: NDArray[np.int64]
    owners: NDArray[np.int64]
    boxes: NDArray[np.float64]
    indices: NDArray[np.int64]
    ignored: NDArray[np.bool_]
    place: Callable[[int], str]
    warnings: tuple[str, ...] = ()
    boxes_are: str = "left, top, right, bottom in pixels"


def contract_of(name: str, categories: Sequence[Category]) -> Contract:
    """The contract of these categories: COCO's own where the labels are exactly COCO's 80.

    Raises:
        UsageError: no category, or one that occurs twice.
    """
    if not categories:
        raise UsageError(f"{name}: no object at all, so no class is known; annotate some")
    if {one.label for one in categories} == set(COCO.labels):
        return COCO
    try:
        return Contract(tuple(categories))
    except ContractError as error:
        raise UsageError(f"{name}: {error}") from error


def indices_of(name: str, labels: Iterable[str], contract: Contract) -> dict[str, int]:
    """Label -> model index of ``contract``.

    Raises:
        UsageError: a label that is no class of the contract.
    """
    index = {label: n for n, label in enumerate(contract.labels, 1)}
    foreign = sorted({label for label in labels if label not in index})
    if foreign:
        raise UsageError(
            f"{name}: {some(foreign)} is no class of the model ({some(contract.labels)}); train "
            "with all classes that are labelled, or take these boxes out"
        )
    return index


def assembled(found: Found, contract: Contract, unknown: Unknown, names: Names = PYTHON) -> DataSet:
    """The data set, its boxes checked.

    Raises:
        UsageError: no image, no box that can be learned, most boxes within one pixel, or an
            unknown label in ``unknown``.
    """
    if not found.paths:
        raise UsageError(f"{found.name}: no image in this split; name a split that has some")
    solid = found.boxes[(found.boxes[:, 2:] > found.boxes[:, :2]).all(axis=1)]
    if 2 * int((np.abs(solid) <= 1).all(axis=1).sum()) > len(solid):
        raise UsageError(
            f"{found.name}: most of its boxes are within one pixel, as fractions are; give "
            f"{found.boxes_are}"
        )
    boxes, kept, warnings = _cleaned(found)
    if not (kept & ~found.ignored).any():
        raise UsageError(
            f"{found.name}: no box that could be learned in {len(found.paths)} images; "
            + (f"{'; '.join(warnings)}; " if warnings else "")
            + f"boxes are {found.boxes_are}"
        )
    counts = np.bincount(found.indices[kept], minlength=len(contract.labels) + 1)
    unlabelled = [label for n, label in enumerate(contract.labels, 1) if counts[n] == 0]
    chosen = unlabelled if unknown == "unlabelled" else list(unknown)
    not_taught = frozenset(resolve(chosen, contract))
    silent = [label for label in unlabelled if label not in chosen]
    if silent:
        warnings.append(
            f"{len(silent)} of {len(contract.labels)} classes without any box ({some(silent)}): "
            + (
                "no part in the scores"
                if names.unlabelled is None
                else "taught as absent from every image; if they occur there without boxes, give "
                f"{names.unlabelled}"
            )
        )
    kept_order = np.flatnonzero(kept)[np.argsort(found.owners[kept], kind="stable")]
    ends = np.searchsorted(found.owners[kept_order], np.arange(len(found.paths) + 1)).tolist()
    boxes, indices = boxes[kept_order], found.indices[kept_order]
    ignored = found.ignored[kept_order]
    samples = tuple(
        Sample(
            path,
            (width, height),
            boxes[start:end],
            indices[start:end],
            ignored[start:end],
            not_taught,
        )
        for path, (width, height), start, end in zip(
            found.paths, found.sizes.tolist(), ends, ends[1:], strict=False
        )
    )
    return DataSet(contract, samples, (*found.warnings, *warnings))


def _cleaned(found: Found) -> tuple[NDArray[np.float32], NDArray[np.bool_], list[str]]:
    """(m, 4) boxes inside their images, (m,) which of them are taken, and what to warn of."""
    limits = np.tile(found.sizes[found.owners], 2).astype(np.float64)
    finite = np.isfinite(found.boxes).all(axis=1)
    with np.errstate(invalid="ignore", over="ignore"):  # those boxes are not taken
        inside = np.clip(found.boxes, 0, limits).astype(np.float32)
        flat = finite & (found.boxes[:, 2:] <= found.boxes[:, :2]).any(axis=1)
        outside = finite & ~flat & (inside[:, 2:] <= inside[:, :2]).any(axis=1)
        kept = np.asarray(finite & ~flat & ~outside)
        cut = kept & (np.abs(found.boxes - inside).max(axis=1, initial=0) > SLACK)
    total = len(found.boxes)
    warnings = [
        f"{int(which.sum()):,} of {total:,} boxes {one if which.sum() == 1 else many} "
        f"({some([found.place(n) for n in np.flatnonzero(which).tolist()])})"
        for which, one, many in (
            (
                ~finite,
                "is not four finite numbers and is left out",
                "are not four finite numbers and are left out",
            ),
            (flat, "has no area and is left out", "have no area and are left out"),
            (
                outside,
                "lies wholly outside its image and is left out",
                "lie wholly outside their image and are left out",
            ),
            (
                cut,
                "reaches over the border of its image and is cut off there",
                "reach over the border of their image and are cut off there",
            ),
        )
        if which.any()
    ]
    if total >= ENOUGH and 2 * int((flat | outside | cut).sum()) > total:
        warnings.append(f"most boxes do not fit in their images: boxes are {found.boxes_are}")
    return inside, kept, warnings

"""Several data sets as one, though they label different things."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from ...contract import COCO, Category, Contract
from ...errors import UsageError
from .example import DataSet, Sample

VOC_TO_COCO: Final[Mapping[str, str]] = {
    "aeroplane": "airplane",
    "diningtable": "dining table",
    "motorbike": "motorcycle",
    "pottedplant": "potted plant",
    "sofa": "couch",
    "tvmonitor": "tv",
}
"""The same class by Pascal VOC's name and by COCO's. The other 14 names of VOC are COCO's too."""


def mixed(sets: Sequence[DataSet]) -> DataSet:
    """All samples of ``sets``, in turn, over the classes of all of them together.

    Classes are the same where their labels are; a label of :data:`VOC_TO_COCO` is COCO's where
    another set has that one. What a set has no class for is unknown in its images: an object of it
    is not taught as background there. The classes keep the order of the first set, those of later
    ones follow; they are COCO's contract where they are exactly its 80.

    Raises:
        UsageError: no set, or one with two names of the same class.
    """
    if not sets:
        raise UsageError("mixed: no data set; give at least one")
    everywhere = {label for one in sets for label in one.contract.labels}
    tables = [_canonical(one.contract, everywhere) for one in sets]
    contract = _joined(sets, tables)
    index = {label: n for n, label in enumerate(contract.labels, 1)}
    samples: list[Sample] = []
    for one, labels in zip(sets, tables, strict=True):
        new = np.array([0, *(index[label] for label in labels)], np.int64)
        foreign = frozenset(index.values()) - frozenset(new.tolist())
        samples += [
            replace(
                sample,
                indices=new[sample.indices],
                unknown=foreign | {int(new[n]) for n in sample.unknown},
            )
            for sample in one.samples
        ]
    warnings = [f"set {n}: {text}" for n, one in enumerate(sets, 1) for text in one.warnings]
    return DataSet(contract, tuple(samples), tuple(warnings))


def _canonical(contract: Contract, everywhere: set[str]) -> list[str]:
    """The label of each class of a set in the mixture."""
    made = [
        VOC_TO_COCO[label] if VOC_TO_COCO.get(label) in everywhere else label
        for label in contract.labels
    ]
    if len(set(made)) < len(made):
        twice = next(label for label in made if made.count(label) > 1)
        raise UsageError(
            f"mixed: a set has {twice!r} by two names; give its objects one of them before mixing"
        )
    return made


def _joined(sets: Sequence[DataSet], tables: Sequence[Sequence[str]]) -> Contract:
    """Ids stay where they are free; else the next free one is taken."""
    ids: dict[str, int] = {}
    for one, labels in zip(sets, tables, strict=True):
        for category, label in zip(one.contract.categories, labels, strict=True):
            if label not in ids:
                taken = category.category_id in ids.values()
                ids[label] = max(ids.values()) + 1 if taken else category.category_id
    if set(ids) == set(COCO.labels):
        return COCO
    return replace(
        sets[0].contract, categories=tuple(Category(number, label) for label, number in ids.items())
    )

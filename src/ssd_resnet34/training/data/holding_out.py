"""A share of a data set kept apart to score on, where people's data comes in one piece."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from ...errors import UsageError
from ...evaluation.dataset import some
from .checking import same_files
from .example import DataSet, Sample


def held_out(data: DataSet, share: float) -> tuple[DataSet, DataSet]:
    """The data set without a share of its images, and that share: to train and to score on.

    Which images these are depends on their names alone, so that every run, on every machine, keeps
    the same ones apart. Copies of one file stay together: a model is not scored on what it was
    taught. Pictures of one scene are no copies; such sets are better divided by hand.

    Args:
        share: of the images that are kept apart, 0..1, both excluded.

    Raises:
        UsageError: a share out of range, or one side has no object that counts.
    """
    if not 0 < share < 1:
        raise UsageError(f"hold_out: {share}; give a share between 0 and 1, like 0.2")
    wanted = max(1, round(share * len(data.samples)))
    apart: set[int] = set()
    for group in sorted(_groups(data.samples), key=lambda group: _rank(data.samples[group[0]])):
        if len(apart) >= wanted:
            break
        apart.update(group)
    sides = [
        replace(
            data, samples=tuple(one for n, one in enumerate(data.samples) if (n in apart) is side)
        )
        for side in (False, True)
    ]
    for side, what in zip(sides, ("to train on", "to score on"), strict=True):
        if all(sample.ignored.all() for sample in side.samples):
            raise UsageError(
                f"hold_out: of {len(data.samples)} images {len(side.samples)} are left {what}, "
                "without any object; give another share, or more images"
            )
    absent = _labels(data) - _labels(sides[1])
    told = f"{some(sorted(absent))}: no object is held out, and no part in the scores"
    return sides[0], replace(sides[1], warnings=(told,) if absent else ())


def _labels(data: DataSet) -> set[str]:
    """Of the objects that count."""
    indices = {n for one in data.samples for n in one.indices[~one.ignored].tolist()}
    return {data.contract.labels[n - 1] for n in indices}


def _groups(samples: Sequence[Sample]) -> list[list[int]]:
    """Positions, copies of one file together."""
    copies = same_files([sample.path for sample in samples])
    copied = {n for group in copies for n in group}
    return [*copies, *([n] for n in range(len(samples)) if n not in copied)]


def _rank(sample: Sample) -> bytes:
    return hashlib.sha256(sample.path.name.encode(errors="surrogateescape")).digest()

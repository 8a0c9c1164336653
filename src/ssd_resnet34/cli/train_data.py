"""The data sets that options of ``ssd-resnet34 train`` name."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError
from .options import words

if TYPE_CHECKING:
    from ..training.data.assembling import Unknown
    from ..training.data.example import DataSet


class Format(StrEnum):
    """How images and boxes are stored."""

    coco = "coco"
    voc = "voc"
    yolo = "yolo"


@dataclass(frozen=True)
class Source:
    """DATA and the options of what to train on, as they were given."""

    data: Path
    format: Format
    images: Path | None
    split: str | None
    unknown: str | None
    mix: Sequence[str]


@dataclass(frozen=True)
class Judged:
    """The options of what to score on, as they were given."""

    val: Path | None
    images: Path | None
    split: str | None
    hold_out: float | None
    no_val: bool


def read_both(source: Source, options: Judged) -> "tuple[DataSet, DataSet | None]":
    """What to train on, and what to score on.

    Raises:
        UsageError: a source is refused, or options contradict.
    """
    from ..training.data.assembling import Names
    from ..training.data.mixing import mixed
    from ..training.data.reading import read

    own = read(
        source.data,
        source.format.value,
        images=source.images,
        split=source.split,
        unknown=_unknown(source.unknown),
        names=Names("--images DIR", "--split", "--unknown unlabelled"),
    )
    judged: DataSet | None = None
    if options.hold_out is not None:
        from ..training.data.holding_out import held_out  # needs torch

        own, judged = held_out(own, options.hold_out)
    elif not options.no_val:
        judged = _validation(source, options, own)
    if not source.mix:
        return own, judged
    learned = mixed([own, *map(_other, source.mix)])
    if judged is not None:
        # The classes of all sources; what the others bring along is not labelled here.
        everything = mixed([judged, replace(learned, samples=())])
        judged = replace(everything, warnings=judged.warnings, category_ids=judged.category_ids)
    return learned, judged


def _validation(source: Source, options: Judged, own: "DataSet") -> "DataSet | None":
    """A set of its own, or another split of DATA; None where DATA is one file without."""
    from ..training.data.assembling import Names
    from ..training.data.reading import read

    split, coco = options.split, source.format is Format.coco
    if options.val is None and coco and os.path.isfile(source.data) and split is None:
        return None
    given = options.val is not None
    where = options.val or source.data
    folder = options.images if given else source.images
    if split is None and (not coco or os.path.isdir(where)):
        split = "val"  # a COCO file is one split already
    try:
        return read(
            where,
            source.format.value,
            images=folder,
            split=split,
            contract=own.contract,
            also=() if source.images is None else [source.images],
            names=Names("--val-images DIR" if given else "--images DIR", "--val-split", None),
        )
    except UsageError as error:
        if given:
            raise
        raise UsageError(
            f"{error}. Or give --val DATA for the scores, --hold-out 0.2 for those of a fifth of "
            "DATA, or --no-val"
        ) from error


def _other(text: str) -> "DataSet":
    """A source as ``--mix`` names it."""
    from ..training.data.assembling import Names
    from ..training.data.reading import read

    form, path, folder, unknown = [*text.split(":", 3), "", "", ""][:4]
    if form not in tuple(Format) or not path:
        raise UsageError(
            f"--mix {text}: give FORMAT:DATA, FORMAT:DATA:IMAGES or FORMAT:DATA:IMAGES:LABELS with "
            f"the formats {', '.join(Format)}"
        )
    names = Names(
        "--mix FORMAT:DATA:IMAGES", "another folder", "--mix FORMAT:DATA:IMAGES:unlabelled"
    )
    return read(
        path, Format(form).value, images=folder or None, unknown=_unknown(unknown), names=names
    )


def _unknown(text: str | None) -> "Unknown":
    """Labels, or all without any box, as the command line has them."""
    named = words(text or "")
    return "unlabelled" if named == ["unlabelled"] else named

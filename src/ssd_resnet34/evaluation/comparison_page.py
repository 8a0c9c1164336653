"""Two runs beside each other, for people: one HTML file."""

from collections import Counter
from dataclasses import dataclass
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import Final, Literal

from .. import files
from . import page
from .comparing import Comparison, Difference, Finding, ImageDifferences
from .dataset import Dataset
from .gallery import Gallery, Picture
from .report import Setting

_IMAGES: Final = 10
"""Images that are shown, the most different ones."""

_EVENTS: Final = 12
"""Lines in words for each of them."""


@dataclass(frozen=True)
class Pair:
    """One image: truth, A and B, and in words where A and B differ, at most a dozen lines."""

    name: str
    pictures: list[Picture]
    reason: str
    events: list[str]
    more: int


def write(
    path: str | PathLike[str],
    dataset: Dataset,
    comparison: Comparison,
    setting: Setting,
    *,
    folder: Path | None,
) -> None:
    """Write the comparison as one HTML file that opens without network.

    ``folder`` holds the image files; what is missing or refused is told of in words.

    Raises:
        UsageError: ``path`` cannot be written.
        OutputError: the disk is full.
        MissingExtra: jinja2 is not installed.
    """
    gallery = Gallery(dataset, folder)
    data = page.render(
        "comparison.html",
        setting=setting,
        comparison=comparison,
        rows=tally(comparison),
        pairs=[_pair(one, comparison, gallery) for one in comparison.images[:_IMAGES]],
    )
    files.write(path, data)


def tally(comparison: Comparison) -> list[tuple[str, int, str]]:
    """A line for each kind of difference: what it is, how often, and which run is right."""
    counts = comparison.counts()

    def alone(kind: Literal["only_a", "only_b"], side: int) -> str:
        judged = Counter(judgements[side] for judgements in counts[kind].elements())
        return f"{judged['right']} right, {judged['wrong']} wrong"

    classes = list(counts["class"].elements())
    right = [sum(judgements[side] == "right" for judgements in classes) for side in (0, 1)]
    neither = counts["class"]["wrong", "wrong"]
    return [
        ("only in A", counts["only_a"].total(), alone("only_a", 0)),
        ("only in B", counts["only_b"].total(), alone("only_b", 1)),
        (
            "same box, other class",
            len(classes),
            f"A right {right[0]}, B right {right[1]}, neither {neither}",
        ),
        (
            f"same box and class, score differs by over {comparison.shift:g}",
            counts["score"].total(),
            "",
        ),
    ]


def said(one: Difference) -> str:
    """A difference in words."""
    if one.a is not None and one.b is not None:
        if one.kind == "class":
            return f"{_found(one.a)} in A, {_found(one.b)} in B"
        return f"{one.a.label} {one.a.score:.2f} in A, {one.b.score:.2f} in B ({one.a.judgement})"
    return " ".join(
        f"only in {side}: {_found(finding)}"
        for side, finding in (("A", one.a), ("B", one.b))
        if finding is not None
    )


def _found(finding: Finding) -> str:
    return f"{finding.label} {finding.score:.2f} ({finding.judgement})"


def _pair(image: ImageDifferences, comparison: Comparison, gallery: Gallery) -> Pair:
    layers = {
        "Truth": gallery.truth(image.image_id, comparison.a.evaluation.category_ids),
        "A where it differs": [
            comparison.a.results[one.a.result] for one in image.differences if one.a is not None
        ],
        "B where it differs": [
            comparison.b.results[one.b.result] for one in image.differences if one.b is not None
        ],
    }
    pictures, reason = gallery.pictures(image.image_id, layers)
    events = [said(one) for one in image.differences]
    return Pair(
        PurePosixPath(image.file_name).name,
        pictures,
        reason,
        events[:_EVENTS],
        max(0, len(events) - _EVENTS),
    )

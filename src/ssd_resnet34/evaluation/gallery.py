"""The images of a dataset as small pictures with boxes, and as words for who cannot see them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ..errors import ImageError
from ..vision.detections import Detections
from ..vision.draw import draw, jpeg_uri, shrink
from .confusion import corners
from .dataset import Dataset
from .running import find

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

SIDE: Final = 480
"""Longer side of a picture, pixels: about 40 kB each."""

_NAMED: Final = 8
"""Classes that the words for a picture name."""


@dataclass(frozen=True)
class Picture:
    """``uri``: a JPEG as a ``data:`` address, None where the image cannot be shown; ``words`` say
    what is to be seen; ``width`` and ``height`` are the picture's, pixels."""

    title: str
    words: str
    uri: str | None
    width: int = 0
    height: int = 0


@dataclass(frozen=True, eq=False)
class Gallery:
    """``folder`` holds the image files; None where there are none to show."""

    dataset: Dataset
    folder: Path | None

    @cached_property
    def images(self) -> dict[int, Mapping[str, Any]]:
        """Entries of the dataset by id."""
        return {image["id"]: image for image in self.dataset.images}

    @cached_property
    def _classes(self) -> dict[int, tuple[int, str]]:
        return {one["id"]: (n, one["name"]) for n, one in enumerate(self.dataset.categories, 1)}

    def truth(self, image_id: int, category_ids: Iterable[int]) -> list[Mapping[str, Any]]:
        """The annotations of an image in these categories."""
        wanted = set(category_ids)
        return [
            one
            for one in self.dataset.annotations
            if one["image_id"] == image_id and one["category_id"] in wanted
        ]

    def detections(self, image_id: int, entries: Sequence[Mapping[str, Any]]) -> Detections:
        """Results, or annotations with the score 1, of one image."""
        classes = [self._classes[one["category_id"]] for one in entries]
        image = self.images[image_id]
        return Detections(
            corners([one["bbox"] for one in entries]),
            np.array([one.get("score", 1.0) for one in entries], np.float32),
            np.array([index for index, _ in classes], np.int64),
            np.array([one["category_id"] for one in entries], np.int64),
            tuple(label + _aside(one) for (_, label), one in zip(classes, entries, strict=True)),
            image["file_name"],
            image["width"],
            image["height"],
        )

    def pictures(
        self, image_id: int, layers: Mapping[str, Sequence[Mapping[str, Any]]]
    ) -> tuple[list[Picture], str]:
        """The image once for each layer, title -> results or annotations; and why it cannot be
        shown, "" if it can.

        The file is decoded once and let go. Scores are drawn where the entries have them.
        """
        name = self.images[image_id]["file_name"]
        small, reason = self._small(name)
        made = []
        for title, entries in layers.items():
            found = self.detections(image_id, entries)
            words = f"{title} in {name}: {_listed(found.labels)}"
            if small is None:
                made.append(Picture(title, words, None))
                continue
            scored = all("score" in one for one in entries)
            drawn = draw(small, found, score_threshold=-1, show_scores=scored)
            made.append(Picture(title, words, jpeg_uri(drawn), *drawn.size))
        return made, reason

    def _small(self, name: str) -> "tuple[PILImage | None, str]":
        """The picture, or why there is none."""
        if self.folder is None:
            return None, "no folder of images was given"
        try:
            return shrink(find(self.folder, name), SIDE), ""
        except ImageError as error:
            return None, str(error)


def _aside(entry: Mapping[str, Any]) -> str:
    if entry.get("iscrowd"):
        return " (crowd)"
    return " (ignored)" if entry.get("ignore") else ""


def _listed(labels: Sequence[str]) -> str:
    counts = Counter(labels).most_common()
    shown = ", ".join(f"{count} {label}" for label, count in counts[:_NAMED])
    more = len(counts) - _NAMED
    return (f"{shown} and {more} more classes" if more > 0 else shown) or "nothing"

"""Images while training goes on: decoded, checked, augmented; refusals are told.

A damaged or missing image never ends a run: the next one of the data set is shown instead and the
file is reported. More than a share of them does.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch

from ...errors import ImageError, MismatchedSize, TrainingError
from ...evaluation.dataset import some
from ...vision.images import DEFAULT_LIMITS, REFUSALS, Image, Limits, decode, printable
from .augmentation import Augmentation, augmented, mean_colour, whole
from .example import DataSet, Example, Sample

STREAM: Final = 1_700_007
"""First word of the augmentation's seeds: apart from those of rendered scenes."""

REFUSED_SHARE: Final = 0.05
"""Of the images: when more are refused, something is wrong with the set. One alone never is."""

_CODES: Final = (*(kind.code for kind in REFUSALS), MismatchedSize.code)


@dataclass(frozen=True, slots=True)
class Refused:
    """An image that was not shown; ``code`` is the same as on every other road."""

    path: Path
    code: str


def decoded(sample: Sample, limits: Limits = DEFAULT_LIMITS) -> Image:
    """The sample's picture.

    Raises:
        ImageError: the file is refused; MismatchedSize: it has not the size that its annotations
            are made for, so that nobody knows where its boxes lie.
    """
    image = decode(sample.path, limits=limits)
    if (image.width, image.height) != sample.size:
        turned = (image.height, image.width) == sample.size
        why = (
            "; EXIF turns it, the annotations do not: take its orientation away, or annotate anew"
            if turned
            else "; annotate it anew, or scale its boxes"
        )
        raise MismatchedSize(
            f"{printable(str(sample.path))}: {image.width}x{image.height}, annotated as "
            f"{sample.size[0]}x{sample.size[1]}{why}"
        )
    return image


class Examples:
    """Augmented images of a data set, each a function of the seed, the epoch and its number.

    Copies in worker processes share the list of what was refused, in memory. Several processes of
    one run each have their own list, of what they were to show.

    Args:
        size: side of the network's input, pixels.
        augmentation: None shows every image whole and as it is.
        refused_share: of the images, 0..1, that may be refused; one may be in any case.
    """

    def __init__(
        self,
        data_set: DataSet,
        size: int,
        *,
        seed: int = 0,
        augmentation: Augmentation | None = Augmentation(),  # noqa: B008 - frozen
        limits: Limits = DEFAULT_LIMITS,
        refused_share: float = REFUSED_SHARE,
    ) -> None:
        self.data_set, self.size, self.seed = data_set, size, seed
        self.augmentation, self.limits = augmentation, limits
        self.most_refused = max(1, int(refused_share * len(data_set.samples)))
        self._fill = mean_colour(data_set.contract)
        # 0, or 1 + the position of the code: a byte an image that all processes see.
        self._verdicts = torch.zeros(len(data_set.samples), dtype=torch.uint8)
        self._verdicts.share_memory_()  # type: ignore[no-untyped-call]  # torch types it not

    def __len__(self) -> int:
        return len(self.data_set.samples)

    def example(self, epoch: int, number: int) -> Example:
        """Image ``number`` (from 0) as ``epoch`` (from 0) shows it, or the next that can be read.

        Raises:
            TrainingError: too many images are refused.
        """
        samples = self.data_set.samples
        for step in range(len(samples)):
            place = (number + step) % len(samples)
            try:
                image = decoded(samples[place], self.limits)
            except ImageError as error:
                self._verdicts[place] = 1 + _CODES.index(error.code)
                self.check()
                continue
            if self.augmentation is None:
                return whole(samples[place], image.pixels, self.size)
            rng = np.random.Generator(np.random.PCG64([STREAM, self.seed, epoch, number]))
            return augmented(
                samples[place], image.pixels, self.size, rng, self.augmentation, self._fill
            )
        raise self._too_many()

    @property
    def refused(self) -> tuple[Refused, ...]:
        """What was refused so far, by all processes, in the order of the data set."""
        verdicts = self._verdicts.numpy()
        return tuple(
            Refused(self.data_set.samples[n].path, _CODES[verdicts[n] - 1])
            for n in np.flatnonzero(verdicts).tolist()
        )

    def check(self) -> None:
        """Raises:
        TrainingError: more images were refused than may be.
        """
        if int(np.count_nonzero(self._verdicts.numpy())) > self.most_refused:
            raise self._too_many()

    def _too_many(self) -> TrainingError:
        refused = self.refused
        named = some([f"{one.path} ({one.code})" for one in refused])
        return TrainingError(
            f"{len(refused)} of {len(self)} images are refused, more than {self.most_refused}: "
            f"{named}; repair or remove them, `train --check` lists them all"
        )

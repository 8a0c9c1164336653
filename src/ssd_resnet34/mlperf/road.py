"""From a picture to the rows of its detections, cut where the clock of the benchmark starts."""

from collections.abc import Sequence
from os import PathLike

import numpy as np
from numpy.typing import NDArray

from ..contract import INPUT_SIZE
from ..detector import Detector
from ..vision.detections import Detections
from ..vision.images import Image, decode
from ..vision.postprocess import rules
from ..vision.preprocess import ModelInput

Prepared = ModelInput | Image
"""A sample in memory: a network input; or pixels, for a device that does the whole road."""


class Road:
    """The two parts of a detector's work: what the rules leave untimed, and what they time."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self._rules = rules(**vars(detector.options), contract=detector.session.contract)

    def prepare(self, path: str | PathLike[str]) -> Prepared:
        """Untimed: decoding, resizing, normalisation. A device that has the whole road resizes and
        normalises itself, within the time.

        Raises:
            ImageError: the file is refused.
        """
        return self._prepared(decode(path, limits=self._detector.limits))

    def blank(self) -> Prepared:
        """A sample that no data set has, to warm up on."""
        return self._prepared(Image(np.full((INPUT_SIZE, INPUT_SIZE, 3), 114, np.uint8), "blank"))

    def _prepared(self, image: Image) -> Prepared:
        if self._detector.session.whole_road:
            return image
        return self._detector.model.preprocess(image)

    def detect(self, samples: Sequence[Prepared]) -> list[Detections]:
        """Timed: the network and all that follows it. Boxes are not clipped.

        Raises:
            SessionError, HeadsError: the network is wrong.
        """
        session, model = self._detector.session, self._detector.model
        images = [sample for sample in samples if isinstance(sample, Image)]
        if images:
            return session.detect(images, self._rules, clip=False, model=model.name)
        outputs = session.run(list(samples))
        return model.postprocess(outputs, None, **vars(self._detector.options))


def rows(index: int, found: Detections) -> NDArray[np.float32]:
    """A record of the accuracy log, float32 little endian (n, 7): sample index, ymin, xmin, ymax,
    xmax, score, COCO category id; boxes as fractions of the image.

    Source of the form: the reference's ``coco.py``, which puts the contiguous label in the place of
    the category id.
    """
    made = np.empty((len(found), 7), "<f4")
    made[:, 0] = index
    # (left, top, right, bottom) in another order
    made[:, 1:5] = found.boxes[:, [1, 0, 3, 2]]
    made[:, 1:5] /= np.array([found.height, found.width, found.height, found.width], np.float32)
    made[:, 5] = found.scores
    made[:, 6] = found.category_ids
    return made

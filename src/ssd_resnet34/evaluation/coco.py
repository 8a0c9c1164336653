"""Average precision by pycocotools (extra ``[eval]``)."""

import contextlib
import io
import json
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Final

import numpy as np

from ..errors import MissingExtra, UsageError

NAMES: Final = (
    "AP",
    "AP50",
    "AP75",
    "APs",
    "APm",
    "APl",
    "AR1",
    "AR10",
    "AR100",
    "ARs",
    "ARm",
    "ARl",
)
"""The twelve numbers of pycocotools' summary, in its order."""


class Truth:
    """COCO annotations: the ids of images by file name, and the score of results."""

    def __init__(self, path: str | PathLike[str]) -> None:
        """Read a COCO JSON file.

        Raises:
            MissingExtra: pycocotools is not installed.
            UsageError: not readable, or not COCO annotations.
        """
        try:
            from pycocotools.coco import COCO
        except ImportError as error:
            raise MissingExtra(
                "average precision needs pycocotools: pip install 'ssd-resnet34[eval]'"
            ) from error
        mend = "give a COCO JSON file with images, annotations and categories"
        try:
            document = json.loads(Path(path).read_bytes())
            with contextlib.redirect_stdout(io.StringIO()):
                self._truth = COCO()
                self._truth.dataset = document
                self._truth.createIndex()
            self.ids: dict[str, int] = {
                Path(image["file_name"]).name: image["id"] for image in document["images"]
            }
            self.labels: dict[int, str] = {
                category["id"]: category["name"] for category in document["categories"]
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(f"{path}: no annotations ({error!r}); {mend}") from error

    def score(
        self, results: Sequence[Mapping[str, Any]], image_ids: Sequence[int]
    ) -> tuple[dict[str, float], dict[str, float]]:
        """The twelve numbers by name (0..1, -1 where undefined), and AP50 by category label.

        Args:
            results: COCO results: image_id, category_id, bbox (x, y, width, height), score.
            image_ids: the images that count.
        """
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        with contextlib.redirect_stdout(io.StringIO()):
            # loadRes refuses an empty list; no detections are a result as well.
            found = self._truth.loadRes(list(results)) if results else COCO()
            evaluation = COCOeval(self._truth, found, "bbox")
            evaluation.params.imgIds = sorted(image_ids)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        at50 = evaluation.eval["precision"][0, :, :, 0, 2]  # recall, category; all sizes, 100
        each = {
            self.labels[category]: float(np.mean(at50[:, k]))
            for k, category in enumerate(evaluation.params.catIds)
            if at50[:, k].max() > -1
        }
        return dict(zip(NAMES, map(float, evaluation.stats), strict=True)), each

"""Average precision of the network as it is, by pycocotools, on whole images."""

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ... import files
from ...contract import INPUT_SIZE, Contract
from ...errors import ImageError, TrainingError
from ...evaluation.coco import Evaluation, evaluate
from ...evaluation.dataset import Dataset
from ...runtime.device.selection import finite, select
from ...vision.postprocess import as_detections, rules
from ...vision.preprocess import ImageContext, preprocess
from ..data.example import DataSet, Sample
from ..data.loading import decoded
from ..multibox import flattened
from ..pixels import normalised
from .folder import ANNOTATIONS

NUMBERS: Final = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR100")
"""What a validation writes down."""


@dataclass(frozen=True, eq=False)
class Validated:
    """COCO results of the images, by their number in the data set from 1, and their scores."""

    truth: Dataset
    results: list[dict[str, Any]]
    evaluation: Evaluation

    @property
    def numbers(self) -> Mapping[str, float]:
        """pycocotools' twelve, 0..1."""
        return self.evaluation.scores.numbers


def folder_of(data: DataSet) -> Path:
    """The deepest folder with all of its images."""
    return Path(os.path.commonpath([one.path.absolute().parent for one in data.samples]))


def truth_of(data: DataSet, numbers: Iterable[int] | None = None) -> Dataset:
    """The data set as the evaluation wants it: image ids are the samples' numbers from 1, and
    files are named from :func:`folder_of`.

    Args:
        numbers: samples (from 0) to take; default: all.
    """
    folder = folder_of(data)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number in range(len(data.samples)) if numbers is None else numbers:
        sample = data.samples[number]
        images.append(
            {
                "id": number + 1,
                "file_name": sample.path.absolute().relative_to(folder).as_posix(),
                "width": sample.size[0],
                "height": sample.size[1],
            }
        )
        for box, index, ignored in zip(
            sample.boxes.tolist(), sample.indices.tolist(), sample.ignored.tolist(), strict=True
        ):
            left, top, right, bottom = box
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number + 1,
                    "category_id": data.contract.categories[index - 1].category_id,
                    "bbox": [left, top, right - left, bottom - top],
                    "area": (right - left) * (bottom - top),
                    "iscrowd": 0,
                    "ignore": int(ignored),
                }
            )
    categories = [{"id": one.category_id, "name": one.label} for one in data.contract.categories]
    return Dataset(
        "the validation images", tuple(images), tuple(annotations), tuple(categories), data.warnings
    )


def write_annotations(data: DataSet, out: Path) -> Path:
    """``out / ANNOTATIONS``: the data set in COCO's form, for whatever scores the model again.

    Images have the ids of :func:`by_file` and are named from :func:`folder_of`. Categories are the
    model's, as all that scores it wants them, whatever the data's own COCO file calls them.

    Raises:
        UsageError, OutputError: it cannot be written.
    """
    truth, ids = truth_of(data), image_ids(data)
    document = {
        "info": {"description": "Boxes as they were read", "images": str(folder_of(data))},
        "images": [{**one, "id": ids[one["id"] - 1]} for one in truth.images],
        "annotations": [{**one, "image_id": ids[one["image_id"] - 1]} for one in truth.annotations],
        "categories": list(truth.categories),
    }
    path = out / ANNOTATIONS
    files.write(path, json.dumps(document).encode())
    return path


def by_file(data: DataSet, results: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Results by the samples' numbers -> by the ids of images and categories of the COCO file that
    the data was read from; classes that it does not list are left out.

    Where the data is of no COCO file, an image's id is its number from 1.
    """
    ids = image_ids(data)
    own = {one.label: one.category_id for one in data.contract.categories}
    listed = data.category_ids or own
    new = {own[label]: key for label, key in listed.items() if label in own}
    return [
        {**row, "image_id": ids[row["image_id"] - 1], "category_id": new[row["category_id"]]}
        for row in results
        if row["category_id"] in new
    ]


def image_ids(data: DataSet) -> list[int]:
    """Of each sample, in order: the ids of its COCO file, or the numbers from 1."""
    ids = [one.image_id for one in data.samples if one.image_id is not None]
    if len(set(ids)) == len(data.samples):
        return ids
    return list(range(1, len(data.samples) + 1))


def tensor_of(pixels: NDArray[np.uint8], size: int, contract: Contract) -> Tensor:
    """uint8 (h, w, 3) BGR -> float32 [1, 3, size, size], by the contract's resize rule."""
    if size == INPUT_SIZE:
        return torch.from_numpy(preprocess(pixels, contract, colour="bgr").tensor)
    resized = cv2.resize(pixels.astype(np.float32), (size, size), interpolation=cv2.INTER_LINEAR)
    return normalised(torch.from_numpy(resized)[None], contract)


@torch.no_grad()
def detect(
    module: nn.Module, sample: Sample, number: int, priors: Tensor, size: int, contract: Contract
) -> list[dict[str, Any]]:
    """COCO results for one image, whose id is ``number``; unknown classes are left out.

    Args:
        module: in evaluation mode.
        priors: float64 (n, 4) cx, cy, w, h, fractions of the image, on the module's device.

    Raises:
        ImageError: the file is refused.
        TrainingError: the network gives NaN or infinity.
    """
    image = decoded(sample)
    tensor = tensor_of(image.pixels, size, contract).to(priors.device)
    logits, offsets = flattened(module(tensor))
    if not finite(logits, offsets):
        raise TrainingError(
            f"{sample.path}: the network gives NaN or infinity for it: training has diverged; "
            "go on from an earlier model with a lower --rate"
        )
    (found,) = select(logits, offsets, priors, rules(contract=contract))
    place = ImageContext(image.width, image.height, str(sample.path))
    rows = as_detections(found, place, contract, False, "").to_coco(number)
    unknown = {contract.categories[index - 1].category_id for index in sample.unknown}
    return [row for row in rows if row["category_id"] not in unknown]


def validate(
    module: nn.Module,
    data: DataSet,
    numbers: Iterable[int],
    priors: Tensor,
    size: int,
    contract: Contract,
    on_image: Callable[[], None],
) -> tuple[list[dict[str, Any]], list[int], dict[str, str]]:
    """COCO results of the samples ``numbers`` (from 0), those samples that could be read, and the
    others with the reason.

    Raises:
        TrainingError: the network gives NaN or infinity.
    """
    device = next(module.parameters()).device
    fractions = (priors.double() / size).to(device)
    results: list[dict[str, Any]] = []
    done, refused = [], {}
    module.eval()
    for number in numbers:
        sample = data.samples[number]
        try:
            results += detect(module, sample, number + 1, fractions, size, contract)
            done.append(number)
        except ImageError as error:
            refused[str(sample.path)] = str(error)
        on_image()
    return results, done, refused


def scored(
    data: DataSet,
    results: Sequence[Mapping[str, Any]],
    numbers: Iterable[int],
    labels: Iterable[str] | None = None,
) -> Validated:
    """The results of these samples (from 0) against the truth.

    Classes without any object among them have no part in AP.

    Args:
        labels: the classes that count; default: all.

    Raises:
        MissingExtra: pycocotools is not installed.
    """
    truth = truth_of(data, numbers)
    rows = [dict(one) for one in results]
    wanted = None if labels is None else set(labels)
    names = truth.labels()
    counted = [one for one in truth.labelled() if wanted is None or names[one] in wanted]
    return Validated(truth, rows, evaluate(truth, rows, category_ids=counted))

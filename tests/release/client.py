"""A program that uses the public names as an application does; ``mypy --strict`` passes on it."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import ssd_resnet34
from ssd_resnet34 import Contract, Detections, Detector, SSDResNet34, SSDResNet34Error, session
from ssd_resnet34.errors import ImageError


def labels(detector: Detector, images: Iterable[Path]) -> dict[str, list[str]]:
    """Labels by file; a refused image has its code instead."""
    found: dict[str, list[str]] = {}
    for path, one in zip(images, detector.stream(images, errors="return"), strict=False):
        if isinstance(one, ImageError):
            found[path.name] = [one.code]
            continue
        found[path.name] = [detection.label for detection in one if detection.score > 0.5]
    return found


def largest(detections: Detections) -> Detections:
    """The largest box alone."""
    boxes: NDArray[np.float32] = detections.boxes
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return detections[areas == areas.max()] if len(detections) else detections


def heads(model: SSDResNet34, picture: bytes) -> list[NDArray[np.float32]]:
    """The twelve heads of a picture."""
    contract: Contract = model.contract
    with session.create(model, streams=1) as opened:
        outputs = opened.run(model.preprocess(picture))
    assert len(outputs) == len(contract.head_shapes())
    return list(outputs.numpy())


def main(weights: str, images: list[Path]) -> int:
    """Print what is in the images."""
    try:
        with ssd_resnet34.load(weights, precision="fp32", score_threshold={"car": 0.4}) as detector:
            first: Detections = detector(images[0])
            several: list[Detections] = detector(list(images))
            print(labels(detector, images), largest(first).to_dict(), len(several))
    except SSDResNet34Error as error:
        print(error)
        return 1
    return 0

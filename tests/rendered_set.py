"""A few rendered scenes in files, at native scale, for the real network to learn by heart."""

from pathlib import Path

import cv2
import numpy as np

from ssd_resnet34.contract import COCO
from ssd_resnet34.training.data.example import DataSet, Sample
from ssd_resnet34.training.scenes import render_scene

SIDE = 385


def rendered_set(folder: Path, count: int) -> DataSet:
    """``count`` scenes of 385×385 pixels with two to four objects of 60 to 220 pixels."""
    folder.mkdir(exist_ok=True)
    samples = []
    for number in range(count):
        scene = render_scene((987, number), size=SIDE, objects=(2, 4), sides=(60, 220))
        path = folder / f"{number}.png"
        cv2.imwrite(str(path), scene.image)
        indices = np.array([COCO.labels.index(label) + 1 for label in scene.labels], np.int64)
        nothing = np.zeros(len(indices), bool)
        samples.append(Sample(path, (SIDE, SIDE), scene.boxes, indices, nothing))
    return DataSet(COCO, tuple(samples))

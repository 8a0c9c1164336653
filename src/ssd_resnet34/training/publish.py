"""From a checkpoint to the embedded weights: fp16 safetensors and activation ranges.

    python -m ssd_resnet34.training.publish CHECKPOINT [--scenes 32]

The ranges are the smallest and largest activations over scenes of the training stream, far from
those that were trained on; the held-out scenes are not looked at.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track

from .. import weights
from ..compiler.calibration import min_max
from ..contract import COCO
from ..files import replacing
from ..vision.preprocess import preprocess
from ..weights import embedded
from ..weights.records import EMBEDDED, RECORDS
from .held_out import training_seed
from .scenes import render_scene
from .trainer import complete

FIRST_SCENE: Final = 10_000_000
"""Number of the first calibration scene in the training stream; no run trains so long."""


def publish(checkpoint: Path, scenes: int) -> None:
    """Write ``weights/embedded``: the weights, then the ranges of their canonical graph."""
    state = torch.load(checkpoint, weights_only=True)["model"]
    arrays = {key: value.numpy() for key, value in complete(state).items()}
    folder = embedded.folder()
    folder.mkdir(exist_ok=True)
    embedded.export(arrays, COCO, folder / RECORDS[EMBEDDED].file)
    ranges = min_max(weights.load(EMBEDDED), _inputs(scenes))
    text = json.dumps(
        {name: [float(f"{low:.6g}"), float(f"{high:.6g}")] for name, (low, high) in ranges.items()},
        indent=0,
    )
    with replacing(folder / embedded.RANGES_FILE) as file:
        file.write(text.encode() + b"\n")


def _inputs(scenes: int) -> Iterator[NDArray[np.float32]]:
    for number in track(range(scenes), "calibration scenes", transient=True):
        scene = render_scene(training_seed(FIRST_SCENE + number))
        yield preprocess(scene.image, colour="bgr").tensor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--scenes", type=int, default=32)
    arguments = parser.parse_args()
    publish(arguments.checkpoint, arguments.scenes)


if __name__ == "__main__":
    main()

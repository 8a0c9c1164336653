"""From a checkpoint to the embedded weights: fp16 safetensors and activation ranges.

    python -m ssd_resnet34.training.publish CHECKPOINT [--scenes 32] [--method min-max]

The ranges are of scenes of the training stream, far from those that were trained on; the held-out
scenes are not looked at.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import torch
from rich.progress import track

from .. import weights
from ..compiler.calibration import calibrate
from ..compiler.ranges import METHODS, Method
from ..contract import COCO
from ..vision.images import Image
from ..weights import embedded, ranges
from ..weights.records import EMBEDDED, RECORDS
from .held_out import training_seed
from .scenes import render_scene
from .trainer import complete

FIRST_SCENE: Final = 10_000_000
"""Number of the first calibration scene in the training stream; no run trains so long."""


def publish(checkpoint: Path, scenes: int, method: Method) -> None:
    """Write ``weights/embedded``: the weights, then the ranges of their canonical graph."""
    state = torch.load(checkpoint, weights_only=True)["model"]
    arrays = {key: value.numpy() for key, value in complete(state).items()}
    folder = embedded.folder()
    folder.mkdir(exist_ok=True)
    embedded.export(arrays, COCO, folder / RECORDS[EMBEDDED].file)
    statistics = calibrate(weights.load(EMBEDDED), _pictures(scenes))
    ranges.write(folder / embedded.RANGES_FILE, statistics.ranges(method))


def _pictures(scenes: int) -> Iterator[Image]:
    for number in track(range(scenes), "calibration scenes", transient=True):
        yield Image(render_scene(training_seed(FIRST_SCENE + number)).image)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--scenes", type=int, default=32)
    parser.add_argument("--method", choices=METHODS, default="min-max")
    arguments = parser.parse_args()
    publish(arguments.checkpoint, arguments.scenes, arguments.method)


if __name__ == "__main__":
    main()

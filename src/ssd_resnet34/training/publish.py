"""From a checkpoint to the embedded weights: score bias, fp16 safetensors, activation ranges.

    python -m ssd_resnet34.training.publish CHECKPOINT [--scenes 32] [--bias B] [--method min-max]

Bias and ranges are of pictures of the training streams, far from those that were trained on; the
held-out scenes and the sample are not looked at. --bias takes another than the best of these.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track

from .. import artifact, weights
from ..compiler.calibration import calibrate
from ..compiler.ranges import METHODS, Method
from ..contract import COCO
from ..network.builder import build
from ..runtime import session
from ..vision.detections import Detections
from ..vision.images import Image
from ..vision.preprocess import preprocess
from ..weights import embedded, ranges, readers
from ..weights.records import EMBEDDED, RECORDS
from .held_out import training_seed
from .parks import park_scene
from .scenes import Scene, render_scene
from .scores import best_bias, with_bias
from .trainer import complete

FIRST_SCENE: Final = 10_000_000
"""Number of the first scene in each training stream that is used here; no run trains so long."""


def publish(checkpoint: Path, scenes: int, method: Method, chosen: float | None = None) -> None:
    """Write ``weights/embedded``: the weights, then the ranges of their canonical graph."""
    arrays = state_of(checkpoint)
    best, scores = best_bias(_seen(arrays, scenes))
    bias = best if chosen is None else chosen
    for one, score in scores.items():
        print(f"background bias {one:+.2f}: F1 {score:.3f}{' *' if one == bias else ''}")
    folder = embedded.folder()
    folder.mkdir(exist_ok=True)
    embedded.export(with_bias(arrays, bias), COCO, folder / RECORDS[EMBEDDED].file)
    pictures = (Image(scene.image) for scene in _scenes(FIRST_SCENE + scenes, scenes, "ranges"))
    ranges.write(
        folder / embedded.RANGES_FILE,
        calibrate(weights.load(EMBEDDED), pictures).ranges(method),
    )


def state_of(checkpoint: Path) -> dict[str, NDArray[Any]]:
    """All 218 keys of a checkpoint of :mod:`.trainer`, or of a ``model.safetensors``."""
    if checkpoint.suffix == ".safetensors":
        kept = readers.read(checkpoint).state
        assert kept is not None  # a safetensors file
        return dict(kept)
    state = torch.load(checkpoint, weights_only=True)["model"]
    return {key: value.numpy() for key, value in complete(state).items()}


def _scenes(first: int, count: int, title: str) -> Iterator[Scene]:
    """Of both kinds in turn."""
    for n in track(range(first, first + count), title, transient=True):
        yield park_scene(0, n) if n % 2 else render_scene(training_seed(n))


def _seen(
    arrays: dict[str, NDArray[Any]], count: int
) -> Iterator[tuple[list[NDArray[np.float32]], Detections]]:
    """Heads and truth of fresh scenes."""
    with session.create(artifact.serialize(build(arrays, COCO)), precision="fp32") as running:
        for scene in _scenes(FIRST_SCENE, count, "scores"):
            inputs = preprocess(scene.image, colour="bgr")
            yield list(running.run(inputs.tensor)), _truth(scene)


def _truth(scene: Scene) -> Detections:
    indices = [COCO.labels.index(label) + 1 for label in scene.labels]
    return Detections(
        boxes=scene.boxes,
        scores=np.ones(len(indices), np.float32),
        indices=np.array(indices, np.int64),
        category_ids=np.array([COCO.categories[n - 1].category_id for n in indices], np.int64),
        labels=scene.labels,
        image="",
        width=scene.image.shape[1],
        height=scene.image.shape[0],
        model="truth",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--scenes", type=int, default=32)
    parser.add_argument("--bias", type=float, help="default: the one with the best F1")
    parser.add_argument("--method", choices=METHODS, default="min-max")
    arguments = parser.parse_args()
    publish(arguments.checkpoint, arguments.scenes, arguments.method, arguments.bias)


if __name__ == "__main__":
    main()

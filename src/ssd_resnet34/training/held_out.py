"""The frozen held-out set: 200 rendered scenes of 1200×1200 that training never sees.

The recipe is ``render_scene`` as it stands: at least 8 objects a scene, 24 to 900 pixels along the
longer side, each up to 40 % occluded, on a painted background with unlabelled clutter and
photographic effects.  Scene ``i`` has the seed sequence ``(0x5CE7E5, i)`` and training scene ``i``
the sequence ``(1, i)``, so the two streams share no seed.  A seed given as a single number is a
third form; training must not use the bare number ``0x5CE7E5``, which numpy treats like
``(0x5CE7E5, 0)``.

``digest`` tells whether the set is still the one a result was reported on.  Annotations depend on
random numbers and warped outlines only; pixels also on OpenCV's blending, blurring and JPEG code,
so another OpenCV version or processor may change the second digest and not the first.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from ..contract import INPUT_SIZE
from .scenes import Scene, annotation, render_scene

HELD_OUT_STREAM: Final[int] = 0x5CE7E5
TRAINING_STREAM: Final[int] = 1
"""First words of the seeds."""

HELD_OUT_COUNT: Final = 200

JPEG_QUALITY: Final = 95
"""Of the set as files: a score is of the same pictures wherever it is measured."""

FROZEN_DIGEST: Final = {
    "annotations": "6851f069f11381479fa6f167da9ab3cd8ff4c979e776b4c0bfe6591ea52226b4",
    "pixels": "a9690ab2301a5e9daf413b6b651202e2931753b32327be291aec4e1f113010bd",
}
"""``digest()`` on the day the set was frozen, before any training (OpenCV 5.0.0, NumPy 2.4.6)."""


def training_seed(index: int) -> tuple[int, int]:
    """Seed of the training scene with a number from 0."""
    return TRAINING_STREAM, index


def held_out_scene(index: int) -> Scene:
    """Render the held-out scene with a number in 0..199."""
    if not 0 <= index < HELD_OUT_COUNT:
        raise IndexError(f"held-out scenes are numbered 0..{HELD_OUT_COUNT - 1}, not {index}")
    return render_scene((HELD_OUT_STREAM, index))


def write(folder: Path, categories: Mapping[str, int], count: int = HELD_OUT_COUNT) -> None:
    """Write ``000.jpg``... (JPEG quality 95) and ``instances.json`` in COCO format.

    ``categories`` maps each label to its category id.  Annotations are those of
    :func:`.scenes.annotation`, and the share of the object that is ``visible``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    for index in range(count):
        scene = held_out_scene(index)
        name = f"{index:03d}.jpg"
        done, data = cv2.imencode(".jpg", scene.image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        if not done:
            raise OSError(f"could not encode {name}")
        (folder / name).write_bytes(data.tobytes())
        images.append({"id": index, "file_name": name, "width": INPUT_SIZE, "height": INPUT_SIZE})
        for label, box, visible in zip(scene.labels, scene.boxes, scene.visible, strict=True):
            one = annotation(len(annotations) + 1, index, categories[label], box.tolist())
            annotations.append(one | {"visible": round(float(visible), 4)})
    document = {
        "info": {"description": "SSD-ResNet34 rendered held-out scenes", "version": "1"},
        "images": images,
        "annotations": annotations,
        "categories": [
            {"id": number, "name": name}
            for name, number in sorted(categories.items(), key=lambda item: item[1])
        ],
    }
    (folder / "instances.json").write_text(json.dumps(document) + "\n", encoding="utf-8")


def digest(count: int = HELD_OUT_COUNT) -> dict[str, str]:
    """SHA-256 of the first ``count`` scenes, in hexadecimal.

    ``annotations`` is over each scene's boxes (little-endian float32) and its labels, a line each;
    ``pixels`` is over the raw BGR bytes.
    """
    annotations, pixels = hashlib.sha256(), hashlib.sha256()
    for index in range(count):
        scene = held_out_scene(index)
        annotations.update(scene.boxes.astype("<f4").tobytes())
        annotations.update("".join(f"{label}\n" for label in scene.labels).encode())
        pixels.update(np.ascontiguousarray(scene.image).tobytes())
    return {"annotations": annotations.hexdigest(), "pixels": pixels.hexdigest()}

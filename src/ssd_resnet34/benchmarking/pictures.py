"""Pictures to measure with where nobody gives any."""

import cv2
import numpy as np


def made_up(number: int, width: int = 640, height: int = 480) -> bytes:
    """A JPEG file of shapes and grain, half a byte a pixel, as cameras write; the same each time.

    By default it is like those of COCO: 640×480, 157 KB (the mean of val2017).
    """
    rng = np.random.default_rng(number)
    coarse = rng.integers(0, 256, (height // 50, width // 50, 3), np.uint8)
    pixels = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    grain = rng.normal(0, 9, pixels.shape)
    _, data = cv2.imencode(".jpg", np.clip(pixels + grain, 0, 255).astype(np.uint8))
    return data.tobytes()

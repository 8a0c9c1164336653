"""What light, air, lens, sensor and file format do to a finished scene."""

import functools
from typing import Final

import cv2
import numpy as np

from .canvas import Image

_GRAIN_SIGMA: Final = 32.0
"""Levels of 255: the deviation of the noise that is kept, from which weaker noise is scaled."""

_GRAIN_SPARE: Final = 128
"""Pixels that the noise is wider and higher than a picture: how far its window can move."""


@functools.lru_cache(maxsize=4)
def _grain(side: int) -> Image:
    """Gaussian noise of deviation ``_GRAIN_SIGMA`` around 128; ``(side, side, 3)`` uint8.

    Drawing millions of normals costs more than the rest of a scene, so one tile is drawn from a
    fixed seed and scenes cut different windows out of it.
    """
    rng = np.random.Generator(np.random.PCG64(20_240_317))
    noise = rng.standard_normal((side, side, 3), np.float32) * _GRAIN_SIGMA + 128
    tile: Image = np.clip(np.rint(noise), 0, 255).astype(np.uint8)
    tile.setflags(write=False)
    return tile


def _relit(rng: np.random.Generator, image: Image) -> Image:
    """Multiply by a smooth field: lighting gradient, blotches, colour cast and vignette."""
    cells = 24
    y, x = np.mgrid[-1 : 1 : cells * 1j, -1 : 1 : cells * 1j]
    gain = np.ones((cells, cells, 3))
    angle, slope = rng.uniform(0, 2 * np.pi), abs(rng.normal(0, 0.18))
    gain *= (1 + min(slope, 0.45) * (np.cos(angle) * x + np.sin(angle) * y) / 1.4)[:, :, None]
    if rng.random() < 0.4:
        blotch = cv2.resize(
            rng.standard_normal((4, 4)), (cells, cells), interpolation=cv2.INTER_CUBIC
        )
        gain *= (1 + rng.uniform(0.03, 0.15) * np.asarray(blotch))[:, :, None]
    if rng.random() < 0.6:
        gain *= 1 + np.clip(rng.normal(0, 0.07, 3), -0.18, 0.18)
    if rng.random() < 0.35:
        gain *= (1 - rng.uniform(0.1, 0.5) * (x * x + y * y) / 2)[:, :, None]
    small = np.clip(gain, 0.3, 1.8).astype(np.float32)
    field = cv2.resize(small, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.multiply(image, field, dtype=cv2.CV_8U), np.uint8)


def _hazed(rng: np.random.Generator, image: Image) -> Image:
    """Blend towards a pale colour, more at the top, where things are usually far away."""
    share = np.linspace(rng.uniform(0.1, 0.45), rng.uniform(0, 0.2), 16)
    tone = rng.uniform(170, 245) + rng.uniform(-12, 12, 3)
    size = (image.shape[1], image.shape[0])
    kept = np.repeat((1 - share)[:, None, None], 3, axis=2).astype(np.float32)
    veil = np.clip(share[:, None, None] * tone, 0, 255).astype(np.uint8)
    clear = cv2.multiply(image, cv2.resize(kept, size), dtype=cv2.CV_8U)
    return np.asarray(cv2.add(clear, cv2.resize(veil, size)), np.uint8)


def _toned(rng: np.random.Generator, image: Image) -> Image:
    """Gamma, contrast and brightness by one table."""
    gamma = float(np.exp(np.clip(rng.normal(0, 0.2), -0.5, 0.5)))
    contrast, brightness = rng.uniform(0.75, 1.2), rng.uniform(-20, 20)
    levels = 255 * (np.arange(256) / 255) ** gamma
    table = np.clip((levels - 128) * contrast + 128 + brightness, 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(image, table), np.uint8)


def photographed(rng: np.random.Generator, image: Image) -> Image:
    """Apply the effects to an ``(h, w, 3)`` uint8 BGR picture; nothing moves by a pixel."""
    image = _relit(rng, image)
    if rng.random() < 0.15:
        image = _hazed(rng, image)
    if rng.random() < 0.7:
        image = _toned(rng, image)
    if rng.random() < 0.3:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 1.7)), np.uint8)
    if rng.random() < 0.6:
        strength = float(np.exp(rng.uniform(np.log(1), np.log(13)))) / _GRAIN_SIGMA
        height, width = image.shape[:2]
        grain = _grain(max(height, width) + _GRAIN_SPARE)
        top, left = rng.integers(0, _GRAIN_SPARE, 2).tolist()
        window = grain[top : top + height, left : left + width]
        image = np.asarray(cv2.addWeighted(image, 1, window, strength, -128 * strength), np.uint8)
    if rng.random() < 0.4:
        quality = int(rng.integers(40, 96))
        _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        image = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    return image

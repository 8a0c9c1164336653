"""The colours of drawn objects: blue, green, red, each 0..255."""

import colorsys
from collections.abc import Sequence
from typing import Final, TypeAlias

import numpy as np

Colour: TypeAlias = tuple[float, float, float]

WHITE: Final[Colour] = (250.0, 250.0, 250.0)
BLACK: Final[Colour] = (22.0, 20.0, 20.0)
STEEL: Final[Colour] = (165.0, 162.0, 158.0)


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """BGR triple (0..255) of an HSV colour with all parts in 0..1."""
    r, g, b = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return (255.0 * b, 255.0 * g, 255.0 * r)


def vivid(rng: np.random.Generator) -> Colour:
    """A random saturated BGR colour."""
    return hsv(rng.uniform(), rng.uniform(0.6, 0.95), rng.uniform(0.65, 1.0))


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """BGR colour at `share` (0..1) of the way from `first` to `second`."""
    b, g, r = (a + (c - a) * share for a, c in zip(first, second, strict=True))
    return (b, g, r)


def lighter(colour: Colour, share: float = 0.25) -> Colour:
    """`colour` moved towards white."""
    return mix(colour, (255.0, 255.0, 255.0), share)


def darker(colour: Colour, share: float = 0.25) -> Colour:
    """`colour` moved towards black."""
    return mix(colour, (0.0, 0.0, 0.0), share)


def pick(rng: np.random.Generator, options: Sequence[Colour]) -> Colour:
    """One of the colours, uniformly."""
    return options[int(rng.integers(len(options)))]

"""Colours of classes, and of the letters upon them."""

import math
from typing import Final

RGB = tuple[int, int, int]
"""0..255 of sRGB."""

_GOLDEN_RATIO: Final = (math.sqrt(5) - 1) / 2


def colour_of(index: int) -> RGB:
    """The colour of a class, RGB 0..255: the same in every picture, neighbours far apart.

    Steps of the golden ratio never come back near a hue used shortly before. The hue is OKLCH's
    (https://bottosson.github.io/posts/oklab/), in which equal steps look equally far.
    """
    hue = 2 * math.pi * ((index * _GOLDEN_RATIO + 0.02) % 1.0)
    lightness = (0.72, 0.83, 0.56)[index % 3]
    chroma = 0.21
    while True:  # less colourful until the screen can show it: a few steps at most
        rgb = _oklch(lightness, chroma, hue)
        if min(rgb) >= -1e-3 and max(rgb) <= 1 + 1e-3:
            break
        chroma -= 0.01
    red, green, blue = (round(255 * _gamma(min(1.0, max(0.0, value)))) for value in rgb)
    return red, green, blue


def ink_on(background: RGB) -> RGB:
    """White where its contrast by WCAG 2 (section 1.4.3) is at least 4 to 1, else near black."""
    red, green, blue = (_linear(value / 255) for value in background)
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return (255, 255, 255) if 1.05 / (luminance + 0.05) >= 4 else (16, 16, 20)


def _oklch(lightness: float, chroma: float, hue: float) -> tuple[float, float, float]:
    """OKLCH to linear sRGB."""
    a, b = chroma * math.cos(hue), chroma * math.sin(hue)
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    return (
        4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
    )


def _gamma(value: float) -> float:
    """Linear to sRGB, 0..1 (IEC 61966-2-1)."""
    return 12.92 * value if value <= 0.0031308 else 1.055 * value ** (1 / 2.4) - 0.055


def _linear(value: float) -> float:
    """sRGB to linear, 0..1."""
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4

"""Colours of classes, and the contrast of what is written upon them."""

from itertools import pairwise

import numpy as np

from ssd_resnet34.vision import colours
from ssd_resnet34.vision.colours import colour_of, ink_on


def test_text_contrasts_with_its_plate() -> None:
    for index in range(1, 81):
        light, dark = sorted(
            (_luminance(colour_of(index)), _luminance(ink_on(colour_of(index)))), reverse=True
        )
        assert (light + 0.05) / (dark + 0.05) >= 4


def test_colours_are_stable_and_differ_between_all_classes() -> None:
    found = [colour_of(index) for index in range(1, 81)]
    assert found[:3] == [colour_of(1), colour_of(2), colour_of(3)]
    assert len(set(found)) == 80
    for first, second in pairwise(found):
        assert np.abs(np.subtract(first, second)).sum() > 90


def _luminance(colour: tuple[int, int, int]) -> float:
    red, green, blue = (colours._linear(value / 255) for value in colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue

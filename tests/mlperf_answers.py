"""Records for LoadGen that tell which sample they answer."""

from collections.abc import Sequence

import numpy as np

from ssd_resnet34.mlperf.system import Record


def answers(indices: Sequence[int]) -> list[Record]:
    """A row for each, seven times its index."""
    return [np.full((1, 7), index, "<f4") for index in indices]

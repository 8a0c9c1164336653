"""Whether tensors of millions of values are finite, as fast as they can be read."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def unfinite(values: NDArray[np.floating[Any]]) -> int:
    """How many values of a C-contiguous float array, of any shape, are NaN or infinite."""
    # A sum is cheaper than a look at each value (0.2 ms for an image's tensor, a third), and
    # einsum's, which need not be accurate, is the cheapest. It may overflow where no value is
    # infinite, so only isfinite condemns.
    with np.errstate(over="ignore", invalid="ignore"):
        suspect = not np.isfinite(np.einsum("i->", values.reshape(-1)))
    return int((~np.isfinite(values)).sum()) if suspect else 0

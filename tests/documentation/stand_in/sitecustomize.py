"""Read by every Python that has this folder on its path: see ``small_weights``."""

import small_weights  # type: ignore[import-not-found]  # it lies beside this file

small_weights.install()

"""Reading archives of arrays, from several threads too."""

import warnings
from pathlib import Path

import numpy as np

from ssd_resnet34 import npz


def test_readers_that_overlap_leave_the_warnings_of_the_process_alone(tmp_path: Path) -> None:
    path = tmp_path / "heads.npz"
    np.savez(path, cls_0=np.ones(3))
    before = list(warnings.filters)
    first, second = npz.reading(path), npz.reading(path)
    first.__enter__()
    second.__enter__()  # as another thread does
    assert warnings.filters == before
    first.__exit__(None, None, None)
    second.__exit__(None, None, None)
    assert warnings.filters == before

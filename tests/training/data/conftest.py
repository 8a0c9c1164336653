"""A data set to load from."""

from pathlib import Path

import pytest

from ssd_resnet34.training.data.example import DataSet
from ssd_resnet34.training.data.reading import read
from written_sets import Picture, write_coco


@pytest.fixture
def ten(tmp_path: Path) -> DataSet:
    """``00.png`` to ``09.png``, an object each."""
    pictures = [Picture(f"{n:02}.png", (64, 48), ((n % 3, (4 + n, 4, 40, 40)),)) for n in range(10)]
    return read(write_coco(tmp_path, pictures), "coco")

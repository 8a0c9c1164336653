"""Fixtures of the runtime's tests: an empty cache for each, and small pictures as tensors."""

from pathlib import Path

import numpy as np
import pytest

from ssd_resnet34.runtime import cache
from ssd_resnet34.runtime.cache import Cache
from ssd_resnet34.runtime.tensors import Array


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    """The cache that sessions of this test use."""
    own = Cache(tmp_path / "compiled")
    monkeypatch.setattr(cache, "default", lambda: own)
    return own


@pytest.fixture(scope="session")
def pictures() -> Array:
    """Five images of one brightness each, float32 [5, 3, 1200, 1200], no memory to speak of."""
    values = np.array([-2.0, -0.5, 0.25, 1.0, 2.5], np.float32)
    return np.broadcast_to(values[:, None, None, None], (5, 3, 1200, 1200))

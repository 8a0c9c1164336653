"""The real network at fp32 in every built-in engine gives the reference's heads."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from ssd_resnet34 import artifact
from ssd_resnet34.contract import COCO, HEAD_NAMES
from ssd_resnet34.errors import EngineUnavailable
from ssd_resnet34.network.builder import build
from ssd_resnet34.runtime import engines, session
from ssd_resnet34.runtime.tensors import Array


@pytest.fixture(scope="module")
def canonical(golden: ModuleType) -> bytes:
    return artifact.serialize(build(golden.state_dict(7), COCO))


@pytest.fixture(scope="module")
def picture(lookalikes: ModuleType) -> Array:
    return np.asarray(lookalikes.network_input(), np.float32)


@pytest.mark.parametrize("engine", engines.BUILT_IN)
def test_heads_at_fp32_are_the_references(
    engine: str, canonical: bytes, picture: Array, golden_npz: Callable[[str], Any]
) -> None:
    try:
        engines.find(engine).precisions("cpu")
    except EngineUnavailable as error:  # an extra; test_engines.py wants those that are not here
        pytest.skip(str(error))
    want = golden_npz("network.npz")
    with session.create(canonical, engine, precision="fp32") as sess:
        heads = sess.run(picture)
    for name, head in zip(HEAD_NAMES, heads, strict=True):
        key = name.replace("_", "")
        assert list(want[f"{key}/shape"]) == list(head.shape)
        found = head.reshape(-1)[want[f"{key}/index"]]
        np.testing.assert_allclose(found, want[f"{key}/value"], rtol=1e-4, atol=1e-3)
        assert abs(head.mean(dtype=np.float64) - want[f"{key}/mean"]) < 1e-4
        assert abs(head.std(dtype=np.float64) - want[f"{key}/std"]) < 1e-4

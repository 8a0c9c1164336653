"""From a picture to detections through the reference network: the golden ``network.npz``."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from ssd_resnet34.vision.detections import Detections
from ssd_resnet34.vision.postprocess import postprocess
from ssd_resnet34.vision.preprocess import preprocess

TOLERANCE = 1e-3  # of the golden page: boxes (fractions) and scores; not for int8 or bfloat16


@pytest.fixture(scope="module")
def outputs(golden: ModuleType) -> list[Any]:
    torch = pytest.importorskip("torch")
    from ssd_resnet34.network.module import SSDResNet34Module

    state = {name: torch.from_numpy(value) for name, value in golden.state_dict(7).items()}
    network = SSDResNet34Module().eval()
    network.load_state_dict(state, strict=True)
    tensor, _ = preprocess(golden.image(3, 480, 640), colour="bgr")
    with torch.inference_mode():
        return [head.numpy() for head in network(torch.from_numpy(tensor))]


@pytest.mark.parametrize(("nms", "count"), [("exact", 160), ("mlperf", 148)])
def test_detections_of_the_golden_network_match(
    outputs: list[Any], golden_npz: Callable[[str], Any], nms: Any, count: int
) -> None:
    wanted = golden_npz("network.npz")
    boxes, scores, labels = (wanted[f"{nms}/{field}"] for field in ("boxes", "scores", "labels"))
    assert len(scores) == count
    (got,) = postprocess(outputs, [(1, 1)], nms=nms)
    unmatched = _unmatched(got, boxes, scores, labels)
    # Only a score at the threshold may fall either way.
    assert all(abs(score - 0.05) < TOLERANCE for score in unmatched)


def _unmatched(got: Detections, boxes: Any, scores: Any, labels: Any) -> list[float]:
    """Scores of the detections, of either side, without a partner on the other."""
    same = (
        (np.abs(got.boxes[:, None] - boxes).max(axis=2) <= TOLERANCE)
        & (np.abs(got.scores[:, None] - scores) <= TOLERANCE)
        & (got.indices[:, None] == labels)
    )
    missing = got.scores[~same.any(axis=1)].tolist() + scores[~same.any(axis=0)].tolist()
    return [float(score) for score in missing]

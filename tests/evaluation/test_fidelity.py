"""What rounding costs, on networks whose difference is known."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fake_engine import FakeEngine, FakeRunner
from fake_network import fake_onnx
from ssd_resnet34 import SSDResNet34, session
from ssd_resnet34.errors import CorruptImage, ImageError
from ssd_resnet34.evaluation.dataset import read
from ssd_resnet34.evaluation.fidelity import decibel, measure
from ssd_resnet34.runtime.engines import CompileRequest
from ssd_resnet34.vision.images import Image


class Shifted(FakeEngine):
    """Every box head a constant too large."""

    name = "shifted"

    def compile(self, model: bytes, request: CompileRequest) -> FakeRunner:
        class Runner(FakeRunner):
            def run(self, tensor: Any) -> Any:
                heads = super().run(tensor)
                return [*heads[:6], *(head + np.float32(0.5) for head in heads[6:])]

        return Runner(self, request)


def grey(shade: int, name: str = "") -> Image:
    return Image(np.full((600, 800, 3), shade, np.uint8), name)


@pytest.fixture
def model() -> SSDResNet34:
    return SSDResNet34(fake_onnx(), "fp32")


def test_the_same_network_agrees_without_noise(model: SSDResNet34) -> None:
    with session.create(model, FakeEngine) as one, session.create(model, FakeEngine) as other:
        found = measure(model, one, other, [grey(40), grey(200)])
    assert found.images == 2
    assert found.agreement.share == 1
    assert found.agreement.reference == 2 * 3
    assert found.agreement.box_shift == 0
    assert all(value == math.inf for value in found.sqnr.values())
    assert found.ap is None
    assert found.kept is None


def test_a_shift_of_the_box_heads_is_measured(model: SSDResNet34) -> None:
    with session.create(model, FakeEngine) as one, session.create(model, Shifted) as other:
        found = measure(model, one, other, [grey(100)])
    assert found.sqnr["cls_0"] == math.inf
    assert found.sqnr["loc_0"] == -math.inf  # the reference's box heads are 0: no signal
    assert found.agreement.box_shift > 1
    assert found.agreement.score_shift == 0
    assert found.agreement.share == 1


def test_refused_images_are_told_and_left_out(model: SSDResNet34) -> None:
    told: list[ImageError | None] = []
    refused = CorruptImage("bad.jpg: damaged")
    with session.create(model, FakeEngine) as one, session.create(model, FakeEngine) as other:
        found = measure(model, one, other, [refused, grey(9), b""], on_image=told.append)
    assert found.images == 1
    assert told[0] is refused
    assert told[1] is None
    assert isinstance(told[2], ImageError)


def test_speed_is_against_the_rival_where_there_is_one(model: SSDResNet34) -> None:
    rival = FakeEngine()
    with (
        session.create(model, FakeEngine) as one,
        session.create(model, FakeEngine) as other,
        session.create(model, lambda: rival) as third,
    ):
        measure(model, one, other, [grey(9)], rival=third)
    assert rival.runs == [1, 1]  # once to warm up, once timed


def test_average_precision_counts_the_annotated_images(model: SSDResNet34, tmp_path: Path) -> None:
    with session.create(model, FakeEngine) as one, session.create(model, Shifted) as other:
        (wanted,) = model.postprocess(one.run(model.preprocess(grey(9))))
        annotations = [
            {
                "id": n + 1,
                "image_id": 5,
                "category_id": int(category),
                "bbox": [float(v) for v in (*box[:2], *(box[2:] - box[:2]))],
                "area": float(np.prod(box[2:] - box[:2])),
                "iscrowd": 0,
            }
            for n, (box, category) in enumerate(zip(wanted.boxes, wanted.category_ids, strict=True))
        ]
        labels = sorted(set(zip(wanted.category_ids.tolist(), wanted.labels, strict=True)))
        path = tmp_path / "truth.json"
        document = {
            "images": [{"id": 5, "file_name": "in/a.jpg", "width": 800, "height": 600}],
            "annotations": annotations,
            "categories": [{"id": number, "name": label} for number, label in labels],
        }
        path.write_text(json.dumps(document))
        pictures = [grey(9, "photos/a.jpg"), grey(9, "photos/unknown.jpg")]
        found = measure(model, one, other, pictures, truth=read(path))
    assert found.ap50 is not None
    assert found.ap50[0] == pytest.approx(1)
    assert found.kept == pytest.approx(found.ap50[1] / found.ap50[0])
    assert found.images == 2


@pytest.mark.parametrize(
    ("signal", "noise", "wanted"), [(100, 1, 20), (1, 0, math.inf), (0, 1, -math.inf)]
)
def test_decibels(signal: float, noise: float, wanted: float) -> None:
    assert decibel(signal, noise) == wanted

"""Samples and records: what is timed, what is not, and the seven numbers."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import ssd_resnet34
from fake_engine import FakeEngine
from fake_network import DETECTIONS, fake_onnx
from small_network import small_onnx
from ssd_resnet34.errors import CorruptImage
from ssd_resnet34.mlperf.road import Road, rows
from ssd_resnet34.mlperf.worker import facts, measure
from ssd_resnet34.runtime import cpu
from ssd_resnet34.vision.detections import Detections
from ssd_resnet34.vision.images import Image
from ssd_resnet34.vision.preprocess import ModelInput


def found(boxes: list[list[float]], width: int = 200, height: int = 100) -> Detections:
    count = len(boxes)
    return Detections(
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        scores=np.linspace(0.9, 0.1, count).astype(np.float32),
        indices=np.full(count, 80),
        category_ids=np.full(count, 90),
        labels=("toothbrush",) * count,
        image="a.jpg",
        width=width,
        height=height,
        model="",
    )


def test_a_row_is_index_ymin_xmin_ymax_xmax_score_category() -> None:
    made = rows(4999, found([[20, 10, 100, 75], [-20, 0, 220, 100]]))
    assert made.dtype == np.dtype("<f4")
    expected = np.array(
        [[4999, 0.1, 0.1, 0.75, 0.5, 0.9, 90], [4999, 0, -0.1, 1, 1.1, 0.1, 90]], np.float32
    )
    np.testing.assert_array_equal(made, expected)
    assert made.flags.c_contiguous


def test_an_image_without_detections_has_no_row() -> None:
    assert rows(0, found([])).nbytes == 0


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.full((48, 64, 3), 90, np.uint8))
    return path


def test_a_sample_is_a_preprocessed_tensor(picture: Path) -> None:
    with ssd_resnet34.load(fake_onnx(), engine=FakeEngine(), score_threshold=0.05) as detector:
        road = Road(detector)
        sample = road.prepare(picture)
        assert isinstance(sample, ModelInput)
        assert sample.tensor.nbytes == 17_280_000
        (one,) = road.detect([sample])
        assert len(one) == len(DETECTIONS)
        assert (one.width, one.height) == (64, 48)
        assert len(road.detect([sample, sample, road.blank()])) == 3


def test_a_damaged_image_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.jpg"
    path.write_bytes(b"\xff\xd8\xff\xe0 no picture")
    with (
        ssd_resnet34.load(fake_onnx(), engine=FakeEngine()) as detector,
        pytest.raises(CorruptImage),
    ):
        Road(detector).prepare(path)


def test_a_device_with_the_whole_road_gets_pixels_and_finds_the_same(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the torch extra is not installed")
    from small_torch import RoadEngine

    rng = np.random.default_rng(3)
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), rng.integers(0, 256, (60, 90, 3), np.uint8))
    options: dict[str, Any] = {"precision": "fp32", "threads": 1, "score_threshold": 0.6}
    with (
        ssd_resnet34.load(small_onnx(), engine=RoadEngine(), device="cuda", **options) as device,
        ssd_resnet34.load(small_onnx(), engine="onnxruntime", **options) as host,
    ):
        sample = Road(device).prepare(path)
        assert isinstance(sample, Image)
        (theirs,) = Road(device).detect([sample])
        (ours,) = Road(host).detect([Road(host).prepare(path)])
        assert len(ours) > 0
        np.testing.assert_allclose(rows(1, theirs), rows(1, ours), atol=1e-4)


def test_boxes_are_not_clipped() -> None:
    engine = FakeEngine([(15093, 1)])  # the last prior: as large as the image, and beyond
    with ssd_resnet34.load(fake_onnx(), engine=engine) as detector:
        (one,) = Road(detector).detect([Road(detector).blank()])
    made = rows(0, one)
    assert made[:, 1:5].min() < 0 or made[:, 1:5].max() > 1


def test_the_system_is_measured_and_described() -> None:
    with ssd_resnet34.load(fake_onnx(), engine=FakeEngine(), threads=1) as detector:
        measured = measure(Road(detector), workers=2, batch=1)
        assert 0 < measured.latency < 10
        assert measured.rate > 0.1
        known = facts(detector)
    assert (known.engine, known.precision, known.device) == ("fake", "fp32", "cpu")
    assert (known.threads, known.streams, known.batch) == (1, 1, 1)
    assert len(known.sha256) == 64
    assert known.trained_size is None  # the file does not say
    assert known.hardware == cpu.model_name()


@pytest.mark.parametrize(
    ("card", "told"), [("a card", "a card"), ("", "cuda, whose name road does not tell")]
)
def test_a_result_on_a_card_names_it_and_never_the_host(card: str, told: str) -> None:
    pytest.importorskip("torch", reason="the torch extra is not installed")
    from small_torch import RoadEngine

    class Card(RoadEngine):
        def device_name(self, device: str) -> str:
            return card

    with ssd_resnet34.load(small_onnx(), engine=Card(), device="cuda") as detector:
        assert facts(detector).hardware == told

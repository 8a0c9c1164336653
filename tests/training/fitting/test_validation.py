"""Scoring a module: the same detections as the usual road, refusals, unknown classes, NaN."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fake_network import fake_heads
from ssd_resnet34.contract import COCO, INPUT_SIZE, LEVELS
from ssd_resnet34.errors import MissingExtra, TrainingError, UsageError
from ssd_resnet34.training.data.example import DataSet, Sample
from ssd_resnet34.training.fitting import Recipe, train
from ssd_resnet34.training.fitting.placing import priors_for
from ssd_resnet34.training.fitting.validation import scored, tensor_of, validate
from ssd_resnet34.vision.postprocess import postprocess
from ssd_resnet34.vision.preprocess import preprocess
from tiny_detector import SIZE, TinyDetector

PLANTED = ((9000, 1), (12000, 3), (14000, 17))


class Planted(nn.Module):
    """The heads of :func:`fake_network.fake_heads`, with some noise on the boxes."""

    def __init__(self, value: float = 0.0) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))

    def forward(self, image: Tensor) -> list[Tensor]:
        rng = np.random.default_rng(5)
        heads = fake_heads(image.numpy(), detections=PLANTED)
        for head in heads[len(LEVELS) :]:
            head += rng.normal(0, 0.5, head.shape).astype(np.float32)
        return [torch.from_numpy(head) + self.value for head in heads]


@pytest.fixture
def picture(tmp_path: Path) -> Callable[..., Sample]:
    """A sample of noise, 320×240, with one box."""

    def make(name: str = "a.png") -> Sample:
        rng = np.random.default_rng(len(name))
        cv2.imwrite(str(tmp_path / name), rng.integers(0, 256, (240, 320, 3), np.uint8))
        box, index = np.array([[10, 20, 110, 90]], np.float32), np.array([1])
        return Sample(tmp_path / name, (320, 240), box, index, np.array([False]))

    return make


def test_detections_at_1200_are_those_of_the_usual_road(picture: Callable[..., Sample]) -> None:
    sample = picture()
    module = Planted()
    priors = priors_for(module, Recipe())
    results, done, refused = validate(
        module, DataSet(COCO, (sample,)), [0], priors, INPUT_SIZE, COCO, lambda: None
    )
    assert (done, refused) == ([0], {})
    inputs = preprocess(sample.path)
    outputs = [head.detach().numpy() for head in module(torch.from_numpy(inputs.tensor))]
    (wanted,) = postprocess(outputs, inputs.contexts)
    assert len(results) == len(wanted) >= len(PLANTED)
    for row, found in zip(results, wanted.to_coco(1), strict=True):
        assert (row["image_id"], row["category_id"]) == (1, found["category_id"])
        assert row["score"] == pytest.approx(found["score"], abs=1e-6)
        assert row["bbox"] == pytest.approx(found["bbox"], abs=1e-2)


def test_a_smaller_input_is_resized_and_normalised_by_the_same_rule() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    found = tensor_of(pixels, 24, COCO).numpy()[0]
    resized = cv2.resize(pixels.astype(np.float32), (24, 24), interpolation=cv2.INTER_LINEAR)
    wanted = ((resized[..., ::-1] / 255 - COCO.mean) / COCO.std).transpose(2, 0, 1)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_images_that_cannot_be_read_or_have_another_size_are_left_out_with_a_reason(
    picture: Callable[..., Sample],
) -> None:
    good, bad, other = picture("a.png"), picture("bb.png"), picture("ccc.png")
    bad.path.write_bytes(bad.path.read_bytes()[:100])
    data = DataSet(COCO, (good, bad, replace(other, size=(321, 240))))
    module, seen = Planted(), []
    _, done, refused = validate(
        module,
        data,
        range(3),
        priors_for(module, Recipe()),
        INPUT_SIZE,
        COCO,
        lambda: seen.append(1),
    )
    assert done == [0]
    assert set(refused) == {str(bad.path), str(other.path)}
    assert "annotated as 321x240" in refused[str(other.path)]
    assert len(seen) == 3


def test_what_an_image_does_not_label_cannot_be_found_wrongly_there(
    picture: Callable[..., Sample],
) -> None:
    sample = replace(picture(), unknown=frozenset({3, 17}))
    module = Planted()
    data = DataSet(COCO, (sample,))
    results, done, _ = validate(
        module, data, [0], priors_for(module, Recipe()), INPUT_SIZE, COCO, lambda: None
    )
    assert {row["category_id"] for row in results} == {1}
    assert scored(data, results, done).evaluation.category_ids == (1,)
    assert scored(data, results, done, ["dog"]).evaluation.category_ids == ()


def test_a_network_that_gives_nan_is_no_result(picture: Callable[..., Sample]) -> None:
    module = Planted()
    priors = priors_for(module, Recipe())
    broken = Planted(float("nan"))
    with pytest.raises(TrainingError, match=r"a\.png: the network gives NaN or infinity"):
        validate(broken, DataSet(COCO, (picture(),)), [0], priors, INPUT_SIZE, COCO, lambda: None)


def test_priors_of_another_size_find_what_lies_there() -> None:
    tiny = TinyDetector()
    assert len(priors_for(tiny, Recipe(size=SIZE))) == sum(
        side**2 * level.anchors for side, level in zip((17, 9, 5, 3, 1, 1), LEVELS, strict=True)
    )


def test_sets_that_cannot_be_learnt_from_or_scored_on_are_refused(
    picture: Callable[..., Sample], tmp_path: Path
) -> None:
    sample = picture()
    data = DataSet(COCO, (sample,))
    nothing = DataSet(COCO, (replace(sample, ignored=np.array([True])),))
    other = DataSet(replace(COCO, categories=COCO.categories[:3]), (sample,))
    gone = DataSet(COCO, (replace(sample, path=tmp_path / "gone.png"),))
    for learnt, judged, message in (
        (DataSet(COCO, ()), None, "training: no image in this split"),
        (nothing, None, "training: no object in any image"),
        (data, DataSet(COCO, ()), "validation: no image in this split"),
        (data, nothing, "validation: no object in any image"),
        (data, other, "validation: other classes"),
        (data, gone, r"not one image with an object can be read.*gone\.png.*; mend its images"),
    ):
        with pytest.raises(UsageError, match=message):
            train(learnt, tmp_path / "out", validation=judged, device="cpu")
    assert not (tmp_path / "out").exists()


def test_a_random_backbone_is_not_frozen(picture: Callable[..., Sample], tmp_path: Path) -> None:
    data, recipe = DataSet(COCO, (picture(),)), Recipe(freeze="backbone")
    with pytest.raises(UsageError, match="without initial weights would stay random"):
        train(data, tmp_path / "out", init="none", recipe=recipe, device="cpu")
    assert not (tmp_path / "out").exists()


def test_another_device_is_refused_by_name(picture: Callable[..., Sample], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="device: 'cuda' is unknown"):
        train(DataSet(COCO, (picture(),)), tmp_path / "out", device="cuda")  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("package", ["pycocotools", "jinja2"])
def test_a_package_that_the_scores_or_the_report_need_is_missed_before_the_first_step(
    picture: Callable[..., Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    data = DataSet(COCO, (picture(),))
    with pytest.raises(MissingExtra, match=rf"needs {package}: pip install"):
        train(data, tmp_path / "out", validation=data, device="cpu")
    assert not (tmp_path / "out").exists()

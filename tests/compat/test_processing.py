"""Preprocessing and postprocessing in the forms of every release."""

import dataclasses
import json
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from fake_engine import FakeEngine
from fake_network import constant_heads
from furiosa.models.vision import SSDResNet34, ssd_resnet34
from furiosa.models.vision import postprocess as results
from furiosa.models.vision.postprocess import LtrbBoundingBox, ObjectDetectionResult
from ssd_resnet34.errors import CorruptImage, ImageError
from ssd_resnet34.vision.preprocess import preprocess as reference
from ssd_resnet34.vision.priors import priors

PRE = ssd_resnet34.SSDResNet34PreProcessor
NATIVE = ssd_resnet34.SSDResNet34NativePostProcessor
PYTHON = ssd_resnet34.SSDResNet34PythonPostProcessor


@pytest.fixture(scope="module")
def picture() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """BGR uint8 (90, 160, 3)."""
    return np.random.default_rng(4).integers(0, 256, (90, 160, 3), np.uint8)


@pytest.fixture(scope="module")
def png(picture: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "noise.png"
    assert cv2.imwrite(str(path), picture)
    return path


@pytest.mark.parametrize("option", ["with_scaling", "with_quantize"])
def test_scaling_is_the_cores_preprocessing(option: str, png: Path) -> None:
    tensor, contexts = PRE()([str(png)], **{option: True})
    assert tensor.dtype == np.float32
    assert np.array_equal(tensor, reference(png).tensor)
    assert contexts == [{"width": 160, "height": 90}]
    with pytest.raises(TypeError, match="one option"):
        PRE()([str(png)], with_scaling=True, with_quantize=False)


def test_without_scaling_pixels_are_resized_as_bytes(png: Path, picture: Any) -> None:
    tensor, contexts = PRE()(str(png), False)
    assert tensor.dtype == np.uint8
    assert tensor.shape == (1, 3, 1200, 1200)
    assert tensor.flags.c_contiguous
    wanted = cv2.resize(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), (1200, 1200))
    assert np.array_equal(tensor[0], wanted.transpose(2, 0, 1))
    assert contexts == [{"width": 160, "height": 90}]
    mean, std = (
        np.array(v, np.float32)[:, None, None]
        for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    by_hand = (tensor[0] / np.float32(255) - mean) / std
    assert np.abs(by_hand - reference(png).tensor[0]).max() < 0.014  # the rounding


FORMS: dict[str, Callable[[Path, Any], tuple[Any, int]]] = {
    "path": lambda path, _: (str(path), 1),
    "Path": lambda path, _: (path, 1),
    "list of paths": lambda path, _: ([str(path), path], 2),
    "tuple": lambda path, _: ((str(path),), 1),
    "generator": lambda path, _: (iter([path, path, path]), 3),
    "BGR array": lambda _, array: (array, 1),
    "list of BGR arrays": lambda _, array: ([array, array], 2),
    "NHWC stack": lambda _, array: (np.stack([array, array]), 2),
    "encoded bytes": lambda path, _: (path.read_bytes(), 1),
    "PIL": lambda path, _: (Image.open(path), 1),
    "mixed": lambda path, array: ([array, path], 2),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_the_same_picture_gives_the_same(form: str, png: Path, picture: Any) -> None:
    images, count = FORMS[form](png, picture)
    tensor, contexts = PRE()(images, with_scaling=False)
    wanted, _ = PRE()([str(png)], with_scaling=False)
    assert tensor.shape == (count, 3, 1200, 1200)
    assert all(np.array_equal(one, wanted[0]) for one in tensor)
    assert contexts == [{"width": 160, "height": 90}] * count


def test_grey_and_alpha_arrays_are_pictures(picture: Any) -> None:
    grey = picture[:, :, 0]
    tensor, _ = PRE()([grey, np.dstack([picture, grey])], with_scaling=False)
    assert np.array_equal(tensor[0][0], tensor[0][2])
    assert np.array_equal(tensor[1], PRE()(picture, with_scaling=False).tensor[0])


def test_what_is_no_picture_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"missing\.png") as raised:
        PRE()(["missing.png"])
    assert raised.value.filename == "missing.png"
    shown = traceback.format_exception(raised.value)
    assert "check the path: 'missing.png'" in shown[-1]
    assert shown.count("Traceback (most recent call last):\n") == 1
    with pytest.raises(ImageError, match="folder"):
        PRE()(tmp_path)
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff\xe0" + b"\0" * 100)
    with pytest.raises((CorruptImage, ImageError)):
        PRE()(str(broken))
    nothing: list[Any] = [[], (), np.zeros((0, 4, 4, 3), np.uint8)]
    for wrong in nothing:
        with pytest.raises(ValueError, match="at least one"):
            PRE()(wrong)
    with pytest.raises(ValueError, match="uint8"):
        PRE()(np.zeros((8, 8, 3), np.float32))
    with pytest.raises(ValueError, match="image"):
        PRE()(7)


def test_functions_of_the_page_are_float_and_python(png: Path, golden: ModuleType) -> None:
    assert ssd_resnet34.preprocess([str(png)]).tensor.dtype == np.float32
    assert ssd_resnet34.preprocess([str(png)], with_scaling=False).tensor.dtype == np.uint8
    heads = golden.case("diagonal")
    assert len(ssd_resnet34.postprocess(heads)[0]) == 34


def test_the_two_decoders_differ_as_the_vendors_do(engine: FakeEngine, golden: ModuleType) -> None:
    heads = golden.case("diagonal")  # its boxes meet the reference's IoU error
    assert len(SSDResNet34(postprocessor_type="Python").postprocess(heads)[0]) == 34
    assert len(SSDResNet34(postprocessor_type="Rust").postprocess(heads)[0]) == 45


@pytest.mark.parametrize("case", ["typical", "crowded", "single", "empty", "huge_logits", "batch2"])
@pytest.mark.parametrize("decoder", [PYTHON, NATIVE])
def test_results_are_the_golden_ones(
    case: str, decoder: Any, golden: ModuleType, golden_npz: Callable[[str], Any]
) -> None:
    """One detection, none, and none in one image of a batch are no errors here."""
    name = "mlperf" if decoder is PYTHON else "exact"
    heads, wanted = golden.case(case), golden_npz(f"decode_{name}.npz")
    contexts = [{"width": 640, "height": 480}] * len(heads[0])
    for number, found in enumerate(decoder()(heads, contexts)):
        key = f"{case}/{number}"
        best_first = found[::-1] if decoder is PYTHON else found
        scores = [one.score for one in best_first]
        assert scores == sorted(scores, reverse=True)
        assert [one.index for one in best_first] == wanted[f"{key}/labels"].tolist()
        assert np.allclose(scores, wanted[f"{key}/scores"], atol=1e-6)
        boxes = np.array([list(one.boundingbox) for one in best_first]).reshape(-1, 4)
        pixels = wanted[f"{key}/boxes"] * (640, 480, 640, 480)
        assert np.allclose(boxes, pixels, rtol=2e-5, atol=1e-2)
        assert all(one.label == ssd_resnet34.CLASSES[one.index] for one in found)


def test_one_context_alone_gives_one_images_list() -> None:
    heads = constant_heads()
    (nested,) = NATIVE()(heads, [{"width": 40, "height": 30}])
    assert NATIVE()(heads, {"width": 40, "height": 30}) == nested
    assert PYTHON()(heads, {"width": 40, "height": 30}) == nested[::-1]
    assert nested
    two = [np.repeat(head, 2, axis=0) for head in heads]
    with pytest.raises(ValueError, match="contexts: 1 for a batch of 2"):
        NATIVE()(two, {"width": 40, "height": 30})


def test_contexts_have_one_value_under_three_names(engine: FakeEngine) -> None:
    model, heads, sizes = SSDResNet34(), constant_heads(), [{"width": 40, "height": 30}]
    wanted = model.postprocess(heads, sizes)
    assert model.postprocess(heads, contexts=sizes) == wanted
    assert model.postprocess(heads, context=sizes) == wanted
    assert model.postprocess(heads, batch_preproc_params=sizes) == wanted
    assert ssd_resnet34.postprocess(heads, batch_preproc_params=sizes) == [wanted[0][::-1]]
    with pytest.raises(TypeError, match="give it once"):
        model.postprocess(heads, sizes, context=sizes)


@pytest.mark.parametrize("decoder", [PYTHON, NATIVE])
def test_the_threshold_counts_also_below_the_vendors(decoder: Any, golden: ModuleType) -> None:
    heads = golden.case("typical")
    counts = [len(decoder()(heads, None, value)[0]) for value in (0.01, 0.05, 0.5, 0.999)]
    assert counts == sorted(counts, reverse=True)
    assert len(set(counts)) == len(counts)
    with pytest.raises(ValueError, match="score_threshold"):
        decoder()(heads, None, 1.5)


@pytest.mark.parametrize("decoder", [PYTHON, NATIVE])
@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda heads: heads[:11], "11 arrays where 12"),
        (lambda heads: [], "0 arrays where 12"),
        (lambda heads: heads[6:] + heads[:6], "wrong order"),
        (lambda heads: [head[0] for head in heads], "batch axis"),
        (lambda heads: [head.astype(np.int8) for head in heads], "int8"),
        (lambda heads: [np.full_like(head, np.nan) for head in heads], "NaN"),
    ],
)
def test_what_are_no_heads_is_a_value_error(decoder: Any, change: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        decoder()(change(constant_heads()), [{"width": 4, "height": 3}])
    with pytest.raises(ValueError, match="contexts: 2"):
        decoder()(constant_heads(), [{"width": 4, "height": 3}] * 2)


def test_results_are_plain_dataclasses() -> None:
    ((found, *_),) = NATIVE()(constant_heads(), [{"width": 40, "height": 30}])
    assert isinstance(found, ObjectDetectionResult)
    text = json.dumps(dataclasses.asdict(found))
    assert list(json.loads(text)) == ["boundingbox", "score", "label", "index"]
    assert list(found.boundingbox) == list(json.loads(text)["boundingbox"].values())


def test_the_small_functions_beside_them() -> None:
    box = LtrbBoundingBox(10, 20, 40, 80)
    assert list(results.xyxytoxywh(box)) == [10, 20, 30, 60]
    assert list(results.xyxytocxcywh(box)) == [25, 50, 30, 60]
    boxes = np.array([[0.1, 0.2, 0.3, 0.4]], np.float32)
    assert results.calibration_ltrbbox(boxes, 100, 10) is boxes
    assert np.allclose(boxes, [[10, 2, 30, 4]])
    ones = [np.ones((1, 2)), np.ones((1, 3))]
    assert [one.shape for one in results.collate([ones, ones, ones])] == [(3, 2), (3, 3)]
    with np.errstate(over="raise", invalid="raise"):
        assert results.sigmoid(np.array([-1000.0, 0.0, 1000.0])).tolist() == [0, 0.5, 1]


def test_the_encoder_decodes_joined_heads(golden: ModuleType) -> None:
    boxes = ssd_resnet34.dboxes_R34_coco((1200, 1200), (3, 3, 2, 2, 2, 2))
    assert np.array_equal(boxes("xywh"), priors())
    assert np.allclose(boxes()[:, 2:] - boxes()[:, :2], priors()[:, 2:], atol=1e-6)
    encoder = ssd_resnet34.Encoder(boxes)
    assert encoder.nboxes == 15130
    heads = golden.case("diagonal")
    logits = np.concatenate([head.reshape(1, 81, -1) for head in heads[:6]], axis=2)
    offsets = np.concatenate([head.reshape(1, 4, -1) for head in heads[6:]], axis=2)
    (found,), (labels,), (scores,) = encoder.decode_batch(offsets, logits)
    assert len(found) == len(labels) == len(scores) == 34
    assert (np.diff(scores) >= 0).all()
    wanted = PYTHON()(heads, [{"width": 1, "height": 1}])[0]
    assert np.allclose(found, [list(one.boundingbox) for one in wanted], atol=1e-6)
    with pytest.raises(ValueError, match="15130"):
        encoder.decode_batch(offsets[..., 1:], logits)
    with pytest.raises(ValueError, match="for 81 classes"):
        encoder.decode_batch(offsets, logits[:, :-1])


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: ssd_resnet34.dboxes_R34_coco((300, 300), (3, 3, 2, 2, 2, 2)), "fig_size"),
        (lambda: ssd_resnet34.dboxes_R34_coco((1200, 1200), (1,) * 6), "strides"),
        (lambda: ssd_resnet34.dboxes_R34_coco((1200, 1200), (3, 3, 2, 2, 2, 2))("cxcy"), "order"),
    ],
)
def test_another_layout_of_priors_is_refused(make: Callable[[], Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make()

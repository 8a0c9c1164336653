"""The check of an export: agreement where it is right, disagreement where it is not."""

from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, helper, numpy_helper

from small_int8 import small_int8
from small_network import small_onnx
from ssd_resnet34 import artifact
from ssd_resnet34.compiler.decoding import Selection
from ssd_resnet34.compiler.export import Export, Form, export
from ssd_resnet34.errors import ArtifactError, SessionError, UsageError
from ssd_resnet34.evaluation.exported import check_export, made_up
from ssd_resnet34.model import SSDResNet34
from ssd_resnet34.vision.images import Image, decode

SAMPLE = Path(__file__).parents[2] / "samples" / "scene.png"
FORMS: tuple[Form, ...] = ("raw-heads", "split-heads", "end-to-end")


@pytest.mark.parametrize("uint8_input", [False, True])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_right_exports_agree(precision: str, form: Form, uint8_input: bool) -> None:
    source = small_onnx() if precision == "fp32" else small_int8()
    selection = Selection(score_threshold=0.3) if form == "end-to-end" else Selection()
    data = export(source, Export(form, uint8_input=uint8_input, selection=selection))
    check = check_export(data, source, made_up(2))
    assert check.agrees
    assert check.images == 2
    assert check.engine.startswith("onnxruntime ")
    if form == "end-to-end":
        assert check.heads is check.error is None
        assert check.detections is not None
        assert check.detections.reference > 10
        assert check.detections.share > 0.97
    else:
        assert check.detections is None
        assert check.heads is not None
        assert check.heads < 1e-4 or precision == "int8"


def tampered(data: bytes, name: str, factor: float) -> bytes:
    model: ModelProto = artifact.load(data)
    for tensor in model.graph.initializer:
        if tensor.name == name:
            value = numpy_helper.to_array(tensor)
            tensor.CopyFrom(numpy_helper.from_array((value * factor).astype(value.dtype), name))
    return artifact.serialize(model)


@pytest.mark.parametrize(
    ("form", "name", "factor"),
    [
        ("raw-heads", "cls_0.bias", 1.5),
        ("raw-heads", "loc_5.weight", 0.9),
        ("split-heads", "cls_3.weight", 1.1),
        ("end-to-end", "ssd_resnet34.steps", 10),
        ("end-to-end", "ssd_resnet34.score_threshold", 1.5),
        ("end-to-end", "ssd_resnet34.nms.iou_threshold", 0.5),
    ],
)
def test_wrong_exports_do_not(form: Form, name: str, factor: float) -> None:
    source = small_onnx()
    selection = Selection(score_threshold=0.6) if form == "end-to-end" else Selection()
    data = export(source, Export(form, selection=selection))
    assert check_export(data, source, made_up(1)).agrees
    assert not check_export(tampered(data, name, factor), source, made_up(1)).agrees


def test_heads_that_are_not_finite_do_not_agree() -> None:
    source = small_onnx()
    check = check_export(
        tampered(export(source, Export()), "cls_0.bias", np.inf), source, made_up(1)
    )
    assert not check.agrees
    assert check.heads == np.inf


def test_the_picture_may_have_any_size() -> None:
    source = small_onnx()
    pixels = np.random.default_rng(0).integers(0, 256, (37, 300, 3), np.uint8)
    check = check_export(export(source, Export(uint8_input=True)), source, [Image(pixels, "wide")])
    assert check.agrees


def test_as_many_pictures_are_needed_as_the_batch_has() -> None:
    source = small_onnx()
    data = export(source, Export(batch=2))
    assert check_export(data, source, made_up(2)).agrees
    for images in (made_up(1), []):
        with pytest.raises(UsageError, match=f"{len(images)} given for a batch of 2; give 2"):
            check_export(data, source, images)


def test_made_up_pictures_are_always_the_same_and_differ() -> None:
    first, second = made_up(2)
    assert np.array_equal(first.pixels, made_up(1)[0].pixels)
    assert not np.array_equal(first.pixels, second.pixels)
    assert first.pixels.shape == (1200, 1200, 3)


def test_what_onnx_runtime_cannot_load_or_run_is_told() -> None:
    source = small_onnx()
    data = export(source, Export())
    model = artifact.load(data)
    model.graph.node[0].op_type = "Nonsense"
    with pytest.raises(SessionError, match="cannot load"):
        check_export(artifact.serialize(model), source, made_up(1))
    model = artifact.load(data)
    shape = helper.make_tensor("broken.shape", 7, [1], [7])
    model.graph.initializer.append(shape)
    model.graph.node.append(helper.make_node("Reshape", ["cls_0", "broken.shape"], ["broken"]))
    model.graph.output.append(helper.make_empty_tensor_value_info("broken"))
    with pytest.raises(SessionError, match="cannot run"):
        check_export(artifact.serialize(model), source, made_up(1))
    with pytest.raises(ArtifactError, match="not an export"):
        check_export(source, source, made_up(1))


def test_the_embedded_weights_end_to_end_in_int8_find_what_postprocess_finds() -> None:
    """One forward of the real network each."""
    source = SSDResNet34("embedded", "int8").enf
    data = export(source, Export("end-to-end", selection=Selection(score_threshold=0.3)))
    check = check_export(data, source, [decode(SAMPLE)])
    assert check.agrees
    assert check.detections is not None
    assert check.detections.reference >= 5
    assert check.detections.box_shift < 0.01
    assert check.detections.score_shift < 1e-6

"""Exports: what each option makes of an artifact, run in ONNX Runtime, and what is refused."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from fake_network import fake_onnx
from small_int8 import small_int8
from small_network import CONTRACT, pictures, small_onnx
from ssd_resnet34 import artifact, session
from ssd_resnet34.compiler.decoding import DETECTION_OUTPUTS, SPLIT_OUTPUTS, Selection
from ssd_resnet34.compiler.export import KEY, OPSETS, Export, Form, described, export
from ssd_resnet34.contract import HEAD_NAMES, INPUT_SIZE
from ssd_resnet34.errors import ArtifactError, UsageError

FORMS: tuple[Form, ...] = ("raw-heads", "split-heads", "end-to-end")
NAMES = {"raw-heads": HEAD_NAMES, "split-heads": SPLIT_OUTPUTS, "end-to-end": DETECTION_OUTPUTS}
DOCS = Path(__file__).parents[2] / "docs" / "export.md"


def source_of(precision: str) -> bytes:
    return small_onnx() if precision == "fp32" else small_int8()


def run(data: bytes, tensor: NDArray[Any]) -> dict[str, NDArray[Any]]:
    ready = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    names = [value.name for value in ready.get_outputs()]
    return dict(zip(names, ready.run(None, {"image": tensor}), strict=True))


def shapes(data: bytes) -> dict[str, list[int | str]]:
    model = artifact.load(data)
    return {
        value.name: [axis.dim_value or axis.dim_param for axis in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }


# ------------------------------------------------------------------------------------ forms


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_raw_heads_are_the_artifacts_own(precision: str) -> None:
    source = source_of(precision)
    tensor = np.concatenate(pictures(2))
    wanted = run(source, tensor)
    found = run(export(source, Export()), tensor)
    assert list(found) == list(HEAD_NAMES)
    for name, head in wanted.items():
        assert np.array_equal(found[name], head)


def test_an_export_with_raw_heads_is_an_artifact_again() -> None:
    source = small_onnx()
    data = export(source, Export(opset=21, batch=1))
    image = pictures(1)[0]
    with session.create(data, engine="onnxruntime") as ready:
        for found, wanted in zip(ready.run(image), run(source, image).values(), strict=True):
            assert np.array_equal(found, wanted)
    assert described(export(data, Export("split-heads"))).form == "split-heads"


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_split_heads_are_the_twelve_in_two_and_the_docs_give_them_back(precision: str) -> None:
    source = source_of(precision)
    tensor = np.concatenate(pictures(2))
    found = run(export(source, Export("split-heads")), tensor)
    assert list(found) == ["logits", "offsets"]
    assert found["logits"].shape == (2, 3, 15130)
    assert found["offsets"].shape == (2, 4, 15130)
    blocks = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    (block,) = (block for block in blocks if "def twelve_heads" in block)
    names: dict[str, Any] = {}
    exec(block, names)
    heads = names["twelve_heads"](found["logits"], found["offsets"])
    for head, wanted in zip(heads, run(source, tensor).values(), strict=True):
        assert np.array_equal(head, wanted)


@pytest.mark.parametrize("form", FORMS)
def test_any_batch_runs_and_each_image_gets_what_it_gets_alone(form: Form) -> None:
    data = export(small_onnx(), Export(form))
    images = pictures(3)
    together = run(data, np.concatenate(images))
    assert tuple(together) == NAMES[form]
    for n, image in enumerate(images):
        for name, alone in run(data, image).items():
            np.testing.assert_allclose(together[name][n], alone[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_a_static_batch_is_that_batch_and_no_other(form: Form) -> None:
    data = export(small_onnx(), Export(form, batch=2))
    assert {shape[0] for shape in shapes(data).values()} == {2}
    images = pictures(3)
    found = run(data, np.concatenate(images[:2]))
    open_ended = run(export(small_onnx(), Export(form)), np.concatenate(images[:2]))
    for name, array in found.items():
        assert list(array.shape) == shapes(data)[name]
        assert np.array_equal(array, open_ended[name])
    with pytest.raises(Exception, match="Got: 3 Expected: 2"):
        run(data, np.concatenate(images))


@pytest.mark.parametrize("form", FORMS)
def test_without_a_batch_the_axis_stays_dynamic(form: Form) -> None:
    assert {shape[0] for shape in shapes(export(small_onnx(), Export(form))).values()} == {"N"}


def test_shapes_inside_that_speak_of_another_batch_are_left_out() -> None:
    model = artifact.load(small_onnx())
    inner = helper.make_tensor_value_info("stem", TensorProto.FLOAT, [1, 8, 50, 50])
    model.graph.value_info.append(inner)
    made = artifact.load(export(artifact.serialize(model), Export(batch=3)))
    assert not made.graph.value_info
    assert made.graph.output[0].type.tensor_type.shape.dim[0].dim_value == 3


def test_a_batch_that_the_artifact_has_fixed_stays_and_can_be_changed() -> None:
    fixed = export(small_onnx(), Export(batch=2))
    again = export(fixed, Export("end-to-end"))
    assert {shape[0] for shape in shapes(again).values()} == {2}
    assert described(again).batch == 2
    other = export(fixed, Export("end-to-end", batch=3))
    assert run(other, np.concatenate(pictures(3)))["boxes"].shape == (3, 200, 4)


def test_the_selection_is_that_asked_for() -> None:
    tensor = pictures(2)[1]
    data = export(small_onnx(), Export("end-to-end", selection=Selection(0.4, 0.3, 50, 20)))
    assert shapes(data)["boxes"] == ["N", 20, 4]
    found = run(data, tensor)
    count = int(found["num_detections"][0])
    assert count > 0
    assert (found["scores"][0, :count] > 0.4).all()


# ----------------------------------------------------------------------------------- opsets


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("opset", range(OPSETS[0], OPSETS[1] + 1))
def test_every_opset_on_offer_gives_the_same_heads_and_detections(
    precision: str, opset: int
) -> None:
    source = source_of(precision)
    tensor = pictures(2)[1]
    for form in FORMS:
        data = export(source, Export(form, opset=opset))
        model = artifact.load(data)
        assert [item.version for item in model.opset_import if not item.domain] == [opset]
        assert model.ir_version == helper.find_min_ir_version_for(model.opset_import[:1])
        for name, array in run(export(source, Export(form)), tensor).items():
            assert np.array_equal(run(data, tensor)[name], array), name


@pytest.mark.parametrize("opset", [0, 12, 22, -1])
def test_other_opsets_are_refused_with_the_range(opset: int) -> None:
    with pytest.raises(UsageError, match=rf"opset: {opset} is out of range; give 13 .* to 21"):
        Export(opset=opset)


def test_operators_that_may_change_are_named() -> None:
    """The fake network has a ReduceMean, whose axes became an input in opset 18."""
    with pytest.raises(UsageError, match=r"opset 17 cannot become 18, as ReduceMean"):
        export(fake_onnx(), Export(opset=18))
    export(fake_onnx(), Export(opset=17))


def test_an_attribute_that_an_opset_does_not_have_is_found() -> None:
    model = artifact.load(small_onnx())
    reshape = helper.make_node("Reshape", ["image", "keep"], ["kept"], allowzero=1)
    shape = helper.make_tensor("keep", TensorProto.INT64, [4], [-1, 3, INPUT_SIZE, INPUT_SIZE])
    model.graph.initializer.append(shape)
    model.graph.node.append(reshape)
    source = artifact.serialize(model)
    with pytest.raises(UsageError, match=r"not valid ONNX in opset 13 .*allowzero"):
        export(source, Export(opset=13))
    export(source, Export(opset=14))


def test_an_old_artifact_keeps_its_opset_and_is_raised_for_detections() -> None:
    model = artifact.load(small_onnx())
    model.opset_import[0].version = 11
    source = artifact.serialize(model)
    assert artifact.load(export(source, Export("split-heads"))).opset_import[0].version == 11
    with pytest.raises(UsageError, match=r"has 11, and end-to-end needs 13 to 21; give --opset 13"):
        export(source, Export("end-to-end"))
    found = run(export(source, Export("end-to-end", opset=13)), pictures(1)[0])
    for name, array in run(export(small_onnx(), Export("end-to-end")), pictures(1)[0]).items():
        assert np.array_equal(found[name], array)


# ----------------------------------------------------------------------------- uint8 input


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("form", ["raw-heads", "split-heads"])
def test_bytes_give_the_heads_of_the_float_graph_on_the_same_pixels(
    precision: str, form: Form
) -> None:
    source = source_of(precision)
    generator = np.random.default_rng(0)
    shape = (2, 3, INPUT_SIZE, INPUT_SIZE)
    pixels = generator.integers(0, 256, shape, np.uint8)
    mean, std = (np.array(v).reshape(1, 3, 1, 1) for v in (CONTRACT.mean, CONTRACT.std))
    tensor = ((pixels / 255 - mean) / std).astype(np.float32)
    wanted = run(export(source, Export(form)), tensor)
    data = export(source, Export(form, uint8_input=True))
    assert artifact.load(data).graph.input[0].type.tensor_type.elem_type == TensorProto.UINT8
    for name, head in run(data, pixels).items():
        difference = np.abs(head - wanted[name])
        if precision == "fp32":
            assert difference.max() < 1e-5
        else:  # a pixel a rounding from the middle of two steps may take the other one
            assert (difference > 1e-5).mean() < 0.01


def test_bytes_give_detections_and_floats_are_refused_then() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (1, 3, INPUT_SIZE, INPUT_SIZE), np.uint8)
    data = export(small_onnx(), Export("end-to-end", 1, 13, uint8_input=True))
    assert run(data, pixels)["num_detections"][0] > 0
    with pytest.raises(Exception, match="expected:"):
        run(data, pixels.astype(np.float32))


# --------------------------------------------------------------------------------- metadata


def test_contract_and_origin_travel_along() -> None:
    source = small_int8()
    wanted = Export("end-to-end", 4, 15, True, Selection(0.2, 0.6, 100, 50))
    data = export(source, wanted)
    assert artifact.contract_of(data) == CONTRACT
    assert described(data) == wanted
    facts = artifact.metadata(data)
    assert facts["precision"] == "int8"
    assert json.loads(facts[KEY])["artifact_sha256"] == hashlib.sha256(source).hexdigest()


def test_a_selection_is_told_only_where_there_is_one() -> None:
    facts = json.loads(artifact.metadata(export(small_onnx(), Export()))[KEY])
    assert sorted(facts) == ["artifact_sha256", "batch", "form", "opset", "uint8_input"]


@pytest.mark.parametrize("form", FORMS)
def test_the_same_arguments_give_the_same_bytes(form: Form) -> None:
    wanted = Export(form, 2, 13, True)
    assert export(small_onnx(), wanted) == export(small_onnx(), wanted)


def test_what_is_no_export_is_told() -> None:
    with pytest.raises(ArtifactError, match="not an export"):
        described(small_onnx())
    endless = artifact.load(small_onnx())
    artifact.embed(endless, CONTRACT, {KEY: "[" * 100_000})
    with pytest.raises(ArtifactError, match="not an export"):
        described(endless)


# --------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("wanted", [Export("end-to-end"), Export("split-heads")], ids=str)
def test_a_session_refuses_what_has_other_outputs(wanted: Export) -> None:
    with pytest.raises(ArtifactError, match=r"outputs are .*; the contract says cls_0"):
        session.create(export(small_onnx(), wanted))


def test_a_session_refuses_an_input_of_bytes() -> None:
    with pytest.raises(ArtifactError, match=r"input image .*the contract says float32"):
        session.create(export(small_onnx(), Export(uint8_input=True)))


@pytest.mark.parametrize(
    ("wanted", "what"),
    [
        (Export("end-to-end"), "end-to-end"),
        (Export("split-heads"), "split-heads"),
        (Export(uint8_input=True), "raw-heads with uint8 input"),
    ],
)
def test_an_export_of_another_form_is_no_source(wanted: Export, what: str) -> None:
    with pytest.raises(ArtifactError, match=rf"an export already \({what}\); export the"):
        export(export(small_onnx(), wanted), Export())


def test_a_source_that_is_no_artifact_is_refused() -> None:
    with pytest.raises(ArtifactError):
        export(b"not an onnx file", Export())
    model = artifact.load(small_onnx())
    del model.metadata_props[:]
    with pytest.raises(ArtifactError, match="contract"):
        export(artifact.serialize(model), Export())
    with pytest.raises(ArtifactError, match="cls_0"):
        export(fake_onnx(shapes="wrong"), Export())


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ({"form": "boxes"}, "form"),
        ({"batch": 0}, "batch"),
        ({"batch": 1025}, "batch"),
        ({"selection": Selection(top_k=10)}, "selection"),
        ({"form": "split-heads", "selection": Selection(0.3)}, "selection"),
    ],
)
def test_arguments_that_contradict_are_named(wrong: dict[str, Any], name: str) -> None:
    with pytest.raises(UsageError, match=name):
        Export(**wrong)

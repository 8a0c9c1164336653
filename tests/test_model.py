"""``SSDResNet34``: loads late, refuses early, and is what sessions take."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fake_engine import FakeEngine
from fake_network import fake_onnx
from small_network import small_onnx
from ssd_resnet34 import Detections, SSDResNet34, artifact, session, weights
from ssd_resnet34.compiler import quantization
from ssd_resnet34.contract import COCO, Category, Contract
from ssd_resnet34.errors import CalibrationError, UnknownWeights, UnsupportedPrecision, UsageError
from ssd_resnet34.runtime import precision
from ssd_resnet34.runtime.precision import Choice
from ssd_resnet34.weights import embedded
from ssd_resnet34.weights import ranges as range_files

INT8 = fake_onnx(precision="int8")
TWO = Contract((Category(7, "cat"), Category(9, "dog")))


@pytest.fixture
def picture() -> np.ndarray[Any, Any]:
    return np.full((60, 100, 3), 90, np.uint8)


# ---------------------------------------------------------------- late and early


def test_making_a_model_loads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: Any, **__: Any) -> bytes:
        raise AssertionError("nothing was asked for yet")

    monkeypatch.setattr(weights, "load", load)
    monkeypatch.setattr(artifact, "load", load)
    for given in ("embedded", "mlcommons", "no/such/file.onnx", Path("x.onnx"), b"junk"):
        model = SSDResNet34(given)
        assert model.name in repr(model)


def test_the_weights_are_loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def load(given: Any) -> bytes:
        calls.append(given)
        return fake_onnx()

    monkeypatch.setattr(weights, "load", load)
    model = SSDResNet34("fake.onnx", "fp32")
    assert model.source is model.enf
    assert model.contract == COCO
    assert calls == ["fake.onnx"]


def test_a_precision_that_does_not_exist_is_refused_at_once() -> None:
    with pytest.raises(UsageError, match=r"'fp8'.*auto, fp32, bf16, fp16, int8"):
        SSDResNet34(precision="fp8")


def test_weights_that_do_not_exist_are_told_when_they_are_needed() -> None:
    model = SSDResNet34("mlcomons", "fp32")
    with pytest.raises(UnknownWeights, match="mlcommons"):
        _ = model.enf


def test_the_name_is_the_records_the_files_or_the_hash_of_the_bytes(tmp_path: Path) -> None:
    assert SSDResNet34().name == "embedded"
    assert SSDResNet34("mlcommons").name == "mlcommons"
    assert SSDResNet34("some/folder/model.onnx").name == "model.onnx"
    assert SSDResNet34(tmp_path / "model.onnx").name == "model.onnx"
    digest = hashlib.sha256(fake_onnx()).hexdigest()
    assert SSDResNet34(fake_onnx()).name == f"sha256:{digest[:12]}"


def test_the_name_of_bytes_is_worked_out_once_not_for_every_image(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Hashing 80 MB takes as long as decoding four images."""
    model = SSDResNet34(fake_onnx())
    first = model.name
    monkeypatch.setattr(hashlib, "sha256", None)
    assert model.name == first


# ---------------------------------------------------------------- precisions


def test_int8_of_weights_without_ranges_is_refused_with_the_mend() -> None:
    model = SSDResNet34(fake_onnx(), "int8")
    with pytest.raises(UnsupportedPrecision, match=r"ranges.*ask for precision fp32") as caught:
        _ = model.enf
    assert f"`ssd-resnet34 compile --weights {model.name} --calibrate IMAGES`" in str(caught.value)
    assert "SSDResNet34(…, ranges=FILE)" in str(caught.value)
    assert model.source == fake_onnx()


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The small network as a file, and a cache of its own."""
    monkeypatch.setenv("SSD_RESNET34_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "small.onnx"
    file.write_bytes(small_onnx())
    return file


SMALL_RANGES = {
    name: (-3.0 - n, 1 / 3 + n) for n, name in enumerate(quantization.activations(small_onnx()))
}


def test_int8_of_a_file_and_its_ranges_is_what_quantize_makes_and_is_cached(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = quantization.quantize(small_onnx(), SMALL_RANGES)
    yaml = small.with_name("ranges.yaml")
    range_files.write(yaml, SMALL_RANGES)
    model = SSDResNet34(weights=small, precision="int8", ranges=yaml)
    assert model.enf == wanted
    assert artifact.precision_of(artifact.load(model.enf)) == "int8"
    assert model.source == small_onnx()
    assert model.contract == artifact.contract_of(small_onnx())

    def again(*_: Any) -> bytes:
        raise AssertionError("built again")

    monkeypatch.setattr(quantization, "quantize", again)
    for given in (yaml, str(yaml), SMALL_RANGES, dict(reversed(SMALL_RANGES.items()))):
        for weights_ in (str(small), small_onnx()):
            assert SSDResNet34(weights_, "int8", ranges=given).enf == wanted
    with pytest.raises(AssertionError, match="built again"):
        _ = SSDResNet34(small, "int8", ranges=SMALL_RANGES | {"image": (-1.0, 1.0)}).enf
    with pytest.raises(AssertionError, match="built again"):
        _ = SSDResNet34(small_onnx(seed=1), "int8", ranges=SMALL_RANGES).enf


def test_auto_is_int8_only_where_there_are_ranges(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "preferred", lambda: Choice("int8", "a test"))
    assert SSDResNet34(small).enf == small_onnx()
    assert SSDResNet34(small).ranges is None
    assert SSDResNet34(small, ranges=SMALL_RANGES).enf != small_onnx()
    assert SSDResNet34(small, "fp32", ranges=SMALL_RANGES).enf == small_onnx()


def test_ranges_of_another_graph_or_damaged_ones_are_a_calibration_error(small: Path) -> None:
    other = {f"other.{name}": pair for name, pair in SMALL_RANGES.items()}
    with pytest.raises(CalibrationError, match=r"no range for 9 of 9 .*another graph"):
        _ = SSDResNet34(small, "int8", ranges=other).enf
    with pytest.raises(CalibrationError, match=r"nowhere\.yaml"):
        _ = SSDResNet34(small, "int8", ranges="nowhere.yaml").enf
    for wrong in ({}, {"stem.relu": (1, 0)}, {"stem.relu": ("0", "1")}, [("stem.relu", (0, 1))]):
        with pytest.raises(CalibrationError, match=r"^ranges: (stem\.relu: |no activation ranges)"):
            _ = SSDResNet34(small, "int8", ranges=wrong).enf  # type: ignore[arg-type]
    damaged = small.with_name("ranges.yaml")
    damaged.write_text("image: [1, 0]\n")
    with pytest.raises(CalibrationError, match=r"ranges\.yaml: image"):
        _ = SSDResNet34(small, "int8", ranges=damaged).enf


def test_ranges_for_what_is_int8_already_are_refused_and_not_ignored() -> None:
    for asked in ("auto", "int8"):
        with pytest.raises(UsageError, match=r"ranges: .* is int8 already"):
            _ = SSDResNet34(INT8, asked, ranges=SMALL_RANGES).enf


def test_given_ranges_come_before_the_embedded_ones(
    fake_embedded: list[dict[str, Any]], tmp_path: Path
) -> None:
    own = {"image": (-1.0, 1.0)}
    assert SSDResNet34(precision="int8", ranges=own).enf == INT8
    assert fake_embedded == [own]


def test_an_int8_artifact_has_no_float_source() -> None:
    for asked in ("auto", "int8"):
        model = SSDResNet34(INT8, asked)
        assert model.enf == INT8
        with pytest.raises(UnsupportedPrecision, match=r"int8 already.*give the fp32 weights"):
            _ = model.source


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_float_of_an_int8_artifact_is_refused(precision: str) -> None:
    with pytest.raises(UnsupportedPrecision, match="int8 artifact"):
        _ = SSDResNet34(INT8, precision).enf


@pytest.mark.parametrize("precision", ["auto", "fp32", "bf16"])
def test_float_precisions_share_the_fp32_artifact(precision: str, tmp_path: Path) -> None:
    path = tmp_path / "fake.onnx"
    path.write_bytes(fake_onnx())
    for given in (path, str(path), fake_onnx()):
        model = SSDResNet34(given, precision)
        assert model.enf == model.source == fake_onnx()
        assert artifact.precision_of(artifact.load(model.enf)) == "fp32"


@pytest.fixture
def fake_embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Embedded weights that are the fake network; the list has the ranges of each building."""
    built: list[dict[str, Any]] = []
    file = tmp_path / "embedded.safetensors"
    file.write_bytes(b"stands for 40 MB")

    def quantize(source: bytes, ranges: dict[str, Any]) -> bytes:
        assert source == fake_onnx()
        built.append(ranges)
        return INT8

    monkeypatch.setenv("SSD_RESNET34_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(weights, "load", lambda _: fake_onnx())
    monkeypatch.setattr(embedded, "path", lambda: file)
    monkeypatch.setattr(embedded, "ranges", lambda: {"image": (-2.0, 2.0)})
    monkeypatch.setattr(quantization, "quantize", quantize)
    return built


def test_the_embedded_int8_artifact_is_built_once_and_kept(
    fake_embedded: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert SSDResNet34(precision="int8").enf == INT8
    assert SSDResNet34(precision="int8").enf == INT8
    assert len(fake_embedded) == 1
    monkeypatch.setattr(embedded, "ranges", lambda: {"image": (-3.0, 3.0)})
    assert SSDResNet34(precision="int8").enf == INT8
    assert len(fake_embedded) == 2  # other ranges, another artifact


def test_auto_follows_the_processor(
    fake_embedded: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "preferred", lambda: Choice("int8", "a test"))
    assert SSDResNet34().enf == INT8
    monkeypatch.setattr(precision, "preferred", lambda: Choice("bf16", "a test"))
    assert SSDResNet34().enf == fake_onnx()
    assert SSDResNet34().source == fake_onnx()


def test_the_embedded_contract_needs_no_artifact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "load", None)
    monkeypatch.setattr(embedded, "contract", lambda: TWO)
    assert SSDResNet34().contract == TWO


# ---------------------------------------------------------------- the opened-up API


def test_the_documented_parts_give_what_the_documentation_says(
    picture: np.ndarray[Any, Any],
) -> None:
    model = SSDResNet34(weights=fake_onnx(), precision="auto")
    with session.create(model.enf, engine=FakeEngine()) as sess:
        inputs = model.preprocess(picture, colour="rgb")
        tensor, contexts = inputs
        assert tensor is inputs.tensor
        assert contexts is inputs.contexts
        assert inputs.tensor.shape == (1, 3, 1200, 1200)
        assert (inputs.contexts[0].width, inputs.contexts[0].height) == (100, 60)
        outputs = sess.run(inputs).numpy()
        assert [head.shape[1:] for head in outputs] == list(COCO.head_shapes().values())
        (detections,) = model.postprocess(outputs)
    assert isinstance(detections, Detections)
    assert sorted(detections.labels) == ["car", "dog", "person"]
    assert (detections.width, detections.height) == (100, 60)
    assert detections.model == model.name


def test_contexts_are_explicit_else_carried_else_the_network_input(
    picture: np.ndarray[Any, Any],
) -> None:
    model = SSDResNet34(fake_onnx())
    with session.create(model, engine=FakeEngine()) as sess:
        outputs = sess.run(model.preprocess([picture, picture], colour="bgr"))
    carried = model.postprocess(outputs)
    assert [(d.width, d.height) for d in carried] == [(100, 60)] * 2
    explicit = model.postprocess(outputs, [(200, 120)] * 2)
    bare = model.postprocess(list(outputs))
    assert [(d.width, d.height) for d in bare] == [(1200, 1200)] * 2
    scale = np.array([100, 60, 100, 60], np.float32)
    np.testing.assert_allclose(explicit[0].boxes, carried[0].boxes * 2, rtol=1e-6)
    np.testing.assert_allclose(carried[0].boxes / scale, bare[0].boxes / 1200, rtol=1e-5)


def test_a_model_is_taken_by_sessions_as_its_artifact_is() -> None:
    engine = FakeEngine()
    with session.create(SSDResNet34(INT8), engine=engine) as sess:
        assert sess.precision == "int8"
    with session.create(SSDResNet34(fake_onnx(), "fp32"), engine=engine) as sess:
        assert sess.precision == "fp32"
    assert [request.sha256 for request in engine.requests] == [
        hashlib.sha256(data).hexdigest() for data in (INT8, fake_onnx())
    ]


def test_boxes_are_not_clipped_unless_asked(picture: np.ndarray[Any, Any]) -> None:
    model = SSDResNet34(fake_onnx())
    with session.create(model, engine=FakeEngine(((0, 5),))) as sess:
        outputs = sess.run(model.preprocess(picture, colour="rgb"))
    assert (model.postprocess(outputs)[0].boxes < 0).any()
    assert (model.postprocess(outputs, clip=True)[0].boxes >= 0).all()


def test_a_model_of_other_classes_names_its_own(picture: np.ndarray[Any, Any]) -> None:
    planted = ((9000, 2),)
    model = SSDResNet34(fake_onnx(TWO, planted))
    assert model.contract == TWO
    with session.create(model, engine=FakeEngine(planted)) as sess:
        (detections,) = model.postprocess(sess.run(model.preprocess(picture, colour="rgb")))
    assert detections.labels == ("dog",)
    assert detections.category_ids.tolist() == [9]

"""The model object: how it is made in each release, its artifacts and its metadata."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import yaml

import ssd_resnet34 as core
from fake_engine import FakeEngine
from fake_network import fake_onnx
from furiosa import _settings
from furiosa.models.errors import ArtifactNotFound, FuriosaModelException
from furiosa.models.types import Format, Model, ModelTaskType, ObjectDetectionModel, Platform
from furiosa.models.vision import SSDResNet34, nonblocking, ssd_resnet34
from ssd_resnet34.errors import UnknownWeights

NATIVE = ssd_resnet34.SSDResNet34NativePostProcessor
PYTHON = ssd_resnet34.SSDResNet34PythonPostProcessor


def test_embedded_weights_that_nobody_chose_are_told_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    SSDResNet34(weights="embedded")
    monkeypatch.setenv(_settings.WEIGHTS, "embedded")
    SSDResNet34()
    assert not caplog.records
    monkeypatch.delenv(_settings.WEIGHTS)
    SSDResNet34()
    SSDResNet34(use_native_post=False)
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("furiosa", "WARNING")
    assert "not for photographs" in record.getMessage()
    assert f"{_settings.WEIGHTS}=mlcommons" in record.getMessage()


FORMS: dict[str, tuple[Any, Platform, str]] = {
    "page": (lambda: SSDResNet34(use_native_post=False), Platform.PYTHON, "0.8"),
    "page, by position": (lambda: SSDResNet34(True), Platform.RUST, "0.8"),
    "page, native": (lambda: SSDResNet34(use_native_post=True), Platform.RUST, "0.8"),
    "page, nonblocking": (
        lambda: asyncio.run(nonblocking.SSDResNet34(use_native_post=False)),
        Platform.PYTHON,
        "0.8",
    ),
    "0.8.0, rust": (lambda: SSDResNet34.load(True, version="rust"), Platform.RUST, "0.8"),
    "0.9": (lambda: SSDResNet34.load(), Platform.PYTHON, "0.9"),
    "0.9, native": (lambda: SSDResNet34.load(use_native=True), Platform.RUST, "0.9"),
    "0.9, async": (
        lambda: asyncio.run(SSDResNet34.load_async(use_native=False)),
        Platform.PYTHON,
        "0.9",
    ),
    "0.10": (lambda: SSDResNet34(), Platform.RUST, "0.10"),
    "0.10, any case": (
        lambda: SSDResNet34(postprocessor_type="pYTHON"),
        Platform.PYTHON,
        "0.10",
    ),
    "0.10, enum": (
        lambda: SSDResNet34(postprocessor_type=Platform.RUST),
        Platform.RUST,
        "0.10",
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_form_decides_decoder_and_dtype(form: str, engine: FakeEngine, cat: Path) -> None:
    make, decoder, line = FORMS[form]
    model = make()
    assert model.postprocessor_type is decoder
    assert type(model.postprocessor) is (PYTHON if decoder is Platform.PYTHON else NATIVE)
    tensor, _ = model.preprocess(str(cat))
    assert tensor.dtype == ("float32" if line == "0.8" else "uint8")
    assert (model.source == model.enf) is (line == "0.8")
    assert model.format == ("ONNX" if line == "0.10" else "onnx")


@pytest.mark.parametrize(
    ("release", "decoder", "dtype"),
    [
        ("0.8", Platform.PYTHON, "float32"),  # the page
        ("0.8.2", Platform.PYTHON, "float32"),
        ("0.9", Platform.RUST, "uint8"),
        ("0.10.1", Platform.RUST, "uint8"),
    ],
)
def test_the_release_decides_where_the_form_does_not(
    release: str,
    decoder: Platform,
    dtype: str,
    engine: FakeEngine,
    cat: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSD_RESNET34_FURIOSA_RELEASE", release)
    model = SSDResNet34()
    assert model.postprocessor_type is decoder
    assert model.preprocess(str(cat)).tensor.dtype == dtype
    loaded = SSDResNet34.load()
    assert loaded.postprocessor_type is Platform.PYTHON
    assert loaded.preprocess(str(cat)).tensor.dtype == dtype
    assert (loaded.source == loaded.enf) is release.startswith("0.8")
    # What the form says, the release does not change.
    assert SSDResNet34(postprocessor_type="Rust").preprocess(str(cat)).tensor.dtype == "uint8"


def test_an_unknown_release_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSD_RESNET34_FURIOSA_RELEASE", "0.11")
    said = r"'0\.11' is no release line; use 0\.8, 0\.9, 0\.10"
    with pytest.raises(ValueError, match=said):
        SSDResNet34()
    with pytest.raises(ValueError, match=said):
        SSDResNet34.load()
    with pytest.raises(ValueError, match=said):
        SSDResNet34(use_native_post=False)  # although the form decides


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: SSDResNet34(postprocessor_type="fortran"), ValueError, "'Python' or 'Rust'"),
        (lambda: SSDResNet34(postprocessor_type="cpp"), ValueError, "'Python' or 'Rust'"),
        (lambda: SSDResNet34(postprocessor_type=None), AttributeError, "'Python' or 'Rust'"),
        (lambda: SSDResNet34("Rust"), TypeError, "postprocessor_type="),
        (lambda: SSDResNet34(False, postprocessor_type="Rust"), TypeError, "one option"),
        (lambda: SSDResNet34(colour="red"), TypeError, "colour"),
        (lambda: SSDResNet34.load("yes"), TypeError, "use_native"),
        (lambda: SSDResNet34.load(True, version="java"), ValueError, "'cpp' or 'rust'"),
        (lambda: SSDResNet34.load(version="cpp"), ValueError, "use_native=True"),
        (lambda: SSDResNet34.load(colour="red"), TypeError, "colour"),
        (lambda: NATIVE(b"dfg"), ValueError, "chip"),
        (lambda: NATIVE(version="java"), ValueError, "'cpp' or 'rust'"),
    ],
)
def test_what_cannot_be_constructed_says_why(make: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=text):
        make()


def test_the_artifacts_are_those_of_the_core(engine: FakeEngine) -> None:
    model = SSDResNet34()
    assert model.model_source() == model.model_source(1) == model.model_source(num_pe=2)
    assert model.enf == model.model_source() == fake_onnx(precision="int8")
    assert model.origin == model.source == fake_onnx()
    model.resolve_all()
    for wrong in (0, 3, True, "2"):
        with pytest.raises(ValueError, match="neither 1 nor 2"):
            model.model_source(wrong)
    with pytest.raises(ArtifactNotFound, match="use enf"):
        _ = model.dfg


def test_ranges_have_both_forms() -> None:
    model = SSDResNet34(ranges={"a": (0.0, 1.5), "b": (-2.0, 2.0)})
    assert model.tensor_name_to_range == {"a": [0.0, 1.5], "b": [-2.0, 2.0]}
    assert yaml.safe_load(model.calib_yaml) == model.tensor_name_to_range
    assert len(SSDResNet34().tensor_name_to_range) > 20
    without = SSDResNet34(weights="mlcommons")
    with pytest.raises(FuriosaModelException, match="compile --weights mlcommons --calibrate"):
        _ = without.calib_yaml


def test_enf_is_int8_where_the_weights_come_with_ranges() -> None:
    assert SSDResNet34().native.precision == "int8"
    assert SSDResNet34(weights="mlcommons").native.precision == "auto"
    assert SSDResNet34(weights="mlcommons", ranges={"a": (0, 1)}).native.precision == "int8"
    assert SSDResNet34(precision="fp32").native.precision == "fp32"


def test_weights_can_be_named_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    assert SSDResNet34().native.name == "embedded"
    monkeypatch.setenv("SSD_RESNET34_FURIOSA_WEIGHTS", "mlcommons")
    assert SSDResNet34().native.name == SSDResNet34.load().native.name == "mlcommons"
    assert SSDResNet34(weights="embedded").native.name == "embedded"
    assert "mlcommons" in repr(SSDResNet34())


@pytest.mark.parametrize("make", [SSDResNet34, SSDResNet34.load])
def test_weights_of_an_unknown_name_are_refused_at_once(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UnknownWeights, match=r"weights: no weights .*did you mean 'mlcommons'"):
        make(weights="mlcomons")
    monkeypatch.setenv("SSD_RESNET34_FURIOSA_WEIGHTS", "nosuch")
    with pytest.raises(ValueError, match=r"SSD_RESNET34_FURIOSA_WEIGHTS: no weights .*'nosuch'"):
        make()
    assert make(weights="mlcommons").native.name == "mlcommons"  # and nothing is fetched


def test_metadata_is_the_vendors(monkeypatch: pytest.MonkeyPatch) -> None:
    page, model = SSDResNet34(use_native_post=False), SSDResNet34()
    assert isinstance(model, ObjectDetectionModel)
    assert issubclass(ObjectDetectionModel, Model)
    assert (page.name, model.name) == ("MLCommonsSSDResNet34", "SSDResNet34")
    assert (model.family, model.version, model.tags) == ("ResNet", "v1.1", None)
    assert (model.inputs, model.outputs, model.compiler_config) == ([], [], None)
    assert model.metadata is not None
    assert page.metadata is not None
    assert model.metadata.description == "SSD ResNet34 model for MLCommons v1.1"
    assert page.metadata.description == "ResNet34 model for MLCommons v1.1"
    assert model.metadata.publication is not None
    assert str(model.metadata.publication.url).endswith("/vision/classification_and_detection")
    assert model.task_type is ModelTaskType.OBJECT_DETECTION
    assert set(model.postprocessor_map) == {Platform.PYTHON, Platform.RUST}
    assert set(page.postprocessor_map) == {Platform.PYTHON, Platform.RUST, Platform.CPP}
    assert isinstance(model.native, core.SSDResNet34)


def test_enumerations_have_the_forms_of_both_lines() -> None:
    assert [int(one) for one in Platform] == [0, 1, 2, 3]
    assert [Platform(n).name for n in range(4)] == ["PYTHON", "C", "CPP", "RUST"]
    assert Platform("rust") is Platform("RUST") is Platform(3)
    assert not Platform.PYTHON.is_native_platform()
    assert Platform.RUST.is_native_platform()
    assert ModelTaskType(0) is ModelTaskType("object_detection")
    assert Format("onnx") is Format.ONNX
    for wrong in (4, -1, True, None, 1.5):
        with pytest.raises(ValueError, match="not a valid Platform"):
            Platform(wrong)


def test_nothing_is_loaded_before_it_is_asked_for(tmp_path: Path) -> None:
    model = SSDResNet34(weights=tmp_path / "missing.onnx")
    assert model.postprocessor_type is Platform.RUST
    with pytest.raises(core.SSDResNet34Error, match="missing"):
        _ = model.enf

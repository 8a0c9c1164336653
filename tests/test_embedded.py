"""The weights inside the package: whole, small, int8 without calibration, and at work."""

import hashlib
from pathlib import Path

import pytest
from benchmarks.sample import SAMPLES, truth

import ssd_resnet34
from ssd_resnet34 import SSDResNet34, artifact, weights
from ssd_resnet34.compiler import quantization
from ssd_resnet34.contract import COCO
from ssd_resnet34.evaluation.agreement import match
from ssd_resnet34.weights import embedded

OBJECTS = 12
"""In the sample picture. All are found and nothing else is reported, in each precision; the lowest
score is 0.03 over the threshold, so that another CPU's int8 may lose one."""

TOOLS = "onnxruntime 1.31.1, onnx 1.23.2, numpy 2.4.6"
INT8 = "e97c40c92f3326a39a1cdf659e251b2a3071981a1e23ef277b18cc08f5e632a5"
"""SHA-256 of the int8 artifact that these make of the embedded weights."""


@pytest.fixture(scope="module")
def source() -> bytes:
    return weights.load("embedded")


def test_the_file_is_as_small_as_promised_and_says_what_its_classes_are() -> None:
    assert embedded.path().stat().st_size <= 41_000_000
    assert embedded.contract() == COCO


def test_every_activation_of_the_canonical_graph_has_a_range(source: bytes) -> None:
    assert set(embedded.ranges()) == set(quantization.activations(source))


def test_int8_is_built_once_and_then_comes_from_the_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSD_RESNET34_CACHE", str(tmp_path))
    first = SSDResNet34(precision="int8").enf
    assert artifact.precision_of(artifact.load(first)) == "int8"
    assert artifact.contract_of(first) == COCO

    def again(*_: object) -> bytes:
        raise AssertionError("built again")

    monkeypatch.setattr(quantization, "quantize", again)
    assert SSDResNet34(precision="int8").enf == first


def test_int8_has_the_same_bytes_on_every_machine(source: bytes) -> None:
    if quantization.tools() != TOOLS:
        pytest.skip(f"its bytes are known for {TOOLS}, here is {quantization.tools()}")
    made = quantization.quantize(source, embedded.ranges())
    assert hashlib.sha256(made).hexdigest() == INT8


def test_the_sample_is_seen_without_any_download(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSD_RESNET34_OFFLINE", "1")
    with ssd_resnet34.load() as detector:
        found = detector(SAMPLES / "scene.png")
    assert len(match(truth(), found)) >= OBJECTS - 1
    assert len(found) <= OBJECTS

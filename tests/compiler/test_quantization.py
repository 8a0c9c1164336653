"""int8 artifacts: what is in them, and that blocks of zeros survive."""

import hashlib
import logging

import numpy as np
import pytest
from onnx import TensorProto

from quantized import check_types, relative_error
from small_network import CONTRACT, ZERO_BLOCK, pictures, run, small_onnx
from ssd_resnet34 import artifact
from ssd_resnet34.compiler import quantization
from ssd_resnet34.compiler.calibration import min_max
from ssd_resnet34.compiler.quantization import METHOD, activations, quantize
from ssd_resnet34.errors import ArtifactError, UsageError

ENGINES = ("onnxruntime", "openvino")
Ranges = dict[str, tuple[float, float]]


@pytest.fixture(scope="module")
def source() -> bytes:
    return small_onnx()


@pytest.fixture(scope="module")
def ranges(source: bytes) -> Ranges:
    return min_max(source, pictures(2))


@pytest.fixture(scope="module")
def made(source: bytes, ranges: Ranges) -> bytes:
    return quantize(source, ranges)


def test_the_same_source_and_ranges_give_the_same_bytes(
    source: bytes, ranges: Ranges, made: bytes
) -> None:
    backwards = dict(reversed(ranges.items()))
    assert quantize(source, backwards) == made


def test_other_ranges_give_another_artifact(source: bytes, ranges: Ranges, made: bytes) -> None:
    wider = {name: (low, high * 2) for name, (low, high) in ranges.items()}
    assert quantize(source, wider) != made


def test_contract_and_metadata_travel_along(source: bytes, ranges: Ranges, made: bytes) -> None:
    assert artifact.contract_of(made) == CONTRACT
    facts = artifact.metadata(made)
    assert facts["producer"] == "small network"
    assert facts["precision"] == "int8"
    assert facts["method"] == METHOD
    assert facts["source_sha256"] == hashlib.sha256(source).hexdigest()
    assert facts["ranges_sha256"] == quantization.digest(ranges)
    assert artifact.precision_of(artifact.load(made)) == "int8"


def test_input_and_outputs_stay_float_with_any_batch(made: bytes) -> None:
    model = artifact.load(made)
    artifact.check_heads(model, CONTRACT)
    for value in (*model.graph.input, *model.graph.output):
        assert value.type.tensor_type.elem_type == TensorProto.FLOAT
        assert value.type.tensor_type.shape.dim[0].dim_param == "N"


def test_weights_are_int8_a_channel_and_activations_uint8(made: bytes) -> None:
    check_types(made)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_heads_stay_close_to_those_of_fp32(source: bytes, made: bytes, engine: str) -> None:
    image = pictures(2)[1]  # the one that fills the ranges
    error = relative_error(run(engine, made, image), run(engine, source, image))
    assert error < 0.05


def test_missing_ranges_are_named(source: bytes, ranges: Ranges) -> None:
    some = {name: pair for name, pair in ranges.items() if name not in ("stem.relu", "cls_3")}
    with pytest.raises(UsageError, match=r"no range for 2 tensors \(stem\.relu, cls_3.*calibrate"):
        quantize(source, some)


def test_an_int8_source_is_refused(made: bytes, ranges: Ranges) -> None:
    with pytest.raises(UsageError, match="int8 already"):
        quantize(made, ranges)


def test_a_source_that_is_no_artifact_is_refused(source: bytes, ranges: Ranges) -> None:
    with pytest.raises(ArtifactError):
        quantize(b"not an onnx file", ranges)
    model = artifact.load(source)
    del model.metadata_props[:]
    with pytest.raises(ArtifactError, match="contract"):
        quantize(artifact.serialize(model), ranges)


def test_the_programs_own_logging_is_left_as_it_was(source: bytes, ranges: Ranges) -> None:
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.INFO)
    try:
        quantize(source, ranges)
        assert root.level == logging.INFO
    finally:
        root.setLevel(before)


# ---------------------------------------------------------------- blocks that are identities


@pytest.fixture(scope="module")
def with_identity() -> tuple[bytes, Ranges]:
    source = small_onnx(identity=True)
    return source, min_max(source, pictures(1))


def test_a_block_of_zeros_has_empty_ranges(with_identity: tuple[bytes, Ranges]) -> None:
    assert [with_identity[1][name] for name in ZERO_BLOCK] == [(0, 0), (0, 0)]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_block_of_zeros_quantizes_to_finite_heads(
    with_identity: tuple[bytes, Ranges], engine: str
) -> None:
    source, ranges = with_identity
    data = quantize(source, ranges)
    check_types(data)
    image = pictures(1)[0]
    found = run(engine, data, image)
    assert all(np.isfinite(head).all() for head in found)
    error = relative_error(found, run(engine, source, image))
    assert error < 0.05


def test_activations_are_the_input_and_every_nodes_output(source: bytes) -> None:
    names = activations(source)
    assert names[0] == "image"
    assert len(names) == len(set(names)) == 1 + len(artifact.load(source).graph.node)

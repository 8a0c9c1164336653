"""int8 artifacts: what is in them, and that blocks of zeros survive."""

import errno
import hashlib
import logging
import os
import tempfile
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from quantized import Graph, check_types, numpy_ranges, relative_error
from small_network import CONTRACT, ZERO_BLOCK, pictures, run, small_onnx
from ssd_resnet34 import artifact
from ssd_resnet34.compiler import quantization
from ssd_resnet34.compiler.quantization import (
    METHOD,
    activations,
    layers,
    named_layers,
    only_layer,
    quantize,
)
from ssd_resnet34.errors import ArtifactError, CalibrationError, OutputError, UsageError
from ssd_resnet34.runtime import cpu

ENGINES = ("onnxruntime", "openvino")


def near() -> float:
    """Largest relative error of int8 heads. CPUs without 8-bit dot products add two products in 16
    bits, and saturate where random weights are large side by side."""
    return 0.05 if cpu.has_int8(cpu.features()) else 0.25


Ranges = dict[str, tuple[float, float]]


@pytest.fixture(scope="module")
def source() -> bytes:
    return small_onnx()


@pytest.fixture(scope="module")
def ranges(source: bytes) -> Ranges:
    return numpy_ranges(source, pictures(2))


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
    assert error < near()


def test_missing_ranges_are_named(source: bytes, ranges: Ranges) -> None:
    some = {name: pair for name, pair in ranges.items() if name not in ("stem.relu", "pool.3")}
    wanted = r"no range for 2 of 9 tensors \(stem\.relu, pool\.3.*calibrate"
    with pytest.raises(CalibrationError, match=wanted):
        quantize(source, some)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "no activation ranges"),
        ([("stem.relu", (0, 1))], "not a mapping"),
        ({"stem.relu": (1, 0)}, r"ranges: stem\.relu: \(1, 0\) is no range"),
        ({"stem.relu": (0, np.float32("nan"))}, "is no range"),
        ({"stem.relu": (-np.inf, 0)}, "is no range"),
        ({"stem.relu": ("0", "1")}, "write two numbers"),
        ({"stem.relu": (False, True)}, "write two numbers"),
        ({"stem.relu": 1.0}, "write two numbers"),
        ({"not used": (1, 0)}, r"not used: \(1, 0\) is no range"),
    ],
)
def test_ranges_that_are_none_are_refused_before_any_work(
    source: bytes, ranges: Ranges, given: Any, said: str
) -> None:
    if isinstance(given, dict) and given:
        given = ranges | given
    with pytest.raises(CalibrationError, match=said):
        quantize(source, given)
    with pytest.raises(CalibrationError, match=said):
        only_layer(source, given, "last")


def test_numpys_numbers_are_ranges_too(source: bytes, ranges: Ranges, made: bytes) -> None:
    as_numpy: Any = {
        name: (np.float32(low), np.float64(high)) for name, (low, high) in ranges.items()
    }
    assert quantize(source, as_numpy) == made


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


def test_a_full_disk_for_temporary_files_is_told(
    source: bytes, ranges: Ranges, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(onnx, "save_model", full)  # the quantizer's own writing
    monkeypatch.setattr(onnx, "save", full)
    with pytest.raises(OutputError, match=r"cannot be written \(No space left.*free space"):
        quantize(source, ranges)


def test_a_system_without_a_place_for_temporary_files_is_told(
    source: bytes, ranges: Ranges, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_usable() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(tempfile, "gettempdir", none_usable)
    with pytest.raises(OutputError, match=r"TMPDIR.*cannot be written \(No usable.*another place"):
        quantize(source, ranges)


def test_the_programs_own_logging_is_left_as_it_was(
    source: bytes,
    ranges: Ranges,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])  # a program that has not set its logging up
    quantize(source, ranges)
    assert (root.handlers, root.filters) == ([], [])
    root.addHandler(caplog.handler)
    monkeypatch.setattr(root, "level", logging.INFO)
    quantize(source, ranges)
    assert (root.level, root.handlers, root.filters) == (logging.INFO, [caplog.handler], [])
    assert caplog.records == []
    assert capfd.readouterr().err == ""


def test_two_threads_leave_the_logging_as_it_was() -> None:
    root = logging.getLogger()
    before = list(root.handlers)
    first, second = quantization._quiet(), quantization._quiet()
    first.__enter__()
    second.__enter__()  # as another thread does
    assert root.filter(logging.makeLogRecord({"pathname": "app.py"}))
    first.__exit__(None, None, None)
    assert not root.filter(logging.makeLogRecord({"pathname": "onnxruntime/quantization/a.py"}))
    second.__exit__(None, None, None)
    assert (root.handlers, root.filters) == (before, [])


# ---------------------------------------------------------------- blocks that are identities


@pytest.fixture(scope="module")
def with_identity() -> tuple[bytes, Ranges]:
    source = small_onnx(identity=True)
    return source, numpy_ranges(source, pictures(1))


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
    assert error < near()


# ---------------------------------------------------------------- what needs a range


def test_activations_are_what_layers_read(source: bytes) -> None:
    assert activations(source) == [
        "stem.relu",
        "block.conv1.relu",
        "block.conv2",
        "block.add.relu",
        *(f"pool.{n}" for n in range(4)),
        "last.relu",
    ]


def test_a_tensor_that_a_relu_and_a_layer_read_needs_a_range(source: bytes) -> None:
    model = artifact.load(source)
    for node in model.graph.node:
        if node.name == "cls_0":
            node.input[0] = "block.add"  # past its ReLU
    assert "block.add" in activations(artifact.serialize(model))


def test_a_range_for_what_no_layer_reads_changes_no_byte(
    source: bytes, ranges: Ranges, made: bytes
) -> None:
    more = {"stem": (-9.0, 9.0), "image": (0.0, 1.0), "cls_0": (0.0, 1.0), "other": (0.0, 1.0)}
    assert quantize(source, more | ranges) == made
    assert quantize(source, ranges | more) == made


# ---------------------------------------------------------------- what is rounded


def scales(data: bytes) -> dict[str, tuple[float, int]]:
    """Rounded tensor -> scale and zero point."""
    graph = Graph(artifact.load(data))
    return {
        node.input[0]: (graph.stored[node.input[1]].item(), graph.stored[node.input[2]].item())
        for node in graph.model.graph.node
        if node.op_type == "QuantizeLinear"
    }


def test_what_is_rounded_is_what_layers_read(source: bytes, made: bytes) -> None:
    assert set(scales(made)) == {"image", *activations(source)}


def test_pooling_keeps_the_levels_of_what_it_moves(ranges: Ranges, made: bytes) -> None:
    found = scales(made)
    assert ranges["pool.3"][1] < ranges["block.add.relu"][1]
    assert {found[f"pool.{n}"] for n in range(4)} == {found["block.add.relu"]}


def test_the_image_has_half_of_the_levels_so_that_pairs_of_products_fit_16_bits(
    source: bytes, ranges: Ranges, made: bytes
) -> None:
    scale, zero = scales(made)["image"]
    mean, std = np.array(CONTRACT.mean), np.array(CONTRACT.std)
    pixels = (np.array([[0.0], [1.0]]) - mean) / std
    levels = np.rint(pixels / scale) + zero
    assert levels.min() == 0
    assert 126 <= levels.max() <= 128
    assert 2 * 128 * 127 < 2**15
    assert quantize(source, ranges | {"image": (-1.0, 1.0)}) == made  # it is known, not measured


@pytest.mark.parametrize("engine", ENGINES)
def test_a_white_image_does_not_saturate_the_first_layer(source: bytes, engine: str) -> None:
    """Its sums of products are the largest where all weights are."""
    model = artifact.load(source)
    for tensor in model.graph.initializer:
        if tensor.name == "stem.weight":
            ones = np.ones_like(numpy_helper.to_array(tensor))
            tensor.CopyFrom(numpy_helper.from_array(ones, tensor.name))
    network = artifact.serialize(model)
    mean, std = (np.reshape(value, (3, 1, 1)) for value in (CONTRACT.mean, CONTRACT.std))
    white = np.broadcast_to((1 - mean) / std, (1, 3, 1200, 1200)).astype(np.float32)
    ranges = numpy_ranges(network, [white])
    data = quantize(network, ranges, keep_float=set(layers(network)) - {"stem", "block.add"})
    found, wanted = run(engine, data, white), run(engine, network, white)
    for one, other in zip(found, wanted, strict=True):
        assert np.abs(one - other).max() < 0.02 * np.abs(other).max()


@pytest.mark.parametrize("engine", ENGINES)
def test_heads_are_not_rounded_to_levels(made: bytes, engine: str) -> None:
    for head in run(engine, made, pictures(2)[1])[:2]:
        assert len(np.unique(head)) > 256


def test_a_graph_without_names_of_nodes_gets_those_of_its_tensors(
    source: bytes, ranges: Ranges, made: bytes
) -> None:
    model = artifact.load(source)
    for node in model.graph.node:
        node.ClearField("name")  # as old exporters leave it; here node and output are named alike
    nameless = artifact.serialize(model)
    assert layers(nameless) == layers(source)
    data = quantize(nameless, ranges, keep_float=["block"])
    assert (
        artifact.load(data).graph
        == artifact.load(quantize(source, ranges, keep_float=["block"])).graph
    )


# ---------------------------------------------------------------- layers that stay float


def float_convolutions(data: bytes) -> set[str]:
    """Convolutions whose kernel and bias are stored as float32 and are theirs directly."""
    graph = Graph(artifact.load(data))
    return {
        node.name
        for node in graph.convolutions()
        if all(getattr(graph.stored.get(x), "dtype", None) == np.float32 for x in node.input[1:])
    }


@pytest.mark.parametrize(
    "kept", [[], ["stem"], ["cls_0", "loc_5"], ["block.conv1", "block.conv2", "last"]]
)
def test_kept_layers_have_their_float_weights_and_the_others_have_not(
    source: bytes, ranges: Ranges, made: bytes, kept: list[str]
) -> None:
    data = quantize(source, ranges, keep_float=kept)
    assert float_convolutions(data) == set(kept)
    before, after = Graph(artifact.load(source)).stored, Graph(artifact.load(data)).stored
    for layer in kept:
        for leaf in ("weight", "bias"):
            np.testing.assert_array_equal(after[f"{layer}.{leaf}"], before[f"{layer}.{leaf}"])
    assert artifact.metadata(data)["keep_float"] == " ".join(sorted(kept))
    assert artifact.precision_of(artifact.load(data)) == "int8"
    assert (data == made) == (not kept)


def test_the_beginning_of_names_keeps_a_block_with_its_sum(source: bytes, ranges: Ranges) -> None:
    data = quantize(source, ranges, keep_float=["block"])
    assert data == quantize(source, ranges, keep_float=["block.add", "block.conv1", "block.conv2"])
    graph = Graph(artifact.load(data))
    (total,) = [node for node in graph.model.graph.node if node.op_type == "Add"]
    assert [graph.makers[name].op_type for name in total.input] == ["Conv", "Relu"]
    assert graph.makers["stem.relu"].input[0] == "stem"  # nobody else reads it: not rounded
    assert named_layers(source, ["block", "block.add", "cls_1"]) == [
        "block.add",
        "block.conv1",
        "block.conv2",
        "cls_1",
    ]


@pytest.mark.parametrize("engine", ENGINES)
def test_what_stands_on_kept_layers_alone_is_that_of_fp32(
    source: bytes, ranges: Ranges, engine: str
) -> None:
    image = pictures(2)[1]
    kept = [one for one in layers(source) if one not in ("cls_5", "loc_5")]  # which share an input
    data = quantize(source, ranges, keep_float=kept)
    wanted, found = run(engine, source, image), run(engine, data, image)
    for n in range(12):
        if n in (5, 11):
            assert relative_error(found[n : n + 1], wanted[n : n + 1]) > 1e-3
        else:
            np.testing.assert_allclose(found[n], wanted[n], rtol=1e-4, atol=1e-5)


def test_pooling_rounds_nothing_where_no_rounded_layer_reads_it(
    source: bytes, ranges: Ranges
) -> None:
    names = set(layers(source))
    data = quantize(source, ranges, keep_float=names - {"cls_1"})
    assert set(scales(data)) == {"block.add.relu", "pool.0"}
    data = quantize(source, ranges, keep_float=names - {"cls_0"})
    assert set(scales(data)) == {"block.add.relu"}


def test_with_every_layer_kept_nothing_is_left_for_int8(source: bytes, ranges: Ranges) -> None:
    with pytest.raises(UsageError, match="no layer is left for int8"):
        quantize(source, ranges, keep_float=layers(source))


def test_the_order_and_number_of_kept_names_do_not_matter(source: bytes, ranges: Ranges) -> None:
    one = quantize(source, ranges, keep_float=["last", "cls_1"])
    assert quantize(source, ranges, keep_float=("cls_1", "last", "cls_1")) == one
    assert quantize(source, ranges, keep_float={"cls_1", "last"}) == one


def test_a_layer_that_does_not_exist_cannot_be_kept(source: bytes, ranges: Ranges) -> None:
    for unknown in ("cls_9", "stem.relu", "pool.0", "bloc", ""):
        with pytest.raises(UsageError, match=rf"no layer '{unknown}' to keep.*stem, block\.conv1"):
            quantize(source, ranges, keep_float=["last", unknown])


@pytest.mark.parametrize("layer", ["stem", "block.conv2", "cls_3"])
def test_only_one_layer_rounds_its_weights_and_no_other(
    source: bytes, ranges: Ranges, layer: str
) -> None:
    data = only_layer(source, ranges, layer)
    assert float_convolutions(data) == {*layers(source)} - {layer, "block.add"}


def test_a_sum_alone_rounds_what_it_adds(source: bytes, ranges: Ranges) -> None:
    data = only_layer(source, ranges, "block.add")
    assert set(scales(data)) == {"block.conv2", "stem.relu"}


def test_further_facts_are_in_the_metadata(source: bytes, ranges: Ranges, made: bytes) -> None:
    data = quantize(source, ranges, facts={"calibration": "by hand"})
    assert artifact.metadata(data)["calibration"] == "by hand"
    assert artifact.contract_of(data) == CONTRACT
    assert artifact.metadata(made)["calibration"] == "ranges given"

"""int8 artifacts: what is in them, and that blocks of zeros survive."""

import errno
import hashlib
import logging
import os
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from fake_network import fake_onnx
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


def near(engine: str) -> float:
    """Largest relative error of int8 heads. ONNX Runtime adds two products of 8 bits in 16 where
    the CPU has no 8-bit dot products, and saturates there."""
    exact = engine != "onnxruntime" or cpu.has_int8(cpu.features())
    return 0.05 if exact else 0.25


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
    assert error < near(engine)


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
    assert error < near(engine)


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


def test_what_is_only_moved_keeps_its_levels(source: bytes, ranges: Ranges) -> None:
    graph = Graph(artifact.load(quantize(source, ranges)))
    scales = {
        node.input[0]: graph.stored[node.input[1]].item()
        for node in graph.model.graph.node
        if node.op_type == "QuantizeLinear"
    }
    assert ranges["pool.3"][1] < ranges["block.add.relu"][1]
    assert {scales[f"pool.{n}"] for n in range(4)} == {scales["block.add.relu"]}


def test_layers_are_the_later_convolutions_and_the_sums_in_graph_order(source: bytes) -> None:
    heads = [f"{kind}_{n}" for kind in ("cls", "loc") for n in range(6)]
    assert layers(source) == ["block.conv1", "block.conv2", "block.add", "last", *heads]


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


def test_a_network_without_convolutions_has_nothing_to_round() -> None:
    with pytest.raises(UsageError, match="nothing to round"):
        quantize(fake_onnx(), {"image": (0.0, 1.0)})


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
    "kept", [[], ["last"], ["cls_0", "loc_5"], ["block.conv1", "block.conv2", "last"]]
)
def test_kept_layers_have_their_float_weights_and_the_others_have_not(
    source: bytes, ranges: Ranges, made: bytes, kept: list[str]
) -> None:
    data = quantize(source, ranges, keep_float=kept)
    assert float_convolutions(data) == {"stem", *kept}
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


def test_with_every_layer_kept_nothing_is_left_for_int8(source: bytes, ranges: Ranges) -> None:
    with pytest.raises(UsageError, match="names every layer"):
        quantize(source, ranges, keep_float=layers(source))


def test_the_order_and_number_of_kept_names_do_not_matter(source: bytes, ranges: Ranges) -> None:
    one = quantize(source, ranges, keep_float=["last", "cls_1"])
    assert quantize(source, ranges, keep_float=("cls_1", "last", "cls_1")) == one
    assert quantize(source, ranges, keep_float={"cls_1", "last"}) == one


def test_the_first_convolution_may_be_named_and_is_float_anyhow(
    source: bytes, ranges: Ranges, made: bytes
) -> None:
    assert quantize(source, ranges, keep_float=["stem"]) == made


def test_a_layer_that_does_not_exist_cannot_be_kept(source: bytes, ranges: Ranges) -> None:
    for unknown in ("cls_9", "stem.relu", "pool.0", "bloc", ""):
        with pytest.raises(UsageError, match=rf"no layer '{unknown}' to keep.*block\.conv1"):
            quantize(source, ranges, keep_float=["last", unknown])


@pytest.mark.parametrize("layer", ["block.conv2", "cls_3"])
def test_only_one_layer_rounds_its_weights_and_no_other(
    source: bytes, ranges: Ranges, layer: str
) -> None:
    data = only_layer(source, ranges, layer)
    assert float_convolutions(data) == {"stem", *layers(source)} - {layer, "block.add"}


def test_a_sum_alone_rounds_what_it_adds(source: bytes, ranges: Ranges) -> None:
    data = only_layer(source, ranges, "block.add")
    graph = Graph(artifact.load(data))
    rounded = [n.input[0] for n in graph.model.graph.node if n.op_type == "QuantizeLinear"]
    assert sorted(rounded) == ["block.conv2", "stem.relu"]


def test_further_facts_are_in_the_metadata(source: bytes, ranges: Ranges, made: bytes) -> None:
    data = quantize(source, ranges, facts={"calibration": "by hand"})
    assert artifact.metadata(data)["calibration"] == "by hand"
    assert artifact.contract_of(data) == CONTRACT
    assert artifact.metadata(made)["calibration"] == "ranges given"

"""Cutting published graphs at their heads."""

import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from ssd_resnet34 import artifact
from ssd_resnet34.contract import COCO, COCO_TENSORFLOW, HEAD_NAMES, Category, Contract
from ssd_resnet34.errors import ArtifactError
from ssd_resnet34.network.cut import Cut, cut
from ssd_resnet34.network.graph import GraphIndex, integers

ENGINES = ("onnxruntime", "openvino")
EQUAL = ("mlperf_onnx", "mlperf_onnx_anonymous", "mlperf_onnx_bias_add", "raw_heads_onnx")
CHANNELS_LAST = ("nhwc_onnx", "nhwc_anchor_major_onnx")
INT8 = ("qlinear_onnx", "qdq_onnx")
NETWORK = ("Conv", "Relu", "Add", "MaxPool")


@pytest.fixture(scope="session")
def graph(lookalike: Callable[[str], Path]) -> Callable[[str], onnx.ModelProto]:
    """``graph(name)``: a fresh copy of a look-alike."""
    return lambda name: artifact.load(lookalike(name) / f"{name}.onnx")


@pytest.fixture(scope="session")
def cut_of(graph: Callable[[str], onnx.ModelProto]) -> Callable[[str], Cut]:
    return cache(lambda name: cut(graph(name)))


def constants(model: onnx.ModelProto) -> list[np.ndarray]:
    """The weights in the order in which the nodes read them, without their names."""
    stored = {w.name: numpy_helper.to_array(w) for w in model.graph.initializer}
    return [stored[name] for node in model.graph.node for name in node.input if name in stored]


# ---------------------------------------------------------------- heads


@pytest.mark.parametrize("engine", ENGINES)
def test_heads_of_the_published_file_are_golden(
    engine: str, cut_of: Any, run_heads: Any, largest_difference: Any
) -> None:
    heads = run_heads(engine, artifact.serialize(cut_of("mlperf_onnx").model))
    assert largest_difference(heads) < 1e-3


@pytest.mark.parametrize("name", ["mlperf_onnx_anonymous", "mlperf_onnx_bias_add"])
def test_names_and_bias_nodes_do_not_matter(name: str, cut_of: Any) -> None:
    ours, other = cut_of(name).model, cut_of("mlperf_onnx").model
    assert [n.op_type for n in ours.graph.node] == [n.op_type for n in other.graph.node]
    for got, want in zip(constants(ours), constants(other), strict=True):
        np.testing.assert_array_equal(got, want)


def test_heads_inside_a_graph_with_decoded_outputs_are_golden(
    cut_of: Any, run_heads: Any, largest_difference: Any
) -> None:
    heads = run_heads("onnxruntime", artifact.serialize(cut_of("raw_heads_onnx").model))
    assert largest_difference(heads) < 1e-3


@pytest.mark.parametrize("engine", ENGINES)
def test_channels_last_graphs_give_their_own_heads_channels_first(
    engine: str, cut_of: Any, run_heads: Any, largest_difference: Any
) -> None:
    heads = run_heads(engine, artifact.serialize(cut_of("nhwc_onnx").model))
    assert largest_difference(heads, "lookalikes_expected.npz", "nhwc_onnx/") < 1e-3


def test_anchor_major_heads_become_class_major(cut_of: Any) -> None:
    ours, other = cut_of("nhwc_anchor_major_onnx"), cut_of("nhwc_onnx")
    assert (ours.layout, other.layout) == ("anchor-major", "class-major")
    for got, want in zip(constants(ours.model), constants(other.model), strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("name", INT8)
def test_int8_graphs_stay_int8_and_near(
    name: str, cut_of: Any, run_heads: Any, largest_difference: Any
) -> None:
    model = cut_of(name).model
    assert artifact.precision_of(model) == "int8"
    assert largest_difference(run_heads("onnxruntime", artifact.serialize(model))) < 0.26


@pytest.mark.proof
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", [*EQUAL, *CHANNELS_LAST])
def test_every_float_lookalike_in_every_engine(
    name: str, engine: str, cut_of: Any, run_heads: Any, largest_difference: Any
) -> None:
    heads = run_heads(engine, artifact.serialize(cut_of(name).model))
    source = ("lookalikes_expected.npz", "nhwc_onnx/") if name in CHANNELS_LAST else ()
    assert largest_difference(heads, *source) < 1e-3


# ---------------------------------------------------------------- the graph


@pytest.mark.parametrize("name", [*EQUAL, *CHANNELS_LAST, *INT8])
def test_a_cut_graph_has_the_contract_and_nothing_unused(name: str, cut_of: Any) -> None:
    result = cut_of(name)
    model = result.model
    onnx.checker.check_model(model, full_check=True)
    lineage = "tensorflow" if name in CHANNELS_LAST else "pytorch"
    assert result.lineage == lineage
    assert artifact.contract_of(model) == (COCO_TENSORFLOW if name in CHANNELS_LAST else COCO)
    artifact.check_heads(model, artifact.contract_of(model))
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"
    assert len(model.graph.input) == 1
    read = {name for node in model.graph.node for name in node.input}
    assert {weight.name for weight in model.graph.initializer} <= read
    made = {name for node in model.graph.node for name in node.output}
    assert made <= read | set(HEAD_NAMES)
    kinds = {node.op_type for node in model.graph.node}
    assert not kinds & {"Transpose", "Softmax", "NonMaxSuppression", "BatchNormalization"}


def test_the_same_file_gives_the_same_bytes(graph: Any, cut_of: Any) -> None:
    name = "nhwc_anchor_major_onnx"
    again = artifact.serialize(cut(graph(name)).model)
    assert again == artifact.serialize(cut_of(name).model)


def test_the_source_model_is_not_changed(graph: Any) -> None:
    model = graph("raw_heads_onnx")
    before = artifact.serialize(model)
    cut(model)
    assert artifact.serialize(model) == before


@settings(max_examples=4)
@given(seed=st.integers(0, 2**32))
def test_cutting_does_not_depend_on_any_name(graph: Any, cut_of: Any, seed: int) -> None:
    model = graph("qdq_onnx")  # the smallest file, and the one with most nodes
    names = sorted(
        {n for node in model.graph.node for n in (*node.input, *node.output) if n}
        | {value.name for value in (*model.graph.input, *model.graph.output)}
    )
    # The contract's own names on the wrong tensors are the hardest case.
    labels = [*HEAD_NAMES, "image", *(f"t{n}" for n in range(len(names)))][: len(names)]
    random.Random(seed).shuffle(labels)
    new = dict(zip(names, labels, strict=True))
    for node in model.graph.node:
        node.name = ""
        for side in (node.input, node.output):
            side[:] = [new.get(name, name) for name in side]
    for thing in (*model.graph.initializer, *model.graph.input, *model.graph.output):
        thing.name = new.get(thing.name, thing.name)
    ours, other = cut(model), cut_of("qdq_onnx")
    onnx.checker.check_model(ours.model)
    artifact.check_heads(ours.model, COCO)
    assert ours.lineage == other.lineage
    shape = [n.op_type for n in other.model.graph.node]
    assert [n.op_type for n in ours.model.graph.node] == shape
    for got, want in zip(constants(ours.model), constants(other.model), strict=True):
        np.testing.assert_array_equal(got, want)


# ---------------------------------------------------------------- what is refused


def test_a_classifier_is_refused_saying_what_it_is(graph: Any) -> None:
    with pytest.raises(ArtifactError, match=r"1x3x224x224, outputs logits; it has no heads"):
        cut(graph("other_network_onnx"))


def test_an_ssd300_is_refused_with_its_map_sizes(graph: Any) -> None:
    message = r"1x3x300x300, .* 12 head convolutions, but of other sizes: 16 channels on 38x38"
    with pytest.raises(ArtifactError, match=message):
        cut(graph("other_ssd300_onnx"))


def test_other_numbers_of_classes_are_refused(graph: Any) -> None:
    contract = Contract((Category(1, "bolt"), Category(2, "nut")))
    with pytest.raises(ArtifactError, match="for 3 classes"):
        cut(graph("qdq_onnx"), contract)


def test_three_categories_are_refused_as_ambiguous(graph: Any) -> None:
    contract = Contract((Category(1, "bolt"), Category(2, "nut"), Category(3, "washer")))
    with pytest.raises(ArtifactError, match="same shapes"):
        cut(graph("qdq_onnx"), contract)


def test_a_graph_that_normalises_its_image_is_refused(graph: Any) -> None:
    model = graph("raw_heads_onnx")
    first = model.graph.node[0]
    first.input[0] = "scaled"
    model.graph.initializer.append(numpy_helper.from_array(np.array(255, np.float32), "scale"))
    model.graph.node.insert(0, helper.make_node("Div", ["image", "scale"], ["scaled"]))
    with pytest.raises(ArtifactError, match="preprocesses its image \\(Div"):
        cut(model)


def without_tail(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph up to its head convolutions, which become its outputs; no bias nodes."""
    weights = {w.name: w.dims[0] for w in model.graph.initializer}
    heads = [
        node.output[0]
        for node in model.graph.node
        if node.op_type == "Conv" and weights[node.input[1]] in (16, 24, 324, 486)
    ]
    reached = {"image"}
    kept = []
    for node in model.graph.node:  # what depends on the image, without the arithmetic of the tail
        if node.input and node.input[0] in reached and node.op_type in NETWORK:
            kept.append(node)
            reached.update(node.output)
            reached.difference_update(heads)
    del model.graph.node[:]
    model.graph.node.extend(kept)
    del model.graph.output[:]
    for name in heads:
        model.graph.output.append(helper.make_tensor_value_info(name, 1, None))
    return model


def test_raw_heads_as_outputs_are_taken_as_the_contract_has_them(graph: Any, cut_of: Any) -> None:
    ours = cut(without_tail(graph("raw_heads_onnx")))
    assert (ours.lineage, ours.layout) == ("pytorch", "class-major")
    for got, want in zip(
        constants(ours.model), constants(cut_of("raw_heads_onnx").model), strict=True
    ):
        np.testing.assert_array_equal(got, want)


def test_anchor_major_without_a_decoder_is_refused_rather_than_guessed(graph: Any) -> None:
    model = graph("nhwc_anchor_major_onnx")
    rows = [n for n, node in enumerate(model.graph.node) if node.op_type == "Concat"]
    del model.graph.node[rows[0] :]
    del model.graph.output[:]
    for node in model.graph.node:
        if node.op_type == "Reshape":
            info = helper.make_tensor_value_info(node.output[0], 1, None)
            model.graph.output.append(info)
    with pytest.raises(ArtifactError, match=r"anchor-major.*refused rather than guessed"):
        cut(model)


def test_heads_without_bias_are_refused(graph: Any) -> None:
    model = graph("raw_heads_onnx")
    weights = {w.name: w.dims[0] for w in model.graph.initializer}
    head = next(n for n in model.graph.node if n.op_type == "Conv" and weights[n.input[1]] == 324)
    del head.input[2]
    with pytest.raises(ArtifactError, match=r"head cls_0 .* has no bias"):
        cut(model)


def test_nan_in_the_weights_of_a_graph_is_refused(graph: Any) -> None:
    model = graph("qdq_onnx")
    scale = next(node.input[1] for node in model.graph.node if node.op_type == "DequantizeLinear")
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == scale)
    value = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array(np.full_like(value, np.nan), scale))
    with pytest.raises(ArtifactError, match="NaN or infinity in"):
        cut(model)


def test_a_batch_that_is_fixed_in_front_of_the_heads_is_refused(graph: Any) -> None:
    model = graph("raw_heads_onnx")
    at = next(n for n, node in enumerate(model.graph.node) if node.op_type == "Relu")
    relu = model.graph.node[at]
    name, relu.output[0] = relu.output[0], "flowing"
    shape = np.array([1, 64, 600, 600], np.int64)
    model.graph.initializer.append(numpy_helper.from_array(shape, "fixed"))
    model.graph.node.insert(at + 1, helper.make_node("Reshape", ["flowing", "fixed"], [name]))
    with pytest.raises(ArtifactError, match="batch of cls_0 is fixed inside the graph"):
        cut(model)


def test_a_long_chain_of_identities_is_followed_to_its_end(graph: Any) -> None:
    model = graph("other_network_onnx")
    first = model.graph.node[0].output[0]
    model.graph.node.extend(
        helper.make_node("Identity", [f"i{n}" if n else first], [f"i{n + 1}"]) for n in range(5000)
    )
    index = GraphIndex(model)
    assert index.constant("i5000") is None
    assert integers(index, "i5000") is None


def test_nodes_out_of_order_are_refused(graph: Any) -> None:
    model = graph("other_network_onnx")
    nodes = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    with pytest.raises(ArtifactError, match="before any node makes it"):
        cut(model)

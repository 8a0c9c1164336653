"""ONNX artifacts: safe reading, metadata, the check of the heads."""

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from ssd_resnet34 import artifact
from ssd_resnet34.contract import COCO, Category, Contract
from ssd_resnet34.errors import ArtifactError, ContractError, UnsafeWeights

TWO = Contract((Category(1, "bolt"), Category(2, "nut")))


def small(contract: Contract = TWO) -> onnx.ModelProto:
    """The contract's input and outputs around nodes that make them up: valid, and tiny."""
    shapes = contract.head_shapes()
    value = helper.make_tensor_value_info
    nodes = [helper.make_node("Relu", ["image"], [name], name=name) for name in shapes]
    graph = helper.make_graph(
        nodes,
        "small",
        [value("image", TensorProto.FLOAT, ["N", 3, 1200, 1200])],
        [value(name, TensorProto.FLOAT, ["N", *shape]) for name, shape in shapes.items()],
        [numpy_helper.from_array(np.arange(6, dtype=np.float32).reshape(2, 3), "weight")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_operatorsetid("", 17)])


def outside(name: str = "w") -> onnx.TensorProto:
    """A tensor whose numbers lie in another file."""
    tensor = onnx.TensorProto(name=name, data_type=1, dims=[2])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../secret")
    return tensor


categories = st.lists(
    st.builds(Category, st.integers(0, 10**6), st.text(min_size=1, max_size=20)),
    min_size=1,
    max_size=20,
    unique_by=(lambda c: c.category_id, lambda c: c.label),
)


@given(categories=categories, lineage=st.sampled_from(["pytorch", "tensorflow"]), note=st.text())
def test_contract_and_metadata_survive_the_file(
    categories: list[Category], lineage: str, note: str
) -> None:
    contract = Contract(tuple(categories), lineage)  # type: ignore[arg-type]  # sampled from both
    model = small()
    artifact.embed(model, contract, {"note": note})
    data = artifact.serialize(model)
    assert artifact.contract_of(data) == contract
    assert artifact.metadata(data)["note"] == note
    assert artifact.serialize(artifact.load(data)) == data


@pytest.mark.parametrize("initializers", [0, 1, 3])
def test_the_bytes_are_those_of_protobuf_itself(initializers: int) -> None:
    model = small()
    artifact.embed(model, TWO, {"producer": "tests"})
    del model.graph.initializer[:]
    for n in range(initializers):
        values = np.full((n, 300), n, np.float32)  # 0, 1,200 and 2,400 bytes: lengths of 1, 2 bytes
        model.graph.initializer.append(numpy_helper.from_array(values, f"weight {n}"))
    model.graph.value_info.add(name="")
    model.graph.doc_string = ""
    model.training_info.add()
    model.functions.add(name="f", domain="tests")
    assert artifact.serialize(model) == model.SerializeToString(deterministic=True)


def test_the_bytes_of_a_model_without_a_graph_are_those_of_protobuf_itself() -> None:
    for model in (onnx.ModelProto(), onnx.ModelProto(ir_version=8, graph=onnx.GraphProto())):
        assert artifact.serialize(model) == model.SerializeToString(deterministic=True)


def test_metadata_does_not_depend_on_the_order_of_writing() -> None:
    one, two = small(), small()
    artifact.embed(one, COCO, {"a": "1", "b": "2"})
    artifact.embed(two, TWO, {"b": "2"})
    artifact.embed(two, COCO, {"a": "1"})
    assert artifact.serialize(one) == artifact.serialize(two)


def test_foreign_metadata_stays_and_is_not_ours() -> None:
    model = small()
    model.metadata_props.add(key="author", value="x")
    artifact.embed(model, TWO, {})
    assert artifact.metadata(model).keys() == {"contract", "schema"}
    assert any(prop.key == "author" for prop in model.metadata_props)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ('{"size": 600, "init": "embedded"}', 600),
        (None, None),
        ("{}", None),
        ("[600]", None),
        ('{"size": "600"}', None),
        ('{"size": true}', None),
        ("{", None),
        ("[" * 100_000, None),
    ],
)
def test_the_size_that_a_model_was_trained_at_is_read_whatever_the_file_holds(
    text: str | None, size: int | None
) -> None:
    model = small()
    artifact.embed(model, TWO, {} if text is None else {artifact.TRAINING: text})
    assert artifact.trained_size(model) == size


def test_a_model_without_contract_is_told_so() -> None:
    with pytest.raises(ArtifactError, match=r"no ssd_resnet34.contract metadata"):
        artifact.contract_of(small())


def test_a_contract_of_another_schema_is_refused() -> None:
    model = small()
    model.metadata_props.add(key="ssd_resnet34.contract", value='{"schema": 99}')
    with pytest.raises(ContractError, match="schema 99"):
        artifact.contract_of(model)


def test_a_path_and_its_bytes_load_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(artifact.serialize(small()))
    assert artifact.load(path) == artifact.load(str(path)) == artifact.load(path.read_bytes())


@pytest.mark.parametrize(
    "data", [b"", b"hello, world", b"\x89PNG\r\n\x1a\n", b"<html></html>", b"\0" * 99]
)
def test_bytes_that_are_no_model_are_refused(data: bytes) -> None:
    with pytest.raises(ArtifactError, match="not an ONNX model"):
        artifact.load(data)


def test_a_model_cut_anywhere_is_refused() -> None:
    data = artifact.serialize(small())
    graph = small()
    artifact.embed(graph, TWO, {})
    for end in range(0, len(data), 37):
        with pytest.raises(ArtifactError):
            artifact.check_heads(artifact.load(data[:end]), TWO)


@given(st.binary(max_size=200))
def test_random_bytes_are_refused_with_our_error(data: bytes) -> None:
    with pytest.raises(ArtifactError):
        artifact.load(data)


@pytest.mark.parametrize("missing", ["missing.onnx", "", "nul\0"])
def test_unreadable_paths_are_named(missing: str, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="cannot be read"):
        artifact.load(tmp_path / missing)


def test_a_file_over_the_limit_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "big.onnx"
    path.write_bytes(bytes(100))
    monkeypatch.setattr(artifact, "MAX_BYTES", 99)
    monkeypatch.setattr(Path, "read_bytes", lambda self: pytest.fail("it was read"))
    with pytest.raises(ArtifactError, match="100 bytes, the limit is 99"):
        artifact.load(path)


def test_a_tensor_with_too_few_bytes_is_refused() -> None:
    model = small()
    model.graph.initializer[0].raw_data = bytes(20)
    with pytest.raises(
        ArtifactError, match=r"'weight' holds 20 bytes, its shape \[2, 3\] needs 24"
    ):
        artifact.load(artifact.serialize(model))


def test_a_tensor_with_too_few_numbers_is_refused() -> None:
    model = small()
    model.graph.initializer.add(name="huge", data_type=1, dims=[2**40], float_data=[1.0])
    with pytest.raises(ArtifactError, match=r"'huge' holds 1 values, .* needs 1,099,511,627,776"):
        artifact.load(artifact.serialize(model))


def test_a_tensor_of_a_million_axes_is_refused_at_once() -> None:
    model = small()
    model.graph.initializer.add(name="deep", data_type=1, dims=[2**62] * 10**6)
    with pytest.raises(ArtifactError, match=r"'deep' has the shape .*; fetch or export"):
        artifact.load(artifact.serialize(model))


def test_local_functions_are_refused_as_they_may_have_no_end() -> None:
    model = small()
    model.functions.add(name="f", domain="x")
    with pytest.raises(ArtifactError, match=r"local functions \('f', …\).*inline them"):
        artifact.load(artifact.serialize(model))


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ArtifactError, match="a pipe or device, not a file"):
        artifact.load(tmp_path / "pipe")


def hide_in_initializer(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(outside())


def hide_in_sparse(model: onnx.ModelProto) -> None:
    model.graph.sparse_initializer.add().values.CopyFrom(outside())


def hide_in_attribute(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=outside()))


def hide_in_subgraph(model: onnx.ModelProto) -> None:
    branch = helper.make_graph([], "branch", [], [], [outside()])
    node = helper.make_node("If", ["c"], ["d"], then_branch=branch, else_branch=branch)
    model.graph.node.append(node)


def hide_in_function(model: onnx.ModelProto) -> None:
    function = model.functions.add(name="f", domain="x")
    function.node.append(helper.make_node("Constant", [], ["c"], value=outside()))


def hide_without_flag(model: onnx.ModelProto) -> None:
    tensor = outside()
    tensor.data_location = TensorProto.DEFAULT
    model.graph.initializer.append(tensor)


@pytest.mark.parametrize(
    "hide",
    [
        hide_in_initializer,
        hide_in_sparse,
        hide_in_attribute,
        hide_in_subgraph,
        hide_in_function,
        hide_without_flag,
    ],
)
def test_external_data_is_refused_wherever_it_hides(hide: object) -> None:
    model = small()
    assert callable(hide)
    hide(model)
    with pytest.raises(UnsafeWeights, match=r"tensor 'w' is stored outside .*'\.\./\.\./secret'"):
        artifact.load(artifact.serialize(model))


def test_precision_is_read_from_the_operators() -> None:
    model = small()
    assert artifact.precision_of(model) == "fp32"
    model.graph.node.append(helper.make_node("QuantizeLinear", ["cls_0", "s", "z"], ["q"]))
    assert artifact.precision_of(model) == "int8"


def test_heads_of_the_contract_pass() -> None:
    artifact.check_heads(small(), TWO)
    listed = small()
    listed.graph.input.append(helper.make_tensor_value_info("weight", TensorProto.FLOAT, [2, 3]))
    artifact.check_heads(listed, TWO)


def test_heads_of_another_contract_are_refused() -> None:
    with pytest.raises(ArtifactError, match=r"cls_0 .*\[N, 12, 50, 50\].*\[N, 324, 50, 50\]"):
        artifact.check_heads(small(), COCO)


def test_heads_in_another_order_are_refused() -> None:
    model = small()
    outputs = list(model.graph.output)[::-1]
    del model.graph.output[:]
    model.graph.output.extend(outputs)
    with pytest.raises(ArtifactError, match="outputs are loc_5, "):
        artifact.check_heads(model, TWO)


def test_another_input_is_refused() -> None:
    model = small()
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 300
    with pytest.raises(ArtifactError, match=r"input image .*\[N, 3, 300, 1200\]"):
        artifact.check_heads(model, TWO)

"""The canonical ONNX from numpy weights."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from ssd_resnet34 import artifact
from ssd_resnet34.contract import COCO, HEAD_NAMES, Category, Contract
from ssd_resnet34.errors import WeightsError
from ssd_resnet34.network.builder import build, check_state
from ssd_resnet34.network.layout import parameter_shapes

State = dict[str, NDArray[Any]]
THREE = Contract((Category(1, "bolt"), Category(2, "nut"), Category(7, "washer")))


@pytest.fixture(scope="module")
def canonical(state: State) -> bytes:
    return artifact.serialize(build(state, COCO))


def made(contract: Contract) -> State:
    """Small weights of the right shapes."""
    rng = np.random.default_rng(0)
    shapes = parameter_shapes(contract.num_classes)
    return {
        key: np.zeros(shape, np.int64)
        if key.endswith("num_batches_tracked")
        else (0.05 * rng.random(shape)).astype(np.float32)
        for key, shape in shapes.items()
    }


def test_the_keys_are_the_218_of_the_golden_checkpoint(state: State) -> None:
    shapes = {key: value.shape for key, value in state.items()}
    assert list(parameter_shapes(81).items()) == list(shapes.items())


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_heads_are_golden(
    engine: str,
    canonical: bytes,
    run_heads: Callable[..., Any],
    largest_difference: Callable[..., float],
) -> None:
    assert largest_difference(run_heads(engine, canonical)) < 1e-3


def test_the_graph_is_valid_and_has_the_contract(canonical: bytes) -> None:
    model = artifact.load(canonical)
    onnx.checker.check_model(model, full_check=True)
    artifact.check_heads(model, COCO)
    assert artifact.contract_of(model) == COCO
    assert artifact.precision_of(model) == "fp32"
    assert [value.name for value in model.graph.output] == list(HEAD_NAMES)
    batches = {v.type.tensor_type.shape.dim[0].dim_param for v in model.graph.output}
    assert batches == {"N"}


def test_the_same_weights_give_the_same_bytes(state: State, canonical: bytes) -> None:
    backwards = dict(reversed(state.items()))
    assert artifact.serialize(build(backwards, COCO)) == canonical


def test_names_are_checkpoint_keys_and_batch_norm_is_gone(canonical: bytes) -> None:
    model = artifact.load(canonical)
    keys = {key.rsplit(".", 1)[0] for key in parameter_shapes(81) if not key.endswith("tracked")}
    convolutions = {node.name for node in model.graph.node if node.op_type == "Conv"}
    assert convolutions <= keys
    assert "model.layer2.0.5.conv2" in convolutions
    assert {node.op_type for node in model.graph.node} == {"Conv", "Relu", "Add", "MaxPool"}
    assert all(weight.HasField("raw_data") for weight in model.graph.initializer)


def test_batch_norm_is_folded_as_its_formula_says(state: State, canonical: bytes) -> None:
    weights = {
        w.name: onnx.numpy_helper.to_array(w) for w in artifact.load(canonical).graph.initializer
    }
    norm = {
        leaf: state[f"model.layer1.1.{leaf}"].astype(float)
        for leaf in ("weight", "bias", "running_mean", "running_var")
    }
    gain = norm["weight"] / np.sqrt(norm["running_var"] + 1e-5)
    want = (norm["bias"] - norm["running_mean"] * gain).astype(np.float32)
    np.testing.assert_array_equal(weights["model.layer1.0.bias"], want)


def test_any_number_of_classes_builds() -> None:
    model = build(made(THREE), THREE)
    onnx.checker.check_model(model, full_check=True)
    artifact.check_heads(model, THREE)
    assert artifact.contract_of(model) == THREE


def test_counters_may_be_absent(state: State, canonical: bytes) -> None:
    lean = {key: value for key, value in state.items() if not key.endswith("tracked")}
    assert artifact.serialize(build(lean, COCO)) == canonical


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("conf.3.bias"), "missing conf.3.bias"),
        (lambda s: s.update({"conf.6.bias": np.zeros(324)}), "unknown conf.6.bias"),
        (
            lambda s: s.update({"loc.0.bias": np.zeros(15)}),
            r"loc.0.bias has shape \[15\], not \[16\]",
        ),
        (lambda s: s.update({"loc.0.bias": np.zeros(16, int)}), "loc.0.bias is int64"),
        (lambda s: s.update({"loc.0.bias": np.full(16, np.nan)}), "NaN or infinity in loc.0.bias"),
        (
            lambda s: s.update({"model.layer1.1.running_var": np.full(64, -1.0)}),
            "negative variance in model.layer1.1.running_var",
        ),
    ],
)
def test_a_wrong_state_is_refused_by_name(
    state: State, change: Callable[[State], Any], message: str
) -> None:
    wrong = dict(state)
    change(wrong)
    with pytest.raises(WeightsError, match=message):
        build(wrong, COCO)


def test_every_kind_of_difference_is_in_one_message(state: State) -> None:
    wrong = dict(state, extra=np.zeros(1))
    del wrong["loc.5.bias"]
    with pytest.raises(WeightsError, match=r"missing loc.5.bias; unknown extra"):
        check_state(wrong, 81)


def test_weights_that_overflow_when_folded_are_refused(state: State) -> None:
    wrong = dict(state)
    wrong["model.layer1.1.weight"] = np.full(64, 3e38, np.float32)
    wrong["model.layer1.1.running_var"] = np.zeros(64, np.float32)
    with pytest.raises(WeightsError, match="overflows float32"):
        build(wrong, COCO)


def test_building_needs_no_torch() -> None:
    code = (
        "import sys, ssd_resnet34.network.builder, ssd_resnet34.network.cut, ssd_resnet34.weights;"
        "bad = {'torch', 'onnxruntime', 'openvino', 'onnx'} & set(sys.modules); assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

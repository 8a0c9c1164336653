"""Convolution rates: the layers that are timed, and the arithmetic."""

from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import onnx
import onnxruntime
import pytest

from fake_clock import FakeClock
from small_network import small_onnx
from ssd_resnet34.benchmarking import rates
from ssd_resnet34.benchmarking.rates import Rate
from ssd_resnet34.errors import EngineUnavailable
from ssd_resnet34.runtime.precision import PRECISIONS, Precision

CHANNELS, SIDE = 8, 10


def test_a_chain_has_its_layers_in_one_precision() -> None:
    model = onnx.load_model_from_string(rates.chain(3, "fp32", CHANNELS, SIDE))
    assert [node.op_type for node in model.graph.node] == ["Conv", "Relu"] * 3
    model = onnx.load_model_from_string(rates.chain(3, "int8", CHANNELS, SIDE))
    onnx.checker.check_model(model, full_check=True)
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("Conv") == 3
    assert kinds.count("QuantizeLinear") == 4  # the input and each layer's output
    assert kinds.count("DequantizeLinear") == 7  # these, and each kernel


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_openvino_computes_what_the_chain_says(precision: Precision) -> None:
    data = rates.chain(2, precision, CHANNELS, SIDE)
    image = np.random.default_rng(1).random((1, CHANNELS, SIDE, SIDE), np.float32)
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    (wanted,) = session.run(None, {"x": image})
    assert wanted.std() > 0.1  # neither dead nor saturated: activations keep their size
    (found,) = rates.compiled(data, precision, 1)([image]).values()
    np.testing.assert_allclose(found, wanted, atol=0.1 if precision == "int8" else 1e-4)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """A chain takes 10 seconds for its ends and 2 for each layer."""
    clock = FakeClock()

    def compiled(data: bytes, precision: str, threads: int | None) -> Callable[[Any], None]:
        layers = sum(
            node.op_type == "Conv" for node in onnx.load_model_from_string(data).graph.node
        )
        work = clock.taking(10 + 2 * layers)
        return lambda _: work()

    monkeypatch.setattr(rates, "compiled", compiled)
    monkeypatch.setattr(rates, "find", lambda _: Everything())
    return clock


class Everything:
    def precisions(self, device: str) -> dict[str, str]:
        return {"fp32": "", "bf16": "this CPU has no bfloat16 instructions", "int8": ""}


def test_the_rate_is_that_of_the_layers_without_the_ends(clock: FakeClock) -> None:
    pairs: list[int] = []
    found = rates.measure(
        3, clock=clock, on_pair=lambda: pairs.append(1), channels=CHANNELS, side=SIDE
    )
    gops = 2 * 8 * 8 * 9 * 10 * 10 / 2 / 1e9  # two operations a multiplication, 2 s a layer
    by_precision = {rate.precision: rate for rate in found}
    assert by_precision["fp16"].unavailable
    assert tuple(by_precision) == PRECISIONS == get_args(Precision)
    assert by_precision["fp32"].gops == pytest.approx(gops)
    assert by_precision["int8"].pairs == 3
    reason = "this CPU has no bfloat16 instructions"
    assert by_precision["bf16"] == Rate("bf16", unavailable=reason)
    assert len(pairs) == 6


def test_a_machine_too_busy_to_tell_says_so(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "LAYERS", 1)
    found = rates.measure(2, clock=clock, channels=CHANNELS, side=SIDE)
    assert found[0].gops is None
    assert "too busy" in found[0].unavailable


def test_no_openvino_is_a_reason_not_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(_: str) -> None:
        raise EngineUnavailable("openvino is not installed: pip install 'openvino>=2025.2'")

    monkeypatch.setattr(rates, "find", find)
    found = rates.measure(1, channels=CHANNELS, side=SIDE)
    assert len(found) == len(PRECISIONS)
    assert all("pip install" in rate.unavailable for rate in found)


def test_work_is_two_operations_a_multiplication() -> None:
    # The stem makes 50×50 positions of 8 channels from 3×3×3 pixels; there are others besides.
    stem = 2 * 50 * 50 * 8 * 27
    assert rates.work(small_onnx()) > stem
    assert rates.layer_work(1, 1) == 18
    assert rates.layer_work() == 2 * 256 * 256 * 9 * 150 * 150

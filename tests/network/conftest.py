"""The golden network: weights, input and expected heads, and two engines to run graphs with."""

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

Heads = list[NDArray[np.float32]]
Run = Callable[[str, bytes], Heads]


@pytest.fixture(scope="session")
def state(golden: ModuleType) -> dict[str, NDArray[Any]]:
    """The 218 entries of the golden checkpoint."""
    made: dict[str, NDArray[Any]] = golden.state_dict(7)
    return made


@pytest.fixture(scope="session")
def image(lookalikes: ModuleType) -> NDArray[np.float32]:
    """The golden network's input, [1, 3, 1200, 1200]."""
    made: NDArray[np.float32] = lookalikes.network_input()
    return made


@pytest.fixture(scope="session")
def run_heads(image: NDArray[np.float32]) -> Run:
    """``run_heads(engine, onnx_bytes)``: the twelve heads of the golden picture, in fp32."""

    def run(engine: str, data: bytes) -> Heads:
        if engine == "onnxruntime":
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.log_severity_level = 3
            session = onnxruntime.InferenceSession(data, options, ["CPUExecutionProvider"])
            return list(session.run(None, {"image": image}))
        import openvino

        core = openvino.Core()
        hint = {"INFERENCE_PRECISION_HINT": "f32"}
        compiled = core.compile_model(core.read_model(data), "CPU", hint)
        results = compiled([image])
        return [np.array(results[n]) for n in range(12)]

    return run


@pytest.fixture(scope="session")
def largest_difference(golden_npz: Callable[[str], Any]) -> Callable[..., float]:
    """``largest_difference(heads, file, prefix)``: from the stored values, beyond the tolerance.

    The result is ``max(|got - want| - rtol·|want|)``: within the golden tolerance at 1e-3.
    """

    def compare(heads: Sequence[Any], file: str = "network.npz", prefix: str = "") -> float:
        expected = golden_npz(file)
        worst = 0.0
        names = [f"{kind}{n}" for kind in ("cls", "loc") for n in range(6)]
        for name, head in zip(names, heads, strict=True):
            index, want = (expected[f"{prefix}{name}/{leaf}"] for leaf in ("index", "value"))
            got = np.asarray(head).reshape(-1)[index]
            worst = max(worst, float((np.abs(got - want) - 1e-4 * np.abs(want)).max()))
        return worst

    return compare

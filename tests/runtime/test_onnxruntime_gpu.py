"""ONNX Runtime on a GPU, with a stand-in for its package: providers, options, refusals."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fake_network import fake_heads, fake_onnx
from ssd_resnet34.errors import EngineUnavailable, SessionError, UnsupportedPrecision
from ssd_resnet34.runtime import session
from ssd_resnet34.runtime.engines import onnxruntime as module
from ssd_resnet34.runtime.tensors import Array

CPU, CUDA, TENSORRT = (
    "CPUExecutionProvider",
    "CUDAExecutionProvider",
    "TensorrtExecutionProvider",
)


class FakePackage:
    """``onnxruntime`` built with these providers, of which ``broken`` ones do not load."""

    ExecutionMode = SimpleNamespace(ORT_SEQUENTIAL=0)
    GraphOptimizationLevel = SimpleNamespace(ORT_ENABLE_ALL=99)

    def __init__(self, *providers: str, broken: tuple[str, ...] = ()) -> None:
        self.providers, self.broken = [*providers, CPU], broken
        self.asked: list[Any] = []
        self.batches: list[int] = []
        self.fallback = True

    def get_available_providers(self) -> list[str]:
        return self.providers

    def SessionOptions(self) -> Any:  # noqa: N802  # its name there
        return SimpleNamespace(add_session_config_entry=lambda *_: None)

    def InferenceSession(self, model: bytes, options: Any, providers: list[Any]) -> Any:  # noqa: N802
        self.asked = providers
        named = [one if isinstance(one, str) else one[0] for one in providers]

        def run(names: list[str], feed: dict[str, Array]) -> list[Array]:
            (image,) = feed.values()
            self.batches.append(len(image))
            return fake_heads(image)

        def disable_fallback() -> None:
            self.fallback = False

        return SimpleNamespace(
            run=run,
            get_providers=lambda: [one for one in named if one not in self.broken],
            disable_fallback=disable_fallback,
        )


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakePackage]:
    """``package(CUDA, broken=…)``: such a package is installed."""

    def use(*providers: str, broken: tuple[str, ...] = ()) -> FakePackage:
        made = FakePackage(*providers, broken=broken)
        monkeypatch.setattr(module, "import_engine", lambda *_: made)
        return made

    return use


def test_cuda_is_used_where_the_package_has_it(
    package: Callable[..., FakePackage], pictures: Array
) -> None:
    made = package(CUDA)
    with session.create(fake_onnx(), "onnxruntime", device="cuda:1") as sess:
        assert (sess.precision, sess.streams, sess.batch) == ("fp32", 2, 1)
        found = sess.run(np.concatenate([pictures] * 4))
    assert made.asked == [(CUDA, {"device_id": "1", "use_tf32": "0"}), CPU]
    assert made.batches == [16, 4]  # whole batches, of bounded memory
    assert not made.fallback
    wanted = fake_heads(np.concatenate([pictures] * 4))
    assert all(np.array_equal(a, b) for a, b in zip(found, wanted, strict=True))


def test_tensorrt_runs_the_halves_and_int8_and_leaves_the_rest_to_cuda(
    package: Callable[..., FakePackage],
) -> None:
    made = package(TENSORRT, CUDA)
    for model, precision in ((fake_onnx(), "fp16"), (fake_onnx(precision="int8"), "int8")):
        session.create(model, "onnxruntime", device="tensorrt", precision=precision).close()
        assert made.asked == [
            (TENSORRT, {"device_id": "0", f"trt_{precision}_enable": "1"}),
            (CUDA, {"device_id": "0", "use_tf32": "0"}),
            CPU,
        ]
    with pytest.raises(UnsupportedPrecision, match="rounds float32 to TF32"):
        session.create(fake_onnx(), "onnxruntime", device="tensorrt", precision="fp32")


@pytest.mark.parametrize("precision", ["bf16", "fp16", "int8"])
def test_what_cuda_would_not_speed_up_is_refused(
    package: Callable[..., FakePackage], precision: Any
) -> None:
    package(CUDA)
    model = fake_onnx(precision="int8") if precision == "int8" else fake_onnx()
    with pytest.raises(UnsupportedPrecision, match="use device='tensorrt'"):
        session.create(model, "onnxruntime", device="cuda", precision=precision)


def test_a_package_without_cuda_says_what_to_install(package: Callable[..., FakePackage]) -> None:
    package()
    with pytest.raises(
        EngineUnavailable,
        match=r"this build has CPUExecutionProvider; pip uninstall onnxruntime and pip install "
        r"onnxruntime-gpu .*engine torch",
    ):
        session.create(fake_onnx(), "onnxruntime", device="cuda")
    with pytest.raises(EngineUnavailable, match="CUDA and cuDNN and TensorRT"):
        session.create(fake_onnx(), "onnxruntime", device="tensorrt")


def test_a_gpu_that_the_package_lists_and_cannot_start_is_no_run_on_the_cpu(
    package: Callable[..., FakePackage],
) -> None:
    package(CUDA, broken=(CUDA,))
    with pytest.raises(SessionError, match="could not start CUDAExecutionProvider: its libraries"):
        session.create(fake_onnx(), "onnxruntime", device="cuda")


def test_the_real_package_has_no_gpu_here_or_says_so() -> None:
    import onnxruntime

    if CUDA in onnxruntime.get_available_providers():
        pytest.skip("this package has CUDA")
    with pytest.raises(EngineUnavailable, match="pip install onnxruntime-gpu"):
        session.create(fake_onnx(), "onnxruntime", device="cuda")

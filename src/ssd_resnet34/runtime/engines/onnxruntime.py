"""ONNX Runtime on the CPU."""

from collections.abc import Mapping
from typing import Any

from ...contract import HEAD_NAMES, INPUT_NAME
from ...errors import EngineUnavailable, SessionError
from ..tensors import Array, image_by_image
from . import CompileRequest, import_engine, version_of

_SEVERITY_ERROR = 3


class ONNXRuntimeEngine:
    """Engine ``onnxruntime``."""

    name = "onnxruntime"

    @property
    def version(self) -> str:
        return version_of("onnxruntime")

    def precisions(self, device: str) -> Mapping[str, str]:
        """fp32, and int8 of a QDQ artifact."""
        import_engine("onnxruntime", "onnxruntime>=1.20")
        if device != "cpu":
            raise EngineUnavailable(
                f"engine onnxruntime runs on the CPU here, not on {device}; use device='cpu', or "
                "engine='torch' for a GPU"
            )
        reason = "its CPU kernels have no bfloat16 convolution; openvino and torch have"
        return {"fp32": "", "bf16": reason, "int8": ""}

    def compile(self, model: bytes, request: CompileRequest) -> "ONNXRuntimeRunner":
        """Load the artifact with all graph optimisations."""
        ort = import_engine("onnxruntime", "onnxruntime>=1.20")
        ort.disable_telemetry_events()  # only Windows builds have any
        options = ort.SessionOptions()
        options.intra_op_num_threads = request.threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = _SEVERITY_ERROR
        # Its threads spin while they wait; between runs that is somebody else's CPU time.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        try:
            session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        # Its exceptions share no base class but Exception.
        except Exception as error:
            raise SessionError(
                f"engine onnxruntime cannot load the artifact: {error}; try engine='openvino', or "
                "compile the artifact again"
            ) from error
        return ONNXRuntimeRunner(session)


class ONNXRuntimeRunner:
    """An inference session, which is safe from all threads by itself."""

    def __init__(self, session: Any) -> None:
        self._session = session

    def run(self, tensor: Array) -> list[Array]:
        return image_by_image(tensor, self._run_one)

    def _run_one(self, image: Array) -> list[Array]:
        try:
            found: list[Array] = self._session.run(list(HEAD_NAMES), {INPUT_NAME: image})
        # Its exceptions share no base class but Exception.
        except Exception as error:
            raise SessionError(f"engine onnxruntime failed: {error}") from error
        return found

    def close(self) -> None:
        self._session = None

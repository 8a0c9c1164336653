"""ONNX Runtime: on the CPU; on a GPU by CUDA or TensorRT, where its package has them."""

from collections.abc import Mapping
from typing import Any, Final

from ...contract import HEAD_NAMES, INPUT_NAME
from ...errors import EngineUnavailable, SessionError
from ..precision import HALF_ON_GPUS
from ..tensors import Array, in_parts
from . import CompileRequest, import_engine, version_of

_SEVERITY_ERROR = 3

_GPU_BATCH: Final = 16
"""Images in one run on a GPU: bounds its memory."""

_PROVIDERS: Final = {"cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
"""Device -> the execution provider that it is."""


class ONNXRuntimeEngine:
    """Engine ``onnxruntime``."""

    name = "onnxruntime"

    @property
    def version(self) -> str:
        """Version of its package, "" where it is not installed."""
        return version_of("onnxruntime")

    def precisions(self, device: str) -> Mapping[str, str]:
        """On the CPU fp32, and int8 of a QDQ artifact; by CUDA fp32; by TensorRT all others."""
        ort = import_engine("onnxruntime", "onnxruntime>=1.20")
        kind = device.partition(":")[0]
        if kind == "cpu":
            reason = "its CPU kernels have no bfloat16 convolution; openvino and torch have"
            return {"fp32": "", "bf16": reason, "fp16": HALF_ON_GPUS, "int8": ""}
        if kind not in _PROVIDERS:
            raise EngineUnavailable(
                f"engine onnxruntime does not run on device {device!r}; use 'cpu', 'cuda' or "
                "'tensorrt', with a number such as 'cuda:1' for another GPU"
            )
        found = ort.get_available_providers()
        if _PROVIDERS[kind] not in found:
            raise EngineUnavailable(
                f"engine onnxruntime cannot use {device}: this build has {', '.join(found)}; pip "
                "uninstall onnxruntime and pip install onnxruntime-gpu (NVIDIA, with CUDA and "
                f"cuDNN{' and TensorRT' if kind == 'tensorrt' else ''}), use device cpu, or "
                "engine torch for a GPU"
            )
        if kind == "tensorrt":
            rounded = "TensorRT rounds float32 to TF32, 10 bits; use device='cuda'"
            return {"fp32": rounded, "bf16": "", "fp16": "", "int8": ""}
        reason = "its CUDA provider runs the artifact as it is, float32; use device='tensorrt' or "
        int8 = "its CUDA provider computes QDQ in float32, without a gain; use device='tensorrt'"
        return {
            "fp32": "",
            "bf16": f"{reason}engine torch",
            "fp16": f"{reason}engine torch",
            "int8": int8,
        }

    def compile(self, model: bytes, request: CompileRequest) -> "ONNXRuntimeRunner":
        """Load the artifact with all graph optimisations.

        Raises:
            SessionError: it cannot be loaded, or the GPU cannot be used after all.
        """
        ort = import_engine("onnxruntime", "onnxruntime>=1.20")
        options = ort.SessionOptions()
        options.intra_op_num_threads = request.threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = _SEVERITY_ERROR
        # Its threads spin while they wait; between runs that is somebody else's CPU time.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        providers = _providers(request)
        try:
            session = ort.InferenceSession(model, options, providers=providers)
        # Its exceptions share no base class but Exception.
        except Exception as error:
            raise SessionError(
                f"engine onnxruntime cannot load the artifact: {error}; try engine='openvino', or "
                "compile the artifact again"
            ) from error
        kind = request.device.partition(":")[0]
        if kind in _PROVIDERS and _PROVIDERS[kind] not in session.get_providers():
            # It goes on without a provider whose libraries do not load, and says so in its log.
            raise SessionError(
                f"engine onnxruntime could not start {_PROVIDERS[kind]}: its libraries or the "
                "driver are missing or of another version; install those that its release needs, "
                "use device cpu, or engine torch for a GPU"
            )
        session.disable_fallback()  # a failing run is an error, not a run on the CPU
        return ONNXRuntimeRunner(session, 1 if kind == "cpu" else _GPU_BATCH)


def _providers(request: CompileRequest) -> list[Any]:
    """The provider of the device first; what it cannot run goes to the ones after it."""
    kind, _, number = request.device.partition(":")
    if kind == "cpu":
        return ["CPUExecutionProvider"]
    chosen = {"device_id": number or "0"}
    # TF32 would round the heads to 10 bits.
    found: list[Any] = [(_PROVIDERS["cuda"], {**chosen, "use_tf32": "0"})]
    if kind == "tensorrt":
        precision = {
            "fp16": {"trt_fp16_enable": "1"},
            "bf16": {"trt_bf16_enable": "1"},
            "int8": {"trt_int8_enable": "1"},
        }
        found.insert(0, (_PROVIDERS["tensorrt"], chosen | precision.get(request.precision, {})))
    return [*found, "CPUExecutionProvider"]


class ONNXRuntimeRunner:
    """An inference session, which is safe from all threads by itself."""

    def __init__(self, session: Any, most: int) -> None:
        self._session, self._most = session, most

    def run(self, tensor: Array) -> list[Array]:
        return in_parts(tensor, self._run, self._most)

    def _run(self, images: Array) -> list[Array]:
        try:
            found: list[Array] = self._session.run(list(HEAD_NAMES), {INPUT_NAME: images})
        # Its exceptions share no base class but Exception.
        except Exception as error:
            raise SessionError(f"engine onnxruntime failed: {error}; try another engine") from error
        return found

    def close(self) -> None:
        self._session = None

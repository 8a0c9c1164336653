"""OpenVINO on the CPU: the fastest engine here in every precision."""

import queue
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...contract import HEAD_NAMES, INPUT_NAME, INPUT_SIZE
from ...errors import EngineUnavailable, SessionError
from .. import cpu
from ..precision import HALF_ON_GPUS, Precision
from ..tensors import Array, in_parts
from . import CompileRequest, import_engine, version_of

_BLOB = 1
"""Raise this when the way of compiling changes: compiled networks of before then do not count."""

_HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
# int8 too: operators that are not quantized would run in bfloat16 on some CPUs and not on others.

_core: Any = None
_core_lock = threading.Lock()


def shared_core() -> Any:
    """One Core for the process: it loads the device plug-in once and is safe from all threads."""
    global _core
    with _core_lock:
        if _core is None:
            _core = import_engine("openvino", "openvino>=2025.2").Core()
        return _core


class OpenVINOEngine:
    """Engine ``openvino``."""

    name = "openvino"

    @property
    def version(self) -> str:
        """Version of its package, "" where it is not installed."""
        return version_of("openvino")

    def precisions(self, device: str) -> Mapping[str, str]:
        """fp32 and int8 always; bf16 where the CPU has it (elsewhere it would be emulated)."""
        if device != "cpu":
            raise EngineUnavailable(
                f"engine openvino runs on the CPU here, not on {device}; use device cpu, or "
                "engine torch for a GPU"
            )
        capable = "BF16" in shared_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        return {
            "fp32": "",
            "bf16": "" if capable else "this CPU has no bfloat16 instructions",
            "fp16": HALF_ON_GPUS,
            "int8": "",
        }

    def compile(self, model: bytes, request: CompileRequest) -> "OpenVINORunner":
        """Compile for batches of one, or take the compiled network from the cache."""
        core = shared_core()
        key: dict[str, str | int] = {
            "what": "openvino",
            "blob": _BLOB,
            "sha256": request.sha256,
            "version": self.version,
            "cpu": cpu.identity(),
            "precision": request.precision,
            "threads": request.threads,
            "streams": request.streams,
        }
        settings = config(request.precision, request.threads, request.streams)
        blob = request.cache.load(**key)
        if blob is not None:
            try:
                return OpenVINORunner(core.import_model(blob, "CPU", settings), request)
            except RuntimeError:
                # OpenVINO refuses blobs of other builds, which the key cannot always tell apart.
                request.cache.drop(**key)
        try:
            graph = core.read_model(model)
            # A fixed shape lets OpenVINO choose its kernels and memory ahead: batches are taken
            # apart, which costs nothing where one image fills the CPU.
            graph.reshape({INPUT_NAME: [1, 3, INPUT_SIZE, INPUT_SIZE]})
            compiled = core.compile_model(graph, "CPU", settings)
            exported = compiled.export_model()
            runner = OpenVINORunner(compiled, request)
        except RuntimeError as error:
            raise SessionError(
                f"engine openvino cannot compile the artifact: {_last_line(error)}; try "
                "engine='onnxruntime', or compile the artifact again"
            ) from error
        request.cache.store(exported if isinstance(exported, bytes) else exported.getvalue(), **key)
        return runner


def config(precision: Precision, threads: int, streams: int) -> dict[str, Any]:
    """How a network is compiled for the CPU."""
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": streams,
        # Pinned threads of two processes would meet on the same core while others idle.
        "ENABLE_CPU_PINNING": False,
    }


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


class OpenVINORunner:
    """A compiled model with one inference request for each stream."""

    def __init__(self, compiled: Any, request: CompileRequest) -> None:
        self._compiled = compiled
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(request.streams):
            self._requests.put(compiled.create_infer_request())

    def run(self, tensor: Array) -> list[Array]:
        return in_parts(tensor, self._run_one)

    def _run_one(self, image: Array) -> list[Array]:
        request = self._requests.get()
        try:
            # share_outputs stays off: the request's memory is overwritten by its next run.
            found = request.infer({INPUT_NAME: image}, share_inputs=True, share_outputs=False)
            return [np.asarray(found[name], np.float32) for name in HEAD_NAMES]
        except RuntimeError as error:
            raise SessionError(
                f"engine openvino failed: {_last_line(error)}; try another engine"
            ) from error
        finally:
            self._requests.put(request)

    def close(self) -> None:
        while not self._requests.empty():
            self._requests.get()
        self._compiled = None

"""An engine in forty lines: the seam that tests (and other distributions) use.

``session.create(fake_onnx(), engine=FakeEngine())`` runs no network; its heads are those of
``fake_network.fake_heads``.
"""

import threading
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fake_network import DETECTIONS, Planted, fake_heads
from ssd_resnet34.errors import EngineUnavailable
from ssd_resnet34.runtime.engines import CompileRequest


class FakeEngine:
    """``requests`` and ``runs`` record what a session asked for; ``hold`` makes runs wait."""

    name = "fake"
    version = "1"

    def __init__(self, detections: Sequence[Planted] = DETECTIONS) -> None:
        self.detections = detections
        self.requests: list[CompileRequest] = []
        self.runs: list[int] = []
        self.closed = 0
        self.hold: threading.Event | None = None
        self.begun = threading.Semaphore(0)

    def precisions(self, device: str) -> Mapping[str, str]:
        if device != "cpu":
            raise EngineUnavailable("engine fake runs on the CPU only; use device='cpu'")
        return {"fp32": "", "bf16": "a fake has no bf16", "int8": ""}

    def compile(self, model: bytes, request: CompileRequest) -> "FakeRunner":
        self.requests.append(request)
        return FakeRunner(self, request)


class FakeRunner:
    def __init__(self, engine: FakeEngine, request: CompileRequest) -> None:
        self.engine, self.request = engine, request

    def run(self, tensor: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        self.engine.runs.append(len(tensor))
        self.engine.begun.release()
        if self.engine.hold is not None:
            assert self.engine.hold.wait(300)
        return fake_heads(tensor, self.request.contract, self.engine.detections)

    def close(self) -> None:
        self.engine.closed += 1

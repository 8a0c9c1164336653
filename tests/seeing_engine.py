"""An engine that is a function: what it sees in the tensor is what its heads hold."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from planted_heads import Thing, planted
from ssd_resnet34.runtime.engines import CompileRequest

See = Callable[[NDArray[np.float32], str], Sequence[Thing]]
"""A tensor [3, 1200, 1200] and the session's precision -> the things in it."""


class SeeingEngine:
    """``session.create(fake_onnx(), engine=SeeingEngine(see))``; ``runs`` counts images."""

    name = "seeing"
    version = "1"

    def __init__(self, see: See) -> None:
        self.see = see
        self.runs = 0

    def precisions(self, device: str) -> Mapping[str, str]:
        return {"fp32": "", "bf16": "", "int8": ""}

    def compile(self, model: bytes, request: CompileRequest) -> "SeeingRunner":
        return SeeingRunner(self, request)


class SeeingRunner:
    def __init__(self, engine: SeeingEngine, request: CompileRequest) -> None:
        self.engine, self.request = engine, request

    def run(self, tensor: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        self.engine.runs += len(tensor)
        each = [
            planted(self.engine.see(one, self.request.precision), contract=self.request.contract)
            for one in tensor
        ]
        return [np.concatenate(parts) for parts in zip(*each, strict=True)]

    def close(self) -> None:
        pass

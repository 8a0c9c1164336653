"""The fake engine, with pictures that hurt it: what a picture's grey says is what it does."""

import os
import signal
import time

import numpy as np
from numpy.typing import NDArray

from fake_engine import FakeEngine, FakeRunner
from ssd_resnet34.runtime.engines import CompileRequest

KILLS, HANGS, SWELLS, RAISES = 255, 250, 245, 240
"""Shades of grey; a picture of another shade is harmless."""

SWOLLEN = 1 << 30
"""Bytes that a picture of the shade SWELLS takes."""


class PoisonEngine(FakeEngine):
    name = "poison"

    def compile(self, model: bytes, request: CompileRequest) -> "PoisonRunner":
        return PoisonRunner(self, request)


class PoisonRunner(FakeRunner):
    def run(self, tensor: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        contract = self.request.contract
        red = float(tensor[0, 0, 600, 600]) * contract.std[0] + contract.mean[0]
        shade = round(red * 255)
        if shade == KILLS:
            os.kill(os.getpid(), signal.SIGKILL)
        elif shade == HANGS:
            time.sleep(3600)
        elif shade == SWELLS:
            held = np.ones(SWOLLEN, np.uint8)
            time.sleep(3600)
            del held
        elif shade == RAISES:
            raise RuntimeError("no such luck")
        return super().run(tensor)


class SlowEngine(FakeEngine):
    """Slow enough to be killed at work."""

    name = "slow"

    def compile(self, model: bytes, request: CompileRequest) -> "SlowRunner":
        return SlowRunner(self, request)


class SlowRunner(FakeRunner):
    def run(self, tensor: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        time.sleep(0.04)
        return super().run(tensor)


class NoEngine(FakeEngine):
    """Ends its process before it is ready."""

    name = "none"

    def compile(self, model: bytes, request: CompileRequest) -> FakeRunner:
        os._exit(7)

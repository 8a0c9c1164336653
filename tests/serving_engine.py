"""The fake engine with faults: the colour of a picture says what becomes of the worker.

``SERVING_ENGINE_SECONDS`` is the time that each run takes.
"""

import os
import signal
import time
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fake_engine import FakeEngine, FakeRunner
from ssd_resnet34.contract import COCO
from ssd_resnet34.errors import SessionError
from ssd_resnet34.runtime.engines import CompileRequest

FAULTS = {
    "kill": (255, 0, 0),
    "segv": (0, 255, 0),
    "memory": (0, 0, 255),
    "defect": (255, 255, 0),
    "engine": (255, 0, 255),
    "hang": (0, 255, 255),
}
"""Fault -> R, G, B of the whole picture."""


class ServingEngine(FakeEngine):
    name = "serving"

    def compile(self, model: bytes, request: CompileRequest) -> "ServingRunner":
        return ServingRunner(self, request)


class ServingRunner(FakeRunner):
    def run(self, tensor: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        time.sleep(float(os.environ.get("SERVING_ENGINE_SECONDS", "0")))
        happen(_fault(tensor))
        return super().run(tensor)


def happen(fault: str) -> None:
    if fault == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif fault == "segv":
        # To this very thread: sent to the process, another takes it while this one answers.
        signal.raise_signal(signal.SIGSEGV)
    elif fault == "memory":
        raise MemoryError("no memory for this tensor")
    elif fault == "defect":
        raise ZeroDivisionError("a defect")
    elif fault == "engine":
        raise SessionError("the engine refuses; choose another")
    elif fault == "hang":
        time.sleep(600)


def _fault(tensor: NDArray[np.float32]) -> str:
    corners = tensor[0, :, [0, -1], [0, -1]]
    rgb = np.rint((corners * np.array(COCO.std) + np.array(COCO.mean)) * 255)
    for name, colour in FAULTS.items():
        if (rgb == colour).all():
            return name
    return ""


def coloured(rgb: tuple[int, int, int], width: int = 64, height: int = 48) -> bytes:
    """A PNG of one colour."""
    pixels = np.full((height, width, 3), rgb[::-1], np.uint8)
    return bytes(cv2.imencode(".png", pixels)[1])


def picture(shade: int = 128, width: int = 64, height: int = 48) -> bytes:
    """A JPEG of one grey: another shade gives other scores, another size other boxes."""
    pixels: NDArray[Any] = np.full((height, width, 3), shade, np.uint8)
    return bytes(cv2.imencode(".jpg", pixels)[1])

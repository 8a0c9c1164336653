"""What a server must be like after anything hostile: alive, right, as it was before."""

import json
import time
from collections.abc import Callable
from functools import cache
from typing import Any

from fake_engine import FakeEngine
from fake_network import fake_onnx
from running_server import Server, wait
from serving_engine import picture
from ssd_resnet34 import load

GOOD = picture(90)


@cache
def right() -> Any:
    """The detections of the good picture, as the detector itself gives them."""
    with load(fake_onnx(), engine=FakeEngine()) as detector:
        return json.loads(json.dumps(detector(GOOD).to_dict()["detections"]))


class Condition:
    """Of one server, as it is now; :meth:`check` says that it is so again.

    Args:
        server: is asked first, so that whatever is made once has been made.
        growth: bytes that the server's process, and each worker's, may hold more, ever after.
    """

    def __init__(self, server: Server, growth: tuple[int, int]) -> None:
        self._server, self._growth = server, growth
        self._client = server.client()
        self._ask()
        self._peaks, self._descriptors = server.peaks(), _settled(server.descriptors)

    def close(self) -> None:
        self._client.close()

    def check(self) -> None:
        """Liveness, the next good answer, nothing held, descriptors and memory as before."""
        self._ask()
        # Connections close when the server has read that the other end has: that takes a moment.
        wait(lambda: self._no_more(self._server.descriptors()))
        peaks = self._server.peaks()
        grown = [now - then for now, then in zip(peaks, self._peaks, strict=True)]
        assert grown[0] < self._growth[0], f"the server has held {grown[0]} bytes more"
        assert max(grown[1:]) < self._growth[1], f"workers have held {grown[1:]} bytes more"

    def _no_more(self, descriptors: list[int]) -> bool:
        if len(descriptors) != len(self._descriptors):
            return False  # a worker is being replaced
        return all(now <= then for now, then in zip(descriptors, self._descriptors, strict=True))

    def _ask(self) -> None:
        client = self._client
        assert client.get("/v2/health/live").json() == {"live": True}
        answer = client.post("/detect", content=GOOD)
        assert (answer.status_code, answer.json()["detections"]) == (200, right())
        wait(lambda: idle(client.get("/metrics").text))


def _settled(look: Callable[[], list[int]]) -> list[int]:
    """What stays the same for half a second."""
    found: list[list[int]] = []

    def same() -> bool:
        found.append(look())
        time.sleep(0.1)
        return len(found) > 5 and all(one == found[-1] for one in found[-5:])

    wait(same)
    return found[-1]


def idle(metrics: str) -> bool:
    """Nothing is held for a request that is over."""
    lines = metrics.splitlines()
    names = ("held_bytes", "queue_inside", "queue_arriving")
    return all(f"ssd_resnet34_{name} 0.0" in lines for name in names)

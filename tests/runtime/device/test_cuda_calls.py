"""What is asked of CUDA, with stand-ins for its streams and graphs: the order of waiting, captures.

There is no GPU where these tests run; they hold the calls, not what CUDA makes of them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from small_network import CONTRACT, small_onnx
from ssd_resnet34.vision.postprocess import rules

torch = pytest.importorskip("torch", reason="the torch extra is not installed")

from small_torch import small_torch  # noqa: E402  # needs torch
from ssd_resnet34.runtime.device.network import CUDAGraph, DeviceNetwork  # noqa: E402
from ssd_resnet34.runtime.device.runner import DeviceRunner  # noqa: E402


class Stream:
    """Notes who waits for whom."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log

    def wait_stream(self, other: "Stream") -> None:
        self.log.append(f"{self.name} waits for {other.name}")


class Card:
    """Stand-ins for ``torch.cuda``; ``log`` has what was asked of it, in order."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.log: list[str] = []
        self.caller = Stream("caller", self.log)
        self.network = Stream("network", self.log)
        self.now = self.caller
        self.captures: list[dict[str, Any]] = []
        patch.setattr(torch.cuda, "current_stream", lambda *_: self.now)
        patch.setattr(torch.cuda, "stream", self.stream)
        patch.setattr(torch.cuda, "synchronize", lambda *_: None)
        patch.setattr(torch.cuda, "CUDAGraph", lambda: self)
        patch.setattr(torch.cuda, "graph", self.graph)
        patch.setattr(
            torch.Tensor,
            "record_stream",
            lambda _, stream: self.log.append(f"kept for {stream.name}"),
        )

    @contextmanager
    def stream(self, one: Stream) -> Iterator[None]:
        before, self.now = self.now, one
        self.log.append(f"in {one.name}")
        yield
        self.now = before

    @contextmanager
    def graph(self, graph: Any, **options: Any) -> Iterator[None]:
        assert graph is self
        self.captures.append(options)
        yield

    def replay(self) -> None:
        self.log.append("replay")


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Card:
    return Card(monkeypatch)


def on(card: Card) -> DeviceNetwork:
    """A network that believes its CPU to be a card."""
    made = DeviceNetwork(
        small_torch(small_onnx()), CONTRACT.num_classes, torch.device("cpu"), torch.float32
    )
    made._stream, made._pool, made._capture = card.network, "the pool", CUDAGraph  # type: ignore[assignment]
    return made


def test_a_pass_runs_in_the_networks_stream_between_two_waits(card: Card) -> None:
    on(card)(torch.zeros(3, 3, 1200, 1200))
    kept = [line for line in card.log if line.startswith("kept")]
    assert [line for line in card.log if not line.startswith("kept")] == [
        "network waits for caller",
        "in network",
        "caller waits for network",
    ]
    assert kept[0] == "kept for network"  # the batch
    assert set(kept[1:]) == {"kept for caller"}  # the results
    assert len(kept) == 1 + 12 + 3


def test_graphs_are_captured_in_the_networks_stream_from_one_pool(card: Card) -> None:
    network = on(card)
    for count in (1, 1, 2, 2, 1):
        network(torch.zeros(count, 3, 1200, 1200))
    wanted = {"pool": "the pool", "stream": card.network, "capture_error_mode": "thread_local"}
    assert card.captures == [wanted, wanted]
    assert card.log.count("replay") == 3  # the second use of each size, and the fifth call
    assert network.joined == (0, 4)  # tried, and on this device there is no such kernel
    assert card.now is card.caller


def test_a_call_has_a_stream_of_its_own_and_gives_it_back(card: Card) -> None:
    runner = DeviceRunner(small_torch(small_onnx()), CONTRACT, "cpu", "fp32", 1)
    lane = Stream("lane", card.log)
    assert runner._lanes.get() is None  # on a CPU there are none
    runner._lanes.put(lane)  # type: ignore[arg-type]
    pixels = np.zeros((20, 30, 3), np.uint8)
    for _ in range(2):
        runner.detect([pixels], rules(contract=CONTRACT))
    assert card.log == ["in lane", "in lane"]
    back: object = runner._lanes.get()
    assert back is lane

"""Passes: captured from the second use of a size on, a few sizes only, never overwritten."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from small_network import CONTRACT, small_onnx

torch = pytest.importorskip("torch", reason="the torch extra is not installed")

from small_torch import small_torch  # noqa: E402  # needs torch
from ssd_resnet34.runtime.device import network as networks  # noqa: E402
from ssd_resnet34.runtime.device.network import (  # noqa: E402
    CAPTURED,
    MAX_BATCH,
    DeviceNetwork,
    Forward,
    Graph,
    Pass,
    Plan,
)

CPU = torch.device("cpu")
DEFAULT = Plan()


class FakeGraph:
    """Like a CUDA graph it gives the same memory each time."""

    made: list[int]

    def __init__(self, forward: Forward, batch: Any, pool: object) -> None:
        self.made.append(len(batch))
        self.forward = forward
        self.result = forward(batch)

    def __call__(self, batch: Any) -> Pass:
        for mine, new in zip(self.result.tensors(), self.forward(batch).tensors(), strict=True):
            mine.copy_(new)
        return self.result


@pytest.fixture
def captures(monkeypatch: pytest.MonkeyPatch) -> Callable[[Forward, Any, object], Graph]:
    monkeypatch.setattr(FakeGraph, "made", [], raising=False)
    return FakeGraph


def small(plan: Plan = DEFAULT, capture: Any = None) -> DeviceNetwork:
    network = small_torch(small_onnx())
    return DeviceNetwork(network, CONTRACT.num_classes, CPU, torch.float32, plan, capture)


def images(count: int, seed: int = 0) -> Any:
    """Batches of one shade an image: cheap to make, and each gives other heads."""
    generator = torch.Generator().manual_seed(seed)
    shades = torch.randn(count, 3, 1, 1, generator=generator).expand(-1, -1, 1200, 1200)
    return shades.contiguous(memory_format=torch.channels_last)


def test_a_size_is_captured_at_its_second_use_and_odd_sizes_never(
    captures: Callable[[Forward, Any, object], Graph],
) -> None:
    network = small(capture=captures)
    for count, wanted in ((2, []), (3, []), (3, []), (2, [2]), (1, [2]), (2, [2]), (1, [1, 2])):
        network(images(count))
        assert network.captured == wanted
    assert FakeGraph.made == [2, 1]
    assert max(CAPTURED) == MAX_BATCH  # at most these seven are ever kept
    assert small(Plan(captured=False), captures).captured == []


def test_a_captured_pass_gives_the_same_numbers_in_memory_of_its_own(
    captures: Callable[[Forward, Any, object], Graph],
) -> None:
    network, plain = small(capture=captures), small(Plan(False, False, False))
    batches = [images(2, seed) for seed in range(4)]
    found = [network(batch, with_heads=True) for batch in batches]  # the last three by the graph
    for one, batch in zip(found, batches, strict=True):
        for a, b in zip(one.tensors(), plain(batch).tensors(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    assert len(found[3].heads) == 12
    assert network(batches[0]).heads == []  # copied only where they are asked for


def test_threads_share_one_network(captures: Callable[[Forward, Any, object], Graph]) -> None:
    network, plain = small(capture=captures), small()
    batches = [images(1, seed) for seed in range(4)]
    wanted = [plain(batch).logits for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda n: network(batches[n % 4]).logits, range(24)))
    for n, logits in enumerate(found):
        torch.testing.assert_close(logits, wanted[n % 4], rtol=1e-5, atol=1e-5)


def test_no_room_for_a_graph_is_told_once_and_passes_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tries = []

    def full(forward: Forward, batch: Any, pool: object) -> Graph:
        tries.append(len(batch))
        raise torch.OutOfMemoryError("CUDA out of memory")

    network = small(capture=full)
    with caplog.at_level(logging.WARNING):
        for _ in range(4):
            assert len(network(images(2)).logits) == 2
    assert tries == [2]
    assert caplog.text.count("no memory to capture a batch of 2") == 1


def test_passes_run_in_true_float32_with_cudnn_on_whatever_the_process_has_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []
    cudnn = torch.backends.cudnn

    class Watched(torch.nn.Module):  # type: ignore[misc,name-defined]  # importorskip gives Any
        def forward(self, batch: Any) -> list[Any]:
            seen.append((cudnn.enabled, cudnn.allow_tf32, cudnn.benchmark))
            return [
                torch.zeros(len(batch), *shape) for shape in CONTRACT.head_shapes().values()
            ]  # nothing to join

    plan = Plan(fused=False)
    network = DeviceNetwork(Watched(), CONTRACT.num_classes, CPU, torch.float32, plan)
    before = (cudnn.enabled, cudnn.allow_tf32, cudnn.benchmark)
    for _ in range(2):
        network(images(1))
    assert seen == [(True, False, False), (True, False, True)]  # tuned once it repeats
    assert (cudnn.enabled, cudnn.allow_tf32, cudnn.benchmark) == before


def test_flags_of_the_process_are_changed_by_one_thread_at_a_time() -> None:
    inside = []

    def use() -> None:
        with networks._flags(autotuned=False):
            inside.append(1)
            assert len(inside) == 1
            threading.Event().wait(0.01)
            inside.pop()

    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(use) for _ in range(8)]:
            future.result()


def test_half_precisions_give_float32_logits() -> None:
    wanted = small()(images(1))
    for kind in (torch.bfloat16, torch.float16):
        network = DeviceNetwork(small_torch(small_onnx()), CONTRACT.num_classes, CPU, kind)
        found = network(images(1).to(kind))
        assert found.logits.dtype == found.offsets.dtype == torch.float32
        torch.testing.assert_close(found.logits, wanted.logits, rtol=0.1, atol=0.1)

"""Peers: they do the same work, say how to get them, and never end the run."""

import sys
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import ssd_resnet34
from fake_engine import FakeEngine
from fake_network import constant_heads, fake_onnx
from small_network import CONTRACT, pictures, small_onnx
from ssd_resnet34.benchmarking import peers
from ssd_resnet34.benchmarking.runs import Contender, Entry, Run, measure
from ssd_resnet34.errors import UnsupportedPrecision

Heads = Sequence[NDArray[np.float32]]


def rows(entries: list[Entry]) -> dict[str, Run]:
    baseline = Contender("baseline", lambda: None)
    return {run.name: run for run in measure(baseline, entries, 1)}


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    return lambda name: monkeypatch.setitem(sys.modules, name, None)


def test_onnx_runtime_runs_a_published_style_graph_of_the_same_weights(
    missing: Callable[[str], None],
) -> None:
    missing("torch")
    entries = peers.networks(small_onnx, CONTRACT.num_classes, pictures(1)[0], 1)
    with entries[0].open() as contender:
        found: Any = contender.run()
        boxes, scores, *_ = found
        assert boxes.shape[::2] == (1, 4)
        assert scores.shape[0] == 1
        assert (contender.engine, contender.precision) == ("onnxruntime", "fp32")


def test_a_peer_that_is_not_installed_is_a_row_with_the_pip_command(
    missing: Callable[[str], None],
) -> None:
    missing("torch")
    missing("furiosa_native_postprocess")
    networks = rows(peers.networks(small_onnx, CONTRACT.num_classes, pictures(1)[0], 1))
    assert "pip install 'ssd-resnet34[torch]'" in networks[peers.EAGER].unavailable
    assert networks[peers.PUBLISHED].seconds is not None
    with ssd_resnet34.load(fake_onnx(), engine=FakeEngine(), threads=1) as detector:
        ours, entries = peers.decoders(detector, constant_heads())
        found = rows(entries)
    assert "pip install 'furiosa-native-postprocess'" in found[peers.RUST].unavailable
    assert found[peers.LITERAL].seconds is not None
    assert ours.name == "ssd-resnet34"


def test_weights_without_a_float_network_have_no_such_peer(missing: Callable[[str], None]) -> None:
    missing("torch")

    def source() -> bytes:
        raise UnsupportedPrecision("int8 already")

    found = rows(peers.networks(source, CONTRACT.num_classes, pictures(1)[0], 1))
    assert found[peers.PUBLISHED].unavailable == "int8 already"


def test_whatever_a_peer_raises_is_a_row(missing: Callable[[str], None]) -> None:
    missing("torch")
    found = rows(peers.networks(small_onnx, CONTRACT.num_classes, np.zeros((1, 1), np.float32), 1))
    assert found[peers.PUBLISHED].fault.startswith("onnxruntime, published failed: ")
    assert "leave the peers out" in found[peers.PUBLISHED].fault


def test_torch_runs_the_plain_module_and_gives_its_threads_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch = pytest.importorskip("torch")
    from ssd_resnet34.network import module

    class Small(torch.nn.Module):  # type: ignore[misc,name-defined]  # torch comes by importorskip
        def __init__(self, num_classes: int) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, num_classes, 1, 400)
            self.norm = torch.nn.BatchNorm2d(num_classes)

        def forward(self, x: Any) -> Any:
            return self.norm(self.conv(x))

    monkeypatch.setattr(module, "SSDResNet34Module", Small)
    before = torch.get_num_threads()
    image = pictures(1)[0]
    image.setflags(write=False)
    eager = peers.networks(small_onnx, 5, image, 1)[1]
    with eager.open() as contender:
        assert torch.get_num_threads() == 1
        heads: Any = contender.run()
        assert heads.shape == (1, 5, 3, 3)
        assert not heads.requires_grad
    assert torch.get_num_threads() == before


def test_the_rust_decoder_gets_the_heads_of_one_image(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[Heads, Heads]] = []

    class RustPostProcessor:
        def eval(self, loc: Heads, cls: Heads) -> None:
            given.append((loc, cls))

    package = SimpleNamespace(ssd_resnet34=SimpleNamespace(RustPostProcessor=RustPostProcessor))
    monkeypatch.setitem(sys.modules, "furiosa_native_postprocess", package)
    with ssd_resnet34.load(fake_onnx(), engine=FakeEngine(), threads=1) as detector:
        _, entries = peers.decoders(detector, constant_heads())
        assert rows(entries)[peers.RUST].seconds is not None
    loc, cls = given[0]
    assert [head.shape for head in cls][:2] == [(324, 50, 50), (486, 25, 25)]
    assert [head.shape for head in loc][:2] == [(16, 50, 50), (24, 25, 25)]


def test_it_knows_only_the_classes_of_coco() -> None:
    pytest.importorskip("furiosa_native_postprocess", exc_type=ImportError)
    with ssd_resnet34.load(small_onnx(), engine=FakeEngine(), threads=1) as detector:
        _, entries = peers.decoders(detector, constant_heads(CONTRACT, ()))
        found = rows(entries)[peers.RUST]
    assert "it decodes 81 classes only, these weights have 3" in found.unavailable


def test_the_literal_road_goes_from_a_file_to_detections() -> None:
    import cv2

    data = cv2.imencode(".png", np.full((20, 30, 3), 99, np.uint8))[1].tobytes()
    with ssd_resnet34.load(fake_onnx(), engine=FakeEngine(), threads=1) as detector:
        ours, (entry,) = peers.roads(detector, fake_onnx, data, 1)
        found: Any = ours.run()
        with entry.open() as contender:
            plain: Any = contender.run()
    boxes, scores, indices = plain
    assert sorted(indices) == sorted(found.indices)
    np.testing.assert_allclose(scores, found.scores, atol=1e-4)
    assert len(boxes) == 3

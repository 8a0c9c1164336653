"""The runner of a device: heads and boxes agree with the host's road, errors name the mend."""

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from small_network import CONTRACT, small_onnx
from ssd_resnet34 import artifact
from ssd_resnet34.contract import COCO
from ssd_resnet34.errors import HeadsError, SessionError, UnsupportedPrecision
from ssd_resnet34.network.builder import build
from ssd_resnet34.runtime import session
from ssd_resnet34.runtime.precision import Precision
from ssd_resnet34.vision.detections import Detections
from ssd_resnet34.vision.images import Image
from ssd_resnet34.vision.postprocess import as_detections, postprocess, rules
from ssd_resnet34.vision.preprocess import ImageContext, preprocess
from ssd_resnet34.vision.selection import Nms

torch = pytest.importorskip("torch", reason="the torch extra is not installed")

from small_torch import small_torch  # noqa: E402  # needs torch
from ssd_resnet34.runtime.device import runner as runners  # noqa: E402
from ssd_resnet34.runtime.device.folded import folded  # noqa: E402
from ssd_resnet34.runtime.device.runner import DeviceRunner  # noqa: E402


def pictures(sizes: Sequence[tuple[int, int]], seed: int = 0) -> list[Image]:
    """Coarse noise, so that there is something to find."""
    rng = np.random.default_rng(seed)
    found = []
    for height, width in sizes:
        coarse = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
        pixels = coarse.repeat(8, 0).repeat(8, 1)[:height, :width]
        found.append(Image(np.ascontiguousarray(pixels)))
    return found


def small(precision: Precision = "fp32") -> DeviceRunner:
    return DeviceRunner(small_torch(small_onnx()), CONTRACT, "cpu", precision)


def by_device(runner: DeviceRunner, images: list[Image], **options: Any) -> list[Detections]:
    found = runner.detect([one.pixels for one in images], rules(contract=CONTRACT, **options))
    return [
        as_detections(one, ImageContext(image.width, image.height), CONTRACT, False, "")
        for image, one in zip(images, found, strict=True)
    ]


def by_host(images: list[Image], **options: Any) -> list[Detections]:
    """OpenCV, ONNX Runtime on the same weights, numpy."""
    with session.create(small_onnx(), "onnxruntime", precision="fp32", threads=1) as sess:
        heads = sess.run(preprocess(images, CONTRACT))
    return postprocess(heads, contract=CONTRACT, **options)


def assert_same(found: list[Detections], wanted: list[Detections]) -> None:
    """Row by row, but for boxes whose scores are as close as two float32 networks are."""
    assert [len(one) for one in found] == [len(one) for one in wanted]
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a.scores, b.scores, rtol=0, atol=1e-5)
        first, second = (np.lexsort((*one.boxes.round(1).T, one.indices)) for one in (a, b))
        np.testing.assert_array_equal(a.indices[first], b.indices[second])
        np.testing.assert_allclose(a.boxes[first], b.boxes[second], rtol=1e-4, atol=1e-2)


@given(
    st.lists(st.tuples(st.integers(8, 300), st.integers(8, 300)), min_size=1, max_size=3),
    st.integers(0, 1000),
    st.sampled_from(("exact", "mlperf")),
)
@settings(max_examples=10)
def test_boxes_of_images_of_any_size_are_the_hosts(
    sizes: list[tuple[int, int]], seed: int, nms: Nms
) -> None:
    images = pictures(sizes, seed)
    options = {"nms": nms, "score_threshold": 0.6, "top_k": 50}
    assert_same(by_device(small(), images, **options), by_host(images, **options))


def test_there_is_something_to_find() -> None:
    (found,) = by_host(pictures([(200, 300)]), score_threshold=0.6, top_k=50)
    assert len(found) > 3


def test_heads_of_a_tensor_are_those_of_onnx_runtime() -> None:
    tensor = preprocess(pictures([(60, 80), (90, 50)]), CONTRACT).tensor
    tensor.setflags(write=False)
    with session.create(small_onnx(), "onnxruntime", precision="fp32", threads=1) as sess:
        wanted = sess.run(tensor)
    for a, b in zip(small().run(tensor), wanted, strict=True):
        assert a.dtype == np.float32
        assert a.flags.c_contiguous
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_more_images_than_a_pass_takes_are_several_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    images = pictures([(40, 50), (60, 30), (20, 90), (35, 45), (50, 50)])
    wanted = by_device(small(), images, score_threshold=0.6)
    monkeypatch.setattr(runners, "MAX_BATCH", 2)
    runner = small()
    assert_same(by_device(runner, images, score_threshold=0.6), wanted)
    tensor = preprocess(images, CONTRACT).tensor
    assert [len(head) for head in runner.run(tensor)] == [5] * 12


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_the_halves_find_the_same_scores_nearly(precision: Precision) -> None:
    images = pictures([(200, 300)])
    (wanted,) = by_device(small(), images, score_threshold=0.3)
    (found,) = by_device(small(precision), images, score_threshold=0.3)
    assert abs(len(found) - len(wanted)) <= 0.1 * len(wanted)
    np.testing.assert_allclose(found.scores[:20], wanted.scores[:20], atol=0.02)


def test_the_real_network_on_the_golden_picture_finds_the_references_boxes(
    golden: ModuleType, golden_npz: Callable[[str], Any]
) -> None:
    wanted = golden_npz("network.npz")
    model = artifact.serialize(build(golden.state_dict(7), COCO))
    runner = DeviceRunner(folded(model, COCO), COCO, "cpu", "fp32")
    height, width = (int(side) for side in wanted["image_size"])
    picture = golden.image(int(wanted["image_seed"]), height, width)
    (found,) = runner.detect([picture], rules())
    assert abs(len(found.scores) - len(wanted["exact/scores"])) <= 2
    near = np.abs(found.boxes[:, None] - wanted["exact/boxes"][None]).max(axis=2)
    near[found.classes[:, None] != wanted["exact/labels"][None]] = np.inf
    assert (near.min(axis=0) <= 1e-3).sum() >= len(wanted["exact/scores"]) - 2


# ------------------------------------------------------------------------------- what fails


def test_heads_that_are_not_finite_are_refused_as_on_the_host() -> None:
    network = small_torch(small_onnx())
    with torch.no_grad():
        network.get_parameter("cls.2.bias")[5] = float("nan")
    runner = DeviceRunner(network, CONTRACT, "cpu", "fp32")
    with pytest.raises(HeadsError, match="cls_2 has NaN or infinity at 169 of"):
        by_device(runner, pictures([(30, 40)]))


def test_an_overflow_of_fp16_is_refused_and_bf16_goes_on() -> None:
    network = small_torch(small_onnx())
    with torch.no_grad():
        network.get_parameter("loc.1.bias")[0] = 1e5
    runner = DeviceRunner(network, CONTRACT, "cpu", "fp16")
    with pytest.raises(HeadsError, match="loc_1 has NaN or infinity"):
        by_device(runner, pictures([(30, 40)]))


def test_a_full_memory_says_how_many_images_were_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    runner = small()

    def full(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3.00 GiB")

    monkeypatch.setattr(runner, "network", full)
    with pytest.raises(SessionError, match=r"of memory for 2 images in fp32; give .*bf16"):
        by_device(runner, pictures([(30, 40), (30, 40)]))
    with pytest.raises(SessionError, match="out of memory for 1 image in fp32"):
        runner.run(np.zeros((1, 3, 1200, 1200), np.float32))


def test_any_other_error_of_torch_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    runner = small()

    def lost(*_: Any, **__: Any) -> Any:
        raise RuntimeError("CUDA error: device lost\nCompile with TORCH_USE_CUDA_DSA")

    monkeypatch.setattr(runner, "network", lost)
    with pytest.raises(SessionError, match="failed on cpu: CUDA error: device lost; try") as caught:
        by_device(runner, pictures([(30, 40)]))
    assert "\n" not in str(caught.value)


def test_a_lane_is_given_back_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    runner = small()
    working = runner.network

    def lost(*_: Any, **__: Any) -> Any:
        raise RuntimeError("lost")

    for _ in range(3):
        monkeypatch.setattr(runner, "network", lost)
        with pytest.raises(SessionError):
            by_device(runner, pictures([(30, 40)]))
        monkeypatch.setattr(runner, "network", working)
        by_device(runner, pictures([(30, 40)]))


def test_a_published_graph_is_another_program() -> None:
    with pytest.raises(UnsupportedPrecision, match="published graph"):
        folded(small_onnx(), CONTRACT)


def test_pixels_that_are_all_alike_give_finite_boxes() -> None:
    black: NDArray[np.uint8] = np.zeros((30, 40, 3), np.uint8)
    (found,) = small().detect([black], rules(0.0, top_k=3, contract=CONTRACT))
    assert np.isfinite(found.boxes).all()

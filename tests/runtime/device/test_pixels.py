"""The input tensor made on a device is the one that is made on the host."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ssd_resnet34.contract import COCO, Contract
from ssd_resnet34.vision.images import decode
from ssd_resnet34.vision.preprocess import preprocess

torch = pytest.importorskip("torch", reason="the torch extra is not installed")

from ssd_resnet34.runtime.device.pixels import Preprocessor  # noqa: E402  # needs torch

CASES = ("480x640", "333x500", "1200x1200", "37x2000", "1x1", "300x400_gray")
CPU = torch.device("cpu")


def noise(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(height * 31 + width).integers(0, 256, (height, width, 3), np.uint8)


def on_host(images: list[NDArray[np.uint8]], contract: Contract = COCO) -> NDArray[np.float32]:
    return preprocess(images, contract, colour="bgr").tensor


@pytest.mark.parametrize("case", CASES)
def test_samples_equal_the_golden_ones(
    golden: ModuleType, golden_npz: Callable[[str], Any], case: str
) -> None:
    wanted = golden_npz("preprocess.npz")
    height, width = (int(side) for side in wanted[f"{case}/size"])
    seed, gray = int(wanted[f"{case}/seed"]), bool(wanted[f"{case}/gray"])
    image = decode(golden.image(seed, height, width, gray), colour=None if gray else "bgr")
    batch = Preprocessor(COCO, CPU, torch.float32)([image.pixels])
    tensor = batch.contiguous()[0].numpy()
    assert np.abs(tensor.ravel()[wanted[f"{case}/index"]] - wanted[f"{case}/value"]).max() <= 1e-5
    channels = tensor.mean(axis=(1, 2), dtype=np.float64)
    np.testing.assert_allclose(channels, wanted[f"{case}/channel_mean"], atol=1e-5)


@pytest.mark.parametrize(
    "size",
    [(1, 1), (9, 65500), (65500, 9), (1199, 1201), (1200, 1200), (2999, 3997), (2, 3), (720, 1280)],
)
def test_every_size_equals_the_hosts(size: tuple[int, int]) -> None:
    pixels = noise(*size)
    batch = Preprocessor(COCO, CPU, torch.float32)([pixels])
    assert np.abs(batch.numpy() - on_host([pixels])).max() <= 3e-6


@pytest.mark.parametrize("size", [(1, 2000), (2000, 1)])
def test_a_single_row_is_within_opencvs_own_rounding(size: tuple[int, int]) -> None:
    """There OpenCV rounds positions to float32: it is the one that is off."""
    pixels = noise(*size)
    batch = Preprocessor(COCO, CPU, torch.float32)([pixels])
    assert np.abs(batch.numpy() - on_host([pixels])).max() <= 5e-4


@given(st.lists(st.tuples(st.integers(2, 60), st.integers(2, 60)), min_size=1, max_size=3))
@settings(max_examples=12)
def test_a_batch_mixes_sizes(sizes: list[tuple[int, int]]) -> None:
    images = [noise(*size) for size in sizes]
    batch = Preprocessor(COCO, CPU, torch.float32)(images)
    assert batch.is_contiguous(memory_format=torch.channels_last)
    assert np.abs(batch.numpy() - on_host(images)).max() <= 3e-6


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_the_halves_differ_by_their_rounding(kind: Any) -> None:
    for size in ((480, 640), (1080, 1920)):
        pixels = noise(*size)
        found = Preprocessor(COCO, CPU, kind)([pixels])
        assert found.dtype == kind
        wanted = on_host([pixels])
        # Values reach 2.64; a half rounds by half a step, and float32 positions add a little.
        allowed = torch.finfo(kind).eps * 2.64 / 2 + 1e-3
        assert np.abs(found.float().numpy() - wanted).max() <= allowed


def test_mean_and_std_are_the_contracts() -> None:
    contract = Contract(COCO.categories, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    for size in ((30, 40), (1500, 1300)):
        pixels = noise(*size)
        batch = Preprocessor(contract, CPU, torch.float32)([pixels])
        assert np.abs(batch.numpy() - on_host([pixels], contract)).max() <= 3e-6


def test_pixels_that_may_not_be_written_are_read_without_a_warning() -> None:
    pixels = noise(20, 30)
    wanted = on_host([pixels])
    pixels.setflags(write=False)
    batch = Preprocessor(COCO, CPU, torch.float32)([pixels])
    assert np.abs(batch.numpy() - wanted).max() <= 3e-6

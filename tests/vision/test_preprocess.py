"""Claims about the input tensor: golden samples, the literal recipe, sources and contexts."""

import io
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, assert_type

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from hostile import make_images as make
from ssd_resnet34.contract import COCO, Contract
from ssd_resnet34.errors import CorruptImage, UsageError
from ssd_resnet34.vision.images import Limits, decode
from ssd_resnet34.vision.preprocess import ImageContext, ModelInput, preprocess

CASES = ("480x640", "333x500", "1200x1200", "37x2000", "1x1", "300x400_gray")


def literal(pixels: NDArray[np.uint8], contract: Contract = COCO) -> NDArray[np.float32]:
    """The recipe of the contract, word by word: BGR uint8 (H, W, 3) -> (3, 1200, 1200)."""
    image = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB).astype(np.float32)
    large = cv2.resize(image, (1200, 1200), interpolation=cv2.INTER_LINEAR)
    mean, std = np.array(contract.mean, np.float32), np.array(contract.std, np.float32)
    normalised = (large / np.float32(255) - mean) / std
    return np.asarray(normalised.transpose(2, 0, 1), np.float32)


def noise(height: int, width: int) -> NDArray[np.uint8]:
    generator = np.random.default_rng(height * 31 + width)
    return generator.integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("case", CASES)
def test_samples_equal_the_golden_ones(
    golden: ModuleType, golden_npz: Callable[[str], Any], case: str
) -> None:
    wanted = golden_npz("preprocess.npz")
    height, width = (int(side) for side in wanted[f"{case}/size"])
    seed, gray = int(wanted[f"{case}/seed"]), bool(wanted[f"{case}/gray"])
    picture = golden.image(seed, height, width, gray)
    assert golden.digest([picture]) == str(wanted[f"{case}/sha256"])
    tensor = preprocess(picture, colour=None if gray else "bgr").tensor[0]
    assert np.abs(tensor.ravel()[wanted[f"{case}/index"]] - wanted[f"{case}/value"]).max() <= 1e-5
    exact = tensor.astype(np.float64)
    for name, value in (
        ("mean", exact.mean()), ("std", exact.std()), ("min", exact.min()), ("max", exact.max()),
    ):  # fmt: skip
        assert abs(value - wanted[f"{case}/{name}"]) <= 1e-5, name
    channels = tensor.mean(axis=(1, 2), dtype=np.float64)
    np.testing.assert_allclose(channels, wanted[f"{case}/channel_mean"], atol=1e-5)


@pytest.mark.parametrize(
    "size",
    [
        (480, 640), (1, 1), (1, 65500), (65500, 1), (1199, 1201), (1200, 1200), (1801, 2300),
        (3000, 4000), (2999, 3997), (4000, 3000), (65500, 62), (2, 3), (1080, 1920),
        (600, 7000),  # large, and yet higher afterwards
    ],
)  # fmt: skip
def test_every_size_equals_the_literal_recipe(size: tuple[int, int]) -> None:
    pixels = noise(*size)
    difference = preprocess(pixels, colour="bgr").tensor[0] - literal(pixels)
    assert np.abs(difference).max() <= 2e-6


def test_mean_and_std_are_the_contracts() -> None:
    contract = Contract(COCO.categories, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    for size in ((30, 40), (2500, 1700)):
        pixels = noise(*size)
        difference = preprocess(pixels, contract, colour="bgr").tensor[0]
        difference -= literal(pixels, contract)
        assert np.abs(difference).max() <= 2e-6


def test_the_input_unpacks_as_tensor_and_contexts(tmp_path: Path) -> None:
    path = tmp_path / "p.png"
    path.write_bytes(make.encode("PNG"))
    given = preprocess(path)
    assert isinstance(given, ModelInput)
    tensor, contexts = given
    assert_type(tensor, NDArray[np.float32])
    assert_type(contexts, tuple[ImageContext, ...])
    assert isinstance(tensor, np.ndarray)
    assert tensor.shape == (1, 3, 1200, 1200)
    assert tensor.dtype == np.float32
    assert tensor.flags.c_contiguous
    assert contexts == (ImageContext(80, 60, str(path)),)


def test_one_picture_gives_one_tensor_whatever_it_comes_as(tmp_path: Path) -> None:
    data = make.encode("PNG")
    path = tmp_path / "p.png"
    path.write_bytes(data)
    wanted = preprocess(make.picture(), colour="bgr").tensor
    for source in (path, str(path), data, io.BytesIO(data), make.as_pil(), decode(data)):
        assert np.array_equal(preprocess(source).tensor, wanted)


def test_lists_iterators_and_stacks_are_batches() -> None:
    stack = np.stack([noise(50, 60), noise(60, 50).transpose(1, 0, 2)])
    wanted = np.stack([literal(picture) for picture in stack])
    for images in (list(stack), tuple(stack), iter(list(stack)), stack):
        given = preprocess(images, colour="bgr")
        assert np.abs(given.tensor - wanted).max() <= 2e-6
        assert given.contexts == (ImageContext(60, 50), ImageContext(60, 50))


def test_a_batch_mixes_sources_and_sizes() -> None:
    given = preprocess([make.encode("PNG"), noise(7, 9)], colour="rgb")
    assert given.contexts == (ImageContext(80, 60), ImageContext(9, 7))
    assert np.abs(given.tensor[1] - literal(noise(7, 9)[:, :, ::-1].copy())).max() <= 2e-6


@pytest.mark.parametrize("orientation", range(1, 9))
def test_contexts_have_the_displayed_size(orientation: int) -> None:
    assert preprocess(make.oriented("JPEG", orientation)).contexts == (ImageContext(80, 60),)


def test_an_empty_batch_is_refused() -> None:
    with pytest.raises(UsageError, match="at least one"):
        preprocess([])


def test_errors_and_limits_pass_through() -> None:
    with pytest.raises(CorruptImage):
        preprocess([make.encode("JPEG")[:-2]])
    with pytest.raises(Exception, match="max_pixels"):
        preprocess(make.encode("JPEG"), limits=Limits(max_pixels=100))
    with pytest.raises(UsageError, match="of type dict is not an image"):
        preprocess({"a": 1})

"""The calibration pass: numpy's own ranges, from one pass that may be killed at any point."""

import errno
import io
import json
import os
import random
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import numpy_helper
from PIL import Image as PILImage

from quantized import assert_ranges, every_tensor
from small_int8 import small_int8
from small_network import CONTRACT, small_onnx
from ssd_resnet34 import artifact, files
from ssd_resnet34.compiler import calibration
from ssd_resnet34.compiler.calibration import Observer, Statistics, calibrate
from ssd_resnet34.compiler.histogram import BINS, Histogram
from ssd_resnet34.compiler.quantization import activations
from ssd_resnet34.compiler.ranges import METHODS, find_range
from ssd_resnet34.errors import (
    ArtifactError,
    CalibrationError,
    CorruptImage,
    ImageError,
    OutputError,
    UnsupportedImage,
    UsageError,
)
from ssd_resnet34.files import replacing
from ssd_resnet34.vision.images import Image
from ssd_resnet34.vision.preprocess import preprocess

SOURCE = small_onnx()


def images(count: int, seed: int = 0) -> list[Image]:
    """Pictures of different contrast, named ``n.png``."""
    rng = np.random.default_rng(seed)
    made = []
    for n in range(count):
        noise = rng.standard_normal((12 + n, 20, 3)) * 12 * (n + 1) + 100
        made.append(Image(np.clip(noise, 0, 255).astype(np.uint8), f"{n}.png"))
    return made


def assert_same(found: Statistics, wanted: Statistics) -> None:
    """Every bit."""
    assert found.source == wanted.source
    assert found.images == wanted.images
    assert list(found.histograms) == list(wanted.histograms)
    for name, one in found.histograms.items():
        other = wanted.histograms[name]
        for key in ("exponent", "zeros", "lowest", "highest"):
            assert getattr(one, key) == getattr(other, key), (name, key)
            assert type(getattr(one, key)) is type(getattr(other, key)), (name, key)
        for key in ("counts", "shares"):
            np.testing.assert_array_equal(getattr(one, key), getattr(other, key))
            assert getattr(one, key).dtype == getattr(other, key).dtype


@pytest.fixture(scope="module")
def statistics() -> Statistics:
    return calibrate(SOURCE, images(3))


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the images that the network ran on, as it does."""
    names: list[str] = []
    observe = Observer.observe

    def counted(
        self: Observer,
        tensor: NDArray[np.float32],
        histograms: dict[str, Histogram],
        name: str = "",
    ) -> None:
        names.append(name)
        observe(self, tensor, histograms, name)

    monkeypatch.setattr(Observer, "observe", counted)
    return names


# ---------------------------------------------------------------- what is seen


def test_min_max_ranges_are_numpys_of_every_tensor(statistics: Statistics) -> None:
    found = statistics.ranges("min-max")
    assert list(found) == activations(SOURCE)
    tensors = [preprocess(image, CONTRACT).tensor for image in images(3)]
    assert_ranges(found, [every_tensor(SOURCE, tensor) for tensor in tensors])


def test_one_pass_serves_every_method(runs: list[str]) -> None:
    statistics = calibrate(SOURCE, iter(images(2)))
    assert runs == ["0.png", "1.png"]
    for method in METHODS:
        found = statistics.ranges(method, symmetric=True, percentage=99)
        assert list(found) == activations(SOURCE)
        for name in ("stem.relu", "block.conv2", "pool.3"):
            histogram = statistics.histograms[name]
            assert found[name] == find_range(histogram, method, symmetric=True, percentage=99)
    assert len(runs) == 2


def test_histograms_are_numpys_of_every_tensor(statistics: Statistics) -> None:
    tensors = [preprocess(image, CONTRACT).tensor for image in images(3)]
    values = [every_tensor(SOURCE, tensor) for tensor in tensors]
    for name, histogram in statistics.histograms.items():
        alive = np.concatenate([run[name][run[name] != 0] for run in values])
        wanted, _ = np.histogram(alive, histogram.edges())
        # Sums in another order differ in their last bits, which moves a value to the next bin.
        moved = np.abs(np.cumsum(histogram.counts - wanted)).sum()
        assert moved <= 0.01 * histogram.total, name


def test_every_value_of_every_image_is_counted(statistics: Statistics) -> None:
    sizes = {"stem.relu": 8 * 50**2, "block.conv2": 8 * 50**2, "pool.3": 8 * 3**2}
    for name, size in sizes.items():
        assert statistics.histograms[name].total == 3 * size


def test_the_number_of_threads_changes_no_range(statistics: Statistics) -> None:
    found = calibrate(SOURCE, images(3), threads=1).ranges()
    for name, pair in statistics.ranges().items():
        assert found[name] == pytest.approx(pair, rel=1e-5, abs=1e-6)


def test_images_are_forgotten_one_after_another() -> None:
    alive: list[Image] = []

    def one_at_a_time() -> Iterator[Image]:
        for image in images(3):
            alive.append(image)
            yield image
            alive.clear()

    calibrate(SOURCE, one_at_a_time(), on_image=lambda _: alive.append(alive.pop()))
    assert not alive


def test_whatever_the_decoder_takes_is_taken(tmp_path: Path) -> None:
    (image,) = images(1)
    pixels = np.ascontiguousarray(image.pixels[..., ::-1])
    file = tmp_path / "picture.png"
    PILImage.fromarray(pixels).save(file)
    wanted = calibrate(SOURCE, [image])
    for given_ in (file, str(file), file.read_bytes(), PILImage.fromarray(pixels)):
        assert_same(calibrate(SOURCE, [given_]), wanted)


# ---------------------------------------------------------------- which images


def test_the_digest_of_the_images_depends_on_their_pixels_and_order_alone(tmp_path: Path) -> None:
    first, second = images(2)
    digest = calibrate(SOURCE, [first, second]).images_sha256
    assert calibrate(SOURCE, [Image(first.pixels), second]).images_sha256 == digest
    assert calibrate(SOURCE, [second, first]).images_sha256 != digest
    assert calibrate(SOURCE, [first]).images_sha256 != digest
    assert calibrate(SOURCE, [first, second, second]).images_sha256 != digest
    touched = first.pixels.copy()
    touched[3, 4, 1] ^= 1
    assert calibrate(SOURCE, [Image(touched), second]).images_sha256 != digest
    turned = Image(first.pixels.reshape(first.width, first.height, 3))
    assert calibrate(SOURCE, [turned, second]).images_sha256 != digest


def test_refused_images_are_told_and_left_out() -> None:
    told: list[ImageError | None] = []
    good = images(2)
    before = CorruptImage("refused by whoever made the list")
    listed: list[Any] = [b"no image", good[0], before, b"", good[1]]
    found = calibrate(SOURCE, listed, on_image=told.append)
    assert_same(found, calibrate(SOURCE, good))
    assert [type(one) for one in told][1::3] == [type(None), type(None)]
    assert isinstance(told[0], UnsupportedImage)
    assert told[2] is before
    assert isinstance(told[3], ImageError)


@pytest.mark.parametrize("given_", [[], [b"junk", b""]])
def test_without_any_good_image_there_are_no_ranges(tmp_path: Path, given_: list[bytes]) -> None:
    file = tmp_path / "statistics.npz"
    found = calibrate(SOURCE, given_, path=file)
    assert found.images == []
    with pytest.raises(CalibrationError, match="no calibration image was seen: none was given"):
        found.ranges()
    assert not file.exists()


def test_an_unknown_method_is_refused(statistics: Statistics) -> None:
    with pytest.raises(UsageError, match="unknown"):
        statistics.ranges("kl")  # type: ignore[arg-type]


# ---------------------------------------------------------------- what is refused


def damaged(change: Callable[[dict[str, NDArray[np.float32]]], None]) -> bytes:
    model = artifact.load(SOURCE)
    stored = {t.name: numpy_helper.to_array(t).copy() for t in model.graph.initializer}
    change(stored)
    for tensor in model.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(stored[tensor.name], tensor.name))
    return artifact.serialize(model)


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
@pytest.mark.parametrize(("layer", "tensor"), [("block.conv2", ""), ("stem", ".relu")])
def test_weights_that_make_nan_are_told_with_image_and_tensor(
    value: float, layer: str, tensor: str
) -> None:
    def spoil(stored: dict[str, NDArray[np.float32]]) -> None:
        stored[f"{layer}.weight"][:] = value
        stored[f"{layer}.bias"][0] = value

    with pytest.raises(
        CalibrationError, match=rf"^0\.png: {layer}{tensor} cannot be counted.*damaged"
    ):
        calibrate(damaged(spoil), images(2))


def test_an_image_without_a_name_is_told_by_its_number() -> None:
    def spoil(stored: dict[str, NDArray[np.float32]]) -> None:
        stored["block.conv2.bias"][:] = np.nan

    nameless = [b"junk", *(Image(image.pixels) for image in images(1))]
    with pytest.raises(CalibrationError, match=r"^image 1: block\.conv2 cannot"):
        calibrate(damaged(spoil), nameless)


def test_an_int8_artifact_is_refused_before_any_image() -> None:
    def never() -> Iterator[Any]:
        return map(pytest.fail, ["an image was asked for"])

    with pytest.raises(UsageError, match="int8 already"):
        calibrate(small_int8(), never())
    with pytest.raises(ArtifactError):
        calibrate(b"no artifact", never())


# ---------------------------------------------------------------- killed and resumed


def until(count: int, given_: Iterable[Image]) -> Iterator[Image]:
    """The first ``count``, then a kill."""
    for n, image in enumerate(given_):
        if n == count:
            raise KeyboardInterrupt
        yield image


@pytest.mark.parametrize("seed", range(3))
def test_a_pass_killed_at_random_points_ends_like_an_uninterrupted_one(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runs: list[str]
) -> None:
    every = 2
    monkeypatch.setattr(calibration, "SAVED_EVERY", every)
    rng = random.Random(seed)
    listed, file = images(7), tmp_path / "statistics.npz"
    wanted = calibrate(SOURCE, listed)
    saved = 0
    for _ in range(4):
        kill = rng.randrange(len(listed))
        runs.clear()
        try:
            calibrate(SOURCE, until(kill, listed), path=file)
        except KeyboardInterrupt:
            assert len(runs) == max(kill - saved, 0)
        saved = max(saved, kill // every * every)
        assert (len(Statistics.load(file).images) if file.exists() else 0) == saved
    runs.clear()
    assert_same(calibrate(SOURCE, listed, path=file), wanted)
    assert runs == [image.name for image in listed[saved:]]
    assert_same(Statistics.load(file), wanted)


def test_a_finished_file_needs_no_run_and_serves_more_images(
    tmp_path: Path, runs: list[str]
) -> None:
    listed, file = images(4), tmp_path / "statistics.npz"
    first = calibrate(SOURCE, listed[:2], path=file)
    before = file.read_bytes()
    runs.clear()
    assert_same(calibrate(SOURCE, listed[:2], path=file), first)
    assert runs == []
    assert file.read_bytes() == before
    assert_same(calibrate(SOURCE, listed, path=str(file)), calibrate(SOURCE, listed))
    assert runs[:2] == ["2.png", "3.png"]


def test_refused_images_do_not_count_in_a_resumed_pass(tmp_path: Path) -> None:
    listed, file = images(3), tmp_path / "statistics.npz"
    calibrate(SOURCE, [b"junk", *listed[:2]], path=file)
    found = calibrate(SOURCE, [listed[0], b"", listed[1], b"junk", listed[2]], path=file)
    assert_same(found, calibrate(SOURCE, listed))


def test_a_file_of_another_network_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "statistics.npz"
    calibrate(SOURCE, images(1), path=file)
    before = file.read_bytes()
    with pytest.raises(CalibrationError, match=r"statistics\.npz: statistics of another network"):
        calibrate(small_onnx(seed=1), images(1), path=file)
    assert file.read_bytes() == before


def test_a_file_of_other_images_is_refused(tmp_path: Path) -> None:
    listed, file = images(3), tmp_path / "statistics.npz"
    calibrate(SOURCE, listed, path=file)
    before = file.read_bytes()
    for other in ([listed[1]], [listed[0], listed[2], listed[1]], images(3, seed=1)):
        number = 2 if other[0] is listed[0] else 1
        with pytest.raises(CalibrationError, match=rf"npz: .*other images \(number {number} diff"):
            calibrate(SOURCE, other, path=file)
    for fewer in (listed[:2], [], [b"junk"]):
        wanted = rf"npz: statistics of 3 images, {len(fewer) if fewer == listed[:2] else 0} were"
        with pytest.raises(CalibrationError, match=wanted):
            calibrate(SOURCE, fewer, path=file)
    assert file.read_bytes() == before


# ---------------------------------------------------------------- the file


def test_statistics_survive_their_file(statistics: Statistics, tmp_path: Path) -> None:
    file = tmp_path / "statistics.npz"
    statistics.save(file)
    assert_same(Statistics.load(file), statistics)
    assert file.stat().st_size < 2_000_000
    empty = Statistics("abc")
    empty.save(str(file))
    assert_same(Statistics.load(str(file)), empty)


def test_a_resumed_pass_may_go_on_with_what_was_loaded(
    statistics: Statistics, tmp_path: Path
) -> None:
    file = tmp_path / "statistics.npz"
    statistics.save(file)
    loaded = Statistics.load(file)
    for histogram in loaded.histograms.values():
        histogram.observe(np.ones(3, np.float32))  # arrays of its own, which may be written


@pytest.fixture(scope="module")
def stored(statistics: Statistics, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    file = tmp_path_factory.mktemp("stored") / "statistics.npz"
    statistics.save(file)
    return file.read_bytes()


def refused(folder: Path, data: bytes) -> None:
    file = folder / "damaged.npz"
    file.write_bytes(data)
    with pytest.raises(CalibrationError, match=r"damaged\.npz: no calibration stat.*remove it to"):
        Statistics.load(file)
    with pytest.raises(CalibrationError, match=r"damaged\.npz: no calibration statistics"):
        calibrate(SOURCE, images(1), path=file)
    assert file.read_bytes() == data


def test_a_file_cut_short_anywhere_is_refused(stored: bytes, tmp_path: Path) -> None:
    size = len(stored)
    for cut in (0, 1, 4, 30, 100, size // 3, size // 2, size - 23, size - 22, size - 1):
        refused(tmp_path, stored[:cut])


@pytest.mark.parametrize("member", ["head.npy", "counts.npy", "shares.npy"])
def test_an_array_that_does_not_fit_its_checksum_is_refused(
    member: str, stored: bytes, tmp_path: Path
) -> None:
    """Also with something behind it: numpy stops there, and zipfile compares at the end."""
    longer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(stored)) as before, zipfile.ZipFile(longer, "w") as after:
        for name in before.namelist():
            after.writestr(name, before.read(name) + bytes(1 << 20 if name == member else 0))
    for data in (stored, longer.getvalue()):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            checksum = archive.getinfo(member).CRC.to_bytes(4, "little")
            at = data.index(checksum, archive.start_dir)
        refused(tmp_path, data[:at] + bytes(4) + data[at + 4 :])


# The outer bytes are the headers of the archive, where more can go wrong than a checksum.
PLACES = st.one_of(st.integers(0, 10**6), st.integers(0, 400), st.integers(-400, -1))


@given(changes=st.lists(st.tuples(PLACES, st.integers(0, 255)), min_size=1, max_size=3))
@settings(max_examples=60)
def test_a_damaged_byte_is_refused_or_does_no_harm(
    changes: list[tuple[int, int]],
    stored: bytes,
    statistics: Statistics,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    broken = bytearray(stored)
    for place, value in changes:
        broken[place % len(stored)] = value
    file = tmp_path_factory.getbasetemp() / "damaged.npz"
    file.write_bytes(broken)
    try:
        found = Statistics.load(file)
    except CalibrationError:
        return
    assert_same(found, statistics)


@pytest.mark.parametrize("junk", [b"junk", bytes(1000), b"PK\x03\x04" + bytes(60), b"\x93NUMPY"])
def test_a_file_of_something_else_is_refused(junk: bytes, tmp_path: Path) -> None:
    refused(tmp_path, junk)


def test_files_of_other_kinds_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "other"
    np.save(file.with_suffix(".npy"), np.zeros(3))
    refused(tmp_path, file.with_suffix(".npy").read_bytes())
    np.savez(file.with_suffix(".npz"), a=np.zeros(3))
    refused(tmp_path, file.with_suffix(".npz").read_bytes())
    np.savez(file.with_suffix(".npz"), head=np.array([object()]), allow_pickle=True)
    refused(tmp_path, file.with_suffix(".npz").read_bytes())
    with zipfile.ZipFile(file.with_suffix(".zip"), "w") as archive:
        archive.writestr("head", b"text")
    refused(tmp_path, file.with_suffix(".zip").read_bytes())
    with pytest.raises(CalibrationError, match="no calibration statistics"):
        Statistics.load(tmp_path)
    with pytest.raises(CalibrationError, match="no calibration statistics"):
        Statistics.load(tmp_path / "nowhere.npz")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npz")
    with pytest.raises(CalibrationError, match="not a regular file"):
        Statistics.load(tmp_path / "pipe.npz")


Head = dict[str, Any]


@pytest.mark.parametrize(
    "change",
    [
        lambda head: head | {"form": "ssd-resnet34 calibration statistics 0"},
        lambda head: head | {"bins": BINS // 2},
        lambda head: head | {"tensors": {}},
        lambda head: head | {"tensors": list(head["tensors"])},
        lambda head: head | {"tensors": {key: {} for key in head["tensors"]}},
        lambda head: head | {"tensors": {key: {"exponent": "x"} for key in head["tensors"]}},
        lambda head: head | {"tensors": dict.fromkeys(head["tensors"], 3)},
        lambda head: head | {"images": None},
        lambda head: {key: value for key, value in head.items() if key != "source"},
        lambda head: list(head),
        lambda head: 3,
    ],
)
def test_a_file_of_another_form_is_refused(
    change: Callable[[Head], Any], stored: bytes, tmp_path: Path
) -> None:
    file = tmp_path / "form.npz"
    file.write_bytes(stored)
    with np.load(file) as opened:
        head, counts, shares = (opened[key] for key in ("head", "counts", "shares"))
    text = json.dumps(change(json.loads(str(head))))
    np.savez(file, head=np.array(text), counts=counts, shares=shares)
    refused(tmp_path, file.read_bytes())


def test_histograms_of_another_shape_or_type_are_refused(stored: bytes, tmp_path: Path) -> None:
    file = tmp_path / "form.npz"
    file.write_bytes(stored)
    with np.load(file) as opened:
        head, counts, shares = (opened[key] for key in ("head", "counts", "shares"))
    for wrong in (
        {"counts": counts[:, :-1]},
        {"counts": counts[:-1]},
        {"counts": counts.astype(np.float64)},
        {"shares": shares.astype(np.float32)},
        {"shares": shares[0]},
        {"counts": counts.astype("U4")},
    ):
        np.savez(file, **({"head": head, "counts": counts, "shares": shares} | wrong))
        refused(tmp_path, file.read_bytes())


def test_deeply_nested_text_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "deep.npz", head=np.array("[" * 100_000), counts=0, shares=0)
    refused(tmp_path, (tmp_path / "deep.npz").read_bytes())


# ---------------------------------------------------------------- no room


class FullFile:
    """What a full disk is to a writer."""

    def write(self, _: object) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextmanager
def on_a_full_disk(path: str | PathLike[str]) -> Iterator[FullFile]:
    with replacing(path):
        yield FullFile()


def test_a_full_disk_is_told_and_the_file_before_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "SAVED_EVERY", 1)
    listed, file = images(3), tmp_path / "statistics.npz"
    calibrate(SOURCE, listed[:1], path=file)
    before = file.read_bytes()
    with monkeypatch.context() as full:
        full.setattr(files, "replacing", on_a_full_disk)
        with pytest.raises(OutputError, match=r"statistics\.npz.*No space left.*free space"):
            calibrate(SOURCE, listed, path=file)
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]
    assert_same(calibrate(SOURCE, listed, path=file), calibrate(SOURCE, listed))


def test_a_place_that_cannot_be_written_is_refused(statistics: Statistics, tmp_path: Path) -> None:
    for place in (tmp_path / "no" / "statistics.npz", tmp_path):
        with pytest.raises(UsageError, match="folder"):
            statistics.save(place)


def test_a_statistics_file_that_unpacks_to_gigabytes_is_refused_unread(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.npz"
    with (
        zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("head.npy", "w", force_zip64=True) as member,
    ):
        for _ in range(300):
            member.write(bytes(1024**2))
    with pytest.raises(CalibrationError, match="bytes unpacked, the limit is"):
        Statistics.load(bomb)


@pytest.mark.parametrize(
    "head", ["{'descr': '<i8', ", "  {\n x", "{'descr': '<i8', 'shape': (1L,)}"]
)
def test_an_array_whose_head_is_not_python_is_refused(head: str, tmp_path: Path) -> None:
    member = b"\x93NUMPY\x01\x00" + (len(head) + 1).to_bytes(2, "little") + head.encode() + b"\n"
    with zipfile.ZipFile(tmp_path / "odd.npz", "w") as archive:
        archive.writestr("head.npy", member)
    with pytest.raises(CalibrationError, match="no calibration statistics"):
        Statistics.load(tmp_path / "odd.npz")

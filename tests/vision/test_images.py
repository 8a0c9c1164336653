"""Claims about ``vision.images``: what is read, what is refused, and at what cost."""

import io
import os
import stat
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PILImage

from hostile import make_images as make
from ssd_resnet34.errors import (
    CorruptImage,
    EmptyInput,
    ImageError,
    TooManyBytes,
    TooManyPixels,
    UnreadableFile,
    UnsupportedImage,
    UsageError,
)
from ssd_resnet34.vision.images import REFUSALS, Image, Limits, decode, printable

PICTURE = make.picture()
ACCEPTED = make.accepted()
REFUSED = make.refused()
# Formats and depths that keep the colours exactly.
LOSSLESS = {
    "png", "png_transparent", "png_16", "png_tail", "png_bad_profile", "apng", "webp_lossless",
    "bmp", "tiff", "tiff_lzw", "tiff_deflate", "tiff_16", "tiff_pages",
}  # fmt: skip
FEW_COLOURS = {"png_palette", "png_one_bit", "bmp_palette", "bmp_one_bit", "gif", "gif_animated"}
GRAY = {"jpeg_gray", "png_gray_alpha", "png_16_gray"}


def mean_difference(image: Image, wanted: np.ndarray[Any, Any]) -> float:
    return float(np.abs(image.pixels.astype(int) - wanted).mean())


@pytest.mark.parametrize("name", ACCEPTED)
def test_every_accepted_kind_shows_the_picture(name: str) -> None:
    image = decode(ACCEPTED[name])
    assert image.pixels.dtype == np.uint8
    assert image.pixels.flags.c_contiguous
    assert (image.height, image.width) == PICTURE.shape[:2]
    if name in LOSSLESS:
        assert np.array_equal(image.pixels, PICTURE)
    elif name == "png_16_gray":
        assert np.array_equal(image.pixels, np.repeat(PICTURE[:, :, 1:2], 3, axis=2))
    elif name not in FEW_COLOURS | GRAY:
        assert mean_difference(image, PICTURE) < 4


@pytest.mark.parametrize("name", ACCEPTED)
def test_pillow_reads_the_same_pixels(name: str) -> None:
    if name == "png_16_gray":
        pytest.skip("Pillow clips 16 bit gray to 255 where OpenCV scales it")
    with PILImage.open(io.BytesIO(ACCEPTED[name])) as other:
        wanted = np.asarray(other.convert("RGBA").convert("RGB"))[:, :, ::-1]
    tolerance = 1 if "cmyk" in name else 0
    assert np.abs(decode(ACCEPTED[name]).pixels.astype(int) - wanted).max() <= tolerance


@pytest.mark.parametrize("name", REFUSED)
def test_every_refused_kind_has_its_code(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    data, code = REFUSED[name]
    with pytest.raises(ImageError) as refusal:
        decode(data)
    assert refusal.value.code == code
    assert type(refusal.value) in REFUSALS
    assert "\n" not in str(refusal.value)
    assert capfd.readouterr() == ("", "")  # decoders keep quiet: the error is the one line


@pytest.mark.parametrize(
    "name",
    [name for name in ACCEPTED if name not in ("tiff_pages", "jpeg_zip_polyglot", "png_tail")],
)
def test_data_cut_anywhere_are_refused(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    data = ACCEPTED[name]
    whole = len(data)
    for length in {*range(1, whole, max(whole // 40, 1)), *range(whole - 4, whole)}:
        with pytest.raises(CorruptImage):
            decode(data[:length])
    out, err = capfd.readouterr()
    assert not out
    assert not err


def test_the_first_page_of_a_cut_tiff_is_whole() -> None:
    """A later page may be missing: it is not looked at."""
    assert np.array_equal(decode(ACCEPTED["tiff_pages"][:-2]).pixels, PICTURE)


def test_a_zeroed_middle_passes() -> None:
    """No decoder can tell it from a picture: documented, and libjpeg may print a line."""
    assert decode(make.jpeg_with_zeroed_middle()).width == 640


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientations_show_the_same_picture(kind: str, orientation: int) -> None:
    image = decode(make.oriented(kind, orientation))
    assert (image.width, image.height) == (80, 60)
    assert np.abs(image.pixels.astype(int) - PICTURE).max() <= (6 if kind == "JPEG" else 0)


@pytest.mark.parametrize("name", make.malformed_exif())
def test_malformed_exif_is_ignored(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    image = decode(make.malformed_exif()[name])
    assert (image.width, image.height) == (80, 60)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", make.bombs())
def test_metadata_bombs_do_no_harm(name: str) -> None:
    data = make.bombs()[name]
    tracemalloc.start()
    image = decode(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert mean_difference(image, PICTURE) < 4
    assert peak < 3 * len(data) + 1_000_000


def test_a_picture_with_a_film_behind_it_is_read() -> None:
    """As phones write it; any two bytes occur in a film, those that begin a scan too."""
    plain = cv2.imencode(".jpg", make.picture())[1].tobytes()
    found = decode(plain + b"\xff\xda" * 500)
    assert np.array_equal(found.pixels, decode(plain).pixels)


@pytest.mark.parametrize("junk", [b"\0\0\0", b"abc", b"\xff\0", b"\xff\xff"])
def test_what_stands_between_the_segments_of_a_jpeg_is_skipped(junk: bytes) -> None:
    """libjpeg and browsers do so."""
    plain = cv2.imencode(".jpg", make.picture())[1].tobytes()
    second = 4 + int.from_bytes(plain[4:6], "big")  # behind the first segment
    found = decode(plain[:second] + junk + plain[second:])
    assert np.array_equal(found.pixels, decode(plain).pixels)


@pytest.mark.parametrize("name", make.endless())
def test_endless_files_are_refused(name: str) -> None:
    with pytest.raises(CorruptImage):
        decode(make.endless()[name])


@pytest.mark.parametrize(
    "name", [name for name in REFUSED if REFUSED[name][1] == "too_many_pixels"]
)
def test_headers_are_refused_before_allocation(name: str) -> None:
    tracemalloc.start()
    with pytest.raises(TooManyPixels):
        decode(REFUSED[name][0])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_a_large_plain_png_needs_only_its_pixels() -> None:
    """6000 x 6000 from 105 KB: 108 MB of pixels, and no second copy of them."""
    data = make.plain_png(6000, 6000)
    assert len(data) < 130_000
    script = (
        "import resource, sys; from ssd_resnet34.vision.images import decode; "
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024; "
        "data = sys.stdin.buffer.read(); before = peak(); image = decode(data); "
        "assert image.width == image.height == 6000; print(peak() - before)"
    )
    result = subprocess.run([sys.executable, "-c", script], input=data, capture_output=True)
    assert result.returncode == 0, result.stderr.decode()
    assert float(result.stdout) < 160


@pytest.mark.parametrize(("width", "height"), [(1, 1), (65500, 1), (1, 65500)])
def test_extreme_shapes_are_read(width: int, height: int) -> None:
    for data in (
        make.plain_png(width, height),
        make.encode("JPEG", PILImage.new("RGB", (width, height))),
    ):
        image = decode(data)
        assert (image.width, image.height) == (width, height)


def test_limits_are_those_that_were_given() -> None:
    data = ACCEPTED["png"]
    assert decode(data, limits=Limits(max_bytes=len(data), max_pixels=4800)).width == 80
    with pytest.raises(TooManyBytes, match="max_bytes"):
        decode(data, limits=Limits(max_bytes=len(data) - 1))
    with pytest.raises(TooManyPixels, match="max_pixels"):
        decode(data, limits=Limits(max_pixels=4799))
    with pytest.raises(UnsupportedImage, match="PNG is not accepted"):
        decode(data, limits=Limits(formats=("JPEG",)))


@pytest.mark.parametrize(
    "wrong", [{"max_bytes": 0}, {"max_pixels": 0}, {"max_pixels": 2**40}, {"formats": ("EPS",)}]
)
def test_limits_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Limits(**wrong)


# ------------------------------------------------------------------------------------ files


def test_path_bytes_file_and_pil_are_the_same_picture(tmp_path: Path) -> None:
    path = tmp_path / "p.png"
    path.write_bytes(ACCEPTED["png"])
    data = ACCEPTED["png"]
    with path.open("rb") as file, path.open("rb", buffering=0) as raw, PILImage.open(path) as pil:
        for source in (
            path, str(path), data, bytearray(data), memoryview(data), io.BytesIO(data), file, raw,
            pil,
        ):  # fmt: skip
            image = decode(source)
            assert np.array_equal(image.pixels, PICTURE)
            named = source is path or source is file or source is raw or source is pil
            assert image.name == (str(path) if named or source == str(path) else "")


def test_a_decoded_picture_comes_back_as_it_is() -> None:
    image = decode(np.zeros((2, 3), np.uint8))
    assert decode(image) is image


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match=r"gone\.jpg: No such file"):
        decode(tmp_path / "gone.jpg")


def test_a_folder_named_like_a_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").mkdir()
    with pytest.raises(UnreadableFile, match="a folder"):
        decode(tmp_path / "x.jpg")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.jpg")
    with pytest.raises(UnreadableFile, match="pipe"):
        decode(tmp_path / "x.jpg")


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no /dev/zero here")
def test_a_device_is_refused() -> None:
    with pytest.raises(UnreadableFile, match="device"):
        decode("/dev/zero")


def test_no_permission_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(ACCEPTED["png"])
    if os.geteuid() == 0:  # root may read everything: ask the same question another way

        def deny(*_: Any) -> int:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(os, "open", deny)
    else:
        path.chmod(0)
    with pytest.raises(UnreadableFile, match="Permission denied"):
        decode(path)


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux only")
def test_a_name_that_is_not_utf8_is_read_and_shown(tmp_path: Path) -> None:
    name = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9\n.png")
    Path(name).write_bytes(ACCEPTED["png"])
    assert decode(name).name == name
    Path(name).write_bytes(b"text")
    with pytest.raises(UnsupportedImage) as refusal:
        decode(name)
    message = str(refusal.value)
    assert message.encode()
    assert "\n" not in message
    assert "caf\\udce9\\n.png" in message


@pytest.mark.parametrize("name", ["a\0b.jpg", "x" * 5000])
def test_impossible_names_are_unreadable(name: str) -> None:
    with pytest.raises(UnreadableFile):
        decode(name)


def test_printable_leaves_ordinary_names_alone() -> None:
    assert printable("/bilder/Müller 図.jpg") == "/bilder/Müller 図.jpg"


def test_a_large_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # sparse
    with pytest.raises(TooManyBytes):
        decode(path)


def test_a_stream_is_read_one_byte_past_the_limit() -> None:
    class Endless(io.RawIOBase):
        taken = 0

        def read(self, size: int = -1, /) -> bytes:
            part = bytes(min(size, 1000))
            self.taken += len(part)
            return part

    stream = Endless()
    with pytest.raises(TooManyBytes):
        decode(stream, limits=Limits(max_bytes=4567))  # type: ignore[arg-type]  # a RawIOBase reads too
    assert stream.taken == 4568


def test_files_in_text_mode_and_closed_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("text")
    with path.open() as file, pytest.raises(UsageError, match="'rb'"):
        decode(file)  # type: ignore[arg-type]  # the mistake under test
    with path.open("rb") as binary:
        pass
    with pytest.raises(UnreadableFile, match="closed"):
        decode(binary)


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    path.write_bytes(b"text")
    folder = Path("/proc/self/fd")
    if not folder.exists():
        pytest.skip("no /proc here")
    before = len(list(folder.iterdir()))
    for source in (path, tmp_path):
        for _ in range(20):
            with pytest.raises(ImageError):
                decode(source)
    assert len(list(folder.iterdir())) == before
    assert stat.S_ISREG(path.stat().st_mode)


# ------------------------------------------------------------------------- arrays and PIL


def test_arrays_say_their_colours() -> None:
    rgb = np.ascontiguousarray(PICTURE[:, :, ::-1])
    alpha = np.full((60, 80, 1), 7, np.uint8)
    for array, colour in (
        (PICTURE, "bgr"),
        (rgb, "rgb"),
        (np.concatenate([PICTURE, alpha], axis=2), "bgr"),
        (np.concatenate([rgb, alpha], axis=2), "rgb"),
        (PICTURE[:, ::-1][:, ::-1], "bgr"),
    ):
        image = decode(array, colour=colour)  # type: ignore[arg-type]  # a str of two
        assert np.array_equal(image.pixels, PICTURE)
        assert image.pixels.flags.c_contiguous
        with pytest.raises(UsageError, match="colour='rgb'"):
            decode(array)


def test_gray_arrays_need_no_colour() -> None:
    gray = PICTURE[:, :, 0]
    for array in (gray, gray[:, :, None]):
        assert np.array_equal(decode(array).pixels, np.repeat(gray[:, :, None], 3, axis=2))


@pytest.mark.parametrize(
    ("array", "mend"),
    [
        (PICTURE.astype(np.float32), "uint8"),
        (PICTURE.transpose(2, 0, 1), "channels last"),
        (PICTURE[0, 0], "channels last"),
        (np.zeros((4, 4, 2), np.uint8), "channels last"),
        (PICTURE[None, None], "channels last"),
    ],
)
def test_other_arrays_are_refused_with_the_mend(array: Any, mend: str) -> None:
    with pytest.raises(UsageError, match=mend):
        decode(array, colour="rgb")


def test_an_array_without_pixels_is_empty() -> None:
    with pytest.raises(EmptyInput):
        decode(np.zeros((0, 5, 3), np.uint8), colour="rgb")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK", "YCbCr", "HSV"])
def test_pil_modes_show_the_picture(mode: str) -> None:
    few = 30 if mode == "P" else 6
    assert mean_difference(decode(make.as_pil().convert(mode)), PICTURE) < few


@pytest.mark.parametrize("mode", ["L", "1", "LA"])
def test_gray_pil_modes_are_read(mode: str) -> None:
    pixels = decode(make.as_pil().convert(mode)).pixels
    assert np.array_equal(pixels[:, :, 0], pixels[:, :, 2])


def test_a_16_bit_pil_image_is_within_one_level() -> None:
    with PILImage.open(io.BytesIO(ACCEPTED["png_16_gray"])) as image:
        assert image.mode.startswith("I;16")
        difference = decode(image).pixels.astype(int) - decode(ACCEPTED["png_16_gray"]).pixels
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize("depth", [8, 16])
def test_16_bit_files_are_within_one_level_of_8_bit_ones(depth: int) -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    image = decode(bytes(cv2.imencode(".png", values)[1]))
    assert np.abs(image.pixels[:, :, 0] - values / 257.0).max() <= 1, depth


def test_pil_images_are_turned_by_their_exif() -> None:
    for orientation in range(1, 9):
        with PILImage.open(io.BytesIO(make.oriented("PNG", orientation))) as image:
            assert np.array_equal(decode(image).pixels, PICTURE)


def test_a_pil_image_with_palette_transparency_is_read() -> None:
    image = make.as_pil().convert("P")
    image.info["transparency"] = bytes(10)
    assert decode(image).width == 80


def test_pil_images_without_a_white_are_refused() -> None:
    for mode in ("F", "I"):
        with pytest.raises(UsageError, match="convert"):
            decode(make.as_pil().convert("L").convert(mode))


def test_a_lazy_pil_image_is_refused_before_it_loads() -> None:
    with (
        PILImage.open(io.BytesIO(make.sized("PNG", 9000, 9000))) as image,
        pytest.raises(TooManyPixels),
    ):
        decode(image)


def test_a_truncated_pil_image_is_corrupt() -> None:
    with (
        PILImage.open(io.BytesIO(ACCEPTED["jpeg"][:-100])) as image,
        pytest.raises(CorruptImage),
    ):
        decode(image)


@pytest.mark.parametrize("source", [None, 3, 2.5, object(), {"a": 1}])
def test_other_things_are_no_images(source: Any) -> None:
    with pytest.raises(UsageError, match=r"of type .* is not an image; give a path"):
        decode(source)


def test_an_unknown_colour_is_refused() -> None:
    with pytest.raises(UsageError, match="'rgb' or 'bgr'"):
        decode(PICTURE, colour="RGB")  # type: ignore[arg-type]  # the mistake under test


# ---------------------------------------------------------------------------------- fuzzing


@settings(max_examples=150)
@given(
    name=st.sampled_from(sorted(ACCEPTED)),
    edits=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=6),
)
def test_damaged_headers_give_a_picture_or_a_refusal(
    name: str, edits: list[tuple[int, int]]
) -> None:
    data = bytearray(ACCEPTED[name])
    for position, value in edits:
        data[position % len(data)] = value
    try:
        image = decode(bytes(data))
    except ImageError:
        return
    assert image.width * image.height <= Limits().max_pixels

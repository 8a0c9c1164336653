"""What is said of a data set before any time is spent on it."""

import json
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from full_disk import full_disk
from ssd_resnet34.errors import MismatchedSize, OutputError, TrainingError, UsageError
from ssd_resnet34.runtime.cpu import available_threads
from ssd_resnet34.training.data import checking, drawing
from ssd_resnet34.training.data.augmentation import Augmentation
from ssd_resnet34.training.data.checking import check, same_files, unscored
from ssd_resnet34.training.data.drawing import TILE, annotated, drawn, write_drawings
from ssd_resnet34.training.data.example import DataSet
from ssd_resnet34.training.data.loading import Examples
from ssd_resnet34.training.data.reading import read
from ssd_resnet34.vision.colours import colour_of
from ssd_resnet34.vision.detections import Detections
from ssd_resnet34.vision.images import DEFAULT_LIMITS, decode
from written_sets import Box, Picture, write_coco

GOOD = (4, 4, 40, 40)


def made(
    root: Path, count: int = 8, box: Box = GOOD, split: str = "train", first: int = 0
) -> DataSet:
    """``count`` pictures, no two alike, each with an object of each of the three labels."""
    pictures = [
        Picture(
            f"{n:02}.png",
            (64, 48),
            tuple((k, (box[0] + k + n, box[1] + n, box[2] + n, box[3])) for k in range(3)),
        )
        for n in range(first, first + count)
    ]
    return read(write_coco(root, pictures, split), "coco", split=split)


def told(problems: Sequence[str], *parts: str) -> bool:
    """Whether one problem has all these parts."""
    return any(all(part in text for part in parts) for text in problems)


def test_a_clean_set_has_numbers_and_no_problem(tmp_path: Path) -> None:
    seen = []
    found = check(made(tmp_path, 20), progress=lambda: seen.append(1))
    assert found.problems == ()
    assert not found.stops
    assert (found.data.images, found.data.background, found.data.looked_at) == (20, 0, 20)
    assert len(seen) == 20
    assert (found.data.boxes, found.data.ignored, found.refused) == (60, 0, 0)
    assert found.data.classes == {"anvil": 20, "bell": 20, "cork": 20}
    lines = found.lines()
    assert lines[0] == "20 images (0 without a box), 60 boxes, 0 more ignored"
    assert lines[1] == "20 images decoded"
    assert lines[2] == "3 classes: anvil 20, bell 20, cork 20"
    assert lines[3:] == ["validation: none, so no scores"]
    assert json.loads(json.dumps(found.to_dict()))["classes"]["bell"] == 20


def test_ignored_objects_and_empty_images_are_counted_apart(tmp_path: Path) -> None:
    write_coco(tmp_path)
    file = tmp_path / "annotations" / "instances_train.json"
    document = json.loads(file.read_text())
    document["annotations"][0]["iscrowd"] = 1
    file.write_text(json.dumps(document))
    found = check(read(tmp_path, "coco"))
    counts = found.data
    assert (counts.images, counts.background, counts.boxes, counts.ignored) == (3, 1, 2, 1)
    assert counts.classes == {"anvil": 0, "bell": 1, "cork": 1}
    assert told(found.problems, "classes with fewer than 20 boxes", ": bell 1, cork 1")


def test_what_the_reader_left_out_is_repeated(tmp_path: Path) -> None:
    data = made(tmp_path, box=(60, 4, 75, 40))
    assert set(data.warnings) <= set(check(data).problems)
    assert told(check(data).problems, "lie wholly outside their image and are left out")


def test_pictures_that_are_refused_are_let_go_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a set annotated at another size two thousand would be held, each with all its pixels."""

    class Pixels:
        pass

    held: weakref.WeakSet[Pixels] = weakref.WeakSet()

    def decoded(*_: object) -> NoReturn:
        pixels = Pixels()
        held.add(pixels)
        raise MismatchedSize("another size")

    monkeypatch.setattr(checking, "decoded", decoded)
    counts: list[int] = []
    found = check(made(tmp_path, 40), progress=lambda: counts.append(len(held)))
    assert found.refused == 40
    assert max(counts) <= available_threads()


def test_refused_images_are_named_by_their_code(tmp_path: Path) -> None:
    data = made(tmp_path, 40)
    data.samples[1].path.unlink()
    Image.new("RGB", (48, 64)).save(data.samples[2].path)
    found = check(data)
    assert not found.stops
    assert told(found.problems, "1 of 40 images is refused as unreadable_file", "01.png")
    assert told(
        found.problems, "mismatched_size", "02.png: 48x64, annotated as 64x48; EXIF turns it"
    )
    assert found.refused == 2
    assert "38 of 40 images decoded" in found.lines()
    for n in range(3, 6):
        data.samples[n].path.write_bytes(b"x")
    found = check(data)
    assert found.stops
    assert told(found.problems, "3 of 40 images are refused as unsupported_image", "the next one")
    assert told(found.problems, "05.png. The first: ", "03.png: text is not accepted")
    assert told(found.problems, "12% of the images are refused: training stops at 5%")


def test_of_a_large_set_some_images_are_looked_at_and_that_is_said(tmp_path: Path) -> None:
    data = made(tmp_path, 20)
    data.samples[0].path.unlink()
    data.samples[19].path.unlink()
    found = check(data, most=5)
    assert found.data.looked_at == 5
    assert told(found.problems, "5 of 20 images were decoded, evenly spread")
    assert told(found.problems, "2 of 5 images are refused")  # from the first to the last


def test_objects_too_small_for_the_network_are_counted(tmp_path: Path) -> None:
    data = made(tmp_path, 20)
    assert not told(check(data, size=48).problems, "are under")  # it goes by the share of the image
    wide = [replace(sample, size=(6400, 48)) for sample in data.samples]
    found = check(DataSet(data.contract, wide), size=1200)
    assert told(found.problems, "60 of 60 boxes are under 8 pixels of the input's 1200")


def test_images_that_occur_twice_are_found_within_and_across_sets(tmp_path: Path) -> None:
    data = made(tmp_path, 20)
    validation = made(tmp_path, 20, split="val", first=15)  # 15 to 19 again
    data.samples[3].path.write_bytes(data.samples[4].path.read_bytes())
    found = check(data, validation)
    assert told(found.problems, "the same file more than once", "03.png", "04.png")
    assert told(found.problems, "images of the validation are trained on", "train/15.png = ")
    assert not found.stops


def test_problems_of_the_validation_are_told_as_its_own(tmp_path: Path) -> None:
    data = made(tmp_path, 20)
    validation = made(tmp_path, 20, split="val", first=20, box=(40, 4, 64, 40))
    validation.samples[0].path.unlink()
    found = check(data, validation)
    assert told(found.problems, "validation: ", "reach over the border")
    assert told(found.problems, "validation: ", "refused as unreadable_file, which has no part")
    assert not found.stops


def test_the_validation_is_counted_as_the_data_set_is(tmp_path: Path) -> None:
    data = made(tmp_path, 20)
    validation = made(tmp_path, 5, split="val", first=20)
    validation.samples[0].path.unlink()
    found = check(data, validation)
    assert found.validation is not None
    assert (found.validation.images, found.validation.boxes, found.refused) == (5, 15, 1)
    lines = found.lines()
    assert "validation: 5 images (0 without a box), 15 boxes, 0 more ignored" in lines
    assert "validation: 4 of 5 images decoded" in lines
    assert json.loads(json.dumps(found.to_dict()))["validation"]["classes"]["bell"] == 5


def test_a_validation_without_one_readable_image_stops(tmp_path: Path) -> None:
    data = made(tmp_path, 20)
    validation = made(tmp_path, 2, split="val", first=20)
    for sample in validation.samples:
        sample.path.unlink()
    found = check(data, validation)
    assert found.stops
    assert told(found.problems, "validation: not one image with an object can be read")


def test_a_validation_with_objects_in_unreadable_images_alone_stops(tmp_path: Path) -> None:
    validation = made(tmp_path, 3, split="val", first=20)
    empty = replace(
        validation.samples[0],
        boxes=np.zeros((0, 4), np.float32),
        indices=np.zeros(0, np.int64),
        ignored=np.zeros(0, np.bool_),
    )
    crowd = replace(validation.samples[1], ignored=np.ones_like(validation.samples[1].ignored))
    validation.samples[2].path.write_bytes(b"no picture")
    judged = replace(validation, samples=(empty, crowd, validation.samples[2]))
    found = check(made(tmp_path, 20), judged)
    assert found.stops
    assert told(found.problems, "not one image with an object can be read", "22.png: text is not")
    assert unscored(replace(judged, samples=(*judged.samples, validation.samples[1]))) is None


def test_a_validation_of_other_classes_cannot_be_used(tmp_path: Path) -> None:
    data = made(tmp_path, 20)
    other = read(tmp_path, "coco", contract=type(data.contract)(data.contract.categories[::-1]))
    found = check(data, other)
    assert found.stops
    assert told(found.problems, "validation: its classes are not those of the data set")


def test_values_out_of_range_are_refused(tmp_path: Path) -> None:
    data = made(tmp_path)
    with pytest.raises(UsageError, match="most: 0; give at least 1"):
        check(data, most=0)
    with pytest.raises(UsageError, match="size: 0; give at least 1"):
        check(data, size=0)


def test_the_same_files_are_found_by_all_of_their_bytes(tmp_path: Path) -> None:
    contents = [b"a" * 5000, b"a" * 5000, b"a" * 4999 + b"b", b"", b"", b"c", b"a" * 5000]
    paths = []
    for n, content in enumerate(contents):
        paths.append(tmp_path / str(n))
        paths[-1].write_bytes(content)
    paths += [tmp_path / "missing", tmp_path / "missing", tmp_path]
    assert sorted(same_files(paths)) == [[0, 1, 6]]
    assert same_files([]) == []


# ---------------------------------------------------------------- drawings


def test_a_drawing_shows_each_example_with_its_boxes(tmp_path: Path) -> None:
    data = made(tmp_path, 3)
    examples = Examples(data, 200, augmentation=None)
    sheet = drawn([examples.example(0, n) for n in range(3)], data.contract, columns=2)
    assert sheet.size == (404, 404)  # four pixels between two
    pixels = np.asarray(sheet)
    assert (pixels[204:, 204:] == 255).all()  # no fourth
    assert (pixels[200:204] == 255).all()
    for tile in (pixels[:200, :200], pixels[:200, 204:], pixels[204:, :200]):
        for index in (1, 2, 3):
            assert (tile == colour_of(index)).all(axis=2).sum() > 100
    example = examples.example(0, 0)
    left, top = example.boxes[0, :2].astype(int)
    frame = pixels[top + 30 : top + 60, left : left + 6]
    assert (frame == colour_of(1)).all(axis=2).any(axis=1).all()  # its left edge, in each row


def test_drawings_are_files_of_augmented_examples(tmp_path: Path) -> None:
    data = made(tmp_path, 3)
    paths = write_drawings(data, tmp_path, size=96, sheets=2)
    assert [path.name for path in paths] == ["batch-1.png", "batch-2.png", "boxes.png"]
    assert [decode(path).pixels.shape for path in paths[:2]] == [(196, 396, 3)] * 2
    assert len({path.read_bytes() for path in paths}) == 3


def test_boxes_are_drawn_on_the_pictures_as_they_are(tmp_path: Path) -> None:
    data = made(tmp_path, 2)
    pixels = np.asarray(annotated(data.samples, data.contract, DEFAULT_LIMITS))
    assert pixels.shape == (TILE, 2 * TILE + 4, 3)
    margin = (TILE - round(TILE * 48 / 64)) // 2
    assert (pixels[: margin - 1] == 255).all()  # 4:3, not squashed
    left, top, _, bottom = (data.samples[0].boxes[0] * TILE / 64).astype(int)
    rows = pixels[margin + top + 40 : margin + bottom - 5, left - 3 : left + 4]
    assert (rows == colour_of(1)).all(axis=2).any(axis=1).all()  # its left edge, in each row


def test_an_ignored_box_is_drawn_by_its_class_and_called_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = made(tmp_path, 1)
    (sample,) = data.samples
    data = replace(data, samples=[replace(sample, ignored=np.array([False, True, False]))])
    named: list[str] = []

    def draw(image: NDArray[np.uint8], found: Detections, **_: Any) -> Image.Image:
        named.extend(found.labels)
        return Image.fromarray(image)

    monkeypatch.setattr(drawing, "draw", draw)
    write_drawings(data, tmp_path, size=96, sheets=1, augmentation=None)
    assert set(named) == {"anvil", "bell (ignored)", "cork"}


def test_drawings_pass_over_what_is_refused(tmp_path: Path) -> None:
    data = made(tmp_path, 3)
    data.samples[0].path.unlink()
    data.samples[1].path.unlink()
    still = Augmentation(distortion=0, zoom_out=0, crop=0, mirror=0)
    assert len(write_drawings(data, tmp_path, size=96, sheets=1, augmentation=still)) == 2
    data.samples[2].path.unlink()
    with pytest.raises(TrainingError, match="3 of 3 images are refused"):
        write_drawings(data, tmp_path, size=96)


def test_drawings_on_a_full_disk_are_told_and_leave_nothing(tmp_path: Path) -> None:
    data = made(tmp_path / "set")
    out = tmp_path / "out"
    out.mkdir()
    with full_disk(1024), pytest.raises(OutputError, match=r"batch-1\.png.*free space"):
        write_drawings(data, out, size=96)
    assert not list(out.iterdir())


def test_drawings_need_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        write_drawings(made(tmp_path), tmp_path / "nowhere", size=96)


def test_real_cells_are_checked_and_drawn(shared: Path, tmp_path: Path) -> None:
    root = shared / "data" / "bccd"
    if not root.is_dir():
        pytest.skip(f"no image data at {root}")
    data = read(root, "coco", split="test")
    found = check(data)
    assert (found.data.images, found.data.looked_at, found.data.boxes) == (72, 72, 945)
    assert found.problems == ()
    path, _ = write_drawings(data, tmp_path, size=300, sheets=1)
    assert decode(path).pixels.shape == (604, 1212, 3)

"""YOLO's form: where labels lie, what a line may be, and what is refused."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from ssd_resnet34.errors import UsageError
from ssd_resnet34.training.data.loading import decoded
from ssd_resnet34.training.data.yolo import label_file, read
from ssd_resnet34.vision import annotations
from ssd_resnet34.vision.detections import Detections
from written_sets import LABELS, paint, write_yolo


def with_labels(root: Path, text: str | bytes) -> Path:
    """A set in which the labels of ``a.jpg`` are ``text``."""
    write_yolo(root)
    file = root / "labels" / "train" / "a.txt"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return root


def with_settings(root: Path, settings: Any) -> Path:
    write_yolo(root)
    text = settings if isinstance(settings, str) else yaml.safe_dump(settings)
    (root / "data.yaml").write_text(text)
    return root


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("set/images/train/a.jpg", "set/labels/train/a.txt"),
        ("images/set/images/a.b.png", "images/set/labels/a.b.txt"),
        ("set/train/images/a.jpg", "set/train/labels/a.txt"),
        ("set/photos/a.jpg", "set/photos/a.txt"),
        ("set/myimages/images", "set/myimages/images.txt"),
    ],
)
def test_labels_lie_where_the_rule_says(image: str, label: str) -> None:
    assert label_file(Path(image)) == Path(label)


def test_what_detect_writes_is_read_back(tmp_path: Path) -> None:
    boxes = np.array([[10, 20, 50, 60], [70, 8, 120, 90]], np.float32)
    found = Detections(
        boxes,
        np.array([0.9, 0.8], np.float32),
        np.array([1, 3]),
        np.array([1, 3]),
        ("anvil", "cork"),
        "a.jpg",
        128,
        96,
    )
    sample = read(with_labels(tmp_path, annotations.yolo(found))).samples[0]
    assert np.allclose(sample.boxes, boxes, atol=1e-3)
    assert sample.indices.tolist() == [1, 3]


def test_an_outline_becomes_the_box_around_it(tmp_path: Path) -> None:
    root = with_labels(tmp_path, "1 0.25 0.5 0.5 0.25 0.75 0.5 0.5 0.75\n")
    assert read(root).samples[0].boxes.tolist() == [[32, 24, 96, 72]]


def test_empty_lines_and_a_byte_order_mark_have_no_meaning(tmp_path: Path) -> None:
    root = with_labels(tmp_path, "\ufeff\r\n0 .5 .5 .5 .5\r\n\r\n")
    assert read(root).samples[0].boxes.tolist() == [[32, 24, 96, 72]]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("3 .5 .5 .1 .1", r"class 3 has no name, they are 0\.\.2; add it to names"),
        ("-1 .5 .5 .1 .1", "class -1 has no name"),
        ("0.5 .5 .5 .1 .1", "class 0.5 has no name"),
        ("nan .5 .5 .1 .1", "class nan has no name"),
        ("bell .5 .5 .1 .1", "is no label; a line is class cx cy w h"),
        ("0 .5 .5 .1", "4 numbers; a line is"),
        ("0 .5 .5 .1 .1 .9 .9 .9", "8 numbers; a line is"),
    ],
)
def test_lines_that_are_no_labels_are_refused_with_their_number(
    tmp_path: Path, line: str, message: str
) -> None:
    with pytest.raises(UsageError, match=rf"a\.txt, line 2: .*{message}"):
        read(with_labels(tmp_path, f"0 .5 .5 .1 .1\n{line}\n"))


def test_a_label_file_of_other_bytes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"a\.txt: not in UTF-8 \(byte 0\); save it so"):
        read(with_labels(tmp_path, b"\xff\xd8\xff\xe0"))


def test_numbers_that_are_none_leave_their_box_out(tmp_path: Path) -> None:
    outline = "0 .1 .1 nan .9 .5 .5"
    root = with_labels(tmp_path, f"0 nan .5 .1 .1\n0 .5 .5 inf .1\n{outline}\n2 .5 .5 .5 .5\n")
    found = read(root)
    assert found.samples[0].indices.tolist() == [3]
    assert "3 of 5 boxes are not four finite numbers" in found.warnings[0]
    assert "a.txt, line 1, a.txt, line 2, a.txt, line 3" in found.warnings[0]


def base(**more: Any) -> dict[str, Any]:
    return {"names": list(LABELS), "train": "images/train", **more}


@pytest.mark.parametrize(
    "change",
    [
        lambda root: base(path=str(root)),
        lambda root: base(path="."),
        lambda root: base(train=["images/train"]),
        lambda root: base(train=str(root / "images" / "train")),
        lambda root: base(train="../images/train"),  # beside the file, as Roboflow means it
        lambda root: base(train="train.txt"),
        lambda root: base(train="images\\train"),
        lambda root: base(train="windows.txt"),
        lambda root: base(names={0: "anvil", 1: "bell", 2: "cork"}),
    ],
)
def test_images_are_named_in_all_usual_ways(
    tmp_path: Path, change: Callable[[Path], dict[str, Any]]
) -> None:
    root = tmp_path / "deep" / "set"
    with_settings(root, change(root))
    names = "\n".join(f"./images/train/{n}" for n in ("a.jpg", "b.png", "c.jpg"))
    (root / "train.txt").write_text(names + "\n\n")
    (root / "windows.txt").write_bytes(names.replace("/", "\\").replace("\n", "\r\n").encode())
    for place in (root, root / "data.yaml"):
        found = read(place)
        assert [len(sample.boxes) for sample in found.samples] == [2, 1, 0]
        assert found.contract.labels == LABELS


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("", "no settings but NoneType"),
        ("- a\n- b\n", "no settings but list"),
        ("names: [a\n", "not YAML"),
        ("!!python/object/apply:os.system ['true']\n", "not YAML"),
        ("[" * 5000, "not YAML"),
        ({"train": "images/train"}, "no names"),
        (base(names=[]), "no names"),
        (base(names="anvil"), "no names"),
        (base(names={1: "a", 2: "b"}), "names are numbered 1, 2; count 0, 1, 2"),
        (base(names=["a", None, "c"]), "are not all words"),
        (base(names=["a", "b", "a"]), "'a' occurs twice"),
        (base(train=None), "no images for 'train'"),
        (base(train=[1]), "no images for 'train'"),
        (base(train="images/nowhere"), "nowhere does not exist; mend path or train"),
        (base(path=["x"]), "is no folder"),
    ],
)
def test_settings_that_are_none_are_refused(tmp_path: Path, settings: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        read(with_settings(tmp_path, settings))
    assert "data.yaml" in str(caught.value)


def test_aliases_that_grow_are_not_unfolded(tmp_path: Path) -> None:
    text = "a0: &a0 [x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 40)
    )
    found = read(with_settings(tmp_path, text + yaml.safe_dump(base())))
    assert len(found.samples) == 3


def test_a_folder_without_images_is_an_empty_split(tmp_path: Path) -> None:
    write_yolo(tmp_path)
    for file in (tmp_path / "images" / "train").iterdir():
        file.unlink()
    with pytest.raises(UsageError, match="no image in this split"):
        read(tmp_path)


def test_a_set_whose_labels_lie_elsewhere_says_where_they_are_looked_for(tmp_path: Path) -> None:
    write_yolo(tmp_path)
    (tmp_path / "labels").rename(tmp_path / "annotations")
    with pytest.raises(
        UsageError, match=r"none of its 3 images has .*labels/train/a\.txt.*put them"
    ):
        read(tmp_path)


def test_pixels_in_the_place_of_fractions_are_told_as_what_they_are(tmp_path: Path) -> None:
    root = with_labels(tmp_path, "0 60 40 30 30\n")
    (root / "labels" / "train" / "b.txt").unlink()
    with pytest.raises(UsageError, match="boxes are cx cy w h, fractions of the image, neither"):
        read(root)


def test_labels_without_an_image_are_told(tmp_path: Path) -> None:
    write_yolo(tmp_path)
    (tmp_path / "labels" / "train" / "classes.txt").write_text("anvil\nbell\ncork\n")
    assert not read(tmp_path).warnings
    (tmp_path / "images" / "train" / "b.png").unlink()
    (text, *_) = read(tmp_path).warnings
    assert text == "1 file of labels has no image, and no part in this (b.txt)"


def test_a_list_of_images_leaves_labels_out_on_purpose(tmp_path: Path) -> None:
    with_settings(tmp_path, base(train="train.txt", names=["anvil", "bell", "cork"]))
    (tmp_path / "train.txt").write_text("images/train/a.jpg\n")
    assert not any("file of labels" in text for text in read(tmp_path).warnings)


def test_a_folder_without_settings_says_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"data\.yaml: cannot be read .*`train: images`"):
        read(tmp_path)


def test_images_are_no_argument_of_this_form(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"data\.yaml says where .*leave out images=FOLDER"):
        read(write_yolo(tmp_path), images=tmp_path)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", [".jpg", ".png", ".webp", ".tif"])
def test_sizes_are_those_that_are_displayed(tmp_path: Path, orientation: int, ending: str) -> None:
    root = with_settings(tmp_path, base())
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (40, 20)).save(root / "images" / "train" / f"turned{ending}", exif=exif)
    found = read(root)
    (sample,) = [one for one in found.samples if one.path.stem == "turned"]
    image = decoded(sample)  # which compares
    assert sample.size == (image.width, image.height)


def test_images_without_a_readable_header_are_left_out_by_their_code(tmp_path: Path) -> None:
    root = with_settings(tmp_path, base())
    folder = root / "images" / "train"
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("no image")
    (folder / "cut.png").write_bytes((folder / "b.png").read_bytes()[:20])
    os.mkfifo(folder / "pipe.jpg")
    (folder / "dangling.jpg").symlink_to("nowhere.jpg")
    found = read(root)
    assert [sample.path.name for sample in found.samples] == ["a.jpg", "b.png", "c.jpg"]
    left_out = [text for text in found.warnings if text.startswith("left out")]
    assert len(left_out) == 5
    for name in ("empty.jpg: no bytes", "text.jpg", "cut.png", "pipe.jpg", "dangling.jpg: missing"):
        assert any(name in text for text in left_out), name


def test_deeper_folders_are_searched_too(tmp_path: Path) -> None:
    write_yolo(tmp_path)
    paint(tmp_path / "images" / "train" / "more")
    assert len(read(tmp_path).samples) == 6

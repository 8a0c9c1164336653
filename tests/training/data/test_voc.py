"""Pascal VOC's form: corners from 1, difficult objects, and XML that nobody should open."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from ssd_resnet34.errors import UsageError
from ssd_resnet34.training.data.voc import MAX_BYTES, VOC_LABELS, read
from ssd_resnet34.vision import annotations
from ssd_resnet34.vision.detections import Detections
from written_sets import PICTURES, Picture, paint, write_voc, xml


def with_xml(root: Path, text: str | bytes, name: str = "a") -> Path:
    """A set whose annotation of ``a.jpg`` is ``text``."""
    write_voc(root)
    file = root / "Annotations" / f"{name}.xml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return root


def test_difficult_objects_are_ignored(tmp_path: Path) -> None:
    text = xml(PICTURES[0], more="<difficult>1</difficult>").replace(
        "<difficult>1", "<difficult>0", 1
    )
    assert read(with_xml(tmp_path, text)).samples[0].ignored.tolist() == [False, True]


def test_corners_count_from_one_and_are_inside(tmp_path: Path) -> None:
    whole = Picture("a.jpg", (128, 96), ((0, (0, 0, 128, 96)),))
    text = xml(whole)
    assert "<xmin>1</xmin><ymin>1</ymin><xmax>128</xmax><ymax>96</ymax>" in text
    found = read(with_xml(tmp_path, text))
    assert found.samples[0].boxes.tolist() == [[0, 0, 128, 96]]
    assert not any("border" in text for text in found.warnings)


def test_what_detect_writes_is_read_back(tmp_path: Path) -> None:
    write_voc(tmp_path)
    boxes = np.array([[10, 20, 50, 60], [70, 8, 120, 90]], np.float32)
    found = Detections(
        boxes,
        np.array([0.9, 0.8], np.float32),
        np.array([1, 3]),
        np.array([1, 3]),
        ("anvil", "cork"),
        "photos/a.jpg",
        128,
        96,
    )
    (tmp_path / "Annotations" / "a.xml").write_text(annotations.voc(found))
    sample = read(tmp_path).samples[0]
    assert np.array_equal(sample.boxes, boxes)
    assert sample.indices.tolist() == [1, 3]


def test_the_twenty_classes_keep_their_order(tmp_path: Path) -> None:
    text = xml(PICTURES[0]).replace("anvil", "tvmonitor").replace("cork", "aeroplane")
    write_voc(tmp_path, PICTURES[:1])
    (tmp_path / "Annotations" / "a.xml").write_text(text)
    found = read(tmp_path, unknown="unlabelled")
    assert found.contract.labels == VOC_LABELS
    assert found.samples[0].indices.tolist() == [20, 1]
    assert len(found.samples[0].unknown) == 18


def test_the_folder_above_is_enough_where_it_holds_one_set(tmp_path: Path) -> None:
    write_voc(tmp_path / "VOC2007")
    assert len(read(tmp_path).samples) == 3
    write_voc(tmp_path / "VOC2012")
    with pytest.raises(UsageError, match="VOC2007, VOC2012 are in it; name one"):
        read(tmp_path)


def test_images_can_lie_elsewhere(tmp_path: Path) -> None:
    write_voc(tmp_path / "set")
    paint(tmp_path / "photos")
    found = read(tmp_path / "set", images=tmp_path / "photos")
    assert {sample.path.parent for sample in found.samples} == {tmp_path / "photos"}
    with pytest.raises(UsageError, match="nowhere: no such folder"):
        read(tmp_path / "set", images=tmp_path / "nowhere")


def write_beside(folder: Path, pictures: Sequence[Picture] = PICTURES) -> Path:
    """XML files beside their images, as LabelImg writes them."""
    paint(folder, pictures)
    for picture in pictures:
        (folder / f"{Path(picture.name).stem}.xml").write_text(xml(picture))
    return folder


def test_xml_files_beside_their_images_are_one_split(tmp_path: Path) -> None:
    found = read(write_beside(tmp_path))
    assert [sample.path.name for sample in found.samples] == ["a.jpg", "b.png", "c.jpg"]
    assert [len(sample.boxes) for sample in found.samples] == [2, 1, 0]
    with pytest.raises(UsageError, match="is one split, all of its XML files, without 'val'"):
        read(tmp_path, split="val")


def test_images_beside_xml_files_without_one_of_their_own_are_told(tmp_path: Path) -> None:
    write_beside(tmp_path)
    (tmp_path / "b.xml").unlink()
    found = read(tmp_path)
    assert [sample.path.name for sample in found.samples] == ["a.jpg", "c.jpg"]
    assert found.warnings[0] == "1 image without XML, left out (b.png)"


def test_images_of_another_split_below_or_without_a_size_are_not_without_xml(
    tmp_path: Path,
) -> None:
    write_beside(tmp_path)
    write_beside(tmp_path / "val")
    (tmp_path / "b.xml").write_text(re.sub("<size>.*</size>", "", xml(PICTURES[1])))
    (tmp_path / "b.png").write_bytes(b"no image")
    (told,) = [text for text in read(tmp_path).warnings if "XML" in text]
    assert told.startswith("left out, neither its XML nor the image gives a size")


def test_xml_files_and_images_can_have_a_folder_each(tmp_path: Path) -> None:
    write_beside(tmp_path / "annotations")
    paint(tmp_path / "images")
    found = read(tmp_path / "annotations", images=tmp_path / "images")
    assert {sample.path.parent for sample in found.samples} == {tmp_path / "images"}


@pytest.mark.parametrize("name", ["val", "valid"])
def test_splits_can_be_folders_of_xml_files(tmp_path: Path, name: str) -> None:
    write_beside(tmp_path / "train")
    write_beside(tmp_path / name, PICTURES[:1])
    assert len(read(tmp_path).samples) == 3
    (sample,) = read(tmp_path, split="val").samples
    assert sample.path == tmp_path / name / "a.jpg"


def test_a_list_of_one_class_names_its_images_too(tmp_path: Path) -> None:
    write_voc(tmp_path)
    lists = tmp_path / "ImageSets" / "Main"
    (lists / "bell_train.txt").write_text("a -1\nb  1\n\nb 1\n")
    found = read(tmp_path, split="bell_train")
    assert [sample.path.name for sample in found.samples] == ["a.jpg", "b.png"]


def test_a_split_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    write_voc(tmp_path)
    with pytest.raises(UsageError, match="name one of train"):
        read(tmp_path, split="trainval")


def test_an_empty_split_is_refused(tmp_path: Path) -> None:
    write_voc(tmp_path)
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_text("\n")
    with pytest.raises(UsageError, match="no image in this split"):
        read(tmp_path)


def test_a_split_without_objects_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no object at all"):
        read(write_voc(tmp_path, PICTURES[2:]))


@pytest.mark.parametrize("name", ["../a", "sub/a", ".."])
def test_a_list_names_images_and_no_paths(tmp_path: Path, name: str) -> None:
    write_voc(tmp_path)
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_text(f"a\n{name}\n")
    with pytest.raises(UsageError, match=f"{re.escape(name)} is no name of an image"):
        read(tmp_path)


@pytest.mark.parametrize(
    "size",
    [
        "",
        "<size/>",
        "<size><width>0</width><height>0</height></size>",
        "<size><width>1e300</width><height>nan</height></size>",
    ],
)
def test_a_size_that_is_missing_is_that_of_the_image(tmp_path: Path, size: str) -> None:
    text = re.sub("<size>.*</size>", size, xml(PICTURES[0]))
    assert read(with_xml(tmp_path, text)).samples[0].size == (128, 96)
    (tmp_path / "JPEGImages" / "a.jpg").unlink()
    found = read(tmp_path)
    assert len(found.samples) == 2
    assert "left out, neither its XML nor the image gives a size" in found.warnings[0]
    assert "a.jpg" in found.warnings[0]


@pytest.mark.parametrize("name", ["C:\\\\photos\\\\a.jpg", "/home/me/a.jpg", "", "gone.jpg"])
def test_the_name_in_the_file_may_be_a_path_or_wrong(tmp_path: Path, name: str) -> None:
    text = xml(PICTURES[0]).replace("<filename>a.jpg", f"<filename>{name}")
    assert read(with_xml(tmp_path, text)).samples[0].path == tmp_path / "JPEGImages" / "a.jpg"


@pytest.mark.parametrize("value", ["nan", "", "many", "inf"])
def test_a_corner_that_is_no_number_leaves_its_box_out(tmp_path: Path, value: str) -> None:
    text = xml(PICTURES[0]).replace("<xmax>50", f"<xmax>{value}")
    found = read(with_xml(tmp_path, text))
    assert found.samples[0].indices.tolist() == [3]
    assert "1 of 3 boxes is not four finite numbers" in found.warnings[0]
    assert "a.xml, object 1" in found.warnings[0]


def laughs(levels: int = 12) -> str:
    """Entities that grow tenfold each."""
    entities = "".join(
        f'<!ENTITY e{n} "{f"&e{n - 1};" * 10 if n else "lol"}">' for n in range(levels)
    )
    return f"<!DOCTYPE annotation [{entities}]><annotation>&e{levels - 1};</annotation>"


HOSTILE = {
    "growing entities": laughs(),
    "growing entities in UTF-16": laughs().encode("utf-16"),
    "an entity of a file": '<!DOCTYPE a [<!ENTITY f SYSTEM "file:///etc/passwd">]>'
    "<annotation><filename>&f;</filename></annotation>",
    "a document type of another place": '<!DOCTYPE a SYSTEM "http://localhost:1/a.dtd">'
    "<annotation/>",
    "a long entity many times": f'<!DOCTYPE a [<!ENTITY x "{"x" * 50_000}">]><annotation>'
    f"{'&x;' * 50_000}</annotation>",
    "an undefined entity": "<annotation>&nothing;</annotation>",
    "cut short": xml(PICTURES[0])[:-20],
    "nothing": "",
    "no XML": "a,b,c",
    "an unknown encoding": '<?xml version="1.0" encoding="klingon"?><annotation/>',
    "an encoding of many bytes": '<?xml version="1.0" encoding="utf-7"?><annotation/>',
    "bytes of no encoding": b"<annotation>\xff\xfe\xfd</annotation>",
    "another root": "<html><body/></html>",
    "an object without a name": xml(PICTURES[0]).replace("<name>anvil</name>", ""),
    "too large": "<annotation>" + " " * MAX_BYTES + "</annotation>",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_and_damaged_xml_is_refused_by_name(tmp_path: Path, text: str | bytes) -> None:
    with pytest.raises(UsageError, match=r"a\.xml"):
        read(with_xml(tmp_path, text))


def test_elements_in_elements_without_end_do_no_harm(tmp_path: Path) -> None:
    depth = 100_000
    text = xml(PICTURES[0]).replace("</annotation>", "<a>" * depth + "</a>" * depth)
    assert len(read(with_xml(tmp_path, text + "</annotation>")).samples[0].boxes) == 2


def test_an_annotation_that_is_missing_is_refused(tmp_path: Path) -> None:
    write_voc(tmp_path)
    (tmp_path / "Annotations" / "b.xml").unlink()
    with pytest.raises(UsageError, match=r"b\.xml: cannot be read .* each image of a split has"):
        read(tmp_path)

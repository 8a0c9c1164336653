"""Claims about the files that detections are written to."""

import csv
import io
import json
import os
import re
import resource
import stat
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from ssd_resnet34.errors import OutputError, SSDResNet34Error, UsageError
from ssd_resnet34.vision import writers
from ssd_resnet34.vision.detections import Detections
from ssd_resnet34.vision.images import decode
from ssd_resnet34.vision.writers import EXTENSIONS, extension_of, open_writer, save

NOT_UTF8 = b"caf\xe9.jpg".decode("utf-8", "surrogateescape")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def two(image: str = "a.jpg", labels: tuple[str, str] = ("person", "dog")) -> Detections:
    return Detections(
        np.array([[10.1, 20, 110, 70], [-5, -6, 30, 40.5]], np.float32),
        np.array([0.9, 0.8], np.float32),
        np.array([1, 17]),
        np.array([1, 18]),
        labels,
        image=image,
        width=200,
        height=100,
        model="embedded",
    )


def nothing(image: str = "empty.jpg") -> Detections:
    return two(image)[:0]


class TestForms:
    def test_json_of_one_image_is_an_object_and_of_several_a_list(self, tmp_path: Path) -> None:
        two().save(tmp_path / "one.json")
        assert json.loads((tmp_path / "one.json").read_text()) == two().to_dict()
        save(tmp_path / "many.json", [two(), nothing()])
        assert json.loads((tmp_path / "many.json").read_text()) == [
            two().to_dict(),
            nothing().to_dict(),
        ]
        save(tmp_path / "none.json", [])
        assert json.loads((tmp_path / "none.json").read_text()) == []

    def test_jsonl_has_one_image_a_line(self, tmp_path: Path) -> None:
        save(tmp_path / "a.jsonl", iter([two(), nothing(), two(NOT_UTF8)]))
        lines = (tmp_path / "a.jsonl").read_text("utf-8").splitlines()
        assert [Detections.from_dict(json.loads(line)) for line in lines] == [
            two(),
            nothing(),
            two(NOT_UTF8),
        ]

    def test_csv_has_one_detection_a_row(self, tmp_path: Path) -> None:
        save(tmp_path / "a.csv", [two(), nothing()])
        with (tmp_path / "a.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == 2
        assert rows[1] == {
            "image": "a.jpg", "width": "200", "height": "100",
            "left": "-5.0", "top": "-6.0", "right": "30.0", "bottom": "40.5",
            "score": "0.8", "index": "17", "category_id": "18", "label": "dog",
        }  # fmt: skip

    @pytest.mark.parametrize("start", ["=", "+", "-", "@"])
    def test_no_csv_cell_begins_a_formula(self, start: str, tmp_path: Path) -> None:
        save(tmp_path / "a.csv", two(f"{start}cmd|' /C calc'!A0", (f"{start}x", 'a,"b"c')))
        with (tmp_path / "a.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert rows[0]["image"] == f"'{start}cmd|' /C calc'!A0"
        assert rows[0]["label"] == f"'{start}x"
        assert rows[1]["label"] == 'a,"b"c'

    def test_csv_has_one_line_a_row_whatever_the_names(self, tmp_path: Path) -> None:
        save(tmp_path / "a.csv", two(NOT_UTF8, ("a\r\nb\u2028c", "\t=x\0")))
        with (tmp_path / "a.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["label"] for row in rows] == [r"a\r\nb\u2028c", r"\t=x\x00"]
        assert rows[0]["image"] == r"caf\udce9.jpg"
        assert len((tmp_path / "a.csv").read_text().splitlines()) == 3

    def test_coco_numbers_the_images_and_keeps_those_without_detections(
        self, tmp_path: Path
    ) -> None:
        save(tmp_path / "a.coco.json", [two(), nothing(), two(NOT_UTF8)])
        data = json.loads((tmp_path / "a.coco.json").read_text())
        assert [image["id"] for image in data["images"]] == [1, 2, 3]
        assert data["images"][1] == {
            "id": 2,
            "file_name": "empty.jpg",
            "width": 200,
            "height": 100,
        }
        assert data["annotations"][1] == {
            "id": 2,
            "image_id": 1,
            "category_id": 18,
            "bbox": [-5.0, -6.0, 35.0, 46.5],
            "score": 0.8,
            "area": 1627.5,
            "iscrowd": 0,
        }
        assert [row["image_id"] for row in data["annotations"]] == [1, 1, 3, 3]
        assert data["categories"] == [{"id": 1, "name": "person"}, {"id": 18, "name": "dog"}]
        save(tmp_path / "none.coco.json", [])
        assert json.loads((tmp_path / "none.coco.json").read_text()) == {
            "annotations": [],
            "images": [],
            "categories": [],
        }

    def test_coco_areas_of_the_largest_boxes_are_finite(self, tmp_path: Path) -> None:
        found = replace(two(), boxes=np.array([[-1e33, -1e33, 1e33, 1e33]] * 2, np.float32))
        save(tmp_path / "a.coco.json", found)
        data = json.loads((tmp_path / "a.coco.json").read_text())
        assert data["annotations"][0]["area"] == pytest.approx(4e66)

    def test_coco_image_ids_may_be_given(self, tmp_path: Path) -> None:
        with open_writer(tmp_path / "a.coco.json") as writer:
            writer.write(two(), image_id=42)
        data = json.loads((tmp_path / "a.coco.json").read_text())
        assert data["images"][0]["id"] == data["annotations"][0]["image_id"] == 42

    def test_pycocotools_reads_the_coco_form(self, tmp_path: Path) -> None:
        coco = pytest.importorskip("pycocotools.coco")
        save(tmp_path / "a.coco.json", [two(), nothing()])
        truth = coco.COCO(str(tmp_path / "a.coco.json"))
        assert len(truth.loadRes(truth.dataset["annotations"]).getAnnIds()) == 2

    def test_yolo_has_fractions_of_the_part_inside_the_image(self, tmp_path: Path) -> None:
        save(tmp_path / "a.txt", two())
        assert (tmp_path / "a.txt").read_text() == (
            "0 0.300250 0.450000 0.499500 0.500000 0.900000\n"
            "16 0.075000 0.202500 0.150000 0.405000 0.800000\n"
        )
        save(tmp_path / "a.txt", nothing())
        assert (tmp_path / "a.txt").read_text() == ""

    def test_voc_counts_pixels_from_one(self, tmp_path: Path) -> None:
        save(tmp_path / "a.xml", two("folder/a.jpg"))
        root = ElementTree.parse(tmp_path / "a.xml").getroot()
        assert root.findtext("filename") == "a.jpg"
        assert root.findtext("size/width") == "200"
        person, dog = root.findall("object")
        assert [corner.text for corner in person.findall("bndbox/*")] == ["11", "21", "110", "70"]
        assert [corner.text for corner in dog.findall("bndbox/*")] == ["1", "1", "30", "40"]
        assert (person.findtext("truncated"), dog.findtext("truncated")) == ("0", "1")
        assert dog.findtext("confidence") == "0.8"

    def test_voc_is_xml_whatever_the_names(self, tmp_path: Path) -> None:
        save(tmp_path / "a.xml", two(NOT_UTF8, ("<&>", "a\x00\x1b]b")))
        root = ElementTree.parse(tmp_path / "a.xml").getroot()
        assert root.findtext("filename") == "caf\\udce9.jpg"
        assert [name.text for name in root.iter("name")] == ["<&>", "a\ufffd\ufffd]b"]

    def test_boxes_outside_the_image_are_left_out_of_yolo_and_voc(self, tmp_path: Path) -> None:
        gone = replace(two(), boxes=two().boxes + np.float32(500))
        save(tmp_path / "a.txt", gone)
        save(tmp_path / "a.xml", gone)
        assert (tmp_path / "a.txt").read_text() == ""
        assert "object" not in (tmp_path / "a.xml").read_text()

    @pytest.mark.parametrize("extension", [".png", ".jpg", ".jpeg", ".webp"])
    def test_a_picture_extension_draws(self, extension: str, tmp_path: Path) -> None:
        Image.new("RGB", (200, 100), "white").save(tmp_path / "in.png")
        two(str(tmp_path / "in.png")).save(tmp_path / f"out{extension}")
        with Image.open(tmp_path / f"out{extension}") as drawn:
            assert drawn.size == (200, 100)
            assert len(set(drawn.convert("RGB").get_flattened_data())) > 10

    def test_a_picture_needs_to_know_its_image(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="give the image"):
            two("").save(tmp_path / "out.png")
        two("").save(tmp_path / "out.png", source=np.zeros((100, 200), np.uint8))
        assert names(tmp_path) == ["out.png"]

    @pytest.mark.parametrize("extension", [".txt", ".xml", ".png"])
    def test_a_form_for_one_image_refuses_several_and_none(
        self, extension: str, tmp_path: Path
    ) -> None:
        for many in ([two(), two()], []):
            with pytest.raises(UsageError, match="one image"):
                save(tmp_path / f"a{extension}", many)
        with pytest.raises(UsageError, match="many images"):
            open_writer(tmp_path / f"a{extension}")
        assert names(tmp_path) == []


class TestPlaces:
    @pytest.mark.parametrize("name", ["a.pdf", "a", ".json", "json", "a.json.bak"])
    def test_an_unknown_extension_is_refused_with_the_known_ones(
        self, name: str, tmp_path: Path
    ) -> None:
        with pytest.raises(UsageError) as refusal:
            save(tmp_path / name, two())
        assert all(extension in str(refusal.value) for extension in EXTENSIONS)

    def test_the_docstring_has_a_row_for_every_extension(self) -> None:
        told = re.findall(r"^((?:\.[a-z.]+ ?)+)", writers.__doc__ or "", re.M)
        assert sorted(" ".join(told).split()) == sorted(EXTENSIONS)

    def test_the_longest_extension_counts_in_any_case(self) -> None:
        assert extension_of("A.COCO.JSON") == ".coco.json"
        assert extension_of("coco.json") == ".json"
        assert extension_of(Path("x/b.JPG")) == ".jpg"

    def test_nothing_appears_before_close_and_no_temporary_stays(self, tmp_path: Path) -> None:
        place = tmp_path / "a.jsonl"
        place.write_text("old")
        writer = open_writer(place)
        writer.write(two())
        assert place.read_text() == "old"
        writer.close()
        writer.close()
        assert json.loads(place.read_text())["image"] == "a.jpg"
        assert names(tmp_path) == ["a.jsonl"]
        with pytest.raises(UsageError, match="closed"):
            writer.write(two())

    @pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.csv", "a.coco.json"])
    def test_an_exception_leaves_what_was_there(self, name: str, tmp_path: Path) -> None:
        place = tmp_path / name
        place.write_text("old")
        with pytest.raises(KeyboardInterrupt), open_writer(place) as writer:  # noqa: PT012
            writer.write(two())
            raise KeyboardInterrupt
        assert place.read_text() == "old"
        assert names(tmp_path) == [name]

    def test_an_existing_file_keeps_its_permissions_and_a_link_its_target(
        self, tmp_path: Path
    ) -> None:
        place = tmp_path / "a.json"
        place.write_text("old")
        place.chmod(0o640)
        (tmp_path / "link.json").symlink_to(place)
        two().save(tmp_path / "link.json")
        assert (tmp_path / "link.json").is_symlink()
        assert stat.S_IMODE(place.stat().st_mode) == 0o640
        assert json.loads(place.read_text())["image"] == "a.jpg"

    def test_a_new_file_has_the_permissions_of_any_new_file(self, tmp_path: Path) -> None:
        (tmp_path / "other").touch()
        two().save(tmp_path / "a.json")
        assert (tmp_path / "a.json").stat().st_mode == (tmp_path / "other").stat().st_mode

    def test_a_place_that_cannot_be_written_is_one_error_of_the_tree(self, tmp_path: Path) -> None:
        (tmp_path / "folder.json").mkdir()
        os.mkfifo(tmp_path / "pipe.json")
        for place in (
            "folder.json",
            "pipe.json",
            "missing/a.json",
            "a\0b.json",
            "x" * 300 + ".csv",
        ):
            with pytest.raises(UsageError, match=r"json|csv"):
                two().save(tmp_path / place)
        assert names(tmp_path) == ["folder.json", "pipe.json"]
        assert stat.S_ISFIFO((tmp_path / "pipe.json").stat().st_mode)

    @pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.json", "a.coco.json"])
    def test_a_full_disk_is_one_error_and_leaves_nothing(self, name: str, tmp_path: Path) -> None:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        with pytest.raises(SSDResNet34Error, match="cannot be written"):  # noqa: PT012
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
            try:
                save(tmp_path / name, (two() for _ in range(500)))
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert names(tmp_path) == []

    @pytest.mark.parametrize("name", ["a.json", "a.txt", "a.xml", "a.png"])
    def test_a_full_disk_is_one_error_for_one_image_too(self, name: str, tmp_path: Path) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
        crowd = two()[[0, 1] * 200]
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        with pytest.raises(OutputError, match="cannot be written"):  # noqa: PT012
            resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
            try:
                crowd.save(tmp_path / name, Image.fromarray(noise))
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert names(tmp_path) == []

    @pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.coco.json"])
    def test_memory_does_not_grow_with_the_images(self, name: str, tmp_path: Path) -> None:
        import tracemalloc

        with open_writer(tmp_path / name) as writer:
            for _ in range(50):
                writer.write(two())
            tracemalloc.start()
            for _ in range(1000):
                writer.write(two())
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        assert (tmp_path / name).stat().st_size > 70_000
        # The csv module alone keeps a buffer of 128 KiB.
        assert peak < (160_000 if name == "a.csv" else 40_000)


class TestStreams:
    @pytest.mark.parametrize("extension", [".json", ".jsonl", ".csv", ".coco.json"])
    def test_a_stream_gets_the_same_bytes_as_a_file_and_stays_open(
        self, extension: str, tmp_path: Path
    ) -> None:
        stream = io.BytesIO()
        with open_writer(stream, extension) as writer:
            writer.write(two())
            assert b"a.jpg" in stream.getvalue() or extension == ".coco.json"
            writer.write(nothing())
        save(tmp_path / f"a{extension}", [two(), nothing()])
        assert stream.getvalue() == (tmp_path / f"a{extension}").read_bytes()

    def test_a_stream_needs_an_extension(self) -> None:
        for extension in (None, ".png"):
            with pytest.raises(UsageError, match="jsonl"):
                open_writer(io.BytesIO(), extension)

    def test_a_reader_that_went_away_is_a_broken_pipe(self) -> None:
        reading, writing = os.pipe()
        os.close(reading)
        with os.fdopen(writing, "wb", buffering=0) as pipe:
            writer = open_writer(pipe, ".jsonl")
            with pytest.raises(BrokenPipeError):
                writer.write(two())


def test_a_saved_picture_shows_the_scores_that_are_asked_for(tmp_path: Path) -> None:
    faint = replace(
        two()[:1],
        scores=np.array([0.2], np.float32),
        boxes=np.array([[4, 4, 30, 30]], np.float32),
        width=40,
        height=40,
    )
    picture = np.full((40, 40), 128, np.uint8)
    for threshold, drawn in ((0.1, True), (0.3, False)):
        path = tmp_path / f"{threshold}.png"
        save(path, faint, source=picture, score_threshold=threshold)
        assert bool((decode(path).pixels != 128).any()) is drawn

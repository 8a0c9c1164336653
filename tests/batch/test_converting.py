"""Rows in the forms of training tools."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from full_disk import full_disk
from small_batch import HASTY, SamePool, write
from ssd_resnet34.batch import converting, models, running
from ssd_resnet34.batch.manifest import Plan, load
from ssd_resnet34.batch.place import LocalPlace
from ssd_resnet34.batch.sources import Search
from ssd_resnet34.batch.worker import Job
from ssd_resnet34.errors import BatchError, OutputError, UsageError


@pytest.fixture
def done(
    tmp_path: Path, job: Callable[..., Job], same_process: type[SamePool]
) -> tuple[LocalPlace, Plan]:
    """A run over four pictures in two folders, and one that is refused."""
    for name in ("a/1.png", "a/1.jpg", "b/2.png", "b/3.png"):
        write(tmp_path / "in" / name, 100)
    (tmp_path / "in" / "b" / "bad.png").write_bytes(b"")
    running.run(str(tmp_path / "out"), Search(str(tmp_path / "in")), job(), shard_size=2)
    place = LocalPlace(tmp_path / "out", HASTY)
    plan = load(place)
    assert plan is not None
    return place, plan


def test_coco_has_the_ids_of_the_rows_and_names_relative_to_the_shared_folder(
    done: tuple[LocalPlace, Plan], tmp_path: Path
) -> None:
    assert converting.common_folder(*done) == f"{tmp_path}/in/"
    assert converting.convert(*done, "coco", tmp_path / "x.json") == (4, 1)
    document = json.loads((tmp_path / "x.json").read_text())
    assert [(one["id"], one["file_name"]) for one in document["images"]] == [
        (1, "a/1.jpg"),
        (2, "a/1.png"),
        (3, "b/2.png"),
        (4, "b/3.png"),
    ]
    assert len(document["annotations"]) == 12
    assert {one["image_id"] for one in document["annotations"]} == {1, 2, 3, 4}


def test_yolo_has_a_text_for_each_image_and_the_names_of_all_classes(
    done: tuple[LocalPlace, Plan], tmp_path: Path
) -> None:
    assert converting.convert(*done, "yolo", tmp_path / "yolo") == (4, 1)
    labels = tmp_path / "yolo" / "labels"
    found = sorted(str(path.relative_to(labels)) for path in labels.rglob("*.txt"))
    assert found == ["a/1-2.txt", "a/1.txt", "b/2.txt", "b/3.txt"]
    lines = (labels / "b" / "2.txt").read_text().splitlines()
    assert sorted(line.split()[0] for line in lines) == ["0", "16", "2"]
    classes = (tmp_path / "yolo" / "classes.txt").read_text().splitlines()
    assert (len(classes), classes[0], classes[16]) == (80, "person", "dog")
    with pytest.raises(UsageError, match="is there already"):
        converting.convert(*done, "yolo", tmp_path / "yolo")


def test_tables_hold_every_detection(done: tuple[LocalPlace, Plan], tmp_path: Path) -> None:
    converting.convert(*done, "csv", tmp_path / "x.csv")
    assert len((tmp_path / "x.csv").read_text().splitlines()) == 13
    converting.convert(*done, "jsonl", tmp_path / "x.jsonl")
    assert len((tmp_path / "x.jsonl").read_text().splitlines()) == 4


def test_an_incomplete_run_is_not_converted_and_leaves_nothing(
    done: tuple[LocalPlace, Plan], tmp_path: Path
) -> None:
    done[0].remove("part-000001.parquet")
    for to in converting.TARGETS:
        with pytest.raises(BatchError, match=r"part-000001\.parquet: missing"):
            converting.convert(*done, to, tmp_path / f"converted-{to}")
    assert not list(tmp_path.glob("*converted*"))
    with pytest.raises(UsageError, match="no form"):
        converting.convert(*done, "xml", tmp_path / "x")


@pytest.mark.parametrize("to", ["csv", "jsonl", "coco", "yolo"])
def test_a_full_disk_is_told_and_nothing_is_left(
    done: tuple[LocalPlace, Plan], tmp_path: Path, to: str
) -> None:
    with full_disk(8), pytest.raises(OutputError, match=f"converted-{to}.*free space"):
        converting.convert(*done, to, tmp_path / f"converted-{to}")
    assert not list(tmp_path.glob("*converted*"))


def test_a_system_without_a_folder_for_temporary_files_is_told(
    done: tuple[LocalPlace, Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/nowhere"])
    with pytest.raises(OutputError, match=r"TMPDIR.*No usable temporary directory"):
        converting.commit_coco(*done)


def test_models_with_other_classes_cannot_share_class_numbers(
    done: tuple[LocalPlace, Plan], tmp_path: Path
) -> None:
    done[0].write(f"{models.FOLDER}/other.json", json.dumps({"labels": ["cat"]}).encode())
    with pytest.raises(BatchError, match="different classes"):
        converting.convert(*done, "yolo", tmp_path / "yolo")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("../../etc/passwd.jpg", "etc/passwd.txt"),
        ("s3://bucket/a/b.jpg", "bucket/a/b.txt"),
        ("/abs/x.y.jpg", "abs/x.y.txt"),
        ("file:///abs/%2e%2e/x.jpg", "abs/x.txt"),
    ],
)
def test_no_address_leads_out_of_the_folder(name: str, expected: str) -> None:
    assert str(converting._relative(name)) == expected


def test_a_coco_run_has_its_document_beside_its_rows(
    tmp_path: Path, job: Callable[..., Job], same_process: type[SamePool]
) -> None:
    for n in range(3):
        write(tmp_path / "in" / f"{n}.png")
    running.run(str(tmp_path / "out"), Search(str(tmp_path / "in")), job(), format="coco")
    document = json.loads((tmp_path / "out" / converting.COCO).read_text())
    assert [one["file_name"] for one in document["images"]] == ["0.png", "1.png", "2.png"]
    assert (tmp_path / "out" / "part-000000.parquet").exists()


@pytest.mark.parametrize(
    "text", ["{", "[]", "5", "{}", '{"labels": 5}', '{"labels": [["person"]]}', "[" * 100_000]
)
def test_a_damaged_record_of_a_model_is_passed_over_or_asked_for(
    done: tuple[LocalPlace, Plan], tmp_path: Path, text: str
) -> None:
    place, plan = done
    known = models.recorded(place)
    place.write(f"{models.FOLDER}/other.json", text.encode())
    assert models.recorded(place) == known
    converting.convert(place, plan, "yolo", tmp_path / "one")
    for fingerprint in known:
        place.write(f"{models.FOLDER}/{fingerprint}.json", text.encode())
    with pytest.raises(BatchError, match="no record of the classes can be read; put it back"):
        converting.convert(place, plan, "yolo", tmp_path / "two")
    assert not (tmp_path / "two").exists()

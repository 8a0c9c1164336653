"""Kept heads: decoded like the network's own, and refused by file where they are not heads."""

import io
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fake_network import constant_heads
from small_network import CONTRACT
from ssd_resnet34.contract import COCO, HEAD_NAMES, Category, Contract
from ssd_resnet34.errors import HeadsError, UnreadableFile
from ssd_resnet34.evaluation.heads import HeadFiles
from ssd_resnet34.vision.postprocess import postprocess

ENTRY = {"id": 1, "file_name": "val/000001.jpg", "width": 640, "height": 480}


def named(heads: list[Any]) -> dict[str, Any]:
    return dict(zip(HEAD_NAMES, heads, strict=True))


@pytest.mark.parametrize("names", ["by name", "in order"])
@pytest.mark.parametrize("batch", [True, False])
def test_heads_are_those_that_were_written(tmp_path: Path, names: str, batch: bool) -> None:
    heads = constant_heads()
    given = heads if batch else [head[0] for head in heads]
    path = tmp_path / "000001.npz"
    if names == "by name":
        np.savez(path, **dict(reversed(named(given).items())))
    else:
        np.savez_compressed(path, *given)
    source = HeadFiles(tmp_path)
    assert source.find(ENTRY) == path
    outputs = source.read(ENTRY, path)
    assert all((one == want).all() for one, want in zip(outputs, heads, strict=True))
    (found,) = postprocess(outputs, contract=source.contract)
    assert sorted(found.labels) == ["car", "dog", "person"]
    assert (found.width, found.height, found.image) == (640, 480, "val/000001.jpg")


def test_the_folder_of_a_name_is_kept_where_it_exists(tmp_path: Path) -> None:
    (tmp_path / "val").mkdir()
    for folder in (tmp_path, tmp_path / "val"):
        (folder / "000001.npz").touch()
    assert HeadFiles(tmp_path).find(ENTRY) == tmp_path / "val" / "000001.npz"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match=r"000001\.npz: missing"):
        HeadFiles(tmp_path).find(ENTRY)


@pytest.mark.parametrize("name", ["", ".", "..", "/", "a/", "nul\0.jpg"])
def test_a_name_that_is_none_has_no_heads(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnreadableFile, match="missing"):
        HeadFiles(tmp_path).find(ENTRY | {"file_name": name})


def test_heads_are_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "000001.npz")
    with pytest.raises(UnreadableFile, match="missing"):
        HeadFiles(tmp_path).find(ENTRY)


def test_golden_heads_decode_to_the_golden_detections(
    tmp_path: Path, golden: Any, golden_npz: Any
) -> None:
    np.savez(tmp_path / "000001.npz", *golden.case("typical"))
    source = HeadFiles(tmp_path)
    outputs = source.read(ENTRY, source.find(ENTRY))
    (found,) = postprocess(outputs, contract=COCO)
    want = golden_npz("decode_exact.npz")
    assert found.indices.tolist() == want["typical/0/labels"].tolist()
    scale = np.array([640, 480, 640, 480])
    assert np.abs(found.boxes / scale - want["typical/0/boxes"]).max() < 1e-5


def truncated(data: bytes) -> bytes:
    return data[: len(data) // 2]


@pytest.mark.parametrize("damage", [truncated, lambda data: b"", lambda data: b"text"])
def test_a_damaged_file_is_refused_as_an_image_is(tmp_path: Path, damage: Any) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, *constant_heads())
    path = tmp_path / "000001.npz"
    path.write_bytes(damage(buffer.getvalue()))
    with pytest.raises(UnreadableFile, match=r"000001\.npz: no npz file of arrays, or cut short"):
        HeadFiles(tmp_path).read(ENTRY, path)


def test_pickled_objects_are_not_loaded(tmp_path: Path) -> None:
    path = tmp_path / "000001.npz"
    heads: dict[str, Any] = named(constant_heads())
    heads["cls_0"] = np.array([{"a": 1}], object)
    np.savez(path, **heads)
    with pytest.raises(UnreadableFile, match="allow_pickle"):
        HeadFiles(tmp_path).read(ENTRY, path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cls_0": np.zeros((1, 81, 4, 50, 50), np.float32)}, "cls_0 has the shape"),
        ({"loc_5": np.zeros((2, 16, 3, 3), np.float32)}, "loc_5 has the shape"),
        ({"loc_2": None}, r"not cls_0 … loc_5"),
    ],
)
def test_other_heads_are_refused_by_file(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    path = tmp_path / "000001.npz"
    heads = {
        name: head for name, head in (named(constant_heads()) | change).items() if head is not None
    }
    np.savez(path, **heads)
    with pytest.raises(HeadsError, match=rf"000001\.npz: .*{message}"):
        HeadFiles(tmp_path).read(ENTRY, path)


def test_heads_of_other_classes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "000001.npz"
    np.savez(path, *constant_heads())
    with pytest.raises(HeadsError, match="for 3 classes"):
        HeadFiles(tmp_path, CONTRACT).read(ENTRY, path)


def test_a_file_that_unpacks_without_end_is_refused_before(tmp_path: Path) -> None:
    path = tmp_path / "000001.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("cls_0.npy", bytes((64 << 20) + 1))
    with pytest.raises(HeadsError, match="its heads are 67,108,865 bytes"):
        HeadFiles(tmp_path).read(ENTRY, path)


def test_heads_of_many_classes_are_no_more_than_theirs(tmp_path: Path) -> None:
    many = Contract(tuple(Category(n, f"class {n}") for n in range(1, 1204)))  # LVIS
    path = tmp_path / "000001.npz"
    shapes = many.head_shapes()
    np.savez_compressed(path, *(np.zeros(shape, np.float32) for shape in shapes.values()))
    outputs = HeadFiles(tmp_path, many).read(ENTRY, path)
    assert [head.shape for head in outputs] == [(1, *shape) for shape in shapes.values()]


def test_keys_tell_folders_and_lineages_apart(tmp_path: Path) -> None:
    assert HeadFiles(tmp_path).key != HeadFiles(tmp_path / "other").key

"""Files that appear whole or not at all: a place is refused before the work as it is after it."""

import os
from pathlib import Path

import pytest

from full_disk import full_disk
from ssd_resnet34.errors import OutputError, UsageError
from ssd_resnet34.files import check_target, replacing, write


@pytest.mark.parametrize(
    "name", ["folder", "pipe", "link", "nowhere/a", "file/a", "a\0b", "x" * 300], ids=repr
)
def test_a_place_is_refused_before_the_work_as_it_is_after_it(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    with pytest.raises(UsageError), replacing(tmp_path / name):
        pass
    with pytest.raises(UsageError):
        check_target(tmp_path / name)


def test_a_place_that_can_be_written_is_not_touched_by_the_check(tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"old")
    (tmp_path / "link").symlink_to("old")
    for name in ("old", "link", "new"):
        check_target(tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "old"]
    assert (tmp_path / "link").read_bytes() == b"old"


@pytest.mark.parametrize("length", [10, 100_000])  # refused at the end, or while it is written
def test_a_full_disk_is_told_and_the_old_file_stays(length: int, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    with full_disk(), pytest.raises(OutputError, match=r"file': cannot be written .*free space"):
        write(tmp_path / "file", bytes(length))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"
    write(tmp_path / "file", bytes(length))
    assert (tmp_path / "file").read_bytes() == bytes(length)

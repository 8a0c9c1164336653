"""Places: a file is there whole or not at all, on a disk and in a store, also when these fail."""

import contextlib
import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.spec import AbstractFileSystem

from fake_clock import FakeClock
from small_batch import HASTY, SamePool, tree, write
from ssd_resnet34.batch import place as places
from ssd_resnet34.batch import running
from ssd_resnet34.batch.patience import Patience, patiently
from ssd_resnet34.batch.place import LocalPlace, Place, StorePlace, open_place
from ssd_resnet34.batch.sources import Search
from ssd_resnet34.batch.worker import Job
from ssd_resnet34.errors import OutputError, UsageError


@pytest.fixture(params=["disk", "store"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A local folder, and an object store in memory."""
    if request.param == "disk":
        yield open_place(str(tmp_path / "out"), HASTY)
        return
    files = fsspec.filesystem("memory")
    files.store.clear()
    yield open_place("memory://bucket/out", HASTY)
    files.store.clear()


def test_what_is_written_is_read_listed_replaced_and_removed(place: Place, tmp_path: Path) -> None:
    assert place.names() == []
    assert place.names("_run") == []
    place.write("b", b"1")
    place.write("a", b"2")
    place.write("_run/x", b"3")
    place.write("a", b"4")
    (tmp_path / "local").write_bytes(b"5" * 3_000_000)
    place.upload("large", tmp_path / "local")
    assert place.names() == ["a", "b", "large"]
    assert place.names("_run") == ["x"]
    assert (place.read("a"), place.read("_run/x")) == (b"4", b"3")
    assert len(place.read("large")) == 3_000_000
    place.remove("a")
    place.remove("a")
    with pytest.raises(FileNotFoundError):
        place.read("a")
    place.sweep()
    assert place.names() == ["b", "large"]


def test_a_place_says_when_a_file_was_written(place: Place) -> None:
    place.write("a", b"1")
    made = place.modified("a")
    assert made is not None
    assert abs(datetime.now(UTC) - made) < timedelta(hours=1), "in whichever zone it is told"
    with pytest.raises(FileNotFoundError):
        place.modified("none")


def test_a_store_need_not_say_when_a_file_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_place("memory://bucket/out", HASTY)
    store.write("a", b"1")
    monkeypatch.setattr(MemoryFileSystem, "modified", AbstractFileSystem.modified)
    assert store.modified("a") is None


def test_only_one_creates(place: Place) -> None:
    assert place.create("_run/lock", b"mine")
    assert not place.create("_run/lock", b"yours")
    assert place.read("_run/lock") == b"mine"


def test_a_store_without_conditions_still_has_one_creator(monkeypatch: pytest.MonkeyPatch) -> None:
    place = open_place("memory://bucket/other", HASTY)
    assert isinstance(place, StorePlace)
    real = type(place.files).pipe_file

    def no_conditions(self: Any, path: str, data: bytes) -> Any:
        return real(self, path, data)

    monkeypatch.setattr(type(place.files), "pipe_file", no_conditions)
    assert place.create("lock", b"mine")
    assert not place.create("lock", b"yours")
    place.remove("lock")


def test_a_disk_without_hard_links_still_has_one_creator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: Any) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    place = LocalPlace(tmp_path, HASTY)
    assert place.create("lock", b"mine")
    assert not place.create("lock", b"yours")
    assert place.names() == ["lock"]


def test_what_a_killed_writer_left_is_swept_and_never_listed(tmp_path: Path) -> None:
    place = LocalPlace(tmp_path, HASTY)
    place.write("_run/x", b"1")
    left = [tmp_path / f".{'ab' * 8}.tmp", tmp_path / "_run" / f".{'cd' * 8}.tmp"]
    for path in left:
        path.write_bytes(b"half")
    (tmp_path / ".mine.tmp").write_bytes(b"not ours")
    assert place.names() == [".mine.tmp"]
    place.sweep()
    assert not any(path.exists() for path in left)
    assert place.names() == [".mine.tmp"]


def test_patience_waits_longer_each_time_and_ends() -> None:
    clock = FakeClock()
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        clock.now += seconds

    def failing() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        patiently(failing, Patience(60, first=1, longest=8), clock=clock, sleep=sleep)
    assert 40 < sum(pauses) <= 60
    for n, pause in enumerate(pauses):
        longest = min(2**n, 8)
        assert longest / 2 <= pause <= longest
    pauses.clear()

    def missing() -> None:
        raise FileNotFoundError

    with pytest.raises(FileNotFoundError):
        patiently(missing, Patience(60), clock=clock, sleep=sleep)
    assert not pauses
    answers = iter([OSError(), TimeoutError(), None])

    def at_last() -> str:
        if (error := next(answers)) is not None:
            raise error
        return "done"

    assert patiently(at_last, Patience(60), clock=clock, sleep=sleep) == "done"
    with pytest.raises(UsageError):
        Patience(-1)


def test_a_disk_that_is_full_for_a_while_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [OSError(errno.ENOSPC, "No space left on device")] * 3
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if failures:
            raise failures.pop()
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    LocalPlace(tmp_path, Patience(5, first=0.001)).write("a", b"1")
    assert tree(tmp_path) == {"a": b"1"}
    failures.extend([OSError(errno.ENOSPC, "No space left on device")])
    with pytest.raises(OutputError, match="No space left on device"):
        LocalPlace(tmp_path, HASTY).write("a", b"2")
    assert tree(tmp_path) == {"a": b"1"}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 600 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(folder)], capture_output=True
    )
    if made.returncode:
        pytest.skip(f"no small disk can be mounted here: {made.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.usefixtures("same_process")
def test_a_full_disk_ends_the_run_and_committed_shards_stay(
    small_disk: Path, pictures: Path, job: Callable[..., Job]
) -> None:
    out = small_disk / "out"
    ballast = small_disk / "ballast"
    SamePool.stop_after = 4
    with pytest.raises(KeyboardInterrupt):
        running.run(str(out), Search(str(pictures)), job(), shard_size=3)
    SamePool.stop_after = None
    committed = {name: data for name, data in tree(out).items() if name.startswith("part-")}
    assert committed
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(b"x" * 4096) == 4096:
            pass
    with pytest.raises(OutputError, match="No space left on device"):
        running.run(str(out), Search(str(pictures)), job(), shard_size=3)
    left = {name: data for name, data in tree(out).items() if name.startswith("part-")}
    assert left == committed
    assert not list(out.rglob("*.tmp"))
    assert not (out / "_SUCCESS").exists()
    ballast.unlink()
    assert running.run(str(out), Search(str(pictures)), job()).summary.rows == 10


@pytest.mark.usefixtures("same_process")
def test_a_disk_that_becomes_read_only_ends_the_run(
    small_disk: Path, pictures: Path, job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = small_disk / "out"
    real = places.LocalPlace.write

    def then_read_only(self: LocalPlace, name: str, data: bytes) -> None:
        if name == "part-000001.parquet":
            command = ["mount", "-o", "remount,ro", str(small_disk)]
            subprocess.run(command, check=True, capture_output=True)
        real(self, name, data)

    monkeypatch.setattr(places.LocalPlace, "write", then_read_only)
    with pytest.raises(OutputError, match="Read-only file system"):
        running.run(str(out), Search(str(pictures)), job(), shard_size=3)
    assert "part-000000.parquet" in tree(out)
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    monkeypatch.undo()
    monkeypatch.setattr(running, "Pool", SamePool)
    outcome = running.run(str(out), Search(str(pictures)), job())
    assert (outcome.summary.rows, outcome.resumed) == (10, 3)


@pytest.mark.usefixtures("same_process")
def test_a_store_is_a_place_for_a_whole_run(
    pictures: Path, tmp_path: Path, job: Callable[..., Job]
) -> None:
    files = fsspec.filesystem("memory")
    files.store.clear()
    write(pictures / "zz.png")
    (pictures / "zzz.png").write_bytes(b"")
    outcome = running.run("memory://bucket/out", Search(str(pictures)), job(), shard_size=5)
    local = running.run(str(tmp_path / "out"), Search(str(pictures)), job(), shard_size=5)
    assert outcome.summary == local.summary
    stored = {
        name.removeprefix("/bucket/out/"): files.cat_file(name)
        for name in files.find("/bucket/out")
        if "_timings" not in name
    }
    assert stored == tree(tmp_path / "out")
    files.store.clear()


def test_an_empty_name_is_not_taken_for_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="has no name; give a folder"):
        open_place("")
    assert open_place(".").name == str(tmp_path)

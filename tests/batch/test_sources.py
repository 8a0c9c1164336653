"""What a source holds, whatever lies in it."""

import os
import socket
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from small_batch import HASTY, write
from ssd_resnet34.batch import addresses, manifest, reading, sorting
from ssd_resnet34.batch.manifest import Manifest
from ssd_resnet34.batch.patience import Patience
from ssd_resnet34.batch.place import LocalPlace
from ssd_resnet34.batch.sorting import Input, Sorting
from ssd_resnet34.batch.sources import EMPTY_CELLS, LINKED_FOLDERS, Search
from ssd_resnet34.errors import (
    ChangedFile,
    ImageError,
    MissingExtra,
    OutputError,
    StoreUnavailable,
    TooManyBytes,
    UnreadableFile,
    UsageError,
)
from ssd_resnet34.vision.images import Limits

LIMITS = Limits(max_bytes=1 << 20)


def names(search: Search) -> list[str]:
    """Addresses relative to the source, sorted."""
    return sorted(one.uri.removeprefix(search.source + "/") for one in search.inputs())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_folder_for_temporary_files_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", partial(open, "/dev/full", "r+b", 0))
    with pytest.raises(OutputError, match=r"No space left.*TMPDIR"):
        list(Sorting([Input("a"), Input("b")], 1))


def test_a_system_without_a_folder_for_temporary_files_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/nowhere"])
    with pytest.raises(OutputError, match=r"No usable temporary directory.*TMPDIR"):
        list(Sorting([Input("a"), Input("b")], 1))


@settings(max_examples=40)
@given(st.lists(st.tuples(st.text(max_size=2), st.integers(0, 9)), max_size=12), st.integers(1, 4))
def test_any_number_of_inputs_is_sorted_and_each_address_once(
    given_: list[tuple[str, int]], run: int
) -> None:
    inputs = Sorting((Input(uri, size) for uri, size in given_), run)
    found = list(inputs)
    assert [one.uri for one in found] == sorted({uri for uri, _ in given_})
    assert len(found) + inputs.repeats == len(given_)
    first: dict[str, int] = {}
    for uri, size in given_:
        first.setdefault(uri, size)
    assert {one.uri: one.size for one in found} == first


def test_more_runs_than_files_may_be_open_are_merged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sorting, "FAN", 3)
    given_ = [f"{(7 * n) % 101:03}" for n in range(101)]
    assert [one.uri for one in Sorting(map(Input, given_), 2)] == sorted(given_)


@given(st.binary(min_size=1, max_size=20).filter(lambda name: b"\0" not in name))
def test_a_local_name_of_any_bytes_has_an_address_that_gives_it_back(name: bytes) -> None:
    path = os.path.join("/folder", os.fsdecode(name))
    uri = addresses.local_uri(path)
    uri.encode()
    assert addresses.local_path(uri) == os.path.abspath(path)


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A tree with everything that a careless uploader, or an attacker, leaves in one."""
    root = tmp_path / "root"
    write(root / "good.jpg")
    write(tmp_path / "outside" / "secret.jpg")
    (root / "link-inside.jpg").symlink_to(root / "good.jpg")
    (root / "link-out.jpg").symlink_to(tmp_path / "outside" / "secret.jpg")
    (root / "dangling.jpg").symlink_to(root / "nothing.jpg")
    (root / "linked-folder").symlink_to(tmp_path / "outside")
    (root / "loop").symlink_to(root)
    (root / "self.jpg").symlink_to(root / "self.jpg")
    os.mkfifo(root / "fifo.jpg")
    (root / "device.jpg").symlink_to("/dev/zero")
    write(root / "folder.jpg" / "within.png")
    (root / "empty.jpg").touch()
    (root / "notes.txt").write_text("no image")
    write(root / f"{'x' * 251}.jpg")
    write(root / "a.jpg").rename(os.fsdecode(os.fsencode(root) + b"/caf\xe9.jpg"))
    write(root / "b.jpg").rename(root / "new\nline.jpg")
    return root


def test_a_hostile_tree_is_listed_without_waiting_or_leaving_it(hostile: Path) -> None:
    search = Search(str(hostile))
    assert names(search) == sorted(
        [
            "dangling.jpg",
            "device.jpg",
            "empty.jpg",
            "fifo.jpg",
            "folder.jpg/within.png",
            "good.jpg",
            "link-inside.jpg",
            "link-out.jpg",
            "new\nline.jpg",
            "self.jpg",
            f"{'x' * 251}.jpg",
            f"file://{hostile}/caf%E9.jpg",
        ]
    )
    assert search.notes == Counter({LINKED_FOLDERS: 2})


def test_each_input_of_a_hostile_tree_is_read_or_refused_with_its_code(hostile: Path) -> None:
    search = Search(str(hostile))
    verdicts: dict[str, str] = {}
    for one in search.inputs():
        name = one.uri.rpartition("/")[2]
        try:
            verdicts[name] = str(len(reading.read(one, LIMITS, HASTY, search.root)) > 100)
        except ImageError as error:
            verdicts[name] = f"{error.code}: {error}"
    good = {name for name, verdict in verdicts.items() if verdict == "True"}
    assert good == {
        "good.jpg",
        "link-inside.jpg",
        "within.png",
        "new\nline.jpg",
        "caf%E9.jpg",
        f"{'x' * 251}.jpg",
    }
    assert verdicts["empty.jpg"] == "False"
    for name in ("fifo.jpg", "link-out.jpg", "dangling.jpg", "self.jpg", "device.jpg"):
        assert verdicts[name].startswith("unreadable_file: "), name
    assert "a link out of the source folder" in verdicts["link-out.jpg"]
    assert "secret" not in verdicts["link-out.jpg"]


def test_links_are_followed_on_request_and_a_loop_ends(hostile: Path) -> None:
    search = Search(str(hostile), follow_links=True)
    assert "linked-folder/secret.jpg" in names(search)
    assert names(search).count("good.jpg") == 1
    assert search.root is None
    one = next(one for one in search.inputs() if one.uri.endswith("link-out.jpg"))
    assert reading.read(one, LIMITS, HASTY, search.root)


def test_a_file_that_vanishes_while_it_is_listed_is_an_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a.jpg")
    write(tmp_path / "b.jpg")
    search = Search(str(tmp_path))
    listing = search.inputs()
    first = next(listing)
    for path in tmp_path.iterdir():
        path.unlink()
    second = next(listing)
    assert {first.size is None, second.size is None} <= {True, False}
    with pytest.raises(UnreadableFile):
        reading.read(second, LIMITS, HASTY)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list everything")
def test_a_folder_that_may_not_be_listed_is_an_input_that_says_so(tmp_path: Path) -> None:
    write(tmp_path / "closed" / "a.jpg")
    (tmp_path / "closed").chmod(0)
    (one,) = Search(str(tmp_path)).inputs()
    (tmp_path / "closed").chmod(0o700)
    assert one.uri == str(tmp_path / "closed")


def test_the_folder_of_the_results_is_not_searched(tmp_path: Path) -> None:
    write(tmp_path / "a.jpg")
    write(tmp_path / "out" / "drawn.jpg")
    search = Search(str(tmp_path), leave_out=str(tmp_path / "out"))
    assert names(search) == ["a.jpg"]
    pattern = Search(f"{tmp_path}/**/*.jpg", leave_out=str(tmp_path / "out"))
    assert [one.uri for one in pattern.inputs()] == [str(tmp_path / "a.jpg")]


def test_a_list_holds_paths_uris_comments_and_odd_bytes(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(
        b"# mine\na.jpg\r\n\n  spaced.jpg\ns3://bucket/b c.jpg\n"
        b"/elsewhere/d.jpg\ncaf\xe9.jpg\na.jpg\n"
    )
    write(tmp_path / "a.jpg")
    found = list(Search(str(tmp_path / "list.txt")).inputs())
    assert [one.uri for one in found] == [
        f"{tmp_path}/a.jpg",
        f"{tmp_path}/  spaced.jpg",
        "s3://bucket/b c.jpg",
        "/elsewhere/d.jpg",
        f"file://{tmp_path}/caf%E9.jpg",
        f"{tmp_path}/a.jpg",
    ]
    assert found[0].size
    assert found[0].etag
    assert found[2] == Input("s3://bucket/b c.jpg")


def test_a_list_that_begins_with_a_byte_order_mark_loses_no_line(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes("\ufeffa.jpg\n\ufeffb.jpg\n".encode())
    found = [one.uri for one in Search(str(tmp_path / "list.txt")).inputs()]
    assert found == [f"{tmp_path}/a.jpg", f"{tmp_path}/\ufeffb.jpg"]


def test_a_local_address_may_name_this_machine() -> None:
    assert addresses.local_path("file://localhost/a%20b.jpg") == "/a b.jpg"
    assert addresses.local_path("file:///localhost/a.jpg") == "/localhost/a.jpg"


def test_odd_bytes_in_addresses_of_a_store_are_planned_and_refused_alone(
    tmp_path: Path, store: Any
) -> None:
    lines = b"memory:///caf\xe9.jpg\n/elsewhere/caf\xe9.jpg\n"
    (tmp_path / "list.txt").write_bytes(lines)
    store.pipe_file("/in/list.txt", lines + b"caf\xe9.jpg\n")
    known = ["/elsewhere/caf%E9.jpg", "memory:///caf\ufffd.jpg"]
    beside = "memory:///in/caf\ufffd.jpg"
    for source, expected in (
        (str(tmp_path / "list.txt"), known),
        ("memory://in/list.txt", [*known, beside]),
    ):
        place = LocalPlace(tmp_path / "out", HASTY)
        planned = Manifest(place, manifest.write(place, Search(source))).shard(0)
        assert [one.uri.removeprefix("file://") for one in planned] == expected
        for one in planned:
            with pytest.raises(UnreadableFile):
                reading.read(one, LIMITS, HASTY)


def test_a_parquet_column_is_a_source(tmp_path: Path) -> None:
    table = pa.table({"path": ["a.jpg", None, "sub/b.jpg", ""], "n": [1, 2, 3, 4]})
    pq.write_table(table, tmp_path / "one.parquet")
    search = Search(str(tmp_path / "one.parquet"))
    found = [one.uri for one in search.inputs()]
    assert search.notes == {EMPTY_CELLS: 2}, "nothing is passed over in silence"
    assert found == [f"{tmp_path}/a.jpg", f"{tmp_path}/sub/b.jpg"]
    two = pa.table({"path": ["a.jpg"], "other": ["c.jpg"]})
    pq.write_table(two, tmp_path / "two.parquet")
    with pytest.raises(UsageError, match=r"--column; it has path, other of text"):
        list(Search(str(tmp_path / "two.parquet")).inputs())
    assert len(list(Search(str(tmp_path / "two.parquet"), column="other").inputs())) == 1
    with pytest.raises(UsageError, match="no column 'n' of text"):
        list(Search(str(tmp_path / "one.parquet"), column="n").inputs())
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 not")
    with pytest.raises(UsageError, match="not readable as Parquet"):
        list(Search(str(tmp_path / "bad.parquet")).inputs())


@pytest.mark.parametrize("kind", [pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_a_column_is_text_however_arrow_holds_it(kind: Any, tmp_path: Path) -> None:
    column = pa.array(["a.jpg", None, "b.jpg", "a.jpg"]).cast(kind)
    pq.write_table(pa.table({"path": column}), tmp_path / "x.parquet")
    found = [one.uri for one in Search(str(tmp_path / "x.parquet")).inputs()]
    assert found == [f"{tmp_path}/{name}" for name in ("a.jpg", "b.jpg", "a.jpg")]


def test_a_single_image_and_a_glob_are_sources(tmp_path: Path) -> None:
    for name in ("a.jpg", "sub/b.jpg", "c.png"):
        write(tmp_path / name)
    assert [one.uri for one in Search(str(tmp_path / "a.jpg")).inputs()] == [f"{tmp_path}/a.jpg"]
    found = sorted(one.uri for one in Search(f"{tmp_path}/**/*.jpg").inputs())
    assert found == [f"{tmp_path}/a.jpg", f"{tmp_path}/sub/b.jpg"]


@pytest.fixture
def store() -> Iterator[Any]:
    """An object store in memory."""
    files = fsspec.filesystem("memory")
    files.store.clear()
    files.pseudo_dirs[:] = [""]
    yield files
    files.store.clear()
    files.pseudo_dirs[:] = [""]


def test_a_store_is_searched_like_a_folder(store: Any, tmp_path: Path) -> None:
    data = write(tmp_path / "a.jpg").read_bytes()
    for name in ("in/a.jpg", "in/sub/b c.PNG", "in/notes.md"):
        store.pipe_file(f"/{name}", data)
    found = {one.uri: one.size for one in Search("memory://in").inputs()}
    assert found == {"memory:///in/a.jpg": len(data), "memory:///in/sub/b c.PNG": len(data)}
    assert len(list(Search("memory://in/**/*.jpg").inputs())) == 1
    assert len(list(Search("memory://in/a.jpg").inputs())) == 1
    store.pipe_file("/odd[1]/a.jpg", data)
    assert len(list(Search("memory://odd[1]").inputs())) == 1, "a name, no pattern"
    for one in Search("memory://in").inputs():
        assert reading.read(one, LIMITS, HASTY) == data
    with pytest.raises(UsageError, match="nothing is there"):
        list(Search("memory://other").inputs())


def test_lists_and_parquet_in_a_store_name_what_lies_beside_them(
    store: Any, tmp_path: Path
) -> None:
    store.pipe_file("/in/list.txt", b"a.jpg\nmemory:///b.jpg\n")
    found = [one.uri for one in Search("memory://in/list.txt").inputs()]
    assert found == ["memory:///in/a.jpg", "memory:///b.jpg"]
    pq.write_table(pa.table({"key": ["a.jpg"]}), tmp_path / "x.parquet")
    store.pipe_file("/in/x.parquet", (tmp_path / "x.parquet").read_bytes())
    assert [one.uri for one in Search("memory://in/x.parquet").inputs()] == ["memory:///in/a.jpg"]


def test_a_store_gives_what_was_planned_or_says_why_not(store: Any) -> None:
    store.pipe_file("/a.jpg", b"12345")
    with pytest.raises(ChangedFile, match=r"bytes 5, planned 4"):
        reading.read(Input("memory:///a.jpg", 4), LIMITS, HASTY)
    with pytest.raises(UnreadableFile, match="no such object"):
        reading.read(Input("memory:///b.jpg"), LIMITS, HASTY)
    with pytest.raises(TooManyBytes):
        reading.read(Input("memory:///a.jpg"), Limits(max_bytes=4), HASTY)
    store.pipe_file("/sub/x.jpg", b"1")
    with pytest.raises(UnreadableFile, match="folder"):
        reading.read(Input("memory:///sub"), LIMITS, HASTY)


def test_a_store_that_fails_is_tried_again_and_then_told(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.pipe_file("/a.jpg", b"12345")
    real = type(store).cat_file
    failures = [OSError("slow down"), ConnectionResetError("gone"), TimeoutError()]

    def failing(self: Any, *arguments: Any, **options: Any) -> Any:
        if failures:
            raise failures.pop()
        return real(self, *arguments, **options)

    monkeypatch.setattr(type(store), "cat_file", failing)
    quick = Patience(5, first=0.001)
    assert reading.read(Input("memory:///a.jpg", 5), LIMITS, quick) == b"12345"
    failures.append(OSError("slow down"))
    with pytest.raises(StoreUnavailable, match=r"slow down; tried for 0 s"):
        reading.read(Input("memory:///a.jpg", 5), LIMITS, HASTY)


def test_an_unknown_scheme_and_a_missing_package_have_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(UsageError, match="nonsense"):
        list(Search("nonsense://x/y").inputs())
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(import_module("fsspec.registry")._registry, "s3", raising=False)
    with pytest.raises(MissingExtra, match=r"pip install 'ssd-resnet34\[s3\]'"):
        list(Search("s3://bucket/x").inputs())


def test_a_store_that_cannot_be_opened_is_told_by_its_address(tmp_path: Path) -> None:
    inside = f"zip://x.jpg::{tmp_path}/nothing.zip"
    with pytest.raises(UsageError, match=r"zip://x.jpg.*cannot be opened"):
        list(Search(inside).inputs())
    with pytest.raises(UnreadableFile, match=r"zip://x.jpg.*no such object"):
        reading.read(Input(inside), LIMITS, HASTY)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(StoreUnavailable, match="refused"):
        reading.read(Input(f"ftp://127.0.0.1:{port}/x.jpg"), LIMITS, HASTY)


def test_a_web_server_that_fails_is_not_taken_for_one_without_the_file(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As fsspec's file system of HTTP tells: "not found", and why behind it."""
    answers: list[Any] = [Answer(404), Answer(503), Answer(429), ConnectionResetError("gone")]

    def failing(self: Any, path: str, **options: Any) -> Any:
        raise FileNotFoundError(path) from answers.pop()

    monkeypatch.setattr(type(store), "info", failing)
    monkeypatch.setattr(type(store), "protocol", ("http", "https"))
    with pytest.raises(UnreadableFile, match="no such object"):
        reading.read(Input("memory:///a.jpg"), LIMITS, Patience(5, first=0.001))
    assert not answers, "the others were tried again"
    answers += [Answer(404), Answer(503), Answer(503)]
    with pytest.raises(UsageError, match="nothing is there"):
        list(Search("memory://list.txt", patience=Patience(5, first=0.001)).inputs())
    assert not answers, "a list is asked for like what it names"


class Answer(Exception):
    """What aiohttp raises for a status."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status


@pytest.mark.parametrize("name", ["list.txt", "table.parquet"])
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_list_or_table_from_a_pipe_or_device_is_refused_and_not_waited_for(
    tmp_path: Path, name: str, kind: str
) -> None:
    path = tmp_path / name
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(UsageError, match="a pipe or device, not a file; save it as a file first"):
        Search(str(path)).inputs()

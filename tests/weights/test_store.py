"""Records, cache and downloads, against a server of our own."""

import hashlib
import resource
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from ssd_resnet34 import weights
from ssd_resnet34.errors import (
    CalibrationError,
    DownloadFailed,
    UnknownWeights,
    UsageError,
    WeightsError,
    WrongHash,
)
from ssd_resnet34.weights import download, embedded, store
from ssd_resnet34.weights.records import RECORDS, Record

DATA = bytes(range(256)) * 4096  # 1 MiB
SHA256 = hashlib.sha256(DATA).hexdigest()

BY_HAND = (
    "get test.bin from {url} on another machine and run `ssd-resnet34 weights import test test.bin`"
)


class Handler(BaseHTTPRequestHandler):
    """``/good``, and one path for every way to fail."""

    asked: ClassVar[list[str]]
    release: ClassVar[threading.Event]

    def do_GET(self) -> None:
        kind = self.path.strip("/")
        self.asked.append(kind)
        if kind == "missing":
            self.send_error(404)
            return
        body = {"wrong": DATA[::-1], "huge": DATA * 3, "page": b"<html>sorry</html>"}.get(
            kind, DATA
        )
        self.send_response(200)
        if kind != "huge":  # of unknown length: only counting can stop it
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if kind in ("half", "stalled"):
            body = body[: len(body) // 2]
        elif kind == "drip":
            body = b"x"
        try:
            self.wfile.write(body)
            while kind == "drip" and not self.release.wait(0.02):
                self.wfile.write(b"x")  # never done, and never silent for long
            if kind == "stalled":
                self.wfile.flush()
                self.release.wait(10)
        except ConnectionError:
            pass  # the client left, as it should

    def log_message(self, *args: object) -> None:
        """Quiet."""


class Server:
    def __init__(self, url: str, handler: type[Handler]) -> None:
        self.url, self.handler = url, handler

    def __call__(self, *kinds: str) -> tuple[str, ...]:
        return tuple(f"{self.url}/{kind}" for kind in kinds)


@pytest.fixture
def server() -> Iterator[Server]:
    class Fresh(Handler):
        asked: ClassVar[list[str]] = []
        release = threading.Event()

    handler = Fresh
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=http.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield Server(f"http://127.0.0.1:{http.server_port}", handler)
    finally:
        handler.release.set()
        http.shutdown()
        http.server_close()
        thread.join()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SSD_RESNET34_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SSD_RESNET34_OFFLINE", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path / "cache"


def register(monkeypatch: pytest.MonkeyPatch, urls: tuple[str, ...], known: bool = True) -> Record:
    record = Record("test", "test.bin", "for tests", "pytorch", "fp32", urls)
    if known:
        record = replace(record, size=len(DATA), sha256=SHA256)
    monkeypatch.setitem(RECORDS, "test", record)
    return record


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


# ---------------------------------------------------------------- records


def test_records_are_whole() -> None:
    assert next(iter(RECORDS)) == "embedded"
    for name, record in RECORDS.items():
        assert record.name == name
        assert all(url.startswith("https://") for url in record.urls)
        assert bool(record.urls) == (name != "embedded")
        assert record.sha256 is None or len(record.sha256) == 64
        assert record.sha384 is None or len(record.sha384) == 96
        assert (record.size is None) == (record.sha256 is None)


# ---------------------------------------------------------------- fetch


def test_a_file_is_fetched_once_and_checked_each_time(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch, server("good"))
    path = store.fetch("test")
    assert path == store.path("test")
    assert path.read_bytes() == DATA
    assert store.fetch("test", offline=True) == path
    assert server.handler.asked == ["good"]
    path.write_bytes(DATA[:-1] + b"x")
    with pytest.raises(WrongHash, match="damaged or replaced; delete it"):
        store.fetch("test")


def test_mirrors_are_tried_in_turn(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = ("missing", "half", "wrong", "huge", "good", "never")
    register(monkeypatch, server(*kinds))
    assert store.fetch("test").read_bytes() == DATA
    assert server.handler.asked == list(kinds[:-1])
    assert files(cache) == ["test.bin"]


@pytest.mark.parametrize(
    ("kind", "error", "reason"),
    [
        ("missing", DownloadFailed, "HTTP 404"),
        ("half", DownloadFailed, "after 524,288 bytes"),
        ("huge", DownloadFailed, "more than 1,048,576 bytes, stopped"),
        ("wrong", WrongHash, f"sha256 {hashlib.sha256(DATA[::-1]).hexdigest()}, not {SHA256}"),
        ("page", WrongHash, "18 bytes instead of 1,048,576"),
        ("stalled", DownloadFailed, "no answer within 0.3 s|after 524,288 bytes"),
    ],
)
def test_a_failed_download_says_why_and_leaves_nothing(
    kind: str,
    error: type[WeightsError],
    reason: str,
    server: Server,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    register(monkeypatch, server(kind))
    with pytest.raises(error, match=reason) as failure:
        store.fetch("test", timeout=0.3 if kind == "stalled" else 30)
    assert server.url in str(failure.value)
    assert BY_HAND.format(url=server(kind)[0]) in str(failure.value)
    assert files(cache) == []


def test_a_server_that_drips_is_given_up_for_the_next(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "GRACE", 1.5)  # that a busy machine may take, too
    register(monkeypatch, server("drip", "good"))
    assert store.fetch("test").read_bytes() == DATA
    assert server.handler.asked == ["drip", "good"]
    register(monkeypatch, server("drip"))
    store.path("test").unlink()
    with pytest.raises(DownloadFailed, match=r"drip: too slow: 0 bytes in"):
        store.fetch("test")
    assert files(cache) == []


def test_a_server_that_is_not_there_is_one_error(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch, ("http://127.0.0.1:9/nothing",))
    with pytest.raises(DownloadFailed, match="ConnectionError after 0 bytes") as failure:
        store.fetch("test", timeout=2)
    by_hand = BY_HAND.format(url="http://127.0.0.1:9/nothing")
    assert by_hand in str(failure.value)
    register(monkeypatch, ("http://127.0.0.1:9/nothing",), known=False)
    with pytest.raises(DownloadFailed) as failure:
        store.fetch("test", sha256=SHA256, timeout=2)
    assert f"{by_hand[:-1]} --sha256 {SHA256}`" in str(failure.value)
    assert files(cache) == []


def test_a_download_of_unknown_size_has_a_cap(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch, server("good"), known=False)
    monkeypatch.setattr(download, "MAX_BYTES", 10**6)
    with pytest.raises(DownloadFailed, match="more than 1,000,000 bytes"):
        store.fetch("test", sha256=SHA256)
    assert files(cache) == []


@pytest.mark.parametrize("value", ["1", "true", "YES", " on "])
def test_offline_never_asks_the_network(
    value: str, server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch, server("good"))
    monkeypatch.setenv("SSD_RESNET34_OFFLINE", value)
    with pytest.raises(DownloadFailed, match="unset SSD_RESNET34_OFFLINE") as failure:
        store.fetch("test")
    assert BY_HAND.format(url=server("good")[0]) in str(failure.value)
    assert server.handler.asked == []
    assert store.fetch("test", offline=False).is_file()


def test_a_record_without_hash_needs_one_from_the_user(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch, server("good"), known=False)
    with pytest.raises(WeightsError, match="`ssd-resnet34 weights fetch test --sha256 HEX`"):
        store.fetch("test")
    assert server.handler.asked == []
    with pytest.raises(UsageError, match="64 hexadecimal"):
        store.fetch("test", sha256="abc")
    path = store.fetch("test", sha256=SHA256.upper())
    before = path.with_name("test.bin.sha256").stat().st_ino
    assert store.fetch("test") == path  # the hash is remembered
    assert path.with_name("test.bin.sha256").stat().st_ino == before  # as in a read-only cache
    path.write_bytes(b"other")
    with pytest.raises(WrongHash):
        store.fetch("test")


def test_a_hash_against_the_record_is_refused(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch, server("good"))
    with pytest.raises(WrongHash, match="leave the hash out"):
        store.fetch("test", sha256="0" * 64)


def test_racing_processes_do_not_disturb_each_other(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = register(monkeypatch, server("good"))
    target = store.path("test")
    with ThreadPoolExecutor(6) as pool:
        jobs = [pool.submit(download.download, record.urls, target, SHA256) for _ in range(6)]
        assert {job.result() for job in jobs} == {target}
    assert target.read_bytes() == DATA
    assert files(cache) == ["test.bin"]


def test_leftovers_of_killed_processes_are_swept_after_a_day(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    register(monkeypatch, server("good"))
    folder = store.path("test").parent
    folder.mkdir(parents=True)
    old, new = folder / ".a.tmp", folder / ".b.tmp"
    for path in (old, new):
        path.write_bytes(b"")
    os.utime(old, (time.time() - 2 * 86400,) * 2)
    store.fetch("test")
    assert not old.exists()
    assert new.exists()


def test_a_folder_that_cannot_be_made_is_named(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch, server("good"))
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("SSD_RESNET34_CACHE", str(tmp_path / "file"))
    with pytest.raises(WeightsError, match="set SSD_RESNET34_CACHE"):
        store.fetch("test")


def test_progress_counts_bytes(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    download.download(
        server("good"),
        tmp_path / "a",
        SHA256,
        len(DATA),
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen[-1] == (len(DATA), len(DATA))


# ---------------------------------------------------------------- verify, import


def test_import_and_verify_check_the_bytes(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = register(monkeypatch, ())
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_bytes(DATA)
    bad.write_bytes(DATA[1:])
    with pytest.raises(WrongHash, match="nothing was kept"):
        store.import_file(bad, "test")
    assert files(cache) == []
    path = store.import_file(good, "test")
    assert store.verify(path, record) == SHA256
    with pytest.raises(WrongHash, match=r"1,048,575 bytes, test has 1,048,576"):
        store.verify(bad, record)
    with pytest.raises(WrongHash):
        store.verify(path, replace(record, sha384="0" * 96))
    with pytest.raises(UnknownWeights, match="no such file"):
        store.import_file(tmp_path / "gone", "test")


def test_importing_an_unknown_hash_shows_the_files_own(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch, (), known=False)
    source = tmp_path / "file"
    source.write_bytes(DATA)
    with pytest.raises(WeightsError, match=f"add `--sha256 {SHA256}`"):
        store.import_file(source, "test")
    store.import_file(source, "test", SHA256)
    assert store.known_sha256("test") == SHA256


def test_a_full_disk_is_not_blamed_on_the_file_that_is_imported(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch, ())
    source = tmp_path / "file"
    source.write_bytes(DATA)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(DATA) // 2, before[1]))
    try:
        with pytest.raises(WeightsError, match=r"test\.bin: cannot be written"):
            store.import_file(source, "test")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert files(cache) == []


@pytest.mark.parametrize("name", ["x" * 300, "a\0b"], ids=["long", "nul"])
def test_a_name_that_no_file_can_have_is_no_file(
    name: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = register(monkeypatch, ())
    for use in (
        lambda: weights.load(name),
        lambda: weights.load(f"{name}.onnx"),
        lambda: store.import_file(name, "test"),
        lambda: store.verify(name, record),
    ):
        with pytest.raises(WeightsError):
            use()


def test_a_cache_that_cannot_be_looked_into_is_named(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch, server("good"), known=False)
    monkeypatch.setenv("SSD_RESNET34_CACHE", "x" * 300)
    with pytest.raises(WeightsError, match="set SSD_RESNET34_CACHE"):
        store.fetch("test", sha256=SHA256)
    assert store.known_sha256("test") is None


def test_many_threads_remember_one_hash(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch, server("good"), known=False)
    with ThreadPoolExecutor(6) as pool:
        jobs = [pool.submit(store.fetch, "test", sha256=SHA256) for _ in range(6)]
        assert {job.result() for job in jobs} == {store.path("test")}
    assert files(cache) == ["test.bin", "test.bin.sha256"]


def test_only_weights_of_this_network_verify_as_embedded(tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    other.write_bytes(b"not weights")
    with pytest.raises(WeightsError, match="neither ONNX"):
        store.verify(other, RECORDS["embedded"])


def test_unknown_records_are_named_with_the_nearest() -> None:
    with pytest.raises(UnknownWeights, match="did you mean 'onnx-zoo-ssd-10'"):
        store.path("onnx-zoo-ssd10")


def test_the_embedded_record_cannot_be_replaced(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="part of the package"):
        store.import_file(tmp_path, "embedded")


def test_the_embedded_ranges_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "folder", lambda: tmp_path)
    with pytest.raises(CalibrationError, match="no activation ranges"):
        embedded.ranges()
    (tmp_path / "ranges.yaml").write_text("image: [-2.1, 2.6]")
    assert embedded.ranges() == {"image": (-2.1, 2.6)}
    (tmp_path / "ranges.yaml").write_text("image: [1, 0]")
    with pytest.raises(CalibrationError, match="is no range"):
        embedded.ranges()


def test_an_installation_without_embedded_weights_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "folder", lambda: tmp_path)
    with pytest.raises(WeightsError, match="reinstall ssd-resnet34"):
        embedded.path()


def test_a_cache_folder_of_an_unknown_user_is_taken_as_it_is_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSD_RESNET34_CACHE", "~no-such-user/cache")
    assert store.cache_dir() == Path("~no-such-user/cache")

"""The cache: second starts are served from it; damage, races and full disks only cost time."""

import hashlib
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fake_engine import FakeEngine
from fake_network import fake_onnx
from ssd_resnet34 import artifact
from ssd_resnet34.runtime import cpu, session
from ssd_resnet34.runtime.cache import Cache
from ssd_resnet34.runtime.engines import openvino
from ssd_resnet34.runtime.tensors import Array


def entries(store: Cache) -> list[Path]:
    return sorted(store.folder.iterdir())


def test_what_is_stored_comes_back_and_a_key_is_exact(tmp_path: Path) -> None:
    store = Cache(tmp_path / "a" / "b")
    assert store.load(sha256="1", threads=2) is None
    store.store(b"content", sha256="1", threads=2)
    assert store.load(threads=2, sha256="1") == b"content"
    assert store.load(sha256="1", threads=3) is None
    store.drop(sha256="1", threads=2)
    assert store.load(sha256="1", threads=2) is None


@pytest.mark.parametrize("damage", ["bit", "cut", "empty", "foreign"])
def test_a_damaged_entry_is_a_miss_and_goes(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = Cache(tmp_path)
    store.store(b"0123456789" * 100, name="x")
    (path,) = entries(store)
    data = bytearray(path.read_bytes())
    if damage == "bit":
        data[500] ^= 1
    damaged = {"bit": bytes(data), "cut": bytes(data[:700]), "empty": b"", "foreign": b"PK\3\4"}
    path.write_bytes(damaged[damage])
    assert store.load(name="x") is None
    assert "damaged" in caplog.text
    assert entries(store) == []


def test_the_entries_used_longest_ago_go_first(tmp_path: Path) -> None:
    store = Cache(tmp_path)
    for n in range(3):
        store.store(bytes(100), number=n)
    for n, age in ((0, 30), (1, 10), (2, 20)):
        os.utime(store._path({"number": n}), (age, age))
    Cache(tmp_path, limit=350).store(bytes(100), number=3)  # room for two with their headers
    assert [store.load(number=n) is not None for n in range(4)] == [True, False, False, True]
    assert sum(path.stat().st_size for path in entries(store)) <= 350


def test_an_entry_larger_than_the_limit_is_kept_alone(tmp_path: Path) -> None:
    store = Cache(tmp_path, limit=10)
    store.store(b"a" * 100, name="a")
    store.store(b"b" * 100, name="b")
    assert store.load(name="a") is None
    assert store.load(name="b") == b"b" * 100


def test_leftovers_of_killed_processes_go_and_young_ones_stay(tmp_path: Path) -> None:
    old, young = tmp_path / "old.tmp", tmp_path / "young.tmp"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (1, 1))
    Cache(tmp_path).store(b"x", name="x")
    assert not old.exists()
    assert young.exists()


def test_a_folder_that_cannot_be_written_is_logged_and_work_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_bytes(b"")
    store = Cache(tmp_path / "file" / "compiled")
    store.store(b"x", name="x")
    assert "set SSD_RESNET34_CACHE to a writable folder" in caplog.text
    store.store(b"y", name="y")
    assert caplog.text.count("cannot be written") == 1  # once for all entries of a process
    assert store.load(name="x") is None


WRITER = """
import sys
from pathlib import Path
from ssd_resnet34.runtime.cache import Cache
store = Cache(Path(sys.argv[1]), limit=5_000_000)
for n in range(15):
    store.store(bytes([n]) * 1_000_000, name="same")
    found = store.load(name="same")
    assert found is not None and len(set(found)) == 1 and len(found) == 1_000_000, n
"""


def test_processes_that_write_the_same_entry_at_once_read_whole_ones(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", WRITER, str(tmp_path)]
    writers = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(3)]
    for writer in writers:
        _, errors = writer.communicate(timeout=300)
        assert writer.returncode == 0, errors.decode()
        assert errors == b""
    assert len(entries(Cache(tmp_path))) == 1


# ------------------------------------------------------------- what a session does with it


def test_the_second_session_takes_the_compiled_network_from_the_cache(
    store: Cache, pictures: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    from openvino import Core

    with session.create(fake_onnx(), "openvino", precision="fp32") as sess:
        first = sess.run(pictures[:1])
    before = {path: path.read_bytes() for path in entries(store)}
    assert len(before) == 2  # the verdict on the artifact, the compiled network

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("compiled again")

    monkeypatch.setattr(Core, "compile_model", refuse)
    monkeypatch.setattr(artifact, "load", refuse)
    with session.create(fake_onnx(), "openvino", precision="fp32") as sess:
        second = sess.run(pictures[:1])
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert {path: path.read_bytes() for path in entries(store)} == before


def test_threads_precision_and_artifact_have_their_own_compiled_networks(store: Cache) -> None:
    sizes = []
    for model, threads in ((fake_onnx(), 1), (fake_onnx(), 2), (fake_onnx(precision="int8"), 1)):
        session.create(model, "openvino", threads=threads).close()
        sizes.append(len(entries(store)))
    assert sizes == [2, 3, 5]


def test_an_engine_version_and_a_cpu_have_their_own_compiled_networks(
    store: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one version compiled on one processor must not run in another, or on another."""
    sizes = []
    for where, name, value in (
        (openvino, "version_of", lambda _: "another version"),
        (cpu, "identity", lambda: "another processor"),
        (cpu, "identity", lambda: "another processor"),
    ):
        session.create(fake_onnx(), "openvino", threads=1).close()
        sizes.append(len(entries(store)))
        monkeypatch.setattr(where, name, value)
    session.create(fake_onnx(), "openvino", threads=1).close()
    sizes.append(len(entries(store)))
    assert sizes == [2, 3, 4, 4]


STARTER = """
import hashlib, sys
import numpy as np
from ssd_resnet34 import session
with session.create(sys.argv[1], "openvino", precision="fp32", threads=1) as sess:
    image = np.ones((1, 3, 1200, 1200), np.float32)
    print(hashlib.sha256(b"".join(head.tobytes() for head in sess.run(image))).hexdigest())
"""


def test_processes_that_start_at_once_with_an_empty_cache_all_work(tmp_path: Path) -> None:
    model, folder = tmp_path / "model.onnx", tmp_path / "cache"
    model.write_bytes(fake_onnx())
    command = [sys.executable, "-W", "error", "-c", STARTER, str(model)]
    environment = {**os.environ, "SSD_RESNET34_CACHE": str(folder)}
    starters = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    answers = set()
    for starter in starters:
        answer, errors = starter.communicate(timeout=300)
        assert starter.returncode == 0, errors.decode()
        assert errors == b""
        answers.add(answer)
    assert len(answers) == 1
    names = [path.suffix for path in (folder / "compiled").iterdir()]
    assert names == [".bin", ".bin"]  # the verdict and the network, whole; nothing half-written


def test_a_blob_that_openvino_refuses_is_compiled_anew(store: Cache, pictures: Array) -> None:
    session.create(fake_onnx(), "openvino", precision="fp32").close()
    largest = max(entries(store), key=lambda path: path.stat().st_size)
    data = largest.read_bytes()
    content = b"a blob of another build" * 50
    magic = data[: data.index(b"\n") + 1]
    largest.write_bytes(magic + hashlib.sha256(content).digest() + content)
    with session.create(fake_onnx(), "openvino", precision="fp32") as sess:
        assert len(sess.run(pictures[:1])) == 12
    assert len(largest.read_bytes()) == len(data)


def test_a_session_works_without_a_writable_cache(
    store: Cache, pictures: Array, caplog: pytest.LogCaptureFixture
) -> None:
    store.folder.parent.mkdir(parents=True, exist_ok=True)
    store.folder.write_bytes(b"a file where the folder should be")
    with (
        caplog.at_level(logging.WARNING),
        session.create(fake_onnx(), "openvino", precision="fp32") as sess,
    ):
        assert len(sess.run(pictures[:1])) == 12
    assert "every start compiles again" in caplog.text


def test_a_verdict_belongs_to_exactly_these_bytes(store: Cache) -> None:
    with session.create(fake_onnx(), FakeEngine()) as sess:
        assert sess.sha256 == hashlib.sha256(fake_onnx()).hexdigest()
    with session.create(fake_onnx(precision="int8"), FakeEngine()) as sess:
        assert sess.precision == "int8"
    assert len(entries(store)) == 2

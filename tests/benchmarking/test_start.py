"""Cold and warm starts in processes of their own: what each finds, and what it costs."""

import sys
from pathlib import Path

import pytest

from ssd_resnet34.benchmarking import start
from ssd_resnet34.errors import SessionError
from ssd_resnet34.weights import store

# Notes what is in the cache folder at its start, and leaves a file there.
NOTING = """
import os, pathlib, sys
folder = pathlib.Path(os.environ["SSD_RESNET34_CACHE"])
with open(sys.argv[1], "a") as log:
    print(len(list(folder.iterdir())), file=log)
(folder / "entry").touch()
print("results")
"""


def test_a_cold_start_finds_an_empty_cache_and_a_warm_one_what_it_left(tmp_path: Path) -> None:
    log, done = tmp_path / "log", list[int]()
    words = [sys.executable, "-S", "-c", NOTING, str(log)]
    found = start.measure("name", words, 2, on_run=lambda: done.append(1))
    assert log.read_text().split() == ["0", "1", "0", "1"]
    assert len(done) == 4
    assert (found.name, found.runs, found.fault) == ("name", 2, "")
    assert found.cold_seconds is not None
    assert found.warm_seconds is not None
    assert min(found.cold_seconds, found.warm_seconds) > 0


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell a child's memory")
def test_the_peak_is_the_childs_own_whatever_this_process_holds(tmp_path: Path) -> None:
    ballast = bytearray(b"\x01") * (300 << 20)  # inherited peaks would show it
    small = start.launched([sys.executable, "-S", "-c", "pass"], str(tmp_path))
    words = [sys.executable, "-S", "-c", "b = bytearray(b'1') * (200 << 20)"]
    large = start.launched(words, str(tmp_path))
    assert len(ballast) == 300 << 20
    assert small["peak"] < 100 << 20
    assert 200 << 20 < large["peak"] < 280 << 20


def test_a_command_that_fails_is_a_result_with_its_last_words(tmp_path: Path) -> None:
    code = "import sys; print('first', file=sys.stderr); sys.exit('no such engine')"
    found = start.measure("name", [sys.executable, "-S", "-c", code], 2)
    assert "ended with code 1: no such engine" in found.fault
    assert found.cold_seconds is found.warm_seconds is None
    with pytest.raises(SessionError, match="cannot be started"):
        start.launched([str(tmp_path / "nothing")], str(tmp_path))


def test_the_command_is_detect_with_the_same_choices(tmp_path: Path) -> None:
    words = start.command("embedded", "a.jpg", engine="torch", precision="bf16", threads=2)
    assert words[:5] == [sys.executable, "-m", "ssd_resnet34", "detect", "a.jpg"]
    text = " ".join(words)
    assert "--weights embedded --engine torch --precision bf16 --device cpu --threads 2" in text
    # A cold cache has no downloads: the file is named where it lies.
    words = start.command("mlcommons", "a.jpg")
    assert words[words.index("--weights") + 1] == str(store.path("mlcommons"))
    assert "--threads" not in words

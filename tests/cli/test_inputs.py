"""Inputs of a command line: what is searched, what is passed over, and the standard streams."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from command import Run
from ssd_resnet34.cli import drawn
from ssd_resnet34.cli.inputs import STDIN, expand, read
from ssd_resnet34.errors import UnreadableFile
from ssd_resnet34.vision.detections import Detections

Picture = Callable[..., Path]


def test_the_folder_of_results_is_not_searched(picture: Picture, tmp_path: Path) -> None:
    first, second = picture("a.jpg"), picture("out-side/b.jpg")
    picture("out/a.jpg")
    picture("out/deep/a.jpg")
    for argument in (str(tmp_path), str(tmp_path / "**" / "*.jpg")):
        assert list(expand([argument], tmp_path / "out")) == [str(first), str(second)]


def test_a_folder_inside_that_of_the_results_is_searched_whole(
    picture: Picture, tmp_path: Path
) -> None:
    found = [str(picture(f"photos/{name}")) for name in ("a.jpg", "2025/b.jpg", "2025/may/c.jpg")]
    for argument in (tmp_path / "photos", tmp_path / "photos" / "**" / "*.jpg"):
        assert sorted(map(str, expand([str(argument)], tmp_path))) == sorted(found)


def test_a_pattern_that_matches_results_alone_says_so(picture: Picture, tmp_path: Path) -> None:
    picture("out/a.jpg")
    (refused,) = expand([str(tmp_path / "out" / "*.jpg")], tmp_path / "out")
    assert isinstance(refused, UnreadableFile)
    assert "outside the folder where results are written" in str(refused)
    (refused,) = expand([str(tmp_path / "out" / "*.png")], tmp_path / "out")
    assert str(refused).endswith("no file matches this pattern")


def test_a_pattern_gives_its_files_by_name(picture: Picture, tmp_path: Path) -> None:
    names = [f"{letter}.jpg" for letter in "kbzaq"]
    for name in names:
        picture(name)
    found = [Path(str(path)).name for path in expand([str(tmp_path / "*.jpg")])]
    assert found == sorted(names)


def test_a_folder_that_cannot_be_listed_is_refused_and_the_rest_is_found(
    picture: Picture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, last = picture("a/a.jpg"), picture("z/z.jpg")
    picture("locked/b.jpg")
    real = os.scandir

    def scandir(path: str) -> object:  # permissions do not stop root
        if os.path.basename(path) == "locked":
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    before, refused, after = expand([str(tmp_path)])
    assert [before, after] == [str(first), str(last)]
    assert isinstance(refused, UnreadableFile)
    assert "locked: Permission denied" in str(refused)


def test_a_closed_stdin_is_a_refused_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(UnreadableFile, match="closed"):
        read(STDIN)


@pytest.mark.parametrize("linked", [False, True])
def test_results_never_replace_another_input(
    run: Run, picture: Picture, tmp_path: Path, linked: bool
) -> None:
    one, other = picture("in/a.jpg"), picture("out/a.jpg", shade=200)
    before = other.read_bytes()
    if linked:
        (tmp_path / "link").symlink_to(other.parent)
    folder = tmp_path / "link" if linked else other.parent
    result = run("detect", one, other, "--save", folder)
    assert result.code == 2
    assert f"would replace {folder / 'a.jpg'}" in result.err
    assert other.read_bytes() == before


def test_results_never_replace_the_picture_itself(
    run: Run, picture: Picture, tmp_path: Path
) -> None:
    path = picture()
    before = path.read_bytes()
    result = run("detect", path, "--save", tmp_path)
    assert result.code == 2
    assert "would replace" in result.err
    assert path.read_bytes() == before


def test_the_threshold_holds_for_the_drawn_picture_too(
    run: Run, picture: Picture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def save(path: Path, found: Detections, *, source: Any, score_threshold: float) -> None:
        seen.append(score_threshold)

    monkeypatch.setattr(drawn, "save", save)
    assert run("detect", picture(), "--save", tmp_path / "out", "-t", "0.1").code == 0
    assert seen == [0.1]


@pytest.mark.skipif(os.name == "nt", reason="a POSIX shell closes the streams")
@pytest.mark.parametrize(
    ("redirection", "code", "message"),
    [
        (">&-", 2, "stdout is closed"),
        (">/dev/full", 1, "stdout: cannot be written"),
        ("2>&-", 0, ""),
    ],
)
def test_a_stream_that_takes_nothing_is_one_line_and_no_traceback(
    redirection: str, code: int, message: str
) -> None:
    if "full" in redirection and not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    command = f'"$0" -m ssd_resnet34 weights list --json {redirection}'
    done = subprocess.run(["sh", "-c", command, sys.executable], capture_output=True, text=True)
    assert done.returncode == code
    assert message in done.stderr
    assert len(done.stderr.splitlines()) <= 1


def test_a_locale_without_unicode_shows_escapes() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ssd_resnet34", "weights", "list"],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
    )
    assert done.returncode == 0
    assert b"\\u2013" in done.stdout

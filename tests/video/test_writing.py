"""Drawn videos: a constant rate from any times, whole or not there."""

import os
from pathlib import Path

import numpy as np
import pytest

import video_files
from ssd_resnet34.errors import OutputError, UsageError
from ssd_resnet34.video import writing
from ssd_resnet34.video.capture import Video
from ssd_resnet34.video.writing import CODECS, LONGEST_GAP, VideoFile


def shades(path: Path) -> list[int]:
    with Video(str(path)) as video:
        return [int(frame.image.pixels.mean()) for frame in video]


@pytest.mark.parametrize("extension", list(CODECS))
def test_a_constant_rate_is_kept_frame_by_frame(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"a{extension}"
    with VideoFile(path, 10.0) as file:
        for n, picture in enumerate(video_files.pictures(20)):
            file.write(picture, n / 10)
    found = shades(path)
    assert len(found) == 20
    assert found == pytest.approx([4 * n for n in range(20)], abs=6)
    assert list(tmp_path.iterdir()) == [path]


def test_a_variable_rate_becomes_constant_by_repeating_and_leaving_out(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    grey = [np.full((48, 64, 3), shade, np.uint8) for shade in (0, 100, 200, 250)]
    with VideoFile(path, 10.0) as file:
        for picture, seconds in zip(grey, (5.0, 5.5, 5.51, 6.0), strict=True):
            file.write(picture, seconds)
    found = shades(path)
    assert [round(shade / 50) * 50 for shade in found] == [0] * 5 + [200] * 5 + [250]


def test_a_long_pause_of_the_source_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    with VideoFile(path, 10.0) as file:
        for seconds in (0.0, 0.1, 3600.0, 3600.1):
            file.write(np.zeros((48, 64, 3), np.uint8), seconds)
    assert len(shades(path)) == pytest.approx(LONGEST_GAP * 10 + 3, abs=2)


def test_frames_of_other_sizes_and_odd_sides_fit_in(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with VideoFile(path, 10.0) as file:
        file.write(np.zeros((49, 65, 3), np.uint8), 0.0)
        file.write(np.zeros((100, 30, 3), np.uint8), 0.1)
    with Video(str(path)) as video:
        assert {frame.image.pixels.shape for frame in video} == {(50, 66, 3)}


def test_an_exception_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"mine")

    def fail() -> None:
        with VideoFile(path, 10.0) as file:
            file.write(np.zeros((48, 64, 3), np.uint8), 0.0)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert path.read_bytes() == b"mine"
    assert list(tmp_path.iterdir()) == [path]
    with VideoFile(path, 10.0):
        pass  # not one frame: nothing is written
    assert path.read_bytes() == b"mine"


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path: Path) -> None:
    large, link = tmp_path / "large", tmp_path / "a.mp4"
    large.mkdir()
    link.symlink_to(large / "b.mp4")
    with VideoFile(link, 10.0) as file:
        file.write(np.zeros((48, 64, 3), np.uint8), 0.0)
    assert link.is_symlink()
    assert len(shades(large / "b.mp4")) == 1
    assert [path.name for path in large.iterdir()] == ["b.mp4"]


def test_what_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"use one of \.mp4"):
        VideoFile(tmp_path / "a.gif", 10.0)
    with pytest.raises(UsageError, match="cannot be written"):
        VideoFile(tmp_path / "nowhere" / "a.mp4", 10.0).write(np.zeros((8, 8, 3), np.uint8), 0.0)
    monkeypatch.setattr(writing.VideoFile, "_put", lambda self, pixels: self._count())
    monkeypatch.setattr(
        writing.VideoFile,
        "_count",
        lambda self: setattr(self, "_written", self._written + 1),
        raising=False,
    )
    file = VideoFile(tmp_path / "b.mp4", 10.0)
    for n in range(5):  # as on a full disk: the writer takes them and says nothing
        file.write(np.zeros((48, 64, 3), np.uint8), n / 10)
    with pytest.raises(OutputError, match="not whole"):
        file.close()
    assert not list(tmp_path.iterdir())


def test_a_pipe_is_not_replaced_by_a_video(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    os.mkfifo(path)
    file = VideoFile(path, 10.0)
    with pytest.raises(UsageError, match="is not a regular file; name a file to write"):
        file.write(np.zeros((48, 64, 3), np.uint8), 0.0)
    file.close()
    assert path.is_fifo()
    assert list(tmp_path.iterdir()) == [path]

"""Sources of frames: files of any rate and any damage, streams that go and come back."""

import http.server
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import video_files
from fake_clock import FakeClock
from ssd_resnet34.errors import TooManyPixels, UnreadableFile, UnsupportedImage, UsageError
from ssd_resnet34.video.capture import Video, is_video
from ssd_resnet34.video.latest import Latest
from ssd_resnet34.vision.images import Limits


def test_what_is_a_video_is_told_by_its_name(tmp_path: Path) -> None:
    for name in ("a.mp4", "B.MKV", "camera:0", "rtsp://h/x", "https://h/a.m3u8"):
        assert is_video(name)
    for name in ("a.jpg", "camera:", "-", "camera.png", "s3://b/x.mp4/"):
        assert not is_video(name)
    (tmp_path / "folder.mp4").mkdir()
    assert not is_video(str(tmp_path / "folder.mp4"))


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "mp4v"), ("a.avi", "MJPG")])
def test_a_file_gives_every_frame_with_its_number_and_time(
    tmp_path: Path, name: str, codec: str
) -> None:
    path = video_files.constant(tmp_path / name, 30, 10.0, codec)
    notes: list[str] = []
    with Video(str(path), on_note=notes.append) as video:
        assert (video.live, video.frames, video.rate) == (False, 30, 10.0)
        frames = list(video)
    assert [frame.number for frame in frames] == list(range(30))
    assert [frame.seconds for frame in frames] == pytest.approx([n / 10 for n in range(30)])
    assert frames[0].image.pixels.shape == (48, 64, 3)
    shades = [int(frame.image.pixels.mean()) for frame in frames]
    assert shades == sorted(shades)
    assert frames[7].image.name == str(path)
    assert not notes


def test_every_nth_frame_keeps_its_own_number_and_time(tmp_path: Path) -> None:
    path = video_files.constant(tmp_path / "a.mp4")
    with Video(str(path), every=7) as video:
        found = [(frame.number, round(frame.seconds, 3)) for frame in video]
    assert found == [(0, 0.0), (7, 0.7), (14, 1.4), (21, 2.1), (28, 2.8)]
    with pytest.raises(UsageError, match="every"):
        Video(str(path), every=0)


def test_a_file_of_a_variable_rate_gives_the_times_it_holds(tmp_path: Path) -> None:
    times = [0, 40, 80, 1000, 1010, 5000, 5033, 60_000]
    path = video_files.matroska(tmp_path / "a.mkv", times)
    with Video(str(path)) as video:
        assert [round(frame.seconds * 1000) for frame in video] == times


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("kind", ["avi", "mkv"])
def test_a_file_that_is_cut_short_ends_with_its_last_whole_frame_and_is_told(
    tmp_path: Path, kind: str, share: float
) -> None:
    path = tmp_path / f"a.{kind}"
    if kind == "avi":
        video_files.constant(path, 40, 10.0, "MJPG", noisy=True)
    else:
        video_files.matroska(path, list(range(0, 4000, 100)))
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    notes: list[str] = []
    with Video(str(path), on_note=notes.append) as video:
        count = len(list(video))
    assert share * 40 - 8 < count < 40
    assert len(notes) == 1
    assert f"ends after {count} frames" in notes[0]


def test_what_cannot_be_a_video_is_refused_without_waiting(tmp_path: Path) -> None:
    path = video_files.constant(tmp_path / "a.mp4")
    (tmp_path / "cut.mp4").write_bytes(path.read_bytes()[:-200])  # an mp4's index is at its end
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty.mp4").touch()
    for name in ("cut.mp4", "text.mp4", "empty.mp4"):
        with pytest.raises(UnsupportedImage, match=name):
            Video(str(tmp_path / name))
    os.mkfifo(tmp_path / "fifo.mp4")
    for name in ("fifo.mp4", "missing.mp4"):
        with pytest.raises(UnreadableFile, match="no such file"):
            Video(str(tmp_path / name))
    with pytest.raises(UnreadableFile, match="no such camera"):
        Video("camera:97")
    with pytest.raises(UnreadableFile, match="no video comes from there"):
        Video("http://127.0.0.1:9/nothing")
    with pytest.raises(TooManyPixels):
        Video(str(path), limits=Limits(max_pixels=1000))


class Scripted:
    """Stands for cv2.VideoCapture: a list of connections, each with so many frames (None: no
    answer), and then nothing."""

    def __init__(self, *connections: int | None) -> None:
        self.connections = list(connections)
        self.opened = 0

    def __call__(self, *_: Any) -> "Scripted._One":
        self.opened += 1
        frames = self.connections.pop(0) if self.connections else None
        return self._One(frames)

    class _One:
        def __init__(self, frames: int | None) -> None:
            self.left = frames or 0
            self.answers = frames is not None

        def isOpened(self) -> bool:  # noqa: N802
            return self.answers

        def grab(self) -> bool:
            self.left -= 1
            return self.left >= 0

        def retrieve(self) -> tuple[bool, Any]:
            return True, np.zeros((48, 64, 3), np.uint8)

        def get(self, _: int) -> float:
            return 0.0

        def release(self) -> None:
            self.answers = False


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Scripted, Video, list[str]]]:
    """``scripted(3, None, 2)``: the fake captures, a live video over them, its notes."""

    def make(*connections: int | None) -> tuple[Scripted, Video, list[str]]:
        script, clock = Scripted(*connections), FakeClock()
        notes: list[str] = []
        monkeypatch.setattr(cv2, "VideoCapture", script)

        def sleep(seconds: float) -> None:
            clock.now += seconds

        video = Video("rtsp://camera/1", on_note=notes.append, sleep=sleep, clock=clock)
        return script, video, notes

    return make


def test_a_stream_that_is_lost_is_opened_again_and_goes_on(
    scripted: Callable[..., tuple[Scripted, Video, list[str]]],
) -> None:
    script, video, notes = scripted(3, None, None, 0, 4)
    assert video.live
    frames = iter(video)
    assert [next(frames).number for _ in range(7)] == list(range(7))
    assert script.opened == 5
    assert [note.rpartition(": ")[2].split(";")[0] for note in notes] == ["lost", "back"]
    with pytest.raises(UnreadableFile, match="gone for 60 s"):
        next(frames)


def test_the_newest_frame_is_given_and_what_came_between_is_counted(tmp_path: Path) -> None:
    path = video_files.constant(tmp_path / "a.mp4", 40, 40.0)
    with Video(str(path)) as video, Latest(video) as latest:
        numbers = []
        for frame in latest:
            numbers.append(frame.number)
            time.sleep(0.15)
    assert numbers == sorted(numbers)
    assert 2 <= len(numbers) < 30
    assert latest.dropped == 40 - len(numbers)


def test_a_failure_of_a_live_source_comes_after_its_last_frame(
    scripted: Callable[..., tuple[Scripted, Video, list[str]]],
) -> None:
    _, video, _ = scripted(1)
    with Latest(video) as latest:
        frames = iter(latest)
        assert next(frames).number == 0
        with pytest.raises(UnreadableFile, match="gone"):
            next(frames)


def test_leaving_early_ends_the_reading_thread(tmp_path: Path) -> None:
    path = video_files.constant(tmp_path / "a.mp4", 30, 2.0)
    began = time.monotonic()
    with Video(str(path)) as video, Latest(video) as latest:
        next(iter(latest))
    assert time.monotonic() - began < 5


@contextmanager
def serving(data: bytes) -> Iterator[str]:
    """A server on the loopback that gives the same bytes to everybody, without a length."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/stream.mkv"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_network_stream_without_a_length_is_live_and_comes_back(tmp_path: Path) -> None:
    path = video_files.matroska(tmp_path / "a.mkv", [0, 40, 80, 120], known_length=False)
    notes: list[str] = []
    with serving(path.read_bytes()) as address:
        with Video(address, on_note=notes.append, sleep=lambda _: None) as video:
            assert video.live
            frames = iter(video)
            numbers = [next(frames).number for _ in range(9)]
        assert numbers == list(range(9))
        assert "lost" in notes[0]
        assert "back" in notes[1]


def test_a_network_file_with_a_length_ends(tmp_path: Path) -> None:
    path = video_files.matroska(tmp_path / "a.mkv", [0, 40, 80, 120])
    with serving(path.read_bytes()) as address, Video(address) as video:
        assert not video.live
        assert len(list(video)) == 4

"""A camera in the network, by OpenCV's own capture: times, silence, absence, what is newest."""

import statistics
import threading
import time
from collections.abc import Iterator
from typing import Any

import cv2
import pytest

from rtsp_camera import SHADES, Camera, number_of
from ssd_resnet34.errors import UnreadableFile
from ssd_resnet34.video import capture
from ssd_resnet34.video.capture import LiveTimes, Video
from ssd_resnet34.video.latest import Latest


@pytest.fixture
def camera() -> Iterator[Camera]:
    """A camera that sends 25 pictures a second."""
    with Camera() as made:
        yield made


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A camera that says nothing for three seconds is given up."""
    monkeypatch.setattr(capture, "TIMEOUT", 3.0)


def test_frames_of_a_camera_come_in_order_with_the_times_at_which_it_took_them(
    camera: Camera,
) -> None:
    notes: list[str] = []
    with Video(camera.address, on_note=notes.append) as video:
        assert (video.live, video.frames, video.rate) == (True, 0, 25.0)
        frames = [frame for frame, _ in zip(video, range(50), strict=False)]
    assert [frame.number for frame in frames] == list(range(50))
    assert [number_of(frame.image.pixels) for frame in frames] == list(range(50))
    # Also of those that were held while the stream was looked at, and came at once.
    assert [frame.seconds for frame in frames] == pytest.approx([n / 25 for n in range(50)])
    assert frames[0].image.pixels.shape == (48, 64, 3)
    assert not notes


def test_a_camera_that_went_away_is_opened_again_and_times_go_on(camera: Camera) -> None:
    notes: list[str] = []
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            camera.come()

    with Video(camera.address, on_note=notes.append, sleep=sleep) as video:
        frames = iter(video)
        found = [next(frames) for _ in range(5)]
        camera.go()
        while camera.connections == 1:
            found.append(next(frames))
        found += [next(frames) for _ in range(5)]
    assert pauses == [0.5, 1.0, 2.0]
    assert [note.rpartition(": ")[2].split(";")[0] for note in notes] == ["lost", "back"]
    assert [frame.number for frame in found] == list(range(len(found)))
    times = [frame.seconds for frame in found]
    assert times == sorted(set(times))


@pytest.mark.usefixtures("hasty")
def test_a_camera_that_takes_the_connection_and_never_answers_is_refused(camera: Camera) -> None:
    camera.silent.set()
    with pytest.raises(UnreadableFile, match="no video comes from there within 3 s"):
        Video(camera.address)
    assert camera.connections == 1


@pytest.mark.usefixtures("hasty")
def test_a_camera_that_falls_silent_is_opened_again(camera: Camera) -> None:
    notes: list[str] = []
    with Video(
        camera.address, on_note=notes.append, sleep=lambda _: camera.silent.clear()
    ) as video:
        frames = iter(video)
        next(frames)
        camera.silent.set()
        while camera.connections == 1:
            next(frames)
    assert "lost" in notes[0]
    assert "back" in notes[1]


@pytest.mark.usefixtures("hasty")
def test_a_camera_slower_than_the_patience_still_gives_a_frame_each_time() -> None:
    with Camera(rate=0.01) as camera, Video(camera.address, sleep=lambda _: None) as video:
        frames = iter(video)
        assert [next(frames).number for _ in range(2)] == [0, 1]
    assert camera.connections == 2


def test_the_frame_that_is_given_is_the_newest_however_long_the_last_one_took(
    camera: Camera,
) -> None:
    behind = []
    with Video(camera.address) as video, Latest(video) as latest:
        for frame in latest:
            behind.append((camera.sent - number_of(frame.image.pixels)) % SHADES)
            if len(behind) == 6:
                break
            time.sleep(0.5)  # twelve pictures
    assert statistics.median(behind[1:]) < 6
    assert latest.dropped > 20


def test_a_stream_is_decoded_by_one_thread_for_each_more_is_a_frame_late(
    camera: Camera, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[int, int]] = []
    opened = cv2.VideoCapture

    def spy(source: str, backend: int, pairs: list[int]) -> Any:
        asked.append(dict(zip(pairs[::2], pairs[1::2], strict=True)))
        return opened(source, backend, pairs)

    monkeypatch.setattr(cv2, "VideoCapture", spy)
    Video(camera.address).close()
    assert asked[0][cv2.CAP_PROP_N_THREADS] == 1


def test_leaving_while_a_camera_is_gone_waits_for_no_return(camera: Camera) -> None:
    lost = threading.Event()
    with (
        Video(camera.address, reconnect=100_000, on_note=lambda _: lost.set()) as video,
        Latest(video) as latest,
    ):
        next(iter(latest))
        camera.go()
        assert lost.wait(30)


def test_the_account_of_a_camera_opens_it_and_is_written_nowhere() -> None:
    notes: list[str] = []
    with Camera(locked=True) as camera:
        with Video(camera.address, on_note=notes.append, sleep=lambda _: camera.come()) as video:
            frames = iter(video)
            frame = next(frames)
            before = camera.connections
            camera.go()
            while camera.connections == before:
                next(frames)
        address = camera.address.replace("user:secret@", "")
        assert frame.image.name == video.name == address
        assert [note.startswith(f"{address}: ") for note in notes] == [True, True]
        with pytest.raises(UnreadableFile, match="rtsp://127") as refusal:
            Video(camera.address.replace("secret", "wrong"))
    assert "wrong" not in str(refusal.value)


@pytest.mark.parametrize(
    ("frames", "times"),
    [
        ([(5.0, 0.0), (5.0, 0.1), (5.0, 0.2)], [0.0, 0.1, 0.2]),
        ([(5.0, 80.0), (5.1, 80.1), (5.2, 80.2)], [0.0, 0.1, 0.2]),
        ([(5.0, 0.0), (5.1, 0.0), (5.3, 0.0)], [0.0, 0.1, 0.3]),
        ([(5.0, 0.0), (5.1, 0.1), (5.2, 900.0), (5.3, 900.1)], [0.0, 0.1, 0.2, 0.3]),
        ([(5.0, 9.0), (5.1, 9.1), (5.3, 1.0), (5.4, 1.1)], [0.0, 0.1, 0.3, 0.4]),
    ],
    ids=["held frames", "any begin", "no clock", "jumps ahead", "jumps back"],
)
def test_the_clock_of_a_stream_counts_as_long_as_it_is_one(
    frames: list[tuple[float, float]], times: list[float]
) -> None:
    counted = LiveTimes()
    assert [counted(*frame) for frame in frames] == pytest.approx(times)


def test_another_connection_begins_at_its_own_time() -> None:
    counted = LiveTimes()
    assert counted(5.0, 0.0) == 0.0
    counted.connect(8.0)
    assert [counted(9.0, 0.0), counted(9.0, 0.1)] == pytest.approx([3.0, 3.1])

"""``ssd-resnet34 detect`` on videos, as its users call it."""

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import video_files
from command import Run
from rtsp_camera import Camera
from ssd_resnet34.video.capture import Video


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A second of ten frames."""
    return video_files.constant(tmp_path / "clip.mp4", 10, 10.0)


def test_json_has_a_line_with_frame_and_time_for_each_frame(run: Run, clip: Path) -> None:
    result = run("detect", clip, "--json")
    assert result.code == 0
    lines = [json.loads(line) for line in result.out.splitlines()]
    assert [(line["frame"], line["time"]) for line in lines] == [(n, n / 10) for n in range(10)]
    assert {line["image"] for line in lines} == {str(clip)}
    assert {one["label"] for line in lines for one in line["detections"]} == {
        "person",
        "car",
        "dog",
    }
    assert list(lines[0])[:5] == ["image", "width", "height", "model", "detections"]


def test_a_table_names_the_time_and_the_drawn_video_is_saved(
    run: Run, clip: Path, tmp_path: Path
) -> None:
    result = run("detect", clip, "--every", "5", "--save", tmp_path / "drawn")
    assert result.code == 0
    heads = [line for line in result.out.splitlines() if not line.startswith(" ")]
    assert [line.split("  ")[1:3] for line in heads] == [
        ["0.000 s", "frame 0"],
        ["0.500 s", "frame 5"],
    ]
    with Video(str(tmp_path / "drawn" / "clip.mp4")) as video:
        frames = list(video)
    assert video.rate == 2.0
    assert len(frames) == 2
    assert frames[0].image.pixels.std() > 5  # boxes on what was grey
    assert result.err == f"drawn: {tmp_path / 'drawn' / 'clip.mp4'}\n"


def test_the_drawn_video_may_have_a_name_of_its_own(run: Run, clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "new" / "out.avi"
    result = run("detect", clip, "--every", "5", "--save", path)
    assert (result.code, result.err) == (0, f"drawn: {path}\n")
    with Video(str(path)) as video:
        assert len(list(video)) == 2


def test_drawn_videos_of_one_name_are_numbered(run: Run, tmp_path: Path) -> None:
    clips = [tmp_path / folder / "clip.mp4" for folder in ("a", "b")]
    for count, path in enumerate(clips, 1):
        path.parent.mkdir()
        video_files.constant(path, count)
    folder = tmp_path / "drawn"
    result = run("detect", *clips, "--save", folder)
    assert (result.code, result.err) == (
        0,
        f"drawn: {folder}/clip.mp4\ndrawn: {folder}/clip-2.mp4\n",
    )
    for count, name in enumerate(("clip.mp4", "clip-2.mp4"), 1):
        with Video(str(folder / name)) as video:
            assert len(list(video)) == count


def test_a_drawn_video_never_replaces_another_input(run: Run, tmp_path: Path) -> None:
    clips = [tmp_path / folder / "clip.mp4" for folder in ("a", "b")]
    for count, path in enumerate(clips, 1):
        path.parent.mkdir()
        video_files.constant(path, count)
    before = clips[1].read_bytes()
    result = run("detect", *clips, "--save", clips[1].parent)
    assert result.code == 2
    assert f"would replace {clips[1]}" in result.err
    assert clips[1].read_bytes() == before


def test_the_latest_frames_of_a_file_are_taken_at_its_own_pace(run: Run, clip: Path) -> None:
    result = run("detect", clip, "--frames", "latest", "--json")
    frames = [json.loads(line)["frame"] for line in result.out.splitlines()]
    assert frames == sorted(set(frames))
    assert frames


def test_a_truncated_file_ends_well_and_one_without_an_index_is_refused(
    run: Run, tmp_path: Path
) -> None:
    path = video_files.constant(tmp_path / "a.avi", 20, 10.0, "MJPG", noisy=True)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    result = run("detect", path, "--json", "--save", tmp_path / "drawn")
    assert result.code == 0
    assert "cut short or damaged" in result.err
    assert len(result.out.splitlines()) > 4
    assert (tmp_path / "drawn" / "a.avi").exists()
    broken = tmp_path / "b.mp4"
    broken.write_bytes(b"no video")
    good = video_files.constant(tmp_path / "c.mp4", 2)
    result = run("detect", broken, good, "--json")
    assert result.code == 3
    assert "[unsupported_image]" in result.err
    assert len(result.out.splitlines()) == 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["clip.mp4", "a.jpg"], "detect images and videos apart"),
        (["clip.mp4", "--csv"], "use --json for videos"),
        (["a.jpg", "--frames", "latest"], "--frames is for videos"),
        (["a.jpg", "--every", "2"], "--every is for videos"),
        (["a.jpg", "--reconnect", "2"], "--reconnect is for videos"),
        (["clip.mp4", "--every", "0"], "--every"),
        (["clip.mp4", "--save", "."], "would replace"),
        (["clip.mp4", "--save", "clip.mp4"], "would replace"),
        (["clip.mp4", "--save", "out.jpg"], "use one of .mp4,"),
        (["clip.mp4", "clip.mp4", "--save", "out.mp4"], "name a folder"),
    ],
)
def test_what_does_not_go_together_is_bad_usage(
    run: Run,
    clip: Path,
    picture: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    told: str,
) -> None:
    picture("a.jpg")
    monkeypatch.chdir(tmp_path)
    result = run("detect", *words)
    assert result.code == 2
    assert told in result.err


def test_a_pattern_names_several_videos(run: Run, tmp_path: Path) -> None:
    for name in ("a", "b"):
        video_files.constant(tmp_path / f"{name}.mp4", 2)
    result = run("detect", tmp_path / "*.mp4", "--json")
    assert [json.loads(line)["frame"] for line in result.out.splitlines()] == [0, 1, 0, 1]


def test_the_account_of_a_camera_is_in_no_row_and_in_no_name(run: Run, tmp_path: Path) -> None:
    with Camera(locked=True) as camera:
        leave = threading.Timer(3, camera.go)
        leave.start()
        result = run(
            "detect", camera.address, "--json", "--reconnect", "0", "--save", tmp_path / "drawn"
        )
        leave.join()
    assert result.out.splitlines()
    (drawn,) = (tmp_path / "drawn").iterdir()
    assert drawn.name.startswith("rtsp-127.0.0.1")
    for text in (result.out, result.err, drawn.name):
        assert "secret" not in text

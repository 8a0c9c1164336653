"""``ssd-resnet34 detect`` as its users call it."""

import csv
import io
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from command import Run
from ssd_resnet34.contract import COCO
from ssd_resnet34.vision.images import decode

Picture = Callable[..., Path]

LABELS = ["person", "car", "dog"]
"""What the fake network finds in every image: indices 1, 3, 17."""


def test_a_picture_gives_a_table_of_its_objects(run: Run, picture: Picture) -> None:
    result = run("detect", picture())
    assert result.code == 0
    first, *rows = result.out.splitlines()
    assert "a.jpg" in first
    assert "64×48" in first
    assert "3 objects" in first
    assert sorted(row.split()[1] for row in rows) == sorted(LABELS)
    assert all(len(line) <= 80 for line in rows)


def test_json_has_one_common_object_a_line(run: Run, picture: Picture) -> None:
    paths = [picture("a.jpg"), picture("b.png", width=100)]
    result = run("detect", *paths, "--json")
    lines = [json.loads(line) for line in result.out.splitlines()]
    assert [line["image"] for line in lines] == [str(path) for path in paths]
    assert [(line["width"], line["height"]) for line in lines] == [(64, 48), (100, 48)]
    assert list(lines[0]) == ["image", "width", "height", "model", "detections"]
    found = lines[0]["detections"]
    assert {one["label"]: (one["index"], one["category_id"]) for one in found} == {
        "person": (1, 1),
        "car": (3, 3),
        "dog": (17, 18),
    }
    for one in found:
        left, top, right, bottom = one["box"]
        assert 0 <= left < right <= 64
        assert 0 <= top < bottom <= 48


def test_csv_and_coco_hold_the_same_objects(run: Run, picture: Picture) -> None:
    path = picture()
    rows = list(csv.DictReader(io.StringIO(run("detect", path, "--csv").out)))
    assert sorted(row["label"] for row in rows) == sorted(LABELS)
    document = json.loads(run("detect", path, "--coco").out)
    assert sorted(a["category_id"] for a in document["annotations"]) == [1, 3, 18]
    assert document["images"][0]["file_name"] == str(path)


def test_coco_has_all_categories_of_the_contract_whatever_was_found(
    run: Run, picture: Picture
) -> None:
    categories = [{"id": one.category_id, "name": one.label} for one in COCO.categories]
    for options in ([], ["-t", "1"], ["--classes", "car"]):
        document = json.loads(run("detect", picture(), "--coco", *options).out)
        assert document["categories"] == categories


def test_two_forms_at_once_are_bad_usage(run: Run, picture: Picture) -> None:
    result = run("detect", picture(), "--json", "--csv")
    assert result.code == 2
    assert "choose one" in result.err


def test_save_draws_every_picture_under_its_own_name(
    run: Run, picture: Picture, tmp_path: Path
) -> None:
    picture("one/a.jpg")
    picture("two/a.jpg", width=80)
    result = run("detect", tmp_path / "one", tmp_path / "two", "--save", tmp_path / "drawn")
    assert result.code == 0
    drawn = sorted(path.name for path in (tmp_path / "drawn").iterdir())
    assert drawn == ["a-2.jpg", "a.jpg"]
    files = [tmp_path / "drawn" / name for name in drawn]
    shapes = [decode(file).pixels.shape for file in files]
    assert shapes == [(48, 80, 3), (48, 64, 3)]
    assert result.err.splitlines() == [
        f"drawn: {tmp_path / 'two' / 'a.jpg'} as {files[0]}",
        f"drawn: 2 pictures in {tmp_path / 'drawn'}/",
    ]


@pytest.mark.parametrize("name", ["out.jpg", "new/out.PNG"])
def test_save_of_one_picture_takes_a_file(
    run: Run, picture: Picture, tmp_path: Path, name: str
) -> None:
    for _ in range(2):  # the second time it is there
        result = run("detect", picture(), "--save", tmp_path / name)
        assert (result.code, result.err) == (0, f"drawn: {tmp_path / name}\n")
        assert decode(tmp_path / name).pixels.shape == (48, 64, 3)
    assert run("detect", picture(), "--save", tmp_path / name, "-q").err == ""


def test_save_takes_a_folder_that_is_called_like_a_picture(
    run: Run, picture: Picture, tmp_path: Path
) -> None:
    (tmp_path / "out.jpg").mkdir()
    assert run("detect", picture(), "--save", tmp_path / "out.jpg").code == 0
    assert (tmp_path / "out.jpg" / "a.jpg").exists()


@pytest.mark.parametrize(
    ("inputs", "name", "mend"),
    [
        (["a.jpg", "b.jpg"], "out.jpg", "several may be drawn; name a folder"),
        (["."], "out.jpg", "several may be drawn; name a folder"),
        (["*.jpg"], "out.jpg", "several may be drawn; name a folder"),
        (["a.jpg"], "a.jpg", "would replace a.jpg"),
        (["a.jpg"], "out.gif", "use one of .png, .jpg, .jpeg, .webp, or name a folder"),
        (["a.jpg"], "out.mp4", "use one of .png, .jpg, .jpeg, .webp, or name a folder"),
    ],
)
def test_save_refuses_a_file_that_cannot_be_the_drawing(
    run: Run, picture: Picture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    inputs: list[str], name: str, mend: str,
) -> None:  # fmt: skip
    picture("a.jpg")
    picture("b.jpg")
    monkeypatch.chdir(tmp_path)
    result = run("detect", *inputs, "--save", name)
    assert result.code == 2
    assert mend in result.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jpg", "b.jpg"]


def test_a_refused_file_is_one_line_and_the_rest_is_done(
    run: Run, picture: Picture, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"not an image")
    result = run("detect", bad, picture(), "--json")
    assert result.code == 3
    assert len(result.out.splitlines()) == 1
    (line,) = result.err.splitlines()
    assert "bad.jpg" in line
    assert "[unsupported_image]" in line


@pytest.mark.parametrize("kind", ["missing", "folder without images", "fifo", "empty"])
def test_what_is_no_image_file_is_refused_by_its_code(run: Run, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.jpg"
    code = "unreadable_file"
    if kind == "folder without images":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)  # must not block
    elif kind == "empty":
        path.touch()
        code = "empty_input"
    result = run("detect", path)
    assert result.code == 3
    assert len(result.err.splitlines()) == 1
    assert f"[{code}]" in result.err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_refused(run: Run, picture: Picture) -> None:
    path = picture()
    path.chmod(0)
    assert "[unreadable_file]" in run("detect", path).err
    path.chmod(stat.S_IRWXU)


def test_a_folder_gives_its_images_by_name_and_only_those(
    run: Run, picture: Picture, tmp_path: Path
) -> None:
    for name in ("in/b.png", "in/a.jpg", "in/sub/c.webp"):
        picture(name)
    (tmp_path / "in" / "notes.txt").write_text("not searched")
    (tmp_path / "in" / "x.jpg").mkdir()
    result = run("detect", tmp_path / "in", "--json")
    assert result.code == 0
    names = [Path(json.loads(line)["image"]).name for line in result.out.splitlines()]
    assert names == ["a.jpg", "b.png", "c.webp"]


def test_a_quoted_glob_is_expanded(run: Run, picture: Picture, tmp_path: Path) -> None:
    picture("in/a.jpg")
    picture("in/deep/b.jpg")
    picture("in/c.png")
    result = run("detect", tmp_path / "in" / "**" / "*.jpg", "--json")
    names = {Path(json.loads(line)["image"]).name for line in result.out.splitlines()}
    assert names == {"a.jpg", "b.jpg"}
    nothing = run("detect", tmp_path / "*.tiff")
    assert nothing.code == 3
    assert "no file matches" in nothing.err


def test_a_name_that_is_not_utf8_works_and_is_shown_escaped(
    run: Run, picture: Picture, tmp_path: Path
) -> None:
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.jpg")
    picture("a.jpg").rename(odd)
    result = run("detect", odd)
    assert result.code == 0
    assert r"caf\udce9.jpg" in result.out
    assert json.loads(run("detect", odd, "--json").out)["detections"]


def test_ten_thousand_paths_are_taken_one_by_one(run: Run, tmp_path: Path) -> None:
    result = run("detect", *[tmp_path / f"{n}.jpg" for n in range(10_000)])
    assert result.code == 3
    assert len(result.err.splitlines()) == 10_000


def test_stdin_is_read_for_a_dash(
    run: Run, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = picture()
    with path.open() as file:
        monkeypatch.setattr("sys.stdin", file)
        result = run("detect", "-", "--json")
    assert json.loads(result.out)["image"] == "stdin"


def test_classes_and_threshold_choose(run: Run, picture: Picture) -> None:
    path = picture()
    chosen = json.loads(run("detect", path, "--json", "--classes", "car, dog").out)
    assert sorted(one["label"] for one in chosen["detections"]) == ["car", "dog"]
    assert json.loads(run("detect", path, "--json", "-t", "1").out)["detections"] == []
    result = run("detect", path, "--classes", "cra")
    assert result.code == 2
    assert "car" in result.err  # the near match


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--score-threshold", "2"],
        ["--nms", "soft"],
        ["--precision", "fp8"],
        ["--threads", "0"],
        ["--nonsense"],
    ],
)
def test_bad_usage_is_code_2(run: Run, picture: Picture, arguments: list[str]) -> None:
    images = [picture()] if arguments else []
    assert run("detect", *images, *arguments).code == 2


def test_an_unknown_engine_or_weights_is_one_line_and_bad_usage(run: Run, picture: Picture) -> None:
    near = run("detect", picture(), "--engine", "opnvino", fake=False)
    assert near.err == (
        "error: engine 'opnvino' is unknown; did you mean 'openvino'? there are auto, openvino, "
        "onnxruntime, torch, fake\n"
    )
    engine = run("detect", picture(), "--engine", "abacus", fake=False)
    assert engine.code == 2
    assert len(engine.err.splitlines()) == 1
    assert "abacus" in engine.err
    name = run("detect", picture(), "--weights", "mlcomons", fake=False)
    assert name.code == 2
    assert len(name.err.splitlines()) == 1
    assert "mlcommons" in name.err
    file = run("detect", picture(), "--weights", "gone.onnx", fake=False)
    assert (file.code, file.err.count("gone.onnx: no such file")) == (2, 1)


def test_a_model_that_was_trained_at_another_size_is_told_of(
    run: Run, picture: Picture, trained_at_600: Path
) -> None:
    chosen = ["--engine", "fake", "--weights", trained_at_600]
    result = run("detect", picture(), *chosen, fake=False)
    assert result.code == 0
    assert result.err == (
        "note: trained.onnx was trained at 600×600 and runs at 1200×1200, where it finds less; "
        "train it on with --init and --size 1200\n"
    )
    assert run("detect", picture(), *chosen, "-q", fake=False).err == ""
    assert run("detect", picture()).err == ""


def test_that_the_embedded_weights_are_not_for_photographs_is_told_where_nobody_named_them(
    run: Run, picture: Picture
) -> None:
    path = picture()
    told = run("detect", path, "--engine", "fake", fake=False)
    assert told.code == 0
    assert told.err == (
        "note: the embedded weights know twelve categories of rendered scenes; "
        "for photographs: -w mlcommons (80 MB, fetched once)\n"
    )
    assert run("detect", path, "--engine", "fake", "-q", fake=False).err == ""
    assert run("detect", path, "--engine", "fake", "-w", "embedded", fake=False).err == ""
    assert run("detect", path).err == ""  # other weights


def test_classes_that_the_embedded_weights_were_not_taught_are_told_of(
    run: Run, picture: Picture
) -> None:
    chosen = ["detect", picture(), "--engine", "fake", "--weights", "embedded", "--classes"]
    (line,) = run(*chosen, "person,dog", fake=False).err.splitlines()
    assert line.startswith("note: the embedded weights find none of person, dog; they know car,")
    assert run(*chosen, "person,car", fake=False).err == ""
    assert run(*chosen, "person", "-q", fake=False).err == ""
    assert run("detect", picture(), "--classes", "person").err == ""  # other weights


def test_verbose_says_what_runs_and_how_long(run: Run, picture: Picture) -> None:
    result = run("detect", picture(), "-v")
    model, time = result.err.splitlines()
    assert model.startswith("model: fake.onnx, fake, fp32 (")
    assert "), device cpu, threads " in model
    assert time.startswith("time: ")


def test_a_place_that_cannot_be_written_is_bad_usage(
    run: Run, picture: Picture, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    result = run("detect", picture(), "--save", tmp_path / "file" / "drawn")
    assert result.code == 2
    assert "--save" in result.err

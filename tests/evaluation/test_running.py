"""Runs over a data set: boxes unclipped, missing images told apart, a kill that costs nothing."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage

from fake_engine import FakeEngine
from fake_network import constant_heads, fake_onnx
from small_dataset import dataset as made_dataset
from small_dataset import document, written
from ssd_resnet34.contract import COCO
from ssd_resnet34.errors import HeadsError, SessionError, UnreadableFile, UsageError
from ssd_resnet34.evaluation.dataset import Dataset, read
from ssd_resnet34.evaluation.heads import HeadFiles
from ssd_resnet34.evaluation.journal import Journal
from ssd_resnet34.evaluation.running import (
    Done,
    Heads,
    Network,
    Resize,
    Run,
    Settings,
    check_files,
    find,
    journal_key,
    resized_by_pillow,
    run,
)
from ssd_resnet34.model import SSDResNet34
from ssd_resnet34.runtime import session
from ssd_resnet34.vision.images import Image, decode

COUNT = 6


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def network(tmp_path: Path, engine: FakeEngine) -> Iterator[Callable[..., Network]]:
    """``network(resize="pillow")`` over images of different brightness in ``tmp_path``."""
    pictures(tmp_path)
    model = SSDResNet34(fake_onnx())
    with session.create(model, engine=engine) as opened:
        yield lambda **options: Network(model, opened, tmp_path, **options)


def pictures(folder: Path, count: int = COUNT) -> None:
    for n in range(1, count + 1):
        pixels = np.full((48, 64, 3), 40 * n, np.uint8)
        cv2.imwrite(str(folder / f"{n:06d}.jpg"), pixels)


def dataset(folder: Path, count: int = COUNT) -> Dataset:
    return made_dataset(folder, images=count, width=64, height=48)


DEFAULTS = Settings()


def once(heads: Heads, data: Dataset, settings: Settings = DEFAULTS, **options: Any) -> Run:
    with Journal(journal_key(heads, data, settings)) as journal:
        return run(heads, data, journal, settings, **options)


def test_every_image_has_its_detections_in_order(
    tmp_path: Path, network: Callable[..., Network]
) -> None:
    data = dataset(tmp_path)
    seen: list[Done] = []
    made = once(network(), data, on_image=seen.append)
    assert tuple(made.detections) == data.ids()
    assert [done.entry["id"] for done in seen] == list(data.ids())
    for found in made.detections.values():
        assert sorted(found.labels) == ["car", "dog", "person"]
    assert (made.refused, made.resized, made.resumed) == ((), {}, 0)
    results = made.results()
    assert len(results) == 3 * COUNT
    assert {one["category_id"] for one in results} == {1, 3, 18}


def test_boxes_are_not_clipped(tmp_path: Path) -> None:
    """A prior at the border reaches outside the image, and so does its detection."""
    pictures(tmp_path, 1)
    engine = FakeEngine([(14_000, 1), (15_058, 1)])
    model = SSDResNet34(fake_onnx())
    with session.create(model, engine=engine) as opened:
        made = once(Network(model, opened, tmp_path), dataset(tmp_path, 1))
    boxes = made.detections[1].boxes
    assert boxes.min() < 0


def test_settings_reach_the_selection(tmp_path: Path, network: Callable[..., Network]) -> None:
    data = dataset(tmp_path, 1)
    assert len(once(network(), data, Settings(top_k=2)).results()) == 2
    assert once(network(), data, Settings(score_threshold=0.999)).results() == []
    with pytest.raises(UsageError, match="score_threshold"):
        once(network(), data, Settings(score_threshold=2))


def test_missing_and_damaged_images_are_told_apart_from_empty_ones(
    tmp_path: Path, network: Callable[..., Network]
) -> None:
    source = network()
    (tmp_path / "000002.jpg").unlink()
    (tmp_path / "000004.jpg").write_bytes(b"text")
    made = once(source, dataset(tmp_path))
    assert tuple(made.detections) == (1, 3, 5, 6)
    codes = {entry["file_name"]: error.code for entry, error in made.refused}
    assert codes == {"000002.jpg": "unreadable_file", "000004.jpg": "unsupported_image"}


def test_another_size_than_the_annotations_is_told(
    tmp_path: Path, network: Callable[..., Network]
) -> None:
    data = made_dataset(tmp_path, images=2, width=64, height=99)
    assert once(network(), data).resized == {"000001.jpg": (64, 48), "000002.jpg": (64, 48)}


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from fake_engine import FakeEngine
from fake_network import fake_onnx
from ssd_resnet34 import SSDResNet34, session
from ssd_resnet34.evaluation.dataset import read
from ssd_resnet34.evaluation.journal import Journal
from ssd_resnet34.evaluation.running import Network, Settings, journal_key, run

folder = Path({folder!r})
model, data, settings = SSDResNet34(fake_onnx()), read(folder / "instances.json"), Settings()
seen = []
def on_image(done):
    seen.append(done)
    if len(seen) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
with session.create(model, engine=FakeEngine()) as opened:
    network = Network(model, opened, folder)
    with Journal(journal_key(network, data, settings)) as journal:
        run(network, data, journal, settings, on_image=on_image)
"""


def test_a_killed_run_goes_on_and_ends_as_if_never_killed(
    tmp_path: Path,
    network: Callable[..., Network],
    engine: FakeEngine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = dataset(tmp_path)
    monkeypatch.setenv("SSD_RESNET34_CACHE", str(tmp_path / "uninterrupted"))
    uninterrupted = once(network(), data)
    assert len(engine.runs) == COUNT
    monkeypatch.setenv("SSD_RESNET34_CACHE", str(tmp_path / "killed"))
    script = KILLED.format(tests=str(Path(__file__).parents[1]), folder=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", script], check=False)
    assert done.returncode == -signal.SIGKILL
    engine.runs.clear()
    resumed = once(network(), data)
    assert 3 <= resumed.resumed <= COUNT  # those of the killed run, told of or not yet
    assert len(engine.runs) == COUNT - resumed.resumed
    assert resumed.detections == uninterrupted.detections
    assert resumed.results() == uninterrupted.results()


def test_other_settings_images_or_models_are_other_runs(
    tmp_path: Path, network: Callable[..., Network]
) -> None:
    source, data = network(), dataset(tmp_path)
    once(source, data)
    assert once(source, data).resumed == COUNT
    assert once(source, data, Settings(nms="mlperf")).resumed == 0
    assert once(source, dataset(tmp_path, 2)).resumed == 0
    assert once(source, made_dataset(tmp_path, images=COUNT, width=60, height=48)).resumed == 0
    assert once(network(resize="pillow"), data).resumed == 0


def test_a_file_that_changed_is_run_again(tmp_path: Path, network: Callable[..., Network]) -> None:
    source, data = network(), dataset(tmp_path)
    before = once(source, data)
    cv2.imwrite(str(tmp_path / "000001.jpg"), np.zeros((24, 32, 3), np.uint8))
    after = once(source, data)
    assert after.resumed == COUNT - 1
    assert (before.detections[1].width, after.detections[1].width) == (64, 32)


def test_refused_images_are_tried_again(tmp_path: Path, network: Callable[..., Network]) -> None:
    source, data = network(), dataset(tmp_path)
    hidden = (tmp_path / "000002.jpg").rename(tmp_path / "hidden")
    assert len(once(source, data).refused) == 1
    hidden.rename(tmp_path / "000002.jpg")
    again = once(source, data)
    assert (again.refused, again.resumed) == ((), COUNT - 1)
    assert tuple(again.detections) == data.ids()


def test_a_network_that_fails_ends_the_run(tmp_path: Path, network: Callable[..., Network]) -> None:
    source = network()

    def fail(tensor: Any) -> Any:
        raise SessionError("out of memory")

    source.session._runner.run = fail  # type: ignore[method-assign]
    with pytest.raises(SessionError, match="out of memory"):
        once(source, dataset(tmp_path))


@pytest.mark.parametrize("resize", ["opencv", "pillow"])
def test_boxes_are_of_the_original_whatever_resizes_it(
    tmp_path: Path, network: Callable[..., Network], resize: Resize
) -> None:
    found = once(network(resize=resize), dataset(tmp_path, 1)).detections[1]
    assert (found.width, found.height) == (64, 48)
    assert found.boxes.max() < 80


def test_pillow_resizes_by_its_own_rule(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (1500, 2400, 3), np.uint8)
    square = resized_by_pillow(Image(pixels, "noise"))
    rgb = PillowImage.fromarray(pixels[..., ::-1]).resize(
        (1200, 1200), PillowImage.Resampling.BILINEAR
    )
    assert (square.pixels[..., ::-1] == np.asarray(rgb)).all()
    assert square.pixels.std() < 0.8 * cv2.resize(pixels, (1200, 1200)).std()  # it averages


def test_kept_heads_give_what_the_network_gives(
    tmp_path: Path, network: Callable[..., Network]
) -> None:
    source, data = network(), dataset(tmp_path, 2)
    for entry in data.images:
        outputs = source.read(entry, source.find(entry))
        np.savez(tmp_path / f"{entry['file_name'][:-4]}.npz", *outputs)
    kept = once(HeadFiles(tmp_path, COCO, "kept"), data)
    for image, found in once(source, data).detections.items():
        assert kept.detections[image].to_coco(image) == found.to_coco(image)


def test_heads_of_another_network_end_the_run(tmp_path: Path) -> None:
    pictures(tmp_path, 1)
    heads = constant_heads()
    np.savez(tmp_path / "000001.npz", *heads[6:], *heads[:6])
    with pytest.raises(HeadsError, match=r"000001\.npz"):
        once(HeadFiles(tmp_path), dataset(tmp_path, 1))


def test_heads_that_are_not_finite_name_their_image(tmp_path: Path) -> None:
    heads = constant_heads()
    heads[3][0, 0, 0, 0] = np.nan
    np.savez(tmp_path / "000001.npz", *heads)
    with pytest.raises(HeadsError, match=r"000001\.npz: outputs: cls_3 has NaN"):
        once(HeadFiles(tmp_path), dataset(tmp_path, 1))


def test_names_do_not_lead_out_of_the_folder(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "secret.jpg").touch()
    for name in ("../secret.jpg", str(tmp_path / "secret.jpg")):
        with pytest.raises(UnreadableFile, match=r"inside/secret\.jpg: missing"):
            find(inside, name)


def test_a_folder_without_any_of_the_images_is_refused_at_once(tmp_path: Path) -> None:
    data = dataset(tmp_path)
    for nothing in ("nothing", "n" * 300):
        with pytest.raises(UsageError, match="no such folder"):
            check_files(lambda entry: find(tmp_path, entry["file_name"]), tmp_path / nothing, data)
    with pytest.raises(UsageError, match="has none of the 6 images"):
        check_files(lambda entry: find(tmp_path, entry["file_name"]), tmp_path, data)
    pictures(tmp_path, 1)
    check_files(lambda entry: find(tmp_path, entry["file_name"]), tmp_path, data)
    assert decode(find(tmp_path, "any/folder/000001.jpg")).width == 64


@pytest.mark.parametrize(
    ("first", "second", "looked_for"),
    [("a/1.jpg", "b/1.jpg", "1.jpg"), ("1.jpg", "1.png", "1.npz"), ("x\n/1.jpg", "1.jpg", "1.jpg")],
)
def test_one_file_is_not_taken_for_two_images(
    tmp_path: Path, first: str, second: str, looked_for: str
) -> None:
    content = document(images=2)
    for entry, name in zip(content["images"], (first, second), strict=True):
        entry["file_name"] = name
    data = read(written(tmp_path, content))
    (tmp_path / looked_for).touch()
    source = HeadFiles(tmp_path) if looked_for.endswith(".npz") else None
    look = source.find if source else lambda entry: find(tmp_path, entry["file_name"])
    with pytest.raises(UsageError, match=r"1\.(jpg|npz): would be taken for .* and for .*1\."):
        check_files(look, tmp_path, data)

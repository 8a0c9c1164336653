"""What rounding costs, on networks whose difference is known."""

import json
import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fake_engine import FakeEngine, FakeRunner
from fake_network import fake_onnx
from ssd_resnet34 import SSDResNet34, session
from ssd_resnet34.errors import CorruptImage, ImageError, UsageError
from ssd_resnet34.evaluation import fidelity
from ssd_resnet34.evaluation.dataset import read
from ssd_resnet34.evaluation.fidelity import Reference, decibel, measure
from ssd_resnet34.runtime.engines import CompileRequest
from ssd_resnet34.vision.images import Image


class Shifted(FakeEngine):
    """Every box head a constant too large."""

    name = "shifted"

    def compile(self, model: bytes, request: CompileRequest) -> FakeRunner:
        class Runner(FakeRunner):
            def run(self, tensor: Any) -> Any:
                heads = super().run(tensor)
                return [*heads[:6], *(head + np.float32(0.5) for head in heads[6:])]

        return Runner(self, request)


def grey(shade: int, name: str = "") -> Image:
    return Image(np.full((600, 800, 3), shade, np.uint8), name)


@pytest.fixture
def model() -> SSDResNet34:
    return SSDResNet34(fake_onnx(), "fp32")


Opened = Callable[[Callable[[], FakeEngine]], session.Session]


@pytest.fixture
def opened(model: SSDResNet34) -> Iterator[Opened]:
    """``opened(engine)``: a session of the model."""
    with ExitStack() as stack:
        yield lambda engine: stack.enter_context(session.create(model, engine))


def test_the_same_network_agrees_without_noise(model: SSDResNet34, opened: Opened) -> None:
    float_one = Reference(model, opened(FakeEngine))
    found = measure(float_one, opened(FakeEngine), [grey(40), grey(200)])
    assert found.images == 2
    assert found.agreement.share == 1
    assert found.agreement.reference == 2 * 3
    assert found.agreement.box_shift == 0
    assert all(value == math.inf for value in found.sqnr.values())
    assert found.ap is None


def test_a_shift_of_the_box_heads_is_measured(model: SSDResNet34, opened: Opened) -> None:
    found = measure(Reference(model, opened(FakeEngine)), opened(Shifted), [grey(100)])
    assert found.sqnr["cls_0"] == math.inf
    assert found.sqnr["loc_0"] == -math.inf  # the reference's box heads are 0: no signal
    assert found.agreement.box_shift > 1
    assert found.agreement.score_shift == 0
    assert found.agreement.share == 1


def test_refused_images_are_told_and_left_out(model: SSDResNet34, opened: Opened) -> None:
    told: list[ImageError | None] = []
    refused = CorruptImage("bad.jpg: damaged")
    images = [refused, grey(9), b""]
    found = measure(
        Reference(model, opened(FakeEngine)), opened(FakeEngine), images, on_image=told.append
    )
    assert found.images == 1
    assert told[0] is refused
    assert told[1] is None
    assert isinstance(told[2], ImageError)


def test_float_runs_once_an_image_however_many_candidates_follow(
    model: SSDResNet34, opened: Opened
) -> None:
    fp32, rival, candidate = FakeEngine(), FakeEngine(), FakeEngine()
    reference = Reference(model, opened(lambda: fp32), opened(lambda: rival))
    images = [grey(9), b"", grey(120)]
    measure(reference, opened(lambda: candidate), images)
    warm_up_and_two_images = [1, 1, 1]
    assert fp32.runs == rival.runs == candidate.runs == warm_up_and_two_images
    after = measure(reference, opened(Shifted), images)
    assert fp32.runs == rival.runs == warm_up_and_two_images
    alone = measure(Reference(model, opened(FakeEngine)), opened(Shifted), images)
    assert (after.images, after.sqnr, after.agreement) == (2, alone.sqnr, alone.agreement)


class Clock:
    """Tells the time that the engines take, and no other."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def engine(self, *seconds: float) -> type[FakeEngine]:
        """An engine whose runs take so long in turn."""
        clock, takes = self, iter(seconds)

        class Slow(FakeEngine):
            def compile(self, model: bytes, request: CompileRequest) -> FakeRunner:
                class Runner(FakeRunner):
                    def run(self, tensor: Any) -> Any:
                        clock.now += next(takes)
                        return super().run(tensor)

                return Runner(self, request)

        return Slow


def test_speed_is_the_median_of_candidate_over_rival_image_by_image(
    model: SSDResNet34, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(fidelity, "time", clock)
    fp32 = opened(clock.engine(90, 8, 8, 8))
    rival = opened(clock.engine(90, 4, 6, 5))
    reference = Reference(model, fp32, rival)
    images = [grey(shade) for shade in (9, 99, 199)]
    found = measure(reference, opened(clock.engine(90, 2, 2, 2)), images)
    assert found.speed == pytest.approx(2 / 5)
    assert found.seconds == (2.0, 5.0)
    slower = measure(reference, opened(clock.engine(90, 8, 6, 5)), images)
    assert slower.speed == pytest.approx(1)
    assert slower.seconds == (6.0, 5.0)


def test_noise_is_that_of_the_first_images_whose_heads_are_kept(
    model: SSDResNet34, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fidelity, "HEADS_KEPT", 1)

    class SecondIsWorse(FakeEngine):
        def compile(self, model: bytes, request: CompileRequest) -> FakeRunner:
            class Runner(FakeRunner):
                def run(self, tensor: Any) -> Any:
                    heads = super().run(tensor)
                    return [head + (len(self.engine.runs) > 2) for head in heads]

            return Runner(self, request)

    found = measure(
        Reference(model, opened(FakeEngine)), opened(SecondIsWorse), [grey(9), grey(99)]
    )
    assert found.images == 2
    assert set(found.sqnr.values()) == {math.inf}
    assert found.agreement.box_shift > 1  # the second image counts here


def objects(model: SSDResNet34, running: session.Session) -> dict[str, Any]:
    """Annotations that are what a session finds in ``a.jpg``; ``b.jpg`` has none."""
    (wanted,) = model.postprocess(running.run(model.preprocess(grey(9))))
    annotations = [
        {
            "id": n + 1,
            "image_id": 5,
            "category_id": int(category),
            "bbox": [float(v) for v in (*box[:2], *(box[2:] - box[:2]))],
            "area": float(np.prod(box[2:] - box[:2])),
            "iscrowd": 0,
        }
        for n, (box, category) in enumerate(zip(wanted.boxes, wanted.category_ids, strict=True))
    ]
    labels = sorted(set(zip(wanted.category_ids.tolist(), wanted.labels, strict=True)))
    size = {"width": 800, "height": 600}
    return {
        "images": [
            {"id": 5, "file_name": "in/a.jpg"} | size,
            {"id": 6, "file_name": "in/b.jpg"} | size,
        ],
        "annotations": annotations,
        "categories": [{"id": number, "name": label} for number, label in labels],
    }


def test_average_precision_counts_the_annotated_images(
    model: SSDResNet34, opened: Opened, tmp_path: Path
) -> None:
    one, other = opened(FakeEngine), opened(Shifted)
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(objects(model, one)))
    pictures = [grey(9, "photos/a.jpg"), grey(9, "photos/unknown.jpg")]
    found = measure(Reference(model, one), other, pictures, truth=read(path))
    assert found.images == 2
    assert found.ap is not None
    assert found.ap50 is not None
    assert found.ap[0] == pytest.approx(1)
    assert found.ap50[0] == pytest.approx(1)
    assert found.ap[1] < found.ap[0]


def test_an_image_that_is_given_twice_counts_once(
    model: SSDResNet34, opened: Opened, tmp_path: Path
) -> None:
    one = opened(FakeEngine)
    document = objects(model, one)
    document["annotations"] += [
        entry | {"id": entry["id"] + 100, "image_id": 6} for entry in document["annotations"]
    ]
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(document))
    pictures = [grey(9, "a.jpg"), grey(9, "photos/a.jpg"), grey(9, "b.jpg")]
    found = measure(Reference(model, one), one, pictures, truth=read(path))
    assert found.images == 3
    assert found.ap is not None
    assert found.ap[0] == pytest.approx(1)


@pytest.mark.parametrize("names", [["b.jpg"], ["photos/unknown.jpg"]])
def test_annotations_that_say_nothing_of_the_images_are_refused(
    model: SSDResNet34, opened: Opened, tmp_path: Path, names: list[str]
) -> None:
    one = opened(FakeEngine)
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(objects(model, one)))
    pictures = [grey(9, name) for name in names]
    with pytest.raises(UsageError, match=r"truth\.json: has no object in the images.*--check"):
        measure(Reference(model, one), one, pictures, truth=read(path))


def test_annotations_of_other_categories_are_refused(
    model: SSDResNet34, opened: Opened, tmp_path: Path
) -> None:
    one = opened(FakeEngine)
    document = objects(model, one)
    for category in document["categories"]:
        category["name"] = f"no {category['name']}"
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(document))
    with pytest.raises(UsageError, match="categories are not the model's"):
        measure(Reference(model, one), one, [grey(9, "a.jpg")], truth=read(path))


@pytest.mark.parametrize(
    ("signal", "noise", "wanted"), [(100, 1, 20), (1, 0, math.inf), (0, 1, -math.inf)]
)
def test_decibels(signal: float, noise: float, wanted: float) -> None:
    assert decibel(signal, noise) == wanted

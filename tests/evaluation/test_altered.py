"""Causes at the input, on pictures drawn for them and an engine that sees what it is told to see.

AP with each cause is computed by hand: the engine reports an object or not, or a box whose IoU with
the truth is known.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as PillowImage

from fake_network import fake_onnx
from planted_heads import Thing
from seeing_engine import See, SeeingEngine
from small_dataset import dataset as made_dataset
from ssd_resnet34.contract import COCO
from ssd_resnet34.errors import EngineUnavailable, UnreadableFile
from ssd_resnet34.evaluation.altered import Altered, prepared, scaled
from ssd_resnet34.evaluation.causes import CAUSES, causes_of
from ssd_resnet34.evaluation.collecting import collect, collection_key
from ssd_resnet34.evaluation.dataset import Dataset
from ssd_resnet34.evaluation.explaining import (
    Explanation,
    Scorer,
    collector_for,
    explain,
    explain_inputs,
)
from ssd_resnet34.evaluation.journal import Journal
from ssd_resnet34.evaluation.recipe import REFERENCE, Recipe
from ssd_resnet34.evaluation.running import Network, Resize
from ssd_resnet34.model import SSDResNet34
from ssd_resnet34.runtime import session
from ssd_resnet34.runtime.session import Session
from ssd_resnet34.vision.images import Image
from ssd_resnet34.vision.preprocess import preprocess

Pixels = NDArray[np.uint8]

PERSON = Thing((0.25, 0.25, 0.75, 0.75))


def plain(width: int, height: int, bgr: tuple[int, int, int] = (0, 0, 0)) -> Pixels:
    return np.full((height, width, 3), bgr, np.uint8)


def red_plane(tensor: NDArray[np.float32]) -> NDArray[np.float64]:
    """As bytes again, if it was normalised."""
    plane: NDArray[np.float64] = (tensor[0].astype(np.float64) * COCO.std[0] + COCO.mean[0]) * 255
    return plane


def seen_if(condition: Callable[[NDArray[np.float32], str], bool]) -> See:
    return lambda tensor, precision: [PERSON] if condition(tensor, precision) else []


def bright_part(tensor: NDArray[np.float32], _: str) -> list[Thing]:
    rows, columns = np.nonzero(red_plane(tensor) > 200)
    if not rows.size:
        return []
    left, right = columns.min() / 1200, (columns.max() + 1) / 1200
    top, bottom = rows.min() / 1200, (rows.max() + 1) / 1200
    return [Thing((left, top, right, bottom))]


STRIPES = plain(3600, 12)
"""OpenCV samples a third of the columns, those at 1, 4, 7 …: the bright ones."""
STRIPES[:, 1::3] = 255

RAMP = plain(8, 8)
"""Enlarged, it has values between 100 and 101, which 8 bits do not."""
RAMP[:, :4], RAMP[:, 4:] = 100, 101

BAR = plain(400, 312)
"""The bar is as high as the picture. In a letterbox it is 312/400 of the height: IoU 0.78."""
BAR[:, 100:300] = 255

BLACK_AND_WHITE = plain(8, 8)
BLACK_AND_WHITE[:4] = 255


@dataclass(frozen=True)
class Case:
    key: str
    before: float
    after: float
    picture: Pixels
    see: See
    bbox: tuple[float, float, float, float] = (0.25, 0.25, 0.5, 0.5)
    """Of the truth, fractions of the picture."""
    resize: Resize = "opencv"
    precision: str = "fp32"


def ranges(low: float, high: float) -> See:
    return seen_if(lambda tensor, _: bool(low <= tensor.min() and tensor.max() <= high))


def fractional(tensor: NDArray[np.float32], _: str) -> bool:
    values = red_plane(tensor)
    return bool((np.abs(values - np.round(values)) > 0.1).any())


RED = plain(8, 8, (0, 0, 255))

CASES = [
    Case("bgr", 1, 0, RED, seen_if(lambda x, _: bool(x[0].mean() > x[2].mean()))),
    Case("bgr", 0, 1, RED, seen_if(lambda x, _: bool(x[0].mean() < x[2].mean()))),
    Case("no-mean-std", 0, 1, BLACK_AND_WHITE, ranges(0, 1)),
    Case("no-mean-std", 1, 0, BLACK_AND_WHITE, seen_if(lambda x, _: bool(x.min() < -1))),
    Case("no-scaling", 0, 1, BLACK_AND_WHITE, seen_if(lambda x, _: bool(x.max() > 254.9))),
    Case("no-scaling", 1, 0, BLACK_AND_WHITE, seen_if(lambda x, _: bool(x.max() < 3))),
    Case("resize-uint8", 1, 0, RAMP, seen_if(fractional)),
    Case("resize-pillow", 1, 0, STRIPES, seen_if(lambda x, _: bool(red_plane(x).mean() > 250))),
    Case("resize-opencv", 0, 1, STRIPES, seen_if(lambda x, _: bool(red_plane(x).mean() > 250)),
         resize="pillow"),
    Case("letterbox", 1, 0.6, BAR, bright_part, (0.25, 0, 0.5, 1)),
    Case("bf16", 0, 1, BAR, seen_if(lambda _, precision: precision == "bf16")),
    Case("int8", 1, 0, BAR, seen_if(lambda _, precision: precision != "int8")),
    Case("fp32", 0, 1, BAR, seen_if(lambda _, precision: precision == "fp32"), precision="bf16"),
]  # fmt: skip


def opener(engine: SeeingEngine) -> Callable[[str], AbstractContextManager[Session]]:
    def opened(precision: str) -> Session:
        artifact = fake_onnx(precision="int8") if precision == "int8" else fake_onnx()
        return session.create(artifact, engine=engine, precision=precision)

    return opened


def truth_in(folder: Path, picture: Pixels, bbox: tuple[float, float, float, float]) -> Dataset:
    """One image, losslessly."""
    height, width = picture.shape[:2]
    (folder / "images").mkdir()
    cv2.imwrite(str(folder / "images" / "000001.png"), picture)
    left, top, right, bottom = bbox
    box = (left * width, top * height, right * width, bottom * height)
    data = made_dataset(folder, images=1, boxes=[(1, 1, box)], width=width, height=height)
    return replace(data, images=({**data.images[0], "file_name": "000001.png"},))


def explained(folder: Path, case: Case, engine: SeeingEngine) -> Explanation:
    data = truth_in(folder, case.picture, case.bbox)
    base = Recipe(resize=case.resize, precision=case.precision)
    with opener(engine)(case.precision) as opened:
        network = Network(SSDResNet34(fake_onnx()), opened, folder / "images", resize=case.resize)
        collector = collector_for(COCO, base)
        with Journal(collection_key(network, data, collector)) as journal:
            collect(network, data.images, collector, journal)
        scorer = Scorer(collector, data, [1])
        return explain_inputs(explain(scorer), network, scorer, data.ids(), opener(engine))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.key}-{case.after}")
def test_a_cause_at_the_input_changes_what_was_computed_by_hand(tmp_path: Path, case: Case) -> None:
    found = explained(tmp_path, case, SeeingEngine(case.see))
    assert found.base.ap == pytest.approx(case.before, abs=1e-9)
    effects = {one.causes[0].key: one for one in found.effects}
    effect = effects[case.key]
    assert effect.ap == pytest.approx(case.after, abs=1e-9)
    assert effect.change == pytest.approx(case.after - case.before, abs=1e-9)
    assert effect.sampled
    assert not effects["clipped"].sampled


def test_every_cause_at_the_input_has_a_case_but_that_of_gpus() -> None:
    keys = {one.key for one in CAUSES if one.kind == "input"}
    assert keys - {case.key for case in CASES} == {"fp16"}


def test_a_precision_that_cannot_be_had_is_told_and_the_rest_goes_on(tmp_path: Path) -> None:
    case = CASES[0]
    found = explained(tmp_path, case, SeeingEngine(case.see))
    assert set(found.skipped) == {"fp16"}
    assert "fp16" in found.skipped["fp16"]
    tried = {one.causes[0].key for one in found.effects}
    assert {one.key for one in causes_of(REFERENCE, "input")} - tried == {"fp16"}


def test_the_network_runs_once_for_all_causes_at_the_heads_and_once_for_each_other(
    tmp_path: Path,
) -> None:
    engine = SeeingEngine(CASES[0].see)
    found = explained(tmp_path, CASES[0], engine)
    assert len([one for one in found.effects if not one.sampled]) > 15
    assert engine.runs == 1 + len([one for one in found.effects if one.sampled])


def test_what_is_not_altered_is_the_network_itself(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (30, 50, 3), np.uint8)
    image = Image(pixels, "noise")
    assert prepared(image, REFERENCE) is image
    assert scaled(COCO, "normalised") is COCO
    data = truth_in(tmp_path, pixels, CASES[0].bbox)
    with opener(SeeingEngine(bright_part))("fp32") as opened:
        network = Network(SSDResNet34(fake_onnx()), opened, tmp_path / "images")
        altered = Altered(network, REFERENCE)
        entry = data.images[0]
        outputs = [one.read(entry, one.find(entry)) for one in (network, altered)]
        assert all((a == b).all() for a, b in zip(*outputs, strict=True))
        assert outputs[0].contexts == outputs[1].contexts
        assert (altered.contract, altered.name) == (network.contract, network.name)
        with pytest.raises(UnreadableFile):
            altered.find({**entry, "file_name": "nothing.png"})


def test_every_recipe_is_another_key(tmp_path: Path) -> None:
    """So that none reads the journal of another."""
    with opener(SeeingEngine(bright_part))("fp32") as opened:
        network = Network(SSDResNet34(fake_onnx()), opened, tmp_path)
        recipes = [
            Recipe(),
            Recipe(resize="letterbox"),
            Recipe(colour="bgr"),
            Recipe(scaling="bytes"),
        ]
        keys = [str(Altered(network, recipe).key) for recipe in recipes]
        with opener(SeeingEngine(bright_part))("bf16") as other:
            keys.append(str(Altered(network, REFERENCE, other).key))
    assert len(set(keys)) == len(keys)


def test_a_letterbox_is_1200_pixels_whatever_the_picture_is() -> None:
    for width, height in ((1, 4000), (4000, 1), (1200, 1200), (33, 17)):
        square = prepared(Image(plain(width, height, (9, 9, 9))), Recipe(resize="letterbox"))
        assert square.pixels.shape == (1200, 1200, 3)
        inside = (square.pixels == 9).all(axis=2)
        rows, columns = inside.any(axis=1).sum(), inside.any(axis=0).sum()
        assert max(rows, columns) == 1200
        assert min(rows, columns) == max(1, round(1200 * min(width, height) / max(width, height)))
        assert (square.pixels[~inside] == 114).all()
        for axis, side in ((1, rows), (0, columns)):  # in the middle, whichever side is short
            assert int(inside.any(axis=axis).argmax()) == (1200 - side) // 2


def test_pillow_and_8_bits_are_those_of_pillow_and_opencv() -> None:
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (70, 90, 3), np.uint8)
    found = prepared(Image(pixels), Recipe(resize="opencv-uint8")).pixels
    assert (found == cv2.resize(pixels, (1200, 1200), interpolation=cv2.INTER_LINEAR)).all()
    found = prepared(Image(pixels), Recipe(resize="pillow")).pixels
    pillow = PillowImage.fromarray(pixels).resize((1200, 1200), PillowImage.Resampling.BILINEAR)
    assert (found == np.asarray(pillow)).all()


def test_scalings_are_those_that_their_names_say() -> None:
    pixels = plain(3, 3, (10, 20, 30))
    for scaling, wanted in (("fractions", 30 / 255), ("bytes", 30)):
        tensor, _ = preprocess(Image(pixels), scaled(COCO, scaling))  # type: ignore[arg-type]
        assert tensor[0, 0].mean() == pytest.approx(wanted, rel=1e-5)


def test_an_engine_that_is_missing_is_told_too(tmp_path: Path) -> None:
    case = CASES[0]
    data = truth_in(tmp_path, case.picture, case.bbox)
    engine = SeeingEngine(case.see)

    def none(_: str) -> AbstractContextManager[Session]:
        raise EngineUnavailable("no such engine; install it")

    with opener(engine)("fp32") as opened:
        network = Network(SSDResNet34(fake_onnx()), opened, tmp_path / "images")
        collector = collector_for(COCO, REFERENCE)
        with Journal(collection_key(network, data, collector)) as journal:
            collect(network, data.images, collector, journal)
        scorer = Scorer(collector, data, [1])
        found = explain_inputs(explain(scorer), network, scorer, data.ids(), none)
    assert set(found.skipped) == {"bf16", "fp16", "int8"}
    assert {"bgr", "letterbox"} <= {one.causes[0].key for one in found.effects}

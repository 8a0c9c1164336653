"""One run for many recipes: the same detections as each recipe's own run, kept small, resumable."""

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from fake_engine import FakeEngine
from fake_network import fake_onnx
from planted_heads import Thing, planted
from small_dataset import dataset as made_dataset
from small_network import CONTRACT
from ssd_resnet34.contract import COCO, COCO_TENSORFLOW
from ssd_resnet34.errors import UsageError
from ssd_resnet34.evaluation.causes import BY_KEY, CAUSES, applied, causes_of
from ssd_resnet34.evaluation.collecting import Collector, collect, collection_key
from ssd_resnet34.evaluation.dataset import Dataset
from ssd_resnet34.evaluation.explaining import collector_for
from ssd_resnet34.evaluation.journal import Journal
from ssd_resnet34.evaluation.recipe import (
    NO_CLASS,
    REFERENCE,
    Recipe,
    class_ids,
    decoded_as,
    rewritten,
    selection,
    settings,
)
from ssd_resnet34.evaluation.running import Network, Run, Settings, journal_key, run
from ssd_resnet34.model import SSDResNet34
from ssd_resnet34.runtime import session
from ssd_resnet34.runtime.session import Outputs
from ssd_resnet34.vision.postprocess import postprocess
from ssd_resnet34.vision.preprocess import ImageContext

COUNT = 4


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def network(tmp_path: Path, engine: FakeEngine) -> Iterator[Network]:
    for n in range(1, COUNT + 1):
        cv2.imwrite(str(tmp_path / f"{n:06d}.jpg"), np.full((48, 64, 3), 40 * n, np.uint8))
    with session.create(fake_onnx(), engine=engine) as opened:
        yield Network(SSDResNet34(fake_onnx()), opened, tmp_path)


def dataset(folder: Path, count: int = COUNT) -> Dataset:
    return made_dataset(folder, images=count, width=64, height=48)


def once(network: Network, data: Dataset, **options: Any) -> tuple[Collector, Run]:
    collector = collector_for(network.contract, REFERENCE, network.name)
    with Journal(collection_key(network, data, collector)) as journal:
        return collector, collect(network, data.images, collector, journal, **options)


def random_heads(seed: int) -> Outputs:
    rng = np.random.default_rng(seed)
    heads = [
        rng.normal(0, 1, (1, *shape)).astype(np.float32)
        for shape in CONTRACT.head_shapes().values()
    ]
    return Outputs(heads, (ImageContext(333, 500, "noise"),))


RECIPES = st.builds(
    Recipe,
    score_threshold=st.sampled_from([0.01, 0.05, 0.3, 0.5, 0.6]),
    iou_threshold=st.sampled_from([0.45, 0.5]),
    pre_nms_top_k=st.sampled_from([3, 20, 200]),
    top_k=st.sampled_from([1, 7, 30, 200]),
    nms=st.sampled_from(["exact", "mlperf"]),
    priors=st.sampled_from(["own", "other"]),
)


@hypothesis_settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.lists(RECIPES, min_size=1, max_size=4), RECIPES)
def test_what_a_collector_gives_is_what_postprocess_gives(
    seed: int, recipes: list[Recipe], base: Recipe
) -> None:
    """Whether a recipe had a selection of its own, or was cut out of another's."""
    heads = random_heads(seed)
    collector = Collector(CONTRACT, base, recipes, "noisy")
    collector.add(5, json.loads(json.dumps(collector.select(heads))))
    for recipe in (base, *recipes):
        assert collector.holds(recipe)
        (wanted,) = postprocess(
            heads,
            None,
            **asdict(settings(recipe)),
            contract=decoded_as(recipe, CONTRACT),
            model="noisy",
        )
        assert collector.detections(5, recipe) == wanted


def test_higher_thresholds_and_fewer_boxes_need_no_selection_of_their_own() -> None:
    recipes = [applied([BY_KEY[key]], REFERENCE) for key in ("threshold-0.5", "top-100", "clipped")]
    assert Collector(COCO, REFERENCE, recipes).selections == (selection(REFERENCE, REFERENCE),)
    lower = applied([BY_KEY["threshold-0.01"]], REFERENCE)
    assert len(Collector(COCO, REFERENCE, [*recipes, lower]).selections) == 2


def test_a_collector_says_what_it_does_not_hold() -> None:
    collector = collector_for(COCO, REFERENCE)
    for cause in causes_of(REFERENCE, "heads"):
        assert collector.holds(applied([cause], REFERENCE)), cause.key
    both = [BY_KEY["iou-without-clamp"], BY_KEY["other-priors"]]
    assert not collector.holds(applied(both, REFERENCE))


def test_a_detection_takes_22_bytes() -> None:
    collector = collector_for(COCO, REFERENCE)
    things = [Thing((0.1 * n, 0.1, 0.1 * n + 0.05, 0.2)) for n in range(8)]
    collector.add(1, collector.select(planted(things)))
    kept = collector._kept[1].found
    assert [len(one) for one in kept] == [22 * 8] * len(collector.selections)
    assert len(kept) <= 8


def test_a_part_holds_its_images_alone() -> None:
    collector = collector_for(COCO, REFERENCE)
    for n in range(1, 4):
        collector.add(n, collector.select(planted([Thing((0.1, 0.1, 0.2, 0.2), index=n)])))
    part = collector.only([3, 1])
    assert part.image_ids == (3, 1)
    assert part.selections == collector.selections
    recipe = Recipe(nms="mlperf")
    assert part.results(recipe, [3]) == collector.results(recipe, [3])
    assert collector.image_ids == (1, 2, 3)


def test_settings_out_of_range_are_refused_before_the_run() -> None:
    with pytest.raises(UsageError, match="score_threshold"):
        Collector(COCO, Recipe(score_threshold=2))


def test_the_run_as_it_is_is_that_of_eval(
    tmp_path: Path, network: Network, engine: FakeEngine
) -> None:
    data = dataset(tmp_path)
    _, made = once(network, data)
    assert len(engine.runs) == COUNT
    with Journal(journal_key(network, data, Settings())) as journal:
        plain = run(network, data, journal, Settings())
    assert made.detections == plain.detections
    assert made.results() == plain.results()
    assert (made.refused, made.resized, made.resumed) == ((), {}, 0)


def test_a_stopped_run_goes_on_without_the_network(
    tmp_path: Path, network: Network, engine: FakeEngine
) -> None:
    data = dataset(tmp_path)

    class Stop(Exception):
        pass

    def stop(done: Any) -> None:
        if done.entry["id"] == 2:
            raise Stop

    with pytest.raises(Stop):
        once(network, data, on_image=stop)
    before = len(engine.runs)
    collector, made = once(network, data)
    assert made.resumed >= 2
    assert len(engine.runs) - before == COUNT - made.resumed
    again, _ = once(network, data)
    for cause in causes_of(REFERENCE, "heads"):
        recipe = applied([cause], REFERENCE)
        assert collector.results(recipe, data.ids()) == again.results(recipe, data.ids())


def test_missing_images_and_other_sizes_are_told(tmp_path: Path, network: Network) -> None:
    data = dataset(tmp_path)
    (tmp_path / "000002.jpg").unlink()
    cv2.imwrite(str(tmp_path / "000003.jpg"), np.zeros((24, 32, 3), np.uint8))
    collector, made = once(network, data)
    assert [entry["id"] for entry, _ in made.refused] == [2]
    assert dict(made.resized) == {"000003.jpg": (32, 24)}
    assert collector.image_ids == (1, 3, 4)


def test_other_recipes_are_other_journals(tmp_path: Path, network: Network) -> None:
    data = dataset(tmp_path)
    keys = [
        collection_key(network, data, Collector(COCO, base, recipes))
        for base, recipes in (
            (REFERENCE, ()),
            (REFERENCE, [Recipe(nms="mlperf")]),
            (Recipe(nms="mlperf"), ()),
        )
    ]
    assert len({str(key) for key in keys}) == 3
    assert keys[0] != journal_key(network, data, Settings())


# ---------------------------------------------------------------------------------- recipes


def test_the_defaults_of_a_recipe_are_those_of_eval() -> None:
    assert settings(REFERENCE) == Settings()
    assert settings(Recipe(nms="mlperf", top_k=7, clip=True)) == Settings(nms="mlperf", top_k=7)


def test_the_other_lineage_is_the_other_one() -> None:
    other = Recipe(priors="other")
    assert decoded_as(other, COCO) == COCO_TENSORFLOW
    assert decoded_as(other, COCO_TENSORFLOW) == COCO
    assert decoded_as(REFERENCE, COCO_TENSORFLOW) is COCO_TENSORFLOW


@pytest.mark.parametrize(
    ("classes", "person", "stop_sign", "toothbrush"),
    [
        ("category_id", 1, 13, 90),
        ("index", 1, 12, 80),
        ("zero-based", 0, 11, 79),
        ("before", NO_CLASS, 11, 89),
        ("after", 2, 14, NO_CLASS),
    ],
)
def test_classes_are_numbered_as_each_mistake_numbers_them(
    classes: Any, person: int, stop_sign: int, toothbrush: int
) -> None:
    ids = class_ids(classes, COCO)
    assert ids.shape == (81,)
    assert [ids[1], ids[12], ids[80]] == [person, stop_sign, toothbrush]


def test_nothing_is_rewritten_by_the_reference_recipe() -> None:
    (found,) = postprocess(planted([Thing((-0.1, 0.2, 0.4, 0.5), 12)]), contract=COCO)
    assert rewritten(found, REFERENCE, COCO) == found


def test_every_way_of_writing_takes_an_image_without_detections() -> None:
    (nothing,) = postprocess(planted([]), contract=COCO)
    for cause in CAUSES:
        assert rewritten(nothing, applied([cause], REFERENCE), COCO).to_coco(1) == []


def test_clipping_and_another_numbering_go_together() -> None:
    (found,) = postprocess(planted([Thing((-0.1, 0.2, 0.4, 0.5), 12)]), contract=COCO)
    both = replace(REFERENCE, clip=True, classes="index")
    (written,) = rewritten(found, both, COCO).to_coco(1)
    assert written["bbox"] == pytest.approx([0, 80, 160, 120], abs=1e-3)
    assert written["category_id"] == 12

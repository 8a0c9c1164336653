"""Selection in torch operations finds what the selection on the host finds."""

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ssd_resnet34.contract import COCO, COCO_TENSORFLOW, LEVELS, Category, Contract
from ssd_resnet34.vision.detections import Detections
from ssd_resnet34.vision.postprocess import as_detections, postprocess, rules
from ssd_resnet34.vision.preprocess import ImageContext
from ssd_resnet34.vision.priors import priors
from ssd_resnet34.vision.selection import Nms
from ssd_resnet34.vision.selection import suppress as host_suppress

torch = pytest.importorskip("torch", reason="the torch extra is not installed")

from ssd_resnet34.runtime.device import selection  # noqa: E402  # needs torch

Heads = list[NDArray[np.float32]]

TWO = Contract((Category(7, "ant"), Category(9, "bee")))
CASES = (
    "typical", "crowded", "single", "empty", "diagonal", "ties", "ties_overlap", "ties_cut",
    "huge_logits", "threshold_edge", "top200", "batch2",
)  # fmt: skip
MODES: tuple[Nms, ...] = ("exact", "mlperf")


def on_device(heads: Heads, contract: Contract = COCO, **options: Any) -> list[Detections]:
    """Detections with boxes in fractions of the image, by the device's way."""
    tensors = [
        torch.from_numpy(head).to(memory_format=torch.channels_last) for head in heads
    ]  # as the network leaves them
    logits, offsets = selection.flattened(tensors, contract.num_classes)
    table = torch.from_numpy(priors(contract).copy()).double()
    found = selection.select(logits, offsets, table, rules(contract=contract, **options))
    return [as_detections(one, ImageContext(1, 1), contract, False, "") for one in found]


def on_host(heads: Heads, contract: Contract = COCO, **options: Any) -> list[Detections]:
    return postprocess(heads, [(1, 1)] * len(heads[0]), contract=contract, **options)


def assert_same(found: list[Detections], wanted: list[Detections]) -> None:
    assert [len(one) for one in found] == [len(one) for one in wanted]
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(a.indices, b.indices)
        np.testing.assert_allclose(a.scores, b.scores, rtol=0, atol=1e-6)
        np.testing.assert_allclose(a.boxes, b.boxes, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_golden_cases_agree_with_the_exact_decoder(
    golden: ModuleType, golden_npz: Callable[[str], Any], case: str
) -> None:
    wanted = golden_npz("decode_exact.npz")
    results = on_device(golden.case(case))
    assert len(results) == int(wanted[f"{case}/images"])
    for image, got in enumerate(results):
        boxes, scores, labels = (
            wanted[f"{case}/{image}/{field}"] for field in ("boxes", "scores", "labels")
        )
        assert np.array_equal(got.indices, labels)
        np.testing.assert_allclose(got.scores, scores, rtol=0, atol=1e-6)
        assert (np.abs(got.boxes - boxes) <= 1e-5 * np.maximum(1, np.abs(boxes))).all()


@pytest.mark.parametrize("nms", MODES)
@pytest.mark.parametrize("case", CASES)
def test_golden_cases_agree_with_the_host_in_both_modes(
    golden: ModuleType, case: str, nms: Nms
) -> None:
    heads = golden.case(case)
    assert_same(on_device(heads, nms=nms), on_host(heads, nms=nms))


def test_a_batch_keeps_its_images_apart(golden: ModuleType) -> None:
    cases = ("typical", "empty", "crowded", "single", "top200")
    heads = [np.concatenate(parts) for parts in zip(*map(golden.case, cases), strict=True)]
    found = on_device(heads)
    assert_same(found, on_host(heads))
    assert len(found[1]) == 0
    for case, one in zip(cases, found, strict=True):
        assert_same([one], on_device(golden.case(case)))


@pytest.mark.parametrize(
    "options",
    [
        {"score_threshold": 0.3},
        {"score_threshold": 1.0},
        {"score_threshold": {"person": 0.6, "car": 0.01}},
        {"classes": ["person", "dog"]},
        {"classes": []},
        {"iou_threshold": 0.2},
        {"iou_threshold": 0.0},
        {"pre_nms_top_k": 3},
        {"top_k": 5},
        {"pre_nms_top_k": 15130, "top_k": 100_000},
    ],
)
def test_every_argument_means_the_same(golden: ModuleType, options: Mapping[str, Any]) -> None:
    heads = golden.case("typical")
    assert_same(on_device(heads, **options), on_host(heads, **options))


def test_the_lineage_decides_about_the_priors(golden: ModuleType) -> None:
    heads = golden.case("typical")
    assert_same(on_device(heads, COCO_TENSORFLOW), on_host(heads, COCO_TENSORFLOW))


def test_a_threshold_of_zero_takes_every_positive_probability() -> None:
    heads = quiet(2)
    wanted = on_host(heads, TWO, score_threshold=0, pre_nms_top_k=5)
    found = on_device(heads, TWO, score_threshold=0, pre_nms_top_k=5)
    assert len(found[0]) > 0
    assert_same(found, wanted)


def quiet(batch: int) -> Heads:
    """Heads of two classes without any detection."""
    heads = [np.zeros((batch, *shape), np.float32) for shape in TWO.head_shapes().values()]
    for head, level in zip(heads, LEVELS, strict=False):
        head[:, : level.anchors] = 8  # the background's logits
    return heads


# Spaced so that no score lies within rounding of a threshold or of another one, unless it is equal.
LOGITS = st.integers(0, 12).map(lambda step: 4 + step * 0.77)
PLACES = st.tuples(
    st.integers(0, 2),  # image
    st.integers(1, 4),  # level, the small ones: many meet
    st.integers(1, 2),  # class
    st.integers(0, 3),  # anchor
    st.integers(0, 2),  # y
    st.integers(0, 2),  # x
    LOGITS,
    st.integers(-40, 40).map(lambda step: step / 7),  # all four offsets
)


@given(
    st.lists(PLACES, max_size=60),
    st.sampled_from(MODES),
    st.sampled_from([0.05, 0.3, {"ant": 0.9}, {"bee": 0.002}]),
    st.sampled_from([0.3, 0.5, 0.75]),
    st.sampled_from([1, 4, 200]),
    st.sampled_from([1, 7, 200]),
)
@settings(max_examples=60)
def test_random_heads_give_what_the_host_gives(
    places: list[tuple[Any, ...]],
    nms: Nms,
    score_threshold: Any,
    iou_threshold: float,
    pre_nms_top_k: int,
    top_k: int,
) -> None:
    heads = quiet(3)
    for image, level, index, anchor, y, x, logit, offset in places:
        anchors = LEVELS[level].anchors
        heads[level][image, index * anchors + anchor % anchors, y, x] = logit
        heads[6 + level][image, anchor % anchors :: anchors, y, x] += offset
    options = {
        "nms": nms,
        "score_threshold": score_threshold,
        "iou_threshold": iou_threshold,
        "pre_nms_top_k": pre_nms_top_k,
        "top_k": top_k,
    }
    assert_same(on_device(heads, TWO, **options), on_host(heads, TWO, **options))


BOXES = st.tuples(*[st.integers(0, 6)] * 2, *[st.integers(0, 5)] * 2)


@given(
    st.lists(st.lists(BOXES, max_size=25), max_size=6),
    st.sampled_from(MODES),
    st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    st.integers(1, 9),
    st.integers(1, 100),
)
@settings(max_examples=100)
def test_boxes_that_meet_edge_to_edge_are_dropped_as_on_the_host(
    groups: list[list[tuple[int, ...]]], nms: Nms, threshold: float, block: int, pairs: int
) -> None:
    """Small integers: areas of 0, an IoU of exactly the threshold; any number of blocks."""
    rows = [box for group in groups for box in group]
    corners = np.array(rows, np.float64).reshape(-1, 4)
    boxes = np.concatenate([corners[:, :2], corners[:, :2] + corners[:, 2:]], axis=1)
    numbers = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    ranks = np.concatenate([np.arange(len(group)) for group in groups] or [np.arange(0)])
    wanted = np.sort(host_suppress(boxes, numbers.astype(np.int64), threshold, nms))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selection, "_BLOCK", block)
        patch.setattr(selection, "_PAIRS", pairs)
        boxes_there, numbers_there, ranks_there = map(torch.from_numpy, (boxes, numbers, ranks))
        kept = selection.suppress(boxes_there, numbers_there, ranks_there, threshold, nms)
    assert np.flatnonzero(kept.numpy()).tolist() == wanted.tolist()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("head", [0, 5, 6, 11])
def test_one_value_that_is_not_finite_is_noticed(value: float, head: int) -> None:
    heads = quiet(2)
    tensors = [torch.from_numpy(one) for one in heads]
    assert bool(selection.finite(*selection.flattened(tensors, 3)))
    heads[head][1, -1, -1, -1] = value
    assert not bool(selection.finite(*selection.flattened(tensors, 3)))

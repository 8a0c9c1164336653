"""Claims about the decoder: golden cases by their rules, arguments, contexts, refusals."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from ssd_resnet34.contract import COCO, COCO_TENSORFLOW, HEAD_NAMES, Category, Contract
from ssd_resnet34.errors import HeadsError, UsageError
from ssd_resnet34.vision.detections import Detections
from ssd_resnet34.vision.postprocess import postprocess
from ssd_resnet34.vision.preprocess import ImageContext
from ssd_resnet34.vision.priors import priors
from ssd_resnet34.vision.selection import score, suppress
from vision.float64_decoder import Rules, decode, greedy

THREE = Contract((Category(7, "ant"), Category(9, "bee"), Category(11, "cat")))
CASES = (
    "typical", "crowded", "single", "empty", "diagonal", "ties", "ties_overlap", "ties_cut",
    "huge_logits", "threshold_edge", "top200", "batch2",
)  # fmt: skip
Heads = list[NDArray[np.float32]]


class Outputs(list[Any]):
    """What a session returns: a list that carries contexts."""

    contexts: Any = None


def quiet(batch: int = 1, contract: Contract = COCO) -> Heads:
    """Heads without any detection."""
    heads = [np.zeros((batch, *shape), np.float32) for shape in contract.head_shapes().values()]
    for head, anchors in zip(heads, (4, 6, 6, 6, 4, 4), strict=False):
        head[:, :anchors] = 20  # class 0
    return heads


def put(heads: Heads, index: int, logit: float, y: int, x: int, image: int = 0) -> None:
    """A box of class ``index`` on level 1, anchor 0; the background there is 20."""
    heads[1][image, index * 6, y, x] = logit


# ----------------------------------------------------------------------------- golden cases


@pytest.mark.parametrize("nms", ["exact", "mlperf"])
@pytest.mark.parametrize("case", CASES)
def test_golden_cases_agree_by_their_rules(
    golden: ModuleType, golden_npz: Callable[[str], Any], case: str, nms: Any
) -> None:
    heads = golden.case(case)
    wanted = golden_npz(f"decode_{nms}.npz")
    assert golden.digest(heads) == str(wanted[f"{case}/sha256"])
    results = postprocess(heads, [(1, 1)] * len(heads[0]), nms=nms)
    assert len(results) == int(wanted[f"{case}/images"])
    for image, got in enumerate(results):
        boxes, scores, labels = (
            wanted[f"{case}/{image}/{field}"] for field in ("boxes", "scores", "labels")
        )
        assert len(got) == len(scores)
        np.testing.assert_allclose(got.scores, scores, rtol=0, atol=1e-6)
        # Equal scores: the exact file has the very rule of ours; the reference's order among
        # equals is arbitrary, so that only the set, or for ties_cut only the scores, is certain.
        if nms == "mlperf" and case == "ties_cut":
            assert (
                len({(i, *b.tolist()) for i, b in zip(got.indices, got.boxes, strict=True)}) == 200
            )
            continue
        ours, theirs = np.arange(len(got)), np.arange(len(got))
        if nms == "mlperf" and case in ("ties", "threshold_edge"):
            ours = _order(got.scores, got.indices, got.boxes)
            theirs = _order(scores, labels, boxes)
        assert np.array_equal(got.indices[ours], labels[theirs])
        limit = 1e-5 * np.maximum(1, np.abs(boxes[theirs]))
        assert (np.abs(got.boxes[ours] - boxes[theirs]) <= limit).all()


def _order(scores: Any, labels: Any, boxes: Any) -> Any:
    rounded = np.round(boxes, 4)
    return np.lexsort((rounded[:, 1], rounded[:, 0], labels, np.round(scores, 6)))


@pytest.mark.parametrize("nms", ["exact", "mlperf"])
def test_an_image_without_detections_does_not_disturb_its_batch(
    golden: ModuleType, golden_npz: Callable[[str], Any], nms: Any
) -> None:
    """The public reference raises here."""
    assert bool(golden_npz("decode_mlperf.npz")["batch2/1/raises"])
    found, nothing = postprocess(golden.case("batch2"), nms=nms)
    assert (len(found), len(nothing)) == (41, 0)
    assert nothing.boxes.shape == (0, 4)


@pytest.mark.parametrize("case", ["typical", "crowded", "top200"])
@pytest.mark.parametrize(
    "rules",
    [
        Rules(score=0.3), Rules(score=0.01), Rules(iou=0.3), Rules(iou=0.9), Rules(per_class=5),
        Rules(per_image=7), Rules(clamp=False, iou=0.2), Rules(per_class=1000, per_image=5000),
    ],
)  # fmt: skip
def test_every_argument_follows_the_rules(golden: ModuleType, case: str, rules: Rules) -> None:
    heads = golden.case(case)
    wanted = decode(heads, priors().astype(np.float64), rules)
    (got,) = postprocess(
        heads, [(1, 1)], rules.score, rules.iou, rules.per_class, rules.per_image,
        "exact" if rules.clamp else "mlperf",
    )  # fmt: skip
    assert np.array_equal(got.indices, wanted.classes)
    np.testing.assert_allclose(got.scores, wanted.scores, rtol=0, atol=1e-6)
    np.testing.assert_allclose(got.boxes, wanted.boxes, rtol=1e-5, atol=1e-5)


# ------------------------------------------------------------------------- classes, contracts


def test_class_thresholds_differ_and_others_have_the_default(golden: ModuleType) -> None:
    heads = golden.case("typical")
    (all_of_them,) = postprocess(heads)
    counts = np.bincount(all_of_them.indices, minlength=81)
    first, second = np.argsort(counts)[-2:].tolist()
    (got,) = postprocess(heads, score_threshold={COCO.labels[first - 1]: 0.4, second: 1.0})
    assert second not in got.indices
    assert (got.scores[got.indices == first] > 0.4).all()
    rest = ~np.isin(all_of_them.indices, (first, second))
    assert rest.sum() == (~np.isin(got.indices, (first, second))).sum()


def test_a_class_may_ask_for_less_than_the_default() -> None:
    heads = quiet()
    put(heads, 1, 17, 5, 5)  # score 0.047
    put(heads, 2, 17, 15, 15)
    (got,) = postprocess(heads, score_threshold={"bicycle": 0.01})
    assert got.labels == ("bicycle",)


def test_classes_filter_by_label_or_index() -> None:
    heads = quiet()
    put(heads, 12, 22, 5, 5)
    put(heads, 3, 22, 15, 15)
    (everything,) = postprocess(heads)
    assert len(everything) == 2
    for classes in ([12], ["stop sign"], "stop sign"):
        (got,) = postprocess(heads, classes=classes)
        assert got == everything[everything.indices == 12]
    (nothing,) = postprocess(heads, classes=[])
    assert len(nothing) == 0


def test_the_three_names_of_a_class_are_not_mixed_up() -> None:
    heads = quiet()
    put(heads, 12, 22, 5, 5)
    (got,) = postprocess(heads)
    assert (got.indices.tolist(), got.category_ids.tolist(), got.labels) == (
        [12], [13], ("stop sign",),
    )  # fmt: skip


def test_a_contract_of_three_classes_works() -> None:
    heads = quiet(contract=THREE)
    put(heads, 3, 22, 5, 5)
    put(heads, 1, 21, 15, 15)
    (got,) = postprocess(heads, contract=THREE)
    assert got.labels == ("cat", "ant")
    assert got.category_ids.tolist() == [11, 7]
    with pytest.raises(HeadsError, match="4 classes"):
        postprocess(quiet(), contract=THREE)


def test_the_lineage_decides_about_the_priors() -> None:
    heads = quiet()
    heads[3][0, 6, 6, 6] = 22  # level 3: its steps are 1200 / 7 pixels, or 171
    boxes = []
    for contract in (COCO, COCO_TENSORFLOW):
        (got,) = postprocess(heads, [(1, 1)], contract=contract)
        wanted = decode(heads, priors(contract).astype(np.float64))
        np.testing.assert_allclose(got.boxes, wanted.boxes, rtol=1e-5, atol=1e-5)
        boxes.append(got.boxes)
    assert not np.allclose(boxes[0], boxes[1], rtol=1e-4)


def test_a_score_has_to_be_over_its_threshold() -> None:
    heads = quiet()
    put(heads, 1, 18, 5, 5)
    (found,) = postprocess(heads)
    score = found.scores[0]
    for threshold, count in ((score, 0), (np.nextafter(score, np.float32(0)), 1)):
        (got,) = postprocess(heads, score_threshold=float(threshold))
        assert len(got) == count


def test_of_equal_scores_the_higher_class_comes_first_then_the_lower_prior() -> None:
    heads = quiet()
    for index, y, x in ((1, 5, 5), (1, 20, 20), (2, 12, 12)):
        put(heads, index, 22, y, x)
    (got,) = postprocess(heads)
    assert got.indices.tolist() == [2, 1, 1]
    assert got.boxes[1, 1] < got.boxes[2, 1]


def test_of_equal_boxes_of_a_class_that_overlap_the_higher_prior_stays() -> None:
    heads = quiet()
    put(heads, 1, 22, 5, 6)
    (right,) = postprocess(heads)
    put(heads, 1, 22, 5, 5)
    assert postprocess(heads) == [right]


def test_images_of_a_batch_have_nothing_to_do_with_each_other() -> None:
    heads = quiet(batch=3)
    put(heads, 1, 22, 5, 5, image=1)
    assert [len(found) for found in postprocess(heads)] == [0, 1, 0]


def test_a_threshold_of_zero_takes_every_positive_probability() -> None:
    (got,) = postprocess(quiet(), score_threshold=0, top_k=5)
    assert len(got) == 5
    (got,) = postprocess(quiet(), score_threshold=1)
    assert len(got) == 0


# ------------------------------------------------------------------------- contexts, results


def test_the_quick_comparison_misses_no_score_where_large_logits_round() -> None:
    """``select`` compares a logit with background + ln threshold, which float32 rounds."""
    threshold = np.float32(1e-4)
    background = np.random.default_rng(7).uniform(1e4, 2e4, 5000).astype(np.float32)
    logits = background + np.log(threshold)
    exponentials = np.exp(logits - background)
    over = exponentials / (1 + exponentials) > threshold
    assert 0 < over.sum() < len(over)
    levels = [np.stack([background, logits]), *[np.zeros((2, 0), np.float32)] * 5]
    scores, _, rows = score(levels, np.array([0, threshold], np.float32))
    assert (scores > threshold).all()
    assert list(rows) == list(np.flatnonzero(over))


def test_many_tiny_terms_beside_large_ones_are_no_less_than_their_sum() -> None:
    heads = quiet()
    heads[1][0, :, 5, 5] = 4
    heads[1][0, :12, 5, 5] = 20  # background and class 1 of each anchor; the rest e⁻¹⁶ of them
    (got,) = postprocess(heads, top_k=1)
    np.testing.assert_allclose(got.scores, 1 / (2 + 79 * np.exp(-16.0)), rtol=5e-7)


def test_contexts_are_explicit_else_carried_else_1200_pixels() -> None:
    heads = Outputs(quiet())
    put(heads, 1, 22, 12, 12)
    (plain,) = postprocess(heads)
    assert (plain.width, plain.height, plain.image) == (1200, 1200, "")
    unit = postprocess(heads, [(1, 1)])[0].boxes
    np.testing.assert_allclose(plain.boxes, unit * 1200, rtol=1e-6)
    heads.contexts = (ImageContext(640, 480, "a.jpg"),)
    (carried,) = postprocess(heads)
    assert (carried.width, carried.height, carried.image) == (640, 480, "a.jpg")
    np.testing.assert_allclose(carried.boxes, unit * (640, 480, 640, 480), rtol=1e-6)
    for context in (ImageContext(20, 10), {"width": 20, "height": 10}, (20, 10)):
        (explicit,) = postprocess(heads, [context])
        assert (explicit.width, explicit.height) == (20, 10)


def test_boxes_are_clipped_only_on_demand() -> None:
    heads = quiet()
    put(heads, 1, 22, 0, 0)
    heads[7][0, 12, 0, 0] = 5  # wider
    (free,) = postprocess(heads, [(640, 480)])
    (clipped,) = postprocess(heads, [(640, 480)], clip=True)
    assert free.boxes.min() < 0
    assert np.array_equal(clipped.boxes, free.boxes.clip(0, (640, 480, 640, 480)))


def test_the_result_carries_the_models_name_and_dtypes() -> None:
    heads = quiet()
    put(heads, 1, 22, 12, 12)
    (got,) = postprocess(heads, model="m")
    assert isinstance(got, Detections)
    assert got.model == "m"
    assert got.boxes.dtype == got.scores.dtype == np.float32
    assert got.indices.dtype == got.category_ids.dtype == np.int64


def test_a_mapping_by_name_may_come_in_any_order(golden: ModuleType) -> None:
    heads = golden.case("single")
    named = dict(reversed(list(zip(HEAD_NAMES, heads, strict=True))))
    assert postprocess(named) == postprocess(heads)


def test_other_float_types_and_strides_are_converted(golden: ModuleType) -> None:
    heads = golden.case("single")
    doubled = [np.repeat(head, 2, axis=3)[..., ::2].astype(np.float64) for head in heads]
    assert postprocess(doubled) == postprocess(heads)


def test_offsets_of_any_size_give_finite_boxes() -> None:
    for offset in (1e4, -1e4, 3e38, -3e38):
        heads = quiet()
        put(heads, 1, 22, 3, 3)
        put(heads, 1, 23, 4, 4)
        for head in heads[6:]:
            head[:] = offset
        for nms in ("exact", "mlperf"):
            (got,) = postprocess(heads, [(65500, 65500)], nms=nms)
            assert np.isfinite(got.boxes).all()


# --------------------------------------------------------------------------------- refusals


def test_other_than_twelve_heads_are_refused() -> None:
    for wrong in (quiet()[:11], [*quiet(), quiet()[0]], []):
        with pytest.raises(HeadsError, match=f"{len(wrong)} arrays where 12"):
            postprocess(wrong)
    named = dict(zip(HEAD_NAMES, quiet(), strict=True))
    del named["loc_3"]
    with pytest.raises(HeadsError, match="no loc_3 among cls_0"):
        postprocess(named)


@pytest.mark.parametrize("wrong", [None, 3, [[1, [2, 3]]] * 12, [quiet()[:6], quiet()[6:]]])
def test_what_is_no_list_of_arrays_is_refused(wrong: Any) -> None:
    with pytest.raises(HeadsError, match=r"no list of arrays.*twelve numpy arrays"):
        postprocess(wrong)


def test_tensors_without_a_numpy_form_are_refused() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(HeadsError, match=r"BFloat16.*twelve numpy arrays"):
        postprocess([torch.from_numpy(head).bfloat16() for head in quiet()])
    assert postprocess([torch.from_numpy(head) for head in quiet()]) == postprocess(quiet())


def test_a_wrong_shape_is_named() -> None:
    heads = quiet()
    heads[2] = heads[2][:, :, :12]
    with pytest.raises(HeadsError, match=r"cls_2 has shape \[1, 486, 12, 13\].*486, 13, 13"):
        postprocess(heads)


def test_offsets_before_logits_are_recognised() -> None:
    heads = quiet()
    for wrong in (
        heads[6:] + heads[:6],
        [h for pair in zip(heads[:6], heads[6:], strict=True) for h in pair],
    ):
        with pytest.raises(HeadsError, match="wrong order"):
            postprocess(wrong)


def test_a_missing_batch_axis_is_recognised() -> None:
    with pytest.raises(HeadsError, match="batch axis is missing"):
        postprocess([head[0] for head in quiet()])


def test_batches_must_agree_and_hold_something() -> None:
    heads = quiet(2)
    heads[5] = heads[5][:1]
    with pytest.raises(HeadsError, match="cls_5"):
        postprocess(heads)
    with pytest.raises(HeadsError):
        postprocess([head[:0] for head in quiet()])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("head", [0, 5, 6, 11])
def test_nan_and_infinity_are_refused(value: float, head: int) -> None:
    heads = quiet()
    heads[head][0, -1, -1, -1] = value
    with pytest.raises(HeadsError, match=rf"{HEAD_NAMES[head]} has NaN or infinity at 1 of"):
        postprocess(heads)


def test_large_finite_values_are_no_infinity() -> None:
    heads = quiet()
    heads[0][:] = 3e38
    heads[0][0, 4:, 0, 0] = -3e38
    heads[1][0, ::6, 3, 3] = (-3.4e38, 3.4e38) + (-3.4e38,) * 79
    (got,) = postprocess(heads)
    assert got.scores.tolist() == [1.0]
    doubled = [head.astype(np.float64) for head in quiet()]
    doubled[0][0, 0, 0, 0] = 1e39  # infinite as float32
    with pytest.raises(HeadsError, match="cls_0 has NaN or infinity"):
        postprocess(doubled)


def test_integers_are_no_heads() -> None:
    with pytest.raises(HeadsError, match="dtype int64"):
        postprocess([head.astype(np.int64) for head in quiet()])


def test_contexts_of_another_batch_are_refused() -> None:
    with pytest.raises(HeadsError, match="contexts: 1 for a batch of 2"):
        postprocess(quiet(2), [(640, 480)])
    with pytest.raises(HeadsError, match="list"):
        postprocess(quiet(), ImageContext(640, 480))  # type: ignore[arg-type]  # the mistake
    outputs = Outputs(quiet())
    outputs.contexts = (ImageContext(1, 1), ImageContext(2, 2))
    with pytest.raises(HeadsError, match="2 for a batch of 1"):
        postprocess(outputs)


@pytest.mark.parametrize(
    "context",
    [
        *[(0, 5), (1.5, 2), {"width": 3}, 7, None, ("a", "b"), (np.inf, 3), (3, np.nan)],
        *[(10**400, 1), (1, 2**26 + 1)],
    ],
)
def test_contexts_that_are_no_size_are_refused(context: Any) -> None:
    with pytest.raises(UsageError, match="no image size"):
        postprocess(quiet(), [context])


def test_contexts_come_in_any_series() -> None:
    (got,) = postprocess(quiet(), (one for one in [(640, 480)]))  # type: ignore[arg-type]
    assert (got.width, got.height) == (640, 480)
    with pytest.raises(UsageError, match="contexts: a int; give a list"):
        postprocess(quiet(), 640)  # type: ignore[arg-type]  # the mistake


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("score_threshold", (-0.1, 1.1, np.nan, "0.5", None, True, {"person": 2}, 10**400)),
        ("iou_threshold", (-0.1, 1.1, np.nan, "x", None)),
        ("pre_nms_top_k", (0, -1, 2.5, None, True)),
        ("top_k", (0, -1, 2.5, None)),
        ("nms", ("soft", None, "Exact")),
    ],
)
def test_arguments_out_of_range_are_named(name: str, values: tuple[Any, ...]) -> None:
    for value in values:
        with pytest.raises(UsageError, match=name):
            postprocess(quiet(), **{name: value})


def test_unknown_classes_name_their_neighbours() -> None:
    with pytest.raises(UsageError, match="'person'"):
        postprocess(quiet(), classes=["persn"])
    with pytest.raises(UsageError, match="'person'"):
        postprocess(quiet(), score_threshold={"persn": 0.1})


# ------------------------------------------------------------------------------- properties


@st.composite
def boxes_by_class(draw: st.DrawFn) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Boxes on a coarse grid, so that equal, touching, nested and empty ones are common."""
    count = draw(st.integers(0, 25))
    corners = draw(hnp.arrays(np.int64, (count, 2), elements=st.integers(-3, 6)))
    sizes = draw(hnp.arrays(np.int64, (count, 2), elements=st.integers(0, 5)))
    classes = draw(hnp.arrays(np.int64, count, elements=st.integers(1, 3)))
    return np.concatenate([corners, corners + sizes], axis=1).astype(np.float64), np.sort(classes)


@settings(max_examples=300)
@given(boxes_by_class(), st.sampled_from([0.1, 0.25, 1 / 3, 0.5, 1.0]), st.booleans())
def test_suppression_equals_the_loop_over_pairs(
    given_boxes: tuple[NDArray[np.float64], NDArray[np.int64]], limit: float, clamp: bool
) -> None:
    boxes, classes = given_boxes
    rules = Rules(iou=limit, clamp=clamp)
    wanted = [
        row for index in (1, 2, 3) for row in greedy(boxes, np.flatnonzero(classes == index), rules)
    ]
    got = suppress(boxes, classes, limit, "exact" if clamp else "mlperf")
    assert sorted(got.tolist()) == wanted


@settings(max_examples=30)
@given(
    st.integers(0, 2**32 - 1), st.floats(0.02, 0.5), st.integers(1, 50), st.integers(1, 60),
    st.sampled_from(["exact", "mlperf"]),
)  # fmt: skip
def test_random_heads_equal_the_float64_decoder(
    seed: int, threshold: float, per_class: int, per_image: int, nms: Any
) -> None:
    generator = np.random.default_rng(seed)
    heads = [
        generator.normal(0, 1, (1, *shape)).astype(np.float32)
        for shape in THREE.head_shapes().values()
    ]
    for head, anchors in zip(heads, (4, 6, 6, 6, 4, 4), strict=False):
        head[:, :anchors] += 5
    wanted = decode(
        heads, priors().astype(np.float64),
        Rules(threshold, 0.5, per_class, per_image, clamp=nms == "exact"),
    )  # fmt: skip
    (got,) = postprocess(heads, [(1, 1)], threshold, 0.5, per_class, per_image, nms, contract=THREE)
    assert np.array_equal(got.indices, wanted.classes)
    np.testing.assert_allclose(got.scores, wanted.scores, rtol=0, atol=1e-6)
    np.testing.assert_allclose(got.boxes, wanted.boxes, rtol=1e-5, atol=1e-5)

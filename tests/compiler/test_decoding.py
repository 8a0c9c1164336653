"""Decoding and selection inside an ONNX graph, against the golden numbers and ``postprocess``."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, checker, helper

from small_int8 import small_int8
from small_network import CONTRACT, pictures, small_onnx
from small_network import run as run_heads
from ssd_resnet34 import artifact
from ssd_resnet34.compiler.decoding import (
    DETECTION_OUTPUTS,
    Selection,
    append_selection,
    join_heads,
    suppress,
)
from ssd_resnet34.compiler.nodes import Nodes
from ssd_resnet34.contract import (
    COCO,
    COCO_TENSORFLOW,
    HEAD_NAMES,
    LEVELS,
    Category,
    Contract,
)
from ssd_resnet34.errors import ArtifactError, UsageError
from ssd_resnet34.vision.detections import Detections
from ssd_resnet34.vision.postprocess import postprocess
from ssd_resnet34.vision.priors import priors
from ssd_resnet34.vision.selection import suppress as numpy_suppress
from vision.float64_decoder import Rules, decode

CASES = (
    "typical", "crowded", "single", "empty", "diagonal", "ties", "ties_overlap", "ties_cut",
    "huge_logits", "threshold_edge", "top200", "batch2",
)  # fmt: skip
Heads = list[NDArray[np.float32]]
Found = dict[str, NDArray[Any]]
DEFAULTS = Selection()
THREE = Contract((Category(7, "ant"), Category(9, "bee"), Category(11, "cat")), "tensorflow")


def only_heads(contract: Contract, opset: int = 17) -> ModelProto:
    """A graph without nodes whose inputs are the twelve heads."""
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *shape])
        for name, shape in contract.head_shapes().items()
    ]
    return helper.make_model(
        helper.make_graph([], "heads", inputs, []),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=8,
    )


def session(model: ModelProto) -> Any:
    checker.check_model(model, full_check=True)
    data = model.SerializeToString()
    return onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])


def decoder(
    contract: Contract = COCO, selection: Selection = DEFAULTS, opset: int = 17
) -> Callable[[Heads], Found]:
    """``decoder()(heads)``: the outputs by name."""
    model = only_heads(contract, opset)
    append_selection(model, contract, selection)
    ready = session(model)

    def call(heads: Heads) -> Found:
        outputs = ready.run(None, dict(zip(HEAD_NAMES, heads, strict=True)))
        return dict(zip(DETECTION_OUTPUTS, outputs, strict=True))

    return call


@pytest.fixture(scope="module")
def coco() -> Callable[[Heads], Found]:
    return decoder()


def assert_same(found: Found, wanted: list[Detections], tolerance: float = 1e-6) -> None:
    """Row by row; ``wanted`` has boxes in fractions."""
    assert found["num_detections"].tolist() == [len(one) for one in wanted]
    for image, one in enumerate(wanted):
        rows = slice(0, len(one))
        assert found["indices"][image, rows].tolist() == one.indices.tolist()
        assert found["category_ids"][image, rows].tolist() == one.category_ids.tolist()
        scores, boxes = found["scores"][image, rows], found["boxes"][image, rows]
        np.testing.assert_allclose(scores, one.scores, rtol=0, atol=1e-6)
        limit = tolerance * np.maximum(1, np.abs(one.boxes))
        assert (np.abs(boxes - one.boxes) <= limit).all()


# ----------------------------------------------------------------------------- golden cases


@pytest.mark.parametrize("case", CASES)
def test_golden_cases_agree_row_by_row_ties_included(
    golden: ModuleType, golden_npz: Callable[[str], Any], coco: Callable[[Heads], Found], case: str
) -> None:
    heads = golden.case(case)
    wanted = golden_npz("decode_exact.npz")
    assert golden.digest(heads) == str(wanted[f"{case}/sha256"])
    found = coco(heads)
    assert len(found["boxes"]) == int(wanted[f"{case}/images"])
    for image in range(len(heads[0])):
        boxes, scores, labels = (
            wanted[f"{case}/{image}/{field}"] for field in ("boxes", "scores", "labels")
        )
        count = int(found["num_detections"][image])
        assert count == len(scores)
        assert np.array_equal(found["indices"][image, :count], labels)
        np.testing.assert_allclose(found["scores"][image, :count], scores, rtol=0, atol=1e-6)
        limit = 1e-5 * np.maximum(1, np.abs(boxes))
        assert (np.abs(found["boxes"][image, :count] - boxes) <= limit).all()


def test_golden_cases_agree_with_postprocess(
    golden: ModuleType, coco: Callable[[Heads], Found]
) -> None:
    for case in CASES:
        heads = golden.case(case)
        assert_same(coco(heads), postprocess(heads, [(1, 1)] * len(heads[0])))


def test_a_batch_gives_each_image_what_it_gets_alone(
    golden: ModuleType, coco: Callable[[Heads], Found]
) -> None:
    cases = [golden.case(case) for case in ("crowded", "empty", "typical", "ties_overlap")]
    together = coco([np.concatenate(heads) for heads in zip(*cases, strict=True)])
    for image, heads in enumerate(cases):
        for name, alone in coco(heads).items():
            assert np.array_equal(together[name][image], alone[0]), name


def test_rows_without_a_detection_are_zero(
    golden: ModuleType, coco: Callable[[Heads], Found]
) -> None:
    found = coco(golden.case("batch2"))
    assert found["num_detections"].tolist() == [41, 0]
    for name in ("boxes", "scores", "indices", "category_ids"):
        assert found[name].shape[:2] == (2, 200)
        assert found[name][0, :41].any()
        assert not found[name][0, 41:].any()
        assert not found[name][1].any()


def test_types_are_those_promised(golden: ModuleType, coco: Callable[[Heads], Found]) -> None:
    found = coco(golden.case("single"))
    assert {name: (array.dtype.name, array.shape) for name, array in found.items()} == {
        "boxes": ("float32", (1, 200, 4)),
        "scores": ("float32", (1, 200)),
        "indices": ("int64", (1, 200)),
        "category_ids": ("int64", (1, 200)),
        "num_detections": ("int64", (1,)),
    }


@pytest.mark.parametrize("opset", [13, 18, 21])
def test_every_opset_gives_the_same(
    golden: ModuleType, coco: Callable[[Heads], Found], opset: int
) -> None:
    heads = golden.case("crowded")
    other = decoder(opset=opset)(heads)
    for name, array in coco(heads).items():
        assert np.array_equal(other[name], array)


def test_another_compiler_finds_the_same(
    golden: ModuleType, coco: Callable[[Heads], Found]
) -> None:
    import openvino

    model = only_heads(COCO)
    append_selection(model, COCO, DEFAULTS)
    core = openvino.Core()
    hint = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(model.SerializeToString()), "CPU", hint)
    for case in ("typical", "crowded", "empty", "batch2"):
        heads = golden.case(case)
        results = compiled(dict(zip(HEAD_NAMES, heads, strict=True)))
        found = {name: np.array(results[n]) for n, name in enumerate(DETECTION_OUTPUTS)}
        assert_same(found, postprocess(heads, [(1, 1)] * len(heads[0])))


# -------------------------------------------------------------------- arguments and contracts


@pytest.mark.parametrize("case", ["typical", "crowded", "top200"])
@pytest.mark.parametrize(
    "rules",
    [
        Rules(score=0.3), Rules(score=0.01), Rules(iou=0.3), Rules(iou=0.9), Rules(per_class=5),
        Rules(per_image=7), Rules(per_class=1000, per_image=5000), Rules(per_class=1),
    ],
)  # fmt: skip
def test_every_argument_follows_the_rules(golden: ModuleType, case: str, rules: Rules) -> None:
    heads = golden.case(case)
    wanted = decode(heads, priors().astype(np.float64), rules)
    selection = Selection(rules.score, rules.iou, rules.per_class, rules.per_image)
    found = decoder(selection=selection)(heads)
    count = int(found["num_detections"][0])
    assert found["indices"][0, :count].tolist() == wanted.classes.tolist()
    np.testing.assert_allclose(found["scores"][0, :count], wanted.scores, rtol=0, atol=1e-6)
    np.testing.assert_allclose(found["boxes"][0, :count], wanted.boxes, rtol=1e-5, atol=1e-5)


def test_the_rows_are_no_more_than_there_can_be() -> None:
    selection = Selection(pre_nms_top_k=3, top_k=200)
    assert selection.rows(CONTRACT) == 6
    heads = [np.zeros((2, *shape), np.float32) for shape in CONTRACT.head_shapes().values()]
    found = decoder(CONTRACT, selection)(heads)
    assert found["boxes"].shape == (2, 6, 4)
    assert_same(found, postprocess(heads, [(1, 1)] * 2, pre_nms_top_k=3, contract=CONTRACT))


def test_a_top_k_above_the_number_of_priors_takes_them_all(golden: ModuleType) -> None:
    selection = Selection(pre_nms_top_k=1_000_000, top_k=300)
    assert selection.candidates == 15130
    generator = np.random.default_rng(0)
    heads = [
        generator.normal(0, 1, (1, *shape)).astype(np.float32)
        for shape in CONTRACT.head_shapes().values()
    ]
    wanted = postprocess(heads, [(1, 1)], 0.05, 0.5, 1_000_000, 300, contract=CONTRACT)
    assert_same(decoder(CONTRACT, selection)(heads), wanted)


def test_the_priors_are_those_of_the_lineage(golden: ModuleType) -> None:
    heads = golden.case("typical")
    wanted = postprocess(heads, [(1, 1)], contract=COCO_TENSORFLOW)
    assert wanted != postprocess(heads, [(1, 1)])
    assert_same(decoder(COCO_TENSORFLOW)(heads), wanted)


@settings(max_examples=25, derandomize=True)
@given(
    st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.05, 0.3]), st.integers(1, 50),
    st.integers(1, 60), st.sampled_from([CONTRACT, THREE]), st.integers(1, 3),
)  # fmt: skip
def test_random_heads_equal_postprocess(
    seed: int, threshold: float, per_class: int, per_image: int, contract: Contract, batch: int
) -> None:
    generator = np.random.default_rng(seed)
    heads = [
        generator.normal(0, 1, (batch, *shape)).astype(np.float32)
        for shape in contract.head_shapes().values()
    ]
    for head, level in zip(heads, LEVELS, strict=False):
        head[:, : level.anchors] += 3
    found = decoder(contract, Selection(threshold, 0.5, per_class, per_image))(heads)
    wanted = postprocess(
        heads, [(1, 1)] * batch, threshold, 0.5, per_class, per_image, contract=contract
    )
    assert_same(found, wanted)


@lru_cache
def suppressor(limit: float) -> Any:
    """Only NMS: boxes [N, 3·25, 4] and scores [N, 3, 25] to the kept scores [N, 3·25]."""
    shapes: dict[str, list[int | str]] = {"b": ["N", 75, 4], "s": ["N", 3, 25]}
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in shapes.items()
    ]
    model = helper.make_model(
        helper.make_graph([], "nms", inputs, []),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    nodes = Nodes(model)
    selection = Selection(iou_threshold=limit, pre_nms_top_k=25)
    kept = suppress(nodes, THREE, selection, "b", "s")
    nodes.append()
    model.graph.output.append(helper.make_tensor_value_info(kept, TensorProto.FLOAT, ["N", 75]))
    return session(model)


@st.composite
def boxes_of_three_classes(draw: st.DrawFn) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Boxes on a coarse grid, so that equal, touching, nested and empty ones are common, and an
    IoU of exactly 1/2; each class has some of its 25, best first."""
    corners = draw(hnp.arrays(np.int64, (2, 75, 2), elements=st.integers(-3, 6)))
    sizes = draw(hnp.arrays(np.int64, (2, 75, 2), elements=st.integers(0, 5)))
    counts = draw(hnp.arrays(np.int64, (2, 3), elements=st.integers(0, 25)))
    boxes = np.concatenate([corners, corners + sizes], axis=2).astype(np.float32)
    ranks = np.arange(25)
    scores = np.where(ranks < counts[..., None], 0.9 - 0.01 * ranks, -1).astype(np.float32)
    return boxes, scores


@settings(max_examples=150)
@given(boxes_of_three_classes(), st.sampled_from([0.1, 0.25, 1 / 3, 0.5, 1.0]))
def test_suppression_equals_that_of_postprocess(
    given_boxes: tuple[NDArray[np.float32], NDArray[np.float32]], limit: float
) -> None:
    boxes, scores = given_boxes
    (kept,) = suppressor(limit).run(None, {"b": boxes, "s": scores})
    for image in range(2):
        rows = np.flatnonzero(scores[image].reshape(-1) > 0)
        stays = numpy_suppress(boxes[image, rows].astype(np.float64), rows // 25, limit, "exact")
        assert sorted(rows[stays].tolist()) == np.flatnonzero(kept[image] > 0).tolist()
    assert set(kept[kept > 0]) <= set(scores[scores > 0])
    assert (kept[kept <= 0] == -1).all()


def test_offsets_of_any_size_give_finite_boxes() -> None:
    for offset in (1e4, -1e4, 3e38, -3e38):
        heads = [np.zeros((1, *shape), np.float32) for shape in CONTRACT.head_shapes().values()]
        for head in heads[6:]:
            head[:] = offset
        found = decoder(CONTRACT)(heads)
        assert found["num_detections"][0] > 0
        assert np.isfinite(found["boxes"]).all()


def test_large_logits_are_no_infinity() -> None:
    heads = [np.zeros((1, *shape), np.float32) for shape in CONTRACT.head_shapes().values()]
    for head, level in zip(heads, LEVELS, strict=False):
        head[:, : level.anchors] = 3e38
    heads[1][0, ::6, 3, 3] = (-3.4e38, 3.4e38, -3.4e38)
    found = decoder(CONTRACT)(heads)
    assert found["num_detections"].tolist() == [1]
    assert found["scores"][0, 0] == 1


# ----------------------------------------------------------------------- behind real networks


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_detections_are_those_of_the_artifacts_own_heads(precision: str) -> None:
    data, images = small_onnx() if precision == "fp32" else small_int8(), pictures(3)
    model = artifact.load(data)
    selection = Selection(score_threshold=0.4)
    append_selection(model, CONTRACT, selection)
    tensor = np.concatenate(images)
    found = dict(zip(DETECTION_OUTPUTS, session(model).run(None, {"image": tensor}), strict=True))
    heads = [run_heads("onnxruntime", data, image) for image in images]
    wanted = postprocess(
        [np.concatenate(parts) for parts in zip(*heads, strict=True)], [(1, 1)] * 3, 0.4,
        contract=CONTRACT,
    )  # fmt: skip
    assert min(len(one) for one in wanted) > 3
    for image, one in enumerate(wanted):
        scores, boxes = found["scores"][image, : len(one)], found["boxes"][image, : len(one)]
        np.testing.assert_allclose(scores, one.scores, rtol=0, atol=1e-6)
        # int8 heads have few values: of scores a rounding apart either may come first.
        indices = found["indices"][image, : len(one)]
        ours = {(int(i), *b.tolist()) for i, b in zip(indices, boxes.round(4), strict=True)}
        theirs = {
            (int(i), *b.tolist()) for i, b in zip(one.indices, one.boxes.round(4), strict=True)
        }
        assert len(ours & theirs) > 0.95 * len(one)


def test_joined_heads_are_the_heads_in_the_order_of_the_priors(golden: ModuleType) -> None:
    model = only_heads(COCO)
    join_heads(model, COCO)
    heads = golden.case("batch2")
    logits, offsets = session(model).run(None, dict(zip(HEAD_NAMES, heads, strict=True)))
    for joined, part, depth in ((logits, heads[:6], 81), (offsets, heads[6:], 4)):
        assert joined.shape == (2, depth, 15130)
        assert np.array_equal(
            joined, np.concatenate([head.reshape(2, depth, -1) for head in part], axis=2)
        )


# --------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    "wrong",
    [
        {"score_threshold": 1.5}, {"score_threshold": float("nan")}, {"iou_threshold": 0},
        {"iou_threshold": -1}, {"pre_nms_top_k": 0}, {"top_k": 0}, {"top_k": 2.5},
    ],
    ids=str,
)  # fmt: skip
def test_arguments_out_of_range_are_named(wrong: Mapping[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Selection(**wrong)


def test_a_graph_that_has_a_name_already_is_refused() -> None:
    model = artifact.load(small_onnx())
    model.graph.node[0].output[0] = "scores"
    with pytest.raises(ArtifactError, match="'scores' already"):
        append_selection(model, CONTRACT, DEFAULTS)

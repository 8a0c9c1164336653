"""Claims about the struct of arrays and its converters."""

import copy
import json
import pickle
import sys
import types

import numpy as np
import pytest

from ssd_resnet34.contract import COCO, Category, Contract
from ssd_resnet34.errors import MissingExtra, UsageError
from ssd_resnet34.vision.detections import Detection, Detections


def three(**fields: object) -> Detections:
    return Detections(
        **{
            "boxes": np.array(
                [[10.1, 20, 110, 70], [-5, -6, 30, 40.5], [600, 400, 700, 500]], np.float32
            ),
            "scores": np.array([0.9, 0.8, 0.1], np.float32),
            "indices": np.array([1, 17, 12]),
            "category_ids": np.array([1, 18, 13]),
            "labels": ("person", "dog", "stop sign"),
            "image": "a.jpg",
            "width": 640,
            "height": 480,
            "model": "embedded",
            **fields,
        }  # type: ignore[arg-type]  # the errors of construction are tested through it
    )


def none() -> Detections:
    return Detections([], [], [], [], ())  # type: ignore[arg-type]  # empty lists are welcome


class TestStruct:
    def test_the_dtypes_are_those_of_the_documentation(self) -> None:
        found = three(scores=[0.5, 0.4, 0.3], boxes=np.zeros((3, 4)), indices=np.ones(3, np.uint8))
        assert found.boxes.dtype == found.scores.dtype == np.float32
        assert found.indices.dtype == found.category_ids.dtype == np.int64

    def test_the_arrays_are_read_only_and_the_callers_stay_writeable(self) -> None:
        scores = np.array([0.9, 0.8, 0.1], np.float32)
        found = three(scores=scores)
        with pytest.raises(ValueError, match="read-only"):
            found.scores[0] = 0
        scores[0] = 1

    def test_iteration_gives_one_detection_after_the_other(self) -> None:
        found = list(three())
        assert found[1] == Detection((-5.0, -6.0, 30.0, 40.5), 0.8, 17, 18, "dog")
        assert [one.label for one in found] == ["person", "dog", "stop sign"]
        assert type(found[0].score) is float
        assert type(found[0].index) is int

    def test_an_integer_gives_one_detection(self) -> None:
        found = three()
        assert found[0] == next(iter(found))
        assert found[-1].label == found[np.int64(2)].label == "stop sign"
        with pytest.raises(IndexError):
            found[3]
        with pytest.raises(IndexError):
            found[-4]

    def test_slice_mask_and_positions_give_detections(self) -> None:
        found = three()
        assert found[1:].labels == ("dog", "stop sign")
        assert found[::-1].labels == ("stop sign", "dog", "person")
        assert found[found.scores > 0.5].labels == ("person", "dog")
        assert found[[True, False, True]].labels == ("person", "stop sign")
        assert found[[2, 0]].labels == found[np.array([2, 0])].labels == ("stop sign", "person")
        assert len(found[[]]) == len(found[:0]) == 0
        assert found[1:].width == 640
        assert found[1:].boxes.tolist() == found.boxes[1:].tolist()

    @pytest.mark.parametrize("key", [[True], np.zeros(4, bool), "dog", 1.0, (0, 1), [[0]], [0.5]])
    def test_a_key_that_cannot_select_is_refused(self, key: object) -> None:
        with pytest.raises(UsageError):
            three()[key]  # type: ignore[call-overload]  # the subject of the test

    def test_length_and_truth_are_the_number_found(self) -> None:
        assert len(three()) == 3
        assert three()
        assert not none()
        assert list(none()) == []
        assert none().boxes.shape == (0, 4)

    def test_equality_compares_every_field(self) -> None:
        assert three() == three()
        assert three() != three(image="b.jpg")
        assert three() != three(scores=np.array([0.9, 0.8, 0.2], np.float32))
        assert three() != three()[:2]
        assert three() != "three"
        with pytest.raises(TypeError, match="unhashable"):
            hash(three())

    def test_copies_and_pickles_are_equal(self) -> None:
        assert pickle.loads(pickle.dumps(three())) == copy.deepcopy(three()) == three()

    def test_repr_is_one_readable_line(self) -> None:
        text = "<Detections: 3 in 'a.jpg' (640×480): person 0.90, dog 0.80, stop sign 0.10>"
        assert repr(three()) == text
        assert repr(none()) == "<Detections: 0 (1200×1200)>"
        assert repr(three()[[0] * 7]).endswith("… 2 more>")

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("boxes", np.zeros((2, 4), np.float32)),
            ("boxes", np.zeros((3, 5), np.float32)),
            ("boxes", np.full((3, 4), np.nan, np.float32)),
            ("boxes", np.full((3, 4), 1e300)),
            ("boxes", [[1], [1, 2], [3]]),
            ("scores", np.array([0.9, np.inf, 0.1], np.float32)),
            ("scores", np.array(["a", "b", "c"])),
            ("indices", np.array([1.0, 2.0, 3.0])),
            ("indices", np.array([0, 1, 2])),
            ("category_ids", np.array([1, 2])),
            ("labels", "abc"),
            ("labels", 3),
            ("labels", ("a", "b", 3)),
            ("width", 0),
            ("height", 4.5),
            ("image", None),
            ("model", 3),
        ],
    )
    def test_a_field_that_does_not_fit_is_refused_by_name(self, field: str, value: object) -> None:
        with pytest.raises(UsageError, match=field):
            three(**{field: value})


class TestOperations:
    def test_clip_cuts_boxes_at_the_borders_and_keeps_their_number(self) -> None:
        clipped = three().clip()
        assert clipped.boxes.tolist()[1:] == [[0, 0, 30, 40.5], [600, 400, 640, 480]]
        assert clipped.boxes[0].tolist() == three().boxes[0].tolist()
        assert len(clipped) == 3

    def test_a_copy_of_another_process_is_equal_and_read_only(self) -> None:
        for found in (three(), none()):
            for made in (pickle.loads(pickle.dumps(found)), copy.deepcopy(found)):
                assert made == found
                for name in ("boxes", "scores", "indices", "category_ids"):
                    assert not getattr(made, name).flags.writeable

    def test_filter_keeps_scores_strictly_above(self) -> None:
        found = three(scores=np.array([0.75, 0.5, 0.25], np.float32))
        assert found.filter(score=0.5).labels == ("person",)
        assert found.filter().labels == found.labels
        # The float32 nearest to 0.3 is above it; a score there does not exceed a threshold of 0.3.
        found = three(scores=np.array([0.5, 0.3, 0.3], np.float32))
        for threshold in (0.3, float(np.float32(0.3)), np.float64(0.3)):
            assert found.filter(score=threshold).labels == ("person",)

    def test_filter_takes_labels_and_indices(self) -> None:
        found = three()
        assert found.filter(classes="dog").labels == ("dog",)
        assert found.filter(classes=["person", 12]).labels == ("person", "stop sign")
        assert found.filter(score=0.5, classes=[12]).labels == ()
        assert found.filter(classes=[]).labels == ()
        for wrong in ([1.5], 1.5):
            with pytest.raises(UsageError, match=r"1\.5 is neither a label"):
                found.filter(classes=wrong)  # type: ignore[arg-type]  # the subject of the test

    def test_filter_takes_an_index_as_detections_hold_it(self) -> None:
        found = three()
        for contract in (None, COCO):
            assert found.filter(classes=found.indices[1], contract=contract) == found[1:2]

    def test_filter_with_a_contract_refuses_an_unknown_class(self) -> None:
        assert three().filter(classes=["dog"], contract=COCO).labels == ("dog",)
        with pytest.raises(UsageError):
            three().filter(classes=["dgo"], contract=COCO)


class TestJson:
    def test_the_dictionary_is_the_one_of_the_design(self) -> None:
        assert three()[:1].to_dict() == {
            "image": "a.jpg",
            "width": 640,
            "height": 480,
            "model": "embedded",
            "detections": [
                {
                    "box": [10.1, 20.0, 110.0, 70.0],
                    "score": 0.9,
                    "index": 1,
                    "category_id": 1,
                    "label": "person",
                }
            ],
        }

    def test_json_gives_every_float32_back(self) -> None:
        rng = np.random.default_rng(0)
        n = 50
        found = Detections(
            rng.normal(0, 1e3, (n, 4)).astype(np.float32),
            rng.random(n).astype(np.float32) ** 9,
            np.ones(n, np.int64),
            np.ones(n, np.int64),
            ("person",) * n,
        )
        assert Detections.from_dict(json.loads(found.to_json()), COCO) == found
        assert Detections.from_dict(none().to_dict()) == none()

    def test_a_name_that_is_not_utf8_stays_valid_in_json_and_comes_back(self) -> None:
        found = three(image=b"caf\xe9.jpg".decode("utf-8", "surrogateescape"))
        assert found.to_json().isascii()
        assert Detections.from_dict(json.loads(found.to_json())) == found

    @pytest.mark.parametrize(
        "damage",
        [
            lambda data: data.pop("width"),
            lambda data: data.update(detections=None),
            lambda data: data["detections"][0].pop("box"),
            lambda data: data["detections"][0].update(box=[1, 2, 3]),
            lambda data: data["detections"][0].update(box=["a", 2, 3, 4]),
            lambda data: data["detections"][0].update(box=["1", 2, 3, 4]),
            lambda data: data["detections"][0].update(box=[0, 0, 1e39, 1]),
            lambda data: data["detections"][0].update(score=None),
            lambda data: data["detections"][0].update(index=1.5),
            lambda data: data["detections"][0].update(index=1 << 80),
            lambda data: data["detections"][0].update(category_id=1 << 63),
            lambda data: data["detections"][0].update(label=7),
        ],
    )
    def test_a_damaged_dictionary_is_refused(self, damage: object) -> None:
        data = three().to_dict()
        damage(data)  # type: ignore[operator]
        with pytest.raises(UsageError):
            Detections.from_dict(data)

    def test_a_dictionary_of_another_model_contradicts_the_contract(self) -> None:
        data = three().to_dict()
        with pytest.raises(UsageError, match="contradict"):
            Detections.from_dict(data, Contract((Category(1, "person"),)))
        assert Detections.from_dict(data, COCO) == three()


class TestConverters:
    def test_coco_results_have_left_top_width_height(self) -> None:
        assert three().to_coco(7)[1] == {
            "image_id": 7,
            "category_id": 18,
            "bbox": [-5.0, -6.0, 35.0, 46.5],
            "score": 0.8,
        }
        assert none().to_coco(1) == []

    def test_pandas_has_a_row_for_each(self) -> None:
        pytest.importorskip("pandas")
        frame = three().to_pandas()
        assert list(frame.columns) == [
            "left", "top", "right", "bottom", "score", "index", "category_id", "label",
        ]  # fmt: skip
        assert frame["label"].tolist() == ["person", "dog", "stop sign"]
        assert frame["right"].tolist() == [110, 30, 700]
        frame.loc[0, "left"] = 0.0
        assert len(none().to_pandas()) == 0

    def test_supervision_gets_its_field_names(self, monkeypatch: pytest.MonkeyPatch) -> None:
        fake = types.SimpleNamespace(Detections=lambda **fields: fields)
        monkeypatch.setitem(sys.modules, "supervision", fake)
        made = three().to_supervision()
        assert made["xyxy"].tolist() == three().boxes.tolist()
        assert made["confidence"].dtype == np.float32
        assert made["class_id"].tolist() == [1, 17, 12]
        assert made["data"]["class_name"].tolist() == ["person", "dog", "stop sign"]

    def test_supervision_itself_takes_them(self) -> None:
        supervision = pytest.importorskip("supervision")
        assert isinstance(three().to_supervision(), supervision.Detections)
        assert len(none().to_supervision()) == 0

    @pytest.mark.parametrize(
        ("name", "wanted"), [("pandas", r"ssd-resnet34\[pandas\]"), ("supervision", "supervision")]
    )
    def test_a_missing_package_is_named_with_the_pip_line(
        self, name: str, wanted: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(MissingExtra, match=f"pip install '{wanted}'$"):
            getattr(three(), f"to_{name}")()

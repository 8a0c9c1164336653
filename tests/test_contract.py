"""The contract as data."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssd_resnet34.contract import COCO, HEAD_NAMES, NUM_PRIORS, OFFSETS, Category, Contract
from ssd_resnet34.errors import ContractError
from ssd_resnet34.vision.preprocess import preprocess


def test_coco_has_81_classes_and_the_documented_heads() -> None:
    assert COCO.num_classes == 81
    assert NUM_PRIORS == 15130
    assert OFFSETS == (0, 10000, 13750, 14764, 15058, 15094)
    channels = [shape[0] for shape in COCO.head_shapes().values()]
    assert channels == [324, 486, 486, 486, 324, 324, 16, 24, 24, 24, 16, 16]
    assert list(COCO.head_shapes()) == list(HEAD_NAMES)


def test_coco_categories_are_the_official_ones(shared: Path) -> None:
    official = json.loads((shared / "data/coco/annotations/instances_val2017.json").read_text())
    assert [(c.category_id, c.label) for c in COCO.categories] == [
        (c["id"], c["name"]) for c in official["categories"]
    ]


def test_index_category_id_and_label_are_three_things() -> None:
    stop_sign = COCO.categories[12 - 1]  # model index 12
    assert (stop_sign.category_id, stop_sign.label) == (13, "stop sign")


names = st.text(min_size=1, max_size=20)


@given(
    st.lists(
        st.tuples(st.integers(0, 10**6), names),
        min_size=1,
        max_size=30,
        unique_by=(lambda pair: pair[0], lambda pair: pair[1]),
    ),
    st.sampled_from(["pytorch", "tensorflow"]),
    st.tuples(*[st.floats(0, 1)] * 3),
    st.tuples(*[st.floats(0.01, 10)] * 3),
)
def test_a_contract_survives_its_json(pairs, lineage, mean, std) -> None:  # type: ignore[no-untyped-def]  # hypothesis fills these
    contract = Contract(tuple(Category(*pair) for pair in pairs), lineage, mean, std)
    assert Contract.from_json(contract.to_json()) == contract
    assert Contract.from_json(contract.to_json()).to_json() == contract.to_json()


def written(**change: Any) -> str:
    """The JSON of a contract whose one category is changed."""
    data = json.loads(Contract((Category(3, "car"),)).to_json())
    data["categories"][0] |= change
    return json.dumps(data)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a contract"),
        ("[]", "not a contract"),
        ("{}", "schema None"),
        ('{"schema": 99}', "schema 99"),
        ('{"schema": 1}', "not a contract"),
        ('{"schema": 1, "categories": []}', "not a contract"),
        ('{"schema": 1, "categories": [{"category_id": 1}]}', "not a contract"),
        (written(category_id=1.5), "category_id=1.5, .* is none"),
        (written(category_id="7"), "category_id='7', .* is none"),
        (written(label=None), "label=None.* is none"),
        (written(label=""), "label=''.* is none"),
    ],
)
def test_foreign_json_is_refused_with_the_mend(text: str, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        Contract.from_json(text)


def test_lists_and_arrays_make_the_same_contract_as_tuples() -> None:
    cats = [Category(3, "car"), Category(4, "bus")]
    wanted = Contract(tuple(cats), mean=(0.5, 0.0, 1.0))
    for series in (cats, iter(cats)):
        made = Contract(series, mean=np.array([0.5, 0, 1]), std=list(wanted.std))  # type: ignore[arg-type]
        assert (made, hash(made), made.to_json()) == (wanted, hash(wanted), wanted.to_json())
    assert preprocess(np.zeros((3, 3), np.uint8), made).tensor.shape == (1, 3, 1200, 1200)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"categories": "abc"}, "categories: 'a' is none"),
        ({"categories": 5}, "categories: 5 is none"),
        ({"categories": ((3, "car"),)}, r"categories: \(3, 'car'\) is none"),
        ({"categories": (Category(True, "car"),)}, "category_id=True"),
        ({"mean": None}, "mean needs three finite"),
        ({"mean": (0.5, 0.5)}, "mean needs three finite"),
        ({"mean": (0.5, 0.5, 10**400)}, "mean needs three finite"),
        ({"std": (0.5, 0.5, float("nan"))}, "std needs three finite"),
    ],
)
def test_what_is_no_part_of_a_contract_is_refused(wrong: Any, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        Contract(**({"categories": (Category(3, "car"),)} | wrong))


def test_a_contract_that_contradicts_itself_is_refused() -> None:
    car = Category(3, "car")
    with pytest.raises(ContractError, match="at least one category"):
        Contract(())
    with pytest.raises(ContractError, match="'car' occurs twice"):
        Contract((car, Category(4, "car")))
    with pytest.raises(ContractError, match="3 occurs twice"):
        Contract((car, Category(3, "bus")))
    with pytest.raises(ContractError, match="64 bits"):
        Contract((Category(2**63, "car"),))
    with pytest.raises(ContractError, match="lineage 'caffe'"):
        Contract((car,), lineage="caffe")  # type: ignore[arg-type]  # the wrong value is the test
    with pytest.raises(ContractError, match="std needs values above 0"):
        Contract((car,), std=(1.0, 0.0, 1.0))
    with pytest.raises(ContractError, match="resize 'letterbox'"):
        Contract((car,), resize="letterbox")  # type: ignore[arg-type]  # the wrong value is the test

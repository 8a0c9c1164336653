"""Mixing: what one source does not label is not taught as background."""

from pathlib import Path

import numpy as np
import pytest

from ssd_resnet34.contract import COCO, COCO_CATEGORIES, Category, Contract
from ssd_resnet34.errors import UsageError
from ssd_resnet34.training.data.example import DataSet, Sample
from ssd_resnet34.training.data.mixing import VOC_TO_COCO, mixed
from ssd_resnet34.training.data.voc import VOC_LABELS


def data_set(
    contract: Contract, indices: list[int], unknown: frozenset[int] = frozenset(), name: str = "x"
) -> DataSet:
    boxes = np.arange(4 * len(indices), dtype=np.float32).reshape(-1, 4)
    ignored = np.arange(len(indices)) % 2 == 1
    sample = Sample(Path(name), (100, 100), boxes, np.array(indices, np.int64), ignored, unknown)
    return DataSet(contract, (sample,), (f"{name} warns",))


def contract(*labels: str, first: int = 1) -> Contract:
    return Contract(tuple(Category(n, label) for n, label in enumerate(labels, first)))


VOC = contract(*VOC_LABELS)


def test_voc_and_coco_make_coco() -> None:
    both = mixed([data_set(VOC, list(range(1, 21))), data_set(COCO, [80, 1])])
    assert both.contract is COCO
    voc, coco = both.samples
    labels = [COCO.labels[n - 1] for n in voc.indices]
    assert labels == [VOC_TO_COCO.get(label, label) for label in VOC_LABELS]
    assert coco.indices.tolist() == [80, 1]
    assert coco.unknown == frozenset()
    assert voc.unknown == frozenset(range(1, 81)) - set(voc.indices.tolist())
    assert len(voc.unknown) == 60


def test_the_table_leads_from_vocs_names_to_cocos() -> None:
    assert set(VOC_TO_COCO) == set(VOC_LABELS) - set(COCO.labels)
    assert set(VOC_TO_COCO.values()) <= set(COCO.labels)


def test_vocs_names_stay_where_cocos_are_not_mixed_in() -> None:
    both = mixed([data_set(VOC, [1]), data_set(contract("anvil"), [1])])
    assert both.contract.labels == (*VOC_LABELS, "anvil")


def test_labels_join_in_their_order_and_keep_free_ids() -> None:
    first = data_set(contract("bell", "anvil"), [1, 2], name="first")
    second = data_set(contract("cork", "bell", first=2), [1, 2], name="second")
    both = mixed([first, second])
    assert both.contract.categories == (
        Category(1, "bell"),
        Category(2, "anvil"),
        Category(3, "cork"),  # 2 is taken
    )
    assert [sample.indices.tolist() for sample in both.samples] == [[1, 2], [3, 1]]
    assert [sample.unknown for sample in both.samples] == [{3}, {2}]
    assert both.warnings == ("set 1: first warns", "set 2: second warns")
    for sample, source in zip(both.samples, (first, second), strict=True):
        assert np.array_equal(sample.boxes, source.samples[0].boxes)
        assert np.array_equal(sample.ignored, source.samples[0].ignored)


def test_what_a_source_calls_unknown_stays_unknown() -> None:
    both = mixed(
        [
            data_set(contract("bell", "anvil"), [1], frozenset({2})),
            data_set(contract("anvil", "cork"), [2], frozenset({1})),
        ]
    )
    assert [sample.unknown for sample in both.samples] == [{2, 3}, {1, 2}]


def test_one_set_alone_is_itself() -> None:
    one = data_set(contract("bell", "anvil"), [1, 2])
    both = mixed([one])
    assert both.contract == one.contract
    assert both.samples[0].unknown == frozenset()


def test_two_names_of_one_class_in_a_set_are_refused() -> None:
    twofold = contract("tv", "tvmonitor")
    with pytest.raises(UsageError, match="'tv' by two names"):
        mixed([data_set(twofold, [1]), data_set(Contract(COCO_CATEGORIES), [1])])


def test_nothing_to_mix_is_refused() -> None:
    with pytest.raises(UsageError, match="no data set"):
        mixed([])

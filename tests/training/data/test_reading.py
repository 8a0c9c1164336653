"""What all forms have in common: the same samples, the same contract, the same refusals."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from ssd_resnet34.contract import COCO, Category, Contract
from ssd_resnet34.errors import UsageError
from ssd_resnet34.training.data.example import DataSet
from ssd_resnet34.training.data.loading import decoded
from ssd_resnet34.training.data.reading import Format, read
from written_sets import LABELS, PICTURES, Picture, write_coco, write_voc, write_yolo

Writer = Callable[..., Path]
FORMS: dict[Any, Writer] = {"coco": write_coco, "voc": write_voc, "yolo": write_yolo}


def same(a: DataSet, b: DataSet) -> None:
    for one, other in zip(a.samples, b.samples, strict=True):
        assert one.path.name == other.path.name
        assert one.size == other.size
        assert np.allclose(one.boxes, other.boxes, atol=1e-4)
        for field in ("indices", "ignored"):
            assert np.array_equal(getattr(one, field), getattr(other, field))


def test_every_form_has_a_test_here() -> None:
    assert set(FORMS) == set(get_args(Format))


@pytest.mark.parametrize("form", FORMS)
def test_a_set_is_the_same_in_every_form(tmp_path: Path, form: Format) -> None:
    found = read(FORMS[form](tmp_path), form)
    assert found.contract.labels == LABELS
    assert found.warnings == ()
    for sample, picture in zip(found.samples, PICTURES, strict=True):
        assert sample.path.name == picture.name
        assert sample.size == picture.size
        assert sample.boxes.dtype == np.float32
        assert sample.boxes.shape == (len(picture.objects), 4)
        for box, (_, wanted) in zip(sample.boxes, picture.objects, strict=True):
            assert np.allclose(box, wanted, atol=1e-4)
        assert sample.indices.tolist() == [label + 1 for label, _ in picture.objects]
        assert not sample.ignored.any()
        assert sample.unknown == frozenset()
        assert decoded(sample).pixels.shape == (picture.size[1], picture.size[0], 3)


@pytest.mark.parametrize("form", FORMS)
def test_a_split_is_chosen_by_its_name(tmp_path: Path, form: Format) -> None:
    FORMS[form](tmp_path, PICTURES[:1], split="odd")
    found = read(tmp_path, form, split="odd")
    assert [sample.path.name for sample in found.samples] == ["a.jpg"]


@pytest.mark.parametrize("form", FORMS)
def test_a_split_that_is_not_there_is_refused(tmp_path: Path, form: Format) -> None:
    FORMS[form](tmp_path)
    with pytest.raises(UsageError, match="test"):
        read(tmp_path, form, split="test")


@pytest.mark.parametrize("form", FORMS)
def test_a_place_without_anything_is_refused(tmp_path: Path, form: Format) -> None:
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UsageError, match=tmp_path.name):
            read(place, form)


def test_an_unknown_form_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"'tfrecord' is unknown; give coco or voc or yolo"):
        read(tmp_path, "tfrecord")  # type: ignore[arg-type]


@pytest.mark.parametrize("form", FORMS)
def test_boxes_without_a_place_are_left_out_and_those_over_the_border_cut(
    tmp_path: Path, form: Format
) -> None:
    bad = Picture(
        "bad.png",
        (100, 50),
        (
            (0, (5, 5, 20, 20)),  # good
            (1, (30, 10, 30, 20)),  # no area
            (1, (120, 10, 140, 20)),  # wholly outside
            (2, (90, 30, 130, 70)),  # over the border
            (2, (-1, 10, 20, 20)),  # a pixel over it: rounding
        ),
    )
    found = read(FORMS[form](tmp_path, [bad]), form)
    (sample,) = found.samples
    assert sample.indices.tolist() == [1, 3, 3]
    wanted = [[5, 5, 20, 20], [90, 30, 100, 50], [0, 10, 20, 20]]
    assert np.allclose(sample.boxes, wanted, atol=1e-4)
    told = "\n".join(found.warnings)
    for what in (
        "1 of 5 boxes has no area and is left out",
        "1 of 5 boxes lies wholly outside its image and is left out",
        "1 of 5 boxes reaches over the border of its image and is cut off there",
        "1 of 3 classes without any box (bell)",
    ):
        assert what in told
    assert len(found.warnings) == 4


@pytest.mark.parametrize("form", FORMS)
def test_a_set_without_any_box_is_refused(tmp_path: Path, form: Format) -> None:
    flat = Picture("flat.png", (50, 50), ((0, (10, 10, 10, 20)),))
    with pytest.raises(UsageError, match="no box that could be learned"):
        read(FORMS[form](tmp_path, [flat]), form)


@pytest.mark.parametrize("form", FORMS)
def test_a_validation_set_takes_the_classes_of_its_training_set(
    tmp_path: Path, form: Format
) -> None:
    wider = Contract(
        tuple(
            Category(n, one) for n, one in ((7, "zither"), (9, "cork"), (2, "bell"), (3, "anvil"))
        )
    )
    found = read(FORMS[form](tmp_path), form, contract=wider)
    assert found.contract is wider
    assert [sample.indices.tolist() for sample in found.samples] == [[4, 2], [3], []]
    narrower = Contract((Category(1, "bell"), Category(2, "cork")))
    with pytest.raises(UsageError, match="anvil is no class of the model"):
        read(FORMS[form](tmp_path), form, contract=narrower)


@pytest.mark.parametrize("form", FORMS)
def test_labels_can_be_declared_unknown(tmp_path: Path, form: Format) -> None:
    FORMS[form](tmp_path)
    found = read(tmp_path, form, unknown=["bell", "cork"])
    assert {sample.unknown for sample in found.samples} == {frozenset({2, 3})}
    with pytest.raises(UsageError, match=r"'bel' is unknown; did you mean 'bell'\?"):
        read(tmp_path, form, unknown=["bel"])


@pytest.mark.parametrize("form", FORMS)
def test_what_has_no_box_can_be_declared_unknown_as_a_whole(tmp_path: Path, form: Format) -> None:
    FORMS[form](tmp_path, PICTURES[1:])
    contract = Contract(tuple(Category(n, one) for n, one in enumerate(LABELS, 1)))
    silent = read(tmp_path, form, contract=contract)
    assert 'give unknown="unlabelled"' in silent.warnings[0]
    found = read(tmp_path, form, unknown="unlabelled", contract=contract)
    assert {sample.unknown for sample in found.samples} == {frozenset({1, 3})}
    assert found.warnings == ()


@pytest.mark.parametrize("form", FORMS)
def test_labels_that_are_exactly_cocos_keep_its_contract(
    tmp_path: Path, form: Format, monkeypatch: pytest.MonkeyPatch
) -> None:
    import written_sets

    turned = tuple(reversed(COCO.labels))
    for name in ("document", "xml"):  # they take the labels as a default
        made = getattr(written_sets, name)
        monkeypatch.setattr(
            written_sets, name, lambda *a, _made=made, **k: _made(*a, **{"labels": turned, **k})
        )
    monkeypatch.setattr(written_sets, "LABELS", turned)
    # VOC's classes are those it finds.
    objects = tuple((n, (n, n, n + 10, n + 10)) for n in range(80))
    monkeypatch.setattr(written_sets, "COLOURS", [(1, 2, 3)] * 80)
    found = read(FORMS[form](tmp_path, [Picture("all.png", (100, 100), objects)]), form)
    assert found.contract is COCO
    assert found.samples[0].indices.tolist() == list(range(80, 0, -1))


@pytest.mark.parametrize("form", FORMS)
def test_a_name_that_no_system_has_is_refused_too(tmp_path: Path, form: Format) -> None:
    for name in ("x" * 5000, "nul\0"):
        with pytest.raises(UsageError):
            read(tmp_path / name, form)


LABEL_FILES: dict[str, tuple[Any, str]] = {
    "a COCO file": ("coco", "annotations/instances_train.json"),
    "a list of VOC": ("voc", "ImageSets/Main/train.txt"),
    "an XML of VOC": ("voc", "Annotations/a.xml"),
    "the settings of YOLO": ("yolo", "data.yaml"),
    "a text of YOLO": ("yolo", "labels/train/a.txt"),
    "a list of YOLO": ("yolo", "images/train"),
}


@pytest.mark.parametrize("what", LABEL_FILES)
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_labels_from_a_pipe_or_device_are_refused_and_not_waited_for(
    tmp_path: Path, what: str, kind: str
) -> None:
    form, name = LABEL_FILES[what]
    FORMS[form](tmp_path)
    file = tmp_path / name
    file.rename(tmp_path / "before")
    if kind == "pipe":
        os.mkfifo(file)
    else:
        file.symlink_to("/dev/zero")
    place = file if what in ("a COCO file", "the settings of YOLO") else tmp_path
    with pytest.raises(UsageError, match=f"{file.name}: .*a pipe or device, not a file.*; .*"):
        read(place, form)

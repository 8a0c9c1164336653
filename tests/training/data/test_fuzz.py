"""Whatever a file holds, a reader gives a data set or refuses it by name."""

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ssd_resnet34.errors import UsageError
from ssd_resnet34.training.data.example import DataSet
from ssd_resnet34.training.data.reading import Format, read
from written_sets import PICTURES, document, write_coco, write_voc, write_yolo, xml

SETTINGS = settings(
    max_examples=100,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # files are slow to shrink
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-3, 300),
        st.sampled_from([2**31, -(2**63), 2**64, 10**400, 1e308, -1e308]),
        st.floats(),
        st.text(max_size=5),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=5), st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=6,
)


def sound(found: DataSet) -> None:
    for sample in found.samples:
        width, height = sample.size
        n = len(sample.boxes)
        assert sample.boxes.shape == (n, 4)
        assert np.isfinite(sample.boxes).all()
        assert (sample.boxes >= 0).all()
        assert (sample.boxes <= (width, height, width, height)).all()
        assert (sample.boxes[:, 2:] > sample.boxes[:, :2]).all()
        assert sample.indices.shape == sample.ignored.shape == (n,)
        assert set(sample.indices.tolist()) <= set(range(1, len(found.contract.labels) + 1))


def tried(root: Path, form: Format) -> None:
    refusal = ""
    try:
        sound(read(root, form))
    except UsageError as error:
        refusal = str(error)
    assert not refusal or str(root) in refusal
    assert "\n" not in refusal


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) of a document."""
    found: list[tuple[Any, Any]] = []
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, inner in items:
        found.append((value, key))
        found += places(inner)
    return found


@SETTINGS
@given(st.data())
def test_any_change_of_coco_is_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    if not (tmp_path / "annotations").is_dir():
        write_coco(tmp_path)
    made = copy.deepcopy(document())
    for _ in range(data.draw(st.integers(1, 3))):
        all_places = places(made)
        container, key = data.draw(st.sampled_from(all_places))
        container[key] = data.draw(values)
        if not made:
            break
    (tmp_path / "annotations" / "instances_train.json").write_text(json.dumps(made))
    tried(tmp_path, "coco")


def mutated(data: st.DataObject, text: bytes) -> bytes:
    changed = bytearray(text)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(changed)))
        end = data.draw(st.integers(start, min(len(changed), start + 12)))
        changed[start:end] = data.draw(
            st.one_of(
                st.binary(max_size=6),
                st.sampled_from([b"nan", b"-1", b"1e999", b"<a>", b"&x;", b"9" * 400, b" 7 "]),
            )
        )
    return bytes(changed)


def voc_file(root: Path) -> tuple[Path, bytes]:
    return root / "Annotations" / "a.xml", xml(PICTURES[0]).encode()


def label_text(root: Path) -> tuple[Path, bytes]:
    text = b"0 0.25 0.5 0.125 0.25\n1 0.1 0.1 0.2 0.1 0.2 0.2\n"
    return root / "labels" / "train" / "a.txt", text


def settings_file(root: Path) -> tuple[Path, bytes]:
    return root / "data.yaml", b"names: [anvil, bell, cork]\npath: .\ntrain: images/train\n"


@pytest.mark.parametrize(
    ("form", "write", "file"),
    [
        ("voc", write_voc, voc_file),
        ("yolo", write_yolo, label_text),
        ("yolo", write_yolo, settings_file),
    ],
)
@SETTINGS
@given(st.data())
def test_any_change_of_text_is_read_or_refused(
    tmp_path: Path,
    form: Format,
    write: Callable[[Path], Path],
    file: Callable[[Path], tuple[Path, bytes]],
    data: st.DataObject,
) -> None:
    root = tmp_path / "set"
    shutil.rmtree(root, ignore_errors=True)
    write(root)
    path, text = file(root)
    path.write_bytes(mutated(data, text))
    tried(root, form)

"""Rows as bytes and back: nothing is lost, the same rows give the same bytes."""

import io
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssd_resnet34.batch.forms import (
    FORMS,
    FormError,
    timings_from_parquet,
    timings_to_parquet,
)
from ssd_resnet34.batch.parquet import arrow, parquet
from ssd_resnet34.batch.rows import Row, Summary, Timing
from ssd_resnet34.vision.detections import Detections

TEXT = st.text(st.characters(blacklist_categories=["Cs"]), max_size=8)
FLOATS = st.floats(0, 1e6, width=32)


@st.composite
def rows(draw: st.DrawFn) -> Row:
    uri = draw(TEXT)
    common: dict[str, Any] = {
        "id": draw(st.integers(1, 2**40)),
        "uri": uri,
        "size": draw(st.none() | st.integers(0, 2**40)),
        "hash": draw(st.none() | TEXT),
        "fingerprint": draw(TEXT),
        "model": draw(TEXT),
    }
    if draw(st.booleans()):
        return Row(**common, error=draw(TEXT.filter(bool)), message=draw(TEXT))
    n = draw(st.integers(0, 4))
    found = Detections(
        np.array([[draw(FLOATS) for _ in range(4)] for _ in range(n)], np.float32).reshape(n, 4),
        np.array([draw(st.floats(0, 1, width=32)) for _ in range(n)], np.float32),
        np.array([draw(st.integers(1, 80)) for _ in range(n)], np.int64),
        np.array([draw(st.integers(0, 1000)) for _ in range(n)], np.int64),
        tuple(draw(TEXT) for _ in range(n)),
        uri,
        draw(st.integers(1, 65535)),
        draw(st.integers(1, 65535)),
        common["model"],
    )
    return Row(**common, found=found)


@pytest.mark.parametrize("format", ["parquet", "jsonl"])
@settings(max_examples=40)
@given(given_=st.lists(rows(), max_size=5))
def test_any_rows_come_back_and_give_the_same_bytes_again(format: str, given_: list[Row]) -> None:
    form = FORMS[format]
    data = form.encode(given_, {"ssd_resnet34": "x"})
    back = form.decode(data)
    assert [one.to_json() for one in back] == [one.to_json() for one in given_]
    for one, other in zip(back, given_, strict=True):
        assert one.found == other.found
    assert form.encode(back, {"ssd_resnet34": "x"}) == data
    numbered = [replace(one, id=n) for n, one in enumerate(given_, 7)]
    uris = [one.uri for one in given_]
    assert form.check(form.encode(numbered, {}), uris, 7) == Summary.of(given_)


@pytest.mark.parametrize("format", ["parquet", "jsonl"])
def test_bytes_of_another_kind_are_refused(format: str) -> None:
    row = Row(1, "a", 1, "h", "f", "m", error="empty_input", message="no bytes")
    whole = FORMS[format].encode([row, replace(row, id=2)], {})
    other = FORMS["jsonl" if format == "parquet" else "parquet"].encode([row], {})
    for data in (other, b"garbage", whole[:-1], whole[: len(whole) // 2 - 3], whole + b"x"):
        with pytest.raises(FormError):
            FORMS[format].decode(data)
    with pytest.raises(FormError):
        FORMS[format].decode(timings_to_parquet([Timing(1)]))
    for uris, first in ((["a", "b"], 1), (["a"], 1), (["a", "a"], 2)):
        with pytest.raises(FormError, match="not those of the manifest"):
            FORMS[format].check(whole, uris, first)


def test_timings_come_back() -> None:
    given_ = [Timing(1, 0.5, 0.25, 1.5, 2, 1e9), Timing(2)]
    assert timings_from_parquet(timings_to_parquet(given_)) == given_
    assert timings_from_parquet(timings_to_parquet([])) == []
    with pytest.raises(FormError):
        timings_from_parquet(b"no")


def test_summaries_add_up_and_name_the_commonest_first() -> None:
    row = Row(1, "a", 10, "h", "f", "m", error="b", message="")
    some = [row, replace(row, error="a"), replace(row, error="a", size=None)]
    total = Summary.of(some[:1])
    total += Summary.of(some[1:])
    assert total == Summary.of(some)
    assert list(total.to_dict()["errors"].items()) == [("a", 2), ("b", 1)]
    assert (total.refused, total.bytes) == (3, 20)


@pytest.mark.parametrize(
    "edit",
    [
        {"size": "10"},
        {"id": True},
        {"uri": None},
        {"error": 5},
        {"error": ["empty_input"]},
        {"error": None},
        {"status": "fine"},
        {"fingerprint": ["f"]},
        {"model": None},
    ],
    ids=str,
)
def test_lines_edited_by_hand_are_no_rows(edit: dict[str, Any]) -> None:
    row = Row(1, "a", 1, "h", "f", "m", error="empty_input", message="no bytes")
    line = json.dumps({**row.to_dict(), **edit}).encode() + b"\n"
    for call in (FORMS["jsonl"].decode, lambda data: FORMS["jsonl"].check(data, ["a"], 1)):
        with pytest.raises(FormError, match="not readable as JSON rows"):
            call(line)


def test_a_line_nested_too_deep_is_no_row() -> None:
    with pytest.raises(FormError, match="not readable as JSON rows"):
        FORMS["jsonl"].decode(b"[" * 100_000 + b"\n")


def test_a_table_of_other_columns_holds_no_timings() -> None:
    sink = io.BytesIO()
    parquet().write_table(arrow().table({"id": ["a"], "read": ["b"]}), sink)
    with pytest.raises(FormError, match="other columns"):
        timings_from_parquet(sink.getvalue())

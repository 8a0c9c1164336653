"""Values of the protocol: binary and JSON, there and back."""

import base64
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssd_resnet34.serving.refusals import Refused
from ssd_resnet34.serving.tensors import (
    MAX_ELEMENTS,
    encode,
    join,
    read_elements,
    read_floats,
    read_text_elements,
    read_text_floats,
)


def framed(elements: list[bytes]) -> bytes:
    return b"".join(len(one).to_bytes(4, "little") + one for one in elements)


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_binary_elements_come_back(elements: list[bytes]) -> None:
    assert read_elements("x", framed(elements), len(elements)) == tuple(elements)


@given(st.lists(st.binary(max_size=9), min_size=1, max_size=4), st.data())
def test_a_blob_cut_or_lengthened_anywhere_is_refused(
    elements: list[bytes], data: st.DataObject
) -> None:
    blob = framed(elements)
    cut = data.draw(st.integers(0, len(blob) - 1))
    for wrong in (blob[:cut], blob + b"\0"):
        with pytest.raises(Refused, match="x"):
            read_elements("x", wrong, len(elements))


@pytest.mark.parametrize("count", [0, 1, 3])
def test_another_number_of_elements_than_the_shape_says_is_refused(count: int) -> None:
    with pytest.raises(Refused, match="shape says"):
        read_elements("x", framed([b"a", b"b"]), count)


def test_elements_without_number_are_refused_unread() -> None:
    blob = framed([b""] * (MAX_ELEMENTS + 1))
    assert len(read_elements("x", blob[4:], MAX_ELEMENTS)) == MAX_ELEMENTS
    with pytest.raises(Refused, match="at most"):
        read_elements("x", blob, MAX_ELEMENTS + 1)


@given(st.lists(st.binary(max_size=20), max_size=4))
def test_base64_elements_come_back(elements: list[bytes]) -> None:
    texts = [base64.b64encode(one).decode() for one in elements]
    assert read_text_elements("x", texts, len(texts), "base64") == tuple(elements)


@pytest.mark.parametrize("data", ["abc", None, {}, [1], [["a"], "b"], ["!!!"], ["YQ"]])
def test_what_is_no_list_of_base64_is_refused(data: Any) -> None:
    with pytest.raises(Refused):
        read_text_elements("x", data, 1, "base64")


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=6, max_size=6))
def test_floats_come_back_nested_or_flat(values: list[float]) -> None:
    wanted = np.array(values, "<f4").tobytes()
    nested = [[values[0:2], values[2:4]], [values[4:6]]]
    assert read_text_floats("x", values, 6) == wanted
    assert read_text_floats("x", nested, 6) == wanted
    assert read_floats("x", wanted, 6) == wanted


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (1.5, "not a list"),
        ([1.0, True], "bool"),
        ([1.0, "2"], "str"),
        ([1.0, None], "NoneType"),
        ([1.0, [2.0]], "mixes"),
        ([1.0], "1 elements"),
        ([[1.0, 2.0], [3.0]], "3 elements"),
        ([1e39, 0.0], "range of FP32"),
        ([10**400, 0], "range of FP32"),
        ([float("inf"), 0.0], "range of FP32"),
    ],
)
def test_what_is_no_tensor_of_floats_is_refused(data: Any, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        read_text_floats("x", data, 2)


def test_lists_nested_without_end_need_no_recursion() -> None:
    data: list[Any] = [1.0]
    for _ in range(100_000):
        data = [data]
    assert len(read_text_floats("x", data, 1)) == 4


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_json_text_reads_back_as_the_same_float32(values: list[float]) -> None:
    array = np.array(values, np.float32)
    text = json.loads(b"[" + encode("x", "FP32", array, text=True).data + b"]")
    assert np.array_equal(np.array(text, np.float32), array)


def test_outputs_of_several_images_join_along_the_first_axis() -> None:
    parts = [np.ones((n, 4), np.float32) * n for n in (2, 0, 1)]
    for text in (False, True):
        joined = join([encode("boxes", "FP32", part, text) for part in parts])
        assert joined.shape == (3, 4)
        values = (
            np.array(json.loads(b"[" + joined.data + b"]"), np.float32)
            if text
            else np.frombuffer(joined.data, "<f4")
        )
        assert np.array_equal(values.reshape(3, 4), np.concatenate(parts))


def test_json_has_no_nan_and_binary_has() -> None:
    array = np.array([np.nan], np.float32)
    with pytest.raises(Refused, match="binary"):
        encode("x", "FP32", array, text=True)
    assert np.isnan(np.frombuffer(encode("x", "FP32", array, text=False).data, "<f4")).all()

"""Requests of the protocol: what is accepted, and a reason for everything that is not."""

import json
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving_requests import BLOB, IMAGE, NOT_THE_PROTOCOL, binary
from ssd_resnet34.serving.inference import InferRequest, answer, header_length, parse, raw
from ssd_resnet34.serving.refusals import Refused
from ssd_resnet34.serving.tensors import encode


def read(body: Any, blobs: bytes = b"") -> InferRequest:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return parse(text + blobs, len(text) if blobs else None, 100)


def test_binary_and_base64_inputs_are_the_same_bytes() -> None:
    text = {**IMAGE, "parameters": {"content_type": "base64"}, "data": ["YWJj"]}
    assert read(binary(), BLOB).inputs == read({"inputs": [text]}).inputs
    assert read(binary(), BLOB).inputs[0].elements == (b"abc",)


def test_several_binary_inputs_follow_in_order() -> None:
    floats = np.arange(4, dtype="<f4").tobytes()
    second = {
        "name": "x",
        "datatype": "FP32",
        "shape": [2, 2],
        "parameters": {"binary_data_size": 16},
    }
    found = read({"inputs": [*binary()["inputs"], second]}, BLOB + floats)
    assert [one.elements for one in found.inputs] == [(b"abc",), (floats,)]


def test_a_raw_body_is_the_one_input_without_a_length() -> None:
    found = raw(b"abc", "image", "BYTES", (1,))
    assert found.inputs[0].elements == (b"abc",)
    assert found.binary
    with pytest.raises(Refused, match="empty"):
        raw(b"", "image", "BYTES", (1,))
    with pytest.raises(Refused, match="12"):
        raw(b"abc", "image", "FP32", (1, 3))


def test_id_parameters_and_outputs_are_read() -> None:
    found = read(
        {
            **binary(),
            "id": "a",
            "parameters": {"timeout": 1500, "unknown": "x", "binary_data_output": True},
            "outputs": [
                {"name": "boxes", "parameters": {"binary_data": False}},
                {"name": "scores"},
                {"name": "scores"},
            ],
        },
        BLOB,
    )
    assert found.id == "a"
    assert found.timeout == pytest.approx(0.0015)
    assert found.outputs is not None
    assert [(one.name, one.binary) for one in found.outputs] == [("boxes", False), ("scores", True)]


def test_no_outputs_and_an_empty_list_mean_all() -> None:
    assert read(binary(), BLOB).outputs is None
    assert read({**binary(), "outputs": []}, BLOB).outputs is None


def test_a_byte_order_mark_is_passed_over() -> None:
    text = {**IMAGE, "data": ["a"]}
    assert read("\ufeff".encode() + json.dumps({"inputs": [text]}).encode()).inputs


def test_eight_tensors_in_nested_lists_are_not_too_many_parts() -> None:
    rows = [[[[0] * 2] * 1200] * 3] * 8
    found = read(
        {"inputs": [{"name": "x", "datatype": "FP32", "shape": [8, 3, 1200, 2], "data": rows}]}
    )
    assert len(found.inputs[0].elements[0]) == 4 * 8 * 3 * 1200 * 2


@pytest.mark.parametrize("name", NOT_THE_PROTOCOL)
def test_what_is_not_the_protocol_is_a_bad_request_with_a_reason(name: str) -> None:
    body, blobs = NOT_THE_PROTOCOL[name]
    with pytest.raises(Refused) as error:
        read(body, blobs)
    assert error.value.status == 400
    assert len(str(error.value)) > 10


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["inputs", "outputs", "name", "shape", "datatype", "data", "parameters", "id"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(JSON, st.binary(max_size=20))
def test_any_json_is_read_or_refused(body: Any, blobs: bytes) -> None:
    with suppress(Refused):
        read(body, blobs)


@given(st.binary(max_size=60), st.none() | st.integers(0, 60))
def test_any_bytes_are_read_or_refused(body: bytes, length: int | None) -> None:
    with suppress(Refused):
        parse(body, None if length is None else min(length, len(body)), 100)


@pytest.mark.parametrize("value", ["-1", "abc", "12abc", "", "+3", "²", "2147483648", "9" * 5000])
def test_a_header_length_that_is_no_place_in_the_body_is_refused(value: str) -> None:
    with pytest.raises(Refused, match=r"0\.\.100"):
        header_length([value], 100)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({}, "the request has no 'inputs'; give it, a list"),
        ({"inputs": 5}, "'inputs' of the request is int; give a list"),
        ({"inputs": [{}]}, "an input has no 'name'; give it, a string"),
        ({"inputs": [{"name": 1}]}, "'name' of an input is int; give a string"),
    ],
)
def test_what_is_missing_is_told_from_what_is_of_another_kind(body: Any, reason: str) -> None:
    with pytest.raises(Refused) as error:
        read(body)
    assert str(error.value) == reason


def test_a_header_length_counts_once() -> None:
    assert header_length([], 100) is None
    assert header_length(["100"], 100) == 100
    with pytest.raises(Refused, match="twice"):
        header_length(["3", "3"], 100)


def test_an_answer_mixes_binary_and_json_outputs() -> None:
    boxes = np.arange(8, dtype=np.float32).reshape(2, 4)
    count = np.array([2], np.int64)
    outputs = [encode("boxes", "FP32", boxes, text=False), encode("n", "INT64", count, text=True)]
    body, length = answer("m", "1", "the id", outputs)
    head = json.loads(body[:length])
    assert head == {
        "model_name": "m",
        "model_version": "1",
        "id": "the id",
        "outputs": [
            {
                "name": "boxes",
                "datatype": "FP32",
                "shape": [2, 4],
                "parameters": {"binary_data_size": 32},
            },
            {"name": "n", "datatype": "INT64", "shape": [1], "data": [2]},
        ],
    }
    assert body[length:] == boxes.tobytes()


def test_an_answer_of_json_alone_has_no_length_and_no_id_unless_given() -> None:
    body, length = answer("m", "1", None, [encode("n", "INT64", np.array([2]), text=True)])
    assert length is None
    assert "id" not in json.loads(body)

"""Inputs of any shape and dtype are either accepted or refused in words."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssd_resnet34.errors import InvalidInput
from ssd_resnet34.runtime.tensors import Array, Outputs, in_parts, read_inputs

AXES = st.sampled_from([0, 1, 2, 3, 4, 299, 1199, 1200, 1201])
DTYPES = st.sampled_from(["float32", ">f4", "float64", "float16", "uint8", "int64", "bool", "U3"])


def test_a_right_array_is_taken_as_it_is() -> None:
    tensor = np.zeros((1, 3, 1200, 1200), np.float32)
    found, contexts = read_inputs([tensor])
    assert found is tensor
    assert contexts is None


@given(st.lists(AXES, max_size=5).map(tuple), DTYPES)
def test_any_other_shape_or_dtype_is_refused_in_words(shape: tuple[int, ...], dtype: str) -> None:
    array = np.broadcast_to(np.zeros((), dtype), shape)
    right = len(shape) == 4 and shape[0] > 0 and shape[1:] == (3, 1200, 1200)
    if right and array.dtype == np.float32:
        assert read_inputs(array)[0].shape == shape
        return
    with pytest.raises(InvalidInput) as caught:
        read_inputs(array)
    message = str(caught.value)
    assert "expected a float32 array [N, 3, 1200, 1200]" in message
    assert f"found {array.dtype} {list(shape)}" in message


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused_before_an_engine_makes_something_of_it(value: float) -> None:
    tensor = np.zeros((2, 3, 1200, 1200), np.float32)
    tensor[1, 2, 1199, 1199] = value
    with pytest.raises(InvalidInput, match="NaN or infinity at 1 of 8640000 places"):
        read_inputs(tensor)
    tensor[1] = 3e38  # their sum is infinite, they are not
    assert read_inputs(tensor)[0] is tensor


@given(st.recursive(st.none() | st.integers() | st.text() | st.binary(), st.lists))
def test_anything_else_is_refused_in_words(value: object) -> None:
    with pytest.raises(InvalidInput, match="expected a float32 array"):
        read_inputs(value)


def test_a_batch_is_taken_apart_and_put_together() -> None:
    seen: list[int] = []

    def run(image: Array) -> list[Array]:
        seen.append(len(image))
        return [image[:, :1], image[:, 1:]]

    batch = np.arange(4 * 3, dtype=np.float32).reshape(4, 3)
    for most, parts in ((1, [1, 1, 1, 1]), (3, [3, 1]), (4, [4]), (9, [4])):
        seen.clear()
        first, second = in_parts(batch, run, most)
        assert seen == parts
        assert np.array_equal(np.concatenate([first, second], axis=1), batch)


def test_outputs_are_a_list() -> None:
    heads = [np.zeros((1, 2), np.float32), np.ones((1, 2), np.float32)]
    outputs = Outputs(heads, ["a"])
    assert isinstance(outputs, list)
    assert outputs[1] is heads[1]
    assert outputs.contexts == ("a",)
    assert Outputs(heads).contexts is None

"""Device specifications are checked, and counted as replicas."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from furiosa.runtime import errors
from furiosa.runtime._devices import Devices, parse


@pytest.mark.parametrize(
    ("specification", "replicas"),
    [
        ("warboy(2)*1", 1),
        ("warboy(1)*4", 4),
        ("warboy*2", 2),
        ("npu:0:0-1", 1),
        ("npu:3:1", 1),
        ("npu0pe0-1", 1),
        ("npu0pe0,npu0pe1", 2),
        ("npu:0:0,npu:1:0,npu:2:0-1", 3),
        ("warboy(1)*2,warboy(2)*1", 3),
    ],
)
def test_a_specification_counts_its_devices(specification: str, replicas: int) -> None:
    assert parse(specification) == Devices("cpu", replicas)


@pytest.mark.parametrize("specification", ["cpu", "cuda", "cuda:1"])
def test_devices_of_this_package_are_taken_as_they_are(specification: str) -> None:
    assert parse(specification) == Devices(specification, 1)


@pytest.mark.parametrize(
    ("specification", "text"),
    [
        ("", "is no device"),
        ("gpu", "is no device"),
        ("renegade(2)*1", "is no device"),
        ("warboy(2)", "is no device"),
        ("npu:0:0-1,", "is no device"),
        ("npu:0:0, npu:0:1", "is no device"),
        ("npu0", "is no device"),
        ("warboy(3)*1", "1 or 2 PEs"),
        ("warboy(2)*0", "1 or more chips"),
        ("npu:0:2", "not 0, 1 or 0-1"),
        ("npu:0:1-0", "not 0, 1 or 0-1"),
        ("npu:0:0,npu0pe0-1", "twice"),
        ("warboy(2)*65", "64 replicas"),
        ("npu:٠:0", "is no device"),
        (5, "a int"),
    ],
)
def test_another_specification_is_refused_with_a_reason(specification: str, text: str) -> None:
    with pytest.raises(errors.InvalidSessionOption, match=text):
        parse(specification)


@given(st.text(alphabet="npuwarboy:(*)-,0123", max_size=20))
def test_no_text_makes_another_error(text: str) -> None:
    with suppress(errors.InvalidSessionOption):
        assert 1 <= parse(text).replicas <= 64


def test_the_variables_count_where_nothing_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse(None).replicas == 1
    monkeypatch.setenv("NPU_DEVNAME", "warboy(1)*2")
    assert parse(None).replicas == 2
    monkeypatch.setenv("FURIOSA_DEVICES", "warboy(1)*3")
    assert parse(None).replicas == 3
    assert parse("warboy(1)*4").replicas == 4
    monkeypatch.setenv("FURIOSA_DEVICES", "nothing")
    with pytest.raises(errors.InvalidSessionOption, match="FURIOSA_DEVICES: 'nothing'"):
        parse(None)

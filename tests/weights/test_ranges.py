"""Ranges as a YAML file: every bit survives, and what is no range is refused by name."""

import errno
import json
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ssd_resnet34.errors import CalibrationError, OutputError, UsageError
from ssd_resnet34.weights.ranges import MAX_BYTES, check, read, write

numbers = st.floats(width=32, allow_nan=False, allow_infinity=False)
pairs = st.tuples(numbers, numbers).map(lambda pair: (min(pair), max(pair)))
names = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=200),
    st.sampled_from(
        ["on", "no", "null", "1", "0x1f", "1.5", "~", "<<", "=", "- a", "a: b", "", "*x"]
    ),
)


def bits(value: float) -> bytes:
    return struct.pack("<f", value)


def written(folder: Path, text: str | bytes) -> Path:
    file = folder / "ranges.yaml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


# ---------------------------------------------------------------- there and back


@given(st.dictionaries(names, pairs, min_size=1, max_size=8))
def test_names_their_order_and_every_float32_bit_survive(
    tmp_path_factory: pytest.TempPathFactory, ranges: dict[str, tuple[float, float]]
) -> None:
    file = tmp_path_factory.getbasetemp() / "round.yaml"
    write(file, ranges)
    found = read(file)
    assert list(found) == list(ranges)
    for name, pair in ranges.items():
        assert list(map(bits, found[name])) == list(map(bits, pair))


def test_the_form_is_a_line_a_tensor_with_min_and_max(tmp_path: Path) -> None:
    file = tmp_path / "ranges.yaml"
    write(file, {"image": (-2.1179, 2.64), "layer1.relu": (0, 0.1), "tiny": (-1e-30, 1e20)})
    assert file.read_text() == (
        "image: [-2.1179, 2.64]\nlayer1.relu: [0.0, 0.1]\ntiny: [-1.0e-30, 1.0e+20]\n"
    )


def test_a_file_written_by_hand_or_by_another_tool_is_read(tmp_path: Path) -> None:
    text = "# mine\nb:\n- -1\n- 2.5\na: &a [0, 1]\n'c': *a\n{}"
    file = written(tmp_path, text.removesuffix("{}"))
    assert list(read(str(file)).items()) == [("b", (-1, 2.5)), ("a", (0, 1)), ("c", (0, 1))]


def test_numbers_are_those_of_yaml_1_2_and_json_too(tmp_path: Path) -> None:
    text = json.dumps({"conv": [-1e-05, 2.5e16], "1e5": [0, 1e-07]})
    assert read(written(tmp_path, text)) == {"conv": (-1e-05, 2.5e16), "1e5": (0, 1e-07)}
    assert read(written(tmp_path, "conv: [-1.0E3, 1e3]")) == {"conv": (-1000, 1000)}
    for value in ("[0, 1e]", "[0, e5]", "[0, 1e999]", "[0, 1e5 px]"):
        with pytest.raises(CalibrationError, match="conv: "):
            read(written(tmp_path, f"conv: {value}"))


@pytest.mark.skipif(not hasattr(yaml, "CSafeLoader"), reason="this yaml has no C parser")
def test_the_python_parser_reads_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ranges = {"a": (-1e-7, 3.25), "b c": (0.0, 1e10)}
    file = tmp_path / "ranges.yaml"
    write(file, ranges)
    fast = read(file)
    monkeypatch.delattr(yaml, "CSafeLoader")
    assert read(file) == fast


# ---------------------------------------------------------------- what is refused


NO_RANGES = [
    "[2, 1]",
    "[.nan, 1]",
    "[0, .nan]",
    "[0, .inf]",
    "[-.inf, 0]",
    "[0, 1.0e+39]",
    f"[0, {10**400}]",
    "[-1.0e+400, 0]",
    "['0', '1']",
    "[0, one]",
    "[0, 1, 2]",
    "[0]",
    "[]",
    "[false, true]",
    "[0, null]",
    "[[0], [1]]",
    "{min: 0, max: 1}",
    "5",
    "0 1",
    "",
    "2020-01-01",
    "!!set {0, 1}",
]


@pytest.mark.parametrize("value", NO_RANGES)
def test_what_is_no_range_is_refused_with_the_tensors_name(tmp_path: Path, value: str) -> None:
    file = written(tmp_path, f"good: [0, 1]\nbad.one: {value}\nlater: [1, 0]\n")
    with pytest.raises(CalibrationError, match=r"ranges\.yaml: bad\.one: ") as caught:
        read(file)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("value", NO_RANGES)
def test_a_programs_ranges_have_the_same_verdict_as_a_files(tmp_path: Path, value: str) -> None:
    text = f"good: [0, 1]\nbad.one: {value}\nlater: [1, 0]\n"
    with pytest.raises(CalibrationError) as of_file:
        read(written(tmp_path, text))
    with pytest.raises(CalibrationError, match=r"^ranges: bad\.one: ") as of_program:
        check(yaml.safe_load(text))
    file = str(tmp_path / "ranges.yaml")
    assert str(of_program.value) == str(of_file.value).replace(file, "ranges")


@pytest.mark.parametrize(
    "value",
    [
        (np.float32(1), np.float32(0)),
        (np.float64("nan"), 1.0),
        (0, np.float32("inf")),
        (np.False_, np.True_),
        np.array([0.0, 1.0]),
        (np.zeros(2), np.ones(2)),
        (0, 1j),
        {0.0, 1.0},
        None,
    ],
    ids=repr,
)
def test_what_only_a_program_can_give_is_refused_too(value: Any) -> None:
    with pytest.raises(CalibrationError, match=r"^ranges: bad\.one: "):
        check({"good": (0, 1), "bad.one": value})


@pytest.mark.parametrize("given", [{}, [], None, "image: [0, 1]", [("image", (0, 1))], 3])
def test_what_is_no_mapping_is_refused(given: Any) -> None:
    with pytest.raises(CalibrationError, match=r"ranges: no activation ranges.*give `tensor:"):
        check(given)


def test_a_programs_numbers_become_pythons() -> None:
    found = check({"a": (np.float32(-0.5), np.int64(3)), "b": [0, True + 1]})
    assert found == {"a": (-0.5, 3.0), "b": (0.0, 2.0)}
    assert all(type(end) is float for pair in found.values() for end in pair)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"# only words\n",
        b"null",
        b"{}",
        b"[]",
        b"just text",
        b"3.5",
        b"- a: [0, 1]\n",
        b"a: [0, 1\n",
        b"a: [0, 1]\n b: [0, 1]\n",
        b"a: [0, 1]\n--- \nb: [0, 1]\n",
        b"\xff\xfe\x00\x01\x02",
        b"a: [0, \x00]",
        b"PK\x03\x04" + bytes(100),
        b"a: *nobody",
        b"? [a]\n: [0, 1]\n",
        b"a: !!python/object/apply:os.system [true]\n",
        b"a: [0, 1]\n<<: {b: [0, 1]}\n",
        b"[" * 100_000,
        b"- " * 100_000,
        b"{a: " * 100_000,
        b"a: " + b"9" * 100_000,
    ],
    ids=lambda content: repr(content[:16]),
)
def test_what_is_not_a_mapping_in_yaml_is_refused_with_the_files_name(
    tmp_path: Path, content: bytes
) -> None:
    with pytest.raises(CalibrationError, match=r"ranges\.yaml: .*give `tensor:"):
        read(written(tmp_path, content))


def test_deep_nesting_is_refused_by_the_python_parser_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    with pytest.raises(CalibrationError, match="recursion"):
        read(written(tmp_path, b"[" * 100_000))


def bomb(first: str, more: str) -> str:
    """Anchors that each hold the one before nine times: 9^20 values when written out."""
    lines = [f"- &a0 {first}"]
    lines += [f"- &a{n} {more.format(', '.join([f'*a{n - 1}'] * 9))}" for n in range(1, 21)]
    return "bomb:\n" + "\n".join(lines)


@pytest.mark.parametrize(
    "text",
    [
        bomb("[0, 1]", "[{}]"),
        bomb("{a: 1}", "{{<<: [{}]}}"),
        "bomb: &a [*a, *a]",
        "bomb: &a {a: *a}",
    ],
)
def test_an_alias_bomb_is_refused_without_being_unrolled(tmp_path: Path, text: str) -> None:
    with pytest.raises(CalibrationError, match=r"ranges\.yaml") as caught:
        read(written(tmp_path, text))
    assert len(str(caught.value)) < 600


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "ranges.yaml"
    with file.open("wb") as opened:
        opened.truncate(MAX_BYTES + 1)
    with pytest.raises(CalibrationError, match=r"4,194,305 bytes, the limit is 4,194,304"):
        read(file)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=r"nowhere\.yaml: no activation ranges"):
        read(tmp_path / "nowhere.yaml")
    with pytest.raises(CalibrationError, match="not a file"):
        read(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(CalibrationError, match="not a file"):
            read(tmp_path / "pipe")


# ---------------------------------------------------------------- writing


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="folder"):
        write(tmp_path, {"a": (0, 1)})
    with pytest.raises(UsageError, match="folder"):
        write(tmp_path / "no" / "ranges.yaml", {"a": (0, 1)})


def test_what_could_not_be_read_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="ranges: a: "):
        write(tmp_path / "ranges.yaml", {"a": (1, 0)})
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_the_old_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "ranges.yaml"
    write(file, {"a": (0, 1)})

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        write(file, {"a": (0, 2)})
    assert read(file) == {"a": (0, 1)}
    assert list(tmp_path.iterdir()) == [file]


def test_values_are_rounded_to_float32(tmp_path: Path) -> None:
    write(tmp_path / "r.yaml", {"a": (-1 / 3, float(np.float32(1 / 3)))})
    assert read(tmp_path / "r.yaml")["a"] == (-0.33333334, 0.33333334)

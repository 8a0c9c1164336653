"""The sample library: in memory is what is loaded, and nothing else."""

import threading

import pytest

from ssd_resnet34.errors import CorruptImage, LoadGenError
from ssd_resnet34.mlperf.library import Library


def test_samples_are_there_from_load_to_unload() -> None:
    library = Library(lambda index: f"sample {index}", threads=3)
    library.load([5, 1, 5, 9])
    assert [library[index] for index in (1, 5, 9)] == ["sample 1", "sample 5", "sample 9"]
    assert len(library) == 3
    library.unload([5, 9, 77])
    assert len(library) == 1
    for index in (5, 9, 2):
        with pytest.raises(LoadGenError, match=f"sample {index}, which it has not loaded"):
            library[index]


def test_a_sample_is_prepared_once_however_often_it_is_named() -> None:
    made: list[int] = []
    Library(made.append, threads=1).load([3, 3, 4, 3])
    assert made == [3, 4]


def test_the_first_refusal_is_raised_and_the_rest_left() -> None:
    made: list[int] = []

    def prepare(index: int) -> int:
        if index == 1:
            raise CorruptImage("1.jpg: damaged")
        made.append(index)
        return index

    with pytest.raises(CorruptImage, match=r"1\.jpg"):
        Library(prepare, threads=1).load(range(1000))
    assert len(made) < 1000


def test_a_cancelled_library_loads_no_more() -> None:
    library = Library(lambda index: index, threads=2)
    library.load([1])
    library.cancel()
    library.load([2, 3])
    assert len(library) == 1


def test_samples_are_prepared_side_by_side() -> None:
    both = threading.Barrier(2, timeout=30)

    def prepare(index: int) -> int:
        both.wait()  # passes only where two are at work
        return index

    library = Library(prepare, threads=2)
    library.load([1, 2])
    assert len(library) == 2

"""The histogram: numpy's own binning, whatever the order, in memory that does not grow."""

import math
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ssd_resnet34.compiler.histogram import BINS, Histogram

Values = NDArray[np.float32]

LARGEST = float(np.finfo(np.float32).max)

finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
magnitudes = st.builds(
    lambda sign, mantissa, exponent: float(np.float32(sign * mantissa * 2.0**exponent)),
    st.sampled_from((-1, 1)),
    st.floats(0.5, 1, exclude_max=True, width=32),
    st.integers(-148, 128),
)
tensors = st.lists(
    st.one_of(finite, magnitudes, st.just(0.0), st.just(-0.0)), min_size=1, max_size=60
)


def of(*images: Any) -> Histogram:
    """The histogram of images."""
    histogram = Histogram()
    for values in images:
        histogram.observe(np.asarray(values, np.float32))
    return histogram


def numpys(values: Values, histogram: Histogram) -> NDArray[np.int64]:
    """numpy's count of everything but the exact zeros."""
    counts, _ = np.histogram(values[values != 0].astype(np.float64), histogram.edges())
    return counts.astype(np.int64)


def assert_same(found: Histogram, wanted: Histogram) -> None:
    """But for ``shares``."""
    assert found.exponent == wanted.exponent
    assert found.zeros == wanted.zeros
    assert (found.lowest, found.highest) == (wanted.lowest, wanted.highest)
    np.testing.assert_array_equal(found.counts, wanted.counts)


# ---------------------------------------------------------------- against numpy


@given(tensors)
def test_counts_are_those_of_numpy_on_the_same_edges(given_: list[float]) -> None:
    values = np.array(given_, np.float32)
    histogram = of(values)
    np.testing.assert_array_equal(histogram.counts, numpys(values, histogram))
    assert histogram.zeros == int((values == 0).sum())
    assert histogram.total == values.size
    assert (histogram.lowest, histogram.highest) == (values.min(), values.max())


@pytest.mark.parametrize("scale", [1e-6, 0.3, 1.0, 5000.0, 1e9])
def test_a_tensor_of_many_blocks_is_counted_whole(scale: float) -> None:
    rng = np.random.default_rng(1)
    values = (scale * rng.standard_normal((3, 7, 401, 101))).astype(np.float32)
    values[values < -scale] = 0
    histogram = of(values)
    np.testing.assert_array_equal(histogram.counts, numpys(values, histogram))
    assert histogram.total == values.size


@pytest.mark.parametrize("value", [1.0, -1.0, 4095.99, -4096.0, 2.0**-60, LARGEST, -LARGEST, 1e-45])
def test_one_value_is_in_the_bin_that_holds_it(value: float) -> None:
    exact = float(np.float32(value))
    histogram = of([value])
    (place,) = np.flatnonzero(histogram.counts)
    edges = histogram.edges()
    assert edges[place] <= exact < edges[place + 1]
    assert histogram.lowest == histogram.highest == exact


# ---------------------------------------------------------------- order and splits


@given(tensors, st.randoms(use_true_random=False), st.integers(1, 6))
def test_neither_order_nor_calls_change_the_counts(
    given_: list[float], rng: random.Random, calls: int
) -> None:
    values = np.array(given_, np.float32)
    shuffled = given_.copy()
    rng.shuffle(shuffled)
    parts = [part for part in np.array_split(np.array(shuffled, np.float32), calls) if part.size]
    assert_same(of(*parts), of(values))


@given(st.lists(tensors, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_every_image_that_is_not_all_zero_has_one_share(
    images: list[list[float]], rng: random.Random
) -> None:
    alive = sum(any(np.float32(value) != 0 for value in image) for image in images)
    for _ in range(2):
        histogram = of(*images)
        assert histogram.shares.sum() == pytest.approx(alive)
        assert not histogram.shares[histogram.counts == 0].any()
        rng.shuffle(images)


def test_shares_are_each_images_own_energy_by_bin() -> None:
    rng = np.random.default_rng(2)
    images = [scale * rng.standard_normal(50_000) for scale in (0.05, 1, 20)]
    for order in (images, images[::-1]):
        histogram = of(*order)
        wanted = np.zeros(BINS)
        for image in images:
            values = image.astype(np.float32).astype(np.float64)
            power, _ = np.histogram(values, histogram.edges(), weights=values**2)
            wanted += power / power.sum()
        assert np.abs(histogram.shares - wanted).sum() < 0.03  # of 3: bins know no finer


# ---------------------------------------------------------------- edges of the numbers


def test_exact_zeros_of_both_signs_are_kept_apart_from_tiny_values() -> None:
    tiny = np.float32(1e-45)
    histogram = of([0.0, -0.0, tiny, -tiny, 1.0])
    assert histogram.zeros == 2
    assert histogram.counts[BINS // 2] == histogram.counts[BINS // 2 - 1] == 1
    assert histogram.total == 5


def test_a_tiny_value_beside_a_huge_one_keeps_its_sign() -> None:
    for images in ([[-1e-45], [LARGEST]], [[LARGEST], [-1e-45]], [[LARGEST, -1e-45]]):
        histogram = of(*images)
        assert histogram.counts[BINS // 2 - 1] == 1
        assert histogram.counts[BINS // 2] == 0


def test_nothing_but_zeros_has_no_counts_and_no_shares() -> None:
    histogram = of(np.zeros((1, 8, 5, 5)), np.zeros(3))
    assert not histogram.counts.any()
    assert not histogram.shares.any()
    assert histogram.zeros == histogram.total == 203
    assert histogram.lowest == histogram.highest == 0


@given(tensors)
def test_the_bins_are_as_many_whatever_the_range_and_as_narrow_as_it_allows(
    given_: list[float],
) -> None:
    histogram = of(given_)
    most = max(abs(float(np.float32(value))) for value in given_)
    for array in (histogram.counts, histogram.shares):
        assert array.shape == (BINS,)
        assert array.itemsize == 8
    assert most < BINS // 2 * histogram.width
    assert most >= BINS // 4 * histogram.width or histogram.exponent == -60


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_nan_and_infinity_are_refused_and_change_nothing(bad: float, place: int) -> None:
    histogram = of([1.0, 2.0])
    values = np.array([0.5, -300, 7], np.float32)
    values[place] = bad
    with pytest.raises(ValueError, match="NaN or infinite"):
        histogram.observe(values)
    assert_same(histogram, of([1.0, 2.0]))


def test_no_values_are_refused() -> None:
    with pytest.raises(ValueError, match="no values"):
        of(np.empty((0, 3)))


def test_the_values_given_are_not_changed() -> None:
    values = np.array([3.5, -1, 0], np.float32)
    values.flags.writeable = False
    of(values)
    of(values.reshape(3, 1)[::-1])
    assert values.tolist() == [3.5, -1, 0]

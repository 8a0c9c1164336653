"""Every method against a brute-force float64 form over the raw values."""

import math
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ssd_resnet34.compiler import ranges as module
from ssd_resnet34.compiler.histogram import Histogram
from ssd_resnet34.compiler.ranges import (
    CANDIDATES,
    METHODS,
    Method,
    check_method,
    divergence,
    find_range,
    noise,
)
from ssd_resnet34.errors import UsageError

Values = NDArray[np.float32]
Real = NDArray[np.float64]
Range = tuple[float, float]

TOLERANCE = 1.02
"""A range's brute-force objective to the best candidate's: what 4096 bins cannot tell apart."""

COARSE = 20
"""Candidates of either end where both are free: their pairs are tried one by one."""

COUNT = 20_000


def made(name: str) -> Values:
    """The values of a case."""
    rng = np.random.default_rng(5)
    if name == "post-ReLU with a heavy tail":
        values = np.maximum(rng.standard_t(3, COUNT) - 0.3, 0)
    elif name == "Gaussian":
        values = 3 * rng.standard_normal(COUNT) - 0.5
    elif name == "skewed":
        values = rng.gamma(1.5, 2, COUNT) - 2
    elif name == "uniform":
        values = rng.uniform(-1, 3, COUNT)
    elif name == "one outlier":
        values = rng.standard_normal(COUNT)
        values[COUNT // 2] = 60
    elif name == "two outliers":
        values = 0.1 * rng.standard_normal(COUNT)
        values[:2] = 40, -25
    elif name == "only negative":
        values = -1 - rng.gamma(2, 1, COUNT)
    elif name == "constant":
        values = np.full(COUNT, 1.7)
    else:
        assert name == "all zeros"
        values = np.zeros(COUNT)
    return values.astype(np.float32)


ALIVE = (
    "post-ReLU with a heavy tail",
    "Gaussian",
    "skewed",
    "uniform",
    "one outlier",
    "two outliers",
    "only negative",
    "constant",
)
CASES = (*ALIVE, "all zeros")

every_case = pytest.mark.parametrize("case", CASES)
every_living_case = pytest.mark.parametrize("case", ALIVE)
both = pytest.mark.parametrize("symmetric", [False, True], ids=["asymmetric", "symmetric"])


def seen(*images: Values) -> Histogram:
    histogram = Histogram()
    for values in images:
        histogram.observe(values)
    return histogram


def ends(values: Values, symmetric: bool) -> Range:
    """The range that holds zero and everything."""
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    if symmetric and low < 0:
        return -max(-low, high), max(-low, high)
    return low, high


def candidates(values: Values, symmetric: bool, count: int) -> list[Range]:
    """The ranges that a search may give: ``count`` fractions of an end, or of each of two."""
    low, high = ends(values, symmetric)
    steps = [n / count for n in range(1, count + 1)]
    if symmetric and low < 0:
        return [(low * step, high * step) for step in steps]
    return list(
        product([low * step for step in steps] if low else [0.0], [high * step for step in steps])
        if high
        else [(low * step, 0.0) for step in steps]
    )


def rounded(values: Values, low: float, high: float) -> Real:
    """Quantized and back, as ONNX Runtime does it, in float64."""
    scale = (high - low) / 255
    zero = np.rint(-low / scale)
    levels = np.clip(np.rint(values.astype(np.float64) / scale) + zero, 0, 255)
    restored: Real = (levels - zero) * scale
    return restored


def mean_square_error(values: Values, low: float, high: float) -> float:
    return float(np.mean((rounded(values, low, high) - values) ** 2))


def noise_to_signal(images: list[Values], low: float, high: float) -> float:
    """A mean over the images, each by its own signal."""
    return float(
        np.mean(
            [
                mean_square_error(image, low, high) / np.mean(image.astype(np.float64) ** 2)
                for image in images
            ]
        )
    )


def plain_divergence(values: Values, edges: Real, low: float, high: float) -> float:
    """Kullback–Leibler in plain loops: p is the distribution seen, with what lies outside the
    range in its edge bins; q is p without the outside, its bins put together where they share one
    of 256 levels and spread evenly again over those that were filled. Exact zeros are left out."""
    counts = [int(n) for n in np.histogram(values[values != 0].astype(np.float64), edges)[0]]
    inside = [n for n in range(len(counts)) if edges[n + 1] > low and edges[n] <= high]
    first, last = inside[0], inside[-1]
    scale = (high - low) / 255
    zero = round(-low / scale)
    held: dict[int, list[int]] = {}
    for n in inside:
        if counts[n]:
            level = round((edges[n] + edges[n + 1]) / 2 / scale) + zero
            held.setdefault(min(max(level, 0), 255), []).append(n)
    q = dict.fromkeys(inside, 0.0)
    for bins in held.values():
        for n in bins:
            q[n] = sum(counts[m] for m in bins) / len(bins)
    p = {n: float(counts[n]) for n in inside}
    p[first] += sum(counts[:first])
    p[last] += sum(counts[last + 1 :])
    if not held:
        return math.inf
    total_p, total_q = sum(p.values()), sum(q.values())
    return sum(
        p[n] / total_p * math.log(p[n] / total_p / max(q[n] / total_q, 1e-12))
        for n in inside
        if p[n]
    )


def assert_near_best(
    found: Range, tried: list[Range], objective: Callable[[float, float], float], slack: float
) -> None:
    """Within :data:`TOLERANCE`, and ``slack`` that the width of a bin hides."""
    best = min(objective(*pair) for pair in tried)
    reached = objective(*found)
    print(f"{found}: {reached:.6g}, the best of {len(tried)} candidates {best:.6g}")
    assert reached <= TOLERANCE * best + slack


def count_of(values: Values, symmetric: bool, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many candidates an end has here: all, or few where both ends are free."""
    low, high = ends(values, symmetric)
    if symmetric or not (low and high):
        return CANDIDATES
    monkeypatch.setattr(module, "CANDIDATES", COARSE)
    return COARSE


# ---------------------------------------------------------------- min-max


@every_case
def test_min_max_is_exact(case: str) -> None:
    values = made(case)
    assert find_range(seen(values), "min-max") == ends(values, False)
    assert find_range(seen(values), "min-max", symmetric=True) == ends(values, True)


# ---------------------------------------------------------------- mse and sqnr


@both
@every_living_case
def test_mse_is_the_best_candidate_of_a_brute_force_search(
    case: str, symmetric: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = made(case)
    count = count_of(values, symmetric, monkeypatch)
    histogram = seen(values)
    found = find_range(histogram, "mse", symmetric=symmetric)
    assert_near_best(
        found,
        candidates(values, symmetric, count),
        lambda low, high: mean_square_error(values, low, high),
        histogram.width**2 / 3,
    )


@both
@pytest.mark.parametrize("case", ["post-ReLU with a heavy tail", "Gaussian", "skewed"])
def test_sqnr_is_the_best_candidate_for_images_of_very_different_strength(
    case: str, symmetric: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(6)
    images = [
        (strength * rng.permutation(made(case))[: COUNT // 4]).astype(np.float32)
        for strength in (0.03, 1, 4)
    ]
    everything = np.concatenate(images)
    count = count_of(everything, symmetric, monkeypatch)
    histogram = seen(*images)

    def objective(low: float, high: float) -> float:
        return noise_to_signal(images, low, high)

    found = find_range(histogram, "sqnr", symmetric=symmetric)
    assert_near_best(found, candidates(everything, symmetric, count), objective, 0)
    by_mse = find_range(histogram, "mse", symmetric=symmetric)
    assert found[1] - found[0] < by_mse[1] - by_mse[0]
    assert objective(*found) < 0.9 * objective(*by_mse)
    assert mean_square_error(everything, *by_mse) < mean_square_error(everything, *found)


def test_sqnr_of_images_of_one_strength_is_mse() -> None:
    rng = np.random.default_rng(7)
    values = made("post-ReLU with a heavy tail")
    histogram = seen(*(rng.permutation(values) for _ in range(3)))
    assert find_range(histogram, "sqnr") == find_range(histogram, "mse")


def test_sqnr_does_not_depend_on_which_image_comes_first() -> None:
    rng = np.random.default_rng(8)
    images = [
        (strength * np.maximum(rng.standard_normal(5000), 0)).astype(np.float32)
        for strength in (1e-7, 1e-3, 0.1, 1)
    ]
    found = find_range(seen(*images), "sqnr")
    assert find_range(seen(*images[::-1]), "sqnr") == pytest.approx(found, abs=0.01 * found[1])


def test_an_image_too_faint_for_any_level_does_not_decide_the_range() -> None:
    rng = np.random.default_rng(9)
    strong = np.maximum(rng.standard_normal(COUNT), 0).astype(np.float32)
    faint = np.full(COUNT, 1e-9, np.float32)
    for images in ([faint, strong], [strong, faint]):
        found = find_range(seen(*images), "sqnr")
        assert noise_to_signal([strong], *found) < 1.5 * noise_to_signal(
            [strong], *find_range(seen(strong), "sqnr")
        )


@pytest.mark.parametrize("case", ["Gaussian", "uniform", "post-ReLU with a heavy tail"])
@pytest.mark.parametrize("part", [1.0, 0.4, 0.02])
def test_the_noise_of_a_histogram_is_that_of_its_values(case: str, part: float) -> None:
    values = made(case)
    low, high = (part * end for end in ends(values, False))
    histogram = seen(values)
    found = noise(histogram.counts, histogram.edges(), low, high) / values.size
    assert found == pytest.approx(mean_square_error(values, low, high), rel=0.02)


def test_levels_narrower_than_a_bin_are_judged_right() -> None:
    values = np.random.default_rng(3).uniform(0, 1, 400_000).astype(np.float32)
    counts, edges = np.histogram(values, np.linspace(0, 1, 11))
    found = noise(counts, edges, 0, 1) / values.size
    assert found == pytest.approx((1 / 255) ** 2 / 12, rel=1e-3)
    assert found == pytest.approx(mean_square_error(values, 0, 1), rel=0.01)


# ---------------------------------------------------------------- entropy


@both
@every_living_case
def test_entropy_is_the_best_candidate_of_a_brute_force_search(
    case: str, symmetric: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = made(case)
    count = count_of(values, symmetric, monkeypatch)
    histogram = seen(values)
    edges = histogram.edges()

    def objective(low: float, high: float) -> float:
        return plain_divergence(values, edges, low, high)

    found = find_range(histogram, "entropy", symmetric=symmetric)
    assert_near_best(found, candidates(values, symmetric, count), objective, 1e-12)


@every_living_case
@pytest.mark.parametrize("part", [1.0, 0.7, 0.31, 0.02])
def test_the_divergence_is_that_of_the_plain_loops(case: str, part: float) -> None:
    values = made(case)
    histogram = seen(values)
    for symmetric in (False, True):
        low, high = (part * end for end in ends(values, symmetric))
        wanted = plain_divergence(values, histogram.edges(), low, high)
        assert divergence(histogram, low, high) == pytest.approx(wanted, rel=1e-9, abs=1e-12)


def test_entropy_does_not_count_exact_zeros() -> None:
    values = made("post-ReLU with a heavy tail")
    found = find_range(seen(values), "entropy")
    assert find_range(seen(values[values != 0]), "entropy") == found
    assert find_range(seen(values, np.zeros(10 * COUNT, np.float32)), "entropy") == found


# ---------------------------------------------------------------- percentile


@both
@every_case
@pytest.mark.parametrize("percentage", [60.0, 99.0, 99.9, 99.99, 100.0])
def test_a_percentile_is_numpys_within_a_bin(case: str, symmetric: bool, percentage: float) -> None:
    values = made(case)[: COUNT - 7].astype(np.float64)  # no quantile falls between two values
    histogram = seen(values.astype(np.float32))
    share = percentage / 100
    low, high = find_range(histogram, "percentile", symmetric=symmetric, percentage=percentage)
    if symmetric and values.min() < 0:
        most = float(np.quantile(np.abs(values), share, method="inverted_cdf"))
        wanted = -most, most
    else:
        tails = np.quantile(values, [(1 - share) / 2, (1 + share) / 2], method="inverted_cdf")
        wanted = min(float(tails[0]), 0.0), max(float(tails[1]), 0.0)
    assert low == pytest.approx(wanted[0], abs=histogram.width)
    assert high == pytest.approx(wanted[1], abs=histogram.width)


# ---------------------------------------------------------------- every method


@pytest.mark.parametrize("method", METHODS)
def test_symmetric_of_a_tensor_without_negatives_starts_at_zero(method: Method) -> None:
    values = made("post-ReLU with a heavy tail")
    low, high = find_range(seen(values), method, symmetric=True)
    assert low == 0
    assert 0 < high <= values.max()
    assert (low, high) == find_range(seen(values), method)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("case", ["Gaussian", "skewed", "one outlier", "only negative"])
def test_symmetric_of_any_other_tensor_is_symmetric(method: Method, case: str) -> None:
    values = made(case)
    low, high = find_range(seen(values), method, symmetric=True)
    assert low == -high < 0
    assert high <= np.abs(values).max()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_a_tensor_of_zeros_has_the_empty_range(method: Method, zero: float) -> None:
    for symmetric in (False, True):
        found = find_range(seen(np.full(9, zero, np.float32)), method, symmetric=symmetric)
        assert str(found) == "(0.0, 0.0)"  # and not -0.0, which other bytes would follow from


@pytest.mark.parametrize("method", METHODS)
def test_of_equally_good_ranges_the_widest_is_taken(method: Method) -> None:
    values = np.full(9, 1e-20, np.float32)  # one bin, which every candidate touches
    assert find_range(seen(values), method) == (0, float(values[0]))


@pytest.mark.parametrize("method", ["entropy", "percentile"])
def test_one_outlier_among_many_is_cut_off(method: Method) -> None:
    rng = np.random.default_rng(4)
    values = np.maximum(rng.standard_normal(400_000), 0).astype(np.float32)
    values[7] = 25
    low, high = find_range(seen(values), method)
    assert low == 0
    assert 3 < high < 8


@pytest.mark.parametrize("method", METHODS)
@given(
    st.lists(
        st.floats(-(2.0**100), 2.0**100, width=32, allow_subnormal=False), min_size=1, max_size=30
    ),
    st.booleans(),
)
@settings(max_examples=20)
def test_a_range_holds_zero_and_nothing_that_was_not_seen(
    method: Method, given_: list[float], symmetric: bool
) -> None:
    values = np.array(given_, np.float32)
    low, high = find_range(seen(values), method, symmetric=symmetric)
    lowest, highest = ends(values, symmetric)
    assert lowest <= low <= 0 <= high <= highest
    if method != "percentile" and values.any():
        assert low < high


def test_ranges_are_float32_values() -> None:
    for method in METHODS:
        for end in find_range(seen(made("skewed")), method):
            assert end == float(np.float32(end))


def test_an_unknown_method_is_refused_with_those_there_are() -> None:
    for call in (check_method, lambda name: find_range(seen(made("uniform")), name)):
        with pytest.raises(UsageError, match=r"'kl' is unknown; use min-max, entropy, perc.*sqnr"):
            call("kl")


@pytest.mark.parametrize("percentage", [50.0, 0.0, -1.0, 100.01, math.nan, math.inf])
def test_a_percentage_that_keeps_nothing_is_refused(percentage: float) -> None:
    with pytest.raises(UsageError, match="outside 50"):
        find_range(seen(made("uniform")), "percentile", percentage=percentage)


def test_an_empty_histogram_has_no_range() -> None:
    with pytest.raises(UsageError, match="at least one image"):
        find_range(Histogram(), "min-max")

"""Numbers that speak against themselves are called so; sound ones are not."""

from dataclasses import replace

import pytest

from ssd_resnet34.benchmarking.runs import Run
from ssd_resnet34.benchmarking.trust import doubts
from ssd_resnet34.pairs import Ratio


def run(name: str, median: float, spread: float = 0.1) -> Run:
    half = median * spread / 2
    return Run(name, ratio=Ratio(median, median - half, median + half, 15))


def test_a_quiet_machine_leaves_no_doubt() -> None:
    assert doubts([run("base", 1.02), run("fast", 0.25), Run("gone")], [0.94, 1.0]) == []
    assert doubts([], []) == []


@pytest.mark.parametrize("median", [0.89, 1.11])
def test_a_baseline_that_is_not_as_fast_as_itself_is_a_doubt(median: float) -> None:
    (why,) = doubts([run("base", median), run("fast", 0.25)], [])
    assert f"the baseline against itself is {median}" in why


def test_quartiles_far_apart_are_a_doubt_that_names_the_rows() -> None:
    found = doubts([run("base", 1.0), run("fast", 0.25, 0.21), run("slow", 2.0, 0.5)], [])
    assert found == ["the quartiles of fast, slow are more than 20 % apart"]


def test_runs_without_their_threads_cpu_time_are_a_doubt_although_ratios_are_steady() -> None:
    rows = [replace(run("base", 1.0), cpu=0.98), replace(run("fast", 0.25), cpu=0.49)]
    (why,) = doubts(rows, [])
    assert why == "fast got less than 80 % of the CPU time of their threads, down to 49 %"
    assert doubts([replace(run("base", 1.0), cpu=0.95), run("gpu", 0.1)], []) == []


def test_more_than_the_machine_can_do_is_a_doubt() -> None:
    assert doubts([run("base", 1.0)], [0.5, 1.07]) == [
        "a share of 107 % of the machine's own rate cannot be"
    ]

"""Why a run is not a submission, and what keeps it from standing beside the published ones."""

from dataclasses import replace

import pytest

from ssd_resnet34.contract import COCO
from ssd_resnet34.mlperf.job import Facts, Job, Ready
from ssd_resnet34.mlperf.settings import Measured, Setting
from ssd_resnet34.mlperf.submission import incomparable, objections

BY_THE_RULES = (
    Setting("target_latency_percentile", 90, ""),
    Setting("min_query_count", 1024, ""),
    Setting("min_duration", 600_000, ""),
    Setting("performance_sample_count_override", 64, ""),
)

FACTS = Facts("mlcommons", "0" * 64, "openvino", "int8", "cpu", 2, 1, 1, "", None, "a CPU")

READY = Ready(FACTS, COCO, BY_THE_RULES, Measured(0.5, 2), 1024, 600)

JOB = Job(
    round="v2.0",
    scenario="SingleStream",
    mode="performance",
    quick=False,
    user=None,
    images=("a",) * 5000,
    folder="",
)


@pytest.mark.parametrize("count", [5000, 4952])
def test_a_run_by_the_rules_has_no_objection(count: int) -> None:
    assert objections(replace(JOB, images=("a",) * count), READY) == []


def test_other_images_are_named() -> None:
    (one,) = objections(replace(JOB, images=("a",) * 200), READY)
    assert one == "200 images instead of COCO val2017's 5,000 (or 4,952)"


def test_other_weights_are_named() -> None:
    (one,) = objections(JOB, replace(READY, facts=replace(FACTS, weights="embedded")))
    assert one == "the weights embedded, not the reference's"


def test_relaxed_settings_are_named() -> None:
    relaxed = tuple(replace(one, value=0) for one in BY_THE_RULES)
    assert "at least 0 s instead of 600 s" in objections(JOB, replace(READY, settings=relaxed))


def test_a_round_that_wants_five_runs_says_so() -> None:
    server = (
        Setting("target_latency", 100, ""),
        Setting("target_latency_percentile", 99, ""),
        Setting("min_query_count", 270_336, ""),
        *BY_THE_RULES[2:],
    )
    job = replace(JOB, round="v0.7", scenario="Server")
    assert objections(job, replace(READY, settings=server)) == ["one run, where the round wants 5"]
    assert objections(replace(job, round="v1.0"), replace(READY, settings=server)) == []


def test_what_is_not_comparable_is_said() -> None:
    notes = incomparable(replace(FACTS, precision="fp32"), "core", "Server")
    assert any("rate that was asked for" in note for note in notes)
    assert any("are int8, this is fp32" in note for note in notes)
    assert any("whole servers" in note for note in notes)
    card = incomparable(FACTS, "accelerator", "Offline")
    assert any("calibrated on the benchmark's own list" in note for note in card)
    assert not any("servers" in note for note in card)

"""``benchmarks.capacity`` takes its rate from what ``bench --json`` writes."""

import json
from pathlib import Path

import pytest
from benchmarks.capacity import rate_of

from ssd_resnet34.benchmarking.stages import Stages
from ssd_resnet34.cli.bench_report import describe
from ssd_resnet34.pairs import Percentiles, Ratio

TIME, SAME = Percentiles(0.5, 0.5, 0.5, 1), Ratio(1, 1, 1, 1)


def report(path: Path, stages: Stages | None) -> Path:
    found = describe(
        {},
        runs=[],
        peers=[],
        stages=stages,
        decoders=[],
        roads=[],
        tuned=None,
        rates=[],
        operations=None,
        starts=[],
        failed=[],
    )
    path.write_text(json.dumps(found))
    return path


def test_the_rate_of_a_worker_is_that_of_the_measured_stream(tmp_path: Path) -> None:
    stages = Stages("fake:fp32:1:1", "fp32", {"network": TIME}, TIME, SAME, 2.0, 3.5, SAME)
    assert rate_of(report(tmp_path / "bench.json", stages)) == 3.5


def test_a_report_without_stages_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="without --no-stages"):
        rate_of(report(tmp_path / "bench.json", None))

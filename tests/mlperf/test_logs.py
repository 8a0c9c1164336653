"""Detail logs: whole, or refused by line."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ssd_resnet34.errors import LoadGenError, UsageError
from ssd_resnet34.mlperf import loadgen, logs, rounds
from ssd_resnet34.mlperf.logs import read_detail
from ssd_resnet34.mlperf.rounds import Scenario

from .conftest import Bench

TESTS = Path(__file__).resolve().parents[1]


@pytest.fixture
def whole(bench: Bench) -> Path:
    """The detail log of a quick run."""
    bench.run("SingleStream")
    return bench.folder / loadgen.DETAIL


@given(share=st.floats(0, 1, exclude_max=True))
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=40,
)
def test_a_log_cut_short_anywhere_is_refused(whole: Path, share: float) -> None:
    data = whole.read_bytes()
    cut = whole.with_name("cut.txt")
    cut.write_bytes(data.rstrip()[: int(share * len(data.rstrip()))])
    with pytest.raises(LoadGenError, match=r"line \d+.*free space and run again"):
        read_detail(cut, "performance")


def test_the_line_of_the_damage_is_told(whole: Path) -> None:
    lines = whole.read_text().splitlines()
    lines[6] = lines[6][:50]
    whole.write_text("\n".join(lines))
    with pytest.raises(LoadGenError, match="line 7 is none of a detail log"):
        read_detail(whole, "performance")


def test_an_accuracy_log_without_its_end_is_refused(bench: Bench) -> None:
    bench.run("Offline", "accuracy")
    logs.check_accuracy(bench.folder)
    path = bench.folder / loadgen.ACCURACY
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(LoadGenError, match="has no end; LoadGen says nothing of a full disk"):
        logs.check_accuracy(bench.folder)
    path.write_bytes(b"")
    with pytest.raises(LoadGenError, match="has no end"):
        logs.check_accuracy(bench.folder)


def test_a_missing_log_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        read_detail(tmp_path / loadgen.DETAIL, "performance")


def test_another_scenarios_log_is_refused(whole: Path) -> None:
    detail = read_detail(whole, "performance")
    with pytest.raises(LoadGenError, match="lacks result_samples_per_second"):
        logs.result(detail, rounds.get("v2.0"), "Offline")


def test_an_invalid_result_says_why(bench: Bench) -> None:
    from dataclasses import replace

    bench.run("SingleStream")
    detail = read_detail(bench.folder / loadgen.DETAIL, "performance")
    values = {**detail.values, "result_validity": "INVALID", "result_min_duration_met": False}
    found = logs.result(replace(detail, values=values), rounds.get("v2.0"), "SingleStream")
    assert not found.valid
    assert found.reasons == ("shorter than the least duration",)


def test_too_few_queries_for_an_estimate_have_no_metric(bench: Bench) -> None:
    """LoadGen logs 0 where it has no estimate."""
    from dataclasses import replace

    bench.run("SingleStream")
    detail = read_detail(bench.folder / loadgen.DETAIL, "performance")
    values = {**detail.values, "early_stopping_latency_ss": 0}
    found = logs.result(replace(detail, values=values), rounds.get("v2.0"), "SingleStream")
    assert found.metric.value is None


@pytest.mark.parametrize("scenario", ["SingleStream", "MultiStream"])
def test_of_the_least_queries_the_estimate_is_the_slowest(bench: Bench, scenario: Scenario) -> None:
    from dataclasses import replace

    bench.run(scenario)
    detail = read_detail(bench.folder / loadgen.DETAIL, "performance")
    assert "Would discard 0 highest latency queries" in detail.values["early_stopping_result"]
    found = logs.result(detail, rounds.get("v2.0"), scenario).metric
    assert found.is_slowest
    form = "query_latency" if scenario == "MultiStream" else "latency"
    assert found.value == detail.values[f"result_max_{form}_ns"] / 1e6
    values = {**detail.values, f"result_max_{form}_ns": 1e12}
    found = logs.result(replace(detail, values=values), rounds.get("v2.0"), scenario).metric
    assert not found.is_slowest


def test_errors_and_warnings_of_the_log_are_told(whole: Path) -> None:
    text = whole.read_text()
    for kind in ("is_error", "is_warning"):
        line = next(one for one in text.splitlines() if "sut_name" in one)
        text += line.replace(f'"{kind}": false', f'"{kind}": true').replace("PySUT", kind) + "\n"
    whole.write_text(text)
    detail = read_detail(whole, "performance")
    assert detail.errors == ("sut_name: is_error",)
    assert detail.warnings == ("sut_name: is_warning",)
    assert detail.values["sut_name"] == "PySUT"  # the first one counts, as for the checkers


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are POSIX")
@pytest.mark.parametrize("mode", ["performance", "accuracy"])
def test_a_full_disk_is_seen_though_loadgen_ends_well(tmp_path: Path, mode: str) -> None:
    """A file size limit refuses writes as a full disk does; LoadGen goes on in silence."""
    code = f"""
from pathlib import Path
from tests.mlperf.conftest import Bench
Bench(Path({str(tmp_path / "logs")!r})).run("SingleStream", {mode!r})
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=TESTS.parent,
        env={**os.environ, "PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent}"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000)),
        check=False,
    )
    assert done.returncode == 0
    path = tmp_path / "logs" / loadgen.DETAIL
    assert path.stat().st_size == 6000
    with pytest.raises(LoadGenError, match="free space and run again"):
        read_detail(path, "accuracy" if mode == "accuracy" else "performance")

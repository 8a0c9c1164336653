"""The real LoadGen on a system that answers at once: scenarios, modes, and every ending."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlperf_answers import answers
from ssd_resnet34.errors import CorruptImage, LoadGenError, MissingExtra
from ssd_resnet34.mlperf import loadgen, logs, rounds
from ssd_resnet34.mlperf.rounds import SCENARIOS, Scenario
from ssd_resnet34.mlperf.settings import Layer
from ssd_resnet34.mlperf.system import Fault, Record

from .conftest import Bench


def test_every_scenario_is_valid_in_quick_and_logs_what_the_checkers_read(bench: Bench) -> None:
    counts = {"SingleStream": 64, "MultiStream": 128, "Server": 64, "Offline": 32}
    root = bench.folder
    for scenario in SCENARIOS:
        bench.folder = root.with_name(scenario)
        system = bench.run(scenario)
        assert (system.fault, system.answered, system.open) == (None, counts[scenario], 0)
        detail = logs.read_detail(bench.folder / loadgen.DETAIL, "performance")
        assert set(logs.CHECKED[scenario]) <= set(detail.values)
        assert detail.errors == ()
        found = logs.result(detail, rounds.get("v2.0"), scenario)
        assert found.valid
        assert found.metric.value is not None
        assert found.metric.value > 0
        for name, seed in rounds.get("v2.0").seeds.items():
            assert detail.values[f"effective_{name}"] == seed
        assert detail.values["effective_performance_sample_count"] == 64
        assert sorted(path.name for path in bench.folder.glob("mlperf_log_*")) == sorted(
            loadgen.LOGS
        )


@pytest.mark.parametrize("name", ["v0.5", "v1.1"])
def test_an_older_round_reports_the_plain_percentile(bench: Bench, name: str) -> None:
    bench.run("SingleStream", round_name=name)
    detail = logs.read_detail(bench.folder / loadgen.DETAIL, "performance")
    found = logs.result(detail, rounds.get(name), "SingleStream")
    assert found.metric.name == "90th percentile latency"
    assert found.metric.value == found.latencies[90]
    estimate = logs.result(detail, rounds.get("v2.0"), "SingleStream").metric
    assert estimate.name == "90th percentile latency, early stopping estimate"
    assert estimate.value == max(found.latencies.values())  # of 64 none is left out


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_accuracy_visits_every_image_in_sets_of_64_and_forgets_them(
    bench: Bench, scenario: Scenario
) -> None:
    system = bench.run(scenario, "accuracy", total=150)
    assert system.fault is None
    assert set(bench.seen) == set(range(150))
    assert bench.most <= 71
    assert len(bench.library) == 0
    logs.read_detail(bench.folder / loadgen.DETAIL, "accuracy")
    logs.check_accuracy(bench.folder)
    records = json.loads((bench.folder / loadgen.ACCURACY).read_text())
    for record in records:
        (row,) = np.frombuffer(bytes.fromhex(record["data"]), "<f4").reshape(-1, 7)
        assert set(row.tolist()) == {record["qsl_idx"]}
    assert {record["qsl_idx"] for record in records} == set(range(150))
    assert len(records) == {"MultiStream": 150}.get(scenario, 150)


def test_performance_keeps_64_of_many(bench: Bench) -> None:
    bench.run("Offline", total=500)
    assert bench.most == 64
    assert len(bench.library) == 0


def test_a_set_of_ten_works(bench: Bench) -> None:
    assert bench.run("SingleStream", total=10).fault is None
    assert bench.most == 10


def test_buffers_may_change_once_they_are_handed_over(bench: Bench) -> None:
    shared = np.empty((1, 7), "<f4")

    def detect(indices: Sequence[int]) -> list[Record]:
        shared[:] = indices[0]
        return [shared]

    bench.run("Offline", "accuracy", detect=detect, workers=1)
    for record in json.loads((bench.folder / loadgen.ACCURACY).read_text()):
        row = np.frombuffer(bytes.fromhex(record["data"]), "<f4")
        assert set(row.tolist()) == {record["qsl_idx"]}


def test_no_detections_are_an_empty_record(bench: Bench) -> None:
    def detect(indices: Sequence[int]) -> list[Record]:
        return [np.empty((0, 7), "<f4") for _ in indices]

    assert bench.run("SingleStream", "accuracy", detect=detect).answered == 100
    records = json.loads((bench.folder / loadgen.ACCURACY).read_text())
    assert {record["data"] for record in records} == {""}


@pytest.mark.parametrize("mode", ["performance", "accuracy"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_session_that_fails_ends_the_run(bench: Bench, scenario: Scenario, mode: str) -> None:
    def detect(indices: Sequence[int]) -> list[Record]:
        if len(bench.seen) > 5:
            raise RuntimeError("no such luck")
        return answers(indices)

    system = bench.run(scenario, "accuracy" if mode == "accuracy" else "performance", detect=detect)
    assert system.fault == Fault("failed", "RuntimeError: no such luck")
    assert system.answered < 10
    assert system.open == 0


def test_an_image_that_is_refused_ends_the_run(bench: Bench) -> None:
    def prepare(index: int) -> int:
        if index == 70:
            raise CorruptImage("70.jpg: damaged; replace it")
        return index

    system = bench.run("Offline", "accuracy", prepare=prepare)
    assert system.fault == Fault("failed", "70.jpg: damaged; replace it")


def test_an_audit_file_in_the_current_folder_changes_nothing(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "audit.config").write_text("*.*.mode = 2\n*.*.accuracy_log_probability = 1\n")
    bench.run("SingleStream")
    detail = logs.read_detail(bench.folder / loadgen.DETAIL, "performance")
    assert detail.values["effective_accuracy_log_probability"] == 0


def test_the_trace_that_grows_without_end_is_off(bench: Bench) -> None:
    bench.run("SingleStream")
    assert (bench.folder / loadgen.TRACE).stat().st_size == 0


def test_a_file_that_loadgen_refuses_is_an_error(bench: Bench) -> None:
    bench.folder.mkdir()
    layer = Layer("user.conf", "a test", "*.*.min_duration = long\n")
    (bench.folder / layer.file).write_text(layer.text)
    with pytest.raises(LoadGenError, match="refuses it with code -22"):
        loadgen.Test([layer], bench.folder, rounds.get("v2.0"), "Offline", "performance")


def test_more_queries_than_memory_holds_are_told_with_the_keys_that_ask_for_them(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_many(*_: Any) -> None:  # as with a target_qps of 1e12
        raise MemoryError("std::bad_alloc")

    monkeypatch.setattr(loadgen.module(), "StartTestWithLogSettings", too_many)
    with pytest.raises(LoadGenError, match="a smaller target_qps"):
        bench.run("Offline")


def test_without_loadgen_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "mlperf_loadgen", None)
    with pytest.raises(MissingExtra, match=r"pip install 'ssd-resnet34\[mlperf\]'"):
        loadgen.module()

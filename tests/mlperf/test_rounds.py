"""The rounds' rules as data, and what LoadGen makes of them."""

from pathlib import Path
from typing import Any

import pytest

from ssd_resnet34.errors import UsageError
from ssd_resnet34.mlperf.rounds import MODEL, ROUNDS, SCENARIOS, Scenario, configuration, get

lg = pytest.importorskip("mlperf_loadgen", reason="the mlperf extra is not installed")

FILE_ALONE = 2


def read(folder: Path, name: str, scenario: Scenario) -> Any:
    """LoadGen's settings from the round's file."""
    path = folder / "mlperf.conf"
    path.write_text(configuration(get(name)))
    settings = lg.TestSettings()
    assert settings.FromConfig(str(path), MODEL, scenario, FILE_ALONE) == 0
    return settings


@pytest.mark.parametrize("name", ROUNDS)
def test_loadgen_reads_every_rule_of_a_round(tmp_path: Path, name: str) -> None:
    chosen = get(name)
    for scenario, rules in chosen.scenarios.items():
        settings = read(tmp_path, name, scenario)
        assert settings.performance_sample_count_override == 64
        assert settings.min_query_count == rules.min_queries
        assert settings.min_duration_ms == 1000 * chosen.min_duration


def test_server_keeps_99_percent_within_100_ms(tmp_path: Path) -> None:
    for name in ROUNDS:
        settings = read(tmp_path, name, "Server")
        assert settings.server_target_latency_ns == 100_000_000
        assert settings.server_target_latency_percentile == 0.99
        assert settings.min_query_count == 270_336


def test_multistream_of_v2_sends_eight_samples_a_query(tmp_path: Path) -> None:
    settings = read(tmp_path, "v2.0", "MultiStream")
    assert settings.multi_stream_samples_per_query == 8
    assert settings.multi_stream_target_latency_percentile == 0.99


def test_rounds_differ_as_the_rules_did() -> None:
    assert [one.min_duration for one in ROUNDS.values()] == [60, 60, 600, 600, 600]
    assert [one.rules("Server").runs for one in ROUNDS.values()] == [5, 5, 1, 1, 1]
    assert [one.rules("Offline").min_queries for one in ROUNDS.values()] == [24_576] * 5
    assert [one.estimates for one in ROUNDS.values()] == [False] * 4 + [True]
    seeds = [seed for one in ROUNDS.values() for seed in one.seeds.values()]
    assert len(set(seeds)) == 15
    assert ROUNDS["v2.0"].seeds["qsl_rng_seed"] == 6655344265603136530


@pytest.mark.parametrize("name", ["v0.5", "v0.7", "v1.0"])
def test_multistream_at_a_fixed_rate_is_said_to_be_impossible(name: str) -> None:
    with pytest.raises(UsageError, match=f"round {name} sent queries at a fixed rate.*v2.0"):
        get(name).rules("MultiStream")


def test_v1_1_had_no_multistream() -> None:
    with pytest.raises(UsageError, match=r"round v1\.1 had no such scenario; choose singlestream"):
        get("v1.1").rules("MultiStream")


def test_every_scenario_has_rules_or_a_reason() -> None:
    for one in ROUNDS.values():
        assert {*one.scenarios, *one.impossible} == set(SCENARIOS)


def test_an_unknown_round_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"v0\.5, v0\.7, v1\.0, v1\.1, v2\.0; v2\.1 replaced it"):
        get("v3.0")

"""What LoadGen holds in the end, where it is from, and how it differs from the rules."""

from pathlib import Path

import pytest

from ssd_resnet34.mlperf import settings
from ssd_resnet34.mlperf.rounds import SCENARIOS, Scenario, get
from ssd_resnet34.mlperf.settings import Measured, Setting, departures, extent, value_of
from ssd_resnet34.mlperf.user_conf import UserConf, read

lg = pytest.importorskip("mlperf_loadgen", reason="the mlperf extra is not installed")

SLOW = Measured(latency=0.5, rate=2.5)


def held(
    folder: Path,
    scenario: Scenario,
    *,
    quick: bool = False,
    user: UserConf | None = None,
    name: str = "v2.0",
) -> tuple[Setting, ...]:
    layers = settings.layers(get(name), scenario, SLOW, quick=quick, user=user)
    settings.write(layers, folder)
    return settings.apply(lg.TestSettings(), layers, folder, get(name), scenario)


def conf(folder: Path, text: str, scenario: Scenario) -> UserConf:
    path = folder / "mine.conf"
    path.write_text(text)
    return read(path, scenario)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_by_the_rules_there_is_nothing_to_object_to(tmp_path: Path, scenario: Scenario) -> None:
    found = held(tmp_path, scenario)
    assert departures(found, get("v2.0"), scenario, "performance", 5000) == []


def test_the_seeds_are_the_rounds(tmp_path: Path) -> None:
    layers = settings.layers(get("v1.0"), "Server", SLOW, quick=False, user=None)
    settings.write(layers, tmp_path)
    target = lg.TestSettings()
    settings.apply(target, layers, tmp_path, get("v1.0"), "Server")
    for name, seed in get("v1.0").seeds.items():
        assert getattr(target, name) == seed


def test_every_value_says_where_it_is_from(tmp_path: Path) -> None:
    user = conf(tmp_path, "*.Server.target_qps = 9\n*.*.min_duration = 700000\n", "Server")
    found = {one.key: one for one in held(tmp_path, "Server", quick=True, user=user)}
    assert found["target_qps"] == Setting("target_qps", 9, user.path)
    assert found["min_duration"] == Setting("min_duration", 700_000, user.path)
    assert found["target_latency_percentile"] == Setting("target_latency_percentile", 90, "--quick")
    assert found["performance_sample_count_override"].origin == "rules of v2.0"
    assert found["max_duration"] == Setting("max_duration", 0, "LoadGen")


def test_a_rule_that_equals_loadgens_default_is_still_the_rounds(tmp_path: Path) -> None:
    found = {one.key: one for one in held(tmp_path, "Server")}
    assert found["target_latency"] == Setting("target_latency", 100, "rules of v2.0")


def test_without_a_user_conf_expectations_are_measured(tmp_path: Path) -> None:
    """At or under the real latency, else LoadGen runs out of the queries it prepared."""
    slowest: dict[Scenario, float] = {"SingleStream": 500, "MultiStream": 8000 / 2.5}
    for scenario, most in slowest.items():
        (one,) = (one for one in held(tmp_path, scenario) if one.key == "target_latency")
        assert one.origin == "half the measured"
        assert 0 < one.value < most
    assert value_of(held(tmp_path, "Server"), "target_qps") < 2.5
    assert value_of(held(tmp_path, "Offline"), "target_qps") > 2.5
    (rate,) = (one for one in held(tmp_path, "Offline") if one.key == "target_qps")
    assert rate.origin == "1.1 of the measured"


@pytest.mark.parametrize(
    ("scenario", "expected"),
    [
        ("SingleStream", ["at least 0 s instead of 600 s"]),
        (
            "MultiStream",
            [
                "at least 0 s instead of 600 s",
                "2 samples a query instead of 8",
                "percentile 90 instead of 99",
            ],
        ),
        (
            "Server",
            [
                "at least 0 s instead of 600 s",
                "percentile 90 instead of 99",
                "a latency limit of 10000 ms instead of 100 ms",
            ],
        ),
        (
            "Offline",
            ["at least 0 s instead of 600 s", "at least 32 samples instead of 24,576"],
        ),
    ],
)
def test_quick_names_each_relaxation(
    tmp_path: Path, scenario: Scenario, expected: list[str]
) -> None:
    found = held(tmp_path, scenario, quick=True)
    assert departures(found, get("v2.0"), scenario, "performance", 5000) == expected


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("*.*.min_duration = 1000", "at least 1 s instead of 60 s"),
        ("*.*.min_query_count = 64", "at least 64 queries instead of 1,024"),
        ("*.SingleStream.target_latency_percentile = 50", "percentile 50 instead of 90"),
        (
            "ssd-resnet34.*.performance_sample_count_override = 16",
            "16 images in memory instead of 64",
        ),
    ],
)
def test_a_user_conf_that_relaxes_a_rule_is_named_too(tmp_path: Path, line: str, said: str) -> None:
    user = conf(tmp_path, f"*.SingleStream.target_latency = 500\n{line}\n", "SingleStream")
    found = held(tmp_path, "SingleStream", user=user, name="v0.7")
    assert departures(found, get("v0.7"), "SingleStream", "performance", 5000) == [said]


def test_early_stopping_lets_v2_run_fewer_queries(tmp_path: Path) -> None:
    text = "*.MultiStream.target_latency = 500\n*.MultiStream.min_query_count = 662\n"
    found = held(tmp_path, "MultiStream", user=conf(tmp_path, text, "MultiStream"))
    assert departures(found, get("v2.0"), "MultiStream", "performance", 5000) == []


def test_stricter_than_the_rules_is_no_departure(tmp_path: Path) -> None:
    text = "*.Server.target_qps = 1\n*.Server.target_latency = 50\n*.*.min_duration = 900000\n"
    found = held(tmp_path, "Server", user=conf(tmp_path, text, "Server"))
    assert departures(found, get("v2.0"), "Server", "performance", 5000) == []


def test_accuracy_has_only_the_samples_in_memory_to_relax(tmp_path: Path) -> None:
    found = held(tmp_path, "Server", quick=True)
    assert departures(found, get("v2.0"), "Server", "accuracy", 5000) == []
    assert departures(found, get("v2.0"), "Server", "accuracy", 10) == [
        "10 images in memory instead of 64"
    ]


def test_the_extent_is_known_before(tmp_path: Path) -> None:
    def known(scenario: Scenario, mode: settings.Mode = "performance") -> tuple[int, float]:
        return extent(held(tmp_path, scenario), scenario, mode, 100, SLOW)

    assert known("SingleStream") == (1200, 600)
    assert known("MultiStream")[0] == 8 * 270_336
    assert known("Server")[0] == 270_336
    assert known("Offline")[0] == 24_576
    assert known("Server", "accuracy") == (100, 80)  # at half of the rate
    assert known("MultiStream", "accuracy")[0] == 104  # the last query is filled up


def test_the_files_are_written_as_loadgen_read_them(tmp_path: Path) -> None:
    user = conf(tmp_path, "# mine\n*.Offline.target_qps = 3\n", "Offline")
    held(tmp_path, "Offline", quick=True, user=user)
    assert (tmp_path / "user.conf").read_text() == "# mine\n*.Offline.target_qps = 3\n"
    assert "24576" in (tmp_path / "mlperf.conf").read_text()
    assert "--quick" in (tmp_path / "quick.conf").read_text()

"""``user.conf``: whatever LoadGen would pass over or misread is an error with its line."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ssd_resnet34.errors import UsageError
from ssd_resnet34.mlperf.rounds import MODEL, SCENARIOS, Scenario
from ssd_resnet34.mlperf.user_conf import EXPECTED, KEYS, read

GOOD = """\
# a comment of its own line
*.Offline.target_qps = 2.5
  *.SingleStream.target_latency = 500
ssd-resnet34.*.performance_sample_count_override = 128
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "user.conf"
    path.write_bytes(text.encode())
    return path


def test_values_of_the_scenario_are_found(tmp_path: Path) -> None:
    found = read(written(tmp_path, GOOD), "Offline")
    assert found.values == {"target_qps": 2.5, "performance_sample_count_override": 128}
    assert found.others == ()
    assert read(written(tmp_path, GOOD), "SingleStream").values["target_latency"] == 500


def test_windows_line_ends_are_no_part_of_a_value(tmp_path: Path) -> None:
    text = GOOD.replace("\n", "\r\n")
    assert read(written(tmp_path, text), "Offline").values["target_qps"] == 2.5


def test_the_closest_key_wins_as_in_loadgen(tmp_path: Path) -> None:
    text = "*.Offline.target_qps = 1\n*.*.min_duration = 1\n*.Offline.min_duration = 2\n"
    text += "ssd-resnet34.*.min_duration = 3\n"
    assert read(written(tmp_path, text), "Offline").values["min_duration"] == 2
    text += "ssd-resnet34.Offline.min_duration = 4\n"
    assert read(written(tmp_path, text), "Offline").values["min_duration"] == 4


def test_lines_of_other_models_are_told(tmp_path: Path) -> None:
    text = GOOD + "resnet50.Offline.target_qps = 9\nresnet50.Offline.anything_at_all = x\n"
    assert read(written(tmp_path, text), "Offline").others == ("resnet50",)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_missing_key_is_named_with_its_line_to_add(tmp_path: Path, scenario: Scenario) -> None:
    path = written(tmp_path, "*.*.min_duration = 600000\n")
    with pytest.raises(UsageError) as caught:
        read(path, scenario)
    key = EXPECTED[scenario]
    assert f"no {key} for {scenario}; add a line `*.{scenario}.{key} = …`" in str(caught.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("*.Offline.target_qps=2", "no space before `=`"),
        ("*.Offline.target_qps =2", "no space after `=`"),
        ("*.Offline.target_qps= 2", "no space before `=`"),
        ("*.Offline.target_qps = 2 # fast", "'# fast' after the value"),
        ("*.Offline.target_qps = 2 # fast", "put the comment on a line of its own"),
        ("*.Offline.target_qps = 7 8", "'8' after the value"),
        ("*.Offline.target_qps", "is no setting"),
        ("*.Offline.target_qps = ", "is no setting"),
        ("= 2", "is no setting"),
        ("Offline.target_qps = 2", "is not model.Scenario.key"),
        ("*.offline.target_qps = 2", "'offline' is no scenario"),
        ("*.Offline.target_qbs = 2", "target_qbs cannot be set; use target_qps"),
        ("*.*.qsl_rng_seed = 3", "the seeds are the round's"),
        ("*.*.performance_issue_same = 1", "performance_issue_same cannot be set"),
        ("*.Offline.target_latency = 2", "target_latency means nothing in Offline"),
        ("*.Offline.target_qps = fast", "target_qps is 'fast'; give a number"),
        ("*.Offline.target_qps = 7e2", "target_qps is '7e2'"),
        ("*.Offline.target_qps = -7", "target_qps is '-7'"),
        ("*.Offline.target_qps = inf", "target_qps is 'inf'"),
        ("*.Offline.target_qps = nan", "target_qps is 'nan'"),
        ("*.Offline.target_qps = ٣", "target_qps is '٣'"),
        ("*.Offline.target_qps = 0", "target_qps is 0; give a number above 0"),
        ("*.*.min_duration = 1.5", "min_duration is '1.5'; give a whole number"),
        ("*.*.min_duration = 99999999999999999999", "beyond LoadGen's numbers"),
        ("*.SingleStream.target_latency_percentile = 100", "give percent below 100"),
    ],
)
def test_what_loadgen_misreads_is_refused_by_line(tmp_path: Path, line: str, message: str) -> None:
    path = written(tmp_path, f"# first\n{line}\n")
    with pytest.raises(UsageError) as caught:
        read(path, "Offline")
    assert f"{path}, line 2: " in str(caught.value)
    assert message in str(caught.value)


def test_a_byte_order_mark_does_not_hide_the_first_line(tmp_path: Path) -> None:
    path = written(tmp_path, "\ufeff*.Offline.target_qps = 2\n")
    with pytest.raises(UsageError, match=r"line 1: .*byte order mark"):
        read(path, "Offline")


def test_a_key_twice_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD + "*.Offline.target_qps = 3\n")
    with pytest.raises(UsageError, match=r"line 5: \*\.Offline\.target_qps is in line 2 already"):
        read(path, "Offline")


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00", b"a\x00b"])
def test_a_file_that_is_no_text_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "user.conf"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=str(path)):
        read(path, "Offline")


NUMBERS = {
    key: st.floats(0.001, 99, allow_subnormal=False).map(lambda v: f"{v:.6f}")
    if key in ("target_qps", "target_latency", "target_latency_percentile")
    else st.integers(1, 10**9).map(str)
    for key in KEYS
}

ATTRIBUTES = {
    "min_duration": "min_duration_ms",
    "max_duration": "max_duration_ms",
    "min_query_count": "min_query_count",
    "max_query_count": "max_query_count",
    "performance_sample_count_override": "performance_sample_count_override",
}


@given(data=st.data(), scenario=st.sampled_from(SCENARIOS))
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=60,
)
def test_loadgen_finds_the_same_values(
    tmp_path: Path, data: st.DataObject, scenario: Scenario
) -> None:
    """Any file that is accepted means to LoadGen what it means here."""
    lg = pytest.importorskip("mlperf_loadgen", reason="the mlperf extra is not installed")
    lines = {f"*.{scenario}.{EXPECTED[scenario]}": "2.0"}
    for key in data.draw(st.lists(st.sampled_from(list(ATTRIBUTES)), unique=True)):
        for model, of in data.draw(
            st.lists(
                st.tuples(st.sampled_from(["*", MODEL]), st.sampled_from(["*", *SCENARIOS])),
                unique=True,
            )
        ):
            lines[f"{model}.{of}.{key}"] = data.draw(NUMBERS[key])
    pairs = data.draw(st.permutations(list(lines.items())))
    gap = data.draw(st.sampled_from([" ", "\t", "   "]))
    path = written(tmp_path, "".join(f"{key}{gap}={gap}{value}\n" for key, value in pairs))
    ours = read(path, scenario).values
    theirs = lg.TestSettings()
    assert theirs.FromConfig(str(path), MODEL, scenario, 2) == 0
    default = lg.TestSettings()
    for key, attribute in ATTRIBUTES.items():
        assert getattr(theirs, attribute) == ours.get(key, getattr(default, attribute))

"""``furiosa.runtime.profiler``: spans as a trace or a table."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fake_engine import FakeEngine
from fake_network import fake_onnx
from furiosa.runtime import session
from furiosa.runtime.profiler import RecordFormat, Resource, profile
from ssd_resnet34.errors import MissingExtra

FLOATS = np.zeros((1, 3, 1200, 1200), np.float32)


def test_a_trace_has_the_program_and_its_runs(engine: FakeEngine) -> None:
    file = io.StringIO()
    with (
        session.create(fake_onnx()) as sess,
        profile(format=RecordFormat.ChromeTrace, file=file) as profiler,
    ):
        with profiler.record("warm up", warm_up=True):
            sess.run(FLOATS)
        with profiler.record("record"):
            sess.run(FLOATS)
        profiler.pause()
        sess.run(FLOATS)
        profiler.resume()
        sess.run(FLOATS)
    sess_after = json.loads(file.getvalue())
    assert [one["name"] for one in sess_after] == ["Inference", "record", "Inference"]
    inside, around, _ = sess_after
    assert around["ts"] <= inside["ts"]
    assert inside["dur"] <= around["dur"]
    assert {one["ph"] for one in sess_after} == {"X"}


def test_a_table_has_a_row_for_every_span(
    engine: FakeEngine, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pytest.importorskip("pandas")
    with (
        profile(resource=Resource.All, format=RecordFormat.PandasDataFrame) as profiler,
        session.create(fake_onnx()) as sess,
    ):
        for _ in range(3):
            sess.run(FLOATS)
        with profiler.record("mine"):
            pass
    table = profiler.get_pandas_dataframe()
    assert table["name"].tolist() == ["Inference"] * 3 + ["mine"]
    assert (table["dur"] == table["end"] - table["start"]).all()
    assert (table["dur"] >= 0).all()
    assert len(profiler.get_cpu_pandas_dataframe()) == 4
    assert profiler.get_npu_pandas_dataframe().empty
    assert len(profiler.get_pandas_dataframe_with_filter("name", "mine")) == 1
    profiler.print_inferences()
    assert capsys.readouterr().out.count("\n") == 4
    profiler.print_summary()
    lines = capsys.readouterr().out.splitlines()
    assert lines[3] == "Inference counts                : 3"
    assert [line.split("  ")[0] for line in lines[4:]] == [
        "Min latency (ns)",
        "Max latency (ns)",
        "Mean latency (ns)",
        "Median latency (ns)",
        *(f"{share} percentile latency (ns)" for share in (90.0, 95.0, 97.0, 99.0, 99.9)),
    ]
    profiler.print_npu_operators()
    profiler.print_npu_executions()
    profiler.print_external_operators()
    assert capsys.readouterr().out.count("No ") == 3
    profiler.export_chrome_trace(tmp_path / "trace.json")
    assert len(json.loads((tmp_path / "trace.json").read_text())) == 4


def test_a_table_of_nothing_is_empty(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pandas")
    with profile(format=RecordFormat.PandasDataFrame) as profiler:
        pass
    assert profiler.get_pandas_dataframe().empty
    profiler.print_summary()
    assert "Inference counts                : 0" in capsys.readouterr().out


def test_a_trace_goes_to_stdout_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    with profile() as profiler, profiler.record("one"):
        pass
    assert [one["name"] for one in json.loads(capsys.readouterr().out)] == ["one"]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"resource": Resource.NPU}, ValueError),
        ({"format": 7}, ValueError),
        ({"format": RecordFormat.PandasDataFrame, "file": io.StringIO()}, ValueError),
        ({"extra": True}, TypeError),
    ],
)
def test_what_cannot_be_recorded_is_refused(options: dict[str, Any], error: Any) -> None:
    with pytest.raises(error):
        profile(**options)


def test_tables_without_pandas_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with profile(format=RecordFormat.PandasDataFrame) as profiler:
        pass
    with pytest.raises(MissingExtra, match="pip install"):
        profiler.get_pandas_dataframe()

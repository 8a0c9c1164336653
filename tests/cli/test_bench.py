"""``ssd-resnet34 bench`` on fake engines: what it measures, refuses, and goes on without."""

import importlib.metadata
import json
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from command import Run
from fake_engine import FakeEngine, FakeRunner
from small_int8 import small_int8
from small_network import small_onnx
from ssd_resnet34.benchmarking import device_rates, peers, plot, rates, runs, stages, start, tuning
from ssd_resnet34.benchmarking.rates import Rate
from ssd_resnet34.benchmarking.start import Start
from ssd_resnet34.cli import bench_job, bench_progress, bench_report, terminal
from ssd_resnet34.cli.terminal import progress
from ssd_resnet34.errors import EngineUnavailable, OutputError, SessionError
from ssd_resnet34.runtime import cpu, session
from ssd_resnet34.runtime.engines import CompileRequest

Picture = Callable[..., Path]


class Broken(FakeEngine):
    """Compiles, and fails when it runs."""

    name = "broken"

    def compile(self, model: bytes, request: CompileRequest) -> FakeRunner:
        class Runner(FakeRunner):
            def run(self, tensor: NDArray[np.float32]) -> list[NDArray[np.float32]]:
                raise SessionError("the engine lost its way; restart it")

        return Runner(self, request)


class Gone(FakeEngine):
    name = "gone"

    def precisions(self, device: str) -> Mapping[str, str]:
        raise EngineUnavailable("gone is not installed: pip install 'gone'")


class Slow(FakeEngine):
    """Takes its time, so that others gain more than noise."""

    name = "slow"

    def compile(self, model: bytes, request: CompileRequest) -> FakeRunner:
        class Runner(FakeRunner):
            def run(self, tensor: NDArray[np.float32]) -> list[NDArray[np.float32]]:
                time.sleep(1)
                return super().run(tensor)

        return Runner(self, request)


@pytest.fixture(autouse=True)
def engines(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """``fake``, ``broken`` and ``gone`` besides the built-in ones; tables of 80 columns."""
    del run  # it sets the entry points first, we replace them
    found = importlib.metadata.entry_points
    entries = [
        SimpleNamespace(name=kind.name, value=kind.name, load=lambda kind=kind: kind)
        for kind in (FakeEngine, Broken, Gone, Slow)
    ]

    def listed(**selection: Any) -> Any:
        return entries if selection.get("group") == "ssd_resnet34.engines" else found(**selection)

    monkeypatch.setattr(importlib.metadata, "entry_points", listed)
    monkeypatch.setenv("COLUMNS", "80")


Bench = Callable[..., tuple[int, dict[str, Any], str]]


@pytest.fixture
def bench(run: Run, weights: Path) -> Bench:
    """``bench("--configs", …)`` -> exit code, the JSON, stderr; two pairs, the fake network."""

    def call(*words: str | Path) -> tuple[int, dict[str, Any], str]:
        given = ["-w", weights] if "-w" not in words else []
        threads = [] if "--tune" in words else ["--threads", "1"]
        result = run("bench", *given, *threads, "-n", "2", "--json", *words)
        return result.code, json.loads(result.out or "{}"), result.err

    return call


def test_one_configuration_is_its_own_baseline_and_has_stages(bench: Bench) -> None:
    code, report, err = bench("--configs", "fake")
    assert code == 0
    assert report["baseline"] == "fake:fp32:1:1"
    (only,) = report["runs"]
    assert set(only) == {
        "name",
        "engine",
        "precision",
        "reason",
        "streams",
        "batch",
        "seconds",
        "images_per_second",
        "ratio",
        "cpu",
        "unavailable",
        "fault",
        "share",
    }
    assert only["ratio"]["pairs"] == 2
    assert set(only["seconds"]) == {"p50", "p90", "p99", "samples"}
    assert "the artifact is fp32" in only["reason"]
    assert set(report["stages"]["stages"]) == {"decode", "preprocess", "network", "postprocess"}
    assert report["stages"]["share"] is None  # no rates were asked for
    assert report["machine"]["cpu"]["threads"] >= 1
    assert report["machine"]["packages"]["numpy"]
    assert report["peers"] == report["decoders"] == report["rates"] == report["starts"] == []
    assert "2 pairs: no ratio to quote" in err


def test_the_report_says_when_and_has_warnings(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_report, "doubts", lambda runs, shares: [])
    _, report, err = bench("--configs", "fake", "--no-stages")
    assert datetime.fromisoformat(report["timestamp"]).tzinfo == UTC
    assert report["warnings"] == []
    assert "warning" not in err
    monkeypatch.setattr(bench_report, "doubts", lambda runs, shares: ["this", f"{len(runs)} runs"])
    _, report, err = bench("--configs", "fake,gone", "--no-stages")
    (warning,) = report["warnings"]
    assert "the machine was busy, and the numbers are not to be trusted" in warning
    assert "this; 2 runs" in warning
    assert f"warning: {warning}" in err


def test_a_machine_that_was_busy_is_told_before_the_tables_and_in_the_plot(
    run: Run, weights: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(plot, "save", lambda *given: drawn.append(given))
    words = ["bench", "-w", weights, "--threads", "1", "--configs", "slow", "--no-stages", "-q"]
    result = run(*words, "-n", "1", "--plot", tmp_path / "p.png")
    (line,) = [line for line in result.err.splitlines() if line.startswith("warning: ")]
    assert "slow:fp32:1:1 got less than 80 % of the CPU time of their threads" in line
    shown = " ".join(result.out.split())
    assert shown.index("WARNING: the machine was busy") < shown.index("slow:fp32:1:1 1")
    ((_, _, _, notes),) = drawn
    assert "1 pair: no ratio to quote; 15 or more make one" in notes
    assert line.replace("warning", "WARNING") in notes


def test_the_estimate_leaves_out_rows_that_cannot_run(
    run: Run, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_job, "span", lambda seconds: f"{seconds:.6f} s")
    monkeypatch.setattr(
        bench_progress, "time", SimpleNamespace(monotonic=iter(range(1000)).__next__)
    )
    words = ["bench", "-w", weights, "--threads", "1", "-n", "2", "--no-stages"]

    def estimate(configs: str) -> str:
        lines = run(*words, "--configs", configs).err.splitlines()
        return next(line for line in lines if line.startswith("about: "))

    assert estimate("fake,gone:all,fake:bf16") == estimate("fake")
    assert estimate("fake,fake:fp32:1:2") != estimate("fake")


def test_doubts_are_about_every_share_that_the_report_shows(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(rates, "measure", lambda *_, **__: [Rate("fp32", 1e-6, 2)])
    small = tmp_path / "small.onnx"
    small.write_bytes(small_onnx())
    _, report, _ = bench("-w", small, "--configs", "onnxruntime:fp32", "--rates", "--no-stages")
    assert report["runs"][0]["share"] > 1
    assert "of the machine's own rate cannot be" in report["warnings"][0]


def test_without_a_terminal_lines_say_whose_turn_it_is_and_about_how_long_it_takes(
    run: Run, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "EVERY", 0.0)
    words = ["bench", "-w", weights, "--threads", "1", "-n", "2", "--json"]
    words += ["--configs", "fake,fake:fp32:1:2,gone"]
    lines = [line for line in run(*words).err.splitlines() if not line.startswith("warning")]
    assert [line for line in lines if line.startswith("progress: ")] == [
        "progress: network 1 of 3: fake:fp32:1:1",
        "progress: network 1 of 3: fake:fp32:1:1, 1 of 2",
        "progress: network 2 of 3: fake:fp32:1:2",
        "progress: network 2 of 3: fake:fp32:1:2, 1 of 2",
        "progress: network 3 of 3: gone:auto:1:1",
        "progress: stages: fake:fp32:1:1",
        *(f"progress: stages: fake:fp32:1:1, {n} of 21" for n in range(1, 21)),
    ]
    (about,) = [n for n, line in enumerate(lines) if line.startswith("about: ")]
    assert "for the network, were all as fast as fake:fp32:1:1" in lines[about]
    assert lines[about - 1] == "progress: network 1 of 3: fake:fp32:1:1"  # after the first pair
    assert "for its stages" in lines[about]
    assert "progress" not in run(*words, "--quiet").err
    assert "for its stages" not in run(*words, "--no-stages").err


def test_on_a_terminal_the_bar_names_the_configuration(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with bench_progress.Shown("network", 2, 3, quiet=False) as shown:
        shown.begin("a:fp32")
        shown.advance()
        shown.begin("b:int8")
    err = capfd.readouterr().err
    assert "network 1 of 2: a:fp32" in err
    assert "network 2 of 2: b:int8" in err
    assert "progress: " not in err


def test_stages_are_of_the_fastest_and_ratios_of_the_first(bench: Bench) -> None:
    words = ("--configs", "slow,fake", "-n", "1")
    _, report, _ = bench(*words)
    assert report["baseline"] == "slow:fp32:1:1"
    assert report["stages"]["name"] == "fake:fp32:1:1"
    _, report, _ = bench(*words, "--baseline", "slow")
    assert report["stages"]["name"] == "slow:fp32:1:1"


def test_a_fastest_that_will_not_open_again_is_a_fault_and_the_baseline_stands_in(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    before = runs.opened

    def once(configuration: Any, *args: Any, **options: Any) -> Any:
        opened.append(configuration.engine)
        if opened.count("fake") > 1:
            raise SessionError("out of memory; end something")
        return before(configuration, *args, **options)

    monkeypatch.setattr(runs, "opened", once)
    code, report, _ = bench("--configs", "slow,fake", "-n", "1")
    assert code == 1
    assert report["failed"] == [{"name": "fake:fp32:1:1", "fault": "out of memory; end something"}]
    assert report["stages"]["name"] == "slow:fp32:1:1"
    assert [bool(run["seconds"]) for run in report["runs"]] == [True, True]


def test_a_missing_engine_is_one_row_and_its_reason_a_note_below(run: Run, weights: Path) -> None:
    words = ["bench", "-w", weights, "--threads", "1", "-n", "2", "--no-stages", "--quiet"]
    result = run(*words, "--configs", "fake:fp32,gone:all,broken")
    assert result.code == 1
    lines = result.out.splitlines()
    assert [line.split()[-2:] for line in lines if "gone, 4 rows" in line] == [["here", "(1)"]]
    assert [line.split()[-2:] for line in lines if "broken:auto" in line] == [["failed", "(2)"]]
    assert "(1) gone is not installed: pip install 'gone'" in lines
    assert "(2) the engine lost its way; restart it" in lines
    assert "Compare rows by their ratios" in result.out
    assert "auto took" not in result.out  # fp32 was asked for
    assert "auto took fp32 in fake:fp32:1:1: the artifact is fp32" in " ".join(
        run(*words, "--configs", "fake").out.split()
    )
    assert "1 thread, 2 pairs, 2 images" in result.out


def test_configurations_are_compared_with_the_baseline_that_was_named(bench: Bench) -> None:
    code, report, _ = bench(
        "--configs", "fake:fp32:1+2:1+3", "--baseline", "fake:fp32:1:3", "--no-stages"
    )
    assert code == 0
    assert report["baseline"] == "fake:fp32:1:3"
    names = [run["name"] for run in report["runs"]]
    assert names == ["fake:fp32:1:3", "fake:fp32:1:1", "fake:fp32:2:1", "fake:fp32:2:3"]
    assert report["stages"] is None
    assert all(run["ratio"]["median"] > 0 for run in report["runs"])


def test_what_cannot_be_had_is_a_row_and_the_baseline_the_first_that_works(bench: Bench) -> None:
    code, report, err = bench("--configs", "gone,fake:bf16,fake,fake:int8", "--no-stages")
    assert code == 0
    assert report["baseline"] == "fake:fp32:1:1"
    rows = {run["name"]: run["unavailable"] for run in report["runs"]}
    assert "pip install 'gone'" in rows["gone:auto:1:1"]
    assert "a fake has no bf16" in rows["fake:bf16:1:1"]
    assert "--calibrate" in rows["fake:int8:1:1"]
    assert "error" not in err


def test_one_that_fails_is_named_with_code_1_and_the_others_are_measured(bench: Bench) -> None:
    code, report, err = bench("--configs", "fake,broken,fake:fp32:1:2", "--no-stages")
    assert code == 1
    assert "broken:auto:1:1: the engine lost its way; restart it" in err
    assert [bool(run["seconds"]) for run in report["runs"]] == [True, False, True]


def test_a_named_baseline_that_cannot_be_had_is_an_error(bench: Bench) -> None:
    code, _, err = bench("--configs", "fake", "--baseline", "gone")
    assert code == 1
    assert "pip install 'gone'" in err
    code, _, err = bench("--configs", "fake", "--baseline", "broken")
    assert code == 1
    assert "lost its way" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--configs", "opnvino"), "engine 'opnvino' is unknown"),
        (("--configs", "fake:int4"), "precision 'int4' is unknown"),
        (("--baseline", "fake+gone"), "is 2 configurations; give one"),
        (("--tune", "--threads", "2"), "--tune chooses the threads; leave --threads out"),
        (("--plot", "plot.svg"), "name a file that ends in .png"),
        (("--plot", "no/such/plot.png"), "no such folder"),
        (("--images", "-"), "name files, folders or globs"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_measured(
    bench: Bench, words: tuple[str, ...], said: str
) -> None:
    code, report, err = bench("--configs", "fake", *words)
    assert code == 2
    assert said in err
    assert not report


def test_given_images_are_used_and_refused_ones_are_code_3(
    bench: Bench, picture: Picture, tmp_path: Path
) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"not an image")
    code, report, err = bench(
        "--configs", "fake", "--images", tmp_path / "bad.jpg", "--images", picture()
    )
    assert code == 3
    assert report["images"] == 1
    assert report["refused_images"] == 1
    assert "[unsupported_image]" in err
    code, _, err = bench("--configs", "fake", "--images", tmp_path / "bad.jpg")
    assert code == 1
    assert "none of them can be read" in err


def test_the_bar_may_share_the_terminal_with_what_comes_after_it(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for stream in (sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    with progress("bar", 2, quiet=False, at_end=True) as ticker:
        ticker.advance()
    assert "bar" in capfd.readouterr().err
    for at_end, quiet in ((True, True), (False, False)):
        with progress("bar", 2, quiet=quiet, at_end=at_end) as ticker:
            ticker.advance()
        assert not capfd.readouterr().err


def test_more_images_than_pairs_are_left_alone(bench: Bench, picture: Picture) -> None:
    for n in range(3):
        picture(f"p/{n}.png")
    folder = picture("p/bad.jpg").parent
    (folder / "z.jpg").write_bytes(b"would be refused, were it read")
    code, report, _ = bench("--configs", "fake", "--images", folder, "--no-stages")
    assert code == 0
    assert report["images"] == 2


def test_rates_give_each_run_its_share_and_the_stages_theirs(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    known = [Rate("fp32", 50.0, 2), Rate("bf16", unavailable="none here"), Rate("int8", 100.0, 2)]
    monkeypatch.setattr(rates, "measure", lambda *_, **__: known)
    small = tmp_path / "small.onnx"
    small.write_bytes(small_onnx())
    code, report, _ = bench("-w", small, "--configs", "onnxruntime:fp32", "--rates")
    assert code == 0
    (only,) = report["runs"]
    wanted = report["operations"] * only["images_per_second"] / 50e9
    assert only["share"] == pytest.approx(wanted)
    assert 0 < report["stages"]["share"] < 1
    assert report["rates"][1]["unavailable"] == "none here"


def test_weights_without_a_float_network_have_rates_and_no_share(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(rates, "measure", lambda *_, **__: [Rate("int8", 100.0, 2)])
    small = tmp_path / "small.onnx"
    small.write_bytes(small_int8())
    code, report, _ = bench("-w", small, "--configs", "onnxruntime:int8", "--rates", "--no-stages")
    assert code == 0
    assert report["operations"] is None
    assert report["runs"][0]["share"] is None


def test_starts_are_of_each_engine_and_precision_that_ran(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[str, int, list[str]]] = []

    def measured(name: str, words: list[str], runs: int, **_: Any) -> Start:
        given.append((name, runs, words))
        assert Path(words[4]).is_file()
        return Start(name, 3.0, 1.0, 4e2, None, runs)

    monkeypatch.setattr(start, "measure", measured)
    code, report, _ = bench("--configs", "fake,fake:fp32:2,gone", "--start", "--no-stages")
    assert code == 0
    ((name, count, words),) = given
    assert (name, count) == ("fake:fp32", 2)
    assert words[-2:] == ["--threads", "1"]
    assert report["starts"][0]["cold_peak_mb"] == 400
    monkeypatch.setattr(start, "measure", lambda name, *_, **__: Start(name, fault="it died"))
    code, _, err = bench("--configs", "fake", "--start", "--no-stages")
    assert code == 1
    assert "fake:fp32: it died" in err


# ------------------------------------------------------------------------ parts that fail


def failing(*_: Any, **__: Any) -> Any:
    raise ValueError("a long story\nnegative dimensions")


@pytest.mark.parametrize(
    ("part", "where", "option"),
    [
        ("stages", stages, "--stages"),
        ("rates", rates, "--rates"),
        ("start", start, "--start"),
    ],
)
def test_a_part_that_fails_loses_nothing_of_the_others(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, part: str, where: Any, option: str
) -> None:
    monkeypatch.setattr(rates, "measure", lambda *_, **__: [Rate("fp32", 50.0, 2)])
    monkeypatch.setattr(start, "measure", lambda name, *_, **__: Start(name, 3.0, 1.0))
    monkeypatch.setattr(where, "measure", failing)
    every = ("--rates", "--start") if part == "stages" else ("--rates", "--start", "--no-stages")
    code, report, err = bench("--configs", "fake,fake:fp32:1:2", *every)
    assert code == 1
    assert report["failed"] == [
        {"name": part, "fault": "ValueError: negative dimensions; report it"}
    ]
    assert f"error: {part}: ValueError: negative dimensions" in err
    assert [bool(run["seconds"]) for run in report["runs"]] == [True, True]
    assert bool(report["rates"]) == (part != "rates")
    assert bool(report["starts"]) == (part != "start")
    assert report["stages"] is None


def test_peers_that_cannot_be_prepared_leave_the_configurations(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "networks", failing)
    monkeypatch.setattr(peers, "roads", failing)
    code, report, _ = bench("--configs", "fake", "--peers", "--no-stages")
    assert code == 1
    assert [one["name"] for one in report["failed"]] == ["peers", "peers"]
    assert report["runs"][0]["seconds"]
    assert report["decoders"]  # measured before the roads failed
    assert report["roads"] == []


def test_a_plot_that_cannot_be_written_is_told_after_the_results(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(*_: Any) -> None:
        raise OutputError("p.png: no space left; free some")

    monkeypatch.setattr(plot, "save", full)
    code, report, err = bench("--configs", "fake", "--no-stages", "--plot", tmp_path / "p.png")
    assert code == 1
    assert report["runs"][0]["seconds"]
    assert report["failed"] == [{"name": "plot", "fault": "p.png: no space left; free some"}]
    assert "no space left" in err


def test_an_interrupted_run_shows_what_it_has(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(rates, "measure", interrupted)
    code, report, err = bench("--configs", "fake", "--rates", "--start")
    assert code == 1
    assert report["runs"][0]["seconds"]
    assert report["stages"]
    assert report["starts"] == []
    assert "interrupted; what was measured before is shown" in err


def test_an_engine_that_fails_in_a_way_of_its_own_is_one_line(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Broken, "compile", failing)
    code, report, err = bench("--configs", "broken")
    assert code == 1
    assert not report
    assert "broken:auto:1:1 failed: ValueError: negative dimensions" in err


# -------------------------------------------------------------------------- tuning, devices


def test_tuning_compares_streams_of_the_baseline_and_keeps_the_fastest(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, weights: Path
) -> None:
    monkeypatch.setattr(cpu, "available_threads", lambda: 2)
    code, report, _ = bench("--configs", "fake", "--tune", "--no-stages")
    assert code == 0
    found = report["tuning"]
    assert [run["name"] for run in found["runs"]] == [
        "threads 2, streams 1, batch 1",
        "threads 2, streams 2, batch 1",
        "threads 1, streams 1, batch 1",
    ]
    assert all(run["ratio"]["pairs"] == 2 for run in found["runs"])
    assert found["kept"] is False  # two pairs make no ratio to go by
    with session.create(weights, FakeEngine()) as sess:
        assert not sess.tuned
    monkeypatch.setattr(tuning, "fastest", lambda chosen, runs: chosen[1])
    monkeypatch.setattr(bench_job, "ENOUGH", 1)
    code, report, _ = bench("--configs", "fake", "--tune", "--no-stages", "-n", "1")
    assert report["tuning"]["kept"] is True
    with session.create(weights, FakeEngine()) as sess:
        assert (sess.tuned, sess.threads, sess.streams) == (True, 2, 2)


def test_a_gpu_that_is_not_there_is_said_by_name(bench: Bench) -> None:
    torch = pytest.importorskip("torch", reason="the torch extra is not installed")
    if torch.cuda.is_available():
        pytest.skip("there is one")
    code, report, err = bench("--configs", "torch", "--rates", "--device", "cuda")
    assert code == 1
    assert not report
    assert "engine torch cannot use cuda" in err


def test_the_whole_road_of_a_device_is_measured_with_its_own_rates(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("torch", reason="the torch extra is not installed")
    from small_torch import RoadEngine

    asked: list[str] = []

    def measured(device: str, pairs: int, **_: Any) -> list[Rate]:
        asked.append(device)
        return [Rate("fp32", 50.0, pairs), Rate("int8", unavailable="torch has none")]

    entry = SimpleNamespace(name="road", value="road", load=lambda: RoadEngine)
    found = importlib.metadata.entry_points
    monkeypatch.setattr(
        importlib.metadata,
        "entry_points",
        lambda **given: [*found(**given), entry] if "group" in given else found(**given),
    )
    monkeypatch.setattr(device_rates, "measure", measured)
    small = tmp_path / "small.onnx"
    small.write_bytes(small_onnx())
    code, report, _ = bench(
        "-w", small, "--configs", "road:fp32:1:2", "--device", "cuda:1", "--rates", "--no-stages"
    )
    assert code == 0
    assert asked == ["cuda:1"]
    (only,) = report["runs"]
    assert "pixels to boxes" in only["reason"]
    assert only["share"] == pytest.approx(report["operations"] * only["images_per_second"] / 50e9)


def test_a_real_start_in_a_fresh_process(bench: Bench) -> None:
    code, report, _ = bench("--configs", "onnxruntime:fp32", "--start", "--no-stages", "-n", "1")
    assert code == 0
    (found,) = report["starts"]
    assert found["runs"] == 1
    assert min(found["cold_seconds"], found["warm_seconds"]) > 0


def test_peers_that_are_missing_say_how_to_install_them(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("torch", "furiosa_native_postprocess"):
        monkeypatch.setitem(sys.modules, package, None)
    code, report, _ = bench("--configs", "fake", "--peers", "--no-stages")
    assert code == 0
    published, eager = report["peers"]
    assert published["ratio"]["pairs"] == 2
    assert "pip install 'ssd-resnet34[torch]'" in eager["unavailable"]
    assert [run["name"] for run in report["decoders"]] == [
        "ssd-resnet34",
        "furiosa-native-postprocess",
        "literal",
    ]
    assert [run["name"] for run in report["roads"]] == ["ssd-resnet34", "literal"]


def test_everything_fits_80_columns_and_the_plot_is_written(
    run: Run, weights: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for package in ("torch", "furiosa_native_postprocess"):
        monkeypatch.setitem(sys.modules, package, None)
    known = [Rate("fp32", 50.0, 2), Rate("bf16", unavailable="none here"), Rate("int8", 1e4, 2)]
    monkeypatch.setattr(rates, "measure", lambda *_, **__: known)
    monkeypatch.setattr(start, "measure", lambda name, *_, **__: Start(name, 13.0, 1.0, 400.0))
    monkeypatch.setattr(bench_job, "GAIN", 1)  # no single pair takes the stages from the baseline
    words = [
        "--configs",
        "fake,onnxruntime:fp32+bf16:2:16,gone,broken",
        "--plot",
        tmp_path / "p.png",
    ]
    parts = ["--rates", "--start", "--peers", "-n", "1"]
    result = run("bench", "-w", weights, "--threads", "1", *words, *parts)
    assert result.code == 1  # broken is broken
    assert all(len(line) <= 80 for line in result.out.splitlines())
    for text in (
        "onnxruntime:fp32:2:16",
        "furiosa-native-postprocess",
        "onnxruntime, published",
        "postprocess",
        "all stages",
        "beyond the network, s",
        "pip install 'ssd-resnet34[torch]'",
        "the recipe word by word",
        "stages of fake:fp32:1:1, one image after the other",
    ):
        assert text in result.out
    shown = " ".join(result.out.split())
    assert "auto took fp32 in fake:fp32:1:1: " in shown
    assert shown.count("auto took") == 1, "peers choose nothing"
    with Image.open(tmp_path / "p.png") as picture:
        assert picture.format == "PNG"

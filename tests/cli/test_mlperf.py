"""``ssd-resnet34 mlperf`` as its users call it; runs are in processes of their own."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import batch_site
from command import Result, Run
from fake_network import DETECTIONS
from small_dataset import document, written
from small_network import CONTRACT, small_onnx
from ssd_resnet34.errors import LoadGenError
from ssd_resnet34.mlperf import loadgen, plot, running
from ssd_resnet34.runtime import cpu

pytest.importorskip("mlperf_loadgen", reason="the mlperf extra is not installed")

COUNT = 66
"""Two more than the samples in memory, so that accuracy loads a second set."""

Mlperf = Callable[..., Result]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fake engine as an installed distribution, which the run's process finds too."""
    folder = tmp_path_factory.mktemp("site")
    for name in ("fake", "poison"):
        batch_site.install(folder, name, batch_site.ENGINES[name])
    return folder


@pytest.fixture(scope="module")
def annotations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``COUNT`` grey pictures; every one has a person, somewhere."""
    folder = tmp_path_factory.mktemp("set")
    (folder / "images").mkdir()
    boxes = [(n, 1, (4, 4, 20, 30)) for n in range(1, COUNT + 1)]
    for n in range(1, COUNT + 1):
        pixels = np.full((48, 64, 3), 2 * n, np.uint8)
        cv2.imwrite(str(folder / "images" / f"{n:06d}.jpg"), pixels)
    return written(folder, document(COUNT, boxes, width=64, height=48))


@pytest.fixture
def mlperf(
    run: Run, weights: Path, annotations: Path, site: Path, monkeypatch: pytest.MonkeyPatch
) -> Mlperf:
    """``mlperf("--scenario", "offline", "-o", out)`` on these pictures with the fake engine."""
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("COLUMNS", "80")
    usual = weights

    def call(*options: str | Path, engine: str = "fake", weights: Path = usual) -> Result:
        chosen = ["--engine", engine, "--weights", str(weights)]
        return run("mlperf", "run", annotations, annotations.parent / "images", *chosen, *options)

    return call


def files(out: Path) -> list[str]:
    return sorted(path.name for path in out.iterdir())


@pytest.mark.parametrize(
    ("scenario", "metric", "relaxed"),
    [
        ("singlestream", "90th percentile latency, early stopping estimate", ""),
        ("multistream", "90th percentile latency, early stopping estimate", "2 samples a query"),
        ("server", "scheduled rate", "percentile 90 instead of 99"),
        ("offline", "throughput", "at least 32 samples instead of 24,576"),
    ],
)
def test_a_quick_run_is_valid_to_loadgen_and_no_submission(
    mlperf: Mlperf, tmp_path: Path, scenario: str, metric: str, relaxed: str
) -> None:
    out = tmp_path / "out"
    result = mlperf("--scenario", scenario, "--quick", "-o", out)
    assert result.code == 0, result.err
    assert "LoadGen, by these settings: VALID" in result.out
    assert f"\n{metric}: " in result.out
    for reason in ("at least 0 s instead of 600 s", relaxed, "66 images instead of", "fake.onnx"):
        assert reason in result.out[result.out.index("NOT A SUBMISSION") :]
    assert all(len(line) <= 80 for line in result.out.splitlines())
    assert re.search(r"^\d+ cores?, ", result.out, re.MULTILINE)  # whole, not wrapped
    assert ("One query has all samples" in result.out) == (scenario == "offline")
    wanted = [*loadgen.LOGS, "mlperf.conf", "quick.conf", "run.json", "user.conf"]
    wanted += ["comparison.png"] if scenario != "multistream" else []
    assert files(out) == sorted(wanted)
    assert ("times as fast" in result.out) == (scenario != "multistream")
    found = json.loads((out / "run.json").read_text())
    left = " ".join(result.out.split())
    assert "run.json" in left
    assert ("comparison.png (this run among" in left) == (scenario != "multistream")
    assert found["result"]["valid"] is True
    assert found["result"]["metric"]["value"] > 0
    assert found["quick"] is True
    assert len(found["not_a_submission"]) >= 3


def test_table_and_picture_have_one_order_with_this_run_in_it(
    mlperf: Mlperf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[Any] = []
    monkeypatch.setattr(plot, "save", lambda _, given, *rest: rows.extend(given))
    out = mlperf("--scenario", "offline", "--quick", "-o", tmp_path / "out").out
    table = out[out.index("times as fast") :].splitlines()
    lines = [line.rstrip() for line in table if "/core " in line or "/accelerator " in line]
    (ours,) = (line for line in lines if "this run" in line)
    assert ours.split()[-1] == "1"
    lines.remove(ours)
    for line, row in zip(lines, rows, strict=True):
        assert row.result.system.split(",")[0] in line  # long names are folded
        assert line.endswith("–") == (row.result.kind == "accelerator")
    assert "a core and an accelerator are not compared" in " ".join(out.split())


def test_that_the_estimate_is_the_slowest_query_is_told_with_it(
    mlperf: Mlperf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(plot, "save", lambda *given: drawn.extend(given))
    out = mlperf("--quick", "-o", tmp_path / "out").out
    said = "With so few queries LoadGen's estimate is the slowest of them"
    assert said in " ".join(out.split())
    assert drawn[2][0] == "this run, slowest of 64 queries"
    assert any(note.startswith(said) for note in drawn[-1])
    by_percentile = mlperf("--quick", "--round", "v1.1", "-o", tmp_path / "out").out
    assert said not in " ".join(by_percentile.split())


def test_the_picture_names_weights_precision_and_machine(
    mlperf: Mlperf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[str] = []
    monkeypatch.setattr(plot, "save", lambda *given: notes.extend(given[-1]))
    assert mlperf("--scenario", "offline", "--quick", "-o", tmp_path / "out").code == 0
    assert notes[0] == "Blue: fake.onnx, fp32 in fake."
    assert notes[1].endswith(f": {cpu.model_name()}.")


def test_json_is_run_json_and_the_settings_are_told_before(mlperf: Mlperf, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = mlperf("--scenario", "offline", "--quick", "--json", "-o", out)
    assert json.loads(result.out) == json.loads((out / "run.json").read_text())
    assert "setting: min_query_count 32 (--quick)" in result.err
    assert "setting: performance_sample_count_override 64 (rules of v2.0)" in result.err
    assert "note: about 32 samples" in result.err
    found = json.loads(result.out)
    assert datetime.fromisoformat(found["timestamp"]).tzinfo == UTC
    settings = {one["key"]: one for one in found["settings"]}
    assert settings["min_query_count"] == {
        "key": "min_query_count",
        "value": 32,
        "unit": "",
        "origin": "--quick",
    }
    assert isinstance(settings["min_query_count"]["value"], int)
    assert settings["min_duration"]["unit"] == "ms"
    assert settings["target_qps"]["unit"] == "1/s"
    assert set(found["measured"]) == {"latency_ms", "samples_per_second"}
    assert set(found["result"]["latencies_ms"]) == {"p50", "p90", "p95", "p97", "p99", "p99.9"}
    assert {one["unit"] for one in found["published"]} == {"samples/s"}
    assert found["run_seconds"] > 0
    quiet = mlperf("--scenario", "offline", "--quick", "--json", "-o", out, "-q")
    assert quiet.err == ""


def test_a_model_that_was_trained_at_another_size_is_told_of(
    mlperf: Mlperf, tmp_path: Path, trained_at_600: Path
) -> None:
    out = tmp_path / "out"
    told = mlperf("--scenario", "offline", "--quick", "-o", out, weights=trained_at_600)
    assert told.err.count("note: trained.onnx was trained at 600×600 and runs at 1200") == 1
    assert json.loads((out / "run.json").read_text())["system"]["trained_size"] == 600


def test_a_user_conf_is_read_shown_and_kept(mlperf: Mlperf, tmp_path: Path) -> None:
    text = "# mine\n*.Server.target_qps = 30\n*.Server.target_latency = 0.001\n"
    text += "resnet50.Server.target_qps = 9\n"
    conf = written(tmp_path, text, "mine.conf")
    result = mlperf("--scenario", "server", "--quick", "--user-conf", conf, "-o", tmp_path / "out")
    assert result.code == 1  # nothing is that fast
    assert "INVALID" in result.out
    assert "too many queries over the latency limit" in result.out
    assert "LoadGen calls it INVALID" in result.out
    assert f"setting: target_qps 30/s ({conf})" in result.err
    assert "its lines for resnet50 are of no use here" in result.err
    assert (tmp_path / "out" / "user.conf").read_text() == text


@pytest.fixture(scope="module")
def varied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures in which a small network of random weights finds other things everywhere, the file
    of that network, and truths that are some of them, shifted."""
    from ssd_resnet34 import load

    folder = tmp_path_factory.mktemp("varied")
    (folder / "images").mkdir()
    (folder / "small.onnx").write_bytes(small_onnx())
    rng = np.random.default_rng(5)
    truths: list[Any] = []
    with load(small_onnx(), engine="onnxruntime", threads=1, score_threshold=0.05) as detector:
        for n in range(1, 71):
            coarse = rng.integers(0, 256, (6, 9, 3), np.uint8)
            path = folder / "images" / f"{n:06d}.jpg"
            cv2.imwrite(str(path), cv2.resize(coarse, (64, 48), interpolation=0))
            results = detector(str(path)).to_coco(n)
            for one in results[:4]:
                box = np.asarray(one["bbox"])
                box = box + 0.08 * rng.normal(0, 1, 4) * [*box[2:], *box[2:]]
                truths.append((n, one["category_id"], box.tolist()))
    categories = {one.category_id: one.label for one in CONTRACT.categories}
    return written(folder, document(70, truths, categories, width=64, height=48))


@pytest.mark.parametrize("scenario", ["singlestream", "multistream"])
def test_accuracy_is_that_of_eval(run: Run, tmp_path: Path, varied: Path, scenario: str) -> None:
    chosen = ["--engine", "onnxruntime", "--weights", varied.parent / "small.onnx"]
    common = (varied, varied.parent / "images", *chosen, "--threads", "1", "--json")
    expected = json.loads(run("eval", *common).out)["numbers"]["AP"]
    assert 0.05 < expected < 0.95
    out = tmp_path / "out"
    options = ("--mode", "accuracy", "--scenario", scenario, "-o", out)
    found = json.loads(run("mlperf", "run", *common, *options).out)
    assert found["accuracy"]["mAP_percent"] / 100 == pytest.approx(expected, abs=1e-4)
    assert found["accuracy"]["images"] == 70
    assert found["answered"] == {"multistream": 72}.get(scenario, 70)
    log = run("mlperf", "accuracy", out / loadgen.ACCURACY, varied)
    assert log.code == (0 if expected >= 0.198 else 1)
    assert (out / "accuracy.txt").read_text() == "".join(log.out.splitlines(keepends=True)[-2:])
    assert f"mAP={found['accuracy']['mAP_percent']:.3f}%" in log.out


def test_an_accuracy_run_of_embedded_weights_says_before_it_what_they_know(
    run: Run, annotations: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ends(*_: Any, **__: Any) -> None:
        raise LoadGenError("not run here; nothing to mend")

    monkeypatch.setattr(running, "run", ends)
    words = ("mlperf", "run", annotations, annotations.parent / "images", "-o", tmp_path / "out")
    note = "note: the embedded weights know twelve categories of rendered scenes"
    assert note in run(*words, "--mode", "accuracy").err
    assert note not in run(*words, "--mode", "accuracy", "--weights", "mlcommons").err
    assert note not in run(*words, "--mode", "accuracy", "-q").err
    assert note not in run(*words).err


def accuracy_log(folder: Path, count: int, kind: int, score: float = 0.9) -> Path:
    """The person of every picture, as class ``kind``."""
    box = [4 / 48, 4 / 64, 34 / 48, 24 / 64]
    records = [
        {"seq_id": n, "qsl_idx": n, "data": np.array([n, *box, score, kind], "<f4").tobytes().hex()}
        for n in range(count)
    ]
    return written(folder, records, "mlperf_log_accuracy.json")


def test_another_systems_log_is_scored_against_the_gate(
    run: Run, tmp_path: Path, annotations: Path
) -> None:
    result = run("mlperf", "accuracy", accuracy_log(tmp_path, COUNT, 1), annotations)
    assert result.code == 0
    assert "100.000 % reaches the gate of 19.8 % (66 of 66 images)" in result.out
    assert "category ids" in result.err
    result = run("mlperf", "accuracy", accuracy_log(tmp_path, COUNT, 3), annotations, "--json",
                 "--log-classes", "category_id")  # fmt: skip
    assert result.code == 1
    assert json.loads(result.out)["mAP_percent"] == 0
    result = run("mlperf", "accuracy", accuracy_log(tmp_path, 60, 1), annotations)
    assert result.code == 1
    assert "100.000 % does not pass the gate of 19.8 % (60 of 66 images)" in result.out
    assert "6 of 66 images are not in the log" in result.err


def test_classes_that_can_be_read_both_ways_must_be_told(
    run: Run, tmp_path: Path, annotations: Path
) -> None:
    log = accuracy_log(tmp_path, COUNT, 3)  # car by id, dog by position among 1, 3, 18
    result = run("mlperf", "accuracy", log, annotations)
    assert result.code == 2
    assert "--log-classes" in result.err


def test_a_truncated_log_is_refused_with_its_line(
    run: Run, tmp_path: Path, annotations: Path
) -> None:
    log = accuracy_log(tmp_path, COUNT, 1)
    log.write_text(log.read_text()[:-100])
    result = run("mlperf", "accuracy", log, annotations)
    assert (result.code, result.out) == (2, "")
    assert "not JSON from line 1 on, or cut short there" in result.err


def test_other_categories_than_the_models_are_refused_in_accuracy_mode(
    mlperf: Mlperf, run: Run, tmp_path: Path, annotations: Path, weights: Path
) -> None:
    made = json.loads(annotations.read_text())
    made["categories"][0]["name"] = "RBC"
    other = written(tmp_path, made)
    result = run("mlperf", "run", other, annotations.parent / "images", "-o", tmp_path / "out",
                 "--mode", "accuracy", "--engine", "fake", "--weights", weights)  # fmt: skip
    assert result.code == 2
    assert "1 is 'RBC', the model's is 'person'" in result.err
    assert files(tmp_path / "out") == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--scenario", "multistream", "--round", "v0.7"), "at a fixed rate"),
        (("--scenario", "multistream", "--round", "v1.1"), "had no such scenario"),
        (("--user-conf", "nowhere.conf"), "nowhere.conf: cannot be read"),
        (("--round", "v3.0"), "v3.0"),
        (("--engine", "nonsense"), "nonsense"),
        (("--timeout", "0"), "--timeout"),
    ],
)
def test_wrong_options_end_in_one_line(
    mlperf: Mlperf, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    result = mlperf("-o", tmp_path / "out", *options)
    assert result.code in (1, 2)
    assert result.out == ""
    assert message in result.err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("*.Offline.target_qps = 2", "no target_latency for SingleStream"),
        ("*.SingleStream.target_latency=500", "line 2: no space before `=`"),
        ("*.SingleStream.target_latency = 500 # ms", "line 2: '# ms' after the value"),
    ],
)
def test_a_user_conf_that_loadgen_misreads_is_bad_usage(
    mlperf: Mlperf, tmp_path: Path, line: str, message: str
) -> None:
    conf = written(tmp_path, f"# mine\n{line}\n", "user.conf")
    result = mlperf("--user-conf", conf, "-o", tmp_path / "out")
    assert (result.code, result.out) == (2, "")
    assert message in result.err
    assert not (tmp_path / "out").exists()


def test_a_set_that_is_empty_small_or_not_there_is_refused(
    run: Run, tmp_path: Path, annotations: Path
) -> None:
    made = json.loads(annotations.read_text())
    folder = annotations.parent / "images"

    def call(change: dict[str, Any], images: Path = folder) -> str:
        result = run("mlperf", "run", written(tmp_path, made | change), images, "-o", tmp_path)
        assert (result.code, result.out) == (2, "")
        return result.err

    assert "list of images is empty" in call({"images": [], "annotations": []})
    few = {"images": made["images"][:10], "annotations": made["annotations"][:10]}
    assert "10 images, and the rules keep 64 in memory" in call(few)
    assert "no such folder" in call({}, tmp_path / "nowhere")
    extra = [*made["images"], {"id": 900, "file_name": "gone.jpg", "width": 9, "height": 9}]
    assert "1 of 67 images are missing" in call({"images": extra})


def test_quick_takes_a_small_set(mlperf: Mlperf, run: Run, tmp_path: Path, annotations: Path,
                                 weights: Path) -> None:  # fmt: skip
    made = json.loads(annotations.read_text())
    few = {"images": made["images"][:10], "annotations": made["annotations"][:10]}
    path = written(tmp_path, made | few)
    result = run("mlperf", "run", path, annotations.parent / "images", "-o", tmp_path / "out",
                 "--quick", "--engine", "fake", "--weights", weights)  # fmt: skip
    assert result.code == 0
    assert "10 images in memory instead of 64" in result.out
    assert "(rules of v2.0; the set has 10, all in memory)" in " ".join(result.out.split())


def test_without_loadgen_the_extra_is_named(
    mlperf: Mlperf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlperf_loadgen", None)
    result = mlperf("--quick", "-o", tmp_path / "out")
    assert (result.code, result.out) == (1, "")
    assert "pip install 'ssd-resnet34[mlperf]'" in result.err


def test_without_pycocotools_an_accuracy_run_does_not_begin(
    mlperf: Mlperf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools.coco", None)
    result = mlperf("--mode", "accuracy", "-o", tmp_path / "out")
    assert (result.code, result.out) == (1, "")
    assert "average precision needs pycocotools" in result.err
    assert not (tmp_path / "out").exists()


def test_a_run_without_a_figure_is_not_said_to_lack_published_ones(
    mlperf: Mlperf, tmp_path: Path
) -> None:
    conf = tmp_path / "few.conf"
    conf.write_text("*.SingleStream.target_latency = 1\n*.*.max_query_count = 10\n")
    result = mlperf("--quick", "--user-conf", conf, "-o", tmp_path / "out", "-q")
    assert result.code == 1
    assert "LoadGen found too few queries for a figure to compare." in result.out
    assert "No published result" not in result.out


def test_a_folder_that_cannot_be_made_is_bad_usage(mlperf: Mlperf, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = mlperf("--quick", "-o", tmp_path / "file" / "out")
    assert result.code == 2
    assert "name a folder that you may write to" in result.err


def command(annotations: Path, weights: Path, *options: str | Path) -> list[str]:
    words = [sys.executable, "-m", "ssd_resnet34", "mlperf", "run", annotations]
    words += [annotations.parent / "images", "--engine", "fake", "--weights", weights, *options]
    return [str(word) for word in words]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
def test_a_signal_ends_the_run_in_order(
    annotations: Path, weights: Path, site: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """By the rules this Server run takes hours; as in a terminal, all processes get the signal."""
    words = command(annotations, weights, "--scenario", "server", "-o", tmp_path / "out")
    process = subprocess.Popen(
        words,
        env=batch_site.environment(site),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    said = ""
    while "note: about" not in said:
        line = process.stderr.readline()
        assert line, said
        said += line
    time.sleep(0.5)
    os.killpg(process.pid, number)
    out, rest = process.communicate(timeout=120)
    assert (process.returncode, out) == (1, "")
    assert "note: ending the run" in rest
    assert "error: stopped after" in rest
    assert "Traceback" not in rest
    assert [name[:11] for name in files(tmp_path / "out")] == ["unfinished-"]


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are POSIX")
def test_a_full_disk_is_told_and_leaves_no_result(
    annotations: Path, weights: Path, site: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = subprocess.run(
        command(annotations, weights, "--scenario", "offline", "--quick", "-o", out),
        env=batch_site.environment(site),
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000)),
        check=False,
    )
    assert done.returncode == 1
    assert "LoadGen says nothing of a full disk: free space and run again" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (out / loadgen.SUMMARY).exists()


def test_detections_are_the_fakes(mlperf: Mlperf, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert mlperf("--mode", "accuracy", "-o", out).code == 1  # its boxes are elsewhere
    records = json.loads((out / loadgen.ACCURACY).read_text())
    rows = [np.frombuffer(bytes.fromhex(one["data"]), "<f4").reshape(-1, 7) for one in records]
    assert {len(one) for one in rows} == {len(DETECTIONS)}
    assert {int(value) for one in rows for value in one[:, 6]} == {1, 3, 18}  # category ids

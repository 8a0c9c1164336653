"""``ssd-resnet34 compile`` on a small network: what is written, refused, judged and sold."""

import io
import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

import ssd_resnet34
from command import Run
from full_disk import full_disk
from small_dataset import document, written
from small_network import small_onnx
from ssd_resnet34 import SSDResNet34, artifact, files
from ssd_resnet34.cli import compile_report
from ssd_resnet34.cli.terminal import Ticker
from ssd_resnet34.compiler.quantization import activations
from ssd_resnet34.evaluation import fidelity, guard
from ssd_resnet34.evaluation.fidelity import Fidelity
from ssd_resnet34.evaluation.guard import Judge
from ssd_resnet34.runtime import cpu
from ssd_resnet34.weights import ranges


@pytest.fixture
def network(tmp_path: Path) -> Path:
    path = tmp_path / "small.onnx"
    path.write_bytes(small_onnx())
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Six small pictures, of which one is held back."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for n in range(6):
        blocks = np.random.default_rng(n).integers(0, 256, (10, 12, 3), np.uint8)
        Image.fromarray(blocks.repeat(10, 0).repeat(10, 1)).save(folder / f"{n}.png")
    return folder


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """int8 takes a quarter of the time, whatever this machine is busy with."""
    timed(monkeypatch, 0.25)


def timed(
    monkeypatch: pytest.MonkeyPatch, speed: float, spread: tuple[float, float] | None = None
) -> None:
    times: dict[str, Any] = {"speed": speed, "spread": spread or (speed, speed)}

    def measured(*arguments: Any, **options: Any) -> Fidelity:
        return replace(fidelity.measure(*arguments, **options), **times)

    def again(self: Judge, made: bytes, found: Fidelity, on_pair: Any) -> Fidelity:
        return replace(found, **times)

    monkeypatch.setattr(guard, "measure", measured)
    monkeypatch.setattr(Judge, "timed", again)


Compile = Callable[..., tuple[int, dict[str, Any], str]]


@pytest.fixture
def compiled(run: Run, network: Path, tmp_path: Path) -> Compile:
    """``compiled("--calibrate", …)`` -> exit code, the JSON, stderr; writes ``out.onnx``."""

    def call(*words: str | Path, weights: Path = network) -> tuple[int, dict[str, Any], str]:
        output = tmp_path / "out.onnx"
        result = run("compile", "-w", weights, "-o", output, "--json", *words)
        return result.code, json.loads(result.out or "{}"), result.err

    return call


@pytest.mark.usefixtures("fast")
def test_the_artifact_says_where_it_comes_from(
    compiled: Compile, photos: Path, tmp_path: Path
) -> None:
    code, report, _ = compiled("--calibrate", photos, "--method", "mse")
    assert code == 0
    facts = artifact.metadata((tmp_path / "out.onnx").read_bytes())
    assert facts["precision"] == "int8"
    assert facts["calibration"] == "mse, asymmetric"
    assert facts["calibration_images"] == "5"
    assert len(facts["calibration_images_sha256"]) == 64
    assert "onnxruntime" in facts["tools"]
    assert report["written"] == str(tmp_path / "out.onnx")
    assert report["runs"][0]["images"] == 1  # the sixth, held back


@pytest.mark.usefixtures("fast")
def test_the_same_command_gives_the_same_bytes_and_so_do_its_saved_ranges(
    compiled: Compile, photos: Path, tmp_path: Path
) -> None:
    saved, output = tmp_path / "ranges.yaml", tmp_path / "out.onnx"
    assert compiled("--calibrate", photos, "--save-ranges", saved)[0] == 0
    first = output.read_bytes()
    assert compiled("--calibrate", photos)[0] == 0
    assert output.read_bytes() == first
    assert compiled("--ranges", saved, "--check", photos)[0] == 0
    from_file, calibrated = (artifact.load(data) for data in (output.read_bytes(), first))
    assert from_file.graph == calibrated.graph  # the metadata says that the ranges were given
    name, pair = next(iter(yaml.safe_load(saved.read_text()).items()))
    assert pair == list(ranges.read(saved)[name])


@pytest.mark.usefixtures("fast")
def test_a_pass_that_is_kept_in_a_file_serves_another_method(
    compiled: Compile, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "pass.npz"
    assert compiled("--calibrate", photos, "--statistics", kept)[0] == 0

    def never(*_: object) -> None:
        raise AssertionError("the network ran again")

    monkeypatch.setattr("ssd_resnet34.compiler.calibration.Observer.observe", never)
    code, report, _ = compiled("--calibrate", photos, "--statistics", kept, "--method", "entropy")
    assert code == 0
    assert report["calibration"]["calibration"] == "entropy, asymmetric"


def test_an_artifact_that_is_not_faster_here_is_not_written_unless_forced(
    compiled: Compile, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed(monkeypatch, 1.5)
    code, report, err = compiled("--calibrate", photos)
    assert code == 1
    assert report["written"] is None
    assert "1.50 of the time of float" in err
    assert "--force" in err
    assert not (tmp_path / "out.onnx").exists()
    code, report, err = compiled("--calibrate", photos, "--force")
    assert code == 0
    assert "1.50 of the time" in err
    assert (tmp_path / "out.onnx").exists()


@pytest.mark.parametrize(
    ("speed", "spread", "said"),
    [
        (5.84, (0.9, 7.0), "warning: the machine was busy, and its times are not to be trusted"),
        (0.25, (0.2, 0.4), "warning: the machine was busy, and its times are not to be trusted"),
        (1.01, (0.98, 1.04), "whether it is faster here cannot be told"),
    ],
)
def test_a_noisy_time_warns_and_refuses_nothing(
    compiled: Compile,
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
    speed: float,
    spread: tuple[float, float],
    said: str,
) -> None:
    timed(monkeypatch, speed, spread)
    code, report, err = compiled("--calibrate", photos)
    assert code == 0
    assert report["written"]
    assert said in err


@pytest.mark.usefixtures("fast")
def test_other_images_that_judge_leave_all_of_calibration_its_own(
    compiled: Compile, photos: Path, tmp_path: Path
) -> None:
    other = (photos / "0.png").rename(tmp_path / "other.png")
    code, report, err = compiled("--calibrate", photos, "--check", other)
    assert code == 0
    assert report["runs"][0]["images"] == 1
    facts = artifact.metadata((tmp_path / "out.onnx").read_bytes())
    assert facts["calibration_images"] == "5"
    assert "calibrated on too" not in err
    code, _, err = compiled("--calibrate", photos, "--check", other, "--check", photos / "1.png")
    assert code == 0
    assert "note: 1 of the 2 images that judge are calibrated on too" in err


@pytest.mark.usefixtures("fast")
def test_an_image_that_is_named_twice_is_not_held_back_and_seen(
    compiled: Compile, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "link.png").symlink_to(photos / "0.png")
    again = [
        word for one in (photos / "4.png", tmp_path / "link.png") for word in ("--calibrate", one)
    ]
    code, report, _ = compiled("--calibrate", photos, *again)
    assert (code, report["runs"][0]["images"]) == (0, 1)
    facts = artifact.metadata((tmp_path / "out.onnx").read_bytes())
    assert facts["calibration_images"] == "5"


@pytest.mark.usefixtures("fast")
def test_a_cpu_without_8_bit_dot_products_compiles_the_same_bytes(
    compiled: Compile, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is for any machine; whether int8 is worth it on this one, its time tells."""
    made = set()
    for features in ((), ("avx2",), ("avx512f", "avx512_vnni")):
        monkeypatch.setattr(cpu, "features", lambda features=features: frozenset(features))
        code, report, _ = compiled("--calibrate", photos, "--engine", "onnxruntime")
        assert code == 0
        assert report["precision"] == "int8"
        made.add((tmp_path / "out.onnx").read_bytes())
    assert len(made) == 1


@pytest.mark.usefixtures("fast")
def test_an_artifact_under_the_bar_is_not_written(
    compiled: Compile, photos: Path, tmp_path: Path
) -> None:
    code, report, err = compiled("--calibrate", photos, "--agreement", "1")
    assert report["runs"][0]["agreement"]["share"] < 1
    assert code == 1
    assert "under 100 %" in err
    assert "(--keep-float auto), take another --method or give more images to --calibrate" in err
    assert "judged on 1 image only" in err
    assert not (tmp_path / "out.onnx").exists()
    _, _, err = compiled("--calibrate", photos, "--agreement", "1", "--keep-float", "auto")
    assert "to reach the bar, take another --method or give more images" in err


@pytest.mark.usefixtures("fast")
def test_float_layers_buy_accuracy_and_both_prices_are_told(
    compiled: Compile, photos: Path, tmp_path: Path
) -> None:
    _, report, _ = compiled("--calibrate", photos, "--agreement", "1", "--keep-float", "auto")
    before, after = report["runs"]
    kept = report["kept_float"]
    assert kept
    costs = report["sensitivity"]
    assert {cost["layer"] for cost in costs[: len(kept)]} == set(kept)
    assert [c["noise"] for c in costs] == sorted((c["noise"] for c in costs), reverse=True)
    assert after["sqnr"]["cls_0"] > before["sqnr"]["cls_0"]
    assert before["speed"] == after["speed"] == 0.25  # as the fixture has it
    assert before["images"] == after["images"] == 1


@pytest.mark.usefixtures("fast")
def test_an_image_of_stdin_judges_every_artifact(
    compiled: Compile, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It can be read once only."""
    stdin = SimpleNamespace(buffer=io.BytesIO((photos / "0.png").read_bytes()))
    monkeypatch.setattr(sys, "stdin", stdin)
    words = ["--calibrate", photos, "--check", "-", "--agreement", "1", "--keep-float", "auto"]
    _, report, _ = compiled(*words)
    assert [one["images"] for one in report["runs"]] == [1, 1]
    assert report["refused_images"] == 0


@pytest.mark.usefixtures("fast")
def test_named_layers_and_prefixes_stay_float(
    compiled: Compile, photos: Path, tmp_path: Path
) -> None:
    code, report, _ = compiled("--calibrate", photos, "--keep-float", "block,cls_0")
    assert code == 0
    assert report["kept_float"] == ["block.add", "block.conv1", "block.conv2", "cls_0"]
    data = (tmp_path / "out.onnx").read_bytes()
    assert artifact.metadata(data)["keep_float"] == "block.add block.conv1 block.conv2 cls_0"


def test_a_layer_that_does_not_exist_is_refused_before_the_work(
    compiled: Compile, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("the network ran")

    monkeypatch.setattr("ssd_resnet34.compiler.calibration.Observer.observe", never)
    code, _, err = compiled("--calibrate", photos, "--keep-float", "nothing")
    assert code == 2
    assert "no layer 'nothing' to keep in float" in err


@pytest.mark.usefixtures("fast")
def test_the_artifact_of_known_ranges_is_the_models_own(
    compiled: Compile, network: Path, tmp_path: Path
) -> None:
    """What ``SSDResNet34.enf`` builds on first use is what this command writes."""
    file = tmp_path / "ranges.yaml"
    ranges.write(file, dict.fromkeys(activations(small_onnx()), (-3.0, 4.0)))
    assert compiled("--ranges", file)[0] == 0
    made = SSDResNet34(network, "int8", ranges=file).enf
    assert (tmp_path / "out.onnx").read_bytes() == made


def annotated(network: Path, photos: Path, folder: Path) -> Path:
    """What fp32 finds in each photo, as the truth."""
    photos_ = sorted(photos.iterdir())
    boxes = []
    with ssd_resnet34.load(network, precision="fp32", score_threshold=0.05) as detector:
        for image, path in enumerate(photos_, 1):
            found = detector(path)
            for box, category in zip(found.boxes, found.category_ids, strict=True):
                size = [float(v) for v in (*box[:2], *(box[2:] - box[:2]))]
                boxes.append((image, int(category), size))
    content = document(len(photos_), boxes, {1: "cat", 18: "dog"})
    for entry, path in zip(content["images"], photos_, strict=True):
        entry["file_name"] = path.name
    return written(folder, content, "truth.json")


@pytest.mark.usefixtures("fast")
def test_annotations_give_average_precision_of_both_and_the_bar_is_theirs(
    compiled: Compile, network: Path, photos: Path, tmp_path: Path
) -> None:
    words = ["--calibrate", photos, "--annotations", annotated(network, photos, tmp_path)]
    code, report, _ = compiled(*words, "--bar", "0")
    assert code == 0
    reference, found = report["runs"][0]["ap"]
    assert 0 < found < reference
    code, _, err = compiled(*words, "--bar", "1")
    assert code == 1
    assert f"AP {found:.4f} is under 100 % of fp32's {reference:.4f}" in err


def test_annotations_that_name_no_judged_image_are_refused_before_calibration(
    compiled: Compile,
    network: Path,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    truth = annotated(network, photos, tmp_path)

    def never(*_: object) -> None:
        raise AssertionError("the network ran")

    monkeypatch.setattr("ssd_resnet34.compiler.calibration.Observer.observe", never)
    for path in list(photos.iterdir()):
        path.rename(photos / f"other {path.name}")
    code, _, err = compiled("--calibrate", photos, "--annotations", truth)
    assert code == 2
    assert "has no object in the images that judge" in err
    code, _, err = compiled("--calibrate", photos / "other 0.png", "--annotations", truth)
    assert code == 2
    assert "annotates no image to judge on" in err


@pytest.mark.usefixtures("fast")
def test_refused_calibration_images_are_told_and_the_code_is_3(
    compiled: Compile, photos: Path
) -> None:
    (photos / "0.png").write_bytes(b"no picture")
    code, report, err = compiled("--calibrate", photos)
    assert code == 3
    assert report["refused_images"] == 1
    assert err.count("0.png") == 1
    assert report["calibration"]["calibration_images"] == "4"


def test_calibration_without_any_readable_image_fails_and_writes_nothing(
    compiled: Compile, tmp_path: Path
) -> None:
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    code, _, err = compiled("--calibrate", tmp_path / "a.jpg")
    assert code == 1
    assert "no calibration image was seen" in err
    (tmp_path / "empty").mkdir()
    for nothing in ("nowhere", "empty", "*.png"):
        code, _, err = compiled("--calibrate", tmp_path / nothing)
        assert code == 1
        assert f"refused: {tmp_path / nothing}" in err
        assert "no calibration image was seen" in err
    assert not (tmp_path / "out.onnx").exists()


@pytest.mark.usefixtures("fast")
def test_one_image_calibrates_with_a_warning_and_leaves_accuracy_unchecked(
    compiled: Compile, photos: Path
) -> None:
    code, report, err = compiled("--calibrate", photos / "0.png")
    assert code == 0
    assert "on 1 image only" in err
    assert "accuracy was not checked" in err
    assert not report["checked"]


def test_int8_of_weights_without_ranges_names_the_mend(compiled: Compile) -> None:
    code, _, err = compiled()
    assert code == 1
    assert "--calibrate IMAGES" in err
    assert "--ranges FILE" in err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("image: [1, 0]", "is no range"),
        ("stem.relu: [-1, 1]", "no range for 8 of 9 tensors"),
        ("other: [-1, 1]", "ranges do not carry over"),
        ("- a list", "not a mapping"),
        ("image: [a, b", "no activation ranges"),
    ],
)
def test_ranges_that_are_inverted_or_of_another_graph_are_refused(
    compiled: Compile, tmp_path: Path, text: str, said: str
) -> None:
    file = tmp_path / "ranges.yaml"
    file.write_text(text)
    code, _, err = compiled("--ranges", file)
    assert code == 1
    assert said in err
    assert not (tmp_path / "out.onnx").exists()


def test_fp32_is_the_source_and_takes_no_int8_options(
    compiled: Compile, network: Path, photos: Path, tmp_path: Path
) -> None:
    code, report, _ = compiled("--precision", "fp32")
    assert code == 0
    assert (tmp_path / "out.onnx").read_bytes() == network.read_bytes()
    assert report["precision"] == "fp32"
    code, _, err = compiled("--precision", "fp32", "--calibrate", photos)
    assert code == 2
    assert "--calibrate: only for --precision int8; leave it out" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--calibrate", "a", "--ranges", "b"), "--ranges: only without --calibrate"),
        (("--method", "min-max", "--ranges", "b"), "--method: only with --calibrate IMAGES"),
        (("--statistics", "a.npz"), "--statistics: only with --calibrate IMAGES"),
        (("--symmetric",), "--symmetric: only with --calibrate IMAGES"),
        (("--calibrate", "a", "--percentage", "99"), "only with --method percentile"),
        (("--calibrate", "a", "--bar", "0.9"), "--bar: only with --annotations FILE"),
        (
            ("--check", "a", "--annotations", "b", "--agreement", "0.9"),
            "--agreement: only without --annotations",
        ),
        (("--precision", "fp32", "--force"), "--force: only for --precision int8"),
        (("--precision", "fp32", "--threads", "1"), "--threads: only for --precision int8"),
        (
            ("--precision", "fp32", "--method", "mse", "--check", "a"),
            "--check, --method: only for --precision int8",
        ),
    ],
)
def test_options_that_would_be_ignored_are_refused(
    compiled: Compile, words: tuple[str, ...], said: str
) -> None:
    code, _, err = compiled(*words)
    assert code == 2
    assert said in err


def test_an_int8_artifact_or_a_damaged_one_is_no_source(
    compiled: Compile, photos: Path, tmp_path: Path, network: Path
) -> None:
    assert compiled("--calibrate", photos, "--force")[0] == 0
    made = (tmp_path / "out.onnx").rename(tmp_path / "made.onnx")
    code, _, err = compiled("--calibrate", photos, weights=made)
    assert code == 1
    assert "int8 already" in err
    half = tmp_path / "half.onnx"
    half.write_bytes(network.read_bytes()[:5000])
    code, _, err = compiled("--calibrate", photos, weights=half)
    assert code == 1
    assert "cut short" in err


def test_weights_of_a_newer_schema_are_refused(
    compiled: Compile, photos: Path, tmp_path: Path
) -> None:
    model = artifact.load(small_onnx())
    for entry in model.metadata_props:
        entry.value = entry.value.replace('"schema":1', '"schema":2')
    newer = tmp_path / "newer.onnx"
    newer.write_bytes(artifact.serialize(model))
    code, _, err = compiled("--calibrate", photos, weights=newer)
    assert code == 1
    assert "schema 2 cannot be read by this version (knows 1)" in err


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_a_full_disk_is_told_and_leaves_what_was_there(
    run: Run, network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    output, known = tmp_path / "out.onnx", tmp_path / "ranges.yaml"
    output.write_bytes(b"the artifact before")
    ranges.write(known, dict.fromkeys(activations(small_onnx()), (-3.0, 4.0)))

    written = files.write

    def write(path: Path, data: bytes) -> None:
        with full_disk():
            written(path, data)

    monkeypatch.setattr(files, "write", write)
    words = ["--ranges", known] if precision == "int8" else ["--precision", "fp32"]
    result = run("compile", "-w", network, "-o", output, *words)
    assert result.code == 1
    assert "out.onnx': cannot be written (File too large); free space" in result.err
    assert output.read_bytes() == b"the artifact before"
    assert set(tmp_path.iterdir()) == {output, known, network}


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_the_weights_are_not_replaced_by_what_is_made_of_them(
    run: Run, network: Path, photos: Path, precision: str
) -> None:
    words = ["--calibrate", photos] if precision == "int8" else ["--precision", "fp32"]
    result = run("compile", "-w", network, "-o", network, *words)
    assert (result.code, result.out) == (2, "")
    assert f"--output {network}: is the file of --weights; name another file" in result.err
    assert network.read_bytes() == small_onnx()


@pytest.mark.parametrize("option", ["--save-ranges", "--statistics"])
def test_two_results_have_two_files(
    run: Run, network: Path, photos: Path, tmp_path: Path, option: str
) -> None:
    output = tmp_path / "out.onnx"
    result = run("compile", "-w", network, "--calibrate", photos, "-o", output, option, output)
    assert result.code == 2
    assert f"{option} {output}: is the file of --output" in result.err
    assert not output.exists()


@pytest.mark.usefixtures("fast")
def test_agreement_on_images_without_detections_is_told_to_say_nothing(
    compiled: Compile, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, report, err = compiled("--calibrate", photos)
    assert report["runs"][0]["agreement"]["reference"]
    assert "nothing was detected" not in err
    monkeypatch.setattr(fidelity, "DEFAULT_SCORE_THRESHOLD", 1.0)
    code, report, err = compiled("--calibrate", photos)
    assert (code, report["runs"][0]["agreement"]["share"]) == (0, 1.0)
    assert "note: nothing was detected in the images that judge" in err


@pytest.mark.parametrize("option", ["--output", "--save-ranges", "--statistics"])
def test_a_file_that_cannot_be_written_is_told_before_the_work(
    run: Run, network: Path, photos: Path, tmp_path: Path, option: str
) -> None:
    words = [option, tmp_path / "no" / "file"]
    if option != "--output":
        words += ["--output", tmp_path / "out.onnx"]
    result = run("compile", "-w", network, "--calibrate", photos, *words)
    assert result.code == 2
    assert "no such folder" in result.err
    assert not list(tmp_path.glob("*out*"))


@pytest.mark.usefixtures("fast")
def test_the_tables_fit_80_columns(
    run: Run, network: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    words = ["--calibrate", photos, "--sensitivity", "--keep-float", "cls_0"]
    result = run("compile", "-w", network, "-o", tmp_path / "o.onnx", *words)
    assert result.code == 0
    assert all(len(line) <= 80 for line in result.out.splitlines()[:-1])
    assert "int8, 1 float" in result.out
    assert re.search(r"time / (fp32|bf16)", result.out)
    assert "of all noise" in result.out
    assert "judged on 1 image, calibrated on 5" in result.out


@pytest.mark.usefixtures("fast")
def test_every_long_part_shows_how_far_it_is(
    compiled: Compile, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: dict[str, list[float]] = {}

    class Counting(Ticker):
        def __init__(self, title: str) -> None:
            super().__init__(None)
            self.done = steps.setdefault(title, [])

        def advance(self, amount: float = 1) -> None:
            self.done.append(amount)

    @contextmanager
    def progress(title: str, total: int | None, *, quiet: bool, at_end: bool) -> Iterator[Ticker]:
        assert at_end  # on a terminal too: nothing is printed before
        ticker = Counting(title)
        yield ticker
        assert total == len(ticker.done)

    monkeypatch.setattr("ssd_resnet34.cli.compile.progress", progress)
    monkeypatch.setattr(Judge, "timed", timed_by_nobody)
    assert compiled("--calibrate", photos, "--sensitivity")[0] == 0
    assert {title: len(done) for title, done in steps.items()} == {
        "calibrate": 5,
        "layers": 17,
        "check": 1 + fidelity.PAIRS,
    }


def timed_by_nobody(
    self: Judge, made: bytes, found: Fidelity, on_pair: Callable[[], None]
) -> Fidelity:
    for _ in range(fidelity.PAIRS):
        on_pair()
    return found


def test_the_share_of_agreement_stands_beside_the_counts_it_is_made_of(
    capsys: pytest.CaptureFixture[str],
) -> None:
    counts = {"reference": 63, "found": 65, "matched": 61, "share": 61 / 65}
    run = {"images": 2, "seconds": (1.0, 2.0), "speed": 0.5, "sqnr": {}, "ap": None, "ap50": None}
    run |= {"agreement": counts | {"box_shift": 1.0, "score_shift": 0.1}}
    compile_report.show(
        {
            "weights": "small",
            "bytes": {"fp32": 4, "int8": 1},
            "checked": True,
            "runs": [run],
            "calibration": {"calibration_images": "8"},
            "timed_float": "bf16",
            "kept_float": [],
            "sensitivity": [],
            "written": None,
        }
    )
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "detections of fp32 63 61" in lines
    assert "detections beside them – 4" in lines
    assert "agreement – 93.8 %" in lines
    assert lines[-1] == (
        "judged on 2 images, calibrated on 8; float was timed in bf16, the faster here"
    )


@pytest.mark.parametrize(("rival", "shown"), [("fp32", "2.000"), ("bf16", "2.000 (bf16)")])
def test_the_column_of_fp32_names_the_precision_of_the_time(
    rival: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = {"images": 0, "seconds": (1.0, 2.0), "speed": 0.5}
    compile_report.show(
        {
            "weights": "small",
            "bytes": {"fp32": 4, "int8": 1},
            "checked": False,
            "runs": [run],
            "calibration": {},
            "timed_float": rival,
            "kept_float": [],
            "sensitivity": [],
            "written": None,
        }
    )
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "small fp32 int8" in lines
    assert f"seconds an image {shown} 1.000" in lines
    assert f"time / {rival} 1 0.500" in lines


def test_a_layer_whose_noise_is_infinite_has_no_share_of_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """JSON has no infinity: the report says null."""
    costs: list[dict[str, Any]] = [
        {"layer": "a", "noise": None, "work": 0.25},
        {"layer": "b", "noise": 0.01, "work": 0},
    ]
    compile_report._show_costs(costs)
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert [line for line in lines if line[:1] in ("a", "b")][1:] == [
        "a – – 25.0 %",
        "b 20.0 100.0 % 0.0 %",
    ]

"""One call from weights and images to an artifact that says where it comes from."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PILImage

from small_network import CONTRACT, small_onnx
from ssd_resnet34 import artifact
from ssd_resnet34.compiler import quantization
from ssd_resnet34.compiler.calibration import Statistics, calibrate
from ssd_resnet34.compiler.compilation import compile_int8
from ssd_resnet34.compiler.quantization import METHOD, quantize
from ssd_resnet34.compiler.ranges import METHODS
from ssd_resnet34.errors import CalibrationError, ImageError, UsageError

SOURCE = small_onnx()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two files of noise."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    files = []
    for n in range(2):
        files.append(folder / f"{n}.png")
        pixels = np.clip(rng.standard_normal((40, 30, 3)) * 30 * (n + 1) + 110, 0, 255)
        PILImage.fromarray(pixels.astype(np.uint8)).save(files[-1])
    return files


def never() -> Iterator[Any]:
    """Images that must not be asked for."""
    return map(pytest.fail, ["an image was asked for"])


def test_it_is_calibration_then_ranges_then_quantization(pictures: list[Path]) -> None:
    made = compile_int8(SOURCE, pictures, method="mse", symmetric=True)
    statistics = calibrate(SOURCE, pictures)
    ranges = statistics.ranges("mse", symmetric=True)
    assert made.ranges == ranges
    assert made.statistics is not None
    assert made.statistics.images == statistics.images
    facts = artifact.metadata(made.artifact)
    entries = {key: value for key, value in facts.items() if key.startswith("calibration")}
    assert made.artifact == quantize(SOURCE, ranges, facts=entries)


def test_the_same_arguments_give_the_same_bytes(pictures: list[Path]) -> None:
    once = compile_int8(SOURCE, pictures, method="entropy", keep_float=["last", "cls_0"])
    again = compile_int8(SOURCE, iter(pictures), method="entropy", keep_float=("cls_0", "last"))
    assert once.artifact == again.artifact
    others: list[dict[str, Any]] = [
        {"method": "mse"},
        {"symmetric": True},
        {"images": pictures[::-1]},
        {"images": pictures[:1]},
        {"keep_float": ["last"]},
    ]
    for other in others:
        options = {"images": pictures, "method": "entropy", "keep_float": ["last", "cls_0"]} | other
        assert compile_int8(SOURCE, **options).artifact != once.artifact, other


def test_two_processes_give_the_same_bytes(pictures: list[Path], tmp_path: Path) -> None:
    source = tmp_path / "source.onnx"
    source.write_bytes(SOURCE)
    program = (
        "import hashlib, pathlib, sys\n"
        "from ssd_resnet34.compiler.compilation import compile_int8\n"
        "source = pathlib.Path(sys.argv[1]).read_bytes()\n"
        "kept = {'block', 'last'}\n"
        "made = compile_int8(source, sys.argv[2:], method='percentile', keep_float=kept)\n"
        "print(hashlib.sha256(made.artifact).hexdigest())\n"
    )
    here = compile_int8(SOURCE, pictures, method="percentile", keep_float=["last", "block"])
    for seed in ("1", "2"):  # of hashes, which order sets
        done = subprocess.run(
            [sys.executable, "-c", program, source, *pictures],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == hashlib.sha256(here.artifact).hexdigest()


@pytest.mark.parametrize("method", METHODS)
def test_the_metadata_says_what_it_was_made_of(pictures: list[Path], method: Any) -> None:
    made = compile_int8(SOURCE, pictures, method=method, percentage=99.5, keep_float=["block"])
    assert artifact.contract_of(made.artifact) == CONTRACT
    facts = artifact.metadata(made.artifact)
    kind = f"{method}, asymmetric" + (", 99.5 %" if method == "percentile" else "")
    assert made.statistics is not None
    wanted = {
        "precision": "int8",
        "method": METHOD,
        "source_sha256": hashlib.sha256(SOURCE).hexdigest(),
        "ranges_sha256": quantization.digest(made.ranges),
        "keep_float": "block.add block.conv1 block.conv2",
        "calibration": kind,
        "calibration_images": "2",
        "calibration_images_sha256": made.statistics.images_sha256,
        "tools": quantization.tools(),
        "producer": "small network",
    }
    assert {key: facts.get(key) for key in wanted} == wanted
    for tool in ("onnxruntime", "onnx", "numpy"):
        assert f"{tool} " in facts["tools"]


def test_known_ranges_need_no_image(pictures: list[Path]) -> None:
    ranges = calibrate(SOURCE, pictures).ranges()
    made = compile_int8(SOURCE, ranges=ranges, keep_float=["last"])
    assert made.statistics is None
    assert made.ranges == ranges
    facts = {"calibration": "ranges given"}
    assert made.artifact == quantize(SOURCE, ranges, keep_float=["last"], facts=facts)
    assert "calibration_images" not in artifact.metadata(made.artifact)


def test_images_and_ranges_together_or_neither_are_refused(pictures: list[Path]) -> None:
    with pytest.raises(UsageError, match="images or ranges, one of the two"):
        compile_int8(SOURCE)
    with pytest.raises(UsageError, match="images or ranges, one of the two"):
        compile_int8(SOURCE, pictures, ranges={"image": (0, 1)})


def test_options_of_a_pass_are_refused_where_ranges_are_given() -> None:
    with pytest.raises(UsageError, match="method, threads: only with calibration images"):
        compile_int8(SOURCE, ranges={"image": (0, 1)}, method="mse", threads=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "kl"}, "'kl' is unknown"),
        ({"method": "percentile", "percentage": 40}, "outside 50"),
        ({"keep_float": ["last", "cls_9"]}, "no layer 'cls_9'"),
    ],
)
def test_bad_arguments_are_refused_before_any_image(options: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        compile_int8(SOURCE, never(), **options)


def test_no_image_that_can_be_read_is_a_calibration_error() -> None:
    told: list[ImageError | None] = []
    with pytest.raises(CalibrationError, match="none was given, or all were refused"):
        compile_int8(SOURCE, [])
    with pytest.raises(CalibrationError, match="no calibration image was seen"):
        compile_int8(SOURCE, [b"junk", b""], on_image=told.append)
    assert all(isinstance(one, ImageError) for one in told)
    assert len(told) == 2


def test_statistics_are_kept_and_serve_other_methods(pictures: list[Path], tmp_path: Path) -> None:
    file = tmp_path / "statistics.npz"
    first = compile_int8(SOURCE, pictures, statistics=file, threads=1)
    assert Statistics.load(file).ranges("mse") != first.ranges
    before = file.read_bytes()
    second = compile_int8(SOURCE, pictures, method="mse", statistics=file)
    assert second.ranges == Statistics.load(file).ranges("mse")
    assert file.read_bytes() == before
    with pytest.raises(CalibrationError, match="other images"):
        compile_int8(SOURCE, pictures[::-1], statistics=file)


def test_ranges_of_another_network_are_refused() -> None:
    with pytest.raises(CalibrationError, match=r"no range for .* calibrate this very model"):
        compile_int8(SOURCE, ranges={"image": (0, 1), "other": (0, 1)})

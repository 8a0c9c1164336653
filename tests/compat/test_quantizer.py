"""``furiosa.quantizer`` and ``furiosa.optimizer``: the documented way from ONNX to int8."""

from typing import Any

import numpy as np
import onnx
import pytest
import yaml

from furiosa.models.vision import SSDResNet34
from furiosa.optimizer import optimize_model
from furiosa.quantizer import (
    CalibrationMethod,
    Calibrator,
    ModelEditor,
    TensorType,
    get_output_names,
    get_pure_input_names,
    quantize,
)
from furiosa.runtime import session
from small_network import pictures, run, small_onnx
from ssd_resnet34 import artifact
from ssd_resnet34.compiler.quantization import activations
from ssd_resnet34.compiler.ranges import check_method
from ssd_resnet34.contract import HEAD_NAMES
from ssd_resnet34.errors import CalibrationError


def _calibrated(method: CalibrationMethod, **options: Any) -> dict[str, tuple[float, float]]:
    calibrator = Calibrator(small_onnx(), method, **options)
    calibrator.collect_data([[one] for one in pictures(2)])
    calibrator.collect_data([[pictures(3)[2]]])
    ranges: dict[str, tuple[float, float]] = calibrator.compute_range()
    return ranges


def test_the_tutorial_of_0_10_runs_unchanged() -> None:
    model = onnx.load_model_from_string(small_onnx())
    optimized = optimize_model(model, input_shapes={"image": [1, 3, 1200, 1200]})
    assert optimized.opset_import[0].version == 13
    calibrator = Calibrator(optimized, CalibrationMethod.MIN_MAX_ASYM)
    for data in pictures(2):
        calibrator.collect_data([[data]])
    ranges = calibrator.compute_range()
    editor = ModelEditor(optimized)
    for name in get_pure_input_names(optimized):
        editor.convert_input_type(name, TensorType.UINT8)
    quantized = quantize(optimized, ranges)
    assert artifact.precision_of(artifact.load(quantized)) == "int8"
    with session.create(quantized) as sess:
        found = sess.run(pictures(1)[0]).numpy()
    for one, other in zip(found, run("openvino", small_onnx(), pictures(1)[0]), strict=True):
        assert np.abs(one - other).max() < 0.1 * np.abs(other).max()


def test_ranges_go_through_the_file_of_0_9() -> None:
    ranges = _calibrated(CalibrationMethod.MIN_MAX_ASYM)
    model = SSDResNet34.load(weights=small_onnx(), ranges=ranges)
    read = yaml.full_load(model.calib_yaml)
    made = quantize(model.source, read, with_quantize=False)
    assert made == quantize(model.source, ranges) == model.enf


@pytest.mark.parametrize("method", [CalibrationMethod.MSE_SYM, CalibrationMethod.PERCENTILE_ASYM])
def test_a_method_gives_a_range_for_every_tensor(method: CalibrationMethod) -> None:
    ranges = _calibrated(method)
    assert set(ranges) == set(activations(small_onnx()))
    assert all(low <= 0 <= high for low, high in ranges.values())
    if method.symmetric:
        assert all(low in (0, -high) for low, high in ranges.values())


def test_every_documented_method_is_one_of_the_core() -> None:
    names = {f"{one}_{end}" for one in ("MIN_MAX", "ENTROPY", "PERCENTILE", "MSE", "SQNR")
             for end in ("ASYM", "SYM")}  # fmt: skip
    assert {one.name for one in CalibrationMethod} == names
    for one in CalibrationMethod:
        check_method(one.method)
        assert one.name == f"{one.method.upper().replace('-', '_')}_{'A' * (not one.symmetric)}SYM"


def test_a_calibrator_says_what_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    calibrator = Calibrator(small_onnx(), CalibrationMethod.PERCENTILE_SYM, percentage=99)
    with pytest.raises(RuntimeError, match="collect_data"):
        calibrator.compute_range()
    wrong: list[list[Any]] = [[pictures(1)[0][0]], [], [np.zeros((1, 3, 4, 4), np.float32)]]
    for data in wrong:
        with pytest.raises(ValueError, match="expected"):
            calibrator.collect_data([data])
    calibrator.collect_data([[pictures(1)[0]]])
    assert len(calibrator.compute_range(verbose=True)) == capsys.readouterr().out.count("\n")
    with pytest.raises(TypeError, match="CalibrationMethod"):
        Calibrator(small_onnx(), "min-max")
    with pytest.raises(ValueError, match="percentage"):
        Calibrator(small_onnx(), CalibrationMethod.PERCENTILE_ASYM, percentage=0)


def test_quantize_refuses_what_it_cannot_use() -> None:
    ranges = _calibrated(CalibrationMethod.MIN_MAX_ASYM)
    with pytest.raises(ValueError, match="pictures"):
        quantize(small_onnx(), ranges, normalized_pixel_outputs=[0])
    with pytest.raises(TypeError, match="with_quantize"):
        quantize(small_onnx(), ranges, with_quantize="no")
    with pytest.raises(CalibrationError, match="no range"):
        quantize(small_onnx(), {"image": (0, 1)})
    with pytest.raises(ValueError, match="int8 already"):
        quantize(quantize(small_onnx(), ranges), ranges)


def test_an_editor_knows_the_ends_of_the_model() -> None:
    model = artifact.load(small_onnx())
    assert get_pure_input_names(model) == ["image"]
    assert get_output_names(model) == list(HEAD_NAMES)
    editor = ModelEditor(model)
    with pytest.raises(ValueError, match="there are image"):
        editor.convert_input_type("picture", TensorType.UINT8)
    with pytest.raises(ValueError, match=r"TensorType\.UINT8"):
        editor.convert_input_type("image", TensorType.INT8)
    with pytest.raises(ValueError, match="there are cls_0"):
        editor.convert_output_type("cls_9", TensorType.INT8)
    with pytest.raises(ValueError, match="stay float32"):
        editor.convert_output_type("cls_0", TensorType.INT8, tensor_range=(-1.0, 1.0))


@pytest.mark.parametrize(
    ("shapes", "opset", "text"),
    [
        ({"picture": [1, 3, 1200, 1200]}, 13, "the one input is image"),
        ({"image": [1, 3, 300, 300]}, 13, "the one input is image"),
        ({"image": [0, 3, 1200, 1200]}, 13, "batch"),
        (None, 12, "opset"),
    ],
)
def test_another_shape_or_opset_is_refused(shapes: Any, opset: int, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        optimize_model(small_onnx(), shapes, opset_version=opset)

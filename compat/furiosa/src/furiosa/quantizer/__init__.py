"""``furiosa.quantizer``: calibration and int8, by the compiler of ``ssd_resnet34``.

Names of tensors are those of this package's own fp32 graph (``origin``, ``source``), so ranges of
the vendor's graph do not fit: calibrate again.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any

from furiosa._neighbours import warn_of
from ssd_resnet34 import artifact
from ssd_resnet34.compiler import quantization
from ssd_resnet34.compiler.calibration import Observer
from ssd_resnet34.compiler.histogram import Histogram
from ssd_resnet34.compiler.ranges import Method, check_method, find_range
from ssd_resnet34.errors import InvalidInput
from ssd_resnet34.runtime import cpu
from ssd_resnet34.runtime.tensors import read_inputs

if TYPE_CHECKING:
    import onnx

__all__ = [
    "CalibrationMethod",
    "Calibrator",
    "ModelEditor",
    "TensorType",
    "get_output_names",
    "get_pure_input_names",
    "quantize",
]

warn_of("furiosa-quantizer")


class CalibrationMethod(Enum):
    """How a range follows from what was seen."""

    MIN_MAX_ASYM = ("min-max", False)
    MIN_MAX_SYM = ("min-max", True)
    ENTROPY_ASYM = ("entropy", False)
    ENTROPY_SYM = ("entropy", True)
    PERCENTILE_ASYM = ("percentile", False)
    PERCENTILE_SYM = ("percentile", True)
    MSE_ASYM = ("mse", False)
    MSE_SYM = ("mse", True)
    SQNR_ASYM = ("sqnr", False)
    SQNR_SYM = ("sqnr", True)

    @property
    def method(self) -> Method:
        """Its name in ``ssd_resnet34``."""
        return self.value[0]

    @property
    def symmetric(self) -> bool:
        """Whether ranges are [-m, m]."""
        return self.value[1]


class TensorType(Enum):
    """Element types of a model's ends."""

    UINT8 = "uint8"
    INT8 = "int8"
    FLOAT32 = "float32"


def quantize(
    model: "onnx.ModelProto | bytes",
    tensor_name_to_range: Mapping[str, Sequence[float]],
    *,
    with_quantize: bool = True,
    normalized_pixel_outputs: Sequence[int] | None = None,
) -> bytes:
    """The int8 model of an fp32 one; sessions take it.

    Args:
        model: ``SSDResNet34.origin`` (0.10) or ``.source`` (0.9).
        tensor_name_to_range: tensor -> (lowest, highest).
        with_quantize: whether the model's input is float (0.9); sessions take floats and pixels of
            either.
        normalized_pixel_outputs: only None: outputs here are detection heads, not pixels.

    Raises:
        ValueError: ``normalized_pixel_outputs``; int8 already.
        ssd_resnet34.errors.CalibrationError: tensors without a range, named.
        ssd_resnet34.errors.ArtifactError: not a model of this kind.
    """
    if not isinstance(with_quantize, bool):
        raise TypeError(f"with_quantize: {with_quantize!r}; give True or False")
    if normalized_pixel_outputs is not None:
        raise ValueError(
            "normalized_pixel_outputs: for models that make pictures; leave it out, since these "
            "outputs are heads of a detector"
        )
    ranges = {name: (low, high) for name, (low, high) in tensor_name_to_range.items()}
    return quantization.quantize(_bytes(model), ranges)


class Calibrator:
    """Ranges of the activations of an fp32 model, from inputs.

    Args:
        model: ``SSDResNet34.origin`` or ``.source``.
        method: how a range follows from what was seen.
        percentage: of the values that the PERCENTILE methods keep.

    Raises:
        TypeError: no :class:`CalibrationMethod`.
        ValueError: a percentage out of range.
        ssd_resnet34.errors.ArtifactError: not a model of this kind.
    """

    def __init__(
        self,
        model: "onnx.ModelProto | bytes",
        calibration_method: CalibrationMethod,
        *,
        percentage: float = 99.99,
    ) -> None:
        if not isinstance(calibration_method, CalibrationMethod):
            raise TypeError(f"{calibration_method!r} is no CalibrationMethod; give one of them")
        check_method(calibration_method.method, percentage)
        self._method, self._percentage = calibration_method, percentage
        self._observer = Observer(_bytes(model), cpu.available_threads())
        self._histograms: dict[str, Histogram] = {}

    def collect_data(self, calibration_dataset: Iterable[Sequence[Any]]) -> None:
        """Run inputs, a list of one normalised float32 [N, 3, 1200, 1200] each; call it as often
        as you like, only counts are kept.

        Raises:
            ValueError: another number, shape or dtype.
        """
        for inputs in calibration_dataset:
            try:
                tensor, _ = read_inputs(list(inputs))
            except InvalidInput as error:
                raise ValueError(str(error)) from None
            self._observer.observe(tensor, self._histograms)

    def compute_range(self, verbose: bool = False) -> dict[str, tuple[float, float]]:
        """Tensor -> (lowest, highest); with ``verbose`` printed as well.

        Raises:
            RuntimeError: no data was collected.
        """
        if not self._histograms:
            raise RuntimeError("no data: call collect_data before compute_range")
        ranges = {
            name: find_range(
                histogram,
                self._method.method,
                symmetric=self._method.symmetric,
                percentage=self._percentage,
            )
            for name, histogram in self._histograms.items()
        }
        if verbose:
            for name, (low, high) in ranges.items():
                print(f"{name}: [{low:g}, {high:g}]")
        return ranges


class ModelEditor:
    """Types of a model's ends. Sessions here take pixels and floats of any model, and heads are
    floats, so that what can be asked for is what there is already."""

    def __init__(self, model: "onnx.ModelProto") -> None:
        self._inputs, self._outputs = get_pure_input_names(model), get_output_names(model)

    def convert_input_type(self, tensor_name: str, tensor_type: TensorType) -> None:
        """Let the input be uint8: sessions take it so.

        Raises:
            ValueError: no such input, or another type.
        """
        _check_name(tensor_name, self._inputs)
        if tensor_type is not TensorType.UINT8:
            raise ValueError(f"{tensor_name}: {tensor_type!r}; inputs become TensorType.UINT8")

    def convert_output_type(
        self,
        tensor_name: str,
        tensor_type: TensorType,
        tensor_range: Sequence[float] | None = None,
    ) -> None:
        """Refused: heads leave the network as floats.

        Raises:
            ValueError: always; no such output, or the reason.
        """
        _check_name(tensor_name, self._outputs)
        raise ValueError(
            f"{tensor_name}: outputs stay float32, since 256 levels over the logits are steps of "
            "0.6; leave them, decoding takes floats"
        )


def get_pure_input_names(model: "onnx.ModelProto") -> list[str]:
    """Inputs that are no weights."""
    stored = {weight.name for weight in model.graph.initializer}
    return [value.name for value in model.graph.input if value.name not in stored]


def get_output_names(model: "onnx.ModelProto") -> list[str]:
    """Outputs in order."""
    return [value.name for value in model.graph.output]


def _check_name(name: str, names: Sequence[str]) -> None:
    if name not in names:
        raise ValueError(f"no tensor {name!r} at this end; there are {', '.join(names)}")


def _bytes(model: "onnx.ModelProto | bytes") -> bytes:
    return model if isinstance(model, bytes) else artifact.serialize(model)

"""The small network in int8, with ranges that numpy finds on a few pictures."""

from functools import cache

from quantized import numpy_ranges
from small_network import pictures, small_onnx
from ssd_resnet34.compiler.quantization import quantize


@cache
def small_int8() -> bytes:
    """The int8 (QDQ) artifact of ``small_onnx()``."""
    source = small_onnx()
    return quantize(source, numpy_ranges(source, pictures(3)))

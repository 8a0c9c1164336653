"""Numbers for this model that stand in print, and what is known of how they were made."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Published:
    """``ap`` of COCO val2017, 0..1, as printed; ``what`` it is of; ``differs``: in what from the
    PyTorch lineage's fp32 by pycocotools on 5000 images."""

    ap: float
    what: str
    differs: str


PUBLISHED: Final = (
    Published(
        0.0, "users with pycocotools (mlcommons/inference #2416)", "labels, or order of x, y"
    ),
    Published(0.09, "a user, training repository's code (#764)", "other post-processing"),
    Published(0.1863, "ONNX zoo ssd-12-qdq", "another export, int8"),
    Published(0.1882, "ONNX zoo ssd-12-int8", "another export, int8"),
    Published(0.1898, "ONNX zoo ssd-12", "another export"),
    Published(0.195, "ONNX zoo ssd-10", "other bytes, Pillow resize"),
    Published(0.1958, "the exporter's own log", "NMS in the graph"),
    Published(
        0.19618,
        "MLPerf reference, PyTorch profile (#657, #788, #1143)",
        "IoU without a clamp, 4952 images, batches that fail",
    ),
    Published(0.1981, "Habana, MLPerf", "int8"),
    Published(0.1983, "Qualcomm, MLPerf", "int8"),
    Published(0.1984, "Intel PyTorch, MLPerf", "int8"),
    Published(0.1988, "Intel OpenVINO, MLPerf v1.1", "int8"),
    Published(0.1993, "Intel OpenVINO, MLPerf v0.7", "int8"),
    Published(0.1997, "the ONNX file, Open Model Zoo", "NMS in the graph, with a clamp"),
    Published(0.2, "the weights' page", "rounded"),
    Published(0.2007, "NVIDIA, MLPerf v0.5", "int8, own NMS, 8-bit resize"),
    Published(0.2011, "NVIDIA, MLPerf v0.7–v2.0, lowest", "int8, own NMS, 8-bit resize"),
    Published(0.2012, "NVIDIA, MLPerf v0.7–v2.0, highest", "int8, own NMS, 8-bit resize"),
    Published(0.2072, "the ONNX file, older Open Model Zoo", "its own metric"),
    Published(0.2073, "the ONNX file, Open Model Zoo", "its own metric, not pycocotools"),
    Published(0.2078, "Google TPU, MLPerf v0.5, lowest", "lineage not stated"),
    Published(0.208, "Google TPU, MLPerf v0.5, highest", "lineage not stated"),
    Published(0.2132, "a vendor's chip, Python decoder", "int8; IoU without a clamp"),
    Published(0.2201, "the same chip and net, Rust decoder", "int8; IoU with a clamp"),
    Published(0.221, "TensorFlow graphs, lowest", "another network: TensorFlow lineage"),
    Published(0.22129, "Furiosa, MLPerf v1.1, v2.0", "TensorFlow lineage, int8"),
    Published(
        0.226, "reference with a repaired NMS (#857)", "graph not stated; TensorFlow lineage?"
    ),
    Published(0.22761, "TensorFlow graph, NHWC, highest", "another network: TensorFlow lineage"),
)
"""In ascending order."""


def near(ap: float, within: float) -> tuple[Published, ...]:
    """Those at most ``within`` from ``ap``, the nearest first."""
    found = [one for one in PUBLISHED if abs(one.ap - ap) <= within + 1e-9]
    return tuple(sorted(found, key=lambda one: abs(one.ap - ap)))

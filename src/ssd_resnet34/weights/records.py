"""The weights that exist: where, which bytes, which network, measured by whom."""

from dataclasses import dataclass
from typing import Final, Literal

from ..contract import Lineage

EMBEDDED: Final = "embedded"


@dataclass(frozen=True, slots=True)
class Score:
    """COCO val2017 mAP at IoU 0.50:0.95, percent, and who measured it how."""

    map: float
    by: str


@dataclass(frozen=True, slots=True)
class Record:
    """One published weights file.

    ``urls`` are tried in turn. ``size`` is in bytes; ``size`` and the hashes are ``None`` where
    this project has not seen them: then the user must give a sha256.
    """

    name: str
    file: str
    summary: str
    lineage: Lineage
    precision: Literal["fp32", "fp16", "int8"]
    urls: tuple[str, ...] = ()
    size: int | None = None
    sha256: str | None = None
    sha384: str | None = None
    scores: tuple[Score, ...] = ()
    licence: str = "Apache-2.0"


def _zoo(
    name: str,
    file: str,
    summary: str,
    precision: Literal["fp32", "int8"],
    score: float,
    size: int | None = None,
    sha256: str | None = None,
) -> Record:
    folder = "validated/vision/object_detection_segmentation/ssd/model"
    return Record(
        name=name,
        file=file,
        summary=summary,
        lineage="pytorch",
        precision=precision,
        urls=(
            f"https://github.com/onnx/models/raw/main/{folder}/{file}",
            f"https://media.githubusercontent.com/media/onnx/models/main/{folder}/{file}",
        ),
        size=size,
        sha256=sha256,
        scores=(Score(score, "the ONNX model zoo"),),
    )


_ALL: Final = (
    Record(
        name=EMBEDDED,
        file="ssd-resnet34.safetensors",
        summary="inside the package, trained by this project: see its model card",
        lineage="pytorch",
        precision="fp16",
    ),
    Record(
        name="mlcommons",
        file="resnet34-ssd1200.onnx",
        summary="MLPerf Inference reference, ONNX opset 10 with NMS in the graph, batch 1",
        lineage="pytorch",
        precision="fp32",
        urls=(
            "https://zenodo.org/record/3228411/files/resnet34-ssd1200.onnx",
            "https://storage.openvinotoolkit.org/repositories/open_model_zoo/public/2022.1/"
            "ssd-resnet34-1200-onnx/resnet34-ssd1200.onnx",
        ),
        size=80_363_696,
        sha256="b417a8186967f1e78670b0075aa72a10e5c7d1a6d5c08af9d13dc97f3d29ef0d",
        sha384="754dd59fdb244e6a93f6173efe26c45bce804305f71b1d0a8a3eb555b3a12089"
        "4658a0b97475840b93f3c2a30c5efd99",
        scores=(
            Score(20.0, "MLCommons"),
            Score(19.97, "pycocotools"),
            Score(20.73, "Open Model Zoo, by its own metric"),
        ),
    ),
    Record(
        name="mlcommons-pytorch",
        file="resnet34-ssd1200.pytorch",
        summary="MLPerf Inference reference, a whole pickled PyTorch module",
        lineage="pytorch",
        precision="fp32",
        urls=("https://zenodo.org/record/3236545/files/resnet34-ssd1200.pytorch",),
        scores=(Score(20.0, "MLCommons"),),
    ),
    Record(
        name="mlcommons-tf",
        file="ssd_resnet34_mAP_20.2.onnx",
        summary="MLPerf Inference reference of the TensorFlow lineage, ONNX opset 11",
        lineage="tensorflow",
        precision="fp32",
        urls=("https://zenodo.org/record/4735664/files/ssd_resnet34_mAP_20.2.onnx",),
        scores=(Score(20.2, "the name of the file"),),
    ),
    _zoo(
        "onnx-zoo-ssd-10",
        "ssd-10.onnx",
        "ONNX model zoo, opset 10",
        "fp32",
        19.5,
        80_363_696,
        "80013dd940efc1462c616143b461ef35885bcc1706e0670b66623293b4b52c59",
    ),
    _zoo("onnx-zoo-ssd-12", "ssd-12.onnx", "ONNX model zoo, opset 12", "fp32", 18.98),
    _zoo(
        "onnx-zoo-ssd-12-int8",
        "ssd-12-int8.onnx",
        "ONNX model zoo, int8 in QOperator style",
        "int8",
        18.82,
    ),
    _zoo(
        "onnx-zoo-ssd-12-qdq",
        "ssd-12-qdq.onnx",
        "ONNX model zoo, int8 in QDQ style",
        "int8",
        18.63,
    ),
)

RECORDS: Final[dict[str, Record]] = {record.name: record for record in _ALL}
"""Every record by name, ``embedded`` first."""

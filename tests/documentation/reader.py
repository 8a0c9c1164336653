"""What a reader of the documentation has: a folder with the files that its commands name."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image, ImageDraw

import video_files
from conftest import REPOSITORY
from fake_network import constant_heads
from quantized import numpy_ranges
from small_network import pictures, small_onnx
from ssd_resnet34 import artifact
from ssd_resnet34.compiler.quantization import quantize
from ssd_resnet34.contract import COCO, LEVELS

CAR, CAR_ID = 3, 3
PHOTOS = 5
SCORED = 3


def car_network() -> bytes:
    """The small network with COCO's classes that sees a car in the cells of the last levels."""
    from onnx import numpy_helper

    model = artifact.load(small_onnx(contract=COCO))
    for tensor in model.graph.initializer:
        if tensor.name in ("cls_4.bias", "cls_5.bias"):
            bias = numpy_helper.to_array(tensor).copy()
            bias[CAR * LEVELS[4].anchors] += 30.0  # of the first anchor
            tensor.CopyFrom(numpy_helper.from_array(bias, tensor.name))
    next(node for node in model.graph.node if node.name == "cls_0").name = "conf.0"
    return artifact.serialize(model)


def write_network(folder: Path) -> Path:
    """The artifact, with its ranges and what ``compile`` makes of both beside it."""
    data = car_network()
    path = folder / "model.onnx"
    path.write_bytes(data)
    found = numpy_ranges(data, pictures(2))
    (folder / "int8.onnx").write_bytes(quantize(data, found))
    ranges = {name: [float(low), float(high)] for name, (low, high) in found.items()}
    (folder / "ranges.yaml").write_text(yaml.safe_dump(ranges))
    return path


def photograph(path: Path, seed: int) -> None:
    """A coloured rectangle on a coloured ground."""
    path.parent.mkdir(parents=True, exist_ok=True)
    colours = np.random.default_rng(seed).integers(0, 256, (2, 3))
    picture = Image.new("RGB", (96, 64), tuple(map(int, colours[0])))
    ImageDraw.Draw(picture).rectangle((20, 10, 70, 50), tuple(map(int, colours[1])))
    picture.save(path)


def furnish(folder: Path, network: Path) -> None:
    """Pictures, a video, a data set with runs of others, artifacts, files of settings."""
    for n, name in enumerate(("street", "car", "a", "b", "c", "tests/assets/cat")):
        photograph(folder / f"{name}.jpg", n)
    for n in range(PHOTOS):
        photograph(folder / "photos" / f"{n}.jpg", 100 + n)
    for n in range(SCORED):
        photograph(folder / "val" / f"{n + 1:06d}.jpg", 200 + n)
    shutil.copytree(folder / "val", folder / "val2017")
    (folder / "samples").mkdir()
    for name in ("scene.png", "scene.json"):
        shutil.copy(REPOSITORY / "samples" / name, folder / "samples")
    for name in ("model.onnx", "int8.onnx"):
        shutil.copy(network.with_name(name), folder)
    video_files.constant(folder / "clip.mp4", 6)
    (folder / "token.txt").write_text("a-token-for-this-page\n")
    _write_data_set(folder)


def _write_data_set(folder: Path) -> None:
    names = [f"{n + 1:06d}.jpg" for n in range(SCORED)]
    box = [20.0, 10.0, 50.0, 40.0]
    truth = {
        "images": [
            {"id": n + 1, "file_name": name, "width": 96, "height": 64}
            for n, name in enumerate(names)
        ],
        "annotations": [
            {"id": n + 1, "image_id": n + 1, "category_id": CAR_ID, "bbox": box}
            | {"area": 2000.0, "iscrowd": 0}
            for n in range(SCORED)
        ],
        "categories": [{"id": one.category_id, "name": one.label} for one in COCO.categories],
    }
    for name in ("val.json", "instances_val2017.json", "instances.json"):
        (folder / name).write_text(json.dumps(truth))
    for name, score in (("fp32", 0.9), ("int8", 0.8)):
        one = {"box": [20.0, 10.0, 70.0, 50.0], "score": score, "index": CAR}
        one |= {"category_id": CAR_ID, "label": "car"}
        rows = [
            {"image": image, "width": 96, "height": 64, "model": name, "detections": [one]}
            for image in names
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    log = [
        {
            "seq_id": n,
            "qsl_idx": n,
            "data": np.array([n, 10 / 64, 20 / 96, 50 / 64, 70 / 96, 0.9, CAR_ID], "<f4")
            .tobytes()
            .hex(),
        }
        for n in range(SCORED)
    ]
    (folder / "mlperf_log_accuracy.json").write_text(json.dumps(log))
    (folder / "npz").mkdir()
    heads: dict[str, Any] = dict(
        zip(COCO.head_shapes(), constant_heads(COCO, [(14000, CAR)]), strict=True)
    )
    for name in names:
        np.savez(folder / "npz" / f"{Path(name).stem}.npz", **heads)

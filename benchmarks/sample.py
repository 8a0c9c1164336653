"""The sample picture: which of its objects the embedded weights find, and what else they report.

python -m benchmarks.sample [--precision auto|int8|fp32]
"""

import argparse
import json
from pathlib import Path

import numpy as np

import ssd_resnet34
from ssd_resnet34.contract import COCO
from ssd_resnet34.evaluation.agreement import pairwise_iou

SAMPLES = Path(__file__).resolve().parents[1] / "samples"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--precision", default="auto")
    precision = parser.parse_args().precision
    truth = json.loads((SAMPLES / "scene.json").read_text())["annotations"]
    labels = {category.category_id: category.label for category in COCO.categories}
    with ssd_resnet34.load(precision=precision) as detector:
        found = detector(SAMPLES / "scene.png")
    free = np.ones(len(found), bool)
    hits = 0
    for one in truth:
        left, top, width, height = one["bbox"]
        box = np.array([[left, top, left + width, top + height]], np.float32)
        same = free & (found.category_ids == one["category_id"])
        overlap = np.where(same, pairwise_iou(box, found.boxes)[0], 0)
        best = int(overlap.argmax()) if len(found) else 0
        label = labels[one["category_id"]]
        if len(found) and overlap[best] >= 0.5:
            free[best] = False
            hits += 1
            print(f"found   {label:<14} score {found.scores[best]:.2f}  IoU {overlap[best]:.2f}")
        else:
            print(f"missed  {label:<14} best IoU {overlap.max(initial=0):.2f}")
    for extra in found[free]:
        print(f"extra   {extra.label:<14} score {extra.score:.2f}")
    print(f"{hits} of {len(truth)} found, {int(free.sum())} more reported (score > 0.3, IoU ≥ 0.5)")


if __name__ == "__main__":
    main()

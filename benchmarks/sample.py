"""The sample picture: which of its objects the embedded weights find, and what else they report.

python -m benchmarks.sample [--precision auto|int8|fp32]
"""

import json
from pathlib import Path

import ssd_resnet34
from benchmarks import command_line
from ssd_resnet34.contract import COCO
from ssd_resnet34.evaluation.agreement import match, pairwise_iou
from ssd_resnet34.vision.detections import Detections

SAMPLES = Path(__file__).resolve().parents[1] / "samples"


def truth() -> Detections:
    """What is in the sample picture, in the order of its annotations."""
    document = json.loads((SAMPLES / "scene.json").read_text())
    (image,) = document["images"]
    index = {category.category_id: n for n, category in enumerate(COCO.categories, 1)}
    rows = []
    for one in document["annotations"]:
        left, top, width, height = one["bbox"]
        number = index[one["category_id"]]
        rows.append(
            {
                "box": [left, top, left + width, top + height],
                "score": 1.0,
                "index": number,
                "category_id": one["category_id"],
                "label": COCO.labels[number - 1],
            }
        )
    return Detections.from_dict(
        {
            "image": image["file_name"],
            "width": image["width"],
            "height": image["height"],
            "model": "truth",
            "detections": rows,
        }
    )


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--precision", default="auto")
    precision = parser.parse_args().precision
    wanted = truth()
    with ssd_resnet34.load(precision=precision) as detector:
        found = detector(SAMPLES / "scene.png")
    overlaps = pairwise_iou(wanted.boxes, found.boxes)
    overlaps[wanted.indices[:, None] != found.indices[None]] = 0
    pairs = dict(match(wanted, found))
    for n, label in enumerate(wanted.labels):
        if n in pairs:
            score, overlap = found.scores[pairs[n]], overlaps[n, pairs[n]]
            print(f"found   {label:<14} score {score:.2f}  IoU {overlap:.2f}")
        else:
            print(f"missed  {label:<14} best IoU {overlaps[n].max(initial=0):.2f}")
    extra = [one for n, one in enumerate(found) if n not in pairs.values()]
    for one in extra:
        print(f"extra   {one.label:<14} score {one.score:.2f}")
    hits = f"{len(pairs)} of {len(wanted)} found"
    print(f"{hits}, {len(extra)} more reported (score > 0.3, IoU ≥ 0.5)")


if __name__ == "__main__":
    main()

"""AP of the embedded weights on the 200 frozen scenes, whole pipeline, by pycocotools.

    python -m benchmarks.held_out [--precision auto|int8|fp32] [--count 200] [--folder DIR] [--json]

Images go through files, decoding, preprocessing, network and postprocessing as a user's would.
"""

import contextlib
import json
import tempfile
from pathlib import Path
from typing import Any

from rich.progress import track

import ssd_resnet34
from benchmarks import command_line
from ssd_resnet34.contract import COCO
from ssd_resnet34.evaluation.coco import UNDEFINED, score
from ssd_resnet34.evaluation.dataset import read
from ssd_resnet34.training import held_out


def scenes(folder: Path, count: int) -> Path:
    """The first ``count`` scenes, at least, as JPEG files and COCO JSON in ``folder``, written
    once."""
    path = folder / "instances.json"
    if not path.exists() or len(json.loads(path.read_bytes())["images"]) < count:
        categories = {category.label: category.category_id for category in COCO.categories}
        held_out.write(folder, categories, count)
    return path


def evaluate(
    folder: Path, count: int, precision: str, engine: str = "auto", weights: str = "embedded"
) -> dict[str, Any]:
    """The twelve COCO numbers, AP50 a category, and what ran."""
    truth = read(scenes(folder, count))
    results = []
    with ssd_resnet34.load(
        weights, engine=engine, precision=precision, score_threshold=0.05
    ) as detector:
        for number in track(range(count), "held-out scenes", transient=True):
            results += detector(folder / f"{number:03d}.jpg").to_coco(number)
        ran = f"{detector.session.engine} {detector.session.precision}"
    found = score(truth, results, range(count))
    each = {one.label: one.ap50 for one in found.classes.values() if one.ap50 != UNDEFINED}
    return {"ran": ran, "scenes": count, **found.numbers, "AP50 by category": each}


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--weights", default="embedded")
    parser.add_argument("--count", type=int, default=held_out.HELD_OUT_COUNT)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = arguments.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        found = evaluate(
            folder, arguments.count, arguments.precision, arguments.engine, arguments.weights
        )
    if arguments.json:
        print(json.dumps(found))
        return
    each = found.pop("AP50 by category")
    for name, value in found.items():
        print(f"{name:<8}{value:.3f}" if isinstance(value, float) else f"{name:<8}{value}")
    print("AP50 by category")
    for label, value in sorted(each.items(), key=lambda item: -item[1]):
        print(f"  {label:<16}{value:.3f}")


if __name__ == "__main__":
    main()

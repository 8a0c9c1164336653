"""``eval`` against ``detect`` on the same images with the same session: seconds an image.

    python -m benchmarks.evaluating [--annotations FILE --images DIR] [--pairs 15] [--json]

A pair is four images through ``Detector.stream`` and through ``evaluation.running.run``, journal
and all, in turn. By default on the frozen scenes. Ratio: detect / eval, above 1 eval is faster.
"""

import contextlib
import json
import tempfile
from dataclasses import asdict
from pathlib import Path

import ssd_resnet34
from benchmarks import command_line
from ssd_resnet34.evaluation.dataset import Dataset, read
from ssd_resnet34.evaluation.journal import Journal
from ssd_resnet34.evaluation.running import Network, Settings, find, journal_key, run
from ssd_resnet34.pairs import ENOUGH, Comparison, compare

from .held_out import scenes

IMAGES = 4


def measure(
    annotations: Path, folder: Path, precision: str, pairs: int, scratch: Path
) -> Comparison:
    """One comparison on the first images of the set, others in each pair."""
    whole = read(annotations)
    ids = whole.ids()
    parts = [whole.only(ids[n : n + IMAGES]) for n in range(0, len(ids), IMAGES)]
    turns = {"detect": 0, "eval": 0}

    def next_part(who: str) -> Dataset:
        turns[who] += 1
        return parts[turns[who] % len(parts)]

    with ssd_resnet34.load(precision=precision) as detector:
        network = Network(detector.model, detector.session, folder)

        def detect() -> None:
            for _ in detector.stream(
                find(folder, image["file_name"]) for image in next_part("detect").images
            ):
                pass

        def evaluate() -> None:
            part = next_part("eval")
            with Journal(journal_key(network, part, Settings()), scratch) as journal:
                run(network, part, journal)
                journal.finish()

        name = f"{detector.session.precision}, {IMAGES} images, detect / eval"
        return compare(name, detect, evaluate, pairs)


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--annotations", type=Path)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--pairs", type=int, default=ENOUGH)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        annotations, images = arguments.annotations, arguments.images
        if annotations is None or images is None:
            annotations, images = scenes(scratch, 20), scratch
        pairs = max(arguments.pairs, ENOUGH)
        found = measure(annotations, images, arguments.precision, pairs, scratch / "journals")
    print(json.dumps(asdict(found)) if arguments.json else found)


if __name__ == "__main__":
    main()

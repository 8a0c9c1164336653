"""What each known cause does to AP, and the page of the docs that tells people.

    python -m benchmarks.causes --page docs/why-is-my-map-different.md [--scenes 200] [--inputs 20]
    python -m benchmarks.causes --annotations FILE --images DIR [--weights mlcommons] [--page FILE]

By default on the frozen scenes at the size of COCO's photographs, 640×480: at 1200×1200 nothing
would be resized. The network runs once an image for the causes at the heads, and once more on each
of ``--inputs`` images for each cause at the input. Stopped with ``--folder``, it goes on.
"""

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from string import Template
from tempfile import TemporaryDirectory
from typing import Final

import cv2

import ssd_resnet34
from benchmarks import command_line
from ssd_resnet34 import SSDResNet34, session
from ssd_resnet34.cli import explain_report
from ssd_resnet34.cli.terminal import progress
from ssd_resnet34.evaluation.bootstrap import CONFIDENCE
from ssd_resnet34.evaluation.causes import Cause, causes_of
from ssd_resnet34.evaluation.collecting import collect, collection_key
from ssd_resnet34.evaluation.dataset import read, scored_categories
from ssd_resnet34.evaluation.explaining import (
    PAIRS,
    SAME,
    Explanation,
    Scorer,
    collector_for,
    explain,
    explain_inputs,
    sample_of,
)
from ssd_resnet34.evaluation.journal import Journal
from ssd_resnet34.evaluation.published import PUBLISHED
from ssd_resnet34.evaluation.recipe import Recipe
from ssd_resnet34.evaluation.running import Network
from ssd_resnet34.files import write
from ssd_resnet34.runtime.session import Session
from ssd_resnet34.training import held_out

from .held_out import scenes

SIZE: Final = (640, 480)

AS_PAINTED: Final = (
    "The [model card](model-card.md#numbers) has another AP for the same scenes: there they are as "
    "painted, 1200×1200,\nhere a fifth of the pixels is left, kept as JPEG and enlarged again for "
    "the network."
)
"""Why the page's AP of the embedded weights is lower than the model card's."""

ENOUGH: Final = 100
"""Images from which on the page does not warn of their number."""


@dataclass(frozen=True)
class Measured:
    """What the numbers of the page are of."""

    explanation: Explanation
    base: Recipe
    what: str
    images: str
    besides: str = ""
    """A sentence on AP as it is, where another page has another for the same images."""


def photographs(folder: Path, count: int) -> Path:
    """The first frozen scenes and their annotations, scaled to ``SIZE``; written once."""
    small = folder / f"small-{count}"
    if not (small / "instances.json").exists():
        small.mkdir(parents=True, exist_ok=True)
        document = json.loads(scenes(folder, count).read_text())
        for part, key in (("images", "id"), ("annotations", "image_id")):  # may hold more
            document[part] = [one for one in document[part] if one[key] < count]
        for image in document["images"]:
            picture = cv2.imread(str(folder / image["file_name"]))
            assert picture is not None
            reduced = cv2.resize(picture, SIZE, interpolation=cv2.INTER_AREA)
            cv2.imwrite(str(small / image["file_name"]), reduced, [cv2.IMWRITE_JPEG_QUALITY, 95])
            across, down = SIZE[0] / image["width"], SIZE[1] / image["height"]
            for one in document["annotations"]:
                if one["image_id"] == image["id"]:
                    left, top, width, height = one["bbox"]
                    one["bbox"] = [left * across, top * down, width * across, height * down]
                    one["area"] = one["bbox"][2] * one["bbox"][3]
            image["width"], image["height"] = SIZE
        write(small / "instances.json", json.dumps(document).encode())
    return small / "instances.json"


def measure(
    annotations: Path, folder: Path, weights: str, precision: str, inputs: int, images: str
) -> Measured:
    """Every cause at the heads on all images; with ``inputs``, the others on so many."""
    dataset = read(annotations)
    with ssd_resnet34.load(weights, precision=precision) as detector:
        network = Network(detector.model, detector.session, folder)
        categories, _ = scored_categories(dataset, network.contract)
        base = Recipe(precision=detector.session.precision)
        collector = collector_for(network.contract, base, network.name)

        def other(precision: str) -> Session:
            return session.create(SSDResNet34(weights, precision), precision=precision)

        with Journal(collection_key(network, dataset, collector)) as journal:
            with progress("images", len(dataset.images), quiet=False, at_end=True) as bar:
                made = collect(
                    network, dataset.images, collector, journal, on_image=lambda _: bar.advance()
                )
            if made.refused:
                raise made.refused[0][1]
            scorer = Scorer(collector, dataset, categories)
            with progress("causes", len(causes_of(base, "heads")), quiet=False, at_end=True) as bar:
                found = explain(scorer, on_effect=lambda _: bar.advance())
            if inputs:
                ids = sample_of(dataset, dataset.ids(), inputs)
                total = len(ids) * len(causes_of(base, "input"))
                with progress("inputs", total, quiet=False, at_end=True) as bar:
                    found = explain_inputs(
                        found, network, scorer, ids, other, on_image=lambda _: bar.advance()
                    )
            journal.finish()
    # Reasons are for a line of a report: some are lists of lines.
    skipped = {key: " ".join(reason.split()) for key, reason in found.skipped.items()}
    return Measured(replace(found, skipped=skipped), base, network.what, images)


# ------------------------------------------------------------------------------- the page

TEMPLATE: Final = Path(__file__).with_suffix(".md")
"""The prose of the page, with $names for what is measured or stands in the code."""


def render(measured: Measured) -> str:
    """The page."""
    found = measured.explanation
    sampled = next((one.images for one in found.effects if one.sampled), None)
    base = found.base
    sentences = [
        f"Measured with {measured.what}, on {measured.images}: AP {base.ap:.3f}, "
        f"{100 * CONFIDENCE:g} % interval {base.interval.low:.3f} to {base.interval.high:.3f}.",
        "Causes at the input were not measured."
        if sampled is None
        else f"Causes at the input on {sampled} of the images, against the run as it is on these.",
    ]
    if measured.besides:
        sentences.append(measured.besides)
    if base.images < ENOUGH:
        sentences.append("So few images show no more than which causes are large.")
    rows = [(_percent(one.ap), one.what, one.differs) for one in PUBLISHED]
    return Template(TEMPLATE.read_text("utf-8")).substitute(
        same=f"{100 * SAME:.1f}",
        pairs=PAIRS,
        measured="\n".join(sentences),
        confidence=f"{100 * CONFIDENCE:g}",
        heads=_table(causes_of(measured.base, "heads"), found),
        inputs=_table(causes_of(measured.base, "input"), found),
        published=_markdown(("AP", "what", "what differs"), rows),
    )


def _table(causes: Sequence[Cause], found: Explanation) -> str:
    effects = {one.causes[0].key: one for one in found.effects}
    rows = []
    for cause in causes:
        effect = effects.get(cause.key)
        if effect is None:
            numbers = ("–", "not to be had there" if cause.key in found.skipped else "")
        else:
            moved = effect.moved
            interval = f"{_points(moved.low)} to {_points(moved.high)}" if moved else "–"
            numbers = (_points(effect.change), interval)
        rows.append((cause.name, *numbers, cause.what, cause.mend))
    headings = ("cause", "change", "interval", "what happens", "in your code")
    return _markdown(headings, rows)


def _percent(ap: float) -> str:
    """With the digits that it was printed with, one at least."""
    text = f"{100 * ap:.3f}".rstrip("0")
    return f"{text}0" if text.endswith(".") else text


def _points(change: float) -> str:
    return f"{100 * change:+.1f}".replace("-", "−").replace("+0.0", "0").replace("−0.0", "0")


def _markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--annotations", type=Path)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--weights", default="embedded")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--scenes", type=int, default=held_out.HELD_OUT_COUNT)
    parser.add_argument("--inputs", type=int, default=20)
    parser.add_argument("--folder", type=Path, help="keeps the scenes, for another run")
    parser.add_argument("--page", type=Path, help="write the page of the docs there")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        annotations, folder = arguments.annotations, arguments.images
        besides = ""
        if annotations is None or folder is None:
            scratch = arguments.folder or Path(stack.enter_context(TemporaryDirectory()))
            annotations = photographs(scratch, arguments.scenes)
            folder = annotations.parent
            images = f"{arguments.scenes} of the 200 frozen scenes, scaled to {SIZE[0]}×{SIZE[1]}"
            besides = AS_PAINTED if arguments.weights == "embedded" else ""
        else:
            images = f"{annotations}"
        measured = measure(
            annotations, folder, arguments.weights, arguments.precision, arguments.inputs, images
        )
    measured = replace(measured, besides=besides)
    print(f"{measured.what}, on {measured.images}")
    explain_report.show(measured.explanation)
    if arguments.page is not None:
        write(arguments.page, render(measured).encode())


if __name__ == "__main__":
    main()

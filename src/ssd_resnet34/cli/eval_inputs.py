"""What ``eval`` scores: a file of predictions, or what a run over the images finds."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from .. import detector as detectors
from ..errors import UsageError
from ..evaluation import predictions as prediction_files
from ..evaluation.accuracy_log import Numbering
from ..evaluation.causes import causes_of
from ..evaluation.collecting import Collector
from ..evaluation.dataset import Dataset, read, scored_categories, some
from ..evaluation.explaining import (
    Diagnosis,
    Explanation,
    Scorer,
    diagnose,
    explain,
    explain_inputs,
    sample_of,
)
from ..evaluation.heads import HeadFiles
from ..evaluation.recipe import Recipe
from ..evaluation.running import Done, Heads, Network, Resize, Run, Settings, check_files, find
from ..model import SSDResNet34
from ..runtime import session
from ..runtime.session import Session
from ..vision.detections import Detections
from .options import Images
from .terminal import complain, progress
from .weights_notes import note_size

NAMED: Final = 20
"""Refused images that have a line each on stderr; the page and --json have all."""


@dataclass(frozen=True, eq=False)
class Given:
    """Predictions to score.

    Attributes:
        results: COCO results of these images and categories.
        image_ids: the images that have predictions, in the order of the annotations.
        category_ids: the categories to score.
        what: where they come from, in words.
        facts: the same as name -> value.
        refused: image name -> why it has none.
        notes: what a reader must know, a sentence each.
        seconds: of one image, None where nothing was run.
        detections: by image id, of a run.
    """

    results: list[dict[str, Any]]
    image_ids: tuple[int, ...]
    category_ids: tuple[int, ...]
    what: str
    facts: Mapping[str, Any]
    refused: Mapping[str, str]
    notes: Sequence[str]
    seconds: float | None = None
    detections: Mapping[int, Detections] = field(default_factory=dict)


Reasons = tuple[Explanation, Diagnosis | None]
"""What the causes change; and which fit a number from elsewhere, where one was given."""


class Go(Protocol):
    """Runs over images."""

    def __call__(self, *, on_image: Callable[[Done], None]) -> Run: ...


def annotated(annotations: Path, image_set: Images) -> tuple[Dataset, Dataset]:
    """All annotations, and those of the chosen images; warnings are told.

    Raises:
        UsageError: no COCO annotations.
    """
    whole = read(annotations)
    for warning in whole.warnings:
        complain(f"{annotations}: {warning}", "note")
    return whole, whole if image_set is Images.all else whole.only(whole.annotated())


def from_file(path: Path, whole: Dataset, dataset: Dataset, numbering: Numbering | None) -> Given:
    """Predictions of a file for the images of ``dataset``, a part of ``whole``.

    Raises:
        UsageError: the file is refused, or has none of the images.
    """
    found = prediction_files.read(path, whole, order=dataset.ids(), numbering=numbering)
    covered = set(dataset.ids() if found.image_ids is None else found.image_ids)
    refused = {
        image["file_name"]: f"{image['file_name']}: not in {path}"
        for image in dataset.images
        if image["id"] not in covered
    }
    refused |= {name: f"{name}: in {path}, but not in the annotations" for name in found.unknown}
    ids = tuple(one for one in dataset.ids() if one in covered)
    if not ids:
        raise UsageError(
            f"{path}: holds none of the {len(dataset.images)} chosen images; give predictions for "
            "these annotations"
        )
    for number, reason in enumerate(refused.values()):
        _complain_of(number, reason)
    _count_rest(refused)
    categories = whole.labelled()
    return Given(
        results=_within(found.results, ids, categories),
        image_ids=ids,
        category_ids=categories,
        what=f"{path}, {found.form}",
        facts={"predictions": str(path), "form": found.form},
        refused=refused,
        notes=[*_left_out(refused), *found.warnings, *_unlabelled(dataset, categories)],
    )


def from_run(
    heads: Heads, whole: Dataset, dataset: Dataset, settings: Settings, go: Go, quiet: bool
) -> Given:
    """What the network, or heads that were kept, find in the images of ``dataset``.

    Args:
        heads: where ``go`` takes the heads from.
        whole: what ``go`` runs over, ``dataset`` or more.
        dataset: the images that count.
        settings: those of the run.
        go: makes the run, and tells of each image.
        quiet: without progress.

    Raises:
        UsageError: a setting out of range; other categories than the model's; no image at all.
    """
    categories, strange = scored_categories(dataset, heads.contract)
    refused: dict[str, str] = {}
    began = time.perf_counter()
    with progress("eval", len(whole.images), quiet=quiet, at_end=True) as ticker:

        def on_image(done: Done) -> None:
            ticker.advance()
            if done.error is not None:
                _complain_of(len(refused), f"{done.error} [{done.error.code}]")
                refused[done.entry["file_name"]] = str(done.error)

        made = go(on_image=on_image)
    fresh = len(made.detections) - made.resumed
    seconds = (time.perf_counter() - began) / fresh if fresh else None
    _count_rest(refused)
    ids = tuple(one for one in dataset.ids() if one in made.detections)
    if not ids:
        raise UsageError(
            f"{dataset.path}: none of its {len(dataset.images)} images can be used; mend what was "
            "refused, or name another folder"
        )
    return Given(
        results=_within(made.results(), ids, categories),
        image_ids=ids,
        category_ids=categories,
        what=heads.what,
        facts={**heads.key, **asdict(settings)},
        refused=refused,
        notes=[*_left_out(refused), *_notes(made, strange), *_unlabelled(dataset, categories)],
        seconds=seconds,
        detections=made.detections,
    )


@dataclass(frozen=True)
class Way:
    """The options that lead from an image to detections."""

    weights: str
    engine: str
    precision: str
    device: str
    threads: int | None
    resize: Resize
    settings: Settings

    def heads(
        self,
        dataset: Dataset,
        images: Path | None,
        kept: Path | None,
        stack: ExitStack,
        *,
        quiet: bool,
    ) -> Heads:
        """Those in the folder ``kept``, or of a network over the folder ``images``.

        The network is closed with ``stack``, and made after it is known that there are images. That
        it was trained at another size is said now, unless ``quiet``: before hours of a run.

        Raises:
            UsageError: there are none.
        """
        if kept is not None:
            model = SSDResNet34(self.weights)
            files = HeadFiles(kept, model.contract, model.name)
            check_files(files.find, kept, dataset)
            return files
        if images is None:
            raise UsageError("IMAGES is missing; name the folder of the images")
        check_files(lambda entry: find(images, entry["file_name"]), images, dataset)
        detector = stack.enter_context(
            detectors.load(
                self.weights,
                engine=self.engine,
                device=self.device,
                precision=self.precision,
                threads=self.threads,
            )
        )
        note_size(detector.model.name, detector.model.trained_size, quiet=quiet)
        return Network(detector.model, detector.session, images, resize=self.resize)

    def recipe(self, heads: Heads, images: Literal["all", "annotated"]) -> Recipe:
        """The same as data, for the causes of other numbers."""
        known = heads.session.precision if isinstance(heads, Network) else Recipe.precision
        return Recipe(**asdict(self.settings), resize=self.resize, precision=known, images=images)

    def session(self, precision: str) -> Session:
        """The same weights in another precision."""
        model = SSDResNet34(self.weights, precision)
        return session.create(model, self.engine, self.device, precision, self.threads)


def explained(
    way: Way,
    heads: Heads,
    collector: Collector,
    dataset: Dataset,
    category_ids: Sequence[int],
    mine: float | None,
    inputs: int,
    quiet: bool,
) -> Reasons:
    """What the known causes change in the run that filled ``collector``, and which fit ``mine``.

    Causes before the network are tried on ``inputs`` images, 0 for not at all.

    Raises:
        UsageError: nothing is annotated that could be found.
        SessionError, HeadsError: the network failed.
    """
    scorer = Scorer(collector, dataset, category_ids)
    count = len(causes_of(collector.base, "heads"))
    with progress("explain", count, quiet=quiet, at_end=True) as ticker:
        found = explain(scorer, on_effect=lambda _: ticker.advance())
    if inputs and isinstance(heads, Network):
        sample = sample_of(dataset, collector.image_ids, inputs)
        total = len(sample) * len(causes_of(collector.base, "input"))
        with progress("explain inputs", total, quiet=quiet, at_end=True) as ticker:
            found = explain_inputs(
                found, heads, scorer, sample, way.session, on_image=lambda _: ticker.advance()
            )
    return found, None if mine is None else diagnose(scorer, found, mine)


def _within(
    results: Sequence[dict[str, Any]], image_ids: Sequence[int], category_ids: Sequence[int]
) -> list[dict[str, Any]]:
    images, categories = set(image_ids), set(category_ids)
    return [
        one for one in results if one["image_id"] in images and one["category_id"] in categories
    ]


def _notes(made: Run, strange: Sequence[str]) -> list[str]:
    notes = []
    if made.resumed:
        notes.append(f"{made.resumed} images were done by an earlier run that was stopped")
    if made.resized:
        (name, (width, height)), *_ = made.resized.items()
        notes.append(
            f"{len(made.resized)} images have another size than their annotations say ({name} has "
            f"{width}×{height}), so that their boxes do not fit"
        )
    if strange:
        notes.append(f"the model has no {some(strange)}, which are left out of all numbers")
    return notes


def _unlabelled(dataset: Dataset, categories: Sequence[int]) -> list[str]:
    if len(categories) == len(dataset.categories):
        return []
    return [
        f"scored on {len(categories)} of the {len(dataset.categories)} categories: the annotations "
        "have no object of the others, which are unlabelled, or absent"
    ]


def _complain_of(number: int, reason: str) -> None:
    if number < NAMED:
        complain(reason, "refused")


def _count_rest(refused: Mapping[str, str]) -> None:
    if len(refused) > NAMED:
        complain(f"and {len(refused) - NAMED} more; --json names all", "refused")


def _left_out(refused: Mapping[str, str]) -> list[str]:
    return [f"{len(refused)} images are left out of all numbers"] if refused else []

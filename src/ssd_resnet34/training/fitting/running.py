"""A data set in, a model out: the function behind ``ssd-resnet34 train``."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import torch
from torch import Tensor, nn

from ... import files
from ...contract import INPUT_SIZE
from ...errors import MissingExtra, UsageError
from ...files import told
from ...runtime.cpu import available_threads
from ...wording import counted
from ..data.augmentation import Augmentation
from ..data.checking import unscored
from ..data.example import DataSet
from ..data.feeding import Feed
from ..data.loading import Examples, Refused
from . import output, reporting
from .folder import ANNOTATIONS, NOTHING
from .folder import check as check_folder
from .loading import Micro, Order
from .loop import Job, Score, Step, Watch, fit
from .recipe import Recipe
from .starting import begin
from .validation import NUMBERS, by_file, folder_of, scored, validate, write_annotations

if TYPE_CHECKING:
    from accelerate import Accelerator

DETECTIONS: Final = "detections.json"
"""COCO results of the best epoch, by the ids of the validation's COCO file."""

VALIDATION: Final = "validation.json"
"""The same by the numbers of the images from 1, which images those are, and what was refused: what
the report is made of."""

REPORT: Final = "report.html"

FEW_STEPS: Final = 300
"""Below it a run is told that new classes are hardly learnt: blood cells, at 600×600 and a batch of
4, had an AP50 of 0.5 by 200 steps and of 0.7 by 300."""

_AUGMENTED: Final = Augmentation()
_UNWATCHED: Final = Watch()


@dataclass(frozen=True)
class Trained:
    """What a run left behind.

    Attributes:
        weights: safetensors of the best epoch's averaged weights, float32.
        graph: the same as fp32 ONNX. Both go wherever weights are named.
        report: the page for people; None without validation images.
        annotations: COCO JSON of the validation images, as they were read; None without them.
        images: the folder that its file names begin in; None without them.
        numbers: of the best epoch, 0..1; empty without validation images.
        best_epoch, epochs, steps: as trained.
        seconds: of training, validation left out.
        taken, fresh: labels that the initial weights knew, and those they did not.
        refused: training images that could not be shown, in any process.
        unscored: why validation images have no part in ``numbers``, a sentence each.
        notes: what a reader must know, a sentence each.
    """

    weights: Path
    graph: Path
    report: Path | None
    annotations: Path | None
    images: Path | None
    numbers: Mapping[str, float]
    best_epoch: int
    epochs: int
    steps: int
    seconds: float
    taken: tuple[str, ...]
    fresh: tuple[str, ...]
    refused: tuple[Refused, ...]
    unscored: tuple[str, ...]
    notes: tuple[str, ...]


def train(
    data: DataSet,
    out: str | PathLike[str],
    *,
    validation: DataSet | None = None,
    init: str | PathLike[str] = "embedded",
    recipe: Recipe = Recipe(),  # noqa: B008  # frozen
    augmentation: Augmentation | None = _AUGMENTED,
    resume: bool = False,
    device: Literal["auto", "cpu"] = "auto",
    workers: int | None = None,
    watch: Watch = _UNWATCHED,
    say: Callable[[str], None] = lambda _: None,
    command: str = "",
) -> Trained:
    """Train a detector of ``data``'s classes.

    What can be known of the data, of packages and of ``out`` is refused before the first step.

    ``out`` receives ``model.safetensors`` (the best epoch so far), ``checkpoint.pt`` (for
    ``resume``), ``log.csv``, ``validation.csv``, ``tensorboard/``, ``detections.json``,
    ``val.json`` and, at the end, ``model.onnx`` and ``report.html``. Under ``torchrun`` or
    ``accelerate launch`` the processes share each batch.

    Args:
        data: what to train on; see :func:`..data.reading.read`.
        out: a folder, made if there is none.
        validation: what each epoch is scored on, with ``data``'s classes. Without it the last
            epoch is kept.
        init: a record's name, a weights file, or ``none``.
        augmentation: None shows every image whole and as it is.
        resume: go on with the run in ``out``; everything else must be as it was.
        device: ``cpu``, or a CUDA device where there is one.
        workers: processes that prepare images, in each process; default: the CPU's threads but
            one on a GPU, one on a CPU.
        watch: told of steps, validation images and validations.
        say: told what a person should know, a sentence each.
        command: shown in the report.

    Raises:
        UsageError: the data, the recipe or ``out`` do not allow it.
        WeightsError, ArtifactError: the initial weights cannot be used.
        TrainingError: stopped by a signal after a checkpoint; a loss that is not finite; too many
            refused images.
        OutputError: a full disk; the last checkpoint and the best model stay.
        MissingExtra: accelerate, tensorboard, pycocotools or jinja2 is not installed.
    """
    folder = Path(out)
    if str(init) == NOTHING and recipe.freeze == "backbone":
        raise UsageError(
            "freeze: a backbone without initial weights would stay random; leave out --freeze, or "
            "give weights to --init"
        )
    accelerator = _accelerator(device)
    _check(data, validation)
    seen_before = _seen_before(data, validation)
    for note in seen_before:
        say(note)
    _prepare(folder, resume)
    start = begin(init, data.contract, recipe.seed)
    name = Path(init).name  # not where it lies on this machine
    examples = Examples(data, recipe.size, seed=recipe.seed, augmentation=augmentation)
    workers = _workers(accelerator) if workers is None else workers
    seen = None if validation is None else replace(validation, contract=start.contract)

    def feed(micros: Iterator[Micro]) -> Iterator[Micro]:
        return Feed(micros, examples, workers=workers, say=say)

    def judge(module: nn.Module, priors: Tensor, on_image: Callable[[], None]) -> Score | None:
        if seen is None:
            return None
        return score_of(module, seen, priors, recipe.size, folder, accelerator, on_image)

    def keep(state: Mapping[str, Tensor], epoch: int, score: Score | None) -> None:
        training = {
            "size": recipe.size,
            "init": name,
            "epochs": recipe.epochs,
            "epoch": epoch,
            "AP": None if score is None else round(score.value, 4),
        }
        output.write_weights(state, start.contract, folder / output.WEIGHTS, training)

    job = Job(
        module=start.module,
        contract=start.contract,
        examples=examples,
        data=" ".join(
            (digest(data), "" if validation is None else digest(validation), repr(augmentation))
        ),
        recipe=recipe,
        out=folder,
        init=name,
        validate=judge,
        keep=keep,
        workers=workers,
        feed=feed,
    )
    order = Order(len(examples), recipe.batch, recipe.epochs, recipe.seed)
    if start.fresh and order.steps < FEW_STEPS and not resume:
        say(
            f"{counted(order.steps, 'step')} in all, where new classes mostly want {FEW_STEPS}: "
            f"--epochs {-(-FEW_STEPS // order.steps_an_epoch)} makes them"
            + (", or fewer with a smaller --batch" if recipe.batch > 4 else "")
        )
    made: list[int] = []

    def on_step(step: Step) -> None:
        made.append(step.step)
        watch.step(step)

    progress = fit(job, accelerator, resume=resume, watch=replace(watch, step=on_step))
    weights, graph = folder / output.WEIGHTS, folder / output.GRAPH
    report: Path | None = None
    numbers: Mapping[str, float] = {}
    unscored: Sequence[str] = ()
    refused = refused_anywhere(examples)
    notes = [*_notes(data, refused, recipe, weights, seen is not None), *seen_before]
    if accelerator.is_main_process:
        report = None if seen is None else folder / REPORT
        complete = not made and all(_newer(one, weights) for one in (graph, report) if one)
        if complete:
            say(f"{folder}: this run is finished; nothing left to do")
        else:
            output.write_graph(weights, graph)
        if seen is not None and report is not None:
            kept = json.loads((folder / VALIDATION).read_bytes())
            best = scored(seen, kept["results"], kept["images"])
            numbers, unscored = dict(best.numbers), kept["refused"]
        if seen is not None and report is not None and not complete:
            facts = {
                "initial weights": str(init),
                "best epoch": f"{progress.best_epoch} of {recipe.epochs}",
                "training images": len(data.samples),
                "device": str(accelerator.device),
                "processes": accelerator.num_processes,
                **vars(recipe),
            }
            reporting.write(report, best, folder_of(seen), facts, [*notes, *unscored], command)
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return Trained(
        weights=weights,
        graph=graph,
        report=report,
        annotations=None if seen is None else folder / ANNOTATIONS,
        images=None if seen is None else folder_of(seen),
        numbers=numbers,
        best_epoch=progress.best_epoch,
        epochs=recipe.epochs,
        steps=progress.step,
        seconds=progress.seconds,
        taken=start.taken,
        fresh=start.fresh,
        refused=refused,
        unscored=tuple(unscored),
        notes=tuple(notes),
    )


def digest(data: DataSet) -> str:
    """Of the images' names and boxes, in their order: equal for the same data set elsewhere."""
    found = hashlib.sha256(data.contract.to_json().encode())
    for one in data.samples:
        found.update(f"{one.path.name} {one.size} {sorted(one.unknown)}".encode())
        for values in (one.boxes, one.indices, one.ignored):
            found.update(np.ascontiguousarray(values).tobytes())
    return found.hexdigest()


def _accelerator(device: Literal["auto", "cpu"]) -> "Accelerator":
    if device not in ("auto", "cpu"):
        raise UsageError(f"device: {device!r} is unknown; give 'auto' or 'cpu'")
    try:
        from accelerate import Accelerator
    except ImportError as error:
        raise MissingExtra(
            "training needs accelerate: pip install 'ssd-resnet34[train]'"
        ) from error
    return Accelerator(
        cpu=device == "cpu" or not torch.cuda.is_available(),  # Apple's has no float64
        mixed_precision="no",
    )


def _workers(accelerator: "Accelerator") -> int:
    if accelerator.device.type == "cpu":
        return 1  # the other cores are the network's
    return max(1, available_threads() // int(accelerator.num_processes) - 1)


def _check(data: DataSet, validation: DataSet | None) -> None:
    for what, one in (("training", data), ("validation", validation)):
        if one is None:
            continue
        if not one.samples:
            raise UsageError(f"{what}: no image in this split; check the data set and its splits")
        if not any((~sample.ignored).any() for sample in one.samples):
            raise UsageError(f"{what}: no object in any image; check the data set and its labels")
    if validation is not None and validation.contract.labels != data.contract.labels:
        raise UsageError(
            "validation: other classes, or in another order, than the training set; read it with "
            "contract=data.contract"
        )
    if validation is not None and (reason := unscored(validation)) is not None:
        raise UsageError(f"validation: {reason}; mend its images, or train without validation")
    for package in () if validation is None else ("pycocotools", "jinja2"):
        if find_spec(package) is None:  # the scores and the report would miss it after an epoch
            raise MissingExtra(f"validation needs {package}: pip install 'ssd-resnet34[train]'")


def _seen_before(data: DataSet, validation: DataSet | None) -> list[str]:
    """On images that are in both sets; ``train --check`` finds copies, too."""
    if validation is None:
        return []
    own = {os.path.abspath(one.path) for one in data.samples}
    both = sum(os.path.abspath(one.path) in own for one in validation.samples)
    if not both:
        return []
    return [
        f"{both:,} of {counted(len(validation.samples), 'validation image')} trained on too: the "
        "scores are better than the model; keep a share apart with --hold-out 0.2"
    ]


def _prepare(out: Path, resume: bool) -> None:
    check_folder(out, resume)
    with told(str(out), UsageError):
        out.mkdir(parents=True, exist_ok=True)


def score_of(
    module: nn.Module,
    data: DataSet,
    priors: Tensor,
    size: int,
    out: Path,
    accelerator: "Accelerator",
    on_image: Callable[[], None],
) -> Score:
    """All processes share the images; every one of them learns the numbers."""
    from accelerate.utils import broadcast_object_list, gather_object

    mine = range(accelerator.process_index, len(data.samples), accelerator.num_processes)
    parts = gather_object([validate(module, data, mine, priors, size, data.contract, on_image)])
    results = [row for part, _, _ in parts for row in part]
    images = sorted(number for _, part, _ in parts for number in part)
    refused = [reason for _, _, part in parts for reason in part.values()]
    told_all: list[dict[str, float] | None] = [None]
    if accelerator.is_main_process:
        if not images:
            raise UsageError(
                f"validation: no image can be read any more ({refused[0]}); mend that, then go on "
                "with --resume"
            )
        found = scored(data, results, images).numbers
        told_all = [{name: found[name] for name in NUMBERS}]
    if accelerator.num_processes > 1:
        broadcast_object_list(told_all)
    numbers = told_all[0]
    assert numbers is not None  # the first process has told
    kept = {"images": images, "results": results, "refused": refused}

    def keep() -> None:
        files.write(out / VALIDATION, json.dumps(kept).encode())
        files.write(out / DETECTIONS, json.dumps(by_file(data, results)).encode())
        write_annotations(data, out)

    return Score(max(numbers["AP"], 0.0), numbers, keep)


def refused_anywhere(examples: Examples) -> tuple[Refused, ...]:
    """What any of the processes was to show and could not, each image once."""
    from accelerate.utils import gather_object

    return tuple(dict.fromkeys(gather_object([*examples.refused])))


def _newer(path: Path, weights: Path) -> bool:
    """Whether ``path`` was written after ``weights``: a run that was ended in between lacks it."""
    return path.is_file() and path.stat().st_mtime_ns >= weights.stat().st_mtime_ns


def _notes(
    data: DataSet, refused: Sequence[Refused], recipe: Recipe, weights: Path, scores: bool
) -> Sequence[str]:
    notes = [*data.warnings]
    if refused:
        notes.append(f"refused and never shown: {counted(len(refused), 'training image')}")
    if recipe.size < INPUT_SIZE:
        notes.append(
            f"trained{' and scored' if scores else ''} at {recipe.size}×{recipe.size}; every "
            "command runs the network at 1200×1200, where it is worse until it is trained on "
            f"there: train again into another folder with --init {weights} --size 1200"
        )
    return notes

"""``ssd-resnet34 eval``: annotations and images in, average precision out."""

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from .. import detector as detectors
from ..errors import UsageError
from ..evaluation import comparing, comparison_page
from ..evaluation import dataset as datasets
from ..evaluation import report as reports
from ..evaluation.accuracy_log import Numbering
from ..evaluation.bootstrap import difference_intervals, intervals
from ..evaluation.coco import evaluate
from ..evaluation.comparing import Side
from ..evaluation.dataset import Dataset
from ..evaluation.heads import HeadFiles
from ..evaluation.journal import Journal
from ..evaluation.report import Setting
from ..evaluation.running import Heads, Network, Settings, check_any, find, journal_key
from ..files import check_target
from ..model import SSDResNet34
from ..vision.detections import Detections
from ..vision.writers import STREAM_EXTENSIONS, extension_of, open_writer
from . import comparison_report, eval_report
from .detect import SOME_REFUSED, Engine, Nms, Precision, Threads, Weights
from .eval_inputs import Given, from_file, from_run
from .eval_report import Found
from .info import platform_facts
from .terminal import complain

EXAMPLES: Final = """Examples:

ssd-resnet34 eval instances_val2017.json val2017/

ssd-resnet34 eval val.json val/ --precision int8 --report int8.html

ssd-resnet34 eval val.json --predictions mlperf_log_accuracy.json

ssd-resnet34 eval val.json --heads npz/ --nms mlperf --images mlperf
"""


class Images(StrEnum):
    """Which images of the annotations count."""

    all = "all"
    mlperf = "mlperf"


class Resize(StrEnum):
    """What makes an image 1200×1200."""

    opencv = "opencv"
    pillow = "pillow"


class LogClasses(StrEnum):
    """What an accuracy log calls a class."""

    by_id = "category_id"
    by_index = "index"


_NUMBERINGS: Final[dict[LogClasses, Numbering]] = {
    LogClasses.by_id: "category_id",
    LogClasses.by_index: "index",
}

_OF_SELECTION: Final = ("weights", "nms", "score_threshold", "top_k", "save_predictions")
_OF_NETWORK: Final = ("engine", "precision", "device", "threads", "resize")


def eval_(
    context: typer.Context,
    annotations: Annotated[
        Path, typer.Argument(metavar="ANNOTATIONS", help="COCO JSON.", show_default=False)
    ],
    images: Annotated[
        Path | None,
        typer.Argument(metavar="IMAGES", help="The folder of the images.", show_default=False),
    ] = None,
    image_set: Annotated[
        Images,
        typer.Option("--images", help="mlperf leaves out images without any object."),
    ] = Images.all,
    weights: Weights = "embedded",
    engine: Engine = "auto",
    precision: Annotated[
        Precision, typer.Option(help="auto is the fastest here.")
    ] = Precision.auto,
    device: Annotated[str, typer.Option(help="cpu, or cuda with the torch engine.")] = "cpu",
    threads: Threads = None,
    resize: Annotated[
        Resize, typer.Option(help="Pillow's rule averages what it shrinks.")
    ] = Resize.opencv,
    nms: Annotated[
        Nms, typer.Option(help="mlperf repeats the public reference's IoU.")
    ] = Nms.exact,
    score_threshold: Annotated[
        float, typer.Option(min=0, max=1, help="Least score that counts.")
    ] = Settings.score_threshold,
    top_k: Annotated[int, typer.Option(min=1, help="Detections an image.")] = Settings.top_k,
    predictions: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Score these instead of running: COCO results, JSON of detect, MLPerf log.",
        ),
    ] = None,
    log_classes: Annotated[
        LogClasses | None,
        typer.Option(help="Of a MLPerf log; default: what fits.", show_default=False),
    ] = None,
    heads: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Decode these instead: NAME.npz of the twelve heads."),
    ] = None,
    save_predictions: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help=f"Write them ({', '.join(STREAM_EXTENSIONS)})."),
    ] = None,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            metavar="A B",
            help="Where two files of predictions differ; instead of a run.",
            show_default=False,
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a page for people, HTML.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Measure average precision by COCO's rules.

    Shows the twelve numbers, how far they may be trusted, and each class.

    Objects marked ignore or difficult count neither as found nor as missed.

    Missing and damaged images are left out and named; the exit code is 3.

    A run that was stopped goes on where it was when it is started again.
    """
    _check_options(context, images, predictions, heads, compare)
    for path in (save_predictions, report):
        if path is not None:
            check_target(path)
    if save_predictions is not None and extension_of(save_predictions) not in STREAM_EXTENSIONS:
        raise UsageError(
            f"--save-predictions {save_predictions}: holds one image; use one of "
            f"{', '.join(STREAM_EXTENSIONS)}"
        )
    whole = datasets.read(annotations)
    for warning in whole.warnings:
        complain(f"{annotations}: {warning}", "note")
    dataset = whole if image_set is Images.all else whole.only(whole.annotated())
    numbering = _NUMBERINGS[log_classes] if log_classes else None
    if compare is not None:
        pair = [from_file(path, whole, dataset, numbering) for path in compare]
        _compare(dataset, pair, report, images, as_json)
        return
    settings = Settings(score_threshold=score_threshold, top_k=top_k, nms=nms.value)
    with ExitStack() as stack:
        journal: Journal | None = None
        if predictions is not None:
            given = from_file(predictions, whole, dataset, numbering)
        else:
            source: Heads
            if heads is not None:
                source = _heads(heads, weights, dataset)
            else:
                assert images is not None
                check_any(lambda entry: find(images, entry["file_name"]), images, dataset)
                detector = stack.enter_context(
                    detectors.load(
                        weights,
                        engine=engine,
                        device=device,
                        precision=precision.value,
                        threads=threads,
                    )
                )
                source = Network(detector.model, detector.session, images, resize=resize.value)
            journal = stack.enter_context(Journal(journal_key(source, dataset, settings)))
            given = from_run(source, dataset, settings, journal, quiet)
        for note in given.notes:
            complain(note, "note")
        scored = dataset.only(given.image_ids)
        evaluation = evaluate(scored, given.results, category_ids=given.category_ids)
        found = Found(scored, given, evaluation, intervals(evaluation))
        if save_predictions is not None:
            _save(save_predictions, given.detections or {})
        if report is not None:
            _write_report(report, found, images)
        if as_json:
            print(json.dumps(eval_report.describe(found), indent=2))
        else:
            eval_report.show(found)
        if journal is not None and not given.refused:
            journal.finish()  # with refused images it waits for the next try
    if given.refused:
        raise typer.Exit(SOME_REFUSED)


def _check_options(
    context: typer.Context,
    images: Path | None,
    predictions: Path | None,
    heads: Path | None,
    compare: tuple[Path, Path] | None,
) -> None:
    """Refuse what would have no effect."""
    instead = {"--predictions": predictions, "--heads": heads, "--compare": compare}
    chosen = [option for option, value in instead.items() if value is not None]
    if len(chosen) > 1:
        raise UsageError(f"{' and '.join(chosen)} exclude one another; choose one")
    if not chosen and images is None:
        raise UsageError(f"IMAGES is missing; name the folder, or give {', '.join(instead)}")
    mode = chosen[0] if chosen else "a run"
    idle: tuple[str, ...] = ()
    if mode in ("--predictions", "--compare"):
        idle = (*_OF_SELECTION, *_OF_NETWORK)
    else:
        idle = ("log_classes", *(_OF_NETWORK if mode == "--heads" else ()))
    for name in idle:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            option = f"--{name.replace('_', '-')}"
            raise UsageError(f"{option} has no effect with {mode}; leave it out")


def _compare(
    dataset: Dataset, pair: Sequence[Given], report: Path | None, folder: Path | None, as_json: bool
) -> None:
    """Tables, JSON or a page of where two files differ, on the images that both have."""
    both = set(pair[0].image_ids) & set(pair[1].image_ids)
    if not both:
        raise UsageError("--compare: the two files have no image in common; give runs over one set")
    scored = dataset.only(both)
    notes = [note for given in pair for note in given.notes]
    for note in notes:
        complain(note, "note")
    sides = []
    for given in pair:
        results = [one for one in given.results if one["image_id"] in both]
        evaluation = evaluate(scored, results, category_ids=given.category_ids)
        sides.append(Side(given.what, results, evaluation))
    found = comparing.compare(scored, *sides)
    if report is not None:
        setting = _setting(f"Two runs on {dataset.path}", {}, notes)
        comparison_page.write(report, scored, found, setting, folder=folder)
    moved = difference_intervals(*(side.evaluation for side in sides))
    if as_json:
        ranges = {name: asdict(one) for name, one in moved.items()}
        print(json.dumps(comparing.describe(found) | {"intervals": ranges}, indent=2))
    else:
        comparison_report.show(found)
        eval_report.show_differences(found.numbers, moved)
    if any(given.refused for given in pair):
        raise typer.Exit(SOME_REFUSED)


def _heads(folder: Path, weights: str, dataset: Dataset) -> HeadFiles:
    model = SSDResNet34(weights)
    source = HeadFiles(folder, model.contract, model.name)
    check_any(source.find, folder, dataset)
    return source


def _save(path: Path, detections: Mapping[int, Detections]) -> None:
    with open_writer(path) as writer:
        for image_id, found in detections.items():
            writer.write(found, image_id)


def _setting(title: str, facts: Mapping[str, Any], notes: Sequence[str]) -> Setting:
    """How the numbers came about: the command, the versions, the machine."""
    machine = platform_facts()
    versions = {"ssd-resnet34": machine["version"], "Python": machine["python"]}
    versions |= {name: version for name, version in machine["packages"].items() if version}
    known = {**facts, **versions, "system": machine["system"], "CPU": machine["cpu"]["model"]}
    return Setting(
        title=title,
        command=shlex.join(["ssd-resnet34", *sys.argv[1:]]),
        facts={name: str(value) for name, value in known.items()},
        notes=notes,
    )


def _write_report(path: Path, found: Found, folder: Path | None) -> None:
    given = found.given
    title = f"{given.what} on {found.dataset.path}"
    notes = [*found.dataset.warnings, *given.notes]
    reports.write(
        path,
        found.dataset,
        given.results,
        found.evaluation,
        _setting(title, given.facts, notes),
        folder=folder,
        intervals=found.intervals,
    )

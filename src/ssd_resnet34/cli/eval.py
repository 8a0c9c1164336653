"""``ssd-resnet34 eval``: annotations and images in, average precision out."""

import json
from contextlib import ExitStack
from dataclasses import replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Final, Literal

import typer

from ..errors import UsageError
from ..evaluation import coco, page
from ..evaluation.accuracy_log import Numbering
from ..evaluation.bootstrap import doubts, intervals
from ..evaluation.collecting import collect, collection_key
from ..evaluation.explaining import as_fraction, collector_for
from ..evaluation.journal import Journal
from ..evaluation.running import Settings, journal_key, run
from ..files import check_target
from ..vision.writers import STREAM_EXTENSIONS, extension_of
from . import eval_report, explain_report
from .eval_inputs import Go, Reasons, Way, annotated, explained, from_file, from_run
from .eval_output import compare_files, save, write_report
from .eval_report import Found
from .inputs import SOME_REFUSED
from .options import (
    Annotations,
    AsJson,
    ByLog,
    ByNms,
    Device,
    Engine,
    Images,
    ImageSet,
    InPrecision,
    Nms,
    Precision,
    Quiet,
    ScoreThreshold,
    Threads,
    Weights,
    is_given,
    keep_apart,
)
from .terminal import complain
from .weights_notes import note_embedded

EXAMPLES: Final = """Examples:

ssd-resnet34 eval instances_val2017.json val2017/

ssd-resnet34 eval val.json val/ --precision int8 --report int8.html

ssd-resnet34 eval val.json --predictions mlperf_log_accuracy.json

ssd-resnet34 eval val.json --heads npz/ --nms mlperf --images mlperf

ssd-resnet34 eval val.json val/ --explain --got 19.6
"""


class Resize(StrEnum):
    """What makes an image 1200×1200."""

    opencv = "opencv"
    pillow = "pillow"


_OF_HEADS: Final = (
    "weights", "nms", "score_threshold", "top_k", "save_predictions", "explain", "got",
)  # fmt: skip
_OF_NETWORK: Final = ("engine", "precision", "device", "threads", "resize", "explain_inputs")
"""Options that mean nothing without heads, and without a network."""


def eval_(
    context: typer.Context,
    annotations: Annotations,
    images: Annotated[
        Path | None,
        typer.Argument(metavar="IMAGES", help="The folder of the images.", show_default=False),
    ] = None,
    image_set: ImageSet = Images.all,
    weights: Weights = "embedded",
    engine: Engine = "auto",
    precision: InPrecision = Precision.auto,
    device: Device = "cpu",
    threads: Threads = None,
    resize: Annotated[
        Resize, typer.Option(help="Pillow's rule averages what it shrinks.")
    ] = Resize.opencv,
    nms: ByNms = Nms.exact,
    score_threshold: ScoreThreshold = Settings.score_threshold,
    top_k: Annotated[int, typer.Option(min=1, help="Detections an image.")] = Settings.top_k,
    predictions: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Score these instead of running: COCO results, JSON of detect, MLPerf log.",
        ),
    ] = None,
    log_classes: ByLog = None,
    heads: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Decode these instead: NAME.npz of the twelve heads."),
    ] = None,
    save_predictions: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help=f"Write them ({', '.join(STREAM_EXTENSIONS)})."),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="What each known cause changes in AP.")
    ] = False,
    got: Annotated[
        float | None,
        typer.Option(
            metavar="AP",
            help="One from elsewhere: name the causes that give it.",
            show_default=False,
        ),
    ] = None,
    explain_inputs: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="N",
            show_default=False,
            help="Causes before the network as well, on N images: it runs again for each.",
        ),
    ] = 0,
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
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Measure average precision by COCO's rules.

    Shows the twelve numbers, how far they may be trusted, and each class.

    Objects marked ignore or difficult count neither as found nor as missed.

    Missing and damaged images are left out and named; the exit code is 3.

    A run that was stopped goes on where it was when it is started again.

    --explain shows what each common mistake, and each choice, would change.
    """
    _check_options(context, images, predictions, heads, compare)
    a, b = compare or (None, None)
    keep_apart(
        {"--save-predictions": save_predictions, "--report": report},
        {
            "ANNOTATIONS": annotations,
            "--weights": weights,
            "--predictions": predictions,
            "A of --compare": a,
            "B of --compare": b,
        },
    )
    for path in (save_predictions, report):
        if path is not None:
            check_target(path)
    coco.check_installed()
    if report is not None:
        page.check_installed()
    if save_predictions is not None and extension_of(save_predictions) not in STREAM_EXTENSIONS:
        raise UsageError(
            f"--save-predictions {save_predictions}: holds one image; use one of "
            f"{', '.join(STREAM_EXTENSIONS)}"
        )
    whole, dataset = annotated(annotations, image_set)
    numbering: Numbering | None = log_classes.value if log_classes else None
    if compare is not None:
        pair = [from_file(path, whole, dataset, numbering) for path in compare]
        compare_files(dataset, pair, report, images, as_json)
        if any(given.refused for given in pair):
            raise typer.Exit(SOME_REFUSED)
        return
    settings = Settings(score_threshold=score_threshold, top_k=top_k, nms=nms.value)
    mine = None if got is None else as_fraction(got)
    way = Way(weights, engine, precision.value, device, threads, resize.value, settings)
    if predictions is None and heads is None:
        note_embedded(context, quiet=quiet)
    with ExitStack() as stack:
        journal: Journal | None = None
        reasons: Reasons | None = None
        go: Go
        if predictions is not None:
            given = from_file(predictions, whole, dataset, numbering)
        elif explain or mine is not None or explain_inputs:
            source = way.heads(dataset, images, heads, stack, quiet=quiet)
            every: Literal["all", "annotated"]
            every = "all" if image_set is Images.all else "annotated"
            collector = collector_for(source.contract, way.recipe(source, every), source.name)
            journal = stack.enter_context(Journal(collection_key(source, whole, collector)))
            go = partial(collect, source, whole.images, collector, journal)
            given = from_run(source, whole, dataset, settings, go, quiet)
            reasons = explained(
                way, source, collector, whole, given.category_ids, mine, explain_inputs, quiet
            )
        else:
            source = way.heads(dataset, images, heads, stack, quiet=quiet)
            journal = stack.enter_context(Journal(journal_key(source, dataset, settings)))
            go = partial(run, source, dataset, journal, settings)
            given = from_run(source, dataset, dataset, settings, go, quiet)
        for note in given.notes:
            complain(note, "note")
        given = replace(given, notes=[*given.notes, *doubts(len(given.image_ids))])
        scored = dataset.only(given.image_ids)
        evaluation = coco.evaluate(scored, given.results, category_ids=given.category_ids)
        found = Found(scored, given, evaluation, intervals(evaluation))
        if save_predictions is not None:
            save(save_predictions, given, scored)
        if report is not None:
            write_report(report, found, images)
        if as_json:
            document = eval_report.describe(found)
            if reasons is not None:
                document["explanation"] = explain_report.describe(*reasons)
            print(json.dumps(document, indent=2))
        else:
            eval_report.show(found)
            if reasons is not None:
                explain_report.show(*reasons)
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
        idle = (*_OF_HEADS, *_OF_NETWORK)
    else:
        idle = ("log_classes", *(_OF_NETWORK if mode == "--heads" else ()))
    for name in idle:
        if is_given(context, name):
            option = f"--{name.replace('_', '-')}"
            raise UsageError(f"{option} has no effect with {mode}; leave it out")

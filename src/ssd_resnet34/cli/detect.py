"""``ssd-resnet34 detect``: images or videos in; a table, JSON, CSV, COCO or drawings out."""

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Final

import typer

from .. import detector as detectors
from ..detector import Detector
from ..errors import ImageError, UnreadableFile, UsageError
from ..video.writing import CODECS
from ..vision.detections import Detections
from ..vision.images import Image
from ..vision.writers import IMAGE_EXTENSIONS, open_writer
from . import videos
from .drawn import Drawings, Places, target_of
from .inputs import SOME_REFUSED, expand, read, tell
from .options import (
    ByNms,
    Classes,
    Device,
    Engine,
    InPrecision,
    Nms,
    NoNotes,
    Precision,
    ScoreThreshold,
    Threads,
    Weights,
    labels,
)
from .terminal import complain, progress, show_objects
from .videos import Which
from .weights_notes import note_embedded, note_size, note_untaught

EXAMPLES: Final = """Examples:

ssd-resnet34 detect street.jpg

ssd-resnet34 detect photos/ --save drawn/ -t 0.5

ssd-resnet34 detect 'photos/**/*.jpg' --json > found.jsonl

curl -s URL | ssd-resnet34 detect - --classes car,bus

ssd-resnet34 detect clip.mp4 --every 5 --json --save drawn/ > found.jsonl

ssd-resnet34 detect rtsp://camera/stream --frames latest
"""


def detect(
    context: typer.Context,
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT",
            help="Images: files, folders, globs, - for stdin. Videos: files, rtsp://…, camera:0.",
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="One detection a row.")] = False,
    as_coco: Annotated[bool, typer.Option("--coco", help="One COCO document.")] = False,
    save_to: Annotated[
        Path | None,
        typer.Option(
            "--save", metavar="DIR", help="Write what is drawn there; of one input, FILE."
        ),
    ] = None,
    classes: Classes = None,
    score_threshold: ScoreThreshold = detectors.DEFAULT_SCORE_THRESHOLD,
    nms: ByNms = Nms.exact,
    weights: Weights = "embedded",
    engine: Engine = "auto",
    precision: InPrecision = Precision.auto,
    device: Device = "cpu",
    threads: Threads = None,
    frames: Annotated[
        Which | None, typer.Option(help="Of videos; default: every of a file, latest of a stream.")
    ] = None,
    every: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Of videos: each N-th frame.")
    ] = None,
    reconnect: Annotated[
        float | None,
        typer.Option(
            min=0, metavar="SECONDS", help="Give a lost stream up after that; default 60."
        ),
    ] = None,
    quiet: NoNotes = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Say what runs and how long each image takes.")
    ] = False,
) -> None:
    """Find objects in images, or in the frames of videos.

    Prints a table, or JSON lines, CSV or COCO; of videos a table or JSON lines with times.

    A refused file is one line on stderr; the rest is done, the exit code is 3.
    """
    form = _form(as_json, as_csv, as_coco)
    watching = videos.chosen(images, form, frames, every, reconnect)
    wanted = labels(classes)
    places = None
    if save_to is not None:
        inputs = images if watching is None else watching.sources
        forms = IMAGE_EXTENSIONS if watching is None else tuple(CODECS)
        places = Places(target_of(save_to, inputs, forms), inputs)
    refused = 0
    with ExitStack() as stack:
        detector = stack.enter_context(
            detectors.load(
                weights,
                engine=engine,
                device=device,
                precision=precision.value,
                threads=threads,
                score_threshold=score_threshold,
                nms=nms.value,
                classes=wanted,
            )
        )
        note_size(detector.model.name, detector.model.trained_size, quiet=quiet)
        if not note_untaught(weights, wanted or (), quiet=quiet):
            note_embedded(context, quiet=quiet)
        if verbose:
            complain(f"{detector.model.name}, {detector.session.setting}", "model")
        if watching is not None:
            refused = videos.run(detector, watching, as_json, places, score_threshold, quiet)
            raise typer.Exit(SOME_REFUSED if refused else 0)
        writer = None
        if form is not None:
            categories = detector.session.contract.categories
            writer = stack.enter_context(
                open_writer(sys.stdout.buffer, form, categories=categories)
            )
        drawings = left_out = None
        if places is not None:
            drawings = Drawings(places, score_threshold, quiet=quiet)
            left_out = None if places.target.is_file else places.target.path
        ticker = stack.enter_context(progress("detect", None, quiet=quiet))
        for item in _results(detector, expand(images, left_out), verbose):
            ticker.advance()
            if isinstance(item, ImageError):
                refused += 1
                tell(item)
                continue
            image, found = item
            if writer is not None:
                writer.write(found)
            else:
                show_objects(found, found.image)
            if drawings is not None:
                drawings.save(found, image)
        if drawings is not None:
            drawings.tell()
    if refused:
        raise typer.Exit(SOME_REFUSED)


def _results(
    detector: Detector, sources: Iterable[str | UnreadableFile], verbose: bool
) -> Iterator[tuple[Image, Detections] | ImageError]:
    """Every input's picture and detections, or its refusal, in order; neighbours overlap."""

    last = time.perf_counter()
    for item in detector.stream_pairs(sources, read):
        now = time.perf_counter()
        if verbose and not isinstance(item, ImageError):
            complain(f"{item[0].name}: {now - last:.3f} s", "time")
        last = now
        yield item


def _form(as_json: bool, as_csv: bool, as_coco: bool) -> str | None:
    chosen = [
        form
        for form, given in ((".jsonl", as_json), (".csv", as_csv), (".coco.json", as_coco))
        if given
    ]
    if len(chosen) > 1:
        raise UsageError("--json, --csv and --coco exclude one another; choose one")
    return chosen[0] if chosen else None

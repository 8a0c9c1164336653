"""``ssd-resnet34 detect``: images or videos in; a table, JSON, CSV, COCO or drawings out."""

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from .. import detector as detectors
from ..contract import Category
from ..detector import Detector
from ..errors import ImageError, UnreadableFile, UsageError
from ..video.writing import CODECS
from ..vision.detections import Detections
from ..vision.images import Image, Limits
from ..vision.writers import IMAGE_EXTENSIONS, Writer, open_writer
from . import videos
from .drawn import Drawings, target_of
from .embedded_note import note_embedded, note_untaught
from .inputs import expand, read
from .terminal import complain, progress, show_objects
from .trained_size import note_size
from .videos import Which

SOME_REFUSED: Final = 3

EXAMPLES: Final = """Examples:

ssd-resnet34 detect street.jpg

ssd-resnet34 detect photos/ --save drawn/ -t 0.5

ssd-resnet34 detect 'photos/**/*.jpg' --json > found.jsonl

curl -s URL | ssd-resnet34 detect - --classes car,bus

ssd-resnet34 detect clip.mp4 --every 5 --json --save drawn/ > found.jsonl

ssd-resnet34 detect rtsp://camera/stream --frames latest
"""


class Nms(StrEnum):
    """Selection modes: IoU as defined, or the public reference's."""

    exact = "exact"
    mlperf = "mlperf"


class Precision(StrEnum):
    """What the network runs in."""

    auto = "auto"
    int8 = "int8"
    bf16 = "bf16"
    fp16 = "fp16"
    fp32 = "fp32"


Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT",
        help="Images: files, folders, globs, - for stdin. Videos: files, rtsp://…, camera:0.",
    ),
]
Weights = Annotated[
    str, typer.Option("--weights", "-w", help="A record, a weights file or an artifact.")
]
Engine = Annotated[
    str, typer.Option("--engine", help="auto, openvino, onnxruntime, torch, or an installed one.")
]
InPrecision = Annotated[
    Precision,
    typer.Option(
        "--precision", metavar="PRECISION", help="int8, bf16, fp16, fp32; auto is the fastest here."
    ),
]
"""What the network runs in; with a name of its own, since all its values break a line of help."""
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads.")]
ScoreThreshold = Annotated[
    float,
    typer.Option("--score-threshold", "-t", min=0, max=1, help="Only scores over it count."),
]


def detect(
    context: typer.Context,
    images: Inputs,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="One detection a row.")] = False,
    as_coco: Annotated[bool, typer.Option("--coco", help="One COCO document.")] = False,
    save_to: Annotated[
        Path | None,
        typer.Option(
            "--save", metavar="DIR", help="Write what is drawn there; of one input, FILE."
        ),
    ] = None,
    classes: Annotated[
        str | None, typer.Option("--classes", help="Only these, by name: car,bus.")
    ] = None,
    score_threshold: ScoreThreshold = detectors.DEFAULT_SCORE_THRESHOLD,
    nms: Annotated[
        Nms, typer.Option(help="mlperf repeats the public reference's IoU.")
    ] = Nms.exact,
    weights: Weights = "embedded",
    engine: Engine = "auto",
    precision: InPrecision = Precision.auto,
    device: Annotated[str, typer.Option(help="cpu, or cuda with the torch engine.")] = "cpu",
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
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
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
    limits = Limits()
    wanted = [name.strip() for name in classes.split(",") if name.strip()] if classes else None
    if classes is not None and not wanted:
        raise UsageError("--classes is empty; name at least one class, like --classes car,bus")
    target = None
    if save_to is not None and watching is not None:
        target = target_of(save_to, watching.sources, tuple(CODECS))
    elif save_to is not None:
        target = target_of(save_to, images, IMAGE_EXTENSIONS)
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
                limits=limits,
            )
        )
        note_size(detector.model.name, detector.model.trained_size, quiet=quiet)
        if not note_untaught(weights, wanted or (), quiet=quiet):
            note_embedded(context, quiet=quiet)
        if verbose:
            complain(f"{detector.model.name}, {detector.session.setting}", "model")
        if watching is not None:
            refused = videos.run(detector, watching, as_json, target, score_threshold, quiet)
            raise typer.Exit(SOME_REFUSED if refused else 0)
        out = _Output(form, detector.session.contract.categories, stack)
        drawings = Drawings(target, score_threshold, quiet=quiet) if target is not None else None
        left_out = target.path if target is not None and not target.is_file else None
        ticker = stack.enter_context(progress("detect", None, quiet=quiet))
        for item in _results(detector, expand(images, left_out), limits, verbose):
            ticker.advance()
            if isinstance(item, ImageError):
                refused += 1
                complain(f"{item} [{item.code}]", "refused")
                continue
            image, found = item
            out.write(found)
            if drawings is not None:
                drawings.save(found, image)
        if drawings is not None:
            drawings.tell()
    if refused:
        raise typer.Exit(SOME_REFUSED)


def _results(
    detector: Detector,
    sources: Iterable[str | UnreadableFile],
    limits: Limits,
    verbose: bool,
) -> Iterator[tuple[Image, Detections] | ImageError]:
    """Every input's picture and detections, or its refusal, in order; neighbours overlap."""

    def opened(source: str | UnreadableFile) -> Image:
        if isinstance(source, ImageError):
            raise source
        return read(source, limits)

    last = time.perf_counter()
    for item in detector.stream_pairs(sources, opened):
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


class _Output:
    """Results on stdout: a table of text, or one of the writers."""

    def __init__(self, form: str | None, categories: Sequence[Category], stack: ExitStack) -> None:
        self.writer: Writer | None = None
        if form is not None:
            self.writer = stack.enter_context(
                open_writer(sys.stdout.buffer, form, categories=categories)
            )

    def write(self, found: Detections) -> None:
        if self.writer is not None:
            self.writer.write(found)
            return
        show_objects(found, found.image)

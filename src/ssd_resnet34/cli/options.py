"""Options that several commands share."""

import os
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..errors import UsageError
from ..weights.records import RECORDS


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


class Images(StrEnum):
    """Which images of the annotations count."""

    all = "all"
    mlperf = "mlperf"


class LogClasses(StrEnum):
    """What an accuracy log calls a class."""

    by_id = "category_id"
    by_index = "index"


Annotations = Annotated[
    Path, typer.Argument(metavar="ANNOTATIONS", help="COCO JSON.", show_default=False)
]
ImageSet = Annotated[
    Images, typer.Option("--images", help="mlperf leaves out images without any object.")
]
ByLog = Annotated[
    LogClasses | None,
    typer.Option("--log-classes", help="What an MLPerf log calls a class; default: what fits."),
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
MaxBytes = Annotated[int, typer.Option(min=1, help="Largest image, bytes.")]
MaxPixels = Annotated[int, typer.Option(min=1, help="Largest image, pixels.")]
Device = Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1, …")]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads.")]
ScoreThreshold = Annotated[
    float, typer.Option("--score-threshold", "-t", min=0, max=1, help="Only scores over it count.")
]
ByNms = Annotated[Nms, typer.Option("--nms", help="mlperf repeats the public reference's IoU.")]
Classes = Annotated[str | None, typer.Option("--classes", help="Only these, by name: car,bus.")]
AsJson = Annotated[bool, typer.Option("--json", help="For machines.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
NoNotes = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no notes.")]


def words(text: str) -> list[str]:
    """What stands between commas."""
    return [word for part in text.split(",") if (word := part.strip())]


def labels(classes: str | None) -> tuple[str, ...] | None:
    """What ``--classes`` names; None for all.

    Raises:
        UsageError: nothing.
    """
    if classes is None:
        return None
    found = tuple(words(classes))
    if not found:
        raise UsageError("--classes is empty; name at least one, like --classes car,bus")
    return found


def from_anywhere(weights: str) -> str:
    """A file by its whole path, for processes in other folders; a record by its name."""
    if weights in RECORDS or not os.path.exists(weights):  # who opens them says what is wrong
        return weights
    return os.path.abspath(weights)


def keep_apart(written: Mapping[str, Path | None], known: Mapping[str, str | Path | None]) -> None:
    """Refuse to write over a file that is read, and two things to one file.

    Args:
        written: option -> the file it makes.
        known: option -> what it reads: a file, or the name of a record.

    Raises:
        UsageError: names both options.
    """
    taken = {option: path for option, path in known.items() if path and path not in RECORDS}
    for option, path in written.items():
        if path is None:
            continue
        for other, file in taken.items():
            if _is_same(path, file):
                raise UsageError(f"{option} {path}: is the file of {other}; name another file")
        taken[option] = path


def _is_same(one: str | Path, other: str | Path) -> bool:
    try:
        return os.path.samefile(one, other)
    except (OSError, ValueError):  # one is not there yet, or is no name: by their spelling
        return os.path.abspath(one) == os.path.abspath(other)


def is_given(context: typer.Context, name: str) -> bool:
    """Whether the command line has the option of that parameter, be it with its default."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"

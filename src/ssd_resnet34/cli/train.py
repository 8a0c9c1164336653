"""``ssd-resnet34 train``: images and boxes in, weights of one's own detector out."""

import json
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from ..errors import MissingExtra, UsageError
from ..runtime.cpu import available_threads
from .inputs import SOME_REFUSED
from .options import AsJson, Quiet, words
from .terminal import complain, printable, progress
from .train_report import Shown, describe, show

if TYPE_CHECKING:
    from ..training.data.assembling import Unknown
    from ..training.data.example import DataSet

EXAMPLES: Final = """Examples:

ssd-resnet34 train VOC2007/ --format voc --out cats/ --check

ssd-resnet34 train cells.json --format coco --images cells/ --val val.json
--out cells/ --epochs 20

ssd-resnet34 train data.yaml --format yolo --out run/ --batch 8 --size 600

ssd-resnet34 train data.yaml --format yolo --out run/ --batch 8 --size 600
--resume

ssd-resnet34 train coco/ --format coco --out run/
--mix voc:VOC2007/ --mix yolo:data.yaml::car,bus

torchrun --nproc-per-node 8 -m ssd_resnet34 train coco/ --format coco
--out run/ --batch 128
"""


class Format(StrEnum):
    """How images and boxes are stored."""

    coco = "coco"
    voc = "voc"
    yolo = "yolo"


class Freeze(StrEnum):
    """What is not trained."""

    nothing = "nothing"
    backbone = "backbone"


class Autocast(StrEnum):
    """Numbers of the forward passes; weights and optimiser are fp32 in any case."""

    auto = "auto"
    off = "off"
    bf16 = "bf16"


class Device(StrEnum):
    """Where training runs."""

    auto = "auto"
    cpu = "cpu"


def train(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="COCO: a JSON file or folder. VOC: its folder. YOLO: data.yaml.",
            show_default=False,
        ),
    ],
    format: Annotated[Format, typer.Option("--format", "-f", help="Form of DATA and --val.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="For all that is made.")],
    images: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of DATA's images, where it does not say it."),
    ] = None,
    split: Annotated[
        str | None, typer.Option(metavar="NAME", help="Part of DATA to train on; default: train.")
    ] = None,
    mix: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FORMAT:DATA[:IMAGES[:LABELS]]",
            help="Another source; classes it lacks, and LABELS as of --unknown, are unknown in it. "
            "Repeatable.",
        ),
    ] = None,
    unknown: Annotated[
        str | None,
        typer.Option(
            metavar="LABELS|unlabelled",
            help="Classes whose objects DATA does not label (a,b), or: all without any box.",
        ),
    ] = None,
    val: Annotated[
        Path | None,
        typer.Option(metavar="DATA", help="Scores each epoch; default: the split val of DATA."),
    ] = None,
    val_images: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder of --val's images; default: beside it, else --images."
        ),
    ] = None,
    val_split: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Part of --val, or of DATA, to score on; default: val."),
    ] = None,
    no_val: Annotated[
        bool, typer.Option("--no-val", help="No scores; the last epoch is kept.")
    ] = False,
    init: Annotated[
        str, typer.Option(metavar="WEIGHTS|none", help="A record or a weights file to start from.")
    ] = "embedded",
    epochs: Annotated[int, typer.Option(min=1)] = 30,
    batch: Annotated[int, typer.Option(min=1, help="Images a step, on all devices.")] = 16,
    at_once: Annotated[
        int | None,
        typer.Option(min=1, help="Images a device holds at a time.", show_default=False),
    ] = None,
    size: Annotated[int, typer.Option(help="Side of the input, 385 to 1200 pixels.")] = 1200,
    rate: Annotated[float, typer.Option(help="Highest learning rate, for a batch of 32.")] = 5e-4,
    freeze: Annotated[
        Freeze, typer.Option(help="backbone: a third of the cost, for few images.")
    ] = Freeze.nothing,
    plain: Annotated[bool, typer.Option("--plain", help="No augmentation.")] = False,
    no_mirror: Annotated[
        bool, typer.Option("--no-mirror", help="Classes are told by their side: letters, signs.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    device: Annotated[Device, typer.Option(help="auto: a GPU where there is one.")] = Device.auto,
    autocast: Annotated[
        Autocast,
        typer.Option(
            help="bf16 forward passes; auto: on a GPU. On CPUs it pays with AMX, or AVX-512 of AMD."
        ),
    ] = Autocast.auto,
    workers: Annotated[
        int | None,
        typer.Option(min=0, help="Processes that prepare images.", show_default=False),
    ] = None,
    compiled: Annotated[
        bool, typer.Option("--compile", help="By torch.compile: for long runs on a GPU.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    check: Annotated[
        bool,
        typer.Option("--check", help="Report problems, draw augmented batches, train nothing."),
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Train a detector on your own images.

    Any number of classes. DIR receives weights that every command takes, and a report.

    Ctrl-C and SIGTERM end a run after a checkpoint; --resume goes on.
    """
    if no_val and (val is not None or val_split is not None):
        raise UsageError("--no-val and --val exclude one another; choose one")
    if val_images is not None and val is None:
        raise UsageError("--val-images has no effect without --val; leave it out")
    if plain and no_mirror:
        raise UsageError("--no-mirror has no effect with --plain; leave it out")
    with _extra():  # torch takes seconds: what can be refused without it is refused first
        from ..training.data.augmentation import Augmentation
        from ..training.fitting import folder
        from ..training.fitting.recipe import Recipe
    first = os.environ.get("RANK", "0") == "0"  # of several processes, one speaks
    quiet = quiet or not first
    recipe = Recipe(
        epochs=epochs,
        batch=batch,
        at_once=at_once,
        size=size,
        rate=rate,
        freeze=freeze.value,
        autocast=autocast.value,
        seed=seed,
        compile=compiled,
    )
    augmentation = None if plain else Augmentation(mirror=0.0 if no_mirror else 0.5)
    folder.check_init(init)
    if not check:
        folder.check(out, resume)
    with _extra():
        learned, judged = _data(
            data, format, images, split, mix or (), unknown, val, val_images, val_split, no_val
        )
    if check:
        _check(learned, judged, out, size, seed, augmentation, as_json, quiet)
        return
    if first:
        for warning in learned.warnings:
            complain(warning, "note")
        if judged is None and not no_val:
            complain("no --val, so no scores: the last epoch is kept", "note")
    with _extra():
        import torch

        from ..training.allocator import keep_memory
        from ..training.fitting import train as run
    keep_memory()
    if "RANK" not in os.environ:  # several processes share the cores as their launcher says
        torch.set_num_threads(available_threads())
    with Shown.on_stderr(0 if judged is None else len(judged.samples), quiet=quiet) as shown:
        trained = run(
            learned,
            out,
            validation=judged,
            init=init,
            recipe=recipe,
            augmentation=augmentation,
            resume=resume,
            device=device.value,
            workers=workers,
            watch=shown.watch(),
            say=shown.note,
            command=shlex.join(["ssd-resnet34", *sys.argv[1:]]),
        )
    if first:
        for one in trained.refused:
            complain(f"{one.path} [{one.code}]", "refused")
        for reason in trained.unscored:
            complain(reason, "refused")
        if as_json:
            print(json.dumps(describe(trained)))
        else:
            show(trained)
    # One process alone says so: a launcher ends the others as soon as one exits with a code.
    if first and (trained.refused or trained.unscored):
        raise typer.Exit(SOME_REFUSED)


@contextmanager
def _extra() -> Iterator[None]:
    """Imports of the extra [train]; says what to install where it is not."""
    try:
        yield
    except ImportError as error:
        if error.name is None or error.name.startswith("ssd_resnet34"):
            raise
        raise MissingExtra(
            f"training needs {error.name}: pip install 'ssd-resnet34[train]'"
        ) from error


def _data(
    data: Path,
    format: Format,
    images: Path | None,
    split: str | None,
    mix: Sequence[str],
    unknown: str | None,
    val: Path | None,
    val_images: Path | None,
    val_split: str | None,
    no_val: bool,
) -> "tuple[DataSet, DataSet | None]":
    """What to train on, and what to score on.

    Raises:
        UsageError: a source is refused, or options contradict.
    """
    from ..training.data.assembling import Names
    from ..training.data.mixing import mixed
    from ..training.data.reading import read

    names = Names("--images DIR", "--split", "--unknown unlabelled")
    own = read(
        data, format.value, images=images, split=split, unknown=_unknown(unknown), names=names
    )
    learned = mixed([own, *map(_other, mix)]) if mix else own
    alone = format is Format.coco and os.path.isfile(data) and val_split is None
    if no_val or (val is None and alone):
        return learned, None
    where, folder = (data, images) if val is None else (val, val_images)
    if val_split is None and (format is not Format.coco or os.path.isdir(where)):
        val_split = "val"  # a COCO file is one split already
    names = Names("--images DIR" if val is None else "--val-images DIR", "--val-split", None)
    try:
        judged = read(
            where,
            format.value,
            images=folder,
            split=val_split,
            contract=own.contract,
            also=() if images is None else [images],
            names=names,
        )
    except UsageError as error:
        if val is not None:
            raise
        raise UsageError(f"{error}. Or give --val DATA for the scores, or --no-val") from error
    if mix:  # the classes of all sources; what the others bring along is not labelled here
        everything = mixed([judged, replace(learned, samples=())])
        judged = replace(everything, warnings=judged.warnings, category_ids=judged.category_ids)
    return learned, judged


def _other(text: str) -> "DataSet":
    """A source as ``--mix`` names it."""
    from ..training.data.assembling import Names
    from ..training.data.reading import read

    form, path, folder, unknown = [*text.split(":", 3), "", "", ""][:4]
    if form not in tuple(Format) or not path:
        raise UsageError(
            f"--mix {text}: give FORMAT:DATA, FORMAT:DATA:IMAGES or FORMAT:DATA:IMAGES:LABELS with "
            f"the formats {', '.join(Format)}"
        )
    names = Names(
        "--mix FORMAT:DATA:IMAGES", "another folder", "--mix FORMAT:DATA:IMAGES:unlabelled"
    )
    return read(
        path, Format(form).value, images=folder or None, unknown=_unknown(unknown), names=names
    )


def _unknown(text: str | None) -> "Unknown":
    """Labels, or all without any box, as the command line has them."""
    named = words(text or "")
    return "unlabelled" if named == ["unlabelled"] else named


def _check(
    data: "DataSet",
    validation: "DataSet | None",
    out: Path,
    size: int,
    seed: int,
    augmentation: Any,
    as_json: bool,
    quiet: bool,
) -> None:
    """Findings and drawings; exit code 1 where training would stop, 3 where images are refused."""
    from ..files import told

    with _extra():
        from ..training.data.checking import LOOKED_AT, check
        from ..training.data.drawing import write_drawings

    counts = [len(one.samples) for one in (data, validation) if one is not None]
    total = sum(min(LOOKED_AT, count) for count in counts)
    with progress("check", total, quiet=quiet, at_end=True) as ticker:
        found = check(data, validation, size=size, progress=ticker.advance)
    drawings: list[Path] = []
    if not found.stops:
        with told(str(out), UsageError):
            out.mkdir(parents=True, exist_ok=True)
        drawings = write_drawings(data, out, size=size, seed=seed, augmentation=augmentation)
    if as_json:
        print(json.dumps(found.to_dict() | {"drawings": [str(path) for path in drawings]}))
    else:
        for line in (*found.lines(), *(f"{path}: drawn" for path in drawings)):
            print(printable(line))
    if found.stops:
        raise typer.Exit(1)
    if found.refused:
        raise typer.Exit(SOME_REFUSED)

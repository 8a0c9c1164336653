"""``ssd-resnet34 train``: images and boxes in, weights of one's own detector out."""

import json
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from ..errors import MissingExtra, UsageError
from ..runtime.cpu import available_threads
from .inputs import SOME_REFUSED
from .options import AsJson, Quiet, keep_apart
from .terminal import complain, printable, progress
from .train_data import Format, Judged, Source, read_both
from .train_report import Shown, describe, show

if TYPE_CHECKING:
    from ..training.data.example import DataSet

EXAMPLES: Final = """Examples:

ssd-resnet34 train VOC2007/ --format voc --out cats/ --check

ssd-resnet34 train labelled/ --format voc --out cats/ --hold-out 0.2

ssd-resnet34 train cells.json --format coco --images cells/ --val val.json
--out run/ --epochs 20

ssd-resnet34 train data.yaml --format yolo --out run/ --batch 8 --size 600

ssd-resnet34 train data.yaml --format yolo --out run/ --batch 8 --size 600
--resume

ssd-resnet34 train coco/ --format coco --out run/
--mix voc:VOC2007/ --mix yolo:data.yaml::car,bus

torchrun --nproc-per-node 8 -m ssd_resnet34 train coco/ --format coco
--out run/ --batch 128
"""


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
    hold_out: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            metavar="SHARE",
            help="Keep a share of DATA, like 0.2, to score on; instead of --val.",
            show_default=False,
        ),
    ] = None,
    val_every: Annotated[
        int, typer.Option(min=1, metavar="N", help="Score, and checkpoint, each N epochs.")
    ] = 1,
    no_val: Annotated[
        bool, typer.Option("--no-val", help="No scores; the last epoch is kept.")
    ] = False,
    init: Annotated[
        str, typer.Option(metavar="WEIGHTS|none", help="A record or a weights file to start from.")
    ] = "embedded",
    epochs: Annotated[int, typer.Option(min=1)] = 30,
    batch: Annotated[int, typer.Option(min=1, help="Images a step, on all devices.")] = 16,
    at_once: Annotated[
        int | None, typer.Option(min=1, help="Images a device holds at a time.", show_default=False)
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
        int | None, typer.Option(min=0, help="Processes that prepare images.", show_default=False)
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
    chosen = {
        "--no-val": no_val,
        "--hold-out": hold_out is not None,
        "--val": val is not None,
        "--val-split": val is None and val_split is not None,
    }
    if len(both := [option for option, given in chosen.items() if given]) > 1:
        raise UsageError(f"{' and '.join(both)} exclude one another; choose one")
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
        val_every=val_every,
    )
    augmentation = None if plain else Augmentation(mirror=0.0 if no_mirror else 0.5)
    folder.check_init(init)
    if not check:
        folder.check(out, resume)
    keep_apart({"--out": out / folder.ANNOTATIONS}, {"DATA": data, "--val": val})
    with _extra():
        source = Source(data, format, images, split, unknown, mix or ())
        learned, judged = read_both(source, Judged(val, val_images, val_split, hold_out, no_val))
    if check:
        _check(learned, judged, out, size, seed, augmentation, as_json, quiet)
        return
    if first:
        for warning in learned.warnings:
            complain(warning, "note")
        if judged is None and not no_val:
            complain(
                "no --val, so no scores: the last epoch is kept; --hold-out 0.2 scores on a fifth",
                "note",
            )
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
    """Findings, drawings, and the validation as COCO has it; exit code 1 where training would stop,
    3 where images are refused."""
    from ..files import told

    with _extra():
        from ..training.data.checking import LOOKED_AT, check
        from ..training.data.drawing import write_drawings
        from ..training.fitting.validation import write_annotations

    counts = [len(one.samples) for one in (data, validation) if one is not None]
    total = sum(min(LOOKED_AT, count) for count in counts)
    with progress("check", total, quiet=quiet, at_end=True) as ticker:
        found = check(data, validation, size=size, progress=ticker.advance)
    drawings: list[Path] = []
    annotations: Path | None = None
    if found.data.refused < found.data.looked_at:
        with told(str(out), UsageError):
            out.mkdir(parents=True, exist_ok=True)
        drawings = write_drawings(data, out, size=size, seed=seed, augmentation=augmentation)
        if validation is not None:
            annotations = write_annotations(validation, out)
    if as_json:
        made = {"drawings": [str(path) for path in drawings]}
        told_of = {"annotations": None if annotations is None else str(annotations)}
        print(json.dumps(found.to_dict() | made | told_of))
    else:
        lines = [*found.lines(), *(f"{path}: drawn" for path in drawings)]
        if annotations is not None:
            lines.append(f"{annotations}: the validation in COCO's form")
        for line in lines:
            print(printable(line))
    if found.stops:
        raise typer.Exit(1)
    if found.refused:
        raise typer.Exit(SOME_REFUSED)

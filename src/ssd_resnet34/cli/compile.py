"""``ssd-resnet34 compile``: weights and images in, a deployable artifact out, with its prices."""

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from .. import files
from ..benchmarking.trust import is_wide
from ..compiler.compilation import Calibrated, find_ranges
from ..compiler.quantization import GIVEN, layers, named_layers
from ..compiler.ranges import DEFAULT_PERCENTAGE
from ..errors import ImageError, UnsupportedPrecision, UsageError
from ..evaluation import dataset
from ..evaluation.fidelity import PAIRS, Fidelity
from ..evaluation.guard import HELD_BACK, Bar, Judge, hold_back
from ..model import SSDResNet34
from ..vision.images import Image
from ..weights import ranges as range_files
from ..weights.records import EMBEDDED
from ..wording import counted
from .compile_report import describe, show
from .inputs import SOME_REFUSED, STDIN, expand, read, tell
from .options import AsJson, Engine, Quiet, Threads, Weights, is_given, keep_apart, words
from .terminal import Ticker, complain, printable, progress

EXAMPLES: Final = """Examples:

ssd-resnet34 compile -o embedded.onnx

ssd-resnet34 compile --weights mlcommons --calibrate photos/ -o model.onnx

ssd-resnet34 compile -w m.pth --calibrate photos/ --method mse --annotations
instances.json -o model.onnx

ssd-resnet34 compile -w m.pth --ranges ranges.yaml --check photos/ -o m.onnx

ssd-resnet34 compile -w m.pth --precision fp32 -o model.onnx
"""

AUTO: Final = "auto"

_FEW: Final = 10
"""Under so many images that judge, a share or an average precision is rough."""


class Target(StrEnum):
    """What an artifact can hold."""

    int8 = "int8"
    fp32 = "fp32"


class Method(StrEnum):
    """How a range is found from what calibration saw."""

    min_max = "min-max"
    entropy = "entropy"
    percentile = "percentile"
    mse = "mse"
    sqnr = "sqnr"


_INT8: Final = ("calibrate", "ranges", "check", "annotations", "keep_float", "sensitivity", "force")
_PASS: Final = ("method", "symmetric", "percentage", "statistics")

_ONLY: Final[Sequence[tuple[str, Callable[[Mapping[str, Any]], bool], Sequence[str]]]] = (
    (
        "for --precision int8",
        lambda given: given["precision"] == Target.int8,
        (*_INT8, *_PASS, "save_ranges", "bar", "agreement", "engine", "threads"),
    ),
    ("with --calibrate IMAGES", lambda given: bool(given["calibrate"]), _PASS),
    (
        "with --method percentile",
        lambda given: given["method"] == Method.percentile,
        ["percentage"],
    ),
    ("with --annotations FILE", lambda given: given["annotations"] is not None, ["bar"]),
    ("without --annotations", lambda given: given["annotations"] is None, ["agreement"]),
    ("without --calibrate", lambda given: not given["calibrate"], ["ranges"]),
)
"""Where options mean something; elsewhere they are refused, not ignored."""


def compile_(
    context: typer.Context,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The artifact to write.")
    ],
    weights: Weights = EMBEDDED,
    precision: Annotated[Target, typer.Option(help="Of the artifact.")] = Target.int8,
    calibrate: Annotated[
        list[str] | None,
        typer.Option("--calibrate", metavar="IMAGES", help="File, folder or glob; repeatable."),
    ] = None,
    ranges: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Known ranges (YAML) instead of images.")
    ] = None,
    method: Annotated[
        Method,
        typer.Option(
            metavar="METHOD",
            help="How ranges are found: min-max, entropy, percentile, mse or sqnr.",
        ),
    ] = Method.min_max,
    symmetric: Annotated[bool, typer.Option("--symmetric", help="Ranges [-m, m].")] = False,
    percentage: Annotated[
        float, typer.Option(help="Values kept inside, for percentile.")
    ] = DEFAULT_PERCENTAGE,
    statistics: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Keep and resume the calibration pass there (npz)."),
    ] = None,
    save_ranges: Annotated[
        Path | None, typer.Option("--save-ranges", metavar="FILE", help="Write the ranges, YAML.")
    ] = None,
    check: Annotated[
        list[str] | None,
        typer.Option(metavar="IMAGES", help="Judge on these; hold no images back."),
    ] = None,
    annotations: Annotated[
        Path | None, typer.Option(metavar="FILE", help="COCO JSON: also compare average precision.")
    ] = None,
    bar: Annotated[
        float, typer.Option(min=0, max=1, help="Least AP, as a share of fp32's, annotated.")
    ] = Bar.ap,
    agreement: Annotated[
        float, typer.Option(min=0, max=1, help="Least share of agreeing detections, unannotated.")
    ] = Bar.agreement,
    keep_float: Annotated[
        str | None,
        typer.Option(
            metavar="LAYERS|auto",
            help="Convolutions and residual sums that stay float, by name or prefix: "
            "model.layer1.4.0,conf. auto: as few as reach the bar.",
        ),
    ] = None,
    sensitivity: Annotated[
        bool, typer.Option("--sensitivity", help="Show what each layer costs (minutes).")
    ] = False,
    engine: Engine = "auto",
    threads: Threads = None,
    force: Annotated[
        bool, typer.Option("--force", help="Write it even if slower or under the bar.")
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Compile weights into one self-describing ONNX file, int8 or fp32.

    int8 is judged against fp32 on images that calibration has not seen.

    Not faster here, or under the bar: not written without --force, exit code 1.
    """
    _check_options(context)
    keep_apart(
        {"--output": output, "--save-ranges": save_ranges, "--statistics": statistics},
        {"--weights": weights, "--ranges": ranges, "--annotations": annotations},
    )
    for target in filter(None, (output, save_ranges, statistics)):
        files.check_target(target)
    model = SSDResNet34(weights, "fp32", ranges=ranges)
    if precision is Target.fp32:
        files.write(output, model.source)
        size = len(model.source)
        if as_json:
            print(json.dumps({"written": str(output), "precision": "fp32", "bytes": size}))
        else:
            print(printable(f"{output}: fp32, {size:,} bytes"))
        return
    kept = words(keep_float) if keep_float and keep_float != AUTO else []
    named_layers(model.source, kept)  # refused now, not after hours of calibration
    truth = None if annotations is None else dataset.read(annotations)
    seen, judged = _images(calibrate), _images(check)
    _warn_of_known(seen, judged)
    if not judged:
        seen, judged = hold_back(seen)
    refusals, limits = _Refusals(), Bar(bar, agreement)
    with Judge(model, judged, truth=truth, engine=engine, threads=threads) as judge:
        if calibrate:
            with progress("calibrate", len(seen), quiet=quiet, at_end=True) as ticker:
                found = find_ranges(
                    model.source,
                    seen,
                    method=method.value,
                    symmetric=symmetric,
                    percentage=percentage,
                    statistics=statistics,
                    threads=threads,
                    on_image=refusals.counted(ticker),
                )
            _warn_of_few(found)
        else:
            found = _known(model)
        if save_ranges is not None:
            range_files.write(save_ranges, found.ranges)
        costs = []
        if sensitivity or keep_float == AUTO:
            count = len(layers(model.source))
            with progress("layers", count, quiet=quiet, at_end=True) as ticker:
                costs = judge.costs(found.ranges, ticker.advance)
        total = None
        if keep_float != AUTO:  # else nobody knows how many artifacts will be judged
            total = (len(judged) or 1) + (PAIRS if len(judged) < PAIRS else 0)
        with progress("check", total, quiet=quiet, at_end=True) as ticker:
            verdict = judge.compile(
                found,
                limits,
                keep_float=kept,
                for_sale=costs if keep_float == AUTO else (),
                on_image=refusals.counted(ticker),
                on_pair=ticker.advance,
            )
        rival = judge.float_precision
    written = force or not verdict.failures
    if written:
        files.write(output, verdict.artifact)
    report = describe(model, found, verdict, costs, rival)
    report |= {"written": str(output) if written else None, "refused_images": len(refusals.found)}
    if as_json:
        print(json.dumps(report))
    else:
        show(report)
    _warn_of_doubts(verdict.runs[-1])
    for reason in verdict.failures:
        complain(reason + ("" if written else f"; {output} was not written (--force writes it)"))
    last = verdict.runs[-1]
    if limits.missed(last) and not (last.ap and last.ap[0] == 0):  # of that, other images are it
        complain(_mends(context), "note")
    if not written:
        raise typer.Exit(1)
    if refusals.found:
        raise typer.Exit(SOME_REFUSED)


def _check_options(context: typer.Context) -> None:
    """Refuse options that mean nothing beside the others."""
    names = {parameter.name: parameter.opts[0] for parameter in context.command.params}
    for where, here, options in _ONLY:
        given = [names[option] for option in options if is_given(context, option)]
        if given and not here(context.params):
            raise UsageError(f"{', '.join(given)}: only {where}; leave it out")


def _images(arguments: Iterable[str] | None) -> list[str | Image | ImageError]:
    """What a command line names, each file once: what is seen twice would be held back and not.

    The image of stdin, which can be read once only, is read here.
    """
    found: list[str | Image | ImageError] = []
    files_seen: set[str] = set()
    for one in expand(arguments or ()):
        try:
            if isinstance(one, str) and one != STDIN:
                if (file := os.path.realpath(one)) not in files_seen:
                    files_seen.add(file)
                    found.append(one)
            else:
                found.append(read(one))
        except ImageError as error:
            found.append(error)
    return found


def _warn_of_known(
    seen: Iterable[str | Image | ImageError], judged: Sequence[str | Image | ImageError]
) -> None:
    """Images that judge should be new to what they judge."""
    ours, theirs = (
        {os.path.realpath(one) for one in images if isinstance(one, str)}
        for images in (seen, judged)
    )
    if shared := len(ours & theirs):
        complain(
            f"{shared} of the {counted(len(judged), 'image')} that judge are calibrated on too, "
            "where int8 is at its best; give others to --check, or leave it out",
            "note",
        )


class _Refusals:
    """The images that were refused: each is told once, however often it is tried."""

    def __init__(self) -> None:
        self.found: set[str] = set()

    def counted(self, ticker: Ticker) -> Callable[[ImageError | None], None]:
        """A callback for each image that is done or refused."""

        def count(error: ImageError | None) -> None:
            ticker.advance()
            if error is not None and str(error) not in self.found:
                self.found.add(str(error))
                tell(error)

        return count


def _warn_of_few(found: Calibrated) -> None:
    assert found.statistics is not None
    count = len(found.statistics.images)
    if count < HELD_BACK:
        complain(
            f"calibrated on {counted(count, 'image')} only: rare values were not seen; a few dozen "
            "are better",
            "note",
        )


def _warn_of_doubts(found: Fidelity) -> None:
    """What the numbers cannot tell."""
    if not found.images:
        complain("accuracy was not checked: give --check IMAGES", "note")
    elif found.images < _FEW:
        complain(
            f"judged on {counted(found.images, 'image')} only, so accuracy is known roughly; "
            f"{_FEW} or more tell it better (--check IMAGES)",
            "note",
        )
    if (
        found.images
        and found.ap is None
        and not (found.agreement.reference + found.agreement.found)
    ):
        complain(
            "nothing was detected in the images that judge, so their agreement says nothing; give "
            "pictures with objects that the weights know (--check IMAGES)",
            "note",
        )
    low, high = found.spread
    times = f"int8 takes {found.speed:.2f} ({low:.2f} to {high:.2f}) of the time of float"
    if is_wide(found.speed, low, high):
        complain(
            f"the machine was busy, and its times are not to be trusted: {times}; measure again "
            "when it is idle",
            "warning",
        )
    elif low < 1 <= found.speed:
        complain(f"{times}: whether it is faster here cannot be told", "warning")


def _mends(context: typer.Context) -> str:
    """What may bring an artifact over the bar."""
    given = context.params
    ways = []
    if given["keep_float"] != AUTO:
        ways.append("leave its noisiest layers in float (--keep-float auto)")
    if given["calibrate"]:
        ways += ["take another --method", "give more images to --calibrate"]
    else:
        ways.append("calibrate on your own images (--calibrate IMAGES)")
    return f"to reach the bar, {', '.join(ways[:-1])}{' or ' if ways[1:] else ''}{ways[-1]}"


def _known(model: SSDResNet34) -> Calibrated:
    """The ranges that were given, or come with the weights."""
    if model.ranges is None:
        raise UnsupportedPrecision(
            f"{model.name} comes without activation ranges, so int8 needs some: give "
            "--calibrate IMAGES (a few dozen), or --ranges FILE"
        )
    return Calibrated(model.ranges, GIVEN)

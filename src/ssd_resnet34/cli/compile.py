"""``ssd-resnet34 compile``: weights and images in, a deployable artifact out, with its prices."""

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer

from ..compiler.calibration import calibrate
from ..compiler.compilation import facts_of
from ..compiler.quantization import Ranges, layers, quantize
from ..compiler.ranges import DEFAULT_PERCENTAGE
from ..compiler.sensitivity import LayerCost, layer_costs
from ..errors import CalibrationError, ImageError, UnsupportedPrecision, UsageError
from ..evaluation import dataset as datasets
from ..evaluation.dataset import Dataset
from ..evaluation.fidelity import Fidelity, measure
from ..files import check_target, replacing
from ..model import SSDResNet34
from ..runtime import session
from ..vision.images import Image, Limits
from ..weights import ranges as range_files
from ..weights.records import EMBEDDED
from .compile_report import describe, show
from .detect import SOME_REFUSED, Engine, Threads, Weights
from .inputs import expand, read
from .terminal import Ticker, complain, printable, progress

EXAMPLES: Final = """Examples:

ssd-resnet34 compile -o embedded.onnx

ssd-resnet34 compile --weights mlcommons --calibrate photos/ -o model.onnx

ssd-resnet34 compile -w m.pth --calibrate photos/ --method mse --annotations
instances.json -o model.onnx

ssd-resnet34 compile -w m.pth --ranges ranges.yaml --check photos/ -o m.onnx

ssd-resnet34 compile -w m.pth --precision fp32 -o model.onnx
"""

HELD_BACK: Final = 5
"""Of so many calibration images, one is kept for the check."""

MOST_HELD_BACK: Final = 50

AUTO: Final = "auto"


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


@dataclass(frozen=True)
class _Bar:
    """What an int8 artifact must reach."""

    ap: float
    agreement: float

    def failures(self, found: Fidelity, checked: bool) -> list[str]:
        """Why the artifact should not be used here, nothing if it may."""
        reasons = []
        if found.ap is not None:
            if found.ap[1] < self.ap * found.ap[0]:
                reasons.append(
                    f"AP {found.ap[1]:.4f} is under {100 * self.ap:g} % of fp32's {found.ap[0]:.4f}"
                )
        elif checked and found.agreement.share < self.agreement:
            reasons.append(
                f"{100 * found.agreement.share:.1f} % of the detections agree with fp32, under "
                f"{100 * self.agreement:g} %"
            )
        return reasons


def compile_(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The artifact to write.")
    ],
    weights: Weights = EMBEDDED,
    precision: Annotated[Target, typer.Option(help="Of the artifact.")] = Target.int8,
    calibrate_on: Annotated[
        list[str] | None,
        typer.Option("--calibrate", metavar="IMAGES", help="File, folder or glob; repeatable."),
    ] = None,
    ranges: Annotated[
        Path | None, typer.Option("--ranges", help="Known ranges (YAML) instead of images.")
    ] = None,
    method: Annotated[Method, typer.Option(help="How ranges are found.")] = Method.min_max,
    symmetric: Annotated[bool, typer.Option(help="Ranges [-m, m].")] = False,
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
        typer.Option(metavar="IMAGES", help="Judge on these, not on held-back images."),
    ] = None,
    annotations: Annotated[
        Path | None, typer.Option(metavar="FILE", help="COCO JSON: also compare average precision.")
    ] = None,
    bar: Annotated[
        float, typer.Option(min=0, max=1, help="Least AP, as a share of fp32's.")
    ] = 0.995,
    agreement: Annotated[
        float,
        typer.Option(min=0, max=1, help="Least share of agreeing detections, unannotated."),
    ] = 0.9,
    keep_float: Annotated[
        str | None,
        typer.Option(metavar="LAYERS|auto", help="Layers (or their prefixes) that stay float."),
    ] = None,
    sensitivity: Annotated[
        bool, typer.Option("--sensitivity", help="Show what each layer costs (minutes).")
    ] = False,
    engine: Engine = "auto",
    threads: Threads = None,
    force: Annotated[
        bool, typer.Option("--force", help="Write it even if slower or under the bar.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Compile weights into one self-describing ONNX file, int8 or fp32.

    int8 is judged against fp32 on images that calibration has not seen.

    Not faster here, or under the bar: not written without --force, exit code 1.
    """
    for target in filter(None, (output, save_ranges, statistics)):
        check_target(target)
    model = SSDResNet34(weights, "fp32")
    int8_only = {
        "--calibrate": calibrate_on,
        "--ranges": ranges,
        "--check": check,
        "--annotations": annotations,
        "--statistics": statistics,
        "--save-ranges": save_ranges,
        "--keep-float": keep_float,
        "--sensitivity": sensitivity,
    }
    if precision is Target.fp32:
        given = [name for name, value in int8_only.items() if value]
        if given:
            raise UsageError(f"{', '.join(given)}: only for --precision int8; leave it out")
        _write(output, model.source)
        _say({"written": str(output), "precision": "fp32", "bytes": len(model.source)}, as_json)
        return
    job = _Job(model, engine, threads, quiet, _Bar(bar, agreement))
    truth = None if annotations is None else datasets.read(annotations)
    found, facts, held = job.ranges(calibrate_on, ranges, statistics, method, symmetric, percentage)
    if save_ranges is not None:
        range_files.write(save_ranges, found)
    judged = list(expand(check)) if check else held
    if truth is not None and not judged:
        raise UsageError("--annotations needs images to compare on; give --check IMAGES")
    kept = _layers_named(keep_float, model.source)
    costs: list[LayerCost] = []
    if sensitivity or keep_float == AUTO:
        costs = job.costs(found, judged)
    made = quantize(model.source, found, keep_float=kept, facts=facts)
    before = after = job.measure(made, judged, truth)
    if keep_float == AUTO:
        kept, made, after = job.bought(found, facts, costs, judged, truth, (made, before))
    failures = job.bar.failures(after, bool(judged))
    if after.speed >= 1:
        failures.append(f"int8 takes {after.speed:.2f} of the time of float here: no faster")
    report = describe(model, made, facts, (before, after), kept, costs, bool(judged), failures)
    written = not failures or force
    if written:
        _write(output, made)
    report |= {"written": str(output) if written else None, "refused_images": len(job.refused)}
    if as_json:
        print(json.dumps(report))
    else:
        show(report)
    if not judged:
        complain("accuracy was not checked: give --check IMAGES", "note")
    for reason in failures:
        complain(reason + ("" if written else f"; {output} was not written (--force writes it)"))
    if failures and not force:
        raise typer.Exit(1)
    if job.refused:
        raise typer.Exit(SOME_REFUSED)


Paths = Sequence[str | ImageError]


class _Job:
    """The steps between weights and artifact, and the images that were refused on the way."""

    def __init__(
        self, model: SSDResNet34, engine: str, threads: int | None, quiet: bool, bar: _Bar
    ) -> None:
        self.model, self.engine, self.threads = model, engine, threads
        self.quiet, self.bar = quiet, bar
        self.refused: set[str] = set()

    def ranges(
        self,
        images: list[str] | None,
        file: Path | None,
        statistics: Path | None,
        method: Method,
        symmetric: bool,
        percentage: float,
    ) -> tuple[Ranges, dict[str, str], Paths]:
        """Ranges, what the metadata says of them, and the images that were held back."""
        if images and file is not None:
            raise UsageError("--calibrate and --ranges exclude one another; choose one")
        if not images:
            options = {
                "--statistics": statistics,
                "--symmetric": symmetric,
                "--method": method is not Method.min_max,
                "--percentage": percentage != DEFAULT_PERCENTAGE,
            }
            given = [name for name, value in options.items() if value]
            if given:
                raise UsageError(f"{', '.join(given)}: only with --calibrate IMAGES")
            if file is not None:
                return range_files.read(file), {"calibration": "ranges given"}, []
            known = self.model.ranges
            if known is None:
                raise UnsupportedPrecision(
                    f"{self.model.name} comes without activation ranges, so int8 needs some: give "
                    "--calibrate IMAGES (a few dozen), or --ranges FILE"
                )
            return known, {"calibration": "ranges of the embedded weights"}, []
        if percentage != DEFAULT_PERCENTAGE and method is not Method.percentile:
            raise UsageError("--percentage is for --method percentile alone; leave it out")
        seen, held = _held_back(list(expand(images)))
        with progress("calibrate", len(seen), quiet=self.quiet) as ticker:
            found = calibrate(
                self.model.source,
                self._pictures(seen),
                path=statistics,
                threads=self.threads,
                on_image=self._counting(ticker),
            )
        if not found.images:
            raise CalibrationError(
                f"all {len(seen)} calibration images were refused; give images that can be read"
            )
        if len(found.images) < HELD_BACK:
            complain(
                f"calibrated on {len(found.images)} images only: rare values were not seen; a few "
                "dozen are better",
                "note",
            )
        made = found.ranges(method.value, symmetric=symmetric, percentage=percentage)
        facts = facts_of(found, method.value, symmetric=symmetric, percentage=percentage)
        return made, facts, held

    def measure(self, made: bytes, judged: Paths, truth: Dataset | None) -> Fidelity:
        """Against fp32; speed against the faster of fp32 and bf16."""
        images: Any = self._pictures(judged) if judged else [_noise()]
        with (
            ExitStack() as stack,
            progress("check", len(judged) or 1, quiet=self.quiet) as ticker,
        ):

            def opened(data: Any, precision: str) -> session.Session:
                return stack.enter_context(
                    session.create(data, self.engine, precision=precision, threads=self.threads)
                )

            rival = session.float_precision(self.engine)
            found = measure(
                self.model,
                opened(self.model, "fp32"),
                opened(made, "int8"),
                images,
                rival=None if rival == "fp32" else opened(self.model, rival),
                truth=truth,
                on_image=self._counting(ticker),
            )
        if judged and not found.images:
            raise CalibrationError("all images of the check were refused; give others by --check")
        return found

    def costs(self, ranges: Ranges, judged: Paths) -> list[LayerCost]:
        """Every layer's cost on the first image that can be read, or on noise without any."""
        image = next(self._readable(judged), None) or _noise()
        tensor = self.model.preprocess(image).tensor
        names = layers(self.model.source)
        with progress("layers", len(names), quiet=self.quiet) as ticker:
            return layer_costs(
                self.model.source, ranges, [tensor], threads=self.threads, on_layer=ticker.advance
            )

    def bought(
        self,
        ranges: Ranges,
        facts: dict[str, str],
        costs: list[LayerCost],
        judged: Paths,
        truth: Dataset | None,
        start: tuple[bytes, Fidelity],
    ) -> tuple[list[str], bytes, Fidelity]:
        """Keep the noisiest layers in float, twice as many each time, until the bar is reached."""
        kept: list[str] = []
        made, found = start
        while self.bar.failures(found, bool(judged)) and 2 * len(kept) <= len(costs) // 2:
            kept = [cost.layer for cost in costs[: max(1, 2 * len(kept))]]
            made = quantize(self.model.source, ranges, keep_float=kept, facts=facts)
            found = self.measure(made, judged, truth)
        return kept, made, found

    def _pictures(self, paths: Paths) -> Any:
        for path in paths:
            try:
                yield path if isinstance(path, ImageError) else read(path, Limits())
            except ImageError as error:
                yield error

    def _readable(self, paths: Paths) -> Any:
        return (image for image in self._pictures(paths) if isinstance(image, Image))

    def _counting(self, ticker: Ticker) -> Callable[[ImageError | None], None]:
        def count(error: ImageError | None) -> None:
            ticker.advance()
            # The check runs more than once with --keep-float; a file is refused once.
            if error is not None and str(error) not in self.refused:
                self.refused.add(str(error))
                complain(f"{error} [{error.code}]", "refused")

        return count


def _held_back(paths: Paths) -> tuple[Paths, Paths]:
    """Images to calibrate on, and each fifth (at least one of two) to judge by."""
    if len(paths) < 2:
        return paths, []
    every = min(HELD_BACK, len(paths))
    held = [n for n in range(len(paths)) if n % every == every - 1][:MOST_HELD_BACK]
    chosen = set(held)
    return (
        [path for n, path in enumerate(paths) if n not in chosen],
        [paths[n] for n in held],
    )


def _noise() -> Image:
    """A picture for timing where there is none."""
    return Image(np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8))


def _layers_named(keep_float: str | None, source: bytes) -> list[str]:
    """Layers that the words of ``--keep-float`` name, each a layer or a prefix of some."""
    if keep_float is None or keep_float == AUTO:
        return []
    names = layers(source)
    kept = []
    for word in filter(None, (part.strip() for part in keep_float.split(","))):
        found = [name for name in names if name == word or name.startswith(f"{word}.")]
        if not found:
            raise UsageError(
                f"--keep-float {word}: no such layer; --sensitivity lists them, such as "
                f"{names[0]} or {names[-1]}"
            )
        kept += found
    return sorted(set(kept))


def _write(output: Path, data: bytes) -> None:
    with replacing(output) as file:
        file.write(data)


def _say(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(facts))
    else:
        print(printable(f"{facts['written']}: {facts['precision']}, {facts['bytes']:,} bytes"))

"""``ssd-resnet34 check``: do all engines and precisions give the same answer here?"""

import json
from contextlib import ExitStack
from dataclasses import asdict
from typing import Annotated, Any, Final

import typer

from ..detector import DEFAULT_SCORE_THRESHOLD
from ..errors import ImageError, SSDResNet34Error
from ..evaluation.agreement import NOTHING, TOLERANCES, compare, head_difference
from ..model import SSDResNet34
from ..runtime import session
from ..runtime.engines import describe
from ..runtime.tensors import Outputs
from ..vision.detections import Detections
from ..vision.images import Image, Limits
from .detect import SOME_REFUSED, Inputs, Threads, Weights
from .inputs import expand, read
from .terminal import complain, progress, show_table

EXAMPLES: Final = """Examples:

ssd-resnet34 check samples/scene.png

ssd-resnet34 check photos/ --weights mlcommons --json
"""

REFERENCE: Final = ("onnxruntime", "fp32")
"""What all others are compared with."""


def check(
    images: Inputs,
    weights: Weights = "embedded",
    threshold: Annotated[
        float, typer.Option("--threshold", "-t", min=0, max=1)
    ] = DEFAULT_SCORE_THRESHOLD,
    threads: Threads = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Compare every engine and precision with fp32 on given images.

    Shows the largest difference of a head, and the detections that agree.

    They agree if they have the same class and IoU ≥ 0.5.

    Exit code 1 if one is out of tolerance or fails. Tolerances: fp32 heads within 0.02 and 99 %
    of the detections, bf16 90 %, int8 85 %.
    """
    limits = Limits()
    with ExitStack() as stack:
        pairs = [REFERENCE, *(pair for pair in _pairs() if pair != REFERENCE)]
        models = {precision: SSDResNet34(weights, precision) for _, precision in pairs}
        runs = [_Run(engine, models[precision]) for engine, precision in pairs]
        for run in runs:
            run.open(stack, threads)
        ticker = stack.enter_context(progress("check", None, quiet=quiet))
        done = refused = 0
        for path in expand(images):
            ticker.advance()
            try:
                if isinstance(path, ImageError):
                    raise path
                image = read(path, limits)
            except ImageError as error:
                refused += 1
                complain(f"{error} [{error.code}]", "refused")
                continue
            done += 1
            _run_all(runs, image, threshold)
    _print(runs, done, as_json)
    failed = [run for run in runs if run.fault]
    for run in failed:
        complain(f"{run.engine} {run.precision}: {run.fault}")
    wrong = [
        f"{run.engine} {run.precision} {text}"
        for run in runs
        if not run.unavailable and not run.fault
        for text in TOLERANCES[run.precision].violations(run.heads, run.agreement)
    ]
    for text in wrong:
        complain(text)
    if failed or wrong or not done:
        raise typer.Exit(1)
    if refused:
        raise typer.Exit(SOME_REFUSED)


class _Run:
    """One engine in one precision, and how far it is from the reference so far."""

    def __init__(self, engine: str, model: SSDResNet34) -> None:
        self.engine, self.model, self.precision = engine, model, model.precision
        self.unavailable = ""
        self.fault = ""
        self.heads, self.agreement = 0.0, NOTHING

    def open(self, stack: ExitStack, threads: int | None) -> None:
        """Make the session; all stay open so that one image at a time is in memory."""
        try:
            self.session = stack.enter_context(
                session.create(self.model, self.engine, precision=self.precision, threads=threads)
            )
        except SSDResNet34Error as error:
            if (self.engine, self.precision) == REFERENCE:
                raise
            self.unavailable = str(error)

    def to_dict(self) -> dict[str, Any]:
        pair = {"engine": self.engine, "precision": self.precision}
        if self.unavailable:
            return pair | {"unavailable": self.unavailable}
        if self.fault:
            return pair | {"fault": self.fault}
        agreement = asdict(self.agreement) | {"share": self.agreement.share}
        return pair | {"heads": self.heads} | agreement


def _run_all(runs: list[_Run], image: Image, threshold: float) -> None:
    inputs = runs[0].model.preprocess(image)
    reference: tuple[Outputs, Detections] | None = None
    for run in runs:
        if run.unavailable or run.fault:
            continue
        try:
            outputs = run.session.run(inputs)
            (found,) = run.model.postprocess(outputs, score_threshold=threshold)
        except SSDResNet34Error as error:  # NaN, a failing engine: that is what we look for
            if reference is None:
                raise
            run.fault = str(error)
            continue
        if reference is None:
            reference = outputs, found
        run.heads = max(run.heads, head_difference(reference[0], outputs))
        run.agreement = run.agreement + compare(reference[1], found)


def _pairs() -> list[tuple[str, str]]:
    return [
        (engine.name, precision)
        for engine in describe()
        if not engine.unavailable
        for precision, reason in engine.precisions.items()
        if not reason
    ]


def _print(runs: list[_Run], images: int, as_json: bool) -> None:
    if as_json:
        facts = [run.to_dict() for run in runs]
        print(json.dumps({"images": images, "reference": list(REFERENCE), "runs": facts}))
        return
    rows = []
    for run in runs:
        if run.unavailable or run.fault:
            rows.append((run.engine, run.precision, "–", run.unavailable or run.fault, "–", "–"))
            continue
        total = run.agreement
        rows.append(
            (
                run.engine,
                run.precision,
                f"{run.heads:.2g}",
                f"{100 * total.share:.1f} % ({total.matched} of {total.reference})",
                f"{total.box_shift:.2f} px",
                f"{total.score_shift:.3f}",
            )
        )
    headings = ("engine", "precision", "heads", "agree", "box", "score")
    show_table(headings, rows, right=(2, 4, 5), folding=3)

"""``ssd-resnet34 check``: do all engines and precisions give the same answer here?"""

import hashlib
import json
import math
from contextlib import ExitStack
from dataclasses import asdict
from typing import Annotated, Any, Final

import typer

from .. import artifact
from ..detector import DEFAULT_SCORE_THRESHOLD
from ..errors import ImageError, SSDResNet34Error, UnsupportedPrecision, UsageError
from ..evaluation.agreement import FEW, NOTHING, TOLERANCES, compare, head_difference
from ..model import SSDResNet34
from ..runtime import session
from ..runtime.engines import describe
from ..runtime.tensors import Outputs
from ..vision.detections import Detections
from ..vision.images import Image
from .inputs import SOME_REFUSED, expand, read, tell
from .options import AsJson, Quiet, ScoreThreshold, Threads, Weights
from .terminal import complain, progress, say, show_table

EXAMPLES: Final = """Examples:

ssd-resnet34 check samples/scene.png

ssd-resnet34 check photos/ --weights mlcommons --json

ssd-resnet34 check photos/ --weights int8.onnx --reference mlcommons
"""

REFERENCE: Final = ("onnxruntime", "fp32")
"""What all others are compared with, where fp32 is there."""


def check(
    images: Annotated[
        list[str], typer.Argument(metavar="INPUT", help="Files, folders, globs, - for stdin.")
    ],
    weights: Weights = "embedded",
    reference: Annotated[
        str | None,
        typer.Option(
            metavar="WEIGHTS",
            help="The fp32 weights that an int8 artifact was compiled from.",
            show_default=False,
        ),
    ] = None,
    score_threshold: ScoreThreshold = DEFAULT_SCORE_THRESHOLD,
    threads: Threads = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Compare every engine and precision with fp32 on given images.

    Shows the largest difference of a head in logits, and the detections that agree.

    They agree if they have the same class and IoU ≥ 0.5.

    An int8 artifact holds no fp32: its engines are compared with the first, or with --reference.

    Exit code 1 if one is out of tolerance or fails.

    Tolerances: fp32 heads within 0.02 and 99 % of the detections, bf16 90 %, int8 85 %.
    """
    with ExitStack() as stack:
        runs = [_Run(engine, model) for engine, model in _compared(weights, reference)]
        for run in runs:
            run.open(stack, threads, needed=run is runs[0])
        ticker = stack.enter_context(progress("check", None, quiet=quiet, at_end=True))
        done = refused = 0
        for path in expand(images):
            ticker.advance()
            try:
                image = read(path)
            except ImageError as error:
                refused += 1
                tell(error)
                continue
            done += 1
            _run_all(runs, image, score_threshold)
    if not done:
        complain("none of the images could be read, so nothing was compared; give one that can")
        raise typer.Exit(1)
    _print(runs, done, as_json)
    if not any(run.agreement.reference or run.agreement.found for run in runs):
        complain(
            "nothing was detected, so heads alone were compared; give pictures with objects that "
            "the weights know, or a lower --score-threshold",
            "note",
        )
    for run in runs:
        if run.fault:
            complain(f"{run.engine} {run.precision}: {run.fault}")
    for run in runs:
        for text in run.violations():
            complain(f"{run.engine} {run.precision} {text}")
    if not _all_pass(runs):
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

    def open(self, stack: ExitStack, threads: int | None, *, needed: bool) -> None:
        """Make the session; all stay open so that one image at a time is in memory.

        Raises:
            SSDResNet34Error: it is ``needed`` and cannot be made.
        """
        try:
            self.session = stack.enter_context(
                session.create(self.model, self.engine, precision=self.precision, threads=threads)
            )
        except SSDResNet34Error as error:
            if needed:
                raise
            self.unavailable = str(error)
        except Exception as error:  # of an engine of another distribution
            if needed:
                raise
            self.fault = f"{type(error).__name__}: {error}"

    def violations(self) -> list[str]:
        """What is out of tolerance; nothing of a run without numbers."""
        if self.unavailable or self.fault:
            return []
        return TOLERANCES[self.precision].violations(self.heads, self.agreement)

    @property
    def passed(self) -> bool:
        """Whether it ran and is within tolerance."""
        return not (self.unavailable or self.fault or self.violations())

    def to_dict(self) -> dict[str, Any]:
        pair = {"engine": self.engine, "precision": self.precision}
        if self.unavailable:
            return pair | {"unavailable": self.unavailable}
        if self.fault:
            return pair | {"fault": self.fault, "pass": False}
        agreement = asdict(self.agreement) | {"share": self.agreement.share}
        allowed = TOLERANCES[self.precision]
        heads = allowed.heads if math.isfinite(allowed.heads) else None  # JSON has no infinity
        verdict = {"pass": self.passed, "tolerance": {"heads": heads, "share": allowed.share}}
        return pair | {"heads": self.heads} | agreement | verdict


def _compared(weights: str, reference: str | None) -> list[tuple[str, SSDResNet34]]:
    """Engine and model of every run; the first is what the others are compared with.

    Raises:
        UnsupportedPrecision: int8, and no engine here has it; ``reference`` is int8, too.
        UsageError: ``reference`` says nothing of these weights.
        WeightsError, ArtifactError: the weights cannot be had, or are not this network.
    """
    pairs = [REFERENCE, *(pair for pair in _pairs() if pair != REFERENCE)]
    given = SSDResNet34(weights, REFERENCE[1])
    if not _is_int8(given):
        if reference is not None:
            raise UsageError(f"--reference: only for an int8 artifact; {given.name} is fp32 itself")
        return _runs(pairs, {"fp32": given}, weights)
    rounded = SSDResNet34(weights, "int8")
    if reference is not None:
        source = SSDResNet34(reference, REFERENCE[1])
        _check_reference(rounded, source)
        return _runs(pairs, {"fp32": source, "int8": rounded}, reference)
    engines = [engine for engine, precision in pairs if precision == "int8"]
    engines.sort(key=lambda engine: engine != REFERENCE[0])
    if not engines:
        raise UnsupportedPrecision(
            f"{given.name} is int8, which no engine here can run; pip install openvino"
        )
    complain(
        f"{given.name} is int8 and holds no fp32: compared is with {engines[0]} int8; "
        "--reference WEIGHTS (those it was compiled from) compares with fp32",
        "note",
    )
    return [(engine, rounded) for engine in engines]


def _runs(
    pairs: list[tuple[str, str]], known: dict[str, SSDResNet34], weights: str
) -> list[tuple[str, SSDResNet34]]:
    """Each pair of engine and precision with its model, made of ``weights`` if not ``known``."""
    models = {pair[1]: SSDResNet34(weights, pair[1]) for pair in pairs} | known
    return [(engine, models[precision]) for engine, precision in pairs]


def _is_int8(model: SSDResNet34) -> bool:
    try:
        _ = model.source
    except UnsupportedPrecision:  # an int8 artifact has none
        return True
    return False


def _check_reference(rounded: SSDResNet34, source: SSDResNet34) -> None:
    """Refuse a reference that cannot be compared, and tell of one that is not the origin."""
    if _is_int8(source):
        raise UnsupportedPrecision(
            f"--reference: {source.name} is int8 as well; give the fp32 weights that "
            f"{rounded.name} was compiled from"
        )
    if source.contract != rounded.contract:
        raise UsageError(
            f"--reference: {source.name} has another contract (categories, priors or "
            f"normalisation) than {rounded.name}; give the weights that it was compiled from"
        )
    origin = artifact.metadata(rounded.enf).get("source_sha256")
    if origin != hashlib.sha256(source.source).hexdigest():
        complain(f"{rounded.name} was not compiled from these bytes of {source.name}", "note")


def _run_all(runs: list[_Run], image: Image, score_threshold: float) -> None:
    inputs = runs[0].model.preprocess(image)
    reference: tuple[Outputs, Detections] | None = None
    for run in runs:
        if run.unavailable or run.fault:
            continue
        try:
            outputs = run.session.run(inputs)
            (found,) = run.model.postprocess(outputs, score_threshold=score_threshold)
        except Exception as error:  # NaN, a failing engine, of any kind: that is what we look for
            if reference is None:
                raise
            ours = isinstance(error, SSDResNet34Error)
            run.fault = str(error) if ours else f"{type(error).__name__}: {error}"
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


def _all_pass(runs: list[_Run]) -> bool:
    """What cannot run here at all fails nothing."""
    return all(run.passed for run in runs if not run.unavailable)


def _verdict(runs: list[_Run]) -> str:
    """How many pass, and the tolerance of each precision that was compared."""
    compared = [run for run in runs[1:] if not run.unavailable]  # the first is the reference
    if not compared:
        return "there was nothing to compare with the reference"
    passed = sum(run.passed for run in compared)
    precisions = dict.fromkeys(run.precision for run in compared)
    allowed = "; ".join(f"{one}: {TOLERANCES[one]}" for one in precisions)
    return (
        f"{passed} of {len(compared)} within tolerance: {allowed}; {FEW} detections may always miss"
    )


def _print(runs: list[_Run], images: int, as_json: bool) -> None:
    """For people a table, with the number of the note below it where a run has no numbers."""
    if as_json:
        facts = [run.to_dict() for run in runs]
        reference = [runs[0].engine, runs[0].precision]
        verdict = {"pass": _all_pass(runs)}
        print(json.dumps({"images": images, "reference": reference, **verdict, "runs": facts}))
        return
    rows = []
    notes: dict[str, int] = {}
    for run in runs:
        if run.unavailable or run.fault:
            reason = " ".join((run.unavailable or run.fault).split())
            note = notes.setdefault(reason, len(notes) + 1)
            short = "failed" if run.fault else "not here"
            rows.append((run.engine, run.precision, "–", f"{short} ({note})", "–", "–"))
            continue
        total = run.agreement
        rows.append(
            (
                run.engine,
                run.precision,
                f"{run.heads:.2g}",
                f"{100 * total.share:.1f} % ({total.matched} of {total.reference})",
                f"{total.box_shift:.2f}",
                f"{total.score_shift:.3f}",
            )
        )
    headings = ("engine", "precision", "logits", "agree", "box, px", "score")
    show_table(headings, rows, right=(2, 4, 5), folding=3)
    for reason, note in notes.items():
        say(f"({note}) {reason}")
    say(_verdict(runs))

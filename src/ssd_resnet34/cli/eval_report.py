"""What ``ssd-resnet34 eval`` says on the terminal and to machines."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from ..evaluation import page
from ..evaluation.bootstrap import CONFIDENCE, Interval, doubts
from ..evaluation.coco import SIZES, UNDEFINED, Evaluation
from ..evaluation.confusion import COUNTED, Choice, Outcome, best_threshold, judge, outcome
from ..evaluation.dataset import Dataset
from ..evaluation.report import MEANINGS
from ..wording import counted
from .eval_inputs import Given
from .terminal import printable, show_table


@dataclass(frozen=True, eq=False)
class Found:
    """What one evaluation has to tell.

    Attributes:
        dataset: the annotations of the images that were scored.
        given: the predictions, and where they come from.
        evaluation: of both.
        intervals: of AP and AP50.
    """

    dataset: Dataset
    given: Given
    evaluation: Evaluation
    intervals: Mapping[str, Interval]

    @cached_property
    def outcome(self) -> Outcome:
        """What became of objects and detections over :data:`.confusion.COUNTED`."""
        return outcome(judge(self.dataset, self.given.results, self.evaluation.matches))

    @cached_property
    def choice(self) -> Choice | None:
        """The score threshold with the best F1."""
        return best_threshold(self.given.results, self.evaluation.matches)


def describe(found: Found) -> dict[str, Any]:
    """Plain values for JSON; numbers that are undefined are None."""
    scores = found.evaluation.scores

    def known(value: float) -> float | None:
        return None if value == UNDEFINED else value

    return {
        "annotations": found.dataset.path,
        "evaluated": found.given.what,
        "settings": dict(found.given.facts),
        "images": scores.images,
        "objects": sum(one.truths for one in scores.classes.values()),
        "detections": len(found.given.results),
        "numbers": {name: known(value) for name, value in scores.numbers.items()},
        "intervals": {
            "confidence": CONFIDENCE,
            **{
                name: {"low": known(one.low), "high": known(one.high)}
                for name, one in found.intervals.items()
            },
        },
        "classes": [
            {
                "category_id": category,
                "label": one.label,
                "objects": one.truths,
                "AP": known(one.ap),
                "AP50": known(one.ap50),
                "AR100": known(one.ar),
                **{f"AP {size}": known(one.sizes[size]) for size in SIZES},
            }
            for category, one in scores.classes.items()
        ],
        "outcome": {"score_threshold": COUNTED, **asdict(found.outcome)},
        "best_f1": None if found.choice is None else asdict(found.choice),
        "seconds_per_image": found.given.seconds,
        "refused": dict(found.given.refused),
        "notes": list(found.given.notes),
    }


def show(found: Found) -> None:
    """The numbers, the interval and the classes, in 80 columns of stdout."""
    scores = found.evaluation.scores
    objects = sum(one.truths for one in scores.classes.values())
    labelled = sum(one.truths > 0 for one in scores.classes.values())
    kinds = "1 class" if labelled == 1 else f"{labelled} classes"
    print(printable(found.given.what))
    print(
        f"{counted(scores.images, 'image')}, {counted(objects, 'object')} of {kinds}, "
        f"{counted(len(found.given.results), 'detection')}"
    )
    if found.given.seconds is not None:
        print(f"{found.given.seconds:.3f} s an image")
    rows = [(name, page.number(value), MEANINGS[name]) for name, value in scores.numbers.items()]
    show_table(("number", "value", "what it is"), rows, right=(1,))
    for name, one in found.intervals.items():
        if one.low != UNDEFINED:
            print(
                f"{name} {scores.numbers[name]:.3f}, {100 * CONFIDENCE:g} % interval {one.low:.3f} "
                f"to {one.high:.3f}: {100 * one.width:.1f} points wide with "
                f"{counted(scores.images, 'image')}"
            )
    _show_doubts(scores.images)
    best = sorted(scores.classes.values(), key=lambda one: (-one.ap, one.label))
    classes = [
        (
            one.label,
            one.truths,
            *map(page.number, (one.ap, one.ap50, one.ar)),
            *(page.number(one.sizes[size]) for size in SIZES),
        )
        for one in best
        if one.truths
    ]
    headings = ("class", "objects", "AP", "AP50", "AR100", *SIZES)
    show_table(headings, classes, right=range(1, len(headings)), folding=0)
    _show_outcome(found)


def _show_outcome(found: Found) -> None:
    """What became of objects and detections, and which threshold is best."""
    made, choice = found.outcome, found.choice
    print(
        f"scores over {COUNTED}: {made.right:,} of {counted(made.objects, 'object')} found, "
        f"{made.confused:,} of another class,\n"
        f"{made.misplaced:,} misplaced, {made.missed:,} missed; also {made.repeated:,} once more, "
        f"{made.invented:,} invented"
    )
    if choice is not None:
        print(
            f"best F1 {choice.f1:.3f} at scores over {choice.threshold:.3f}: precision "
            f"{choice.precision:.2f}, recall {choice.recall:.2f}"
        )


def show_differences(
    numbers: Mapping[str, tuple[float, float]], intervals: Mapping[str, Interval], images: int
) -> None:
    """How sure it is that B differs from A on so many images, a line for each interval."""
    for name, one in intervals.items():
        a, b = numbers[name]
        verdict = "may be chance" if one.low <= 0 <= one.high else "is more than chance"
        print(
            f"{name}: B − A is {100 * (b - a):+.1f} points, {100 * CONFIDENCE:g} % interval "
            f"{100 * one.low:+.1f} to {100 * one.high:+.1f}: {verdict}"
        )
    _show_doubts(images)


def _show_doubts(images: int) -> None:
    for doubt in doubts(images):
        print(doubt)

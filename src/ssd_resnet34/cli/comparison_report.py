"""What ``eval --compare`` says on the terminal: tables of the numbers, classes and images."""

from typing import Final

from ..evaluation import page
from ..evaluation.comparing import Comparison
from ..evaluation.comparison_page import said, tally
from .terminal import printable, show_table

_CLASSES: Final = 12
_IMAGES: Final = 8
_EVENTS: Final = 3


def show(comparison: Comparison) -> None:
    """Tables on stdout."""
    print(printable(f"A: {comparison.a.name}"))
    print(printable(f"B: {comparison.b.name}"))
    numbers = [
        (name, *map(page.number, pair), page.change(pair))
        for name, pair in comparison.numbers.items()
    ]
    show_table(("number", "A", "B", "B − A"), numbers, right=(1, 2, 3))
    different = [pair for pair in comparison.classes if pair[0].ap != pair[1].ap]
    if different:
        rows = [
            (a.label, a.truths, *map(page.number, (a.ap, b.ap)), page.change((a.ap, b.ap)))
            for a, b in different[:_CLASSES]
        ]
        headings = ("class", "objects", "AP A", "AP B", "B − A")
        show_table(headings, rows, right=(1, 2, 3, 4), folding=0)
        _more(len(different) - _CLASSES, "classes differ")
    agreement = comparison.agreement
    print(
        f"{agreement.matched} detections above {comparison.threshold:g} are the same: "
        f"{100 * agreement.share:.1f} % of {max(agreement.reference, agreement.found)}"
    )
    closeness = comparison.closeness
    if closeness.objects:
        means = " and ".join(map(page.number, (closeness.a, closeness.b)))
        print(f"objects found by both: {closeness.objects}; mean IoU with the truth {means}")
    show_table(("difference", "times", "by the truth"), tally(comparison), right=(1,), folding=0)
    if comparison.images:
        lines = []
        for image in comparison.images[:_IMAGES]:
            events = [said(one) for one in image.differences[:_EVENTS]]
            more = len(image.differences) - _EVENTS
            events += [f"and {more} more"] if more > 0 else []
            lines.append((image.file_name, "; ".join(events)))
        show_table(("most different", "where"), lines)
        _more(len(comparison.images) - _IMAGES, "images differ")


def _more(count: int, what: str) -> None:
    if count > 0:
        print(f"{count} more {what}")

"""Notes on weights that find little: not meant for photographs, or trained at another size."""

from collections.abc import Sequence
from typing import Final

import typer

from ..contract import INPUT_SIZE
from ..weights.records import EMBEDDED
from .options import is_given
from .terminal import complain

EMBEDDED_NOTE: Final = (
    "the embedded weights know twelve categories of rendered scenes; "
    "for photographs: -w mlcommons (80 MB, fetched once)"
)


def note_embedded(context: typer.Context, *, quiet: bool) -> None:
    """One line on stderr where the embedded weights run because nobody named others.

    Without it, what they say of a photograph looks like a detector at fault.
    """
    if not quiet and not is_given(context, "weights"):
        complain(EMBEDDED_NOTE, "note")


def note_untaught(weights: str, classes: Sequence[str], *, quiet: bool) -> bool:
    """One line on stderr where none of ``classes`` was taught to the embedded weights; if so."""
    if quiet or weights != EMBEDDED or not classes:
        return False
    from ..training.objects import DRAWERS  # of what the scenes are made that these weights saw

    if not DRAWERS.keys().isdisjoint(classes):
        return False
    complain(
        f"the embedded weights find none of {', '.join(classes)}; they know "
        f"{', '.join(DRAWERS)}; for others: -w mlcommons (80 MB, fetched once)",
        "note",
    )
    return True


def size_note(model: str, size: int | None) -> str | None:
    """What to say where weights tell that they were trained at another size than 1200.

    Without it, that such a model finds little looks like a fault of the run.

    Args:
        model: its name.
        size: that it was trained at, pixels; None where it does not tell.
    """
    if size in (None, INPUT_SIZE):
        return None
    return (
        f"{model} was trained at {size}×{size} and runs at {INPUT_SIZE}×{INPUT_SIZE}, where it "
        f"finds less; train it on with --init and --size {INPUT_SIZE}"
    )


def note_size(model: str, size: int | None, *, quiet: bool) -> None:
    """:func:`size_note` as one line on stderr."""
    note = size_note(model, size)
    if note and not quiet:
        complain(note, "note")

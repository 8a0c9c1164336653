"""The notes that the embedded weights are no detector for photographs."""

from collections.abc import Sequence
from typing import Final

import typer

from ..weights.records import EMBEDDED
from .terminal import complain

EMBEDDED_NOTE: Final = (
    "the embedded weights know twelve categories of rendered scenes; "
    "for photographs: -w mlcommons (80 MB, fetched once)"
)


def nobody_named(context: typer.Context) -> bool:
    """Whether the command line leaves ``--weights`` to its default."""
    source = context.get_parameter_source("weights")
    return source is not None and source.name != "COMMANDLINE"


def note_embedded(context: typer.Context, *, quiet: bool) -> None:
    """One line on stderr where the embedded weights run because nobody named others.

    Without it, what they say of a photograph looks like a detector at fault.
    """
    if not quiet and nobody_named(context):
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

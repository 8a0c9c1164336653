"""The note that a model was trained at another size than it runs at."""

from ..contract import INPUT_SIZE
from .terminal import complain


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

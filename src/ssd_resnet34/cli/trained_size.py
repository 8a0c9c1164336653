"""The note that a model was trained at another size than it runs at."""

from ..contract import INPUT_SIZE
from ..model import SSDResNet34
from .terminal import complain


def note_size(model: SSDResNet34, *, quiet: bool) -> None:
    """One line on stderr where the weights say that they were trained at another size than 1200.

    Without it, that such a model finds little looks like a fault of the run.
    """
    if quiet:
        return
    size = model.trained_size
    if size not in (None, INPUT_SIZE):
        complain(
            f"{model.name} was trained at {size}×{size} and runs at {INPUT_SIZE}×{INPUT_SIZE}, "
            f"where it finds less; train it on with --init and --size {INPUT_SIZE}",
            "note",
        )

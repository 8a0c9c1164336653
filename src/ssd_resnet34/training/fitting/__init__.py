"""Fitting the network to a data set: recipe, loop, checkpoints, validation, what comes out.

::

    from ssd_resnet34.training.data.reading import read
    from ssd_resnet34.training.fitting import Recipe, train

    data = read("cells.json", "coco", images="cells/")
    trained = train(data, "out", recipe=Recipe(epochs=20))
"""

from typing import TYPE_CHECKING, Any

from .recipe import Recipe

if TYPE_CHECKING:
    from .running import Trained, train

__all__ = ["Recipe", "Trained", "train"]


def __getattr__(name: str) -> Any:
    """What needs torch, when it is asked for: loading that takes seconds."""
    if name in __all__:
        from . import running

        return getattr(running, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

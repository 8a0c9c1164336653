"""Fitting the network to a data set: recipe, loop, checkpoints, validation, what comes out.

::

    from ssd_resnet34.training.data.reading import read
    from ssd_resnet34.training.fitting import Recipe, train

    data = read("cells.json", "coco", images="cells/")
    trained = train(data, "out", recipe=Recipe(epochs=20))
"""

from .recipe import Recipe
from .running import Trained, train

__all__ = ["Recipe", "Trained", "train"]

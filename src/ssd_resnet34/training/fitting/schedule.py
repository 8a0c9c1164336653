"""The learning rate as a function of the step alone: nothing to keep, nothing to lose."""

import math

from .recipe import Recipe


def rate_at(step: int, steps: int, recipe: Recipe) -> float:
    """The rate of optimiser step ``step`` (from 0) of ``steps``.

    Linear from peak / warm-up to the peak, then half a cosine down to ``last_rate`` of it.
    """
    warmup = min(recipe.warmup, steps // 10)
    if step < warmup:
        return recipe.peak * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - 1 - warmup)
    lowest = recipe.peak * recipe.last_rate
    return lowest + (recipe.peak - lowest) * (1 + math.cos(math.pi * min(1.0, done))) / 2

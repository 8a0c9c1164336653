"""Where priors lie in a training input, and what an example's boxes make of them."""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn

from ...contract import INPUT_SIZE
from ...vision.priors import anchor_sizes
from ..data.example import Example
from ..multibox import BACKGROUND, IGNORED, Target, corners_of, layout_priors, maps_of, match
from .recipe import Recipe


def fraction_priors(size: int, maps: Sequence[tuple[int, int]]) -> Tensor:
    """Priors for a whole image of ``size`` pixels: the contract's shares of the image.

    Returns:
        (n, 4) float32 cx, cy, w, h, pixels, in the contract's order (level, anchor, y, x).
    """
    rows = []
    for k, (height, width) in enumerate(maps):
        y, x = torch.meshgrid(
            (torch.arange(height) + 0.5) / height,
            (torch.arange(width) + 0.5) / width,
            indexing="ij",
        )
        for sides in anchor_sizes(k):
            wh = torch.tensor(sides).clamp(max=1.0).expand(height * width, 2)
            rows.append(torch.cat([torch.stack([x.flatten(), y.flatten()], 1), wh], 1))
    return torch.cat(rows) * size


@torch.no_grad()
def priors_for(module: nn.Module, recipe: Recipe) -> Tensor:
    """Priors (n, 4) in pixels of the input, for the maps that ``module`` gives."""
    was_training = module.training
    device = next(module.parameters()).device
    heads = module.eval()(torch.zeros(1, 3, recipe.size, recipe.size, device=device))
    module.train(was_training)
    whole = recipe.priors == "fractions" and recipe.size != INPUT_SIZE
    place = fraction_priors if whole else layout_priors
    return place(recipe.size, maps_of(heads))


INSIDE: Final = 0.7
"""Share of a prior's area inside a region to ignore, above which it is no background either.

Detectron's threshold for crowds (Girshick et al., 2018). A small prior in a large crowd overlaps it
by little IoU, and yet shows nothing but objects.
"""


def target_of(example: Example, priors: Tensor) -> Target:
    """What the example teaches each prior."""
    ignored = torch.from_numpy(example.ignored)
    target = match(
        priors, torch.from_numpy(example.boxes), torch.from_numpy(example.indices), ignored
    )
    inside = share_inside(priors, ignored) > INSIDE
    classes = target.classes.masked_fill(inside & (target.classes == BACKGROUND), IGNORED)
    return Target(classes, target.offsets, example.unknown)


def share_inside(priors: Tensor, regions: Tensor) -> Tensor:
    """The largest share of each prior (n, 4; cx, cy, w, h) that lies in one of the regions
    (m, 4; left, top, right, bottom): (n,) 0..1."""
    if not len(regions):
        return torch.zeros(len(priors))
    corners = corners_of(priors)[:, None]
    low = torch.maximum(corners[..., :2], regions[None, :, :2])
    high = torch.minimum(corners[..., 2:], regions[None, :, 2:])
    return ((high - low).clamp(min=0).prod(2) / priors[:, None, 2:].prod(2)).amax(1)

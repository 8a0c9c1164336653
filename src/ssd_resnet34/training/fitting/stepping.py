"""One optimiser step, in one process or in several that share its images."""

import copy
import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor, nn

from ...contract import Contract
from ...errors import TrainingError
from ...evaluation.dataset import some
from ..multibox import multibox_loss
from ..pixels import normalised
from .average import Average
from .loading import Micro
from .placing import priors_for
from .recipe import Recipe

if TYPE_CHECKING:
    from accelerate import Accelerator

_BACKBONE: Final = "model"
"""Attribute of the module that ``freeze="backbone"`` and channels-last on CPUs speak of."""


@dataclass(frozen=True)
class Outcome:
    """What a step did: the loss and its parts, the gradient's norm before clipping."""

    loss: float
    classes: float
    boxes: float
    gradient: float
    positives: int


class Stepper:
    """A module under training with its optimiser and its average.

    Args:
        module: twelve heads of float32 [N, 3, s, s]; its backbone is its attribute ``model``.
        live: whether batch-norm follows the batches.
    """

    def __init__(
        self,
        module: nn.Module,
        contract: Contract,
        recipe: Recipe,
        accelerator: "Accelerator",
        *,
        live: bool,
    ) -> None:
        self.contract, self.recipe, self.accelerator, self.live = (
            contract,
            recipe,
            accelerator,
            live,
        )
        self.device: torch.device = accelerator.device
        self.module = module.to(self.device)
        backbone = module.get_submodule(_BACKBONE)
        if recipe.freeze == "backbone":
            backbone.requires_grad_(False)
        if recipe.channels_last:
            part = backbone if self.device.type == "cpu" else module
            part.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # its stub
        self.priors = priors_for(module, recipe)
        self.average = Average(module, recipe.average)
        self._copy: nn.Module | None = None
        trained = [p for p in module.parameters() if p.requires_grad]
        groups: list[dict[str, Any]] = [
            {"params": [p for p in trained if p.ndim > 1]},
            {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(
            groups,
            recipe.peak,
            weight_decay=recipe.weight_decay,
        )
        self.trained = trained
        self._autocast = recipe.autocast == "bf16" or (
            recipe.autocast == "auto"
            and self.device.type == "cuda"
            and torch.cuda.is_bf16_supported()
        )
        network = torch.compile(module) if recipe.compile else module
        self.network: Any = accelerator.prepare(network)

    def averaged(self) -> nn.Module:
        """A module of its own with the averaged weights, in evaluation mode."""
        if self._copy is None:
            self._copy = copy.deepcopy(self.module)
        self._copy.load_state_dict(self.average.state)
        return self._copy.eval()

    def agree(self, positives: int, stop: bool) -> tuple[int, bool]:
        """The positives of all processes, and whether any of them is to stop."""
        ours = torch.tensor([positives, int(stop)], device=self.device)
        total, stops = self.accelerator.reduce(ours, "sum").tolist()
        return int(total), bool(stops)

    def step(self, micros: Sequence[Micro], positives: int, rate: float) -> Outcome:
        """One step on this process's part of the batch.

        Args:
            positives: of the whole batch, in all processes.

        Raises:
            TrainingError: the loss or the gradient is not finite; names the images. Nothing has
                been changed then.
        """
        self._set_modes()
        self.optimizer.zero_grad(set_to_none=True)
        parts = []
        for n, micro in enumerate(micros):
            last = n == len(micros) - 1
            with nullcontext() if last else self.accelerator.no_sync(self.network):
                parts.append(self._backward(micro, positives))
        ours = torch.stack(parts)
        classes, boxes = self.accelerator.reduce(ours.sum(0), "sum").tolist()
        if not math.isfinite(classes + boxes):
            broken = [m for m, part in zip(micros, ours, strict=True) if not part.isfinite().all()]
            self._refuse("loss", broken)
        norm = float(nn.utils.clip_grad_norm_(self.trained, self.recipe.clip))
        if not math.isfinite(norm):
            self._refuse("gradient", micros)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        if self.live:
            self._share_statistics()
        self.average.update(self.module)
        return Outcome(classes + boxes, classes, boxes, norm, positives)

    def _set_modes(self) -> None:
        self.network.train()
        if not self.live:
            for layer in self.module.modules():
                if isinstance(layer, nn.BatchNorm2d):
                    layer.eval()
        elif self.recipe.freeze == "backbone":
            self.module.get_submodule(_BACKBONE).eval()

    def _backward(self, micro: Micro, positives: int) -> Tensor:
        """Adds the gradients of ``micro``; returns its part of the loss, classes and boxes."""
        micro = micro.to(self.device)
        images = normalised(micro.images, self.contract)
        if not self.recipe.channels_last:
            images = images.contiguous()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._autocast):
            heads = self.network(images)
        loss = multibox_loss(heads, micro.targets(), positives=positives)
        # Gradients of several processes are averaged; the loss wants their sum.
        self.accelerator.backward(loss.total * self.accelerator.num_processes)
        return torch.stack([loss.classes.detach(), loss.boxes.detach()])

    def _share_statistics(self) -> None:
        """Means and variances of batch-norm become those over all processes."""
        if self.accelerator.num_processes == 1:
            return
        buffers = [one for one in self.module.buffers() if one.is_floating_point()]
        joined = self.accelerator.reduce(torch.cat([one.flatten() for one in buffers]), "mean")
        for one, mean in zip(buffers, joined.split([one.numel() for one in buffers]), strict=True):
            one.copy_(mean.view_as(one))

    def _refuse(self, what: str, micros: Sequence[Micro]) -> None:
        from accelerate.utils import gather_object

        sources = gather_object([source for micro in micros for source in micro.sources])
        raise TrainingError(
            f"the {what} is not finite for {some(sorted(set(sources)))}; the last checkpoint "
            "stays: look at these files and their boxes (`train --check`), or start again with a "
            "lower --rate"
        )

"""A lean trainer for the embedded weights: five stages, atomic checkpoints, resume.

    python -m ssd_resnet34.training.trainer OUT --stage patches|crops|heads|whole|parks [--steps N]
                                                [--start CHECKPOINT|embedded]

``patches`` teaches the backbone to name single objects: from random weights the multibox loss
alone learns next to nothing in its first hundreds of steps. ``crops`` trains everything on
408×408 windows at native scale. ``heads`` then freezes the backbone, nine tenths of the cost, and
trains extra blocks and heads on whole scenes, whose large objects no crop can hold; features of
past scenes are replayed. ``whole`` trains everything on whole scenes, every other one crowded,
batch-norm statistics frozen. In both every fourth is a landscape in the manner of the sample; in
``parks``, which is otherwise alike, every other one, for large objects.

Kernels of the backbone are trained by Muon, all else by AdamW. ``--winograd`` halves the time of a
step on CPUs without AVX-512 and needs a C++ compiler.
"""

import argparse
import csv
import random
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Final, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..contract import COCO, INPUT_SIZE
from ..errors import UsageError
from ..network.layout import FEATURE_CHANNELS
from ..network.module import SSDResNet34Module
from ..weights import embedded
from ..weights.records import EMBEDDED
from . import checkpoints, winograd
from .allocator import keep_memory
from .examples import Batch, Batches, Kind
from .initialisation import initialise
from .multibox import Target, layout_priors, maps_of, multibox_loss
from .muon import Muon
from .pixels import normalised
from .rows import forget_after
from .workers import ahead

REPLAYED: Final = 160
"""Scenes whose features ``heads`` keeps for replay: 11.5 MB each in fp16."""


@dataclass(frozen=True)
class Stage:
    """One stage of the recipe. ``frozen``: the backbone, its statistics only, or nothing."""

    name: str
    data: Kind
    steps: int
    batch: int
    size: int
    learning_rate: float
    frozen: Literal["nothing", "statistics", "backbone"] = "nothing"
    fresh: int = 1
    """New scenes a step where the backbone is frozen; the rest of the batch is replayed."""
    fast: bool = False
    """Convolutions by :mod:`.winograd`: half the time without AVX-512, a minute to compile."""


STAGES: Final = {
    "patches": Stage("patches", "patches", 300, 48, 80, 1e-3),
    "crops": Stage("crops", "crops", 1500, 4, 408, 4e-4),
    "heads": Stage("heads", "scenes", 300, 4, INPUT_SIZE, 5e-4, "backbone"),
    "whole": Stage("whole", "mixed", 230, 1, INPUT_SIZE, 3e-4, "statistics"),
    "parks": Stage("parks", "parks", 400, 1, INPUT_SIZE, 3e-4, "statistics"),
}


IDENTITIES: Final = (
    "model.layer1.4.2",
    "model.layer1.5.3",
    "model.layer2.0.3",
    "model.layer2.0.4",
    "model.layer2.0.5",
)
"""Residual blocks left out while training from nothing: 46 % of the cost. A shallower network also
learns faster; :func:`complete` puts the blocks back as identities, to be trained by a later run."""


def shallow(module: SSDResNet34Module) -> None:
    """Take the blocks of :data:`IDENTITIES` out of a module, in place."""
    for key in IDENTITIES:
        parent, _, name = key.rpartition(".")
        setattr(module.get_submodule(parent), name, nn.Identity())


def complete(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All 218 keys from a shallow module's: missing blocks add exactly nothing to their input.

    Their last batch-norm has weight and bias 0; the rest is He-initialised, so that they can learn.
    """
    module = SSDResNet34Module(COCO.num_classes)
    initialise(module, 0)
    full = module.state_dict()
    for key in full:
        if key in state:
            full[key] = state[key]
        elif key.endswith(("bn2.weight", "bn2.bias")):
            full[key] = torch.zeros_like(full[key])
    return full


class Run:
    """Module, optimiser and schedule of one stage, with their checkpoint."""

    def __init__(self, out: Path, stage: Stage, *, seed: int = 0) -> None:
        self.out, self.stage, self.seed, self.step = out, stage, seed, 0
        self.module = SSDResNet34Module(COCO.num_classes)
        initialise(self.module, seed)
        shallow(self.module)
        self.checkpoint = out / f"{stage.name}.pt"
        self.classifier = nn.Linear(FEATURE_CHANNELS[0], COCO.num_classes)
        if stage.data == "patches":
            self.module.requires_grad_(False).model.requires_grad_(True)
        if stage.frozen == "backbone":
            self.module.model.requires_grad_(False)
        kernels = [p for p in self.module.model.parameters() if p.ndim == 4 and p.requires_grad]
        matrices = {id(kernel) for kernel in kernels}
        others = [p for p in self.module.parameters() if p.requires_grad and id(p) not in matrices]
        if stage.data == "patches":
            others += list(self.classifier.parameters())
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(others, stage.learning_rate, weight_decay=1e-3)
        ]
        if kernels:
            self.optimizers.append(Muon(kernels, stage.learning_rate))
        self.schedules = [
            torch.optim.lr_scheduler.OneCycleLR(
                optimizer,
                stage.learning_rate,
                stage.steps,
                pct_start=0.1,
                cycle_momentum=not isinstance(optimizer, Muon),
            )
            for optimizer in self.optimizers
        ]
        if self.checkpoint.exists():
            state = torch.load(self.checkpoint, weights_only=True)
            if state["steps"] != stage.steps:
                raise UsageError(
                    f"{self.checkpoint} is of a run of {state['steps']} steps, not {stage.steps}; "
                    "resume with the same --steps, or start a new run in another folder"
                )
            self.module.load_state_dict(state["model"])
            self.classifier.load_state_dict(state["classifier"])
            for optimizer, kept in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(kept)
            for schedule, kept in zip(self.schedules, state["schedules"], strict=True):
                schedule.load_state_dict(kept)
            self.step = int(state["step"])
        # Only the backbone: PyTorch's weight gradients of large maps with strides, which are the
        # heads', take four times as long in this order. nn.Module.to's stub lacks memory_format.
        self.module.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.priors = torch.zeros(0, 4) if stage.data == "patches" else self._priors()
        if stage.fast:  # after the priors, which run one picture: each shape is compiled
            winograd.use(self.module.model)
        self.module.train()
        if stage.frozen != "nothing":
            self.module.model.eval()

    def start_from(self, start: Path) -> None:
        """Take the parameters of another stage, or of ``embedded``, unless this one has begun."""
        if self.step:
            return
        if start == Path(EMBEDDED):
            full = {key: torch.from_numpy(value) for key, value in embedded.state().items()}
            state = {key: full[key] for key in self.module.state_dict()}
        else:
            state = torch.load(start, weights_only=True)["model"]
        self.module.load_state_dict(state)

    def save(self) -> None:
        """Write the checkpoint.

        Raises:
            OutputError: a full disk; the old checkpoint stays.
        """
        state = {
            "model": self.module.state_dict(),
            "classifier": self.classifier.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "schedules": [schedule.state_dict() for schedule in self.schedules],
            "step": self.step,
            "steps": self.stage.steps,
        }
        checkpoints.write(self.checkpoint, state)

    def _priors(self) -> Tensor:
        size = self.stage.size
        with torch.no_grad():
            heads = self.module.eval()(torch.zeros(1, 3, size, size))
        return layout_priors(size, maps_of(heads))

    def batches(self) -> Iterator[Batch]:
        stage = self.stage
        count = stage.fresh if stage.frozen == "backbone" else stage.batch
        data = Batches(
            stage.data, self.priors, seed=self.seed, first=self.step, count=count, size=stage.size
        )
        return ahead(data, workers=1, prefetch=3)

    def update(self, heads: list[Tensor], targets: list[Target]) -> dict[str, float]:
        """One optimiser step on the multibox loss; returns what the log shows."""
        loss = multibox_loss(heads, targets)
        parts = {"classes": float(loss.classes.detach()), "boxes": float(loss.boxes.detach())}
        return self._descend(loss.total) | parts | {"positives": loss.positives}

    def name(self, images: Tensor, targets: list[Target]) -> dict[str, float]:
        """One optimiser step on naming patches; the classifier is thrown away afterwards."""
        wanted = torch.cat([target.classes for target in targets])
        logits = self.classifier(self.module.model(images).mean((2, 3)))
        right = float((logits.argmax(1) == wanted).float().mean())
        return self._descend(functional.cross_entropy(logits, wanted)) | {"right": right}

    def _descend(self, loss: Tensor) -> dict[str, float]:
        self.module.zero_grad(set_to_none=True)
        self.classifier.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        norm = nn.utils.clip_grad_norm_(self.module.parameters(), 10.0)
        for optimizer, schedule in zip(self.optimizers, self.schedules, strict=True):
            optimizer.step()
            schedule.step()
        self.step += 1
        rate = float(self.schedules[0].get_last_lr()[0])
        return {"loss": float(loss.detach()), "gradient": float(norm), "rate": rate}


def _rows(run: Run) -> Iterator[dict[str, float]]:
    replay: deque[tuple[Tensor, Target]] = deque(maxlen=REPLAYED)
    chance = random.Random(run.seed)
    left = run.stage.steps - run.step
    for batch in islice(run.batches(), left) if left > 0 else ():
        images = normalised(batch.images)
        if run.stage.data == "patches":
            yield run.name(images, batch.targets)
            continue
        if run.stage.frozen != "backbone":
            features = run.module.model(images).contiguous()
            yield run.update(run.module.heads(features), batch.targets)
            continue
        with torch.no_grad():
            features = run.module.model(images)
        new = list(zip(features.half(), batch.targets, strict=True))
        replay.extend(new)
        chosen = new + chance.sample(list(replay), min(len(replay), run.stage.batch - len(new)))
        features = torch.stack([row.float() for row, _ in chosen]).contiguous()
        yield run.update(run.module.heads(features), [target for _, target in chosen])


def train(
    out: Path, stage: Stage, *, start: Path | None = None, every: int = 25, seed: int = 0
) -> Path:
    """Run, or resume, one stage; returns its checkpoint.

    ``out`` receives ``<stage>.pt`` (atomically, each ``every`` steps) and ``<stage>.csv``. A
    resumed run goes on as an uninterrupted one, but for ``heads``, whose replayed features start
    anew.

    Raises:
        UsageError: the checkpoint is of a run with another number of steps.
    """
    out.mkdir(parents=True, exist_ok=True)
    run = Run(out, stage, seed=seed)
    if start is not None:
        run.start_from(start)
    log = out / f"{stage.name}.csv"
    forget_after(log, run.step)
    with log.open("a", newline="") as file:
        began, writer = time.monotonic(), None
        for row in _rows(run):
            row = {"step": run.step, **row, "seconds": round(time.monotonic() - began, 1)}
            if writer is None:
                writer = csv.DictWriter(file, list(row))
                if file.tell() == 0:
                    writer.writeheader()
            writer.writerow(row)
            if run.step % 10 == 0:
                file.flush()
                text = " ".join(f"{key} {value:.4g}" for key, value in row.items())
                print(text, file=sys.stderr, flush=True)
            if run.step % every == 0:
                run.save()
    run.save()
    return run.checkpoint


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the embedded weights, one stage a call.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--stage", choices=list(STAGES), default="crops")
    parser.add_argument("--steps", type=int, help="length of the stage's schedule")
    parser.add_argument("--start", type=Path, help="a stage's checkpoint, or: embedded")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--rate", type=float, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=0, help="of the stream of pictures")
    parser.add_argument("--winograd", action="store_true", help="faster without AVX-512")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    stage = STAGES[arguments.stage]
    if arguments.steps:
        stage = replace(stage, steps=arguments.steps)
    if arguments.rate:
        stage = replace(stage, learning_rate=arguments.rate)
    stage = replace(stage, fast=arguments.winograd)
    keep_memory()
    print(train(arguments.out, stage, start=arguments.start, seed=arguments.seed))


if __name__ == "__main__":
    main()

"""A lean trainer for the embedded weights: three stages, atomic checkpoints, resume.

    python -m ssd_resnet34.training.trainer OUT [--stage crops|heads|whole] [--steps N]

``crops`` trains everything on 408×408 windows at native scale. ``heads`` then freezes the
backbone, nine tenths of the cost, and trains extra blocks and heads on whole scenes, whose large
objects no crop can hold; features of past scenes are replayed. ``whole`` trains everything on
whole scenes, batch-norm statistics frozen.
"""

import argparse
import csv
import os
import random
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ..contract import COCO, INPUT_SIZE, Contract
from ..network.module import SSDResNet34Module
from .examples import Batch, Batches, Kind
from .multibox import Target, layout_priors, multibox_loss

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


STAGES: Final = {
    "crops": Stage("crops", "crops", 600, 8, 408, 1e-3),
    "heads": Stage("heads", "scenes", 400, 4, INPUT_SIZE, 1e-3, "backbone"),
    "whole": Stage("whole", "scenes", 200, 1, INPUT_SIZE, 2e-4, "statistics"),
}


def initialise(module: SSDResNet34Module, seed: int) -> None:
    """He initialisation; heads near zero with a background prior, so that the loss starts low."""
    torch.manual_seed(seed)
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    for head in (*module.loc, *module.conf):
        assert isinstance(head, nn.Conv2d)
        nn.init.normal_(head.weight, std=0.01)
    for head in module.conf:
        assert isinstance(head.bias, Tensor)
        anchors = len(head.bias) // COCO.num_classes
        with torch.no_grad():
            head.bias[:anchors] = 6.0  # nine in ten priors are background from the first step


def normalised(images: Tensor, contract: Contract = COCO) -> Tensor:
    """uint8 [N, s, s, 3] BGR -> float32 [N, 3, s, s] RGB, normalised, channels last in memory."""
    rgb = images.flip(3).permute(0, 3, 1, 2).float() / 255
    mean = torch.tensor(contract.mean).view(1, 3, 1, 1)
    std = torch.tensor(contract.std).view(1, 3, 1, 1)
    return ((rgb - mean) / std).contiguous(memory_format=torch.channels_last)


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint so that a reader, or a crash, sees the old or the new one, never half."""
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


class Run:
    """Module, optimiser and schedule of one stage, with their checkpoint."""

    def __init__(self, out: Path, stage: Stage, *, seed: int = 0) -> None:
        self.out, self.stage, self.seed, self.step = out, stage, seed, 0
        self.module = SSDResNet34Module(COCO.num_classes)
        initialise(self.module, seed)
        self.checkpoint = out / f"{stage.name}.pt"
        if stage.frozen == "backbone":
            self.module.model.requires_grad_(False)
        trained = [p for p in self.module.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, stage.learning_rate, weight_decay=1e-3)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, stage.learning_rate, stage.steps, pct_start=0.15
        )
        if self.checkpoint.exists():
            state = torch.load(self.checkpoint, weights_only=True)
            self.module.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.schedule.load_state_dict(state["schedule"])
            self.step = int(state["step"])
        self.module.to(memory_format=torch.channels_last)
        self.module.train()
        if stage.frozen != "nothing":
            self.module.model.eval()
        self.priors = self._priors()

    def start_from(self, path: Path) -> None:
        """Take the parameters of another stage's checkpoint, unless this stage has begun."""
        if self.step == 0:
            self.module.load_state_dict(torch.load(path, weights_only=True)["model"])

    def save(self) -> None:
        save(
            self.checkpoint,
            {
                "model": self.module.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(),
                "step": self.step,
            },
        )

    def _priors(self) -> Tensor:
        size = self.stage.size
        with torch.no_grad():
            heads = self.module.eval()(torch.zeros(1, 3, size, size))
        self.module.train(True)
        if self.stage.frozen != "nothing":
            self.module.model.eval()
        maps = [(head.shape[2], head.shape[3]) for head in heads[: len(heads) // 2]]
        return layout_priors(size, maps)

    def batches(self) -> Iterator[Batch]:
        stage = self.stage
        count = stage.fresh if stage.frozen == "backbone" else stage.batch
        data = Batches(
            stage.data, self.priors, seed=self.seed, first=self.step, count=count, size=stage.size
        )
        return iter(DataLoader(data, batch_size=None, num_workers=1, prefetch_factor=3))

    def update(self, heads: list[Tensor], targets: list[Target]) -> dict[str, float]:
        """One optimiser step; returns what the log shows."""
        loss = multibox_loss(heads, targets)
        self.optimizer.zero_grad(set_to_none=True)
        loss.total.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        norm = nn.utils.clip_grad_norm_(self.module.parameters(), 10.0)
        self.optimizer.step()
        self.schedule.step()
        self.step += 1
        return {
            "loss": float(loss.total.detach()),
            "classes": float(loss.classes.detach()),
            "boxes": float(loss.boxes.detach()),
            "positives": loss.positives,
            "gradient": float(norm),
            "rate": float(self.schedule.get_last_lr()[0]),
        }


def _rows(run: Run) -> Iterator[dict[str, float]]:
    replay: deque[tuple[Tensor, Target]] = deque(maxlen=REPLAYED)
    chance = random.Random(run.seed)
    for batch in run.batches():
        if run.step >= run.stage.steps:
            return
        images = normalised(batch.images)
        if run.stage.frozen != "backbone":
            yield run.update(run.module(images), batch.targets)
            continue
        with torch.no_grad():
            features = run.module.model(images)
        new = list(zip(features.half(), batch.targets, strict=True))
        replay.extend(new)
        chosen = new + chance.sample(list(replay), min(len(replay), run.stage.batch - len(new)))
        features = torch.stack([row.float() for row, _ in chosen])
        yield run.update(run.module.heads(features), [target for _, target in chosen])


def train(out: Path, stage: Stage, *, start: Path | None = None, every: int = 25) -> Path:
    """Run, or resume, one stage; returns its checkpoint.

    ``out`` receives ``<stage>.pt`` (atomically, each ``every`` steps) and ``<stage>.csv``.
    """
    out.mkdir(parents=True, exist_ok=True)
    run = Run(out, stage)
    if start is not None:
        run.start_from(start)
    with (out / f"{stage.name}.csv").open("a", newline="") as file:
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
    parser.add_argument("--start", type=Path, help="checkpoint of the stage before")
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    stage = STAGES[arguments.stage]
    if arguments.steps:
        stage = replace(stage, steps=arguments.steps)
    print(train(arguments.out, stage, start=arguments.start))


if __name__ == "__main__":
    main()

"""A training run of the tiny detector, in this process or as a program of its own.

    python tiny_training.py OUT [--resume] [--kill STEP] [--sleep SECONDS] [--workers N]

It runs alone or under torchrun.
"""

import argparse
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor

from ssd_resnet34.errors import SSDResNet34Error
from ssd_resnet34.training.fitting.loading import Examples
from ssd_resnet34.training.fitting.loop import Job, Score, Step, Validate, Watch, fit
from ssd_resnet34.training.fitting.recipe import Recipe
from ssd_resnet34.training.fitting.state import Progress
from tiny_detector import CONTRACT, SIZE, TinyDetector, TinyExamples

RECIPE = Recipe(
    epochs=3, batch=4, at_once=2, size=SIZE, priors="pixels", rate=1e-2, warmup=3, every=0
)
KEPT = "kept.pt"
UNWATCHED = Watch()


def nothing_to_validate(*_: object) -> Score | None:
    return None


def run(
    out: Path,
    *,
    recipe: Recipe = RECIPE,
    resume: bool = False,
    watch: Watch = UNWATCHED,
    examples: Examples | None = None,
    validate: Validate = nothing_to_validate,
    known: bool = True,
    workers: int = 0,
) -> Progress:
    """Train the tiny detector in ``out``; its average goes to ``kept.pt`` there."""
    torch.set_num_threads(1)  # sums in one order
    out.mkdir(exist_ok=True)

    def keep(state: Mapping[str, Tensor], epoch: int, score: Score | None) -> None:
        torch.save(dict(state), out / KEPT)

    job = Job(
        module=TinyDetector(),
        contract=CONTRACT,
        examples=TinyExamples() if examples is None else examples,
        data="tiny",
        recipe=recipe,
        out=out,
        init="embedded" if known else "none",
        validate=validate,
        keep=keep,
        workers=workers,
    )
    return fit(job, Accelerator(cpu=True), resume=resume, watch=watch)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--kill", type=int, help="end by SIGKILL after this step")
    parser.add_argument("--sleep", type=float, default=0.0, help="after each step")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--live", action="store_true")
    arguments = parser.parse_args()

    def on_step(step: Step) -> None:
        print(step.step, flush=True)
        if step.step == arguments.kill:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(arguments.sleep)

    try:
        run(
            arguments.out,
            resume=arguments.resume,
            watch=Watch(step=on_step),
            workers=arguments.workers,
            known=not arguments.live,
        )
    except SSDResNet34Error as error:
        raise SystemExit(f"error: {error}") from error
    Accelerator(cpu=True).end_training()  # as the command does: no thread of the group is left


if __name__ == "__main__":
    main()

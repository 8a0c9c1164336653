"""What ``ssd-resnet34 train`` shows while it runs, and at its end."""

import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from ..wording import span
from .terminal import EVERY, Status, complain, printable, status

if TYPE_CHECKING:
    from ..training.fitting import Trained
    from ..training.fitting.loop import Step, Watch


class Shown:
    """Progress on stderr: a bar on a terminal, a line now and then in a log."""

    def __init__(self, images: int, status: Status, *, quiet: bool) -> None:
        self._images, self._status, self._quiet = images, status, quiet
        self._begun = False
        self._seen = 0

    @classmethod
    @contextmanager
    def on_stderr(cls, images: int, *, quiet: bool) -> Iterator[Self]:
        """Progress of a run that is validated on ``images`` images."""
        with status("loading", quiet=quiet, every=EVERY) as found:
            yield cls(images, found, quiet=quiet)

    def watch(self) -> "Watch":
        """These methods, as the trainer calls them."""
        from ..training.fitting.loop import Watch

        return Watch(
            resumed=self.resumed,
            step=self.step,
            image=self.image,
            validation=self.validation,
            ending=self.ending,
        )

    def note(self, text: str) -> None:
        """A line for people, unless quiet."""
        if not self._quiet:
            complain(text, "note")

    def resumed(self, step: int, steps: int) -> None:
        """A run goes on after that step."""
        self.note(f"going on after step {step} of {steps}")

    def step(self, step: "Step") -> None:
        """A step was made."""
        each = step.steps // step.epochs
        text = (
            f"epoch {step.epoch}/{step.epochs} step {step.step - (step.epoch - 1) * each}/{each} "
            f"loss {step.outcome.loss:.3f} rate {step.rate:.1e} {span(step.left)} left"
        )
        edge = not self._begun or step.step == step.steps
        self._status.show(text, step.step, step.steps, always=edge)
        self._begun = True

    def image(self) -> None:
        """An image of the validation was detected."""
        self._seen += 1
        text = f"validating: image {self._seen} of {self._images}"
        self._status.show(text, self._seen, self._images)

    def validation(self, epoch: int, numbers: Mapping[str, float], better: bool) -> None:
        """An epoch was scored; ``numbers`` from 0 to 1."""
        self._seen = 0
        text = f"epoch {epoch}: AP {numbers['AP']:.3f} AP50 {numbers['AP50']:.3f}"
        if not self._quiet:
            complain(f"{text}{', the best so far' if better else ''}", "validation")

    def ending(self) -> None:
        """Ctrl-C or SIGTERM."""
        self.note("ending after this step; once more ends it at once, without a checkpoint")


def describe(trained: "Trained") -> dict[str, Any]:
    """Plain values for JSON."""
    return {
        "weights": str(trained.weights),
        "graph": str(trained.graph),
        "report": None if trained.report is None else str(trained.report),
        "annotations": None if trained.annotations is None else str(trained.annotations),
        "images": None if trained.images is None else str(trained.images),
        "numbers": dict(trained.numbers),
        "best_epoch": trained.best_epoch,
        "epochs": trained.epochs,
        "steps": trained.steps,
        "seconds": trained.seconds,
        "labels_taken_over": list(trained.taken),
        "labels_new": list(trained.fresh),
        "refused": [{"path": str(one.path), "code": one.code} for one in trained.refused],
        "unscored": list(trained.unscored),
        "notes": list(trained.notes),
    }


def show(trained: "Trained") -> None:
    """What was made, in words."""
    if trained.numbers:
        print(
            f"best epoch {trained.best_epoch} of {trained.epochs}: AP {trained.numbers['AP']:.3f}, "
            f"AP50 {trained.numbers['AP50']:.3f}"
        )
    print(f"{trained.steps} steps in {span(trained.seconds)}")
    for path in filter(None, (trained.weights, trained.graph, trained.report)):
        print(printable(str(path)))
    if trained.annotations is not None:
        again = [str(trained.annotations), str(trained.images), "--weights", str(trained.graph)]
        print(printable(f"score it again: ssd-resnet34 eval {shlex.join(again)}"))
    for note in trained.notes:
        print(printable(f"note: {note}"))

"""The loop: steps, validations, checkpoints, and an orderly end whenever one is asked for."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor, nn

from ...contract import INPUT_SIZE, Contract
from ...errors import TrainingError
from ..data.feeding import worker_ended
from . import state as states
from .folder import CHECKPOINT, NOTHING
from .journal import Journal
from .loading import Examples, Micro, Order, Share, micros, share_of
from .recipe import Recipe
from .schedule import rate_at
from .state import Progress
from .stepping import Outcome, Stepper
from .stopping import stops

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(frozen=True)
class Step:
    """A step that is done. ``epoch`` counts from 1; ``left``: seconds to the last step, by the mean
    of this run's steps, validations left out."""

    step: int
    steps: int
    epoch: int
    epochs: int
    outcome: Outcome
    rate: float
    seconds: float
    left: float


@dataclass(frozen=True)
class Watch:
    """Who is told of what happens: a run goes on after a step of so many; a step is done, a
    validation image, a validation; an end was asked for."""

    resumed: Callable[[int, int], None] = lambda *_: None
    step: Callable[[Step], None] = lambda _: None
    image: Callable[[], None] = lambda: None
    validation: Callable[[int, Mapping[str, float], bool], None] = lambda *_: None
    ending: Callable[[], None] = lambda: None


Validate = Callable[[nn.Module, Tensor, Callable[[], None]], "Score | None"]
"""(module with averaged weights, priors, called after each image) -> its score, None where there is
nothing to validate on."""


@dataclass(frozen=True)
class Score:
    """``value`` is what the best model is chosen by; ``keep`` writes the results down, if any."""

    value: float
    numbers: Mapping[str, float]
    keep: Callable[[], None] = field(default=lambda: None)


class _Asked(Exception):
    """An end was asked for during a validation."""


@dataclass(frozen=True)
class Job:
    """What to fit to what.

    Attributes:
        module: to be trained; see :class:`.stepping.Stepper`.
        data: a digest of what ``examples`` are of.
        init: name of the module's initial weights, or ``none``.
        validate: scores the averaged weights after each epoch.
        keep: writes the averaged weights of the best epoch, told its number and score; without
            validation, of each.
        workers: processes that prepare images.
        feed: wraps the stream of micro-batches, to watch it.
    """

    module: nn.Module
    contract: Contract
    examples: Examples
    data: str
    recipe: Recipe
    out: Path
    init: str
    validate: Validate
    keep: Callable[[Mapping[str, Tensor], int, "Score | None"], None]
    workers: int = 0
    feed: Callable[[Iterator[Micro]], Iterator[Micro]] = lambda micros: micros


def fit(
    job: Job, accelerator: "Accelerator", *, resume: bool = False, watch: Watch = Watch()
) -> Progress:
    """Run, or resume, to the end.

    Raises:
        TrainingError: stopped by a signal, after a checkpoint; or a loss that is not finite.
        UsageError: nothing to resume, or of another run.
        OutputError: a full disk; the last checkpoint and model stay.
    """
    with stops(watch.ending) as asked:
        return _Run(job, accelerator, watch, asked, resume).run()


class _Run:
    def __init__(
        self,
        job: Job,
        accelerator: "Accelerator",
        watch: Watch,
        asked: Callable[[], bool],
        resume: bool,
    ) -> None:
        recipe = job.recipe
        self.job, self.accelerator, self.watch, self.asked = job, accelerator, watch, asked
        self.main: bool = accelerator.is_main_process
        self.order = Order(len(job.examples), recipe.batch, recipe.epochs, recipe.seed)
        self.share = share(recipe, accelerator)
        live = recipe.statistics == "live" or (recipe.statistics == "auto" and job.init == NOTHING)
        self.stepper = Stepper(job.module, job.contract, recipe, accelerator, live=live)
        self.checkpoint = job.out / CHECKPOINT
        self.progress = self._resumed() if resume else Progress()
        if resume and self.progress.step < self.order.steps:
            watch.resumed(self.progress.step, self.order.steps)

    def _resumed(self) -> Progress:
        kept = states.load(self.checkpoint)
        job = self.job
        states.check_same(self.checkpoint, kept, job.recipe, job.init, job.contract, job.data)
        self.stepper.module.load_state_dict(kept["model"])
        self.stepper.optimizer.load_state_dict(kept["optimizer"])
        self.stepper.average.load(kept["average"], kept["updates"])
        states.restore_random(kept)
        return Progress(**kept["progress"])

    def save(self, journal: Journal) -> None:
        """Write the checkpoint."""
        journal.flush()  # first: no step of a checkpoint may lack its row
        if self.main:
            states.save(
                self.checkpoint,
                recipe=self.job.recipe,
                init=self.job.init,
                contract=self.job.contract,
                data=self.job.data,
                progress=self.progress,
                model=self.stepper.module.state_dict(),
                optimizer=self.stepper.optimizer.state_dict(),
                average=self.stepper.average.state,
                updates=self.stepper.average.updates,
            )

    def run(self) -> Progress:
        """All that is left, or an orderly end."""
        with Journal(
            self.job.out if self.main else None, self.progress.step, self.progress.validated
        ) as journal:
            try:
                self._go(journal)
            except _Asked:
                self._end(journal)
            except RuntimeError as error:
                ended = worker_ended(error)
                if ended is None:
                    raise
                raise ended from error
        return self.progress

    def _go(self, journal: Journal) -> None:
        order, first = self.order, self.progress.step
        batches = self.job.feed(
            micros(
                self.job.examples, order, self.share, self.stepper.priors, first, self.job.workers
            )
        )
        began = saved = time.monotonic()
        validating = 0.0
        before = self.progress.seconds
        while True:
            step = self.progress.step
            if self._is_due(step):
                validating -= time.monotonic()
                self._validate(journal)
                validating += time.monotonic()
                saved = time.monotonic()
            if step == order.steps:
                return
            parts = self._parts(batches)
            stop = len(parts) < self.share.micros
            positives, stop = self.stepper.agree(sum(p.positives for p in parts), stop)
            if stop:
                raise _Asked
            rate = rate_at(step, order.steps, self.job.recipe)
            outcome = self.stepper.step(parts, positives, rate)
            now = time.monotonic()
            spent = now - began - validating
            done = step + 1
            self.progress = replace(self.progress, step=done, seconds=before + spent)
            journal.step({"step": done, **vars(outcome), "rate": rate, "seconds": before + spent})
            self.watch.step(
                Step(
                    done,
                    order.steps,
                    step // order.steps_an_epoch + 1,
                    order.epochs,
                    outcome,
                    rate,
                    before + spent,
                    spent / (done - first) * (order.steps - done),
                )
            )
            if now - saved >= self.job.recipe.every:
                self.save(journal)
                saved = now

    def _parts(self, batches: Iterator[Micro]) -> list[Micro]:
        """This process's part of a step; less of it where an end is asked for."""
        parts: list[Micro] = []
        while len(parts) < self.share.micros and not self.asked():
            try:
                parts.append(next(batches))
            except (TrainingError, RuntimeError):
                if not self.asked():  # else the workers were told to end, too
                    raise
        return parts

    def _is_due(self, step: int) -> bool:
        """Whether a validation comes after that step."""
        epoch, rest = divmod(step, self.order.steps_an_epoch)
        chosen = epoch % self.job.recipe.val_every == 0 or step == self.order.steps
        return rest == 0 and chosen and self.progress.validated < epoch

    def _epochs_done(self) -> int:
        return self.progress.step // self.order.steps_an_epoch

    def _validate(self, journal: Journal) -> None:
        """Score the averaged weights, keep them if they are the best so far, and checkpoint."""

        def on_image() -> None:
            self.watch.image()
            if self.asked() and self.accelerator.num_processes == 1:
                raise _Asked

        epoch = self._epochs_done()
        score = self.job.validate(self.stepper.averaged(), self.stepper.priors, on_image)
        # Of equal ones the later: few images begin with several epochs of 0.
        better = score is None or score.value >= self.progress.best
        if better:
            if self.main:
                if score is not None:
                    score.keep()
                self.job.keep(self.stepper.average.state, epoch, score)
            best = -1.0 if score is None else score.value
            self.progress = replace(self.progress, best=best, best_epoch=epoch)
        self.progress = replace(self.progress, validated=epoch)
        if score is not None:
            journal.validation({"epoch": epoch, "step": self.progress.step, **score.numbers})
            self.watch.validation(epoch, score.numbers, better)
        self.save(journal)

    def _end(self, journal: Journal) -> None:
        self.save(journal)
        raise TrainingError(
            f"stopped after step {self.progress.step} of {self.order.steps}; {self.checkpoint} is "
            "written: the same command with --resume goes on"
        )


def share(recipe: Recipe, accelerator: "Accelerator") -> Share:
    """What each process does of a step; on a CPU, about one whole image at a time."""
    cheap = max(1, INPUT_SIZE**2 // recipe.size**2)
    most = cheap if accelerator.device.type == "cpu" else recipe.batch
    return share_of(
        recipe.batch, accelerator.process_index, accelerator.num_processes, recipe.at_once, most
    )

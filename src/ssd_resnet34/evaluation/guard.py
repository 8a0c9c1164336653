"""The guard of compilation: which images judge, what is demanded, and what float layers buy."""

from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from os import PathLike, fspath
from typing import Any, Final, Self, TypeVar

import numpy as np

from ..compiler.calibration import readable
from ..compiler.compilation import Calibrated
from ..compiler.quantization import Ranges, named_layers, quantize
from ..compiler.sensitivity import LayerCost, layer_costs
from ..errors import CalibrationError, ImageError, UsageError
from ..model import SSDResNet34
from ..runtime import session
from ..vision.images import Image
from . import coco
from .agreement import NOTHING
from .dataset import Dataset
from .fidelity import PAIRS, Fidelity, Reference, check_truth, measure

HELD_BACK: Final = 5
"""Of so many calibration images, one is kept for the check."""

MOST_HELD_BACK: Final = 50
"""Images kept for the check, however many there are."""

T = TypeVar("T")


def hold_back(images: Sequence[T]) -> tuple[list[T], list[T]]:
    """Images to calibrate on, and each fifth (at least one of two) to judge by."""
    if len(images) < 2:
        return list(images), []
    every = min(HELD_BACK, len(images))
    held = range(every - 1, len(images), every)[:MOST_HELD_BACK]
    return [one for n, one in enumerate(images) if n not in held], [images[n] for n in held]


@dataclass(frozen=True)
class Bar:
    """What an int8 artifact must reach: ``ap``, a share of fp32's average precision, where there
    are annotations, else ``agreement``, the share of detections that agree with fp32's; and it
    must be faster than float."""

    ap: float = 0.995
    agreement: float = 0.9

    def missed(self, found: Fidelity) -> list[str]:
        """What the accuracy lacks, in words; nothing if it is enough, or if no image judged."""
        if found.ap is not None:
            reference, ap = found.ap
            if reference == 0:
                return [
                    "AP of fp32 is 0 on the images that judge, so they say nothing of int8; give "
                    "images whose objects it finds (--check)"
                ]
            if ap < self.ap * reference:
                return [f"AP {ap:.4f} is under {100 * self.ap:g} % of fp32's {reference:.4f}"]
        elif found.agreement.share < self.agreement:
            return [
                f"{100 * found.agreement.share:.1f} % of the detections agree with fp32, under "
                f"{100 * self.agreement:g} %"
            ]
        return []

    def failures(self, found: Fidelity) -> list[str]:
        """Why an artifact should not be used here, in words; nothing if it may."""
        low, high = found.spread
        if low < 1:  # a median over 1 is noise where a quarter of the pairs was faster
            return self.missed(found)
        return [
            *self.missed(found),
            f"int8 takes {found.speed:.2f} of the time of float here ({low:.2f} to {high:.2f} in "
            f"{found.pairs} pairs of runs): no faster",
        ]


@dataclass(frozen=True)
class Verdict:
    """An int8 artifact, the layers that are float in it, and why it should not be used here.

    ``runs`` is what was measured of it; before that, where layers were bought, of the artifact
    without them. One that was judged on no image has timings only, ``images`` being 0.
    """

    artifact: bytes
    kept: tuple[str, ...]
    runs: tuple[Fidelity, ...]
    failures: tuple[str, ...]


class Judge:
    """A model and the images that its artifacts are judged on; close it, or use it in ``with``.

    fp32, and bf16 where that is faster, run once over the images, whatever the number of artifacts.
    """

    def __init__(
        self,
        model: SSDResNet34,
        images: Sequence[Any],
        *,
        truth: Dataset | None = None,
        engine: session.EngineLike = "auto",
        threads: int | None = None,
    ) -> None:
        """``images`` are as for :func:`~ssd_resnet34.compiler.calibration.calibrate`, and read anew
        for each artifact; none: only the time is measured, on noise. ``truth`` annotates them.

        Raises:
            UsageError: annotations without images, or with no object in images so called, or of
                other categories than the model's.
            MissingExtra: annotations without pycocotools.
        """
        if truth is not None:
            coco.check_installed()  # now, not after hours of calibration
            if not images:
                raise UsageError(
                    f"{truth.path}: annotates no image to judge on; give some (--check)"
                )
            names = _names(images)
            if names is not None:
                check_truth(truth, model.contract, names)
        self.model, self.images, self.truth = model, images, truth
        self.engine, self.threads = engine, threads
        self._sessions = ExitStack()

    @property
    def float_precision(self) -> str:
        """Of the float whose time int8's is compared with: fp32, or bf16 where that is faster.
        Accuracy is always compared with fp32's."""
        return session.float_precision(self.engine)

    @cached_property
    def _reference(self) -> Reference:
        rival = self.float_precision
        fp32 = self._sessions.enter_context(self._open(self.model, "fp32"))
        if rival == "fp32":
            return Reference(self.model, fp32)
        return Reference(
            self.model, fp32, self._sessions.enter_context(self._open(self.model, rival))
        )

    def _open(self, data: bytes | SSDResNet34, precision: str) -> session.Session:
        return session.create(data, self.engine, precision=precision, threads=self.threads)

    def measure(
        self, made: bytes, on_image: Callable[[ImageError | None], None] = lambda _: None
    ) -> Fidelity:
        """An int8 artifact of the model against float.

        Raises:
            CalibrationError: all images were refused.
            UsageError: as :func:`~.fidelity.measure`.
        """
        with self._open(made, "int8") as candidate:
            if not self.images:
                found = measure(self._reference, candidate, [_noise()], on_image=on_image)
                return replace(found, images=0, sqnr={}, agreement=NOTHING)
            found = measure(
                self._reference, candidate, self.images, truth=self.truth, on_image=on_image
            )
        if not found.images:
            raise CalibrationError("all images of the check were refused; give others (--check)")
        return found

    def timed(
        self, made: bytes, found: Fidelity, on_pair: Callable[[], None] = lambda: None
    ) -> Fidelity:
        """``found`` with times of the artifact and of float in turn, on the first image that can
        be read, or on noise without any."""
        image = next(readable(self.images), None) or _noise()
        with self._open(made, "int8") as candidate:
            return self._reference.beside(candidate, image, found, on_pair)

    def costs(self, ranges: Ranges, on_layer: Callable[[], None] = lambda: None) -> list[LayerCost]:
        """Every layer's cost on the first image that can be read, or on noise without any."""
        image = next(readable(self.images), None) or _noise()
        tensor = self.model.preprocess(image).tensor
        return layer_costs(
            self.model.source, ranges, [tensor], threads=self.threads, on_layer=on_layer
        )

    def compile(
        self,
        calibrated: Calibrated,
        bar: Bar,
        *,
        keep_float: Collection[str] = (),
        for_sale: Sequence[LayerCost] = (),
        on_image: Callable[[ImageError | None], None] = lambda _: None,
        on_pair: Callable[[], None] = lambda: None,
    ) -> Verdict:
        """The int8 artifact of calibrated ranges, judged.

        Args:
            calibrated: ranges of the model.
            bar: what is demanded.
            keep_float: layers that stay float in any case, as for
                :func:`~ssd_resnet34.compiler.quantization.named_layers`.
            for_sale: what :meth:`costs` found, the noisiest first: while accuracy is under the
                bar, one, two, four, … of these stay float too, half of them at most.
            on_image: as for :func:`~.fidelity.measure`; each artifact runs over all images.
            on_pair: called after each of ``PAIRS`` pairs of runs that time the artifact anew,
                where float did not run beside it, or over few images.
        """
        source = self.model.source
        kept = asked = named_layers(source, keep_float)
        runs: list[Fidelity] = []
        bought = 0
        while True:
            made = quantize(source, calibrated.ranges, keep_float=kept, facts=calibrated.facts)
            runs[1:] = [self.measure(made, on_image)]
            more = max(1, 2 * bought)
            if not bar.missed(runs[-1]) or more > len(for_sale) // 2:
                break
            bought = more
            kept = sorted({*asked, *(cost.layer for cost in for_sale[:bought])})
        if bought or runs[-1].pairs < PAIRS:
            runs[-1] = self.timed(made, runs[-1], on_pair)
        return Verdict(made, tuple(kept), tuple(runs), tuple(bar.failures(runs[-1])))

    def close(self) -> None:
        """Release the sessions of float."""
        self._sessions.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _names(images: Sequence[Any]) -> list[str] | None:
    """What the images are called; None if that is not known of all before they are read."""
    found = []
    for one in images:
        if isinstance(one, Image):
            found.append(one.name)
        elif isinstance(one, str | PathLike):
            found.append(fspath(one))
        elif not isinstance(one, ImageError):
            return None
    return found


def _noise() -> Image:
    """A picture for timing where there is none."""
    return Image(np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8))

"""From examples to micro-batches, in an order that depends on the seed and the step alone.

A resumed run sees what an uninterrupted one would have seen, and several processes share a step's
images out among them as one process would take them one micro-batch after the other.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from ...errors import UsageError
from ..data.example import Example
from ..multibox import BACKGROUND, Target
from ..workers import ahead
from .placing import target_of

Key = tuple[int, int]
"""Epoch (from 0), and the image's number in the data set."""


class Examples(Protocol):
    """Augmented images, each a pure function of the epoch and its number."""

    def __len__(self) -> int: ...

    def example(self, epoch: int, number: int) -> Example:
        """Image ``number`` (from 0) as ``epoch`` (from 0) shows it."""
        ...


@dataclass(frozen=True)
class Order:
    """Which images each step sees.

    Every epoch is a permutation of all images of its own; a last step that is not full is filled
    up with the epoch's first ones.
    """

    images: int
    batch: int
    epochs: int
    seed: int

    def __post_init__(self) -> None:
        if self.images < 1:
            raise UsageError("no image to train on; check the data set with `train --check`")

    @property
    def steps_an_epoch(self) -> int:
        """Optimiser steps that show every image."""
        return -(-self.images // self.batch)

    @property
    def steps(self) -> int:
        """Of all epochs."""
        return self.steps_an_epoch * self.epochs

    def keys(self, step: int) -> list[Key]:
        """The images of optimiser step ``step`` (from 0)."""
        epoch, place = divmod(step, self.steps_an_epoch)
        shuffled = _shuffled(self.images, self.seed, epoch)
        first = place * self.batch
        return [(epoch, int(shuffled[n % self.images])) for n in range(first, first + self.batch)]


@lru_cache(maxsize=2)  # each step asks for it; at the turn of an epoch for two
def _shuffled(images: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, epoch]).permutation(images)


@dataclass(frozen=True)
class Share:
    """What one process does of a step: ``micros`` batches of ``at_once`` images, one by one."""

    process: int
    processes: int
    at_once: int
    micros: int

    def keys(self, order: Order, step: int, micro: int) -> list[Key]:
        """The images of micro-batch ``micro`` (from 0) of optimiser step ``step``."""
        first = (self.process * self.micros + micro) * self.at_once
        return order.keys(step)[first : first + self.at_once]


def share_of(batch: int, process: int, processes: int, at_once: int | None, most: int) -> Share:
    """A process's share of a batch, all equal.

    Args:
        at_once: images that a device works on at once; default: as many as divide the share, up
            to ``most``.

    Raises:
        UsageError: the batch cannot be shared out like that.
    """
    if batch % processes:
        raise UsageError(
            f"batch: {batch} images cannot be shared by {processes} processes; give a multiple"
        )
    share = batch // processes
    if at_once is None:
        at_once = max(n for n in range(1, share + 1) if share % n == 0 and n <= max(1, most))
    if share % at_once:
        raise UsageError(
            f"at_once: {at_once} does not divide the {share} images of a process and step; give "
            "one of its divisors"
        )
    return Share(process, processes, at_once, share // at_once)


@dataclass(frozen=True)
class Micro:
    """Images that go through the network together, and what they teach.

    ``images`` uint8 [n, s, s, 3] BGR; ``classes`` int64 [n, priors]; ``offsets`` float32
    [n, priors, 4]; ``unknown`` and ``sources`` one an image.
    """

    images: Tensor
    classes: Tensor
    offsets: Tensor
    unknown: tuple[frozenset[int], ...]
    sources: tuple[str, ...]
    positives: int

    def targets(self) -> list[Target]:
        """What each image teaches."""
        return [Target(*one) for one in zip(self.classes, self.offsets, self.unknown, strict=True)]

    def to(self, device: torch.device) -> "Micro":
        """The same with its tensors on ``device``."""
        return replace(
            self,
            images=self.images.to(device, non_blocking=True),
            classes=self.classes.to(device, non_blocking=True),
            offsets=self.offsets.to(device, non_blocking=True),
        )


def assembled(examples: Sequence[Example], priors: Tensor) -> Micro:
    """The examples as one micro-batch."""
    targets = [target_of(example, priors) for example in examples]
    classes = torch.stack([target.classes for target in targets])
    return Micro(
        torch.from_numpy(np.stack([example.image for example in examples])),
        classes,
        torch.stack([target.offsets for target in targets]),
        tuple(target.unknown for target in targets),
        tuple(str(example.source) for example in examples),
        int((classes > BACKGROUND).sum()),
    )


class _Micros(Dataset[Micro]):
    """Micro-batch ``step · micros + micro`` of a process."""

    def __init__(self, examples: Examples, order: Order, share: Share, priors: Tensor) -> None:
        self.examples, self.order, self.share, self.priors = examples, order, share, priors

    def __getitem__(self, number: int) -> Micro:
        step, micro = divmod(number, self.share.micros)
        keys = self.share.keys(self.order, step, micro)
        return assembled([self.examples.example(*key) for key in keys], self.priors)


def micros(
    examples: Examples, order: Order, share: Share, priors: Tensor, first: int, workers: int
) -> Iterator[Micro]:
    """All micro-batches of a process from optimiser step ``first`` on.

    Args:
        workers: processes that prepare them ahead; 0: this one does.
    """
    numbers = range(first * share.micros, order.steps * share.micros)
    data = _Micros(examples, order, share, priors)
    return ahead(data, workers, prefetch=4, numbers=numbers)

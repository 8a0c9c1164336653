"""How a run trains: one frozen recipe, each number with its source."""

import math
from dataclasses import dataclass, fields
from typing import Final, Literal

from ...contract import INPUT_SIZE
from ...errors import UsageError

SMALLEST_SIZE: Final = 385
"""The smallest input that leaves something of all six maps, pixels."""


@dataclass(frozen=True)
class Recipe:
    """One training run. Augmentation is the data's; the loss is :mod:`..multibox`.

    Attributes:
        epochs: passes over the images.
        batch: images an optimiser step, all processes and micro-batches together.
        at_once: images that a device works on at a time; the gradients of a step's parts are
            added up. Default: on a GPU all of its share, on a CPU as many as one whole image costs.
        size: side of the network's input, pixels. Weights are used at 1200; smaller is cheaper and
            meant for the first part of a run, or for trying.
        priors: for another size than 1200. ``fractions``: images are shown whole, and priors keep
            their share of the image. ``pixels``: images are crops at native scale, and priors keep
            their pixels (see :func:`..multibox.layout_priors`).
        rate: highest learning rate of AdamW (Loshchilov and Hutter, "Decoupled weight decay
            regularization", 2019), for a batch of 32; other batches get rate · √(batch / 32)
            (Malladi et al., "On the SDEs and scaling rules for adaptive gradient algorithms",
            2022).
        warmup: steps of linear growth to it (Goyal et al., "Accurate, large minibatch SGD", 2017);
            at most a tenth of all steps. Then half a cosine falls to ``last_rate`` (Loshchilov and
            Hutter, "SGDR", 2017).
        last_rate: share of ``rate`` at the end.
        weight_decay: of kernels; biases and batch-norm have none (He et al., "Bag of tricks",
            2019). Liu et al.'s ("SSD", 2016) 5e-4 is for SGD; decoupled from the rate it is larger.
        clip: largest norm of the gradient (Pascanu et al., "On the difficulty of training recurrent
            neural networks", 2013).
        average: decay of the exponential moving average of the weights, which is what is validated
            and kept (Polyak and Juditsky, 1992; Tan and Le, "EfficientNet", 2019, for 0.9998). It
            grows to this value by (1 + step) / (10 + step), TensorFlow's rule, so that short runs
            are not averages of their beginning.
        statistics: ``frozen`` leaves the mean and variance of batch-norm as the initial weights
            have them: small batches would give bad ones (He et al., "Mask R-CNN", 2017). ``live``
            is for a start from nothing. ``auto``: live without initial weights, else frozen.
        freeze: ``backbone`` trains extra blocks and heads alone, at a third of the cost: for few
            images.
        autocast: ``bf16`` forward passes with fp32 weights; ``auto``: on GPUs that have it.
        channels_last: the order of pixels in memory that convolutions run fastest in; on CPUs the
            backbone alone (the strided heads' gradients take four times as long in it).
        compile: by ``torch.compile``: a minute at the beginning, then faster steps on GPUs.
        seed: of the order of images, of augmentation and of fresh weights.
        every: seconds between checkpoints within an epoch.
        val_every: epochs from one validation, and its checkpoint, to the next; the last one always
            has them. Epochs of a few steps cost less than both.

    Raises:
        UsageError: a value out of range, named.
    """

    epochs: int = 30
    batch: int = 16
    at_once: int | None = None
    size: int = INPUT_SIZE
    priors: Literal["fractions", "pixels"] = "fractions"
    rate: float = 5e-4
    warmup: int = 500
    last_rate: float = 0.01
    weight_decay: float = 0.02
    clip: float = 10.0
    average: float = 0.9998
    statistics: Literal["auto", "frozen", "live"] = "auto"
    freeze: Literal["nothing", "backbone"] = "nothing"
    autocast: Literal["auto", "off", "bf16"] = "auto"
    channels_last: bool = True
    compile: bool = False
    seed: int = 0
    every: float = 600.0
    val_every: int = 1

    def __post_init__(self) -> None:
        for name, lowest, highest in _RANGES:
            value = getattr(self, name)
            if value is None:
                continue
            if not lowest <= value <= highest or not math.isfinite(value):
                raise UsageError(f"{name}: {value} is out of range; give {lowest:g} to {highest:g}")
        for field in fields(self):
            allowed = _CHOICES.get(field.name)
            if allowed is not None and getattr(self, field.name) not in allowed:
                raise UsageError(
                    f"{field.name}: {getattr(self, field.name)!r} is unknown; give one of "
                    f"{', '.join(allowed)}"
                )

    @property
    def peak(self) -> float:
        """The highest learning rate of this batch size."""
        return self.rate * math.sqrt(self.batch / 32)


_RANGES: Final = (
    ("epochs", 1, 100_000),
    ("batch", 1, 65_536),
    ("at_once", 1, 65_536),
    ("size", SMALLEST_SIZE, INPUT_SIZE),
    ("rate", 1e-9, 10.0),
    ("warmup", 0, 10_000_000),
    ("last_rate", 0.0, 1.0),
    ("weight_decay", 0.0, 10.0),
    ("clip", 1e-6, 1e9),
    ("average", 0.0, 0.999999),
    ("seed", 0, 2**31 - 1),
    ("every", 0.0, 1e9),
    ("val_every", 1, 100_000),
)

_CHOICES: Final = {
    "priors": ("fractions", "pixels"),
    "statistics": ("auto", "frozen", "live"),
    "freeze": ("nothing", "backbone"),
    "autocast": ("auto", "off", "bf16"),
}

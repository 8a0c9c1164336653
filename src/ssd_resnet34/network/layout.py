"""The network's layers as data, and the 218 checkpoint keys that follow from them.

Torch module, ONNX builder and weight readers all derive from these tables, so that there is one
description of the architecture.
"""

from dataclasses import dataclass
from typing import Final

from ..contract import LEVELS

STEM_CHANNELS: Final = 64
BN_EPSILON: Final = 1e-5

HEAD_STRIDE: Final = 3
"""All twelve heads are 3×3 convolutions with padding 1 and this stride."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A ResNet-34 stage: ``blocks`` basic blocks, the first one with ``stride``."""

    key: str
    channels: int
    blocks: int
    stride: int


STAGES: Final = (
    Stage("model.layer1.4", 64, 3, 1),
    Stage("model.layer1.5", 128, 4, 2),
    Stage("model.layer2.0", 256, 6, 1),  # stride 1, not ResNet's 2: the map stays 150×150
)


@dataclass(frozen=True, slots=True)
class ExtraBlock:
    """1×1 convolution to ``middle`` channels, ReLU, 3×3 to ``channels``, ReLU; biases, no norm."""

    middle: int
    channels: int
    stride: int
    padding: int


EXTRA_BLOCKS: Final = (
    ExtraBlock(256, 512, 2, 1),
    ExtraBlock(256, 512, 2, 1),
    ExtraBlock(128, 256, 2, 1),
    ExtraBlock(128, 256, 2, 0),
    ExtraBlock(128, 256, 1, 0),
)

FEATURE_CHANNELS: Final = (STAGES[-1].channels, *(block.channels for block in EXTRA_BLOCKS))
"""Channels of the six maps that the heads look at: 256, 512, 512, 256, 256, 256."""


def parameter_shapes(num_classes: int) -> dict[str, tuple[int, ...]]:
    """Checkpoint key -> shape, in checkpoint order: 218 keys for any number of classes.

    ``num_classes`` counts the background. ``num_batches_tracked`` entries are int64 scalars, all
    others float32.
    """
    shapes: dict[str, tuple[int, ...]] = {}

    def conv(key: str, out: int, into: int, kernel: int, bias: bool) -> None:
        shapes[f"{key}.weight"] = (out, into, kernel, kernel)
        if bias:
            shapes[f"{key}.bias"] = (out,)

    def norm(key: str, channels: int) -> None:
        for leaf in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{key}.{leaf}"] = (channels,)
        shapes[f"{key}.num_batches_tracked"] = ()

    conv("model.layer1.0", STEM_CHANNELS, 3, 7, bias=False)
    norm("model.layer1.1", STEM_CHANNELS)
    width = STEM_CHANNELS
    for stage in STAGES:
        for n in range(stage.blocks):
            key = f"{stage.key}.{n}"
            conv(f"{key}.conv1", stage.channels, width, 3, bias=False)
            norm(f"{key}.bn1", stage.channels)
            conv(f"{key}.conv2", stage.channels, stage.channels, 3, bias=False)
            norm(f"{key}.bn2", stage.channels)
            if width != stage.channels:
                conv(f"{key}.downsample.0", stage.channels, width, 1, bias=False)
                norm(f"{key}.downsample.1", stage.channels)
            width = stage.channels
    for n, block in enumerate(EXTRA_BLOCKS):
        conv(f"additional_blocks.{n}.0", block.middle, FEATURE_CHANNELS[n], 1, bias=True)
        conv(f"additional_blocks.{n}.2", block.channels, block.middle, 3, bias=True)
    for head, depth in (("loc", 4), ("conf", num_classes)):
        for n, (level, channels) in enumerate(zip(LEVELS, FEATURE_CHANNELS, strict=True)):
            conv(f"{head}.{n}", depth * level.anchors, channels, 3, bias=True)
    return shapes

"""``furiosa.optimizer``: this package's fp32 graphs are folded already; the opset can be chosen."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from furiosa._neighbours import warn_of
from ssd_resnet34 import artifact
from ssd_resnet34.compiler.export import Export, export
from ssd_resnet34.contract import INPUT_NAME
from ssd_resnet34.runtime.tensors import IMAGE_SHAPE

if TYPE_CHECKING:
    import onnx

__all__ = ["optimize_model"]

warn_of("furiosa-optimizer")


def optimize_model(
    model: "onnx.ModelProto | bytes",
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    opset_version: int = 13,
) -> "onnx.ModelProto":
    """The model in another opset, with a fixed batch where a shape is given.

    Args:
        model: ``SSDResNet34.origin`` or ``.source``.
        input_shapes: ``{"image": [N, 3, 1200, 1200]}``.
        opset_version: 13 to 21.

    Raises:
        ValueError: another input or shape, or an opset that the model cannot have.
        ssd_resnet34.errors.ArtifactError: not a model of this kind.
    """
    batch = None
    for name, shape in (input_shapes or {}).items():
        if name != INPUT_NAME or tuple(shape[1:]) != IMAGE_SHAPE:
            raise ValueError(
                f"input_shapes: {name} {list(shape)}; the one input is {INPUT_NAME}, "
                f"[N, {', '.join(map(str, IMAGE_SHAPE))}]"
            )
        batch = shape[0]
    source = model if isinstance(model, bytes) else artifact.serialize(model)
    return artifact.load(export(source, Export(batch=batch, opset=opset_version)))

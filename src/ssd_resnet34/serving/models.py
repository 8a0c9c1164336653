"""The two models that are served, as the Open Inference Protocol describes models.

``ssd-resnet34`` takes encoded images (BYTES [N]) and gives detections; ``ssd-resnet34-raw`` takes
the network's input (FP32 [N, 3, 1200, 1200]) and gives the twelve heads.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from .. import __version__
from ..contract import INPUT_NAME, INPUT_SIZE, Contract
from .inference import InferRequest, WantedOutput
from .refusals import Refused, bad_request
from .tasks import Started
from .tensors import Datatype

DETECTION: Final = "ssd-resnet34"
HEADS: Final = "ssd-resnet34-raw"
SERVER: Final = "ssd-resnet34"
EXTENSIONS: Final = ("binary_tensor_data",)

VERSION: Final = "1"
"""The only version of each model; changes when inputs or outputs do."""

_DETECTIONS: Final[Mapping[str, tuple[Datatype, tuple[int, ...]]]] = {
    "boxes": ("FP32", (-1, 4)),
    "scores": ("FP32", (-1,)),
    "indices": ("INT64", (-1,)),
    "category_ids": ("INT64", (-1,)),
    "num_detections": ("INT64", (-1,)),
}


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A tensor of a model; -1 in ``shape`` is any number."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Model:
    """A served model: one input, its outputs in order."""

    name: str
    platform: str
    input: TensorSpec
    outputs: tuple[TensorSpec, ...]

    def metadata(self) -> dict[str, Any]:
        """The protocol's model metadata."""
        return {
            "name": self.name,
            "versions": [VERSION],
            "platform": self.platform,
            "inputs": [_described(self.input)],
            "outputs": [_described(one) for one in self.outputs],
        }

    def wanted(self, request: InferRequest) -> tuple[WantedOutput, ...]:
        """The outputs to send: those asked for, else all.

        Raises:
            Refused: an output that this model has not.
        """
        names = [one.name for one in self.outputs]
        if request.outputs is None:
            return tuple(WantedOutput(name, request.binary) for name in names)
        for one in request.outputs:
            if one.name not in names:
                raise bad_request(
                    f"model {self.name} has no output {one.name!r:.80}; it has {', '.join(names)}"
                )
        return request.outputs

    def payloads(self, request: InferRequest, max_batch: int) -> list[bytes]:
        """What each image of the batch is made from, in order.

        Raises:
            Refused: another input than the model's, or a batch over ``max_batch``.
        """
        spec = self.input
        if len(request.inputs) != 1:
            raise bad_request(
                f"{len(request.inputs)} inputs; model {self.name} has one, {spec.name!r}"
            )
        (found,) = request.inputs
        if found.name != spec.name:
            raise bad_request(
                f"model {self.name} has no input {found.name!r:.80}; it has {spec.name!r}"
            )
        if found.datatype != spec.datatype:
            raise bad_request(f"input {spec.name!r} is {spec.datatype}, not {found.datatype:.40}")
        if len(found.shape) != len(spec.shape) or found.shape[1:] != spec.shape[1:]:
            raise bad_request(
                f"input {spec.name!r} has shape {list(spec.shape)} (-1: images), "
                f"not {list(found.shape)}"
            )
        count = found.shape[0]
        if count > max_batch:
            raise bad_request(f"a batch of {count} images; at most {max_batch} in a request")
        if spec.datatype == "BYTES":
            return list(found.elements)
        (data,) = found.elements
        size = 4 * math.prod(spec.shape[1:])
        if len(data) != count * size:
            raise bad_request(
                f"input {spec.name!r}: {len(data)} bytes where the shape needs {count * size}"
            )
        return [data[n * size : (n + 1) * size] for n in range(count)]


def models(contract: Contract, platform: str) -> dict[str, Model]:
    """Name -> model, of weights with this contract; ``platform`` says what runs them."""
    heads = tuple(
        TensorSpec(name, "FP32", (-1, *shape)) for name, shape in contract.head_shapes().items()
    )
    detections = tuple(TensorSpec(name, *kind) for name, kind in _DETECTIONS.items())
    image = TensorSpec(INPUT_NAME, "BYTES", (-1,))
    tensor = TensorSpec(INPUT_NAME, "FP32", (-1, 3, INPUT_SIZE, INPUT_SIZE))
    return {
        DETECTION: Model(DETECTION, platform, image, detections),
        HEADS: Model(HEADS, platform, tensor, heads),
    }


def served(facts: Started) -> dict[str, Model]:
    """The models, as the workers run them."""
    return models(facts.contract, f"{facts.engine}_{facts.precision}")


def known(name: str, version: str = VERSION) -> str:
    """``name``, if it is a model's and ``version`` is one of it; "" means any version.

    Raises:
        Refused: no such model or version.
    """
    if name not in (DETECTION, HEADS):
        raise Refused("not_found", f"no model {name!r:.80}; there are {DETECTION} and {HEADS}")
    if version not in ("", VERSION):
        raise Refused("not_found", f"model {name} has version {VERSION}, not {version!r:.80}")
    return name


def server_metadata() -> dict[str, Any]:
    """The protocol's server metadata."""
    return {"name": SERVER, "version": __version__, "extensions": list(EXTENSIONS)}


def _described(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}

"""What the server asks of a worker process, and what comes back. All of it can be pickled."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from ..contract import Contract
from ..runtime.precision import Precision
from ..vision.images import Limits
from .inference import InferRequest, WantedOutput
from .options import Selection
from .tensors import OutputTensor

GIVEN_UP: Final = "deadline_exceeded"
"""Code of a task that was cancelled before its end: it says nothing about the input."""

THE_IMAGE: Final = "the image"
"""What errors call an image without a name."""


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """How a worker makes its detector; the arguments of :func:`ssd_resnet34.load`."""

    weights: str
    engine: str
    device: str
    precision: str
    threads: int | None
    images: Limits


@dataclass(frozen=True, slots=True)
class Detect:
    """One encoded image -> the common JSON, or the drawn picture."""

    image: bytes
    name: str
    selection: Selection
    form: Literal["json", "png"]

    @property
    def label(self) -> str:
        """What errors call the image."""
        return self.name or THE_IMAGE


@dataclass(frozen=True, slots=True)
class Infer:
    """One encoded image -> outputs of the detection model."""

    image: bytes
    selection: Selection
    wanted: tuple[WantedOutput, ...]
    label: str = THE_IMAGE
    """What errors call it: which one of a batch."""


@dataclass(frozen=True, slots=True)
class RunHeads:
    """One input tensor, float32 little endian (3, 1200, 1200) -> the heads."""

    tensor: bytes
    wanted: tuple[WantedOutput, ...]


@dataclass(frozen=True, slots=True)
class Parse:
    """A body whose JSON is too long to be read in the server's process -> the request."""

    body: bytes
    length: int | None
    max_id: int


Task: TypeAlias = Detect | Infer | RunHeads | Parse
Result: TypeAlias = bytes | tuple[OutputTensor, ...] | InferRequest
"""Of Detect; of Infer and RunHeads; of Parse."""


@dataclass(frozen=True, slots=True)
class Order:
    """A task and its number."""

    number: int
    task: Task


@dataclass(frozen=True, slots=True)
class Cancel:
    """Nobody waits for this order any more; what has not begun of it need not."""

    number: int


@dataclass(frozen=True, slots=True)
class Started:
    """The worker is ready; what runs in it.

    ``seconds`` one image takes, ``streams`` of them at the same time. ``slots`` are tasks at the
    same time: while the network runs one, another is decoded. ``trained_size`` is the model's
    (:attr:`SSDResNet34.trained_size`).
    """

    contract: Contract
    model: str
    engine: str
    precision: Precision
    device: str
    threads: int
    streams: int
    slots: int
    seconds: float
    summary: str
    trained_size: int | None


@dataclass(frozen=True, slots=True)
class CannotStart:
    """An error of this package ended the start; ``kind`` is its class in ``errors``."""

    kind: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Done:
    """A task's result and the seconds of its stages; ``waited`` are those for the network's turn.

    ``seconds`` holds only stages that ran.
    """

    number: int
    result: Result
    seconds: Mapping[str, float]
    waited: float


@dataclass(frozen=True, slots=True)
class NotDone:
    """A task was refused or failed; the worker goes on. ``code`` as in ``refusals``."""

    number: int
    code: str
    message: str


Report: TypeAlias = Started | CannotStart | Done | NotDone

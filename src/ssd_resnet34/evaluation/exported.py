"""An exported file, run once in ONNX Runtime and compared with the artifact it was made from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from .. import artifact
from ..compiler.decoding import DETECTION_OUTPUTS
from ..compiler.export import Export, described
from ..contract import HEAD_NAMES, INPUT_NAME, INPUT_SIZE, LEVELS, Contract
from ..errors import SessionError, UsageError
from ..runtime import cpu
from ..vision.detections import Detections
from ..vision.images import Image
from ..vision.postprocess import postprocess
from ..vision.preprocess import preprocess
from .agreement import FEW, NOTHING, Agreement, compare, head_difference
from .altered import stretched

HEADS_ERROR: Final = 1e-3
"""Largest root mean square difference of a head, in units of the head's own spread: rounding."""

MISSED: Final = 0.02
"""Largest share of detections without a partner; ``FEW`` may always miss: of two boxes with nearly
the same score either may win, and a score may be a rounding from the threshold."""

INT8_BYTES_HEADS_ERROR: Final = 5e-2
INT8_BYTES_MISSED: Final = 0.1
"""The same for an int8 network whose input is normalised in the graph: a pixel a rounding away
from the middle of two steps takes the other one."""

_SEVERITY_ERROR: Final = 3
"""ONNX Runtime's number of the level: what is less than an error is not logged."""


@dataclass(frozen=True)
class ExportCheck:
    """How far an export is from its source.

    Attributes:
        images: images of the one run.
        engine: name and version of what ran it.
        heads: largest absolute difference of a logit or offset; None end to end.
        error: largest root mean square difference of a head, in units of its spread; None end to
            end.
        detections: the graph's detections against those of ``postprocess`` on the artifact's
            heads, boxes in pixels of 1200×1200; None where the outputs are heads.
        agrees: whether all that is within rounding.
    """

    images: int
    engine: str
    heads: float | None
    error: float | None
    detections: Agreement | None
    agrees: bool


def check_export(data: bytes, source: bytes, images: Sequence[Image]) -> ExportCheck:
    """Run the export ``data`` and the artifact ``source`` on the same pictures and compare.

    Args:
        data: what :func:`ssd_resnet34.compiler.export.export` made of ``source``.
        images: one or more, in the number of a fixed batch; resized to 1200×1200 in 8 bits, so
            that uint8 and float exports see the same pixels.

    Raises:
        UsageError: another number of images than the fixed batch.
        ArtifactError: ``data`` is not an export.
        SessionError: ONNX Runtime cannot load or run one of them.
        HeadsError: the artifact's heads are not finite.
    """
    import onnxruntime

    model = artifact.load(data)
    made = described(model)
    contract = artifact.contract_of(model)
    if not images or made.batch not in (None, len(images)):
        least = made.batch or 1
        raise UsageError(
            f"images: {len(images)} given for a batch of {made.batch or 'any size'}; give "
            f"{least} (--batch {least})"
        )
    squares = [stretched(image, INPUT_SIZE, INPUT_SIZE) for image in images]
    tensor = preprocess(squares, contract).tensor
    given = _bytes_tensor(squares) if made.uint8_input else tensor
    reference = _Network(source)
    each = [reference.run(one[None], HEAD_NAMES) for one in tensor]
    heads = [np.concatenate(parts) for parts in zip(*each, strict=True)]
    del reference
    found = _Network(data).run(given, None)
    engine = f"onnxruntime {onnxruntime.__version__}"
    rounds_twice = made.uint8_input and artifact.precision_of(model) == "int8"
    if made.form == "end-to-end":
        agreement = _compare_detections(found, heads, contract, made)
        most = INT8_BYTES_MISSED if rounds_twice else MISSED
        larger = max(agreement.reference, agreement.found)
        agrees = larger - agreement.matched <= max(FEW, most * larger)
        return ExportCheck(len(images), engine, None, None, agreement, agrees)
    if made.form == "split-heads":
        heads = _split(heads, contract)
    error = max(_relative_error(a, b) for a, b in zip(heads, found, strict=True))
    agrees = error <= (INT8_BYTES_HEADS_ERROR if rounds_twice else HEADS_ERROR)
    return ExportCheck(len(images), engine, head_difference(heads, found), error, None, agrees)


def made_up(count: int) -> list[Image]:
    """Pictures of soft coloured blots, always the same ones."""
    made = []
    for seed in range(count):
        coarse = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), np.uint8)
        size = (INPUT_SIZE, INPUT_SIZE)
        pixels = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
        made.append(Image(np.asarray(pixels, np.uint8), f"blots {seed}"))
    return made


def _bytes_tensor(squares: Sequence[Image]) -> NDArray[np.uint8]:
    """uint8 [N, 3, 1200, 1200] RGB."""
    planes = [image.pixels[..., ::-1].transpose(2, 0, 1) for image in squares]
    return np.ascontiguousarray(np.stack(planes))


class _Network:
    """A file in ONNX Runtime, on all threads."""

    def __init__(self, data: bytes) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = cpu.available_threads()
        options.log_severity_level = _SEVERITY_ERROR
        try:
            providers = ["CPUExecutionProvider"]
            self._session = onnxruntime.InferenceSession(data, options, providers)
        except Exception as error:  # its exceptions share no base class but this
            raise SessionError(
                f"onnxruntime cannot load the file: {error}; choose an older --opset, or upgrade "
                "onnxruntime"
            ) from error

    def run(self, tensor: NDArray[Any], names: Sequence[str] | None) -> list[NDArray[Any]]:
        try:
            wanted = None if names is None else list(names)
            found: list[NDArray[Any]] = self._session.run(wanted, {INPUT_NAME: tensor})
        except Exception as error:  # as above
            raise SessionError(
                f"onnxruntime cannot run the file: {error}; with a large batch, give it more "
                "memory or a smaller --batch"
            ) from error
        return found


def _split(heads: list[NDArray[Any]], contract: Contract) -> list[NDArray[Any]]:
    """The twelve heads as logits [N, classes, 15130] and offsets [N, 4, 15130]."""
    half = len(LEVELS)
    return [
        np.concatenate([head.reshape(len(head), depth, -1) for head in part], axis=2)
        for part, depth in ((heads[:half], contract.num_classes), (heads[half:], 4))
    ]


def _relative_error(reference: NDArray[Any], found: NDArray[Any]) -> float:
    difference = np.asarray(found, np.float64) - reference
    error = float(np.sqrt(np.mean(difference**2)) / max(float(reference.std()), 1e-6))
    return error if np.isfinite(error) else np.inf


def _compare_detections(
    found: list[NDArray[Any]], heads: list[NDArray[Any]], contract: Contract, made: Export
) -> Agreement:
    """The agreement of all images together."""
    rules = made.selection
    wanted = postprocess(
        heads,
        None,
        rules.score_threshold,
        rules.iou_threshold,
        rules.pre_nms_top_k,
        rules.top_k,
        contract=contract,
    )
    outputs = dict(zip(DETECTION_OUTPUTS, found, strict=True))
    total = NOTHING
    for reference, *fields in zip(wanted, *(outputs[n] for n in DETECTION_OUTPUTS), strict=True):
        boxes, scores, indices, category_ids, number = fields
        rows = slice(0, int(number))
        detections = Detections(
            boxes=boxes[rows] * np.float32(INPUT_SIZE),
            scores=scores[rows],
            indices=indices[rows],
            category_ids=category_ids[rows],
            labels=tuple(contract.labels[index - 1] for index in indices[rows].tolist()),
        )
        total = total + compare(reference, detections)
    return total

"""``SSDResNet34``: one set of weights as source, compiled artifact, and the two ends around it."""

import ctypes
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from . import artifact, weights
from .compiler import quantization
from .compiler.quantization import Ranges
from .contract import INPUT_SIZE, Contract
from .errors import UnsupportedPrecision, UsageError
from .network.builder import PRODUCER
from .runtime import cache
from .runtime import precision as precisions
from .vision.detections import Detections
from .vision.images import DEFAULT_LIMITS, Colour, Limits
from .vision.postprocess import DEFAULT_SCORE_THRESHOLD, Context, Heads
from .vision.postprocess import postprocess as _postprocess
from .vision.preprocess import ModelInput
from .vision.preprocess import preprocess as _preprocess
from .vision.selection import Nms
from .weights import embedded
from .weights.ranges import check as check_ranges
from .weights.ranges import read as read_ranges
from .weights.records import EMBEDDED


class SSDResNet34:
    """The model: weights, their compiled form, pre- and postprocessing.

    Args:
        weights: a record (``"embedded"``, ``"mlcommons"``, … see ``ssd-resnet34 weights list``),
            a weights file or an artifact (path or bytes).
        precision: what ``enf`` holds: ``"int8"``, ``"fp32"``, ``"bf16"`` or ``"fp16"`` (an fp32
            artifact that sessions run in that half), or ``"auto"``: int8 where the weights come
            with activation ranges and this CPU has 8-bit dot products, else float.
        ranges: activation ranges for int8: a YAML file (``ssd-resnet34 compile --save-ranges``) or
            a mapping tensor -> (lowest, highest). The embedded weights come with theirs.

    Nothing is loaded before it is asked for.

    Raises:
        UsageError: an unknown precision, or weights of another type.

    Raises (at first use):
        WeightsError, ArtifactError: the weights cannot be had or are not this network.
        UnsupportedPrecision: int8 without ranges, or float of an int8 artifact.
        UsageError: ranges for an int8 artifact.
        CalibrationError: the ranges are damaged, or of another graph.
    """

    def __init__(
        self,
        weights: str | PathLike[str] | bytes = EMBEDDED,
        precision: str = "auto",
        *,
        ranges: str | PathLike[str] | Ranges | None = None,
    ) -> None:
        precisions.check_name(precision)
        if not isinstance(weights, str | PathLike | bytes):
            raise UsageError(
                f"weights: a {type(weights).__name__}; give a record's name, a path or bytes"
            )
        self.weights = weights
        self.precision = precision
        self._ranges = ranges

    def __repr__(self) -> str:
        return f"SSDResNet34(weights={self.name!r}, precision={self.precision!r})"

    @cached_property
    def name(self) -> str:
        """The record's name or the file's, for reports."""
        if isinstance(self.weights, bytes):
            return f"sha256:{hashlib.sha256(self.weights).hexdigest()[:12]}"
        text = fspath(self.weights)
        return text if text in weights.RECORDS else Path(text).name

    @cached_property
    def _given(self) -> bytes:
        return weights.load(self.weights)

    @cached_property
    def _facts(self) -> tuple[str, int | None]:
        """Precision of what was given, and the size it was trained at."""
        if self.weights == EMBEDDED:
            return "fp32", INPUT_SIZE  # known without reading 80 MB
        graph = artifact.load(self._given)
        return artifact.precision_of(graph), artifact.trained_size(graph)

    @property
    def _given_precision(self) -> str:
        return self._facts[0]

    @property
    def trained_size(self) -> int | None:
        """Side in pixels of the input that the weights were trained at; None where they do not say.

        Every engine runs them at 1200, where a model of another size finds less.

        Raises:
            WeightsError, ArtifactError: the weights cannot be had or are not this network.
        """
        return self._facts[1]

    @property
    def source(self) -> bytes:
        """The fp32 ONNX: input ``image``, the twelve heads, the contract in its metadata.

        Raises:
            UnsupportedPrecision: the weights are an int8 artifact, which has no float source.
        """
        if self._given_precision == "int8":
            raise UnsupportedPrecision(
                f"{self.name} is int8 already and holds no float weights; give the fp32 weights "
                "that it was compiled from, or take it as it is (precision int8 or auto)"
            )
        return self._given

    @cached_property
    def enf(self) -> bytes:
        """The compiled artifact's bytes (ONNX; QDQ where int8), ready for ``session.create``.

        For the embedded weights the int8 artifact is built once, without calibration images, and
        cached.
        """
        if self._holds_int8():
            if self._given_precision == "int8":
                return self._given
            return self._compiled()
        return self.source

    @cached_property
    def ranges(self) -> Ranges | None:
        """Activation ranges of these weights, None where they are not known.

        Raises:
            CalibrationError: damaged.
        """
        if self._ranges is None:
            return embedded.ranges() if self.weights == EMBEDDED else None
        if isinstance(self._ranges, str | PathLike):
            return read_ranges(self._ranges)
        return check_ranges(self._ranges)

    def _compiled(self) -> bytes:
        """The int8 artifact of these weights and ranges: from the cache, else built (2 s) and kept.

        Built, not shipped: it follows from the two, byte for byte.
        """
        ranges = self.ranges
        assert ranges is not None
        store = cache.default()
        key: dict[str, str | int] = {
            "what": "int8 artifact",
            "weights": self._digest(),
            "ranges": quantization.digest(ranges),
            "method": quantization.METHOD,
            "builder": PRODUCER,
            "tools": quantization.tools(),
        }
        found = store.load(**key)
        if found is None:
            # Not ``source``, which would be kept: 80 MB that nobody else needs here.
            given = vars(self).get("_given")
            found = quantization.quantize(given or weights.load(self.weights), ranges)
            store.store(found, **key)
            _give_back()
        return found

    def _digest(self) -> str:
        """SHA-256 of the weights; of the embedded file as it lies, which a warm start need not
        turn into 80 MB of ONNX."""
        if self.weights != EMBEDDED:
            return hashlib.sha256(self.source).hexdigest()
        with embedded.path().open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def _holds_int8(self) -> bool:
        if self._given_precision == "int8":
            precisions.check_artifact(self.precision, "int8")
            if self._ranges is not None:
                raise UsageError(
                    f"ranges: {self.name} is int8 already and has its own; leave them out, or give "
                    "the weights that it was compiled from"
                )
            return True
        has_ranges = self.weights == EMBEDDED or self._ranges is not None
        if self.precision == "int8" and not has_ranges:
            raise UnsupportedPrecision(
                f"{self.name} comes without activation ranges, so it cannot be int8 as it is; "
                "ask for precision fp32 or bf16, or calibrate it: `ssd-resnet34 compile --weights "
                f"{self.name} --calibrate IMAGES`, or SSDResNet34(…, ranges=FILE) in Python"
            )
        if self.precision == "auto":
            return has_ranges and precisions.preferred().precision == "int8"
        return self.precision == "int8"

    @cached_property
    def contract(self) -> Contract:
        """Categories, lineage and normalisation of these weights."""
        if self.weights == EMBEDDED:
            return embedded.contract()
        return artifact.contract_of(self._given)

    def preprocess(
        self, images: Any, *, colour: Colour | None = None, limits: Limits = DEFAULT_LIMITS
    ) -> ModelInput:
        """Images -> :class:`ModelInput`; see :func:`ssd_resnet34.vision.preprocess.preprocess`."""
        return _preprocess(images, self.contract, colour=colour, limits=limits)

    def postprocess(
        self,
        outputs: Heads,
        contexts: Sequence[Context] | None = None,
        score_threshold: float | Mapping[str | int, float] = DEFAULT_SCORE_THRESHOLD,
        iou_threshold: float = 0.5,
        pre_nms_top_k: int = 200,
        top_k: int = 200,
        nms: Nms = "exact",
        classes: Iterable[str | int] | None = None,
        *,
        clip: bool = False,
    ) -> list[Detections]:
        """Heads -> one :class:`Detections` an image; boxes are not clipped unless asked.

        Arguments and errors: :func:`ssd_resnet34.vision.postprocess.postprocess`.
        """
        return _postprocess(
            outputs,
            contexts,
            score_threshold,
            iou_threshold,
            pre_nms_top_k,
            top_k,
            nms,
            classes,
            contract=self.contract,
            clip=clip,
            model=self.name,
        )


def _give_back() -> None:
    """Give the system what was freed: of the 330 MB that building takes, glibc keeps 200 for
    itself, on top of which the engine would compile."""
    with suppress(AttributeError, OSError, TypeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)

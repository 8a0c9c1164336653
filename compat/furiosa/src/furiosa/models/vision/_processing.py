"""Images -> input tensor, heads -> result objects, in the forms of every release.

Only forms are settled here: decoding, normalisation and selection are those of ``ssd_resnet34``.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from os import PathLike
from typing import Any, ClassVar, Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from furiosa._settings import Line, release
from furiosa.models.types import PreProcessor, PythonPostProcessor, RustPostProcessor
from ssd_resnet34.contract import COCO, INPUT_SIZE, Contract
from ssd_resnet34.errors import HeadsError, UnreadableFile, UsageError
from ssd_resnet34.vision.detections import Detections
from ssd_resnet34.vision.images import Image, decode
from ssd_resnet34.vision.postprocess import DEFAULT_SCORE_THRESHOLD, postprocess
from ssd_resnet34.vision.preprocess import preprocess
from ssd_resnet34.vision.selection import Nms

from .postprocess import LtrbBoundingBox, ObjectDetectionResult

Results = list[ObjectDetectionResult]
ImageSize = Mapping[str, int]
"""``{"width": W, "height": H}``, pixels of the original."""


class ModelInput(NamedTuple):
    """What preprocessing gives: unpacks as ``tensor, contexts``; sessions take it whole, too.

    ``tensor`` is [N, 3, 1200, 1200], RGB: uint8 pixels, or float32 and normalised. ``contexts`` is
    a list of ``{"width": W, "height": H}``, one an image.
    """

    tensor: NDArray[Any]
    contexts: list[dict[str, int]]


class SSDResNet34PreProcessor(PreProcessor):
    """Preprocessing as ``line`` does it where its caller does not say (default: the line that is
    followed): float32 and normalised in 0.8, uint8 pixels since 0.9."""

    def __init__(self, line: Line | None = None, contract: Contract = COCO) -> None:
        self._line, self._contract = line, contract

    def __call__(
        self,
        images: Any,
        with_scaling: bool | None = None,
        *,
        with_quantize: bool | None = None,
    ) -> ModelInput:
        """One image or several -> :class:`ModelInput`.

        Args:
            images: a path, encoded bytes, a PIL image, an array in BGR or grey (H, W[, C]) of
                uint8; or a list, tuple or iterator of these, or an NHWC stack.
            with_scaling: True normalises to float32, as float fp32 models take it; False leaves
                uint8 pixels 0..255, as ``enf`` and ``model_source()`` take it. Sessions of this
                distribution take both.
            with_quantize: the name of ``with_scaling`` in 0.9.

        Raises:
            TypeError: both names for the one thing.
            FileNotFoundError: no such file.
            ssd_resnet34.errors.ImageError: an image was refused; says why.
            ValueError: no image, or an array of another shape or dtype.
        """
        if with_scaling is not None and with_quantize is not None:
            raise TypeError(
                "with_scaling (0.10) and with_quantize (0.9) are one option; give one of them"
            )
        scaling = with_quantize if with_scaling is None else with_scaling
        if scaling is None:
            scaling = (self._line or release()) == "0.8"
        pictures = [_decoded(one) for one in _each(images)]
        if not pictures:
            raise UsageError("images: none; give at least one")
        sizes = [{"width": image.width, "height": image.height} for image in pictures]
        if scaling:
            return ModelInput(preprocess(pictures, self._contract).tensor, sizes)
        return ModelInput(_pixels(pictures), sizes)


def _each(images: Any) -> Iterable[Any]:
    if isinstance(images, np.ndarray):
        return list(images) if images.ndim == 4 else [images]
    if isinstance(images, list | tuple | Iterator) and not hasattr(images, "read"):
        return images
    return [images]


def _decoded(source: Any) -> Image:
    try:
        return decode(source, colour="bgr" if isinstance(source, np.ndarray) else None)
    except UnreadableFile as error:
        if isinstance(error.__cause__, FileNotFoundError) and isinstance(source, str | PathLike):
            raise FileNotFoundError(
                error.__cause__.errno, f"{error.__cause__.strerror}; check the path", str(source)
            ) from None  # what it comes from says the same
        raise


def _pixels(pictures: Sequence[Image]) -> NDArray[np.uint8]:
    """What the vendor leaves to the compiled model: pixels resized as bytes, which rounds them."""
    tensor = np.empty((len(pictures), 3, INPUT_SIZE, INPUT_SIZE), np.uint8)
    for image, planes in zip(pictures, tensor, strict=True):
        small = cv2.resize(image.pixels, (INPUT_SIZE,) * 2, interpolation=cv2.INTER_LINEAR)
        planes[:] = small.transpose(2, 0, 1)[::-1]  # BGR -> RGB
    return tensor


class _Rules:
    """Heads -> results, with the selection rules of one of the vendor's decoders.

    The scores are floats, boxes are not clipped, NaN is refused. An image without detections has
    none, and does not take its batch with it.
    """

    nms: ClassVar[Nms]
    best_first: ClassVar[bool]

    def __init__(self, contract: Contract = COCO) -> None:
        self._contract = contract

    def __call__(
        self,
        model_outputs: Any,
        contexts: ImageSize | Sequence[ImageSize] | None = None,
        confidence_threshold: float = DEFAULT_SCORE_THRESHOLD,
    ) -> Any:
        """Results of each image of a batch.

        Args:
            model_outputs: the twelve heads: what a session gave, or arrays.
            contexts: one an image, as preprocessing gave them; or one alone, not in a list, for a
                batch of one. Default: those that the outputs carry, else boxes are in pixels of
                1200×1200.
            confidence_threshold: exceeded strictly; also below 0.05.

        Returns:
            A list for each image; of one context alone, that image's list.

        Raises:
            ValueError: not the twelve heads, or another number of contexts.
        """
        if contexts is None:
            contexts = getattr(model_outputs, "contexts", None)
        alone = isinstance(contexts, Mapping)
        try:
            found = postprocess(
                [np.asarray(head) for head in model_outputs],
                [contexts] if isinstance(contexts, Mapping) else contexts,
                confidence_threshold,
                nms=self.nms,
                contract=self._contract,
            )
        except HeadsError as error:
            raise ValueError(str(error)) from None
        results = [self._results(one) for one in found]
        return results[0] if alone else results

    def _results(self, found: Detections) -> Results:
        results = [
            ObjectDetectionResult(LtrbBoundingBox(*one.box), one.score, one.label, one.index)
            for one in found
        ]
        return results if self.best_first else results[::-1]


class SSDResNet34PythonPostProcessor(_Rules, PythonPostProcessor):
    """The rules of the Python decoder: an IoU whose intersection is not clamped, so that a box
    can be dropped for one that it does not touch; results from the worst to the best."""

    nms = "mlperf"
    best_first = False


_NO_DFG: Final = (
    "a dfg holds tables of the vendor's chip, and none exists here; leave it out: this decoder "
    "takes the float heads that sessions give"
)


class SSDResNet34NativePostProcessor(_Rules, RustPostProcessor):
    """The rules of the Rust decoder: IoU as it is defined; results from the best to the worst.

    Raises:
        ValueError: a ``dfg``; or a ``version`` that is neither ``"cpp"`` nor ``"rust"`` (0.8.0),
            which decode alike.
    """

    nms = "exact"
    best_first = True

    def __init__(
        self, dfg: None = None, version: str | None = None, contract: Contract = COCO
    ) -> None:
        if dfg is not None:
            raise ValueError(f"dfg: {_NO_DFG}")
        if version not in (None, "cpp", "rust"):
            raise ValueError(f"version: {version!r} is no decoder; give 'cpp' or 'rust'")
        super().__init__(contract)

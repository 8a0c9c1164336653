"""``load()`` and ``Detector``: images in, detections out."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from types import TracebackType
from typing import Any, Final, Literal, Self, overload

from .errors import ImageError, UsageError
from .model import SSDResNet34
from .runtime import session
from .runtime.pipeline import overlapped
from .runtime.session import EngineLike, Session
from .vision.detections import Detections
from .vision.images import Colour, Image, Limits, Source, decode
from .vision.postprocess import rules
from .vision.selection import Nms

DEFAULT_SCORE_THRESHOLD: Final = 0.3
"""For people: detect, serve, draw. Evaluation and benchmarks use 0.05."""


@dataclass(frozen=True)
class Options:
    """How a detector selects; the arguments of ``postprocess``, boxes always clipped."""

    score_threshold: float | Mapping[str | int, float] = DEFAULT_SCORE_THRESHOLD
    iou_threshold: float = 0.5
    pre_nms_top_k: int = 200
    top_k: int = 200
    nms: Nms = "exact"
    classes: tuple[str | int, ...] | None = None


class Detector:
    """A model in a session. Made by :func:`load`; close it, or use it as a context manager.

    ``detector(image)`` gives one :class:`Detections`, ``detector([image, …])`` a list, and
    :meth:`stream` an iterator in bounded memory. Boxes are left, top, right, bottom in pixels of
    the displayed original, clipped to it. Safe to call from several threads.
    """

    def __init__(
        self,
        model: SSDResNet34,
        session: Session,
        options: Options = Options(),  # frozen
        limits: Limits = Limits(),  # noqa: B008  # frozen
    ) -> None:
        rules(**vars(options), contract=session.contract)  # refuse wrong options now, not later
        self.model, self.session, self.options, self.limits = model, session, options, limits

    @overload
    def __call__(
        self, images: list[Any] | tuple[Any, ...], *, colour: Colour | None = None
    ) -> list[Detections]: ...
    @overload
    def __call__(self, images: "Source | Image", *, colour: Colour | None = None) -> Detections: ...
    def __call__(
        self,
        images: "Source | Image | list[Any] | tuple[Any, ...]",
        *,
        colour: Colour | None = None,
    ) -> Detections | list[Detections]:
        """Detect in one image (path, bytes, file, PIL, array with ``colour``) or in a list.

        Raises:
            ImageError: an image was refused; ``code`` says why.
            SessionClosed: the detector was closed.
        """
        if isinstance(images, list | tuple):
            return list(self.stream(images, colour=colour))
        return self._detect(images, colour)

    @overload
    def stream(
        self,
        images: Iterable[Any],
        *,
        colour: Colour | None = None,
        errors: Literal["raise"] = "raise",
    ) -> Iterator[Detections]: ...
    @overload
    def stream(
        self, images: Iterable[Any], *, colour: Colour | None = None, errors: Literal["return"]
    ) -> Iterator[Detections | ImageError]: ...
    def stream(
        self,
        images: Iterable[Any],
        *,
        colour: Colour | None = None,
        errors: Literal["raise", "return"] = "raise",
    ) -> Iterator[Detections | ImageError]:
        """Detections of each image, in order and in bounded memory.

        Decoding, preprocessing and postprocessing of neighbours overlap with the network: up to
        ``streams + 2`` images are held, and so many are taken from ``images`` before the first
        result. For a live source, whose next image is a wait, call the detector itself.

        ``errors="return"`` yields the :class:`ImageError` of a refused image in its place and goes
        on; other errors always end the stream.
        """
        if errors not in ("raise", "return"):
            raise UsageError(f"errors: {errors!r} is unknown; give 'raise' or 'return'")

        def work(image: Any) -> Detections | ImageError:
            try:
                return self._detect(image, colour)
            except ImageError as error:
                return error

        for found in overlapped(work, images, self.session.streams + 1):
            if isinstance(found, ImageError) and errors == "raise":
                raise found
            yield found

    def _detect(self, source: Any, colour: Colour | None) -> Detections:
        image = decode(source, colour=colour, limits=self.limits)
        outputs = self.session.run(self.model.preprocess(image))
        (detections,) = self.model.postprocess(outputs, None, **vars(self.options), clip=True)
        return detections

    def close(self) -> None:
        """Release the network; further calls raise ``SessionClosed``."""
        self.session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def load(
    weights: str | PathLike[str] | bytes = "embedded",
    *,
    engine: EngineLike = "auto",
    device: str = "cpu",
    precision: str = "auto",
    threads: int | None = None,
    streams: int = 1,
    score_threshold: float | Mapping[str | int, float] = DEFAULT_SCORE_THRESHOLD,
    iou_threshold: float = 0.5,
    pre_nms_top_k: int = 200,
    top_k: int = 200,
    nms: Nms = "exact",
    classes: Iterable[str | int] | None = None,
    limits: Limits = Limits(),  # noqa: B008  # frozen
) -> Detector:
    """A ready detector: by default the embedded weights in the fastest way this machine has.

    Args:
        weights: a record's name, a weights file or an artifact.
        engine: ``"auto"``, ``"openvino"``, ``"onnxruntime"``, ``"torch"``, an installed
            extension's name, or an engine object.
        device: ``"cpu"``, or what the engine knows (``"cuda"``).
        precision: ``"auto"``, ``"int8"``, ``"bf16"``, ``"fp32"``.
        threads: CPU threads; None for all that this process may use.
        streams: requests that run at the same time inside the engine.
        score_threshold, iou_threshold, pre_nms_top_k, top_k, nms, classes: as in
            :func:`ssd_resnet34.vision.postprocess.postprocess`.
        limits: largest image that is accepted.

    Raises:
        WeightsError, ArtifactError, SessionError, UsageError: each says what to do.
    """
    names = None if classes is None else tuple(classes)
    options = Options(score_threshold, iou_threshold, pre_nms_top_k, top_k, nms, names)
    if precision == "auto" and not session.runs_int8(engine, device):
        # An engine without int8 gets the float artifact instead of a refusal.
        model = SSDResNet34(weights, session.float_precision(engine, device))
    else:
        model = SSDResNet34(weights, precision)
    running = session.create(
        model, engine=engine, device=device, precision=precision, threads=threads, streams=streams
    )
    try:
        return Detector(model, running, options, limits)
    except BaseException:  # wrong options, an interrupt: nobody else has the session to close it
        running.close()
        raise

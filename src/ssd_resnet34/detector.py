"""``load()`` and ``Detector``: images in, detections out."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from os import PathLike
from typing import Any, Final, Literal, Self, TypeVar, overload

from .errors import ImageError, UsageError
from .model import SSDResNet34
from .runtime import session
from .runtime.pipeline import overlapped
from .runtime.session import EngineLike, Session
from .vision.detections import Detections
from .vision.images import DEFAULT_LIMITS, Colour, Image, Limits, Source, decode
from .vision.labels import listed
from .vision.postprocess import rules
from .vision.selection import Nms

Item = TypeVar("Item")

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
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        # Wrong options are refused now, not later.
        self._rules = rules(**vars(options), contract=session.contract)
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
        return self._detect(decode(images, colour=colour, limits=self.limits))

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
        ``streams + 2`` images are held, and so many are taken from ``images`` ahead. With one
        stream, images are done one by one for as long as the network has more than 92 % of the
        time: there, overlap costs more than it gains. On a GPU only decoding is left to the CPU;
        images go there ``batch`` at a time, and up to ``(streams + 1) · batch + threads + 1`` are
        held. (All three are properties of :attr:`session`.) For a live source, whose next image is
        a wait, call the detector itself.

        ``errors="return"`` yields the :class:`ImageError` of a refused image in its place and goes
        on; other errors always end the stream.

        Raises:
            UsageError: another value of ``errors``, or one image that is no series of them.
            ImageError: an image was refused, and ``errors="raise"``.
        """
        if errors not in ("raise", "return"):
            raise UsageError(f"errors: {errors!r} is unknown; give 'raise' or 'return'")
        file = isinstance(images, str | bytes | PathLike) or hasattr(images, "read")
        if file or getattr(images, "ndim", 0) in (2, 3):  # letters, lines and rows are no images
            raise UsageError("images: one alone; give a list of them, or call the detector itself")

        def read(source: Any) -> Image:
            return decode(source, colour=colour, limits=self.limits)

        for one in self.stream_pairs(images, read):
            if isinstance(one, ImageError):
                if errors == "raise":
                    raise one
                yield one
            else:
                yield one[1]

    def stream_pairs(
        self, sources: Iterable[Item], read: Callable[[Item], Image]
    ) -> Iterator[tuple[Image, Detections] | ImageError]:
        """:meth:`stream` for those who go on with the picture: each with its detections, in order.

        ``read`` makes a decoded image of a source, in threads; the :class:`ImageError` that it
        raises is yielded in the image's place.
        """

        def reading(source: Item) -> Image | ImageError:
            try:
                return read(source)
            except ImageError as error:
                return error

        def one(source: Item) -> tuple[Image, Detections] | ImageError:
            image = reading(source)
            return image if isinstance(image, ImageError) else (image, self._detect(image))

        if not self.session.whole_road:
            # With streams, networks are meant to run side by side; one has the machine to itself.
            busy = (lambda: self.session.busy) if self.session.streams == 1 else None
            yield from overlapped(one, sources, self.session.streams + 1, busy)
            return
        # A device has the whole road: threads decode, others hand batches over.
        with closing(overlapped(reading, sources, self.session.threads)) as decoded:
            batches = _batches(decoded, self.session.batch)
            for found in overlapped(self._together, batches, self.session.streams):
                yield from found

    def _together(
        self, images: "list[Image | ImageError]"
    ) -> list[tuple[Image, Detections] | ImageError]:
        """A batch on the device; what was refused keeps its place."""
        accepted = [image for image in images if isinstance(image, Image)]
        found = iter(self._on_device(accepted) if accepted else [])
        return [
            image if isinstance(image, ImageError) else (image, next(found)) for image in images
        ]

    def _detect(self, image: Image) -> Detections:
        if self.session.whole_road:
            (detections,) = self._on_device([image])
            return detections
        outputs = self.session.run(self.model.preprocess(image))
        (detections,) = self.model.postprocess(outputs, None, **vars(self.options), clip=True)
        return detections

    def _on_device(self, images: list[Image]) -> list[Detections]:
        return self.session.detect(images, self._rules, clip=True, model=self.model.name)

    def close(self) -> None:
        """Release the network; further calls raise ``SessionClosed``."""
        self.session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def load(
    weights: str | PathLike[str] | bytes = "embedded",
    *,
    engine: EngineLike = "auto",
    device: str = "cpu",
    precision: str = "auto",
    threads: int | None = None,
    streams: int | None = None,
    batch: int | None = None,
    score_threshold: float | Mapping[str | int, float] = DEFAULT_SCORE_THRESHOLD,
    iou_threshold: float = 0.5,
    pre_nms_top_k: int = 200,
    top_k: int = 200,
    nms: Nms = "exact",
    classes: Iterable[str | int] | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Detector:
    """A ready detector: by default the embedded weights in the fastest way this machine has.

    Args:
        weights: a record's name, a weights file or an artifact. The embedded ones know twelve
            categories of rendered scenes and are not for photographs: those need
            ``"mlcommons"`` (80 MB, fetched once).
        engine: ``"auto"``, ``"openvino"``, ``"onnxruntime"``, ``"torch"``, an installed
            extension's name, or an engine object.
        device: ``"cpu"``, or what the engine knows (``"cuda"``, ``"cuda:1"``).
        precision: ``"auto"``, ``"int8"``, ``"bf16"``, ``"fp16"``, ``"fp32"``.
        threads: CPU threads of a run; on a GPU, those that decode.
        streams: runs at the same time.
        batch: images that a stream hands to a GPU at once.
            These three: None is what was measured here, else the usual; see
            :func:`ssd_resnet34.session.create`.
        score_threshold, iou_threshold, pre_nms_top_k, top_k, nms, classes: as in
            :func:`ssd_resnet34.vision.postprocess.postprocess`.
        limits: largest image that is accepted.

    Raises:
        WeightsError, ArtifactError, SessionError, UsageError: each says what to do.
    """
    names = None if classes is None else tuple(listed(classes))
    options = Options(score_threshold, iou_threshold, pre_nms_top_k, top_k, nms, names)
    if precision == "auto" and not session.runs_int8(engine, device):
        # An engine without int8 gets the float artifact instead of a refusal.
        model = SSDResNet34(weights, session.float_precision(engine, device))
    else:
        model = SSDResNet34(weights, precision)
    running = session.create(
        model,
        engine=engine,
        device=device,
        precision=precision,
        threads=threads,
        streams=streams,
        batch=batch,
    )
    try:
        return Detector(model, running, options, limits)
    except BaseException:  # wrong options, an interrupt: nobody else has the session to close it
        running.close()
        raise


def _batches(images: Iterator[Item], size: int) -> Iterator[list[Item]]:
    """Lists of ``size``, the last one shorter; if the items fail, those before come first."""
    while True:
        batch: list[Item] = []
        try:
            batch.extend(islice(images, size))
        except Exception:
            if batch:
                yield batch
            raise
        if not batch:
            return
        yield batch

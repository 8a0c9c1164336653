"""Sessions: an artifact, compiled by an engine, ready to run."""

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, Self, cast

import numpy as np

from ..contract import Contract
from ..errors import InvalidInput, SessionClosed, SessionError, UsageError
from . import cache, engines, tuning
from .choosing import (
    EngineLike,
    check_device,
    choose_engine,
    float_precision,
    has_whole_road,
    runs_int8,
)
from .engines import CompileRequest, Runner, WholeRoad
from .opening import open_artifact
from .precision import Precision, check_artifact
from .tensors import Outputs, TensorDesc, input_descs, output_descs, read_inputs
from .tuning import Tuning

if TYPE_CHECKING:
    from ..vision.detections import Detections
    from ..vision.images import Image
    from ..vision.postprocess import Rules

MAX_THREADS: Final = 1024
MAX_STREAMS: Final = 64
MAX_BATCH: Final = 256

__all__ = [
    "EngineLike",
    "Outputs",
    "Session",
    "TensorDesc",
    "Tuning",
    "create",
    "float_precision",
    "has_whole_road",
    "runs_int8",
]


def create(
    model: Any,
    engine: EngineLike = "auto",
    device: str = "cpu",
    precision: str = "auto",
    threads: int | None = None,
    streams: int | None = None,
    batch: int | None = None,
) -> "Session":
    """Compile an artifact and give a session to run it.

    Args:
        model: an artifact's bytes, its path, or an object with ``.enf`` such as ``SSDResNet34``.
        engine: ``auto`` (the fastest that works here: openvino, onnxruntime, torch; on a GPU
            torch, onnxruntime), a name, or an object with the members of
            :class:`~ssd_resnet34.runtime.engines.Engine`.
        device: ``cpu``; ``cuda`` or ``cuda:1``; with onnxruntime also ``tensorrt``.
        precision: ``auto``, ``fp32``, ``bf16``, ``fp16`` or ``int8``. ``auto`` is int8 for an int8
            artifact, else the half precision that is fast, else fp32; ``Session.reason`` says why.
        threads: CPU threads of one run, 1 to 1024.
        streams: runs at the same time, 1 to 64; further callers wait.
        batch: images that a stream hands to the device at once, 1 to 256; a GPU's alone, since
            one image fills a CPU.

    With none of ``threads``, ``streams`` and ``batch``, they are those that ``ssd-resnet34 bench
    --tune`` found fastest here for this artifact, engine, precision and device; without such a
    measurement, and for those that are left out beside others, :func:`tuning.usual`.

    Raises:
        UsageError: an argument outside its range.
        ArtifactError, UnsafeWeights, ContractError: the model is refused before any engine sees it.
        EngineUnavailable: the engine is unknown, not installed, or not for that device.
        UnsupportedPrecision: artifact, engine and precision do not go together.
        SessionError: the engine failed.
    """
    threads = None if threads is None else _count("threads", threads, MAX_THREADS)
    streams = None if streams is None else _count("streams", streams, MAX_STREAMS)
    batch = None if batch is None else _count("batch", batch, MAX_BATCH)
    check_device(device)
    store = cache.default()
    opened = open_artifact(model, store)
    check_artifact(precision, opened.precision)
    chosen, choice = choose_engine(engine, device, precision, opened)
    whole_road = engines.has_whole_road(chosen, device)
    if batch is not None and batch > 1 and not whole_road:
        raise UsageError(
            f"batch: {batch} has no effect, since engine {chosen.name} takes the images of a "
            f"stream on {device} one by one; leave it out, or use engine torch on a GPU"
        )
    key = tuning.key(chosen, opened.sha256, choice.precision, device)
    measured = None
    if threads is None and streams is None and batch is None:
        measured = tuning.recall(store, key)
    usual = measured or tuning.usual(device)
    request = CompileRequest(
        contract=opened.contract,
        precision=choice.precision,
        device=device,
        threads=threads or usual.threads,
        streams=streams or usual.streams,
        sha256=opened.sha256,
        cache=store,
    )
    return Session(
        chosen.name,
        chosen.compile(opened.data, request),
        request,
        choice.reason,
        whole_road=whole_road,
        batch=batch or (usual.batch if whole_road else 1),
        tuning_key=key,
        tuned=measured is not None,
    )


def _count(name: str, value: Any, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise UsageError(f"{name}: expected an integer from 1 to {most}; found {value!r}")
    if not 1 <= value <= most:
        raise UsageError(f"{name}: {value} is outside 1 to {most}")
    return int(value)


class Session:
    """A network ready to run; made by :func:`create`, safe from several threads.

    Close it, or use it as a context manager. ``close`` waits for runs that have begun.
    """

    def __init__(
        self,
        engine: str,
        runner: Runner,
        request: CompileRequest,
        reason: str,
        *,
        whole_road: bool,
        batch: int,
        tuning_key: Mapping[str, str | int],
        tuned: bool,
    ) -> None:
        self._engine = engine
        self._runner = runner
        self._request = request
        self._reason = reason
        self._whole_road = whole_road
        self._batch = batch
        self._tuning_key = tuning_key
        self._tuned = tuned
        self._state = threading.Condition()
        self._running = 0
        self._busy = 0.0
        self._closing = False
        self._closed = False

    def run(self, inputs: Any) -> Outputs:
        """The twelve heads of a batch of images.

        Args:
            inputs: what ``preprocess`` gives, or float32 [N, 3, 1200, 1200], RGB, normalised: one
                array, a list of one array, a (tensor, contexts) pair, or a list of
                ``ModelInput`` or pairs, which run as one batch.

        Returns:
            Twelve new float32 arrays [N, channels, size, size], ``cls_0..cls_5, loc_0..loc_5``,
            carrying the contexts of the input.

        Raises:
            InvalidInput: wrong type, number, shape or dtype; NaN or infinity.
            SessionClosed: the session is closed, or was while this call waited for its turn.
            SessionError: the engine failed.
        """
        self._check_open()
        tensor, contexts = read_inputs(inputs)
        with self._turn():
            heads = list(self._runner.run(tensor))
        self._check_heads(heads, len(tensor))
        return Outputs(heads, contexts)

    def detect(
        self, images: "Sequence[Image]", rules: "Rules", *, clip: bool = False, model: str = ""
    ) -> "list[Detections]":
        """Detections of decoded images, everything on the device; where :attr:`whole_road` is.

        The same as ``preprocess``, :meth:`run` and ``postprocess``, to rounding.

        Args:
            images: of any sizes, at least one.
            rules: of :func:`ssd_resnet34.vision.postprocess.rules`.
            clip: cut the boxes at the border of the image.
            model: name of the model, noted in the results.

        Raises:
            InvalidInput: no images.
            HeadsError: NaN or infinity among the heads.
            SessionClosed: the session is closed, or was while this call waited for its turn.
            SessionError: the engine failed, or has no such road.
        """
        from ..vision.postprocess import as_detections
        from ..vision.preprocess import ImageContext

        self._check_open()
        if not self.whole_road:
            raise SessionError(
                f"engine {self.engine} runs the network alone on {self.device}; use preprocess, "
                "run and postprocess"
            )
        if not images:
            raise InvalidInput("expected decoded images; found none; give at least one")
        runner = cast(WholeRoad, self._runner)
        with self._turn():
            found = runner.detect([image.pixels for image in images], rules)
        return [
            as_detections(
                one, ImageContext(image.width, image.height, image.name), self.contract, clip, model
            )
            for image, one in zip(images, found, strict=True)
        ]

    def inputs(self) -> list[TensorDesc]:
        """The one input: ``image``, float32 [N, 3, 1200, 1200]."""
        self._check_open()
        return input_descs()

    def outputs(self) -> list[TensorDesc]:
        """The twelve outputs in order, float32 [N, channels, size, size]."""
        self._check_open()
        return output_descs(self.contract)

    def summary(self) -> str:
        """Inputs and outputs as text, shapes for a batch of one; and what runs them."""
        lines = []
        for heading, descs in (("Inputs:", self.inputs()), ("Outputs:", self.outputs())):
            lines += [heading, "{"]
            lines += [f"    {n}: {desc}" for n, desc in enumerate(descs)]
            lines += ["}"]
        return "\n".join([*lines, f"Engine: {self.setting}"])

    def print_summary(self) -> None:
        """Print :meth:`summary` on stdout."""
        print(self.summary())

    def close(self) -> None:
        """Wait for running calls and release the engine; further calls do nothing."""
        with self._state:
            self._closing = True
            self._state.notify_all()
            while self._running:
                self._state.wait()
            if not self._closed:
                self._closed = True
                self._runner.close()

    def __enter__(self) -> Self:
        self._check_open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = ", closed" if self.closed else ""
        return f"<Session {self.engine} {self.precision} on {self.device}{state}>"

    @property
    def closed(self) -> bool:
        """Whether ``close()`` was called."""
        return self._closing

    @property
    def engine(self) -> str:
        """Name of the engine that runs this session."""
        return self._engine

    @property
    def precision(self) -> Precision:
        """What the network runs in."""
        return self._request.precision

    @property
    def reason(self) -> str:
        """Why this precision."""
        return self._reason

    @property
    def setting(self) -> str:
        """What runs, in a line: engine, precision and why, device, threads, streams, batch."""
        return (
            f"{self.engine}, {self.precision} ({self.reason}), device {self.device}, "
            f"{tuning.text(Tuning(self.threads, self.streams, self.batch))}"
            f"{' (measured)' if self.tuned else ''}"
        )

    @property
    def device(self) -> str:
        """Where the network runs, such as ``cpu`` or ``cuda:0``."""
        return self._request.device

    @property
    def gpu(self) -> str:
        """The GPU's own name; "" on a CPU, and where the engine does not tell."""
        return str(self._tuning_key["gpu"])

    @property
    def threads(self) -> int:
        """CPU threads of one run."""
        return self._request.threads

    @property
    def streams(self) -> int:
        """Runs at the same time."""
        return self._request.streams

    @property
    def batch(self) -> int:
        """Images that a stream hands to the device at once; 1 where :attr:`whole_road` is not."""
        return self._batch

    @property
    def tuned(self) -> bool:
        """Whether threads, streams and batch are those that were measured here."""
        return self._tuned

    @property
    def whole_road(self) -> bool:
        """Whether :meth:`detect` goes from pixels to boxes on the device."""
        return self._whole_road

    @property
    def busy(self) -> float:
        """Seconds for which the engine has run so far, those of all streams together."""
        return self._busy

    def remember(self, fastest: Tuning) -> None:
        """Make ``fastest`` what sessions of the same artifact, engine, precision, device and
        machine use from now on, where none of the three is asked for."""
        tuning.remember(self._request.cache, self._tuning_key, fastest)

    @property
    def contract(self) -> Contract:
        """What the input and the outputs mean."""
        return self._request.contract

    @property
    def sha256(self) -> str:
        """Of the artifact's bytes, hexadecimal."""
        return self._request.sha256

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """One of ``streams`` places at the engine; waits for it."""
        with self._state:
            while self._running >= self._request.streams and not self._closing:
                self._state.wait()
            self._check_open()
            self._running += 1
        began = perf_counter()
        try:
            yield
        finally:
            with self._state:
                self._busy += perf_counter() - began
                self._running -= 1
                self._state.notify_all()

    def _check_open(self) -> None:
        if self._closing:
            raise SessionClosed("the session is closed; make another with session.create(model)")

    def _check_heads(self, heads: list[Any], batch: int) -> None:
        """An engine of another distribution may be wrong; its mistake must not look like ours."""
        wanted = [
            (name, (batch, *shape), "float32")
            for name, shape in self.contract.head_shapes().items()
        ]
        if len(heads) != len(wanted):
            raise SessionError(
                f"engine {self.engine} gave {len(heads)} heads, not {len(wanted)}; report it to "
                "its authors"
            )
        for head, (name, shape, dtype) in zip(heads, wanted, strict=True):
            if not isinstance(head, np.ndarray) or head.shape != shape or head.dtype != dtype:
                found = f"{getattr(head, 'dtype', type(head).__name__)} {np.shape(head)}"
                raise SessionError(
                    f"engine {self.engine} gave {name} as {found}, not {dtype} {shape}; report it "
                    "to its authors"
                )

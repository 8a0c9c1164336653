"""Sessions: an artifact, compiled by an engine, ready to run."""

import re
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Final, Self

import numpy as np

from ..contract import Contract
from ..errors import (
    EngineUnavailable,
    SessionClosed,
    SessionError,
    UnsupportedPrecision,
    UsageError,
)
from . import cache, cpu, engines
from .engines import CompileRequest, Engine, Runner
from .opening import OpenedArtifact, open_artifact
from .precision import Choice, Precision, check_artifact, choose
from .tensors import Outputs, TensorDesc, input_descs, output_descs, read_inputs

MAX_THREADS: Final = 1024
MAX_STREAMS: Final = 64

EngineLike = str | Engine | Callable[[], Engine]
"""``auto``, an engine's name, an engine, or a class or function that gives one."""

__all__ = [
    "EngineLike",
    "Outputs",
    "Session",
    "TensorDesc",
    "create",
    "float_precision",
    "runs_int8",
]


def create(
    model: Any,
    engine: EngineLike = "auto",
    device: str = "cpu",
    precision: str = "auto",
    threads: int | None = None,
    streams: int = 1,
) -> "Session":
    """Compile an artifact and give a session to run it.

    Args:
        model: an artifact's bytes, its path, or an object with ``.enf`` such as ``SSDResNet34``.
        engine: ``auto`` (the fastest that works here: openvino, onnxruntime, torch), a name, or an
            object with the members of :class:`~ssd_resnet34.runtime.engines.Engine`.
        device: ``cpu``, ``cuda`` or ``cuda:1``.
        precision: ``auto``, ``fp32``, ``bf16`` or ``int8``. ``auto`` is int8 for an int8 artifact,
            else bf16 where it is fast, else fp32; ``Session.reason`` says why.
        threads: CPU threads of one run, 1 to 1024; default: what affinity and control groups allow.
        streams: runs at the same time, 1 to 64; further callers wait. One run uses all threads,
            so more streams seldom gain on a CPU.

    Raises:
        UsageError: an argument outside its range.
        ArtifactError, UnsafeWeights, ContractError: the model is refused before any engine sees it.
        EngineUnavailable: the engine is unknown, not installed, or not for that device.
        UnsupportedPrecision: artifact, engine and precision do not go together.
        SessionError: the engine failed.
    """
    threads = (
        cpu.available_threads() if threads is None else _count("threads", threads, MAX_THREADS)
    )
    streams = _count("streams", streams, MAX_STREAMS)
    _check_device(device)
    store = cache.default()
    opened = open_artifact(model, store)
    check_artifact(precision, opened.precision)
    chosen, choice = _choose_engine(engine, device, precision, opened)
    request = CompileRequest(
        contract=opened.contract,
        artifact_precision=opened.precision,
        precision=choice.precision,
        device=device,
        threads=threads,
        streams=streams,
        sha256=opened.sha256,
        cache=store,
    )
    return Session(chosen.name, chosen.compile(opened.data, request), request, choice.reason)


def _check_device(device: Any) -> None:
    if not isinstance(device, str) or not re.fullmatch(r"[a-z]+(:[0-9]{1,3})?", device):
        raise UsageError(f"device {device!r} is not a device; use 'cpu', 'cuda' or 'cuda:1'")


def _count(name: str, value: Any, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise UsageError(f"{name}: expected an integer from 1 to {most}; found {value!r}")
    if not 1 <= value <= most:
        raise UsageError(f"{name}: {value} is outside 1 to {most}")
    return int(value)


def runs_int8(engine: EngineLike = "auto", device: str = "cpu") -> bool:
    """Whether this engine (``auto``: the first that works here) runs int8 artifacts on ``device``.

    Raises:
        UsageError: not a device.
        EngineUnavailable: the engine is unknown, not installed, or not for that device.
    """
    _, table = _first_engine(engine, device)
    return table.get("int8") == ""


def float_precision(engine: EngineLike = "auto", device: str = "cpu") -> Precision:
    """The faster of fp32 and bf16 with this engine: what ``auto`` makes of an fp32 artifact.

    Raises:
        UsageError: not a device.
        EngineUnavailable: the engine is unknown, not installed, or not for that device.
        UnsupportedPrecision: it runs neither.
    """
    found, table = _first_engine(engine, device)
    return choose("auto", "fp32", found.name, table, device).precision


def _first_engine(engine: EngineLike, device: str) -> tuple[Engine, Mapping[str, str]]:
    """The engine (``auto``: the first that works here) and its table of precisions."""
    _check_device(device)
    if engine != "auto":
        found = engines.find(engine)
        return found, found.precisions(device)
    reasons: list[str] = []
    for name in engines.BUILT_IN:
        try:
            found = engines.find(name)
            return found, found.precisions(device)
        except EngineUnavailable as error:
            reasons.append(str(error))
    raise EngineUnavailable(f"no engine works on device {device}:\n" + "\n".join(reasons))


def _choose_engine(
    engine: EngineLike, device: str, precision: str, opened: OpenedArtifact
) -> tuple[Engine, Choice]:
    if engine != "auto":
        found, table = _first_engine(engine, device)
        return found, choose(precision, opened.precision, found.name, table, device)
    reasons: list[str] = []
    kind: type[SessionError] = EngineUnavailable
    for name in engines.BUILT_IN:
        try:
            found, table = _first_engine(name, device)
            return found, choose(precision, opened.precision, name, table, device)
        except EngineUnavailable as error:
            reasons.append(str(error))
        except UnsupportedPrecision as error:
            reasons.append(str(error))
            kind = UnsupportedPrecision
    what = f"an {opened.precision} artifact on {device}"
    raise kind(f"no engine can run {what} with precision={precision!r}:\n" + "\n".join(reasons))


class Session:
    """A network ready to run; made by :func:`create`, safe from several threads.

    Close it, or use it as a context manager. ``close`` waits for runs that have begun.
    """

    def __init__(self, engine: str, runner: Runner, request: CompileRequest, reason: str) -> None:
        self._engine = engine
        self._runner = runner
        self._request = request
        self._reason = reason
        self._state = threading.Condition()
        self._running = 0
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
            InvalidInput: wrong type, number, shape or dtype.
            SessionClosed: the session is closed, or was while this call waited for its turn.
            SessionError: the engine failed.
        """
        self._check_open()
        tensor, contexts = read_inputs(inputs)
        with self._state:
            while self._running >= self._request.streams and not self._closing:
                self._state.wait()
            self._check_open()
            self._running += 1
        try:
            heads = list(self._runner.run(tensor))
        finally:
            with self._state:
                self._running -= 1
                self._state.notify_all()
        self._check_heads(heads, len(tensor))
        return Outputs(heads, contexts)

    def inputs(self) -> list[TensorDesc]:
        """The one input: ``image``, float32 [N, 3, 1200, 1200]."""
        self._check_open()
        return input_descs(self.contract)

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
        lines.append(
            f"Engine: {self.engine}, {self.precision} ({self.reason}), device {self.device}, "
            f"threads {self.threads}, streams {self.streams}"
        )
        return "\n".join(lines)

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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = ", closed" if self.closed else ""
        return f"<Session {self.engine} {self.precision} on {self.device}{state}>"

    @property
    def closed(self) -> bool:
        return self._closing

    @property
    def engine(self) -> str:
        """Name of the engine that runs this session."""
        return self._engine

    @property
    def precision(self) -> Precision:
        return self._request.precision

    @property
    def reason(self) -> str:
        """Why this precision."""
        return self._reason

    @property
    def device(self) -> str:
        return self._request.device

    @property
    def threads(self) -> int:
        """CPU threads of one run."""
        return self._request.threads

    @property
    def streams(self) -> int:
        """Runs at the same time."""
        return self._request.streams

    @property
    def contract(self) -> Contract:
        """What the input and the outputs mean."""
        return self._request.contract

    @property
    def sha256(self) -> str:
        """Of the artifact's bytes, hexadecimal."""
        return self._request.sha256

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

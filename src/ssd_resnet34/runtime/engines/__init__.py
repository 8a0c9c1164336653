"""Engines: what turns an artifact's bytes into something that runs.

An engine is anything with the three members of :class:`Engine`; a session does all the rest
(inputs, contexts, threads, closing). OpenVINO, ONNX Runtime and PyTorch are built in; another
distribution adds one with an entry point in the group ``ssd_resnet34.engines``, or hand the
object itself to ``session.create(engine=...)``.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any, Final, Protocol, cast, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ...contract import Contract
from ...errors import EngineUnavailable, UnknownEngine, UsageError
from ...spelling import did_you_mean
from ..cache import Cache
from ..precision import PRECISIONS, Precision
from ..tensors import Array

if TYPE_CHECKING:
    from ...vision.postprocess import Rules
    from ...vision.selection import Candidates

ENTRY_POINTS: Final = "ssd_resnet34.engines"
"""Entry-point group; an entry's object is an engine, or a class or function that gives one."""

BUILT_IN: Final[Mapping[str, str]] = {
    "openvino": "OpenVINOEngine",
    "onnxruntime": "ONNXRuntimeEngine",
    "torch": "TorchEngine",
}
"""Name (also of the module) -> class: what ``auto`` tries on a CPU, in this order, the fastest
first. See :func:`order`."""

ON_GPUS: Final = ("torch", "onnxruntime", "openvino")
"""What ``auto`` tries on any other device, in this order: torch first, which alone has the whole
road there."""


@dataclass(frozen=True, slots=True)
class CompileRequest:
    """What a session wants of an engine."""

    contract: Contract
    precision: Precision
    """``int8`` for an int8 artifact, and only for one."""
    device: str
    threads: int
    streams: int
    """Most calls of ``Runner.run`` at the same time; the session sees to it."""
    sha256: str
    """Of the artifact's bytes, hexadecimal: the key of anything cached."""
    cache: Cache


class Runner(Protocol):
    """A compiled network."""

    def run(self, tensor: Array, /) -> Sequence[Array]:
        """Heads of float32 [N, 3, 1200, 1200], N ≥ 1: twelve new float32 arrays in contract order.

        At most ``CompileRequest.streams`` calls at a time, from any threads.
        """
        ...

    def close(self) -> None:
        """Release everything; called once, while nothing runs."""
        ...


class WholeRoad(Runner, Protocol):
    """A runner with the whole road on its device: of engines that :func:`has_whole_road`."""

    def detect(self, images: Sequence[NDArray[np.uint8]], rules: "Rules", /) -> list["Candidates"]:
        """The chosen boxes of decoded images, BGR uint8 (H, W, 3) of any sizes, at least one.

        They agree with preprocessing, :meth:`Runner.run` and postprocessing on the host.
        At most ``CompileRequest.streams`` calls at a time, from any threads.
        """
        ...


@runtime_checkable
class Engine(Protocol):
    """A way to run artifacts.

    It may also have ``version``, text, which ``info`` shows, and ``device_name(device)``, the GPU's
    own name: a measurement of ``bench --tune`` holds for both. And ``whole_road(device)``, see
    :func:`has_whole_road`.
    """

    @property
    def name(self) -> str:
        """A short name, as in ``engine="openvino"``."""
        ...

    def precisions(self, device: str, /) -> Mapping[str, str]:
        """fp32, bf16, fp16, int8 -> why it cannot be had on ``device``, "" where it can.

        Raises:
            EngineUnavailable: the engine cannot run on that device at all; says what to do.
        """
        ...

    def compile(self, model: bytes, request: CompileRequest, /) -> Runner:
        """Make a checked artifact ready to run.

        Raises:
            SessionError: the engine refuses it; says why.
        """
        ...


def find(engine: str | Engine | Callable[[], Engine]) -> Engine:
    """The engine of that name, or the given engine; a class or function is called for one.

    Raises:
        UnknownEngine: no such engine; names those there are.
        EngineUnavailable: its package is missing or broken.
        UsageError: an object that is no engine.
    """
    if not isinstance(engine, str):
        return _as_engine(engine, "engine")
    if engine in BUILT_IN:
        made = getattr(import_module(f"{__name__}.{engine}"), BUILT_IN[engine])()
        return cast(Engine, made)
    for entry in metadata.entry_points(group=ENTRY_POINTS):
        if entry.name == engine:
            try:
                return _as_engine(entry.load(), f"entry point {entry.value}")
            except (ImportError, AttributeError) as error:  # the latter: an outdated entry point
                raise EngineUnavailable(
                    f"engine {engine!r} ({entry.value}) cannot be imported: {error}; install what "
                    "its distribution needs"
                ) from error
    known = ["auto", *names()]
    raise UnknownEngine(
        f"engine {engine!r} is unknown; {did_you_mean(engine, known)}there are {', '.join(known)}"
    )


def has_whole_road(engine: Engine, device: str) -> bool:
    """Whether the engine's runners on ``device`` are :class:`WholeRoad`: it says so in a method
    ``whole_road(device)``, which engines without such a road need not have.
    """
    answer = getattr(engine, "whole_road", None)
    return bool(answer(device)) if callable(answer) else False


def order(device: str) -> list[str]:
    """The built-in engines as ``auto`` tries them on ``device``."""
    return list(BUILT_IN if device == "cpu" else ON_GPUS)


def names() -> list[str]:
    """Engines that can be named: the built-in ones, then those of entry points."""
    others = {entry.name for entry in metadata.entry_points(group=ENTRY_POINTS)}
    return [*BUILT_IN, *sorted(others - set(BUILT_IN))]


def _table(engine: Engine, device: str) -> dict[str, str]:
    table = dict(engine.precisions(device))
    if unknown := sorted(table.keys() - set(PRECISIONS)):
        raise UsageError(
            f"{unknown[0]!r} is no precision, there are {', '.join(PRECISIONS)}; report it to its "
            "authors"
        )
    return table


def _as_engine(candidate: Any, what: str) -> Engine:
    if isinstance(candidate, type) or (callable(candidate) and not isinstance(candidate, Engine)):
        candidate = candidate()
    if isinstance(candidate, Engine):
        return candidate
    raise UsageError(
        f"{what}: a {type(candidate).__name__} is no engine; it needs name, precisions(device) and "
        "compile(model, request)"
    )


def import_engine(package: str, requirement: str) -> Any:
    """The engine's Python package, without the telemetry of OpenVINO's import.

    Raises:
        EngineUnavailable: not installed, or broken; the message has the pip command.
    """
    try:
        with _absent("openvino_telemetry"):
            return import_module(package)
    except ImportError as error:
        state = "not installed"
        if getattr(error, "name", None) != package:
            state = f"installed but cannot be imported ({error})"
        raise EngineUnavailable(f"{package} is {state}: pip install '{requirement}'") from error


@contextmanager
def _absent(package: str) -> Iterator[None]:
    """As if the package were not installed, for those who have not imported it yet: OpenVINO then
    takes a stub of its own, and sends no event at its import."""
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment]  # so Python marks what cannot be had
    try:
        yield
    finally:
        del sys.modules[package]


def version_of(package: str) -> str:
    """Version of an installed package without importing it, "" where it is not there."""
    for distribution in (package, f"{package}-gpu"):  # ONNX Runtime's with CUDA has another name
        with suppress(metadata.PackageNotFoundError):
            return metadata.version(distribution)
    return ""


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """An engine as ``info`` shows it."""

    name: str
    version: str
    unavailable: str
    """Why it cannot be used on the device, "" where it can."""
    precisions: Mapping[str, str]
    """Precision -> why not, "" where it can be had."""


def describe(device: str = "cpu") -> list[EngineInfo]:
    """Every known engine with its version, and what it can do on ``device`` or why not.

    Imports the engines' packages (a second or two with PyTorch). An engine of another distribution
    that fails is one more that is not available.
    """
    found = []
    for name in names():
        version = version_of(name)
        try:
            engine = find(name)
            version = getattr(engine, "version", version)
            found.append(EngineInfo(name, version, "", _table(engine, device)))
        except (EngineUnavailable, UsageError) as error:
            found.append(EngineInfo(name, version, str(error), {}))
        except Exception as error:
            if name in BUILT_IN:
                raise
            failure = f"{type(error).__name__}: {error}; report it to its authors"
            found.append(EngineInfo(name, version, failure, {}))
    return found

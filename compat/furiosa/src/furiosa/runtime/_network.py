"""A session of ``ssd_resnet34`` behind the vendor's options, inputs and errors."""

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

import ssd_resnet34
from furiosa._settings import release
from ssd_resnet34.contract import Contract
from ssd_resnet34.errors import (
    ArtifactError,
    ContractError,
    SSDResNet34Error,
    UnsupportedPrecision,
    UsageError,
    WeightsError,
)
from ssd_resnet34.errors import SessionClosed as CoreClosed
from ssd_resnet34.runtime import cpu
from ssd_resnet34.runtime import session as core
from ssd_resnet34.runtime.tensors import Outputs, input_descs, output_descs
from ssd_resnet34.vision.preprocess import preprocess

from . import _devices, profiler
from .errors import (
    CompilationFailed,
    IncompatibleModel,
    InternalError,
    InvalidCompilerConfig,
    InvalidSessionOption,
    SessionClosed,
    UnsupportedTensorType,
    WrongShape,
    WrongType,
)
from .model import Model
from .tensor import DataType, Tensor, TensorArray, TensorDesc

_LOG: Final = logging.getLogger("furiosa.runtime")

_MAX_BATCH: Final = 1024


@dataclass(frozen=True)
class Request:
    """Checked inputs: uint8 pixels or normalised float32 [B, 3, 1200, 1200]."""

    tensor: NDArray[Any]
    contexts: Sequence[Any] | None

    def copy(self) -> "Request":
        """One that the caller's writing does not change."""
        return Request(self.tensor.copy(), self.contexts)


class Network:
    """A network that is ready to run, in ``streams`` places at a time.

    Args:
        model: bytes, a path, or an object with ``enf`` or ``__bytes__``: an artifact of
            ``ssd_resnet34``, or weights that it can read.
        device: see :func:`._devices.parse`; each device is a replica.
        worker_num: parallel requests, on each device.
        batch_size: images of a run.
        compiler_config: nothing but an empty one.
        compiler_hints: whether what was chosen is logged (``furiosa.runtime``, level INFO).

    Raises:
        TypeError: a model of another type.
        InvalidSessionOption, InvalidCompilerConfig: an option that has no meaning here.
        IncompatibleModel: it cannot be read, or is another network.
        CompilationFailed: no engine takes it.
    """

    def __init__(
        self,
        model: Any,
        device: str | None,
        worker_num: int | None,
        batch_size: int | None,
        compiler_config: Mapping[str, object] | None,
        compiler_hints: bool | None = False,
    ) -> None:
        placed = _devices.parse(device)
        workers = 1 if worker_num is None else count("worker_num", worker_num, _devices.MOST)
        batch = 1 if batch_size is None else count("batch_size", batch_size, _MAX_BATCH)
        _check_config(compiler_config)
        if not isinstance(compiler_hints, bool | None):
            raise InvalidSessionOption(f"compiler_hints: {compiler_hints!r}; give True or False")
        self.streams = workers * placed.replicas
        if self.streams > _devices.MOST:
            raise InvalidSessionOption(
                f"worker_num: {workers} on each of {placed.replicas} devices is more than "
                f"{_devices.MOST} at a time; give less"
            )
        self._session = _opened(_source(model), placed.device, self.streams)
        self.contract = self._session.contract
        self.model = _described(self.contract, batch, self._session.precision)
        if compiler_hints:
            _LOG.info("%s", self.choice)

    @property
    def choice(self) -> str:
        """Engine, precision and why, device, threads."""
        return self._session.summary().splitlines()[-1]

    def read(self, inputs: Any, *, any_iterable: bool = False) -> Request:
        """The checked input of one run.

        Args:
            inputs: one array, a list of one, a :class:`TensorArray`, or what ``preprocess`` gave.
            any_iterable: also a tuple, a generator … of one array (0.10's runner).

        Raises:
            UnsupportedTensorType: another type.
            InvalidInput: another number, shape or dtype.
        """
        contexts = None
        if isinstance(getattr(inputs, "tensor", None), np.ndarray):  # a ModelInput
            inputs, contexts = [inputs.tensor], inputs.contexts
        elif isinstance(inputs, TensorArray):
            inputs = inputs.view()
        elif hasattr(inputs, "__array__"):
            inputs = [inputs]
        elif any_iterable and isinstance(inputs, Iterable) and not isinstance(inputs, str | bytes):
            inputs = list(inputs)
        elif not isinstance(inputs, list):
            raise _no_array(inputs)
        if len(inputs) != 1:
            raise WrongShape(f"{len(inputs)} tensors, where the network has one input; give one")
        tensor = self._checked(inputs[0])
        if contexts is not None and len(contexts) != len(tensor):
            raise WrongShape(f"{len(contexts)} contexts for {len(tensor)} images; give one each")
        return Request(tensor, contexts)

    def _checked(self, value: Any) -> NDArray[Any]:
        if not hasattr(value, "__array__"):
            raise _no_array(value)
        array = np.asarray(value)
        desc = self.model.input(0)
        if array.dtype not in (np.uint8, np.float32):
            raise WrongType(
                f"{desc.name}: {array.dtype}; give uint8 pixels (0..255) or normalised float32, "
                "as preprocess makes them"
            )
        if array.shape != desc.shape:
            raise WrongShape(
                f"{desc.name}: shape {array.shape} is not {desc.shape}; preprocess makes it, and "
                "batch_size=N sets the first dimension"
            )
        return array

    def run(self, request: Request) -> Outputs:
        """The twelve heads, new arrays.

        Raises:
            SessionClosed: closed meanwhile.
            InternalError: the engine failed.
        """
        began = time.perf_counter_ns()
        tensor = request.tensor
        if tensor.dtype == np.uint8:
            # Of an image that has its final size, preprocessing is the normalisation alone.
            pictures = list(tensor.transpose(0, 2, 3, 1))
            tensor = preprocess(pictures, self.contract, colour="rgb").tensor
        try:
            heads = self._session.run(tensor)
        except CoreClosed as error:
            raise SessionClosed(str(error)) from error
        except SSDResNet34Error as error:
            raise InternalError(str(error)) from error
        profiler.note("Inference", began)
        return Outputs(heads, request.contexts)

    def arrays(self, heads: Outputs) -> TensorArray:
        """Heads as tensors."""
        descs = self.model.outputs()
        return TensorArray(map(Tensor, descs, heads), heads.contexts)

    def close(self) -> None:
        """Wait for runs that have begun, release the engine."""
        self._session.close()


def count(name: str, value: Any, most: int) -> int:
    """An option that is a number from 1.

    Raises:
        InvalidSessionOption: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 1 <= value <= most:
        raise InvalidSessionOption(f"{name}: {value!r}; give an integer from 1 to {most}")
    return int(value)


def _no_array(value: Any) -> UnsupportedTensorType:
    return UnsupportedTensorType(
        f"a {type(value).__name__}; give a numpy array, a list of one, a TensorArray, or what "
        "preprocess returned"
    )


def _check_config(config: Any) -> None:
    if config is None or config == {}:
        return
    if not isinstance(config, Mapping):
        raise InvalidCompilerConfig(f"compiler_config: a {type(config).__name__}; leave it out")
    raise InvalidCompilerConfig(
        f"compiler_config: {', '.join(map(str, config))}: switches of the vendor's compiler, which "
        "is not part of this distribution; leave them out"
    )


def _source(model: Any) -> bytes | str | PathLike[str]:
    if not isinstance(model, bytes | str | PathLike):
        enf = getattr(model, "enf", None)
        if isinstance(enf, bytes):
            return enf
        if isinstance(model, bytearray | memoryview) or hasattr(model, "__bytes__"):
            return bytes(model)
        raise TypeError(
            f"model: a {type(model).__name__}; give bytes, a path, or an object with __bytes__"
        )
    return model


def _opened(source: bytes | str | PathLike[str], device: str, streams: int) -> core.Session:
    threads = max(1, cpu.available_threads() // streams) if streams > 1 else None
    options: dict[str, Any] = {"device": device, "streams": streams, "threads": threads}
    try:
        try:
            return core.create(source, **options)
        except (ArtifactError, ContractError):
            # No artifact; the vendor's runtime compiles any ONNX, so it may be weights.
            return core.create(ssd_resnet34.SSDResNet34(source), **options)
    except (ArtifactError, ContractError, WeightsError, UnsupportedPrecision) as error:
        raise IncompatibleModel(str(error)) from error
    except UsageError as error:
        raise InvalidSessionOption(str(error)) from error
    except SSDResNet34Error as error:
        raise CompilationFailed(str(error)) from error


def _described(contract: Contract, batch: int, precision: str) -> Model:
    # The vendor's compiled models take pixels since 0.9; the others floats.
    pixels = precision == "int8" and release() != "0.8"
    return Model(
        tuple(
            TensorDesc(
                desc.name,
                (batch, *desc.shape[1:]),
                DataType.UINT8 if pixels else DataType.FLOAT32,
            )
            for desc in input_descs()
        ),
        tuple(
            TensorDesc(desc.name, (batch, *desc.shape[1:]), DataType.FLOAT32)
            for desc in output_descs(contract)
        ),
    )

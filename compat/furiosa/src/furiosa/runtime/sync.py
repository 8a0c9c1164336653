"""``furiosa.runtime.sync``: runners and queues of 0.10, blocking."""

import warnings
import weakref
from collections.abc import Iterator, Mapping
from os import PathLike
from types import TracebackType
from typing import Any, Final, Self, SupportsBytes, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ssd_resnet34.runtime.tensors import Outputs

from ._network import Network, count
from ._queue import CLOSE_SECONDS as CLOSE_SECONDS
from ._queue import Pipeline
from .errors import FuriosaRuntimeError, FuriosaRuntimeWarning, SessionClosed, SessionTerminated
from .model import Model
from .session import MAX_QUEUE
from .tensor import Axis, DataType, TensorDesc, zeros

__all__ = [
    "Axis",
    "DataType",
    "FuriosaRuntimeError",
    "FuriosaRuntimeWarning",
    "Model",
    "ModelSource",
    "Receiver",
    "Runner",
    "Runtime",
    "Submitter",
    "Tensor",
    "TensorArray",
    "TensorDesc",
    "create_queue",
    "create_runner",
]

ModelSource: TypeAlias = str | PathLike[str] | bytes | bytearray | SupportsBytes
Tensor: TypeAlias = NDArray[Any] | np.generic
TensorArray: TypeAlias = Any
"""Any iterable of one :data:`Tensor`, or one alone."""

QUEUE_SIZE: Final = 128
"""Entries of a queue whose size is not given."""


class _Closing:
    """``close()`` and the context manager around it."""

    def close(self) -> bool:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self.close():
            warnings.warn(
                f"{type(self).__name__} still runs {CLOSE_SECONDS:g} s after it was closed",
                FuriosaRuntimeWarning,
                stacklevel=2,
            )


class Runner(_Closing):
    """A network ready to run; safe from several threads."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._closed = False

    @property
    def model(self) -> Model:
        """Inputs and outputs."""
        return self._network.model

    def run(self, inputs: TensorArray) -> Outputs:
        """The twelve heads of a batch.

        Args:
            inputs: an array, any iterable of one, or what ``preprocess`` gave: uint8 pixels
                0..255 or normalised float32 of exactly the shape of ``model.input(0)``. Not copied.

        Returns:
            New arrays float32, cls_0..cls_5, loc_0..loc_5.

        Raises:
            TypeError: another type or dtype.
            ValueError: another number or shape.
            FuriosaRuntimeError: use after close, or the engine failed.
        """
        if self._closed:
            raise SessionClosed("the runner is closed; create another one")
        return self._network.run(self._network.read(inputs, any_iterable=True))

    def run_with(self, outputs: list[str], inputs: Mapping[str, Any]) -> list[NDArray[np.float32]]:
        """The outputs that are named, in that order; all inputs by name.

        Raises:
            ValueError: no such output or input, or a missing one; TypeError: no names.
        """
        wanted, values = self.model.places(outputs, inputs)
        heads = self.run(values)
        return [heads[n] for n in wanted]

    def close(self) -> bool:
        """Wait for runs that have begun and release the engine; True."""
        self._closed = True
        self._network.close()
        return True

    def __del__(self) -> None:
        if hasattr(self, "_network"):
            self.close()


class Submitter(_Closing):
    """The submitting side of a queue; safe from several threads."""

    def __init__(self, network: Network, pipeline: Pipeline) -> None:
        self._network, self._pipeline = network, pipeline

    @property
    def model(self) -> Model:
        """Inputs and outputs."""
        return self._network.model

    def allocate(self) -> list[NDArray[Any]]:
        """New arrays for the inputs, of zeros."""
        return [zeros(desc) for desc in self.model.inputs()]

    def submit(self, inputs: TensorArray, context: Any = None) -> None:
        """Queue a request; waits while the input queue is full.

        Args:
            inputs: as for :meth:`Runner.run`. Not copied: leave it alone until its result is here.
            context: comes back with the result.

        Raises:
            TypeError, ValueError: as :meth:`Runner.run`.
            FuriosaRuntimeError: a side is closed, or was while this call waited.
        """
        self._pipeline.submit(self._network.read(inputs, any_iterable=True), context)

    def close(self) -> bool:
        """Accept nothing more; what is queued still finishes and can be received. True."""
        self._pipeline.close_submitting()
        return True

    def __del__(self) -> None:
        if hasattr(self, "_pipeline"):
            self.close()


class Receiver(_Closing):
    """The receiving side of a queue; iterating gives what :meth:`recv` gives.

    With one worker, results come in the order of submission, with several in that of completion.
    """

    def __init__(self, network: Network, pipeline: Pipeline) -> None:
        self._network, self._pipeline = network, pipeline

    @property
    def model(self) -> Model:
        """Inputs and outputs."""
        return self._network.model

    def recv(self, timeout: float | None = None) -> tuple[Any, Outputs]:
        """The next (context, heads).

        Args:
            timeout: **seconds**; 0 takes what is there already, None waits.

        Raises:
            TimeoutError: nothing came in time.
            FuriosaRuntimeError: a side is closed and nothing is left, or the engine failed on a
                request; then ``context`` says on which.
            ValueError: a negative timeout.
        """
        if timeout is not None and not timeout >= 0:
            raise ValueError(f"timeout: {timeout} s; give 0 or more, or None")
        return self._pipeline.recv(timeout)

    def close(self) -> bool:
        """Stop: nothing more is accepted, what is queued is dropped; waits for runs that have
        begun. Whether they ended in time."""
        self._pipeline.close_receiving()
        return self._pipeline.join(CLOSE_SECONDS)

    def __iter__(self) -> Iterator[tuple[Any, Outputs]]:
        return self

    def __next__(self) -> tuple[Any, Outputs]:
        try:
            return self.recv()
        except (SessionClosed, SessionTerminated):
            raise StopIteration from None

    def __del__(self) -> None:
        if hasattr(self, "_pipeline"):
            self._pipeline.close_receiving()


class Queue(tuple[Submitter, Receiver]):
    """(Submitter, Receiver), and a context manager that closes both."""

    __slots__ = ()

    def close(self) -> bool:
        """Close both; whether runs that had begun ended in time."""
        submitter, receiver = self
        submitter.close()
        return receiver.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        submitter, receiver = self
        submitter.close()
        receiver.__exit__(kind, error, trace)


class Runtime(_Closing):
    """Where runners and queues come from; closing it closes them.

    Args:
        device: as for ``furiosa.runtime.session.create``.
    """

    def __init__(self, device: str | None = None) -> None:
        self._device = device
        self._closed = False
        self._made: weakref.WeakSet[Runner | Receiver | Submitter] = weakref.WeakSet()

    def create_runner(
        self,
        model: ModelSource,
        *,
        worker_num: int | None = None,
        batch_size: int | None = None,
        compiler_config: Mapping[str, object] | None = None,
    ) -> Runner:
        """A runner; arguments as for ``furiosa.runtime.session.create``.

        Raises:
            FuriosaRuntimeError: an option or the model cannot be used; the runtime is closed.
            TypeError: a model of another type.
        """
        runner = Runner(self._network(model, worker_num, batch_size, compiler_config))
        self._made.add(runner)
        return runner

    def create_queue(
        self,
        model: ModelSource,
        *,
        worker_num: int | None = None,
        batch_size: int | None = None,
        input_queue_size: int | None = None,
        output_queue_size: int | None = None,
        compiler_config: Mapping[str, object] | None = None,
    ) -> Queue:
        """A submitter and a receiver; sizes are 1 to 2³¹−1 entries, default 128.

        Raises:
            As :meth:`create_runner`.
        """
        sizes = [
            QUEUE_SIZE if size is None else count(name, size, MAX_QUEUE)
            for name, size in (
                ("input_queue_size", input_queue_size),
                ("output_queue_size", output_queue_size),
            )
        ]
        network = self._network(model, worker_num, batch_size, compiler_config)
        pipeline = Pipeline(network.run, network.close, network.streams, *sizes)
        made = Submitter(network, pipeline), Receiver(network, pipeline)
        self._made.update(made)
        return Queue(made)

    def _network(
        self,
        model: ModelSource,
        worker_num: int | None,
        batch_size: int | None,
        compiler_config: Mapping[str, object] | None,
    ) -> Network:
        if self._closed:
            raise SessionClosed("the runtime is closed; make another one")
        return Network(model, self._device, worker_num, batch_size, compiler_config)

    def close(self) -> bool:
        """Close what it made; whether runs that had begun ended in time."""
        self._closed = True
        closed = [one.close() for one in list(self._made)]  # every one, also after a late one
        return all(closed)


def create_runner(
    model: ModelSource,
    *,
    device: str | None = None,
    worker_num: int | None = None,
    batch_size: int | None = None,
    compiler_config: Mapping[str, object] | None = None,
) -> Runner:
    """A runner without a runtime; see :meth:`Runtime.create_runner`."""
    return Runtime(device).create_runner(
        model, worker_num=worker_num, batch_size=batch_size, compiler_config=compiler_config
    )


def create_queue(
    model: ModelSource,
    *,
    device: str | None = None,
    worker_num: int | None = None,
    batch_size: int | None = None,
    input_queue_size: int | None = None,
    output_queue_size: int | None = None,
    compiler_config: Mapping[str, object] | None = None,
) -> Queue:
    """A queue without a runtime; see :meth:`Runtime.create_queue`."""
    return Runtime(device).create_queue(
        model,
        worker_num=worker_num,
        batch_size=batch_size,
        input_queue_size=input_queue_size,
        output_queue_size=output_queue_size,
        compiler_config=compiler_config,
    )

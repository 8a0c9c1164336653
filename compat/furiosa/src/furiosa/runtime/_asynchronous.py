"""``furiosa.runtime``: runners and queues of 0.10 for asyncio, on those of ``sync``.

Runs and compilation go to threads. Waiting for a queue takes none, so that a ``recv`` that is
cancelled (``asyncio.timeout``) has not taken a result with it.
"""

import asyncio
import warnings
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from ssd_resnet34.runtime.tensors import Outputs

from . import sync
from ._queue import Pending, Pipeline
from .errors import FuriosaRuntimeWarning, SessionClosed, SessionTerminated
from .model import Model
from .sync import ModelSource, TensorArray

__all__ = ["Receiver", "Runner", "Runtime", "Submitter", "create_queue", "create_runner"]


class _Closing:
    """The asynchronous context manager around ``close()``."""

    async def close(self) -> bool:
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not await self.close():
            warnings.warn(
                f"{type(self).__name__} still runs {sync.CLOSE_SECONDS:g} s after it was closed",
                FuriosaRuntimeWarning,
                stacklevel=2,
            )


class _Entered(Protocol):
    async def close(self) -> bool: ...


Made = TypeVar("Made", bound=_Entered)
Found = TypeVar("Found")


class _Making(Generic[Made]):
    """What ``create_runner`` gives: awaited it makes the thing; ``async with`` closes it, too."""

    def __init__(self, make: Callable[[], Made]) -> None:
        self._make = make
        self._made: Made | None = None

    async def _run(self) -> Made:
        return await asyncio.to_thread(self._make)

    def __await__(self) -> Generator[Any, None, Made]:
        return self._run().__await__()

    async def __aenter__(self) -> Made:
        self._made = await self._run()
        return self._made

    async def __aexit__(self, *_: object) -> None:
        assert self._made is not None
        if not await self._made.close():
            warnings.warn(
                f"it still runs {sync.CLOSE_SECONDS:g} s after it was closed",
                FuriosaRuntimeWarning,
                stacklevel=2,
            )


class Runner(_Closing):
    """A network ready to run, by any number of tasks."""

    def __init__(self, runner: sync.Runner) -> None:
        self._runner = runner

    @property
    def model(self) -> Model:
        """Inputs and outputs."""
        return self._runner.model

    async def run(self, inputs: TensorArray) -> Outputs:
        """See :meth:`.sync.Runner.run`."""
        return await asyncio.to_thread(self._runner.run, inputs)

    async def run_with(
        self, outputs: list[str], inputs: Mapping[str, Any]
    ) -> list[NDArray[np.float32]]:
        """See :meth:`.sync.Runner.run_with`."""
        return await asyncio.to_thread(self._runner.run_with, outputs, inputs)

    async def close(self) -> bool:
        """See :meth:`.sync.Runner.close`."""
        return await asyncio.to_thread(self._runner.close)


class Submitter(_Closing):
    """The submitting side of a queue."""

    def __init__(self, submitter: sync.Submitter) -> None:
        self._submitter = submitter

    @property
    def model(self) -> Model:
        """Inputs and outputs."""
        return self._submitter.model

    def allocate(self) -> list[NDArray[Any]]:
        """See :meth:`.sync.Submitter.allocate`."""
        return self._submitter.allocate()

    async def submit(self, inputs: TensorArray, context: Any = None) -> None:
        """See :meth:`.sync.Submitter.submit`."""
        pipeline = self._submitter._pipeline
        request = self._submitter._network.read(inputs, any_iterable=True)
        await _when(pipeline, lambda: pipeline.submit(request, context, wait=False))

    async def close(self) -> bool:
        """See :meth:`.sync.Submitter.close`."""
        return self._submitter.close()


class Receiver(_Closing):
    """The receiving side of a queue; ``async for`` gives what :meth:`recv` gives."""

    def __init__(self, receiver: sync.Receiver) -> None:
        self._receiver = receiver

    @property
    def model(self) -> Model:
        """Inputs and outputs."""
        return self._receiver.model

    async def recv(self) -> tuple[Any, Outputs]:
        """See :meth:`.sync.Receiver.recv`; a limit is ``asyncio.timeout``'s."""
        pipeline = self._receiver._pipeline
        return await _when(pipeline, lambda: pipeline.recv(wait=False))

    async def close(self) -> bool:
        """See :meth:`.sync.Receiver.close`."""
        return await asyncio.to_thread(self._receiver.close)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[Any, Outputs]:
        try:
            return await self.recv()
        except (SessionClosed, SessionTerminated):
            raise StopAsyncIteration from None


class Queue(tuple[Submitter, Receiver]):
    """(Submitter, Receiver)."""

    __slots__ = ()

    async def close(self) -> bool:
        """Close both; whether runs that had begun ended in time."""
        submitter, receiver = self
        await submitter.close()
        return await receiver.close()


class Runtime(_Closing):
    """Where runners and queues come from; closing it closes them."""

    def __init__(self, device: str | None = None) -> None:
        self._runtime = sync.Runtime(device)

    def create_runner(
        self,
        model: ModelSource,
        *,
        worker_num: int | None = None,
        batch_size: int | None = None,
        compiler_config: Mapping[str, object] | None = None,
    ) -> _Making[Runner]:
        """To await, or for ``async with``; see :meth:`.sync.Runtime.create_runner`."""
        return _Making(
            lambda: Runner(
                self._runtime.create_runner(
                    model,
                    worker_num=worker_num,
                    batch_size=batch_size,
                    compiler_config=compiler_config,
                )
            )
        )

    def create_queue(
        self,
        model: ModelSource,
        *,
        worker_num: int | None = None,
        batch_size: int | None = None,
        input_queue_size: int | None = None,
        output_queue_size: int | None = None,
        compiler_config: Mapping[str, object] | None = None,
    ) -> _Making[Queue]:
        """To await, or for ``async with``; see :meth:`.sync.Runtime.create_queue`."""

        def make() -> Queue:
            submitter, receiver = self._runtime.create_queue(
                model,
                worker_num=worker_num,
                batch_size=batch_size,
                input_queue_size=input_queue_size,
                output_queue_size=output_queue_size,
                compiler_config=compiler_config,
            )
            return Queue((Submitter(submitter), Receiver(receiver)))

        return _Making(make)

    async def close(self) -> bool:
        """Close what it made; whether runs that had begun ended in time."""
        return await asyncio.to_thread(self._runtime.close)


def create_runner(
    model: ModelSource,
    *,
    device: str | None = None,
    worker_num: int | None = None,
    batch_size: int | None = None,
    compiler_config: Mapping[str, object] | None = None,
) -> _Making[Runner]:
    """A runner without a runtime: to await, or for ``async with``."""
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
) -> _Making[Queue]:
    """A queue without a runtime: to await, or for ``async with``."""
    return Runtime(device).create_queue(
        model,
        worker_num=worker_num,
        batch_size=batch_size,
        input_queue_size=input_queue_size,
        output_queue_size=output_queue_size,
        compiler_config=compiler_config,
    )


async def _when(pipeline: Pipeline, attempt: Callable[[], Found]) -> Found:
    """What ``attempt`` gives as soon as it need not wait; cancelling leaves the queue as it is."""
    loop = asyncio.get_running_loop()
    changed = asyncio.Event()

    def tell() -> None:
        with suppress(RuntimeError):  # the loop is gone, and with it whoever waited
            loop.call_soon_threadsafe(changed.set)

    with pipeline.watched(tell):
        while True:
            changed.clear()
            try:
                return attempt()
            except Pending:
                await changed.wait()

"""``furiosa.runtime.session``: blocking sessions, and queues, as 0.7–0.9 have them.

0.10 keeps these as a deprecated wrapper; here they are as good as the others, and do not warn.
"""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self

from ._network import Network, count
from ._queue import Pipeline
from .errors import InvalidSessionOption, SessionClosed, SessionTerminated, WrongType
from .model import Described, Model
from .tensor import Tensor, TensorArray

__all__ = ["AsyncSession", "CompletionQueue", "Session", "create", "create_async"]

MAX_QUEUE: Final = 2**31 - 1


class Session(Described):
    """A network ready to run; made by :func:`create`, safe from several threads.

    Close it, or use it as a context manager; it closes when it is deleted, too.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._closed = False

    def _model(self) -> Model:
        if self._closed:
            raise SessionClosed("the session is closed; create another one")
        return self._network.model

    def run(self, inputs: Any) -> TensorArray:
        """The twelve heads of a batch.

        Args:
            inputs: one array, a list of one, a :class:`~.tensor.TensorArray`, or what
                ``preprocess`` gave. uint8 pixels 0..255, or normalised float32, of exactly the
                shape of ``input(0)``.

        Returns:
            Tensors float32, cls_0..cls_5, loc_0..loc_5; they carry the contexts of the input.

        Raises:
            UnsupportedTensorType: another type, such as a tuple.
            InvalidInput: another number, shape or dtype.
            SessionClosed: use after close.
        """
        self._model()
        request = self._network.read(inputs)
        return self._network.arrays(self._network.run(request))

    def run_with(self, outputs: list[str], inputs: Mapping[str, Any]) -> TensorArray:
        """The outputs that are named, in that order; all inputs by name.

        Raises:
            TensorNameNotFound: no such output or input (also an InvalidInput).
            InvalidInput: ``outputs`` that are no names, a missing input, or as :meth:`run`.
            SessionClosed: use after close.
        """
        wanted, values = self._model().places(outputs, inputs)
        heads = self.run(values)
        return TensorArray([heads[n] for n in wanted], heads.contexts)

    def close(self) -> None:
        """Wait for runs that have begun and release the engine; once more does nothing."""
        self._closed = True
        self._network.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_network"):
            self.close()


class AsyncSession(Described):
    """The submitting side of :func:`create_async`; safe from several threads."""

    def __init__(self, network: Network, pipeline: Pipeline, context_ty: type | None) -> None:
        self._network, self._pipeline, self._context_ty = network, pipeline, context_ty

    def _model(self) -> Model:
        if not self._pipeline.submitting:
            raise SessionClosed("the session is closed; create another one")
        return self._network.model

    def submit(self, values: Any, context: object = None) -> None:
        """Queue a request; waits while the input queue is full.

        Args:
            values: as for :meth:`Session.run`; copied, unless it is a TensorArray.
            context: comes back with the result.

        Raises:
            UnsupportedTensorType, InvalidInput: as :meth:`Session.run`; a ``context`` that is no
                ``context_ty``.
            SessionClosed: a side is closed, or was while this call waited.
        """
        self._model()
        request = self._network.read(values)
        if self._context_ty is not None and not isinstance(context, self._context_ty):
            raise WrongType(
                f"context: {context!r} is no {self._context_ty.__name__}, the context_ty of this "
                "queue"
            )
        if not isinstance(values, TensorArray | Tensor):
            request = request.copy()
        self._pipeline.submit(request, context)

    def close(self) -> None:
        """Accept nothing more; what is queued still finishes and can be received."""
        self._pipeline.close_submitting()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_pipeline"):
            self.close()


class CompletionQueue(Described):
    """The receiving side of :func:`create_async`; iterating gives what :meth:`recv` gives.

    With one worker, results come in the order of submission, with several in that of completion.
    """

    def __init__(self, network: Network, pipeline: Pipeline) -> None:
        self._network, self._pipeline = network, pipeline

    def _model(self) -> Model:
        if not self._pipeline.receiving:
            raise SessionClosed("the queue is closed; create another one")
        return self._network.model

    def recv(self, timeout: int | None = None) -> tuple[Any, TensorArray]:
        """The next (context, heads).

        Args:
            timeout: **milliseconds**; 0 takes what is there already, None waits.

        Raises:
            QueueWaitTimeout: nothing came in time.
            SessionTerminated: the submitter is closed and everything was received.
            SessionClosed: this queue is closed, or was while this call waited.
            InternalError: the engine failed on a request; ``context`` says which.
            RuntimeError: a negative timeout.
        """
        if timeout is not None and not timeout >= 0:
            raise RuntimeError(f"timeout: {timeout} ms; give 0 or more, or None")
        context, heads = self._pipeline.recv(None if timeout is None else timeout / 1000)
        return context, self._network.arrays(heads)

    def close(self) -> None:
        """Stop: nothing more is accepted, what is queued is dropped; runs that have begun end."""
        self._pipeline.close_receiving()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> tuple[Any, TensorArray]:
        try:
            return self.recv()
        except (SessionClosed, SessionTerminated):
            raise StopIteration from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_pipeline"):
            self.close()


def create(
    model: Any,
    device: str | None = None,
    worker_num: int | None = None,
    batch_size: int | None = None,
    compiler_config: Mapping[str, object] | None = None,
    compiler_hints: bool | None = True,
    *,
    compile_config: Mapping[str, object] | None = None,
) -> Session:
    """A session for a model.

    Args:
        model: a compiled model's bytes, a path, an ``SSDResNet34``, or an object with
            ``__bytes__``; also weights that ``ssd_resnet34`` can read.
        device: the vendor's specification, such as ``warboy(2)*1`` or ``npu:0:0-1``, checked and
            counted: each device is a replica; or ``cpu``, ``cuda``. Default: ``FURIOSA_DEVICES``,
            else ``NPU_DEVNAME``, else one.
        worker_num: parallel runs on each device; further callers wait.
        batch_size: images of a run: the first dimension of every tensor.
        compiler_config: only None or empty: the vendor's compiler is not here.
        compiler_hints: whether the choice of engine and precision is logged (INFO).
        compile_config: ``compiler_config`` in 0.7.

    Raises:
        TypeError: a model of another type.
        InvalidSessionOption, InvalidCompilerConfig: an option out of range, or without a meaning.
        IncompatibleModel, CompilationFailed: the model cannot be run.
    """
    config = _config(compiler_config, compile_config)
    return Session(Network(model, device, worker_num, batch_size, config, compiler_hints))


def create_async(
    model: Any,
    context_ty: type | None = None,
    device: str | None = None,
    worker_num: int | None = None,
    batch_size: int | None = None,
    compiler_hints: bool | None = True,
    input_queue_size: int | None = None,
    output_queue_size: int | None = None,
    compiler_config: Mapping[str, object] | None = None,
    *,
    compile_config: Mapping[str, object] | None = None,
) -> tuple[AsyncSession, CompletionQueue]:
    """A submitter and a queue of results.

    Args:
        context_ty: type that contexts must have; default: any.
        input_queue_size, output_queue_size: 1 to 2³¹−1 entries; default: any number, each of
            which holds 4 MB (uint8 pixels), 17 MB (float32) or 5 MB (results) for one image.
        The others: as for :func:`create`.

    Raises:
        As :func:`create`.
    """
    if context_ty is not None and not isinstance(context_ty, type):
        raise InvalidSessionOption(f"context_ty: {context_ty!r} is no type; give one such as int")
    sizes = [
        None if size is None else count(name, size, MAX_QUEUE)
        for name, size in (
            ("input_queue_size", input_queue_size),
            ("output_queue_size", output_queue_size),
        )
    ]
    config = _config(compiler_config, compile_config)
    network = Network(model, device, worker_num, batch_size, config, compiler_hints)
    pipeline = Pipeline(network.run, network.close, network.streams, *sizes)
    return AsyncSession(network, pipeline, context_ty), CompletionQueue(network, pipeline)


def _config(
    config: Mapping[str, object] | None, old: Mapping[str, object] | None
) -> Mapping[str, object] | None:
    if config is not None and old is not None:
        raise TypeError("compiler_config and compile_config (0.7) are one option; give one of them")
    return old if config is None else config

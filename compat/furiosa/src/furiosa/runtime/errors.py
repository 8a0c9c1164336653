"""Errors of the runtime, by the vendor's names of every release.

One situation has other errors in other releases (a wrong shape is ``InvalidInput`` in 0.9 and
``ValueError`` in 0.10's runner). What is raised here is all of them at once, so that the ``except``
of any release catches it::

    FuriosaError
    └── FuriosaRuntimeError = NativeException
        ├── InvalidInput            wrong shape or number: also ValueError; dtype: also TypeError
        ├── UnsupportedTensorType   also TypeError
        ├── TensorNameNotFound      raised as InvalidInput and ValueError, too
        ├── SessionClosed           use after close()
        ├── SessionTerminated       recv() after the submitter closed and all was received
        ├── QueueWaitTimeout        also TimeoutError
        ├── InvalidSessionOption    an option out of range, or for hardware that is not here
        ├── InvalidCompilerConfig   the switches of a compiler that is not here
        ├── IncompatibleModel       not a model of this kind
        ├── CompilationFailed       the engine refused it
        ├── InternalError           the engine failed; ``context`` of the request, in queues
        └── the others of 0.7–0.9   never raised
"""

from typing import Any


class FuriosaError(Exception):
    """Base of all."""


class FuriosaRuntimeError(FuriosaError):
    """Base of all since 0.10."""

    def native_error(self) -> int | None:
        """Code of the vendor's native library: none, since there is no such library."""
        return None


NativeException = FuriosaRuntimeError


class FuriosaRuntimeWarning(Warning):
    """Base of the warnings (0.10)."""


class IncompatibleModel(FuriosaRuntimeError):
    """Not a model that can be run here."""


class CompilationFailed(FuriosaRuntimeError):
    """The engine refused the model."""


class InternalError(FuriosaRuntimeError):
    """The engine failed. In queues, ``context`` is that of the request."""

    context: Any = None


class UnsupportedTensorType(FuriosaRuntimeError, TypeError):
    """Inputs that are neither arrays nor a TensorArray."""


class UnsupportedDataType(FuriosaRuntimeError):
    """Never raised here."""


class IncompatibleApiClientError(FuriosaRuntimeError):
    """Never raised here."""


class InvalidYamlException(FuriosaRuntimeError):
    """Never raised here."""


class ApiClientInitFailed(FuriosaRuntimeError):
    """Never raised here."""


class NoApiKeyException(FuriosaRuntimeError):
    """Never raised here."""


class InvalidSessionOption(FuriosaRuntimeError):
    """An option out of its range, or with no meaning here."""


class QueueWaitTimeout(FuriosaRuntimeError, TimeoutError):
    """No result came in time."""


class SessionTerminated(FuriosaRuntimeError):
    """The submitter is closed, and every result was received."""


class DeviceBusy(FuriosaRuntimeError):
    """Never raised here: sessions share the processor."""


class TensorNameNotFound(FuriosaRuntimeError):
    """No tensor of that name."""


class UnsupportedFeature(FuriosaRuntimeError):
    """Never raised here."""


class InvalidCompilerConfig(FuriosaRuntimeError):
    """Switches for the vendor's compiler."""


class InvalidInput(FuriosaRuntimeError):
    """Inputs of the wrong number, shape or dtype."""


class SessionClosed(FuriosaRuntimeError):
    """Use after ``close()``."""


class WrongShape(InvalidInput, ValueError):
    """How :class:`InvalidInput` is raised for a shape or a number."""


class WrongType(InvalidInput, TypeError):
    """How :class:`InvalidInput` is raised for a dtype, or for names that are none."""


class NoSuchTensor(TensorNameNotFound, InvalidInput, ValueError):
    """How :class:`TensorNameNotFound` is raised."""

"""Every error this package raises on purpose, as one tree.

::

    SSDResNet34Error
    ├── ImageError                an input was refused; has .code and .status (HTTP)
    │   ├── EmptyInput            empty_input        400
    │   ├── UnsupportedImage      unsupported_image  415
    │   ├── CorruptImage          corrupt_image      422
    │   ├── TooManyPixels         too_many_pixels    413
    │   ├── TooManyBytes          too_many_bytes     413
    │   ├── UnreadableFile        unreadable_file    404   (missing, folder, pipe, permission)
    │   ├── MismatchedSize        mismatched_size    422   (not the size it was annotated for)
    │   ├── ChangedFile           changed_file       409   (not the file that was planned)
    │   └── StoreUnavailable      store_unavailable  503   (retried without success)
    ├── HeadsError                network outputs that are not the twelve heads of the contract
    ├── ContractError             a contract (categories, sizes) that contradicts itself
    ├── ArtifactError             an ONNX file that is not, or not safely, this network
    ├── WeightsError              a weights name, file or download that cannot be used
    │   ├── UnknownWeights        no such record and no such file; also a UsageError
    │   ├── WrongHash             the bytes are not the ones the record promises
    │   ├── DownloadFailed        every mirror failed, or the network is switched off
    │   └── UnsafeWeights         a file that would run code or read other files
    ├── CalibrationError          activation ranges, or their statistics, that cannot be used
    ├── SessionError              a session could not be made or used
    │   ├── EngineUnavailable     the engine is not installed, or not for the device
    │   │   └── UnknownEngine     no engine of that name; also a UsageError
    │   ├── UnsupportedPrecision  engine, artifact and precision do not go together
    │   ├── InvalidInput          a tensor of the wrong shape, dtype or number
    │   └── SessionClosed         use after close()
    ├── BatchError                a batch run that cannot begin, go on, or end well
    │   ├── ManifestError         the plan is damaged, or of another source
    │   ├── SettingsConflict      rows of another model or threshold are there already
    │   ├── OutputLocked          another run is writing there
    │   ├── WorkerFailed          worker processes end before they are ready
    │   ├── TooManyErrors         more inputs were refused than the run allows
    │   └── Unreconciled          rows and manifest differ at the end
    ├── ClusterError              no Ray cluster answers
    ├── TrainingError             training that was stopped, or cannot go on (a loss that is NaN)
    ├── LoadGenError              a benchmark run that is no result: stopped, failed, logs cut short
    ├── ServerError               the server cannot start, or cannot go on
    ├── OutputError               results could not be written (a full disk)
    ├── UsageError                an argument outside its range, named
    └── MissingExtra              an optional dependency; the message has the pip command

Every message says what was wrong, where, and what to do about it.
"""

from typing import ClassVar


class SSDResNet34Error(Exception):
    """Base of all errors of this package. Each argument is a line of the message.

    So a line break of ours is told from one in a file's name, which is shown as an escape.
    """

    @property
    def lines(self) -> tuple[str, ...]:
        """The message: nearly always one line."""
        return tuple(str(line) for line in self.args)

    def __str__(self) -> str:
        return "\n".join(self.lines)


class UsageError(SSDResNet34Error, ValueError):
    """An argument outside its range; the message names it and the range."""


class ImageError(SSDResNet34Error):
    """An image input was refused. ``code`` and ``status`` are the same on every road."""

    code: ClassVar[str] = "refused_image"
    status: ClassVar[int] = 400


class EmptyInput(ImageError):
    """No bytes where an image should be."""

    code = "empty_input"
    status = 400


class UnsupportedImage(ImageError):
    """Not an image of an accepted format."""

    code = "unsupported_image"
    status = 415


class CorruptImage(ImageError):
    """Damaged, cut short, or of a kind that no decoder here reads."""

    code = "corrupt_image"
    status = 422


class TooManyPixels(ImageError):
    """The header promises more pixels than the limit; nothing was decoded."""

    code = "too_many_pixels"
    status = 413


class TooManyBytes(ImageError):
    """More encoded bytes than the limit."""

    code = "too_many_bytes"
    status = 413


class UnreadableFile(ImageError):
    """Missing, a folder, a pipe, or without permission."""

    code = "unreadable_file"
    status = 404


class MismatchedSize(ImageError):
    """Not of the size in pixels that its annotations are made for."""

    code = "mismatched_size"
    status = 422


class ChangedFile(ImageError):
    """Not the file that was planned: another size or version."""

    code = "changed_file"
    status = 409


class StoreUnavailable(ImageError):
    """The store went on failing for as long as the run is patient."""

    code = "store_unavailable"
    status = 503


class HeadsError(SSDResNet34Error):
    """Network outputs are not the twelve heads the contract describes."""


class ContractError(SSDResNet34Error):
    """A contract that contradicts itself or that this version cannot read."""


class ArtifactError(SSDResNet34Error):
    """An ONNX file that is not this network, or that cannot be used safely."""


class WeightsError(SSDResNet34Error):
    """A weights name, file or download that cannot be used."""


class UnknownWeights(WeightsError, UsageError):
    """Neither a record nor a file of that name."""


class WrongHash(WeightsError):
    """The bytes are not the ones the record promises."""


class DownloadFailed(WeightsError):
    """Every mirror failed, or the network is switched off."""


class UnsafeWeights(WeightsError):
    """A file that would run code, or read other files, when loaded."""


class CalibrationError(SSDResNet34Error):
    """Activation ranges, or calibration statistics, that cannot be used, or cannot be made."""


class SessionError(SSDResNet34Error):
    """A session could not be made or used."""


class EngineUnavailable(SessionError):
    """The engine is unknown, not installed, or not for the device."""


class UnknownEngine(EngineUnavailable, UsageError):
    """No engine of that name, built in or of an entry point."""


class UnsupportedPrecision(SessionError):
    """Engine, artifact and precision do not go together."""


class InvalidInput(SessionError):
    """A tensor of the wrong shape, dtype or number."""


class SessionClosed(SessionError):
    """The session was closed before this call."""


class BatchError(SSDResNet34Error):
    """A batch run that cannot begin, go on, or end well; what it committed stays."""


class ManifestError(BatchError):
    """The plan is damaged, or of another source."""


class SettingsConflict(BatchError):
    """Rows made with another model or threshold are there already."""


class OutputLocked(BatchError):
    """Another run is writing there."""


class WorkerFailed(BatchError):
    """Worker processes end before they are ready."""


class TooManyErrors(BatchError):
    """More inputs were refused than the run allows."""


class Unreconciled(BatchError):
    """Rows and manifest differ at the end."""


class ClusterError(SSDResNet34Error):
    """No Ray cluster answers at the address."""


class TrainingError(SSDResNet34Error):
    """Training was stopped, or cannot go on: a loss or gradient that is not finite."""


class LoadGenError(SSDResNet34Error):
    """A benchmark run without a result: stopped, a session or LoadGen failed, damaged logs."""


class ServerError(SSDResNet34Error):
    """The server cannot start, or cannot go on: a port in use, workers that end at once."""


class OutputError(SSDResNet34Error):
    """Results could not be written: a full disk, a file system gone; nothing partial is left."""


class MissingExtra(SSDResNet34Error, ImportError):
    """An optional dependency is not installed; the message has the pip command."""

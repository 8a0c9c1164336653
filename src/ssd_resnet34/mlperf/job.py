"""What a run's process is told, and what it tells."""

from dataclasses import dataclass

from ..contract import Contract
from ..vision.postprocess import DEFAULT_SCORE_THRESHOLD
from ..vision.selection import Nms
from .rounds import Scenario
from .settings import Measured, Mode, Setting
from .system import Fault
from .user_conf import UserConf


@dataclass(frozen=True)
class Job:
    """One run.

    Attributes:
        round, scenario, mode, quick, user: what to run.
        images: files of the samples, in the order of the annotations.
        folder: for the logs; exists.
        weights, engine, device, precision, threads, nms: as of ``detector.load``.
        timeout: seconds without any answer after which a session counts as hung.
    """

    round: str
    scenario: Scenario
    mode: Mode
    quick: bool
    user: UserConf | None
    images: tuple[str, ...]
    folder: str
    weights: str | bytes = "embedded"
    engine: str = "auto"
    device: str = "cpu"
    precision: str = "auto"
    threads: int | None = None
    nms: Nms = "exact"
    score_threshold: float = DEFAULT_SCORE_THRESHOLD
    timeout: float = 120


@dataclass(frozen=True)
class Facts:
    """The system under test, in the session's own words.

    ``trained_size`` is that of the weights, pixels, None where they do not say; ``hardware`` the
    name of the processor or accelerator.
    """

    weights: str
    sha256: str
    engine: str
    precision: str
    device: str
    threads: int
    streams: int
    batch: int
    summary: str
    trained_size: int | None
    hardware: str


@dataclass(frozen=True)
class Ready:
    """The session is warm and LoadGen begins; ``samples`` and ``seconds`` are estimates."""

    facts: Facts
    contract: Contract
    settings: tuple[Setting, ...]
    measured: Measured
    samples: int
    seconds: float


@dataclass(frozen=True)
class Pulse:
    """What was done so far; ``open`` samples wait for their answer."""

    loaded: int
    answered: int
    open: int

    @property
    def done(self) -> int:
        """What a run that is alive adds to, sooner or later."""
        return self.loaded + self.answered


@dataclass(frozen=True)
class Ended:
    """LoadGen is done, or the run was given up; ``fault`` says why it is no result."""

    answered: int
    fault: Fault | None

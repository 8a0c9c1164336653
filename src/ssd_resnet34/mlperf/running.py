"""A run from outside: its process is started, watched, stopped, and its logs are put in place."""

import contextlib
import multiprocessing
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final

from ..errors import LoadGenError, SSDResNet34Error, UsageError
from ..evaluation.dataset import Dataset
from ..evaluation.running import Entry, check_files, find
from ..files import told
from ..processes import signals_blocked
from ..wording import counted
from . import loadgen, worker
from .job import Ended, Job, Pulse, Ready
from .logs import Detail, check_accuracy, read_detail
from .rounds import SAMPLES
from .settings import QUICK_FILE, ROUND_FILE, USER_FILE

RECORD: Final = "run.json"
PLOT: Final = "comparison.png"
ACCURACY_TEXT: Final = "accuracy.txt"
"""What this package says of a run, beside LoadGen's logs."""

_FILES: Final = (*loadgen.LOGS, ROUND_FILE, QUICK_FILE, USER_FILE)

_TICK: Final = 0.2
"""Seconds between two looks at the clock."""


@dataclass(frozen=True)
class Finished:
    """A run that LoadGen brought to its end: what ran, and its detail log."""

    ready: Ready
    answered: int
    seconds: float
    detail: Detail


def samples(dataset: Dataset, folder: Path, *, quick: bool) -> tuple[str, ...]:
    """The files of the data set, in its order.

    Raises:
        UsageError: one is missing, since a run visits them all; fewer than a run must hold, unless
            it is ``quick``.
    """

    def path(entry: Entry) -> Path:
        return find(folder, entry["file_name"])

    check_files(path, folder, dataset)
    paths, missing = [], []
    for entry in dataset.images:
        try:
            paths.append(str(path(entry)))
        except SSDResNet34Error as error:
            missing.append(str(error))
    if missing:
        raise UsageError(
            f"{len(missing)} of {len(dataset.images)} images are missing, and a run visits them "
            f"all; the first: {missing[0]}"
        )
    if len(paths) < SAMPLES and not quick:
        raise UsageError(
            f"{dataset.path}: {counted(len(paths), 'image')}, and the rules keep {SAMPLES} in "
            "memory; give a larger set, or --quick for a trial that is no submission"
        )
    return tuple(paths)


def run(
    job: Job,
    out: Path,
    *,
    stops: Callable[[], int] = lambda: 0,
    on_ready: Callable[[Ready], None] = lambda _: None,
    on_pulse: Callable[[Pulse], None] = lambda _: None,
) -> Finished:
    """Run a job to its end; ``job.folder`` is chosen here.

    While it runs the logs are in a folder ``unfinished-…`` in ``out``; only those of a run that
    came to its end get their standard names.

    Args:
        stops: how often a stop was asked for, looked at a few times a second: once ends the run in
            order, twice at once.
        on_ready: called when LoadGen begins; an exception of it ends the run.
        on_pulse: called a few times a second.

    Raises:
        LoadGenError: the run was stopped, its session failed or hung, its process ended, or the
            logs are cut short.
        UsageError, OutputError: ``out`` cannot be written.
        SSDResNet34Error: the session cannot be made.
    """
    loadgen.module()
    folder = _made(out)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(
        target=worker.main,
        args=(theirs, replace(job, folder=str(folder))),
        name="ssd-resnet34-loadgen",
    )
    began = time.monotonic()
    try:
        with signals_blocked():
            process.start()
        theirs.close()  # else the end of the process would not close the pipe
        watch = _Watch(process, ours, job, folder, stops, on_ready, on_pulse)
        ready, answered = watch.follow()
    except BaseException:
        _end(process)
        if not any((folder / name).exists() for name in loadgen.LOGS):
            shutil.rmtree(folder, ignore_errors=True)  # nothing in it tells anything
        raise
    finally:
        ours.close()
    _end(process, worker.GRACE)
    detail = read_detail(folder / loadgen.DETAIL, job.mode)
    if job.mode == "accuracy":
        check_accuracy(folder)
    _place(folder, out)
    return Finished(ready, answered, time.monotonic() - began, detail)


def _made(out: Path) -> Path:
    """A new folder for this run alone; LoadGen aborts where there is none."""
    try:
        str(out).encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            f"--out {str(out)!r}: LoadGen takes names in UTF-8 only; give another"
        ) from error
    try:
        out.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix="unfinished-", dir=out))
    except OSError as error:
        raise UsageError(
            f"--out {out}: cannot be written ({error.strerror or error}); name a folder that you "
            "may write to"
        ) from error


class _Watch:
    """Follows the process of a run."""

    def __init__(
        self,
        process: BaseProcess,
        pipe: Connection,
        job: Job,
        folder: Path,
        stops: Callable[[], int],
        on_ready: Callable[[Ready], None],
        on_pulse: Callable[[Pulse], None],
    ) -> None:
        self.process, self.pipe, self.job, self.folder = process, pipe, job, folder
        self.stops, self.on_ready, self.on_pulse = stops, on_ready, on_pulse
        self.ready: Ready | None = None
        self.pulse: Pulse | None = None
        self.asked: float | None = None
        self.silent = self.still = 0.0
        """Seconds without a message, and without an answer."""

    def follow(self) -> tuple[Ready, int]:
        """Until LoadGen is done."""
        last = time.monotonic()
        while True:
            try:
                message = self.pipe.recv() if self.pipe.poll(_TICK) else None
            except (EOFError, OSError):
                raise self._died() from None
            if message is not None:
                ended = self._take(message)
                if ended is not None:
                    assert self.ready is not None
                    return self.ready, ended.answered
            self._stop()
            # Not the time in which this process, and the run with it, was suspended.
            now = time.monotonic()
            step = min(now - last, 5 * _TICK)
            last = now
            self.silent += step
            self.still += step
            self._check_alive()

    def _take(self, message: object) -> Ended | None:
        self.silent = 0.0
        if isinstance(message, SSDResNet34Error):
            raise message
        if isinstance(message, Ready):
            self.ready = message
            self.on_ready(message)
        elif isinstance(message, Pulse):
            if self.pulse is None or not message.open or message.done != self.pulse.done:
                self.still = 0.0
            self.pulse = message
            self.on_pulse(message)
        elif isinstance(message, Ended):
            if message.fault is None:
                return message
            if message.fault.kind == "stopped":
                raise self._stopped(message.answered)
            raise LoadGenError(
                f"{message.fault.reason} – this ended the run after {message.answered:,} answers; "
                f"{self._left()}"
            )
        return None

    def _stop(self) -> None:
        """The first request is passed on; the second, or patience, ends the process."""
        wanted = self.stops()
        if wanted and self.ready is None:
            raise self._stopped()
        if wanted and self.asked is None:
            self.asked = time.monotonic()
            with contextlib.suppress(OSError):  # it died; the next look says so
                self.pipe.send(worker.STOP)
        if wanted > 1 or (self.asked and time.monotonic() > self.asked + 2 * worker.GRACE):
            raise self._stopped()

    def _check_alive(self) -> None:
        if self.pulse is None:  # making the session takes what it takes
            return
        waited = self.still if self.pulse.open else self.silent
        if waited > self.job.timeout:
            raise LoadGenError(
                f"no answer for {waited:.0f} s, so the session hangs; the run was ended after "
                f"{self.pulse.answered:,} answers: try another engine, or a longer --timeout; "
                f"{self._left()}"
            )

    def _stopped(self, answered: int | None = None) -> LoadGenError:
        done = answered if answered is not None else self.pulse.answered if self.pulse else 0
        return LoadGenError(f"stopped after {done:,} answers, which is no result; {self._left()}")

    def _died(self) -> LoadGenError:
        self.process.join(worker.GRACE)
        code = self.process.exitcode
        how = f"exit code {code}"
        if code is not None and code < 0:
            with contextlib.suppress(ValueError):  # a signal without a name
                how = signal.Signals(-code).name
        done = self.pulse.answered if self.pulse else 0
        return LoadGenError(
            f"the run's process ended with {how} after {done:,} answers; free memory, or try "
            f"another engine; {self._left()}"
        )

    def _left(self) -> str:
        if any((self.folder / name).exists() for name in loadgen.LOGS):
            return f"what LoadGen wrote is in {self.folder}"
        return "there are no logs"


def _place(folder: Path, out: Path) -> None:
    """Give a finished run's files their standard names, in the place of an earlier run's."""
    with told(str(out)):
        for name in (RECORD, PLOT, ACCURACY_TEXT):  # of an earlier run
            (out / name).unlink(missing_ok=True)
        for name in _FILES:
            if (folder / name).exists():
                (folder / name).replace(out / name)
            else:
                (out / name).unlink(missing_ok=True)
        folder.rmdir()


def _end(process: BaseProcess, patience: float = 0) -> None:
    """Wait for the end of a process, then see to it."""
    if process.pid is None:  # was never started
        return
    process.join(patience)
    if process.is_alive():
        process.kill()
        process.join()
    process.close()

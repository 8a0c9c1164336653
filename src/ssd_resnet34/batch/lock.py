"""One run at a time in a place, also where it is a store and the runs are on other machines.

The lock is a file with its holder and a beat that the holder changes every few seconds. A holder on
this machine is looked up among its processes. One elsewhere is taken for dead when its beat has not
changed for a minute on our clock: no two clocks are ever compared.
"""

import contextlib
import hashlib
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Self

from ..errors import OutputError, OutputLocked
from .place import Place

NAME: Final = "_run/lock"

BEAT: Final = 10.0
"""Seconds between two beats."""

STALE: Final = 60.0
"""Seconds without a beat after which a holder elsewhere is taken for dead."""

_HELD: Final[set[str]] = set()
"""Tokens of the locks of this process: one that could not be removed is not held for ever."""

_SETTLE: Final = 0.3
"""Seconds after which the one of two that broke the same stale lock sees that it lost."""


class Lock:
    """The lock of a place; use it as a context manager.

    Raises (entering, and :meth:`check`):
        OutputLocked: another run has it.
        OutputError: the place cannot be written.
    """

    def __init__(
        self,
        place: Place,
        on_note: Callable[[str], None] = lambda _: None,
        *,
        beat: float = BEAT,
        stale: float = STALE,
    ) -> None:
        self.place, self.on_note = place, on_note
        self._beat, self._stale = beat, stale
        # Between two looks at a lock that may be dead: a store tells nobody that a file changed.
        self._pause = min(1.0, stale / 10)
        self._mine: dict[str, Any] = {**_this_process(), "token": secrets.token_hex(8), "beat": 0}
        self._over = threading.Event()
        self._lost = False
        self._thread = threading.Thread(target=self._keep_beating, daemon=True, name="lock")

    def __enter__(self) -> Self:
        _HELD.add(self._mine["token"])
        try:
            self._take()
        except BaseException:
            _HELD.discard(self._mine["token"])
            raise
        self._thread.start()
        return self

    def _take(self) -> None:
        broken = False
        while not self.place.create(NAME, _encoded(self._mine)):
            dead = self._wait_for_the_dead()
            if dead is not None:
                self._break(dead)
            broken = True
        if broken:
            time.sleep(_SETTLE)  # where a store cannot create alone, the last of several has it
        held = self._read()
        if held is None or held.get("token") != self._mine["token"]:
            raise self._refused(held or {})

    def _break(self, dead: dict[str, Any]) -> None:
        """Remove the lock of the dead if it is still there.

        One at a time: who stood still between the look and the removal would else remove the lock
        of whoever came next.
        """
        mark = _mark(dead)
        seen, end = None, time.monotonic() + self._stale
        while not self.place.create(mark, _encoded(self._mine)):
            time.sleep(self._pause)
            if self._read() != dead:  # the other has done it
                return
            found = self._read(mark)
            if found != seen:
                seen, end = found, time.monotonic() + self._stale
            elif time.monotonic() > end:  # whoever made it died, too
                self.place.remove(mark)
        try:
            if self._read() == dead:
                self.place.remove(NAME)
        finally:
            self.place.remove(mark)

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        _HELD.discard(self._mine["token"])
        if not self._lost:
            with contextlib.suppress(OutputError):  # a full disk: the lock is then seen as stale
                self.place.remove(NAME)

    def check(self) -> None:
        """Refuse to go on where another run took this one for dead (a machine that slept)."""
        if self._lost:
            raise self._refused(self._read() or {})

    def _wait_for_the_dead(self) -> dict[str, Any] | None:
        """The lock that may be removed; None where it is gone already.

        Raises:
            OutputLocked: its holder lives.
        """
        seen = self._read()
        if seen is None:
            return None
        if _is_here(seen):
            if _lives(seen):
                raise self._refused(seen)
            self.on_note(f"the run that held {self.place.name} (process {seen['pid']}) is gone")
            return seen
        holder = f"{seen.get('host', 'unknown')}, process {seen.get('pid', 'unknown')}"
        self.on_note(
            f"{self.place.name} is locked by a run elsewhere ({holder}); waiting {self._stale:g} s "
            "for a sign of life"
        )
        end = time.monotonic() + self._stale
        while time.monotonic() < end:
            time.sleep(self._pause)
            now = self._read()
            if now is None:
                return None
            if now != seen:
                raise self._refused(now)
        self.on_note(f"none came: {holder} is taken for dead")
        return seen

    def _keep_beating(self) -> None:
        while not self._over.wait(self._beat):
            with contextlib.suppress(OutputError):
                held = self._read()
                if held is not None and held.get("token") != self._mine["token"]:
                    self._lost = True
                    return
                self._mine["beat"] += 1
                self.place.write(NAME, _encoded(self._mine))

    def _read(self, name: str = NAME) -> dict[str, Any] | None:
        try:
            found = json.loads(self.place.read(name))
        except FileNotFoundError:
            return None
        except (ValueError, RecursionError):  # cut short by a file system that is not atomic
            return {}
        return found if isinstance(found, dict) else {}

    def _refused(self, holder: dict[str, Any]) -> OutputLocked:
        return OutputLocked(
            f"{self.place.name}: another run is writing there ({holder.get('host', 'unknown')}, "
            f"process {holder.get('pid', 'unknown')}); wait for it, or name another output"
        )


def _mark(dead: dict[str, Any]) -> str:
    """The file of the one who breaks the lock of that holder."""
    return f"{NAME}-{hashlib.sha256(_encoded(dead)).hexdigest()[:16]}"


def _encoded(holder: dict[str, Any]) -> bytes:
    return json.dumps(holder).encode() + b"\n"


def _this_process() -> dict[str, Any]:
    return {"pid": os.getpid(), "started": _started(os.getpid()), **_here()}


def _here() -> dict[str, str]:
    """What names this machine since its last start, and this container on it."""
    boot = space = ""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        space = os.readlink("/proc/self/ns/pid")
    return {"host": socket.gethostname(), "boot": boot, "space": space}


def _is_here(holder: dict[str, Any]) -> bool:
    here = _here()
    return all(holder.get(name) == value for name, value in here.items())


def _lives(holder: dict[str, Any]) -> bool:
    pid = holder.get("pid")
    if not isinstance(pid, int) or pid < 1:
        return False
    if pid == os.getpid() and holder.get("token") not in _HELD:
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):  # the latter: a number that no process has
        return False
    except OSError:
        return True
    return _started(pid) == holder.get("started")


def _started(pid: int) -> str:
    """When a process began, in ticks of its machine; "" where that is not to be known."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    after_name = text.rpartition(")")[2].split()
    return "" if after_name[0] in "ZX" else after_name[19]  # field 22; a zombie has ended

"""Starting processes that the signals of a command do not reach."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker


@contextmanager
def signals_blocked() -> Iterator[None]:
    """For the start of a child: it inherits that this thread blocks SIGINT and SIGTERM.

    Ctrl-C goes to every process of a terminal; the command that got it tells its children itself.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    # Its tracker is started with the first child, and Python 3.11 then unblocks both.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def unblock_signals() -> None:
    """For a child that was started so, once it has its own way with them."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})

"""Ctrl-C and SIGTERM ask a run to end at the next step; a second one ends it at once."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def stops(told: Callable[[], None] = lambda: None) -> Iterator[Callable[[], bool]]:
    """Whether an end was asked for. Outside of the main thread signals are left as they are.

    Args:
        told: called once, when it is.
    """
    asked = False

    def ask(number: int, _: Any) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        told()

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {one: signal.signal(one, ask) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)

"""Processes that prepare what a training run looks at: how they start, and how they end."""

import atexit
import os
import signal
from collections.abc import Iterator, Sequence
from typing import TypeVar

import cv2
import torch
from torch.utils.data import DataLoader, Dataset

from ..processes import signals_blocked, unblock_signals

T = TypeVar("T")


def ahead(
    data: Dataset[T], workers: int, *, prefetch: int, numbers: Sequence[int] | None = None
) -> Iterator[T]:
    """What ``data`` holds, in its own order or that of ``numbers``, prepared ahead.

    Args:
        workers: processes that prepare it; 0: this one does, when asked.
        prefetch: pieces that each of them has ready.
    """
    loader: DataLoader[T] = DataLoader(
        data,
        batch_size=None,
        sampler=numbers,
        num_workers=workers,
        prefetch_factor=prefetch if workers else None,
        worker_init_fn=_alone if workers else None,
        # Not forked: a child that inherits OpenCV's threads without their lives waits for them for
        # ever.
        multiprocessing_context="spawn" if workers else None,
    )
    with signals_blocked():  # until the workers, who take seconds to start, have their own way
        return iter(loader)


def _alone(_: int) -> None:
    """A worker uses one core, leaves Ctrl-C to the run, and ends when it is told to."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Where the whole group is told to end (torchrun, systemd, Slurm), the run still ends its step:
    # of a worker that a signal ended, torch would tell it by an error in the midst of that.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    unblock_signals()
    # As a forked process ends: the thread that still sends a batch when the run stops early would
    # abort in an interpreter that is being taken down.
    atexit.register(os._exit, 0)

"""Parts of batch tests: pictures, a pool without processes, the files of a place."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar, Self

import cv2
import numpy as np

from ssd_resnet34.batch.patience import Patience
from ssd_resnet34.batch.pool import Care
from ssd_resnet34.batch.worker import Detecting, Done, Job, Ready, Task

HASTY = Patience(0)
"""Tries once."""


def write(path: Path, shade: int = 128, width: int = 64, height: int = 48) -> Path:
    """A grey picture; its extension names the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((height, width, 3), shade, np.uint8)
    done, data = cv2.imencode(path.suffix, pixels)
    assert done
    path.write_bytes(data.tobytes())
    return path


class SamePool:
    """Stands for the pool: the same detecting in this process, the last of each three first."""

    instances: ClassVar[list["SamePool"]] = []
    stop_after: ClassVar[int | None] = None
    """Raise KeyboardInterrupt after so many rows."""

    def __init__(self, job: Job, care: Care = Care()) -> None:  # noqa: B008
        self.job, self.lost = job, 0
        self.done: list[int] = []
        type(self).instances.append(self)

    def __enter__(self) -> Self:
        self.detecting = Detecting(self.job)
        return self

    def __exit__(self, *_: object) -> None:
        self.detecting.close()

    @property
    def ready(self) -> Ready:
        return self.detecting.ready

    def run(self, tasks: Iterable[Task], ahead: int) -> Iterator[Done]:
        waiting: list[Task] = []
        for task in tasks:
            waiting.append(task)
            if len(waiting) == 3:
                yield from self._some(waiting)
        yield from self._some(waiting)

    def _some(self, waiting: list[Task]) -> Iterator[Done]:
        while waiting:
            if self.stop_after is not None and len(self.done) >= self.stop_after:
                raise KeyboardInterrupt
            task = waiting.pop()
            self.done.append(task.id)
            yield self.detecting(task)


def tree(folder: Path, *, timings: bool = False) -> dict[str, bytes]:
    """Every file of a place and its bytes; sidecars only if they are asked for."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and (timings or path.parent.name != "_timings")
    }

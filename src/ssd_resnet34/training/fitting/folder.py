"""What a run needs to find, looked at before anything is loaded."""

import os
from os import PathLike
from pathlib import Path
from typing import Final

from ...errors import UsageError
from ...weights import readers, store
from ...weights.records import RECORDS

CHECKPOINT: Final = "checkpoint.pt"

ANNOTATIONS: Final = "val.json"
"""The images that are scored, as COCO has them."""

NOTHING: Final = "none"
"""Name of no initial weights."""


def check_init(init: str | PathLike[str]) -> None:
    """Whether there are initial weights of this name.

    Raises:
        UnknownWeights: no record or file; names the nearest record.
        WeightsError: a name that no file can have.
    """
    if str(init) == NOTHING or str(init) in RECORDS or os.path.exists(init):
        return
    path = Path(init)
    if not path.suffix and len(path.parts) == 1:
        store.record(str(init))  # raises
    readers.bytes_of(path)  # raises


def check(out: Path, resume: bool) -> None:
    """Whether a run may begin there, or go on.

    Raises:
        UsageError: a run is there and not to be resumed, or none is and is to be; or a file.
    """
    there = os.path.lexists(out / CHECKPOINT)
    if os.path.lexists(out) and not os.path.isdir(out):
        raise UsageError(f"{out}: is no folder; name another")
    if resume and not there:
        raise UsageError(f"{out / CHECKPOINT}: no checkpoint to resume; leave --resume out")
    if there and not resume:
        raise UsageError(
            f"{out}: holds a training run already; go on with it by --resume, or name another "
            "folder"
        )

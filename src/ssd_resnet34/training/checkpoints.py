"""Checkpoints of torch that appear whole or not at all."""

import io
from pathlib import Path
from typing import Any

import torch

from .. import files


def write(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint; a reader, or a crash, sees the old or the new one, never half.

    Raises:
        UsageError: it cannot be made there.
        OutputError: a full disk; the old checkpoint stays.
    """
    # In memory first: torch turns what a disk refuses into errors of its own.
    buffer = io.BytesIO()
    torch.save(state, buffer)
    files.write(path, buffer.getvalue())
